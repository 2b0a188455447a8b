//! The models whose scores are stored, and the current one.

use jiff::Timestamp;
use rusqlite::params;

use super::error::Result;
use super::time::SqlTime;
use super::{Batch, ModelId, Store};

pub(super) const CURRENT: &str = "
    SELECT digest, name, device, precision, device_reason FROM model WHERE current = 1";

/// A model to record as the current one.
#[derive(Debug, Clone, Copy)]
pub struct NewModel<'a> {
    /// Model digest: SHA-256 of the bundle's manifest.
    pub digest: &'a str,
    /// Name of the model in its manifest.
    pub name: &'a str,
    /// Text of the bundle's `manifest.json`.
    pub manifest: &'a str,
    /// Digest of the image encoder and input rule.
    pub encoder_digest: &'a str,
    /// Device on which the model runs: `cpu` or `cuda`.
    pub device: &'a str,
    /// Effective precision on this device, such as `f32` or `f16`.
    pub precision: &'a str,
    /// Why this device was chosen.
    pub device_reason: &'a str,
}

/// The current model, whose scores rankings show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Model digest: SHA-256 of the bundle's manifest.
    pub digest: String,
    /// Name of the model in its manifest.
    pub name: String,
    /// Device on which the model runs: `cpu` or `cuda`.
    pub device: String,
    /// Effective precision on this device, such as `f32` or `f16`.
    pub precision: String,
    /// Why this device was chosen.
    pub device_reason: String,
}

impl Store {
    /// Makes a model the current one and returns its row number.
    ///
    /// Rankings show only the current model's scores. The scores of earlier models are kept.
    pub fn register_model(&mut self, model: &NewModel<'_>, now: Timestamp) -> Result<ModelId> {
        let doing = "record the model";
        let batch = self.begin()?;
        batch.execute("UPDATE model SET current = 0 WHERE current = 1 AND digest <> ?1", [model.digest], doing)?;
        batch.execute(
            "INSERT INTO model (digest, name, manifest, encoder_digest, device, precision, device_reason, first_used_at,
                 current)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1)
             ON CONFLICT (digest) DO UPDATE SET name = excluded.name, manifest = excluded.manifest,
                 encoder_digest = excluded.encoder_digest, device = excluded.device, precision = excluded.precision,
                 device_reason = excluded.device_reason, current = 1",
            params![
                model.digest,
                model.name,
                model.manifest,
                model.encoder_digest,
                model.device,
                model.precision,
                model.device_reason,
                SqlTime(now)
            ],
            doing,
        )?;
        let model_id = batch.row("SELECT id FROM model WHERE current = 1", [], doing, |row| row.get(0))?;
        batch.commit()?;
        Ok(model_id)
    }

    /// Returns the current model; none before the first scan.
    pub fn current_model(&self) -> Result<Option<Model>> {
        self.optional_row(CURRENT, [], "read the current model", |row| {
            Ok(Model {
                digest: row.get(0)?,
                name: row.get(1)?,
                device: row.get(2)?,
                precision: row.get(3)?,
                device_reason: row.get(4)?,
            })
        })
    }
}

impl Batch<'_> {
    /// Records the device on which a model runs from now on, its precision there and the reason for the device.
    pub fn set_device(&self, model: ModelId, device: &str, precision: &str, reason: &str) -> Result<()> {
        let sql = "UPDATE model SET device = ?2, precision = ?3, device_reason = ?4 WHERE id = ?1";
        self.execute(sql, params![model, device, precision, reason], "record the device").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{NOW, TempStore};

    #[test]
    fn one_model_is_current_and_an_old_one_can_come_back() {
        let mut store = TempStore::new();
        assert_eq!(store.current_model().unwrap(), None);
        let first = store.use_model("first");
        let second = store.use_model("second");
        assert_ne!(first, second);
        assert_eq!(store.current_model().unwrap().unwrap().name, "second");
        assert_eq!(store.use_model("first"), first);
        let model = store.current_model().unwrap().unwrap();
        assert_eq!((model.name.as_str(), model.device_reason.as_str()), ("first", "no GPU"));
        let sql = "SELECT id, first_used_at FROM model WHERE current = 1";
        let current: Vec<(ModelId, SqlTime)> =
            store.rows(sql, [], "read the current model", |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(current, [(first, SqlTime(NOW))]);
        assert!(store.conn.execute("UPDATE model SET current = 1", []).is_err());
    }
}
