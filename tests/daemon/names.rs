//! Hostile file names: line breaks, escape sequences, bytes that are not UTF-8, commands for a shell or a spreadsheet. Every output
//! shows each of them as one name, and nothing executes them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use edge_testing::{Place, jpeg, model};

const NAMES: [&[u8]; 8] = [
    b"plain.jpg",
    b"two\nlines.jpg",
    b"\x1b[2J\x1b]0;title\x07.jpg",
    b"not UTF-8 \xff\xfe.jpg",
    b"$(touch pwned) `touch pwned`; touch pwned.jpg",
    b"=cmd|' /C calc'!A0, \"quoted\".jpg",
    b"--help.jpg",
    "right \u{202e}gpj.exe.jpg".as_bytes(),
];

/// Fails if `text` contains control characters other than line breaks, or characters that reverse the text direction. The message
/// names `output`.
#[track_caller]
fn assert_harmless(output: &str, text: &str) {
    let is_unsafe = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!text.contains(is_unsafe), "{output}: {text:?}");
}

#[test]
fn a_name_stays_a_name_in_every_output() {
    let place = Place::new();
    for (seed, name) in (0..).zip(NAMES) {
        place.write(OsStr::from_bytes(name), &jpeg(seed));
        place.write(OsStr::from_bytes(&[b"broken ", name].concat()), b"not an image");
    }
    let outcome = place.scan(&["--tag", "birds"]).expect(1);
    assert_harmless("scan", &(outcome.stdout + &outcome.stderr));
    let log_lines = outcome.stderr.lines().filter(|line| line.contains("broken ")).count();
    assert_eq!(log_lines, NAMES.len(), "each broken file has one line in the log: {}", outcome.stderr);

    let top = |format: &str| place.scorer("top", &["--tag", "birds", "--format", format]).expect(0);
    let table = top("table").stdout;
    assert_harmless("table", &table);
    assert_eq!(table.lines().count(), 1 + NAMES.len());
    let csv_text = top("csv").stdout;
    assert_harmless("csv", &csv_text);
    assert_eq!(csv_text.lines().count(), 1 + NAMES.len());
    let mut csv = csv::Reader::from_reader(csv_text.as_bytes());
    let path = csv.headers().unwrap().iter().position(|name| name == "path").unwrap();
    let first: Vec<u8> = csv.records().map(|row| row.unwrap()[path].as_bytes()[0]).collect();
    assert_eq!(first, vec![b'/'; NAMES.len()], "a cell could be read as a formula");

    let json = top("json").json();
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let paths: BTreeSet<String> = json.as_array().unwrap().iter().map(|r| r["path"].as_str().unwrap().into()).collect();
    let expected = |name: &[u8]| text(place.photo(OsStr::from_bytes(name)).as_os_str().as_bytes());
    assert_eq!(paths, NAMES.iter().map(|name| expected(name)).collect());

    let failures = place.scorer("failures", &[]).expect(0).stdout;
    assert_harmless("failures", &failures);
    assert_eq!(failures.lines().count(), 1 + NAMES.len());
    for line in place.scorer("failures", &["--format", "json"]).expect(0).stdout.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["path"].as_str().unwrap().starts_with('/'), "{line}");
    }
    assert_harmless("status", &place.scorer("status", &[]).expect(0).stdout);
    assert!(!place.path("pwned").exists() && !place.photo("pwned").exists());
}

#[test]
fn paths_for_pipes_are_exact() {
    let place = Place::new();
    for (seed, name) in (0..).zip(NAMES) {
        place.write(OsStr::from_bytes(name), &jpeg(seed));
    }
    place.scan(&["--tag", "birds"]).expect(0);
    let bytes = |format: &str| {
        let mut command = place.command();
        command.args(["top", "--tag", "birds", "--format", format, "--db"]).arg(place.db()).arg("--model").arg(model());
        let output = command.stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success());
        (output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let expected = |names: &mut dyn Iterator<Item = &&[u8]>| -> BTreeSet<Vec<u8>> {
        names.map(|name| place.photo(OsStr::from_bytes(name)).as_os_str().as_bytes().to_vec()).collect()
    };
    let (out, _) = bytes("paths0");
    let paths: BTreeSet<Vec<u8>> = out.strip_suffix(b"\0").unwrap().split(|b| *b == 0).map(<[u8]>::to_vec).collect();
    assert_eq!(paths, expected(&mut NAMES.iter()));
    let (out, complaint) = bytes("paths");
    let paths: BTreeSet<Vec<u8>> =
        out.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(paths, expected(&mut NAMES.iter().filter(|name| !name.contains(&b'\n'))));
    assert!(complaint.contains("two\\nlines.jpg: left out"), "{complaint}");
}

#[test]
fn other_users_cannot_read_the_daemons_files() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let db = place.path("state/deep/scores.db");
    let mut command = place.command();
    command.args(["run", "--model"]).arg(model()).arg("--db").arg(&db).arg(place.photos());
    command.stderr(std::fs::File::create_new(place.path("log")).unwrap());
    let daemon = edge_testing::daemon::Daemon::spawn(command, place.path("log"));
    daemon.wait_for("ready");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(db.parent().unwrap()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", entry.path().display());
        seen.insert(entry.file_name().into_string().unwrap());
    }
    let expected = ["scores.db", "scores.db-shm", "scores.db-wal", "scores.db.lock", "scores.db.status"];
    assert_eq!(seen, expected.map(str::to_owned).into());
    assert_eq!(std::fs::metadata(db.parent().unwrap()).unwrap().permissions().mode() & 0o077, 0);
    daemon.stop();
}
