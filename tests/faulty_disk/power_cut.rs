//! Power cuts: the built program works on a database while every write to it is written down, and the test then opens what a
//! disk would hold that had lost, at any moment, any part of what it had not been asked to flush.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::library;
use crate::played::{self, Event, What, after_cut};
use edge_testing::chance::Chance;
use edge_testing::{Place, jpeg, make_old, model};

/// Pictures that are there at first, and as many that come for the second scan.
const PICTURES: u32 = 24;

/// Everything that two scans do to a database, the second with more pictures and another tag.
fn record(place: &Place) -> Vec<Event> {
    let library = library(place);
    let log = place.path("record");
    for (first, tag) in [(0, "birds"), (PICTURES, "trees")] {
        for seed in first..first + PICTURES {
            make_old(&place.write(format!("{seed}.jpg"), &jpeg(seed)));
        }
        let config = place.config("[store]\ncommit_images = 2\n");
        let mut command = place.command();
        command.arg("scan").arg("--config").arg(config).arg("--model").arg(model()).arg("--db").arg(place.db());
        command.args(["--tag", tag]).arg(place.photos());
        command.env("LD_PRELOAD", &library).env("DISK_DB", place.db()).env("DISK_LOG", &log);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    played::read(&std::fs::read(log).unwrap())
}

/// A database as a power cut leaves it.
struct Left(Place);

impl Left {
    fn new(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let place = Place::new();
        for (name, bytes) in files {
            let mut path = place.db().into_os_string();
            path.push(name);
            std::fs::write(PathBuf::from(path), bytes).unwrap();
        }
        Self(place)
    }

    /// Whether SQLite finds everything in order and every picture that counts as known has all its parts.
    fn is_sound(&self) -> bool {
        // The reader's own open would refuse to recover a journal, as it must not write.
        let Ok(conn) = rusqlite::Connection::open(self.0.db()) else { return false };
        let rows = |sql: &str| -> rusqlite::Result<Vec<String>> {
            conn.prepare(sql)?.query_map([], |row| row.get::<_, String>(0))?.collect()
        };
        let ok = rows("PRAGMA integrity_check").is_ok_and(|rows| rows == ["ok"])
            && rows("SELECT \"table\" FROM pragma_foreign_key_check").is_ok_and(|rows| rows.is_empty());
        let tables = rows("SELECT name FROM sqlite_schema WHERE name = 'file'").unwrap_or_default();
        let halves = "SELECT path FROM file LEFT JOIN score USING (image_id) WHERE score.image_id IS NULL";
        ok && (tables.is_empty() || rows(halves).is_ok_and(|rows| rows.is_empty()))
    }

    /// Scans the pictures again, as the next start does; each must be there once, with its score.
    fn recovers(&self, photos: &Path) {
        self.0.scorer("scan", &["--tag", "trees", photos.to_str().unwrap()]).expect(0);
        self.0.assert_sound();
        let counts = "SELECT (SELECT count(*) FROM file), (SELECT count(*) FROM image), (SELECT count(*) FROM score
            JOIN tag ON tag.id = tag_id WHERE text = 'trees')";
        let all = 2 * PICTURES;
        assert_eq!(self.0.value(counts), format!("{all}|{all}|{all}"));
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_a_sound_database_from_which_everything_is_found_again() {
    let place = Place::new();
    let events = record(&place);
    let count = |f: fn(&What) -> bool| events.iter().filter(|event| f(&event.what)).count();
    let (writes, syncs) = (count(|w| matches!(w, What::Write { .. })), count(|w| *w == What::Sync));
    assert!(writes > 200 && syncs > 4, "{writes} writes, {syncs} flushes");

    let mut chance = Chance(7);
    let cuts = 300;
    for cut in 0..cuts {
        let end = chance.below(events.len() + 1);
        let kept = [0, 50, 90, 100][cut % 4];
        let left = Left::new(&after_cut(&events[..end], kept, false, &mut chance));
        assert!(
            left.is_sound(),
            "cut behind event {end} of {}, {kept} % of what was not flushed is kept",
            events.len()
        );
        if cut % 60 == 17 {
            left.recovers(&place.photos());
        }
    }
    println!("{cuts} cuts in {writes} writes and {syncs} flushes: every database sound");

    // The proof that this can fail: a disk that does not flush when it says so does damage sooner or later.
    let damaged = (0..100).filter(|_| {
        let end = chance.below(events.len() + 1);
        !Left::new(&after_cut(&events[..end], 50, true, &mut chance)).is_sound()
    });
    let damaged = damaged.count();
    println!("100 cuts on a disk that lies: {damaged} databases damaged");
    assert!(damaged > 0);
}
