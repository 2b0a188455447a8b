//! Folds of a cross-validation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A fold of a cross-validation: one of `of` equal shares of a data set's split units. The fold is the test part; the
/// other shares are for training and validation. The text form is `number/of`, such as `2/5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fold {
    /// Number of the fold, from 1.
    pub number: usize,
    /// Number of folds that the split units are divided into.
    pub of: usize,
}

impl FromStr for Fold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((number, of)) if of >= 2 && (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(format!("the fold is {text:?}; write it like 2/5, which is the second of five folds")),
        }
    }
}

impl TryFrom<String> for Fold {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Fold> for String {
    fn from(fold: Fold) -> Self {
        fold.to_string()
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_survives_its_own_text_and_others_are_refused() {
        assert_eq!("2/5".parse::<Fold>().unwrap(), Fold { number: 2, of: 5 });
        assert_eq!(Fold { number: 5, of: 5 }.to_string().parse::<Fold>().unwrap().number, 5);
        for wrong in ["5", "0/5", "6/5", "1/1", "a/b"] {
            assert!(wrong.parse::<Fold>().unwrap_err().contains("2/5"), "{wrong}");
        }
    }
}
