//! Predictions beside the scores given by people.

use super::bootstrap::Replicate;
use super::names::numbered;

/// A prediction beside the score given by people.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Tag that the image was rated under.
    pub tag: String,
    /// Mean score given by people.
    pub truth: f64,
    /// Score of the model.
    pub prediction: f64,
}

/// Columns of predictions and truths with numbered tags, as the measures read them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScoreSample {
    /// For each row, the number that identifies its tag.
    pub tag: Vec<usize>,
    /// Mean score given by people, by row.
    pub truth: Vec<f64>,
    /// Score of the model, by row.
    pub prediction: Vec<f64>,
}

impl ScoreSample {
    /// Converts predictions without changing their order. Tags are numbered in alphabetical order.
    pub fn of(judged: &[Judged]) -> Self {
        Self {
            tag: numbered(judged.iter().map(|j| j.tag.as_str())).1,
            truth: judged.iter().map(|j| j.truth).collect(),
            prediction: judged.iter().map(|j| j.prediction).collect(),
        }
    }

    /// Selects the rows that a replicate drew, with the tags of the replicate.
    pub fn drawn(judged: &[Judged], replicate: &Replicate) -> Self {
        Self {
            tag: replicate.tags.clone(),
            truth: replicate.rows.iter().map(|&row| judged[row].truth).collect(),
            prediction: replicate.rows.iter().map(|&row| judged[row].prediction).collect(),
        }
    }

    /// Returns the rows of each tag.
    pub(super) fn by_tag(&self) -> Vec<Vec<usize>> {
        let mut rows = vec![Vec::new(); self.tag.iter().max().map_or(0, |&last| last + 1)];
        self.tag.iter().enumerate().for_each(|(row, &tag)| rows[tag].push(row));
        rows
    }
}
