//! Temporary directories with everything that `edge-scorer` needs, and runs of the program in them.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::{PATIENCE, model, program};

/// The output and the exit code of a program.
#[derive(Debug)]
pub struct ProgramOutput {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl ProgramOutput {
    pub fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Fails unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr contains this text.
    #[track_caller]
    pub fn stderr_contains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in stderr:\n{}", self.stderr);
        self
    }

    /// Parses stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A temporary directory that is the program's home and has a photo directory and a database.
pub struct Place {
    pub dir: TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("photos")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn photos(&self) -> PathBuf {
        self.path("photos")
    }

    /// A path in the photo directory.
    pub fn photo(&self, name: impl AsRef<Path>) -> PathBuf {
        self.photos().join(name)
    }

    /// Writes a file into the photo directory.
    pub fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.photo(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes a configuration file. If the text has no `[store]` section, one with a short commit interval is added.
    pub fn config(&self, text: &str) -> PathBuf {
        let path = self.path("edge-scorer.toml");
        let quick = if text.contains("[store]") { "" } else { "\n[store]\ncommit_interval_ms = 50\n" };
        std::fs::write(&path, format!("{text}{quick}")).unwrap();
        path
    }

    pub fn db(&self) -> PathBuf {
        self.path("scores.db")
    }

    /// A command for the built `edge-scorer`. It runs in the temporary directory, without the caller's environment variables that
    /// the program reads.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program("edge-scorer"));
        command.current_dir(self.dir.path()).env("HOME", self.dir.path());
        for name in ["XDG_STATE_HOME", "XDG_DATA_HOME", "STATE_DIRECTORY", "EDGE_SCORER_LOG", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        for name in ["WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "XDG_CACHE_HOME", "CACHE_DIRECTORY"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs `edge-scorer` until it ends.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> ProgramOutput {
        ProgramOutput::of(self.command().args(arguments).output().unwrap())
    }

    /// Runs `edge-scorer` with a text on its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> ProgramOutput {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        ProgramOutput::of(child.wait_with_output().unwrap())
    }

    /// Runs a subcommand with the shipped bundle and this place's database.
    pub fn scorer(&self, subcommand: &str, more: &[&str]) -> ProgramOutput {
        let (model, db) = (model(), self.db());
        let common = ["--model", model.to_str().unwrap(), "--db", db.to_str().unwrap()];
        self.run([subcommand].iter().chain(&common).chain(more))
    }

    /// Runs `scan` on the photo directory.
    pub fn scan(&self, more: &[&str]) -> ProgramOutput {
        let photos = self.photos();
        self.scorer("scan", &[more, &[photos.to_str().unwrap()]].concat())
    }

    /// The rows of a query, with their columns joined by `|`. `None` if the database does not exist or the query fails.
    pub fn try_rows(&self, sql: &str) -> Option<Vec<String>> {
        let conn = Connection::open_with_flags(self.db(), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        conn.busy_timeout(PATIENCE).ok()?;
        let mut statement = conn.prepare(sql).ok()?;
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let cell = |i| {
                Ok(match row.get_ref(i)? {
                    rusqlite::types::ValueRef::Null => "NULL".to_owned(),
                    rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                    rusqlite::types::ValueRef::Real(r) => r.to_string(),
                    rusqlite::types::ValueRef::Text(t) | rusqlite::types::ValueRef::Blob(t) => {
                        String::from_utf8_lossy(t).into_owned()
                    }
                })
            };
            Ok((0..columns).map(cell).collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
        };
        statement.query_map([], row).ok()?.collect::<Result<_, _>>().ok()
    }

    /// The rows of a query, see [`Place::try_rows`]. Fails if the query fails.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<String> {
        self.try_rows(sql).unwrap_or_else(|| panic!("the database does not answer {sql}"))
    }

    /// The only row of a query. Fails if the query returns none or several.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0].clone()
    }

    /// Fails if SQLite finds damage in the database or a broken foreign key.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert_eq!(self.rows("PRAGMA integrity_check"), ["ok"]);
        assert_eq!(self.rows("PRAGMA foreign_key_check"), [] as [&str; 0]);
    }
}
