//! What the tests of all crates share: loud skips, paths, pictures, running the built programs, waiting with a deadline.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(missing_docs, reason = "the names of test helpers say what they do")]

pub mod chance;
pub mod daemon;

use std::ffi::OsStr;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb, RgbImage};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// How long anything may take before a test calls it hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says that a test did not run. It writes past the test runner's capture, so that the line is seen in every run, and
/// `.ci/run` counts these lines.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(log) = std::env::var_os("EDGE_SCORER_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let _ = file.and_then(|mut f| f.write_all(line.as_bytes()));
    }
}

/// The reference data beside the project, when it is there.
pub fn shared_data() -> Option<PathBuf> {
    let dir = repository("../shared/data");
    dir.is_dir().then_some(dir)
}

/// A file of the repository, by its path from the root.
pub fn repository(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/edge-testing");
    root.join(path)
}

/// A built program, which cargo puts beside the directory of the test programs. Cargo builds a package's programs for the tests of that
/// package alone: tests that run another package's program need `cargo test --workspace`.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.is_file(), "{} is not built: run `cargo test --workspace`", path.display());
    path
}

/// The shipped bundle.
pub fn model() -> PathBuf {
    repository("models/small")
}

/// A copy of the shipped bundle in `dir`, to be damaged.
pub fn copy_of_model(dir: &Path) -> PathBuf {
    let target = dir.join("model");
    copy_dir(&model(), &target);
    target
}

/// Copies a directory with all that is in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Compiles a C file of the repository into a shared library.
pub fn compile_library(source: &str, library: &Path) {
    let mut compile = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(library).arg(repository(source));
    assert!(compile.status().expect("the C compiler that also builds SQLite").success());
}

/// Asks again and again until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < give_up, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A picture that is like no other of another seed: a gradient with coarse noise.
pub fn picture(seed: u32) -> RgbImage {
    let noise = move |x: u32, y: u32| {
        let mut h =
            seed.wrapping_mul(0x9E37_79B9) ^ (x / 6).wrapping_mul(0x85EB_CA6B) ^ (y / 6).wrapping_mul(0xC2B2_AE35);
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        (h ^ (h >> 13)) as u8 / (1 + (seed % 5) as u8)
    };
    RgbImage::from_fn(160 + seed % 40, 120, |x, y| {
        let n = noise(x, y);
        Rgb([n.wrapping_add(x as u8 / 2), n / 2 + y as u8 / 2, (seed as u8).wrapping_mul(29).saturating_add(n / 3)])
    })
}

/// The picture of a seed as a file of that format.
pub fn bytes(seed: u32, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture(seed).write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// The picture of a seed as a JPEG.
pub fn jpeg(seed: u32) -> Vec<u8> {
    bytes(seed, ImageFormat::Jpeg)
}

/// The picture of a seed as a PNG.
pub fn png(seed: u32) -> Vec<u8> {
    bytes(seed, ImageFormat::Png)
}

/// A PNG with one more chunk behind its header.
pub fn png_with_chunk(seed: u32, kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    const HEADER_END: usize = 8 + 25;
    let plain = png(seed);
    let mut out = plain[..HEADER_END].to_vec();
    out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    let body = [&kind[..], data].concat();
    out.extend(&body);
    out.extend(crc32(&body).to_be_bytes());
    out.extend(&plain[HEADER_END..]);
    out
}

/// A PNG whose XMP packet holds these keywords.
pub fn png_with_keywords(seed: u32, keywords: &[&str]) -> Vec<u8> {
    let items: String = keywords.iter().map(|k| format!("<rdf:li>{k}</rdf:li>")).collect();
    let packet = format!(
        r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
        rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>
        </rdf:Description></rdf:RDF></x:xmpmeta>"#
    );
    png_with_chunk(seed, b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", packet.as_bytes()].concat())
}

/// A PNG of a few hundred bytes that claims to be 60,000 pixels wide and high.
pub fn png_with_huge_header() -> Vec<u8> {
    let mut out = png(1)[..400].to_vec();
    let side = 60_000_u32.to_be_bytes();
    out[16..20].copy_from_slice(&side);
    out[20..24].copy_from_slice(&side);
    let crc = crc32(&out[12..29]).to_be_bytes();
    out[29..33].copy_from_slice(&crc);
    out
}

pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Fails unless the program ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr holds this text.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in stderr:\n{}", self.stderr);
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A directory of its own with a home, a photo directory and a database.
pub struct Place {
    pub dir: TempDir,
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

    /// Writes a configuration file. Commits are quick where it does not say how often they are to be.
    pub fn config(&self, text: &str) -> PathBuf {
        let path = self.path("edge-scorer.toml");
        let quick = if text.contains("[store]") { "" } else { "\n[store]\ncommit_interval_ms = 50\n" };
        std::fs::write(&path, format!("{text}{quick}")).unwrap();
        path
    }

    pub fn db(&self) -> PathBuf {
        self.path("scores.db")
    }

    /// The built program, in this directory and with nothing of the caller's environment that it listens to.
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

    /// Runs the program to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Said {
        Said::of(self.command().args(arguments).output().unwrap())
    }

    /// Runs the program on a text on its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Said::of(child.wait_with_output().unwrap())
    }

    /// A subcommand on the shipped bundle and this place's database.
    pub fn scorer(&self, subcommand: &str, more: &[&str]) -> Said {
        let (model, db) = (model(), self.db());
        let common = ["--model", model.to_str().unwrap(), "--db", db.to_str().unwrap()];
        self.run([subcommand].iter().chain(&common).chain(more))
    }

    /// `scan` of the photo directory.
    pub fn scan(&self, more: &[&str]) -> Said {
        let photos = self.photos();
        self.scorer("scan", &[more, &[photos.to_str().unwrap()]].concat())
    }

    /// Rows of the database, the columns of each joined by `|`; none while there is no database to read.
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

    /// Rows of the database, which is there.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<String> {
        self.try_rows(sql).unwrap_or_else(|| panic!("the database does not answer {sql}"))
    }

    /// The one value of a query.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0].clone()
    }

    /// Fails unless the database is sound.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert_eq!(self.rows("PRAGMA integrity_check"), ["ok"]);
        assert_eq!(self.rows("PRAGMA foreign_key_check"), [] as [&str; 0]);
    }
}

/// Moves a file's times so far back that it counts as complete.
pub fn make_old(path: &Path) {
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
}
