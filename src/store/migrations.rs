//! Identification and migration of a database file. Each migration step is one transaction: after a crash the database has the
//! old version or the new one. Only empty files and older databases of this program are changed.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::{Result, StoreError};

/// SQLite application id of this program's databases: `EScr`, at byte 68 of the file.
const APPLICATION_ID: i32 = 0x4553_6372;

/// The schema of a new database.
const SCHEMA: &str = include_str!("schema.sql");

/// The migration steps. Step `n` changes schema version `n` to `n + 1`. Append only; never change a released step.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_initial.sql"), include_str!("migrations/0002_precision.sql")];

/// The schema version that this program reads and writes.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// The kind of a database that this program can use.
#[derive(Debug, PartialEq)]
enum Kind {
    Empty,
    Current,
    Older(u32),
}

/// Returns the kind of the database at `path`. Refuses databases of other programs and newer schemas. Writes nothing.
fn classify(conn: &Connection, path: &Path) -> Result<Kind> {
    let fail = |source| StoreError::from_sqlite(path, "read the database header", source);
    let (application_id, version, objects) = conn
        .query_row(
            "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
                    (SELECT count(*) FROM sqlite_schema)",
            [],
            |row| Ok((row.get::<_, i32>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)),
        )
        .map_err(fail)?;
    if application_id == 0 && version == 0 && objects == 0 {
        return Ok(Kind::Empty);
    }
    if application_id != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.to_owned(), application_id });
    }
    match u32::try_from(version) {
        Ok(SCHEMA_VERSION) => Ok(Kind::Current),
        Ok(older) if older < SCHEMA_VERSION => Ok(Kind::Older(older)),
        newer => {
            let found = newer.unwrap_or(u32::MAX);
            Err(StoreError::TooNew { path: path.to_owned(), found, known: SCHEMA_VERSION })
        }
    }
}

/// Fails if a reader cannot use the database without a migration. Writes nothing.
pub(super) fn require_current(conn: &Connection, path: &Path) -> Result<()> {
    match classify(conn, path)? {
        Kind::Current => Ok(()),
        Kind::Empty => Err(StoreError::NotFound { path: path.to_owned() }),
        Kind::Older(found) => Err(StoreError::NeedsMigration { path: path.to_owned(), found, known: SCHEMA_VERSION }),
    }
}

/// Fails if the database belongs to another program or has a newer schema, so that [`bring_up_to_date`] must not change it.
/// Writes nothing.
pub(super) fn require_ours(conn: &Connection, path: &Path) -> Result<()> {
    classify(conn, path).map(drop)
}

/// Creates the schema in an empty database, or migrates an older one. Returns the version that it migrated from, if any.
///
/// Enforcement of foreign keys must be off, so that a step can rebuild tables. Each step checks the foreign keys before it commits.
pub(super) fn bring_up_to_date(conn: &mut Connection, path: &Path) -> Result<Option<u32>> {
    let mut from = None;
    loop {
        if classify(conn, path)? == Kind::Current {
            return Ok(from);
        }
        let fail = |source| StoreError::from_sqlite(path, "create the schema", source);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        // Another process may have migrated the database in the meantime: check again with the lock held.
        match classify(&tx, path)? {
            Kind::Current => {}
            Kind::Empty => {
                step(&tx, SCHEMA, SCHEMA_VERSION).map_err(fail)?;
                tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
            }
            Kind::Older(version) => {
                from.get_or_insert(version);
                let reason =
                    |reason: String| StoreError::Migrate { path: path.to_owned(), version: version + 1, reason };
                step(&tx, MIGRATIONS[version as usize], version + 1).map_err(|source| match fail(source) {
                    StoreError::Query { source, .. } => reason(source.to_string()),
                    other => other,
                })?;
                let broken = broken_foreign_keys(&tx).map_err(fail)?;
                if broken > 0 {
                    return Err(reason(format!("{broken} rows would refer to rows that do not exist")));
                }
            }
        }
        tx.commit().map_err(fail)?;
    }
}

/// Creates the schema in an empty database.
pub(super) fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(SCHEMA)
}

fn step(conn: &Connection, sql: &str, version: u32) -> rusqlite::Result<()> {
    conn.execute_batch(sql)?;
    conn.pragma_update(None, "user_version", version)
}

fn broken_foreign_keys(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::objects;

    #[test]
    fn an_upgraded_database_equals_a_fresh_one() {
        let mut fresh = Connection::open_in_memory().unwrap();
        assert_eq!(bring_up_to_date(&mut fresh, Path::new("fresh")).unwrap(), None);

        let mut upgraded = Connection::open_in_memory().unwrap();
        upgraded.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        assert_eq!(bring_up_to_date(&mut upgraded, Path::new("upgraded")).unwrap(), Some(0));

        let schema = objects(&fresh).unwrap();
        assert!(schema[&("table".to_owned(), "score".to_owned())].contains("PRIMARY KEY"));
        assert_eq!(schema, objects(&upgraded).unwrap());
        for conn in [&fresh, &upgraded] {
            assert_eq!(classify(conn, Path::new("x")).unwrap(), Kind::Current);
        }
    }

    #[test]
    fn a_newer_database_is_refused() {
        let conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        conn.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        let error = classify(&conn, Path::new("x")).unwrap_err();
        assert!(
            matches!(error, StoreError::TooNew { found, known: SCHEMA_VERSION, .. } if found == SCHEMA_VERSION + 1)
        );
        conn.pragma_update(None, "user_version", -1).unwrap();
        assert!(matches!(classify(&conn, Path::new("x")), Err(StoreError::TooNew { .. })));
    }

    #[test]
    fn a_database_of_another_program_is_refused() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE theirs (x)").unwrap();
        let error = bring_up_to_date(&mut conn, Path::new("x")).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { application_id: 0, .. }));
        conn.pragma_update(None, "application_id", 7).unwrap();
        let error = bring_up_to_date(&mut conn, Path::new("x")).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { application_id: 7, .. }));
        assert_eq!(objects(&conn).unwrap().len(), 1);
    }

    #[test]
    fn a_failing_step_leaves_the_database_as_it_was() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        conn.execute_batch("CREATE TABLE score (in_the_way)").unwrap();
        let error = bring_up_to_date(&mut conn, Path::new("/s.db")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("/s.db: cannot migrate the database to schema version 1: table score already exists"),
            "{text}"
        );
        assert!(
            text.ends_with("The database is unchanged. Keep a copy of the file and please report this message"),
            "{text}"
        );
        assert_eq!(objects(&conn).unwrap().len(), 1, "nothing of the failed step is left");
    }
}
