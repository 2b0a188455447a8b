//! Tags, and the tags of each image with their reasons. Callers decide which tags apply.

use rusqlite::params;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use super::error::Result;
use super::images::sql_real;
use super::{Batch, ImageId, Store, TagId};

pub(super) const FIND: &str = "SELECT id FROM tag WHERE text = ?1 COLLATE NOCASE";
pub(super) const OF_IMAGE: &str = "
    SELECT t.id, t.text, it.reason, it.confidence FROM image_tag AS it CROSS JOIN tag AS t ON t.id = it.tag_id
    WHERE it.image_id = ?1 ORDER BY it.tag_id, it.reason";
pub(super) const SUMMARIES: &str = "
    SELECT t.text, count(s.score) AS images, avg(s.score) FROM tag AS t
    LEFT JOIN score AS s ON s.tag_id = t.id AND s.model_id = (SELECT m.id FROM model AS m WHERE m.current = 1)
        AND EXISTS (SELECT 1 FROM file AS f WHERE f.image_id = s.image_id AND f.state = 'present')
    GROUP BY t.id ORDER BY images DESC, t.text";

/// Why a tag applies to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagReason {
    /// The tag is one of the image's embedded keywords.
    Keyword,
    /// The tag is the name of the image's directory.
    Directory,
    /// The tag is among the most similar tags of the vocabulary.
    Similarity,
    /// The tag is set in the configuration or on the command line.
    Manual,
    /// The tag is a default tag of the bundle, for an image without other tags.
    Default,
}

impl TagReason {
    /// Returns the value stored in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::Directory => "directory",
            Self::Similarity => "similarity",
            Self::Manual => "manual",
            Self::Default => "default",
        }
    }
}

impl ToSql for TagReason {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_str().to_sql()
    }
}

impl FromSql for TagReason {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        [Self::Keyword, Self::Directory, Self::Similarity, Self::Manual, Self::Default]
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| FromSqlError::other(std::io::Error::other(format!("unknown tag reason {text:?}"))))
    }
}

/// A tag of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageTag {
    /// Row number of the tag in the database.
    pub tag_id: TagId,
    /// Text of the tag.
    pub text: String,
    /// Why the tag applies.
    pub reason: TagReason,
    /// Confidence, 0..1, if the reason provides one.
    pub confidence: Option<f32>,
}

/// A tag and a summary of the current model's scores under it.
#[derive(Debug, Clone, PartialEq)]
pub struct TagSummary {
    /// Text of the tag.
    pub text: String,
    /// Number of present images that the current model has scored under the tag.
    pub images: u64,
    /// Mean score of the counted images under the tag; `None` if there are none.
    pub mean_score: Option<f64>,
}

impl Store {
    /// Returns the tag with this text. The case of ASCII letters is ignored.
    pub fn find_tag(&self, text: &str) -> Result<Option<TagId>> {
        self.optional_row(FIND, [text], "look up a tag", |row| row.get(0))
    }

    /// Returns all tags, those with the most images first.
    pub fn tags(&self) -> Result<Vec<TagSummary>> {
        self.rows(SUMMARIES, [], "list the tags", |row| {
            Ok(TagSummary { text: row.get(0)?, images: row.get::<_, i64>(1)?.unsigned_abs(), mean_score: row.get(2)? })
        })
    }

    /// Returns the tags of an image, one entry for each tag and reason.
    pub fn tags_of_image(&self, image_id: ImageId) -> Result<Vec<ImageTag>> {
        self.rows(OF_IMAGE, [image_id], "list the tags of an image", |row| {
            Ok(ImageTag { tag_id: row.get(0)?, text: row.get(1)?, reason: row.get(2)?, confidence: row.get(3)? })
        })
    }
}

impl Batch<'_> {
    /// Returns the tag with this text and records it if it is new. The text is stored unchanged, so callers normalise it first.
    pub fn tag_id(&self, text: &str) -> Result<TagId> {
        if let Some(tag_id) = self.find_tag(text)? {
            return Ok(tag_id);
        }
        self.execute("INSERT INTO tag (text) VALUES (?1)", [text], "record a tag")?;
        self.row(FIND, [text], "record a tag", |row| row.get(0))
    }

    /// Records that a tag applies to an image for this reason. Replaces the confidence of an earlier record.
    pub fn record_image_tag(
        &self,
        image_id: ImageId,
        tag_id: TagId,
        reason: TagReason,
        confidence: Option<f32>,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO image_tag (image_id, tag_id, reason, confidence) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (image_id, tag_id, reason) DO UPDATE SET confidence = excluded.confidence",
            params![image_id, tag_id, reason, confidence.map(sql_real)],
            "record a tag of an image",
        )
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempStore;

    #[test]
    fn a_tag_has_one_row_whatever_its_case() {
        let mut store = TempStore::new();
        let batch = store.begin().unwrap();
        let birds = batch.tag_id("Birds").unwrap();
        assert_eq!(batch.tag_id("birds").unwrap(), birds);
        assert_ne!(batch.tag_id("it's a \"bird\"; DROP TABLE tag --").unwrap(), birds);
        batch.commit().unwrap();
        assert_eq!(store.find_tag("BIRDS").unwrap(), Some(birds));
        assert_eq!(store.tags().unwrap().len(), 2);
    }

    #[test]
    fn an_image_can_have_a_tag_for_several_reasons() {
        let mut store = TempStore::new();
        let image = store.add_image("b", &["/b.jpg"]);
        let batch = store.begin().unwrap();
        let birds = batch.tag_id("birds").unwrap();
        batch.record_image_tag(image, birds, TagReason::Similarity, Some(0.5)).unwrap();
        batch.record_image_tag(image, birds, TagReason::Keyword, None).unwrap();
        batch.record_image_tag(image, birds, TagReason::Similarity, Some(0.75)).unwrap();
        batch.commit().unwrap();
        let tags: Vec<_> =
            store.tags_of_image(image).unwrap().into_iter().map(|tag| (tag.text, tag.reason, tag.confidence)).collect();
        let birds = || "birds".to_owned();
        assert_eq!(tags, [(birds(), TagReason::Keyword, None), (birds(), TagReason::Similarity, Some(0.75))]);
    }

    #[test]
    fn summaries_count_present_images_of_the_current_model() {
        let mut store = TempStore::new();
        let old = store.use_model("old");
        let [a, b, gone] =
            [("a", "/a"), ("b", "/b"), ("gone", "/gone")].map(|(name, path)| store.add_image(name, &[path]));
        store.score(a, "birds", old, 1.0);
        let new = store.use_model("new");
        store.score(a, "birds", new, 4.0);
        store.score(b, "birds", new, 5.0);
        store.score(gone, "birds", new, 9.0);
        store.score(gone, "empty", new, 9.0);
        let batch = store.begin().unwrap();
        batch.set_file_state(&["/gone"], crate::store::FileState::Missing, crate::store::testing::NOW).unwrap();
        batch.commit().unwrap();
        let summaries: Vec<_> =
            store.tags().unwrap().into_iter().map(|tag| (tag.text, tag.images, tag.mean_score)).collect();
        assert_eq!(summaries, [("birds".to_owned(), 2, Some(4.5)), ("empty".to_owned(), 0, None)]);
    }
}
