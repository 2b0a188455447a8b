//! Compares a database's schema with the one that this program makes. A stranger's database could have tables that are views, indexes that compute
//! for hours, or constraints that refuse every image.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::error::{Result, StoreError};
use super::migrations;

/// The SQL of each object of a schema, without comments and with single spaces, by the object's kind and name.
pub(super) type Objects = BTreeMap<(String, String), String>;

/// Fails if an object of this program is missing or different, or if a foreign index or trigger depends on one of its tables. Tables and views
/// of the user's own are left alone, because nothing here reads them.
pub(super) fn require_own(conn: &Connection, path: &Path) -> Result<()> {
    let fail = |source| StoreError::from_sqlite(path, "read the schema", source);
    let own = Connection::open_in_memory().and_then(|fresh| {
        migrations::create(&fresh)?;
        objects(&fresh)
    });
    let (own, found) = (own.map_err(fail)?, objects(conn).map_err(fail)?);
    let differs = own.iter().find(|(object, sql)| found.get(*object) != Some(*sql)).map(|(object, _)| object);
    let is_foreign = |(kind, name): &&(String, String)| {
        !own.contains_key(&(kind.clone(), name.clone())) && ["index", "trigger"].contains(&kind.as_str())
    };
    match differs.or_else(|| found.keys().find(is_foreign)) {
        None => Ok(()),
        Some((kind, name)) => {
            Err(StoreError::ForeignSchema { path: path.to_owned(), object: format!("the {kind} {name:?}") })
        }
    }
}

/// All objects but SQLite's own, such as its statistics and the indexes of primary keys.
pub(super) fn objects(conn: &Connection) -> rusqlite::Result<Objects> {
    let mut rows =
        conn.prepare("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?;
    let rows = rows.query_map([], |row| {
        let sql: Option<String> = row.get(2)?;
        Ok(((row.get(0)?, row.get(1)?), normalised(&sql.unwrap_or_default())))
    })?;
    rows.collect()
}

/// SQL without comments and with single spaces. Two schemas of the same meaning may differ in both, because migrations have their own comments.
fn normalised(sql: &str) -> String {
    let code: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    code.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_schema_with_a_foreign_or_changed_object_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = [
            ("CREATE TRIGGER t AFTER INSERT ON image BEGIN DELETE FROM score; END", "the trigger \"t\""),
            ("CREATE INDEX slow ON image (hex(zeroblob(1000000)))", "the index \"slow\""),
            ("DROP INDEX file_by_image", "the index \"file_by_image\""),
            ("DROP VIEW top_images", "the view \"top_images\""),
            ("DROP VIEW top_images; CREATE VIEW top_images AS SELECT 1", "the view \"top_images\""),
            (
                "DROP VIEW top_images; DROP TABLE score; CREATE VIEW score AS SELECT 1 AS score",
                "the index \"score_by_rank\"",
            ),
            ("ALTER TABLE tag ADD COLUMN more TEXT CHECK (more IS NOT NULL)", "the table \"tag\""),
        ];
        for (i, (sql, object)) in refused.into_iter().enumerate() {
            let path = dir.path().join(format!("{i}.db"));
            drop(Store::open(&path).unwrap());
            let stranger = Connection::open(&path).unwrap();
            stranger.execute_batch(sql).unwrap();
            drop(stranger);
            for error in [Store::open(&path).unwrap_err(), Store::open_read_only(&path).unwrap_err()] {
                assert!(
                    matches!(&error, StoreError::ForeignSchema { object: found, .. } if found == object),
                    "{sql}: {error}"
                );
            }
        }
    }

    #[test]
    fn tables_and_views_of_the_users_own_are_left_alone_and_strangers_triggers_never_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scores.db");
        drop(Store::open(&path).unwrap());
        let user = Connection::open(&path).unwrap();
        user.execute_batch(
            "CREATE TABLE notes (text TEXT); CREATE VIEW best AS SELECT path FROM top_images WHERE rank = 1; ANALYZE",
        )
        .unwrap();
        drop(user);
        let store = Store::open(&path).unwrap();
        // A trigger that comes after the check.
        let stranger = Connection::open(&path).unwrap();
        stranger
            .execute_batch(
                "CREATE TRIGGER t AFTER INSERT ON notes BEGIN INSERT INTO notes VALUES ('from the trigger'); END",
            )
            .unwrap();
        store.conn.execute("INSERT INTO notes VALUES ('own')", []).unwrap();
        let count: i64 = stranger.query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 1);
        assert!(store.conn.query_row("SELECT * FROM best", [], |_| Ok(())).is_err(), "views are off");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.db"), dir.path().join("link.db"));
        drop(Store::open(&real).unwrap());
        std::os::unix::fs::symlink(&real, &link).unwrap();
        for error in [Store::open(&link).unwrap_err(), Store::open_read_only(&link).unwrap_err()] {
            assert!(matches!(error, StoreError::Link { .. }), "{error}");
        }
        // Nor is a file created where a link leads to.
        std::os::unix::fs::symlink(dir.path().join("nothing.db"), dir.path().join("dangling.db")).unwrap();
        assert!(Store::open(&dir.path().join("dangling.db")).is_err() && !dir.path().join("nothing.db").exists());
    }
}
