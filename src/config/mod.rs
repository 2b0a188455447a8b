//! The configuration. [`raw`] is the file as written; [`Settings`] are the validated values with all defaults.
//!
//! An unknown key is an error, because a mistyped key would go unnoticed on a machine that runs unattended.

mod places;
pub mod raw;

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use places::cache_dir;
pub use places::{default_database, shipped_model};
pub use raw::{ConfigError, RawConfig};

use crate::store::RetryPolicy;
use crate::watch::SourceChoice;
use edge_model::backend::{BackendOptions, DeviceChoice, Precision};
use edge_model::image_input::Limits;
use edge_model::text::normalise_tag;

/// The watched directories, and how new files in them are found.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchSettings {
    /// Absolute paths of the watched directories.
    pub dirs: Vec<PathBuf>,
    /// Whether subdirectories are watched too.
    pub recursive: bool,
    /// Whether newly arrived files are scored before files that a scan found. Otherwise files are scored in the order in which they are
    /// found.
    pub new_first: bool,
    /// Whether changes are reported by inotify or found by polling.
    pub source: SourceChoice,
    /// A file is complete when its size and modification time have not changed for this long.
    pub settle: Duration,
    /// Time between two scans of a polled directory.
    pub poll_interval: Duration,
    /// Time between two scans that look for files for which no hint arrived.
    pub rescan_interval: Duration,
}

/// The sources of an image's tags.
#[derive(Debug, Clone, PartialEq)]
pub struct TagSettings {
    /// Tags that every image gets.
    pub always: Vec<String>,
    /// Whether the keywords embedded in an image file (XMP, IPTC) become tags.
    pub from_keywords: bool,
    /// Whether the name of an image file's directory becomes a tag.
    pub from_directory: bool,
    /// Number of tags that each image gets from the bundle's vocabulary: the tags most similar to the image. Used only if the bundle states
    /// that its similarity is good enough for tags.
    pub from_similarity: usize,
}

/// The database and how often results are committed to it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSettings {
    /// Absolute path of the database file.
    pub path: PathBuf,
    /// Maximum number of images in one commit.
    pub commit_images: usize,
    /// Time between two commits. A result waits at most this long for its commit, or up to four times as long while many files are in
    /// flight. A full commit is written earlier. The first result after a pause is committed at once.
    pub commit_interval: Duration,
    /// When a failed file is tried again.
    pub retry: RetryPolicy,
}

/// The validated configuration. It can be loaded without a model; [`Settings::model_dir`] fails if there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Directory of the configured bundle, else of the shipped bundle. `None` if no bundle is configured and the shipped one was not found.
    model_dir: Option<PathBuf>,
    /// The device that the model runs on.
    pub device: DeviceChoice,
    /// The precision of large products, the directory that caches prepared graphs, and the time limit for a GPU.
    pub backend: BackendOptions,
    /// The watched directories, and how new files in them are found.
    pub watch: WatchSettings,
    /// Where the tags of an image come from.
    pub tags: TagSettings,
    /// The database file, and how often results are committed to it.
    pub store: StoreSettings,
    /// Memory limits for one image.
    pub limits: Limits,
    /// Maximum time to read and decode one file.
    pub decode_timeout: Duration,
    /// Time without a result after which pending work counts as stuck. The daemon then stops its pings to systemd's watchdog.
    pub stuck_timeout: Duration,
    /// Number of threads that decode files; each has one decoder.
    pub decode_threads: usize,
}

/// Values from the command line. They take precedence over the configuration file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Directory of the bundle, from `--model`.
    pub model: Option<PathBuf>,
    /// The device, from `--device`.
    pub device: Option<DeviceChoice>,
    /// The precision of large products, from `--precision`.
    pub precision: Option<Precision>,
    /// Path of the database file, from `--db`.
    pub db: Option<PathBuf>,
    /// Tags from `--tag`; added to `[tags] always`.
    pub tags: Vec<String>,
    /// Directory arguments. If there are any, they replace `[watch] dirs`.
    pub dirs: Vec<PathBuf>,
}

impl Settings {
    /// Reads `file`, applies the command line and validates all values. Without a file, all values are defaults. Relative paths in the
    /// file are relative to the file's directory, those of the command line to the working directory.
    ///
    /// # Errors
    /// All errors of [`ConfigError`] except [`ConfigError::NoModel`].
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let raw = file.map_or_else(|| Ok(RawConfig::default()), RawConfig::read)?;
        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        Self::validate(raw, base, overrides).map_err(|reason| match (reason, file) {
            (Invalid::Value(reason), Some(path)) => ConfigError::Value { path: path.to_owned(), reason },
            (Invalid::Value(reason), None) => ConfigError::CommandLine { reason },
            (Invalid::Other(error), _) => error,
        })
    }

    /// Returns the bundle's directory.
    ///
    /// # Errors
    /// [`ConfigError::NoModel`] if no bundle is configured and the shipped one was not found.
    pub fn model_dir(&self) -> Result<&Path, ConfigError> {
        self.model_dir.as_deref().ok_or(ConfigError::NoModel)
    }

    fn validate(raw: RawConfig, base: &Path, overrides: &Overrides) -> Result<Self, Invalid> {
        let model_dir = match (&overrides.model, &raw.model.dir) {
            (Some(dir), _) => Some(absolute(dir)?),
            (None, Some(dir)) => Some(absolute(&base.join(dir))?),
            (None, None) => shipped_model(),
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
        Ok(Self {
            model_dir,
            device,
            backend: BackendOptions {
                precision,
                cache_dir: cache_dir(),
                gpu_timeout: seconds("limits.gpu_timeout_s", raw.limits.gpu_timeout_s, BackendOptions::GPU_TIMEOUT_S)?,
            },
            store: StoreSettings::validate(raw.store, &raw.retry, base, overrides)?,
            watch: WatchSettings::validate(raw.watch, base, overrides)?,
            tags: TagSettings::validate(raw.tags, overrides)?,
            limits: limits(&raw.limits)?,
            decode_timeout: seconds("limits.decode_timeout_s", raw.limits.decode_timeout_s, 60)?,
            stuck_timeout: seconds("limits.stuck_timeout_s", raw.limits.stuck_timeout_s, 600)?,
            decode_threads: ranged("threads.decode", raw.threads.decode, default_threads(), 1..=256)? as usize,
        })
    }
}

impl WatchSettings {
    fn validate(raw: raw::RawWatch, base: &Path, overrides: &Overrides) -> Result<Self, Invalid> {
        let dirs = if overrides.dirs.is_empty() {
            raw.dirs.unwrap_or_default().iter().map(|dir| absolute(&base.join(dir))).collect::<Result<_, _>>()?
        } else {
            overrides.dirs.iter().map(|dir| absolute(dir)).collect::<Result<_, _>>()?
        };
        Ok(Self {
            dirs,
            recursive: raw.recursive.unwrap_or(true),
            new_first: raw.new_first.unwrap_or(true),
            source: source(raw.source.as_deref())?,
            settle: milliseconds("watch.settle_ms", raw.settle_ms, 500, 0..=3_600_000)?,
            poll_interval: seconds("watch.poll_interval_s", raw.poll_interval_s, 5)?,
            rescan_interval: seconds("watch.rescan_interval_s", raw.rescan_interval_s, 300)?,
        })
    }
}

impl TagSettings {
    fn validate(raw: raw::RawTags, overrides: &Overrides) -> Result<Self, Invalid> {
        let always = raw.always.unwrap_or_default().into_iter().chain(overrides.tags.iter().cloned());
        Ok(Self {
            always: distinct_tags(always)?,
            from_keywords: raw.from_keywords.unwrap_or(true),
            from_directory: raw.from_directory.unwrap_or(false),
            from_similarity: ranged("tags.from_similarity", raw.from_similarity, 3, 0..=100)? as usize,
        })
    }
}

impl StoreSettings {
    fn validate(
        raw: raw::RawStore,
        retry: &raw::RawRetry,
        base: &Path,
        overrides: &Overrides,
    ) -> Result<Self, Invalid> {
        let path = match (&overrides.db, raw.path) {
            (Some(path), _) => absolute(path)?,
            (None, Some(path)) => absolute(&base.join(path))?,
            (None, None) => default_database().ok_or(ConfigError::NoDatabase)?,
        };
        let default = RetryPolicy::default();
        let attempts = u64::from(default.max_attempts.get());
        let max_attempts = ranged("retry.max_attempts", retry.max_attempts, attempts, 1..=1000)?;
        Ok(Self {
            path,
            commit_images: ranged("store.commit_images", raw.commit_images, 1000, 1..=10_000)? as usize,
            commit_interval: milliseconds("store.commit_interval_ms", raw.commit_interval_ms, 5000, 10..=600_000)?,
            retry: RetryPolicy {
                first_delay: seconds("retry.first_delay_s", retry.first_delay_s, default.first_delay.as_secs())?,
                max_delay: seconds("retry.max_delay_s", retry.max_delay_s, default.max_delay.as_secs())?,
                max_attempts: NonZeroU32::new(max_attempts as u32).unwrap_or(default.max_attempts),
            },
        })
    }
}

/// Why validation failed.
enum Invalid {
    /// A value is wrong. [`Settings::load`] adds whether it comes from the file or the command line.
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
    let limit = |key, value, default| ranged(key, value, default, 1..=1 << 40);
    Ok(Limits {
        max_file_bytes: limit("limits.max_file_bytes", raw.max_file_bytes, default.max_file_bytes)?,
        max_pixels: limit("limits.max_pixels", raw.max_pixels, default.max_pixels)?,
        max_decode_bytes: limit("limits.max_decode_bytes", raw.max_decode_bytes, default.max_decode_bytes)?,
    })
}

fn default_threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(16)
}

fn absolute(path: &Path) -> Result<PathBuf, Invalid> {
    std::path::absolute(path).map_err(|e| Invalid::Value(format!("the path {path:?} cannot be used: {e}")))
}

fn source(text: Option<&str>) -> Result<SourceChoice, Invalid> {
    match text.unwrap_or("auto") {
        "auto" => Ok(SourceChoice::Auto),
        "inotify" => Ok(SourceChoice::Inotify),
        "poll" => Ok(SourceChoice::Poll),
        other => Err(Invalid::Value(format!("watch.source: {other:?} is unknown: use auto, inotify or poll"))),
    }
}

/// Returns the value, or the default if there is none. Fails if it is outside the range.
fn ranged(key: &str, value: Option<u64>, default: u64, range: RangeInclusive<u64>) -> Result<u64, Invalid> {
    let value = value.unwrap_or(default);
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(Invalid::Value(format!("{key} is {value}; it must be {} to {}", range.start(), range.end())))
    }
}

fn seconds(key: &str, value: Option<u64>, default: u64) -> Result<Duration, Invalid> {
    const YEAR: u64 = 31_536_000;
    Ok(Duration::from_secs(ranged(key, value, default, 1..=YEAR)?))
}

fn milliseconds(key: &str, value: Option<u64>, default: u64, range: RangeInclusive<u64>) -> Result<Duration, Invalid> {
    Ok(Duration::from_millis(ranged(key, value, default, range)?))
}

/// Normalises the tags and removes repetitions. Tags that differ only in case are repetitions.
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
