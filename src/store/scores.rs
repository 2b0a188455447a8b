//! Recording and listing of scores. The module `top` ranks them.

use jiff::Timestamp;
use rusqlite::params;

use super::error::{Result, StoreError};
use super::images::sql_real;
use super::time::SqlTime;
use super::{Batch, ImageId, ModelId, Store, TagId};

pub(super) const SCORED_TAGS: &str = "SELECT tag_id FROM score WHERE image_id = ?1 AND model_id = ?2 ORDER BY tag_id";

/// A model's score of an image under a tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewScore {
    /// The score, on the model's scale.
    pub score: f32,
    /// Cosine of image and text embedding, -1..1, if the model computes both.
    pub similarity: Option<f32>,
    /// Share of the tag's reference scores below this score, 0..100, if the model has reference scores.
    pub percentile: Option<f32>,
}

impl Store {
    /// Returns the tags under which the model has scored an image.
    pub fn scored_tags(&self, image_id: ImageId, model_id: ModelId) -> Result<Vec<TagId>> {
        self.rows(SCORED_TAGS, params![image_id, model_id], "list the scores of an image", |row| row.get(0))
    }
}

impl Batch<'_> {
    /// Records a score. It replaces an earlier score of the same model for the same image and tag.
    ///
    /// # Errors
    /// Refuses NaN and infinite numbers, because they cannot be ranked.
    pub fn record_score(
        &self,
        image_id: ImageId,
        tag_id: TagId,
        model_id: ModelId,
        score: &NewScore,
        now: Timestamp,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO score (image_id, tag_id, model_id, score, similarity, percentile, scored_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (image_id, tag_id, model_id) DO UPDATE SET score = excluded.score,
                 similarity = excluded.similarity, percentile = excluded.percentile, scored_at = excluded.scored_at",
            params![
                image_id,
                tag_id,
                model_id,
                finite("score", score.score)?,
                score.similarity.map(|value| finite("similarity", value)).transpose()?,
                score.percentile.map(|value| finite("percentile", value)).transpose()?,
                SqlTime(now),
            ],
            "record a score",
        )
        .map(drop)
    }
}

fn finite(quantity: &'static str, value: f32) -> Result<f64> {
    if value.is_finite() { Ok(sql_real(value)) } else { Err(StoreError::NotFinite { quantity, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{NOW, TempStore};

    #[test]
    fn a_later_score_of_the_same_model_replaces_the_earlier() {
        let mut store = TempStore::new();
        let model = store.use_model("m");
        let image = store.add_image("a", &["/a"]);
        store.score(image, "birds", model, 5.3);
        store.score(image, "birds", model, 6.4);
        let found: (i64, f64) =
            store.conn.query_row("SELECT count(*), score FROM score", [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
        assert_eq!(found, (1, 6.4), "the shortest decimals of the f32 are stored");
        assert_eq!(store.scored_tags(image, model).unwrap(), [store.find_tag("birds").unwrap().unwrap()]);
        let other = store.use_model("other");
        assert!(store.scored_tags(image, other).unwrap().is_empty());
    }

    #[test]
    fn scores_that_are_not_finite_are_refused() {
        let mut store = TempStore::new();
        let model = store.use_model("m");
        let image = store.add_image("a", &["/a"]);
        let batch = store.begin().unwrap();
        let tag = batch.tag_id("birds").unwrap();
        let score = NewScore { score: f32::NAN, similarity: None, percentile: None };
        let error = batch.record_score(image, tag, model, &score, NOW).unwrap_err();
        let text = "the score is NaN, which cannot be recorded. Test the model with `edge-scorer config check`";
        assert_eq!(error.to_string(), text);
        let score = NewScore { score: 1.0, similarity: Some(f32::INFINITY), percentile: None };
        assert!(batch.record_score(image, tag, model, &score, NOW).is_err());
    }

    #[test]
    fn a_score_needs_its_image() {
        let mut store = TempStore::new();
        let model = store.use_model("m");
        let batch = store.begin().unwrap();
        let tag = batch.tag_id("birds").unwrap();
        let score = NewScore { score: 1.0, similarity: None, percentile: None };
        let error = batch.record_score(ImageId(7), tag, model, &score, NOW).unwrap_err();
        assert!(error.to_string().contains("FOREIGN KEY"), "{error}");
    }
}
