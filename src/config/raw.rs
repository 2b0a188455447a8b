//! The configuration file as written: every key optional, every unknown key an error that names the nearest right one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

/// Why there is no configuration to run on.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("{}: the configuration cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not TOML or a value has the wrong type.
    #[error("{}: the configuration is not valid:\n{reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        reason: String,
    },
    /// The file has a key that does not exist.
    #[error("{}:{line}: unknown key {key}{}", path.display(), nearest.as_ref().map_or_else(
        || format!("; the keys here are {}", known.join(", ")), |n| format!("; did you mean {n}?")))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// The key with its table, such as `watch.dris`.
        key: String,
        /// The most similar key that exists, if one is similar.
        nearest: Option<String>,
        /// All keys of that table.
        known: Vec<String>,
    },
    /// A value is out of its range.
    #[error("{}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A value from the command line is not usable.
    #[error("{reason}")]
    CommandLine {
        /// What is wrong.
        reason: String,
    },
    /// No bundle was named and the shipped one is not where it is looked for.
    #[error(
        "no model: the shipped bundle is neither near the program nor in a share directory. Give --model DIR or set [model] dir"
    )]
    NoModel,
    /// No database was named and no state directory is known.
    #[error("no database: neither XDG_STATE_HOME nor HOME is set. Give --db FILE or set [store] path")]
    NoDatabase,
}

/// The whole file.
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
        /// The bundle's directory.
        dir: PathBuf,
        /// `auto`, `cpu` or `cuda`.
        device: String,
        /// `f32`, `f16` or `int8`.
        precision: String,
    }
}
table! {
    /// `[watch]`
    RawWatch {
        /// The directories.
        dirs: Vec<PathBuf>,
        /// Whether subdirectories belong to them.
        recursive: bool,
        /// `auto`, `inotify` or `poll`.
        source: String,
        /// Whether files that arrive go before those that a scan has found.
        new_first: bool,
        /// Milliseconds without change after which a file counts as complete.
        settle_ms: u64,
        /// Seconds between scans when polling.
        poll_interval_s: u64,
        /// Seconds between confirming scans.
        rescan_interval_s: u64,
    }
}
table! {
    /// `[tags]`
    RawTags {
        /// Tags of every image.
        always: Vec<String>,
        /// Whether embedded keywords are tags.
        from_keywords: bool,
        /// Whether the directory's name is a tag.
        from_directory: bool,
        /// How many similar tags of the vocabulary.
        from_similarity: u64,
    }
}
table! {
    /// `[store]`
    RawStore {
        /// The database file.
        path: PathBuf,
        /// Images per commit at most.
        commit_images: u64,
        /// Milliseconds between commits.
        commit_interval_ms: u64,
    }
}
table! {
    /// `[retry]`
    RawRetry {
        /// Seconds until the first retry; doubled each time.
        first_delay_s: u64,
        /// Seconds between retries at most.
        max_delay_s: u64,
        /// Attempts until quarantine.
        max_attempts: u64,
    }
}
table! {
    /// `[limits]`
    RawLimits {
        /// Largest file in bytes.
        max_file_bytes: u64,
        /// Most pixels of a picture.
        max_pixels: u64,
        /// Most memory of a decoded picture in bytes.
        max_decode_bytes: u64,
        /// Seconds that reading and decoding of one file may take.
        decode_timeout_s: u64,
        /// Seconds without a result after which work counts as stuck.
        stuck_timeout_s: u64,
    }
}
table! {
    /// `[threads]`
    RawThreads {
        /// Threads that decode.
        decode: u64,
    }
}

impl RawConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] and those of [`RawConfig::parse`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Parses the text of a file; `path` serves messages.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`], [`ConfigError::UnknownKey`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let syntax = |e: toml::de::Error| ConfigError::Syntax { path: path.to_owned(), reason: e.to_string() };
        let table = DeTable::parse(text).map_err(syntax)?;
        // The defaults, written out, are the list of all keys.
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

struct Unknown {
    prefix: String,
    key: String,
    offset: usize,
    known: Vec<String>,
}

fn find_unknown(table: &DeTable<'_>, known: &serde_json::Value, prefix: &str) -> Option<Unknown> {
    let known = known.as_object()?;
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref().as_ref();
        match (known.get(name), value.get_ref()) {
            (None, _) => Some(Unknown {
                prefix: prefix.to_owned(),
                key: name.to_owned(),
                offset: key.span().start,
                // In an order that does not depend on how serde_json was built.
                known: known.keys().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
            }),
            (Some(inner), DeValue::Table(table)) => find_unknown(table, inner, &format!("{prefix}{name}.")),
            _ => None,
        }
    })
}

fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a String> {
    let scored = known.iter().map(|k| (strsim::jaro_winkler(key, k), k));
    scored.filter(|(similarity, _)| *similarity > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, k)| k)
}
