//! The configuration file as written. Every key is optional. An unknown key is an error that names the most similar known key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist or cannot be read.
    #[error("{}: the configuration cannot be read: {source}. Check the path and its permissions", path.display())]
    Unreadable {
        /// Path of the configuration file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{}: the configuration is not valid:\n{reason}", path.display())]
    Syntax {
        /// Path of the configuration file.
        path: PathBuf,
        /// The parser's message, with line and column.
        reason: String,
    },
    /// The file has an unknown key.
    #[error("{}:{line}: unknown key {key}{}", path.display(), nearest.as_ref().map_or_else(
        || format!("; the known keys are {}", known.join(", ")), |n| format!("; did you mean {n}?")))]
    UnknownKey {
        /// Path of the configuration file.
        path: PathBuf,
        /// The line of the key, counted from 1.
        line: usize,
        /// The key with its table, such as `watch.dris`.
        key: String,
        /// The most similar known key, if one is similar enough.
        nearest: Option<String>,
        /// All known keys of the table in which the unknown key is.
        known: Vec<String>,
    },
    /// A value of the file is invalid.
    #[error("{}: {reason}", path.display())]
    Value {
        /// Path of the configuration file.
        path: PathBuf,
        /// The key and the problem with its value.
        reason: String,
    },
    /// A value of the command line is invalid.
    #[error("{reason}")]
    CommandLine {
        /// The key and the problem with its value.
        reason: String,
    },
    /// No bundle is named and the shipped one was not found.
    #[error(
        "no model: the shipped bundle was found neither in a models directory above the program nor in a share directory. Give --model DIR or set [model] dir"
    )]
    NoModel,
    /// No database is named and no state directory is known.
    #[error("no database: neither XDG_STATE_HOME nor HOME is set. Give --db FILE or set [store] path")]
    NoDatabase,
}

/// The contents of the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "each table is described where it is defined and in systemd/edge-scorer.toml")]
pub struct RawConfig {
    pub model: RawModel,
    pub watch: RawWatch,
    pub tags: RawTags,
    pub store: RawStore,
    pub retry: RawRetry,
    pub limits: RawLimits,
    pub threads: RawThreads,
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: Option<$type>,)* }
    };
}

table! {
    /// `[model]`
    RawModel {
        /// Directory of the bundle.
        dir: PathBuf,
        /// The device that the model runs on: `auto`, `cpu` or `cuda`.
        device: String,
        /// The precision of large products: `f32`, `f16` or `int8`.
        precision: String,
    }
}
table! {
    /// `[watch]`
    RawWatch {
        /// The watched directories.
        dirs: Vec<PathBuf>,
        /// Whether subdirectories are watched too.
        recursive: bool,
        /// How changes are found: `auto`, `inotify` or `poll`.
        source: String,
        /// Whether newly arrived files are scored before files that a scan found.
        new_first: bool,
        /// Milliseconds without a change after which a file is complete.
        settle_ms: u64,
        /// Seconds between two scans of a polled directory.
        poll_interval_s: u64,
        /// Seconds between two scans that look for files for which no hint arrived.
        rescan_interval_s: u64,
    }
}
table! {
    /// `[tags]`
    RawTags {
        /// Tags that every image gets.
        always: Vec<String>,
        /// Whether the keywords embedded in an image file become tags.
        from_keywords: bool,
        /// Whether the name of an image file's directory becomes a tag.
        from_directory: bool,
        /// Number of tags that each image gets from the bundle's vocabulary.
        from_similarity: u64,
    }
}
table! {
    /// `[store]`
    RawStore {
        /// Path of the database file.
        path: PathBuf,
        /// Maximum number of images in one commit.
        commit_images: u64,
        /// Milliseconds between two commits.
        commit_interval_ms: u64,
    }
}
table! {
    /// `[retry]`
    RawRetry {
        /// Seconds until the first retry. The delay doubles with each retry.
        first_delay_s: u64,
        /// Maximum number of seconds between two retries.
        max_delay_s: u64,
        /// Number of attempts after which a file is quarantined.
        max_attempts: u64,
    }
}
table! {
    /// `[limits]`
    RawLimits {
        /// Maximum size of a file in bytes.
        max_file_bytes: u64,
        /// Maximum number of pixels of a picture.
        max_pixels: u64,
        /// Maximum memory of a decoded picture in bytes.
        max_decode_bytes: u64,
        /// Maximum number of seconds to read and decode one file.
        decode_timeout_s: u64,
        /// Seconds without a result after which pending work counts as stuck.
        stuck_timeout_s: u64,
        /// Maximum number of seconds for one run of a graph on a GPU.
        gpu_timeout_s: u64,
    }
}
table! {
    /// `[threads]`
    RawThreads {
        /// Number of threads that decode files; each has one decoder.
        decode: u64,
    }
}

impl RawConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] and the errors of [`RawConfig::parse`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Parses the text of a configuration file. `path` is used in messages.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`], [`ConfigError::UnknownKey`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let syntax = |e: toml::de::Error| ConfigError::Syntax { path: path.to_owned(), reason: e.to_string() };
        let table = DeTable::parse(text).map_err(syntax)?;
        // The serialised defaults contain every known key.
        let known = serde_json::to_value(Self::default()).unwrap_or_default();
        if let Some(unknown) = find_unknown(table.get_ref(), &known, "") {
            let line = text[..unknown.offset].matches('\n').count() + 1;
            let nearest = nearest(&unknown.key, &unknown.known).map(|k| format!("{}{k}", unknown.prefix));
            let key = format!("{}{}", unknown.prefix, unknown.key);
            return Err(ConfigError::UnknownKey { path: path.to_owned(), line, key, nearest, known: unknown.known });
        }
        toml::from_str(text).map_err(syntax)
    }
}

/// An unknown key in the configuration file.
struct UnknownKey {
    /// Name of the table in which the key is, with a dot at the end, such as `watch.`; empty at the top level.
    prefix: String,
    key: String,
    /// Byte offset of the key in the file.
    offset: usize,
    /// All known keys of that table.
    known: Vec<String>,
}

/// Finds the first key of `table` that the object `known` does not have.
fn find_unknown(table: &DeTable<'_>, known: &serde_json::Value, prefix: &str) -> Option<UnknownKey> {
    let known = known.as_object()?;
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref().as_ref();
        match (known.get(name), value.get_ref()) {
            (None, _) => Some(UnknownKey {
                prefix: prefix.to_owned(),
                key: name.to_owned(),
                offset: key.span().start,
                // The order of serde_json's maps depends on its features, so the keys are sorted.
                known: known.keys().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
            }),
            (Some(inner), DeValue::Table(table)) => find_unknown(table, inner, &format!("{prefix}{name}.")),
            _ => None,
        }
    })
}

/// Returns the known key that is most similar to `key`; none if no key is similar enough to be a likely correction.
fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a String> {
    let scored = known.iter().map(|k| (strsim::jaro_winkler(key, k), k));
    scored.filter(|(similarity, _)| *similarity > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, k)| k)
}
