//! The configuration: [`raw`] is the file as written, [`Settings`] what the programs run on, validated and complete.
//!
//! A key that is not known is an error: on a box that nobody looks at, a typing mistake must not pass in silence.

mod places;
pub mod raw;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use places::cache_dir;
pub use places::{default_database, shipped_model};
pub use raw::{ConfigError, RawConfig};

use crate::store::RetryPolicy;
use crate::watch::SourceChoice;
use edge_model::backend::{DeviceChoice, Precision, Setup};
use edge_model::image_input::Limits;
use edge_model::text::normalise_tag;

/// The directories and how they are observed.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchSettings {
    /// Absolute paths.
    pub dirs: Vec<PathBuf>,
    /// Whether subdirectories belong to them.
    pub recursive: bool,
    /// Whether files that arrive go before those that a scan has found; else all go in the order in which they are found.
    pub new_first: bool,
    /// How changes are noticed.
    pub source: SourceChoice,
    /// A file counts as written completely when size and time have not changed for so long.
    pub settle: Duration,
    /// Time between scans when polling.
    pub poll_interval: Duration,
    /// Time between the scans that confirm what the events said.
    pub rescan_interval: Duration,
}

/// Which tags an image gets.
#[derive(Debug, Clone, PartialEq)]
pub struct TagSettings {
    /// Tags of every image.
    pub always: Vec<String>,
    /// Keywords embedded in the file (XMP, IPTC).
    pub from_keywords: bool,
    /// The name of the directory that the file lies in.
    pub from_directory: bool,
    /// So many of the vocabulary's most similar tags, where the bundle says that its similarity is good enough.
    pub from_similarity: usize,
}

/// Where results go and how often they are committed.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSettings {
    /// The database file.
    pub path: PathBuf,
    /// A commit holds at most so many images.
    pub commit_images: usize,
    /// Commits are at least so far apart, unless they are full: no result waits longer for its commit, and one that comes after a
    /// pause does not wait at all. While many files are in work they are up to four times as far apart.
    pub commit_interval: Duration,
    /// When a failed file is tried again.
    pub retry: RetryPolicy,
}

/// Everything that `run` and `scan` need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The bundle's directory.
    pub model_dir: PathBuf,
    /// The device.
    pub device: DeviceChoice,
    /// What large products are computed in, and where what was prepared is kept.
    pub setup: Setup,
    /// The directories.
    pub watch: WatchSettings,
    /// The tags.
    pub tags: TagSettings,
    /// The database.
    pub store: StoreSettings,
    /// What one image may cost.
    pub limits: Limits,
    /// Time that reading and decoding of one file may take.
    pub decode_timeout: Duration,
    /// Work without any result for so long is stuck: systemd's watchdog is not told any more that all is well.
    pub stuck_timeout: Duration,
    /// Threads that decode.
    pub decode_threads: usize,
}

/// What the command line says; it goes before the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--model`.
    pub model: Option<PathBuf>,
    /// `--device`.
    pub device: Option<DeviceChoice>,
    /// `--precision`.
    pub precision: Option<Precision>,
    /// `--db`.
    pub db: Option<PathBuf>,
    /// `--tag`, in addition to `[tags] always`.
    pub tags: Vec<String>,
    /// Directory arguments; when there are any, they replace `[watch] dirs`.
    pub dirs: Vec<PathBuf>,
}

impl Settings {
    /// Reads `file` (none: defaults), applies the command line and validates. Relative paths in the file are relative to the
    /// file's directory, those of the command line to the working directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let raw = file.map_or_else(|| Ok(RawConfig::default()), RawConfig::read)?;
        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        Self::validate(raw, base, overrides).map_err(|reason| match (reason, file) {
            (Invalid::Value(reason), Some(path)) => ConfigError::Value { path: path.to_owned(), reason },
            (Invalid::Value(reason), None) => ConfigError::CommandLine { reason },
            (Invalid::Other(error), _) => error,
        })
    }

    fn validate(raw: RawConfig, base: &Path, overrides: &Overrides) -> Result<Self, Invalid> {
        let in_file = |path: PathBuf| absolute(&base.join(path));
        let model_dir = match (&overrides.model, raw.model.dir) {
            (Some(dir), _) => absolute(dir)?,
            (None, Some(dir)) => in_file(dir)?,
            (None, None) => shipped_model().ok_or(ConfigError::NoModel)?,
        };
        let device = match (overrides.device, raw.model.device) {
            (Some(device), _) => device,
            (None, Some(text)) => text.parse().map_err(|e| Invalid::Value(format!("model.device: {e}")))?,
            (None, None) => DeviceChoice::Auto,
        };
        let precision = match (overrides.precision, raw.model.precision) {
            (Some(precision), _) => precision,
            (None, Some(text)) => text.parse().map_err(|e| Invalid::Value(format!("model.precision: {e}")))?,
            (None, None) => Precision::F32,
        };
        let path = match (&overrides.db, raw.store.path) {
            (Some(path), _) => absolute(path)?,
            (None, Some(path)) => in_file(path)?,
            (None, None) => default_database().ok_or(ConfigError::NoDatabase)?,
        };
        let dirs = if overrides.dirs.is_empty() {
            raw.watch.dirs.unwrap_or_default().into_iter().map(in_file).collect::<Result<Vec<_>, _>>()?
        } else {
            overrides.dirs.iter().map(|d| absolute(d)).collect::<Result<Vec<_>, _>>()?
        };
        let always = raw.tags.always.unwrap_or_default().into_iter().chain(overrides.tags.iter().cloned());
        let retry = RetryPolicy::default();
        Ok(Self {
            model_dir,
            device,
            setup: Setup { precision, cache_dir: cache_dir() },
            watch: WatchSettings {
                dirs,
                recursive: raw.watch.recursive.unwrap_or(true),
                new_first: raw.watch.new_first.unwrap_or(true),
                source: source(raw.watch.source.as_deref())?,
                settle: Duration::from_millis(ranged("watch.settle_ms", raw.watch.settle_ms, 500, 0, 3_600_000)?),
                poll_interval: seconds("watch.poll_interval_s", raw.watch.poll_interval_s, 5)?,
                rescan_interval: seconds("watch.rescan_interval_s", raw.watch.rescan_interval_s, 300)?,
            },
            tags: TagSettings {
                always: distinct_tags(always)?,
                from_keywords: raw.tags.from_keywords.unwrap_or(true),
                from_directory: raw.tags.from_directory.unwrap_or(false),
                from_similarity: ranged("tags.from_similarity", raw.tags.from_similarity, 3, 0, 100)? as usize,
            },
            store: StoreSettings {
                path,
                commit_images: ranged("store.commit_images", raw.store.commit_images, 1000, 1, 10_000)? as usize,
                commit_interval: Duration::from_millis(ranged(
                    "store.commit_interval_ms",
                    raw.store.commit_interval_ms,
                    5000,
                    10,
                    600_000,
                )?),
                retry: RetryPolicy {
                    first_delay: seconds("retry.first_delay_s", raw.retry.first_delay_s, retry.first_delay.as_secs())?,
                    max_delay: seconds("retry.max_delay_s", raw.retry.max_delay_s, retry.max_delay.as_secs())?,
                    max_attempts: NonZeroU32::new(ranged(
                        "retry.max_attempts",
                        raw.retry.max_attempts,
                        u64::from(retry.max_attempts.get()),
                        1,
                        1000,
                    )? as u32)
                    .unwrap_or(retry.max_attempts),
                },
            },
            limits: limits(&raw.limits)?,
            decode_timeout: seconds("limits.decode_timeout_s", raw.limits.decode_timeout_s, 60)?,
            stuck_timeout: seconds("limits.stuck_timeout_s", raw.limits.stuck_timeout_s, 600)?,
            decode_threads: ranged("threads.decode", raw.threads.decode, default_threads(), 1, 256)? as usize,
        })
    }
}

enum Invalid {
    Value(String),
    Other(ConfigError),
}

impl From<ConfigError> for Invalid {
    fn from(error: ConfigError) -> Self {
        Self::Other(error)
    }
}

fn limits(raw: &raw::RawLimits) -> Result<Limits, Invalid> {
    let default = Limits::default();
    Ok(Limits {
        max_file_bytes: ranged("limits.max_file_bytes", raw.max_file_bytes, default.max_file_bytes, 1, 1 << 40)?,
        max_pixels: ranged("limits.max_pixels", raw.max_pixels, default.max_pixels, 1, 1 << 40)?,
        max_decode_bytes: ranged(
            "limits.max_decode_bytes",
            raw.max_decode_bytes,
            default.max_decode_bytes,
            1,
            1 << 40,
        )?,
    })
}

fn default_threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(16)
}

fn absolute(path: &Path) -> Result<PathBuf, Invalid> {
    std::path::absolute(path).map_err(|e| Invalid::Value(format!("{}: {e}", path.display())))
}

fn source(text: Option<&str>) -> Result<SourceChoice, Invalid> {
    match text.unwrap_or("auto") {
        "auto" => Ok(SourceChoice::Auto),
        "inotify" => Ok(SourceChoice::Inotify),
        "poll" => Ok(SourceChoice::Poll),
        other => Err(Invalid::Value(format!("watch.source: {other:?} is none of auto, inotify, poll"))),
    }
}

fn ranged(key: &str, value: Option<u64>, default: u64, least: u64, most: u64) -> Result<u64, Invalid> {
    let value = value.unwrap_or(default);
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Invalid::Value(format!("{key} is {value}, it must be {least} to {most}")))
    }
}

fn seconds(key: &str, value: Option<u64>, default: u64) -> Result<Duration, Invalid> {
    Ok(Duration::from_secs(ranged(key, value, default, 1, 31_536_000)?))
}

fn distinct_tags(tags: impl Iterator<Item = String>) -> Result<Vec<String>, Invalid> {
    let mut distinct: Vec<String> = Vec::new();
    for tag in tags {
        let tag = normalise_tag(&tag);
        if tag.is_empty() {
            return Err(Invalid::Value("a tag is empty: give a short text such as \"birds\"".to_owned()));
        }
        if !distinct.iter().any(|known| known.eq_ignore_ascii_case(&tag)) {
            distinct.push(tag);
        }
    }
    Ok(distinct)
}

#[cfg(test)]
mod tests;
