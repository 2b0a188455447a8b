//! The distinct images and their stored embeddings, with queries by content, by row number and by encoder.

use std::path::PathBuf;

use half::f16;
use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, params};

use super::error::Result;
use super::files::sql_limit;
use super::paths::SqlPathBuf;
use super::time::SqlTime;
use super::{Batch, ImageId, Store, sql_size};
use crate::identity::ContentId;

pub(super) const BY_CONTENT: &str = "SELECT id, encoder_digest FROM image WHERE content_id = ?1";
/// Query for images with an embedding. INDEXED BY names the index, because SQLite does not choose it if the statistics show
/// a single encoder.
pub(super) const WITH_EMBEDDING: &str = "
    SELECT i.id, i.embedding FROM image AS i INDEXED BY image_by_encoder
    WHERE i.encoder_digest = ?1 AND i.id > ?2
        AND EXISTS (SELECT 1 FROM file AS f WHERE f.image_id = i.id AND f.state = 'present')
    ORDER BY i.id LIMIT ?3";
pub(super) const BY_ID: &str = "
    SELECT content_id, (SELECT min(f.path) FROM file AS f WHERE f.image_id = i.id AND f.state = 'present'), captured_at,
        added_at
    FROM image AS i WHERE id = ?1";

/// An image embedding to record.
#[derive(Debug, Clone, Copy)]
pub struct NewEmbedding<'a> {
    /// The embedding, `[D]`, not normalised.
    pub values: &'a [f16],
    /// Digest of the image encoder and input rule.
    pub encoder_digest: &'a str,
}

/// The facts about an image that are recorded with its scores.
#[derive(Debug, Clone)]
pub struct NewImage<'a> {
    /// Content id of the image.
    pub content_id: ContentId,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Format of the file: `jpeg`, `png` or `webp`.
    pub format: &'a str,
    /// Width after the EXIF orientation is applied.
    pub width_px: u32,
    /// Height after the EXIF orientation is applied.
    pub height_px: u32,
    /// Capture time, if the image's metadata contain it.
    pub captured_at: Option<Timestamp>,
    /// Image embedding, if the model can score further tags from it.
    pub embedding: Option<NewEmbedding<'a>>,
    /// Mean luma of the decoded picture, 0..1.
    pub brightness: Option<f32>,
    /// Standard deviation of the luma, 0..0.5.
    pub contrast: Option<f32>,
    /// Standard deviation of the luma's Laplacian.
    pub sharpness: Option<f32>,
}

/// A recorded image, found by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Row number of the image in the database.
    pub image_id: ImageId,
    /// Digest of the encoder that computed the stored embedding; none if no embedding is stored.
    pub encoder_digest: Option<String>,
}

/// An image embedding that the database has stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEmbedding {
    /// Row number of the image in the database.
    pub image_id: ImageId,
    /// The embedding, `[D]`, not normalised.
    pub values: Vec<f16>,
}

/// The recorded data of an image that a ranking needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRow {
    /// Content id of the image.
    pub content_id: ContentId,
    /// Path of a present file of the image, the first in SQLite's order; none if no file is present.
    pub path: Option<PathBuf>,
    /// Capture time, if the image's metadata contain it.
    pub captured_at: Option<Timestamp>,
    /// Time at which this database first recorded the image.
    pub added_at: Timestamp,
}

impl Store {
    /// Returns the image with this content. Renamed and copied files have the same image and need no new scores.
    pub fn image_by_content(&self, content_id: &ContentId) -> Result<Option<StoredImage>> {
        self.optional_row(BY_CONTENT, [content_id], "look up an image", |row| {
            Ok(StoredImage { image_id: row.get(0)?, encoder_digest: row.get(1)? })
        })
    }

    /// Returns the recorded data of an image.
    pub fn image(&self, image_id: ImageId) -> Result<Option<ImageRow>> {
        self.optional_row(BY_ID, [image_id], "read an image", image_row)
    }

    /// Returns the stored embedding of an image if this encoder computed it.
    pub fn embedding(&self, image_id: ImageId, encoder_digest: &str) -> Result<Option<Vec<f16>>> {
        let sql = "SELECT embedding FROM image WHERE id = ?1 AND encoder_digest = ?2";
        self.optional_row(sql, params![image_id, encoder_digest], "read an embedding", |row| {
            Ok(row.get::<_, SqlEmbedding>(0)?.0)
        })
    }

    /// Returns one page of the present images that have an embedding of this encoder: at most `limit`, in ascending order of id,
    /// after `after`.
    pub fn images_with_embedding(
        &self,
        encoder_digest: &str,
        after: Option<ImageId>,
        limit: usize,
    ) -> Result<Vec<StoredEmbedding>> {
        let values = params![encoder_digest, sql_after(after), sql_limit(limit)];
        self.rows(WITH_EMBEDDING, values, "list embeddings", stored_embedding)
    }
}

impl Batch<'_> {
    /// Records an image and returns its row number.
    ///
    /// If the content is recorded already, new values replace the recorded ones and absent values leave them unchanged.
    pub fn record_image(&self, image: &NewImage<'_>, now: Timestamp) -> Result<ImageId> {
        let embedding = image.embedding.map(|embedding| SqlEmbedding(embedding.values.to_vec()));
        self.execute(
            "INSERT INTO image (content_id, size_bytes, format, width_px, height_px, captured_at, brightness, contrast,
                 sharpness, added_at, encoder_digest, embedding)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (content_id) DO UPDATE SET
                 captured_at = coalesce(excluded.captured_at, captured_at),
                 brightness = coalesce(excluded.brightness, brightness),
                 contrast = coalesce(excluded.contrast, contrast),
                 sharpness = coalesce(excluded.sharpness, sharpness),
                 encoder_digest = coalesce(excluded.encoder_digest, encoder_digest),
                 embedding = coalesce(excluded.embedding, embedding)",
            params![
                image.content_id,
                sql_size(image.size_bytes),
                image.format,
                image.width_px,
                image.height_px,
                image.captured_at.map(SqlTime),
                sql_measure(image.brightness),
                sql_measure(image.contrast),
                sql_measure(image.sharpness),
                SqlTime(now),
                image.embedding.map(|embedding| embedding.encoder_digest),
                embedding,
            ],
            "record an image",
        )?;
        self.row(BY_CONTENT, [image.content_id], "record an image", |row| row.get(0))
    }
}

/// Stores NaN and infinite values as NULL.
fn sql_measure(value: Option<f32>) -> Option<f64> {
    value.filter(|value| value.is_finite()).map(sql_real)
}

/// Returns the f64 with the fewest decimals that converts back to the same f32: 5.3, not 5.300000190734863.
pub(super) fn sql_real(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Returns the id after which a page starts; 0 for the first page, because row numbers start at 1.
fn sql_after(after: Option<ImageId>) -> i64 {
    after.map_or(0, |id| id.0)
}

/// An embedding as a blob of little-endian f16 values.
#[derive(Debug, PartialEq)]
struct SqlEmbedding(Vec<f16>);

impl ToSql for SqlEmbedding {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()))
    }
}

impl FromSql for SqlEmbedding {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let (pairs, rest) = value.as_blob()?.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(FromSqlError::other(std::io::Error::other("the stored embedding has an odd number of bytes")));
        }
        Ok(Self(pairs.iter().map(|&bytes| f16::from_le_bytes(bytes)).collect()))
    }
}

fn stored_embedding(row: &Row<'_>) -> rusqlite::Result<StoredEmbedding> {
    Ok(StoredEmbedding { image_id: row.get(0)?, values: row.get::<_, SqlEmbedding>(1)?.0 })
}

fn image_row(row: &Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok(ImageRow {
        content_id: row.get(0)?,
        path: row.get::<_, Option<SqlPathBuf>>(1)?.map(|path| path.0),
        captured_at: row.get::<_, Option<SqlTime>>(2)?.map(|time| time.0),
        added_at: row.get::<_, SqlTime>(3)?.0,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::FileState;
    use crate::store::testing::{ENCODER, NOW, TempStore, new_image, stamp};

    #[test]
    fn an_image_reads_back_as_it_was_recorded() {
        let mut store = TempStore::new();
        let values = [f16::from_f32(-1.5), f16::MAX, f16::from_f32(0.1), f16::MIN_POSITIVE_SUBNORMAL];
        let captured_at = "2025-06-07T08:09:10Z".parse().unwrap();
        let image = NewImage { captured_at: Some(captured_at), contrast: Some(f32::NAN), ..new_image("a", &values) };
        let batch = store.begin().unwrap();
        let image_id = batch.record_image(&image, NOW).unwrap();
        batch.record_file(Path::new("/z"), image_id, stamp(1, 1), NOW).unwrap();
        batch.record_file(Path::new("/b"), image_id, stamp(1, 1), NOW).unwrap();
        batch.record_file(Path::new("/a"), image_id, stamp(1, 1), NOW).unwrap();
        batch.set_file_state(&["/a"], FileState::Missing, NOW).unwrap();
        batch.commit().unwrap();

        assert_eq!(store.embedding(image_id, ENCODER).unwrap().as_deref(), Some(&values[..]));
        assert_eq!(store.embedding(image_id, "another").unwrap(), None);
        let row = store.image(image_id).unwrap().unwrap();
        assert_eq!(row.path, Some("/b".into()), "the smallest present path");
        assert_eq!(row.content_id, ContentId::of(b"a"));
        assert_eq!((row.captured_at, row.added_at), (Some(captured_at), NOW));
        let sql = "SELECT format, width_px, height_px, size_bytes, brightness, contrast FROM image WHERE id = ?1";
        let found: (String, u32, u32, i64, Option<f32>, Option<f32>) = store
            .row(sql, [image_id], "read an image", |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            })
            .unwrap();
        assert_eq!(found, ("jpeg".to_owned(), 40, 30, 100, Some(0.5), None), "NaN is stored as NULL");
        assert_eq!(store.image(ImageId(99)).unwrap(), None);
    }

    #[test]
    fn recording_again_completes_an_image_and_replaces_its_embedding() {
        let mut store = TempStore::new();
        let bare = NewImage { embedding: None, ..new_image("a", &[]) };
        let batch = store.begin().unwrap();
        let image_id = batch.record_image(&bare, NOW).unwrap();
        let known = batch.image_by_content(&bare.content_id).unwrap();
        assert_eq!(known, Some(StoredImage { image_id, encoder_digest: None }));
        assert_eq!(batch.record_image(&new_image("a", &[f16::ONE]), NOW).unwrap(), image_id);
        assert_eq!(batch.record_image(&bare, NOW).unwrap(), image_id);
        batch.commit().unwrap();
        let known = store.image_by_content(&bare.content_id).unwrap();
        assert_eq!(known, Some(StoredImage { image_id, encoder_digest: Some(ENCODER.into()) }));
        assert_eq!(store.image_by_content(&ContentId::of(b"b")).unwrap(), None);
    }

    #[test]
    fn only_embeddings_of_present_images_and_of_the_encoder_are_listed() {
        let mut store = TempStore::new();
        let present = store.add_image("present", &["/present"]);
        store.add_image("gone", &[]);
        let batch = store.begin().unwrap();
        let bare = batch.record_image(&NewImage { embedding: None, ..new_image("bare", &[]) }, NOW).unwrap();
        batch.record_file(Path::new("/bare"), bare, stamp(1, 1), NOW).unwrap();
        batch.commit().unwrap();
        assert_eq!(
            store.images_with_embedding(ENCODER, None, 9).unwrap(),
            [StoredEmbedding { image_id: present, values: vec![f16::ONE] }]
        );
        assert_eq!(store.images_with_embedding(ENCODER, Some(present), 9).unwrap(), []);
        assert_eq!(store.images_with_embedding("another", None, 9).unwrap(), []);
    }
}
