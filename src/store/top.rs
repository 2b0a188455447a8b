//! The best images of a tag. The ranking equals the view `top_images`, but only the requested rows are read from the index.

use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::params;

use super::Store;
use super::error::Result;
use super::files::sql_limit;
use super::paths::SqlPathBuf;
use super::time::SqlTime;
use crate::identity::ContentId;

/// Query for the best images of a tag. Its cross joins fix the join order for any statistics, so that rows are read in index
/// order without a sort.
pub(super) const TOP: &str = "
    SELECT s.score, s.similarity, s.percentile, i.content_id, i.captured_at, m.digest,
        (SELECT min(f.path) FROM file AS f WHERE f.image_id = s.image_id AND f.state = 'present')
    FROM tag AS t CROSS JOIN model AS m CROSS JOIN score AS s CROSS JOIN image AS i
    WHERE t.text = ?1 COLLATE NOCASE AND m.current = 1 AND s.tag_id = t.id AND s.model_id = m.id AND i.id = s.image_id
        AND EXISTS (SELECT 1 FROM file AS f WHERE f.image_id = s.image_id AND f.state = 'present')
        AND (?3 IS NULL OR coalesce(i.captured_at, i.added_at) >= ?3)
    ORDER BY s.score DESC, s.image_id LIMIT ?2";

/// An image in the ranking of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TopRow {
    /// Rank, starting at 1.
    pub rank: usize,
    /// Score under the tag, on the model's scale.
    pub score: f32,
    /// Cosine of image and text embedding, -1..1.
    pub similarity: Option<f32>,
    /// Share of the tag's reference scores below this score, 0..100.
    pub percentile: Option<f32>,
    /// Path of a present file of the image, the first in SQLite's order.
    pub path: PathBuf,
    /// Content id of the image.
    pub content_id: ContentId,
    /// Capture time, if the image's metadata contain it.
    pub captured_at: Option<Timestamp>,
    /// Digest of the model that scored it.
    pub model_digest: String,
}

impl Store {
    /// Returns the best `limit` present images of a tag by the current model's scores; empty if the tag has no scores.
    ///
    /// `since` excludes images captured earlier. For an image of unknown capture time, the time at which it was first recorded
    /// counts.
    pub fn top(&self, tag: &str, limit: usize, since: Option<Timestamp>) -> Result<Vec<TopRow>> {
        let values = params![tag, sql_limit(limit), since.map(SqlTime)];
        let mut rank = 0;
        self.rows(TOP, values, "rank the images of a tag", |row| {
            rank += 1;
            Ok(TopRow {
                rank,
                score: row.get(0)?,
                similarity: row.get(1)?,
                percentile: row.get(2)?,
                content_id: row.get(3)?,
                captured_at: row.get::<_, Option<SqlTime>>(4)?.map(|time| time.0),
                model_digest: row.get(5)?,
                path: row.get::<_, SqlPathBuf>(6)?.0,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::ToSpan;

    use super::*;
    use crate::store::testing::{NOW, TempStore, new_image, raw_path, stamp};
    use crate::store::{FileState, NewImage, Store};

    fn paths(store: &Store, tag: &str, limit: usize) -> Vec<PathBuf> {
        store.top(tag, limit, None).unwrap().into_iter().map(|row| row.path).collect()
    }

    #[test]
    fn the_best_come_first_and_ties_keep_the_order_of_arrival() {
        let mut store = TempStore::new();
        let model = store.use_model("m");
        for (name, score) in [("/a", 5.0), ("/b", 7.0), ("/c", 5.0), ("/d", -1.0)] {
            let image = store.add_image(name, &[name]);
            store.score(image, "birds", model, score);
        }
        assert_eq!(paths(&store, "birds", 9), ["/b", "/a", "/c", "/d"].map(PathBuf::from));
        assert_eq!(paths(&store, "BIRDS", 2).len(), 2);
        assert!(paths(&store, "unknown", 9).is_empty());
        let first = &store.top("birds", 1, None).unwrap()[0];
        assert_eq!((first.rank, first.score, first.similarity, first.percentile), (1, 7.0, Some(0.25), None));
        assert_eq!(first.model_digest, "digest of m");
    }

    #[test]
    fn an_image_is_ranked_once_under_its_smallest_present_path() {
        let mut store = TempStore::new();
        let model = store.use_model("m");
        let image = store.add_image("a", &["/z", "/y"]);
        store.score(image, "birds", model, 1.0);
        assert_eq!(paths(&store, "birds", 9), [PathBuf::from("/y")]);
        let batch = store.begin().unwrap();
        batch.record_file(&raw_path(b"/a\xff"), image, stamp(1, 1), NOW).unwrap();
        batch.set_file_state(&["/y"], FileState::Missing, NOW).unwrap();
        batch.commit().unwrap();
        assert_eq!(paths(&store, "birds", 9), [PathBuf::from("/z")], "names in UTF-8 come first");
        let batch = store.begin().unwrap();
        batch.set_file_state(&["/z"], FileState::Offline, NOW).unwrap();
        batch.commit().unwrap();
        assert_eq!(paths(&store, "birds", 9), [raw_path(b"/a\xff")]);
        let batch = store.begin().unwrap();
        batch.set_offline_under(Path::new("/"), NOW).unwrap();
        batch.commit().unwrap();
        assert!(paths(&store, "birds", 9).is_empty());
    }

    #[test]
    fn models_are_never_mixed() {
        let mut store = TempStore::new();
        let old = store.use_model("old");
        let [a, b] = ["/a", "/b"].map(|name| store.add_image(name, &[name]));
        store.score(a, "birds", old, 9.0);
        let new = store.use_model("new");
        store.score(b, "birds", new, 1.0);
        assert_eq!(paths(&store, "birds", 9), [PathBuf::from("/b")]);
        store.use_model("old");
        assert_eq!(paths(&store, "birds", 9), [PathBuf::from("/a")]);
    }

    #[test]
    fn since_uses_the_capture_time_or_else_the_arrival() {
        let mut store = TempStore::new();
        let model = store.use_model("m");
        let batch = store.begin().unwrap();
        let images = [("/old", Some(NOW - 48.hours())), ("/new", Some(NOW - 1.hour())), ("/undated", None)];
        let ids = images.map(|(path, captured_at)| {
            let image = batch.record_image(&NewImage { captured_at, ..new_image(path, &[]) }, NOW).unwrap();
            batch.record_file(Path::new(path), image, stamp(1, 1), NOW).unwrap();
            image
        });
        batch.commit().unwrap();
        for id in ids {
            store.score(id, "birds", model, 1.0);
        }
        let since = |time| store.top("birds", 9, Some(time)).unwrap().len();
        assert_eq!(
            [since(NOW - 72.hours()), since(NOW - 2.hours()), since(NOW), since(NOW + 1.second())],
            [3, 2, 1, 0]
        );
    }
}
