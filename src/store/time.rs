//! Times in the database: text in ISO 8601, UTC, with milliseconds and `Z`. Alphabetical order is chronological order.

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// A time as stored in the database.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SqlTime(pub Timestamp);

impl ToSql for SqlTime {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(crate::clock::iso(self.0)))
    }
}

impl FromSql for SqlTime {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(time: &str) -> String {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let time = SqlTime(time.parse().unwrap());
        conn.query_row("SELECT ?1", [time], |row| row.get(0)).unwrap()
    }

    #[test]
    fn every_time_has_the_same_length_and_ends_in_z() {
        assert_eq!(text("2026-11-23T17:00:00+01:00"), "2026-11-23T16:00:00.000Z");
        assert_eq!(text("2026-11-23T16:00:00.987654321Z"), "2026-11-23T16:00:00.987Z");
        assert_eq!(text("0999-01-01T00:00:00Z"), "0999-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_written_time_reads_back_and_other_text_does_not() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let time = SqlTime("2026-02-03T04:05:06.789Z".parse().unwrap());
        let back: SqlTime = conn.query_row("SELECT ?1", [time], |row| row.get(0)).unwrap();
        assert_eq!(back, time);
        let wrong: rusqlite::Result<SqlTime> = conn.query_row("SELECT 'yesterday'", [], |row| row.get(0));
        assert!(wrong.is_err());
    }
}
