//! What kind of database a file holds, and how it comes to the schema that this program reads and writes. Each step is one
//! transaction: after a crash the database has the old version or the new one. Nothing but an empty file or an older database
//! of this application is ever written to.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::{Result, StoreError};

/// Marks a database as this application's: `EScr`, at byte 68 of the file.
const APPLICATION_ID: i32 = 0x4553_6372;

/// The schema of a fresh database.
const SCHEMA: &str = include_str!("schema.sql");

/// The steps from the empty database on; step `n` makes schema version `n + 1`. Only ever appended to.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_initial.sql"), include_str!("migrations/0002_precision.sql")];

/// The schema version that this program reads and writes.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// What a file is to this program.
#[derive(Debug, PartialEq)]
enum Kind {
    Empty,
    Current,
    Older(u32),
}

/// Tells what the database at `path` is; refuses what is not ours or too new. Writes nothing.
fn classify(conn: &Connection, path: &Path) -> Result<Kind> {
    let fail = |source| StoreError::from_sqlite(path, "read its header", source);
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

/// Refuses, without writing, a database that a reader cannot use as it is.
pub(super) fn require_current(conn: &Connection, path: &Path) -> Result<()> {
    match classify(conn, path)? {
        Kind::Current => Ok(()),
        Kind::Empty => Err(StoreError::NotFound { path: path.to_owned() }),
        Kind::Older(found) => Err(StoreError::NeedsMigration { path: path.to_owned(), found, known: SCHEMA_VERSION }),
    }
}

/// Refuses, without writing, a database that [`bring_up_to_date`] may not change.
pub(super) fn require_ours(conn: &Connection, path: &Path) -> Result<()> {
    classify(conn, path).map(drop)
}

/// Makes the schema in an empty database, or brings an older one to the current version. Returns the version it had, where it
/// had an older one.
///
/// Foreign keys must be off, so that a step may rebuild tables; each step checks them before it commits.
pub(super) fn bring_up_to_date(conn: &mut Connection, path: &Path) -> Result<Option<u32>> {
    let mut from = None;
    loop {
        if classify(conn, path)? == Kind::Current {
            return Ok(from);
        }
        let fail = |source| StoreError::from_sqlite(path, "make its schema", source);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        // Another process may have been faster: what counts is what the lock holder sees.
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
                    full_or_locked_or_damaged => full_or_locked_or_damaged,
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

    /// The schema without comments and with single spaces, in the order of names.
    fn normalised_schema(conn: &Connection) -> Vec<(String, String)> {
        let mut rows =
            conn.prepare("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema ORDER BY 1").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        rows.map(|row| row.unwrap())
            .map(|(name, sql)| {
                let code: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap()).collect();
                (name, code.join(" ").split_whitespace().collect::<Vec<_>>().join(" "))
            })
            .collect()
    }

    #[test]
    fn an_upgraded_database_equals_a_fresh_one() {
        let mut fresh = Connection::open_in_memory().unwrap();
        assert_eq!(bring_up_to_date(&mut fresh, Path::new("fresh")).unwrap(), None);

        let mut upgraded = Connection::open_in_memory().unwrap();
        upgraded.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        assert_eq!(bring_up_to_date(&mut upgraded, Path::new("upgraded")).unwrap(), Some(0));

        let schema = normalised_schema(&fresh);
        assert!(schema.iter().any(|(name, sql)| name == "table score" && sql.contains("PRIMARY KEY")));
        assert_eq!(schema, normalised_schema(&upgraded));
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
    fn a_database_of_another_application_is_refused() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE theirs (x)").unwrap();
        let error = bring_up_to_date(&mut conn, Path::new("x")).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { application_id: 0, .. }));
        conn.pragma_update(None, "application_id", 7).unwrap();
        let error = bring_up_to_date(&mut conn, Path::new("x")).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { application_id: 7, .. }));
        assert_eq!(normalised_schema(&conn).len(), 1);
    }

    #[test]
    fn a_failing_step_leaves_the_database_as_it_was() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        conn.execute_batch("CREATE TABLE score (in_the_way)").unwrap();
        let error = bring_up_to_date(&mut conn, Path::new("/s.db")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("/s.db: cannot bring the database to schema version 1: table score already exists"),
            "{text}"
        );
        assert!(text.ends_with("It is unchanged; keep a copy and report this"), "{text}");
        assert_eq!(normalised_schema(&conn).len(), 1, "nothing of the failed step is left");
    }
}
