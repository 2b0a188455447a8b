//! The step at which a file failed, as recorded in the ledger of failures.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

/// The step at which a file failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The file's bytes could not be read.
    Read,
    /// The file's bytes are not a valid, complete image.
    Decode,
    /// The file exceeds a limit of the configuration.
    Limit,
    /// The model could not embed or score the image.
    Infer,
    /// The decoder process terminated while it processed this file.
    Crash,
    /// The decoder process exceeded the configured time limit.
    Time,
}

impl Stage {
    const ALL: [Self; 6] = [Self::Read, Self::Decode, Self::Limit, Self::Infer, Self::Crash, Self::Time];

    /// Returns the value stored in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Limit => "limit",
            Self::Infer => "infer",
            Self::Crash => "crash",
            Self::Time => "time",
        }
    }
}

impl ToSql for Stage {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_str().to_sql()
    }
}

impl FromSql for Stage {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        let known = Self::ALL.into_iter().find(|stage| stage.as_str() == word);
        known.ok_or_else(|| FromSqlError::other(std::io::Error::other(format!("unknown stage {word:?}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_reads_back_from_its_word() {
        for stage in Stage::ALL {
            assert_eq!(Stage::column_result(stage.as_str().into()).unwrap(), stage);
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("{:?}", stage.as_str()));
        }
        assert!(Stage::column_result("elsewhere".into()).is_err());
    }
}
