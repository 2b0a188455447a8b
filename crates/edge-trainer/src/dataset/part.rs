//! The parts that training data are divided into.

use std::fmt;
use std::str::FromStr;

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The weights are fitted to these examples.
    Train,
    /// These examples decide which epoch is kept.
    Validation,
    /// The reported figures are measured on these examples.
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "train" => Ok(Self::Train),
            "validation" | "valid" | "val" => Ok(Self::Validation),
            "test" => Ok(Self::Test),
            _ => Err(format!("split is {text:?}; it must be train, validation or test")),
        }
    }
}
