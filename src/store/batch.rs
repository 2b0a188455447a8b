//! One transaction for many images. The commit stores all records of a batch or none.

use std::ops::Deref;

use rusqlite::Params;

use super::Store;
use super::error::{Result, StoreError};

/// An open transaction that holds the write lock. It dereferences to [`Store`] for reading. Dropping it rolls it back.
///
/// After any error, drop the batch and record its content again in a new one: SQLite may have rolled back the transaction.
#[derive(Debug)]
pub struct Batch<'s> {
    store: &'s Store,
}

impl Store {
    /// Starts a transaction and takes the write lock. [`Batch::commit`] stores the whole batch or nothing.
    pub fn begin(&mut self) -> Result<Batch<'_>> {
        self.execute("BEGIN IMMEDIATE", [], "start a transaction")?;
        Ok(Batch { store: self })
    }
}

impl Batch<'_> {
    /// Stores all records of the batch. On an error nothing is stored, and all records must be made again in a new batch.
    pub fn commit(self) -> Result<()> {
        self.execute("COMMIT", [], "commit the transaction").map(drop)
    }

    /// Runs a statement that writes and returns the number of changed rows. Fails if SQLite has rolled back the transaction:
    /// the statement would then be committed without the other records of the batch.
    pub(super) fn execute(&self, sql: &str, params: impl Params, doing: &'static str) -> Result<usize> {
        if self.store.conn.is_autocommit() {
            return Err(StoreError::Undone { path: self.store.path.clone(), doing });
        }
        self.store.execute(sql, params, doing)
    }
}

impl Deref for Batch<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.store
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.store.conn.is_autocommit() {
            return;
        }
        if let Err(error) = self.store.execute("ROLLBACK", [], "roll back the transaction") {
            log::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{NOW, TempStore};

    #[test]
    fn a_batch_is_stored_as_a_whole_or_not_at_all() {
        let mut store = TempStore::new();
        let batch = store.begin().unwrap();
        batch.tag_id("birds").unwrap();
        drop(batch);
        assert_eq!(store.find_tag("birds").unwrap(), None);

        let batch = store.begin().unwrap();
        let birds = batch.tag_id("birds").unwrap();
        batch.commit().unwrap();
        assert_eq!(store.find_tag("birds").unwrap(), Some(birds));
    }

    #[test]
    fn nothing_is_written_after_sqlite_rolled_back_the_transaction() {
        let mut store = TempStore::new();
        let batch = store.begin().unwrap();
        batch.store.execute("ROLLBACK", [], "play a full disk").unwrap();
        let error = batch.tag_id("birds").unwrap_err();
        assert!(matches!(error, StoreError::Undone { .. }) && error.is_transient());
        assert!(batch.commit().is_err());
        assert_eq!(store.find_tag("birds").unwrap(), None);
    }

    #[test]
    fn a_reader_sees_the_last_commit_while_a_batch_is_open() {
        let mut store = TempStore::new();
        let reader = Store::open_read_only(&store.path).unwrap();
        let batch = store.begin().unwrap();
        batch.tag_id("birds").unwrap();
        assert_eq!(reader.find_tag("birds").unwrap(), None);
        batch.commit().unwrap();
        assert!(reader.find_tag("birds").unwrap().is_some());
        assert!(store.checkpoint().unwrap());
        assert_eq!(store.counts().unwrap().last_scored_at, None);
        assert!(store.retry_failures(None, NOW).unwrap() == 0);
    }
}
