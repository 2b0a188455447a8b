//! Tests of power cuts. The built program changes a database while all its writes and flushes are recorded. The test cuts the
//! power at many moments of the record and opens the database that would be on the disk. Any part of the data that was not
//! flushed may be lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::library;
use super::simulated_disk::{self, Event, Operation, after_cut};
use edge_testing::random::Random;
use edge_testing::{Place, jpeg, make_old, model};

/// Number of images in the first scan, and number of images added before the second scan.
const IMAGES: u32 = 24;

/// Records all writes and flushes of two scans, the second with more images and another tag. If there is no C compiler,
/// reports the test as skipped and returns `None`.
fn record(place: &Place) -> Option<Vec<Event>> {
    let library = library(place)?;
    let log = place.path("record");
    for (first, tag) in [(0, "birds"), (IMAGES, "trees")] {
        for seed in first..first + IMAGES {
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
    Some(simulated_disk::read(&std::fs::read(log).unwrap()))
}

/// A database as it is on the disk after a power cut.
struct Remains(Place);

impl Remains {
    fn new(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let place = Place::new();
        for (name, bytes) in files {
            let mut path = place.db().into_os_string();
            path.push(name);
            std::fs::write(PathBuf::from(path), bytes).unwrap();
        }
        Self(place)
    }

    /// Whether SQLite finds no damage and every recorded file has a score.
    fn is_sound(&self) -> bool {
        // A read-only connection could not recover a journal, so this one may write.
        let Ok(conn) = rusqlite::Connection::open(self.0.db()) else { return false };
        let rows = |sql: &str| -> rusqlite::Result<Vec<String>> {
            conn.prepare(sql)?.query_map([], |row| row.get::<_, String>(0))?.collect()
        };
        let ok = rows("PRAGMA integrity_check").is_ok_and(|rows| rows == ["ok"])
            && rows("SELECT \"table\" FROM pragma_foreign_key_check").is_ok_and(|rows| rows.is_empty());
        let tables = rows("SELECT name FROM sqlite_schema WHERE name = 'file'").unwrap_or_default();
        let incomplete = "SELECT path FROM file LEFT JOIN score USING (image_id) WHERE score.image_id IS NULL";
        ok && (tables.is_empty() || rows(incomplete).is_ok_and(|rows| rows.is_empty()))
    }

    /// Scans the images again, as the next start does. Each image must be recorded once, with its score.
    fn recovers(&self, photos: &Path) {
        self.0.scorer("scan", &["--tag", "trees", photos.to_str().unwrap()]).expect(0);
        self.0.assert_sound();
        let counts = "SELECT (SELECT count(*) FROM file), (SELECT count(*) FROM image), (SELECT count(*) FROM score
            JOIN tag ON tag.id = tag_id WHERE text = 'trees')";
        let all = 2 * IMAGES;
        assert_eq!(self.0.value(counts), format!("{all}|{all}|{all}"));
    }
}

#[test]
fn after_a_power_cut_at_any_moment_the_database_is_sound_and_a_scan_finds_everything() {
    let place = Place::new();
    let Some(events) = record(&place) else { return };
    let count = |f: fn(&Operation) -> bool| events.iter().filter(|event| f(&event.operation)).count();
    let (writes, syncs) = (count(|w| matches!(w, Operation::Write { .. })), count(|w| *w == Operation::Sync));
    assert!(writes > 200 && syncs > 4, "{writes} writes, {syncs} flushes");

    let mut random = Random(7);
    let cuts = 300;
    for cut in 0..cuts {
        let end = random.below(events.len() + 1);
        let kept = [0, 50, 90, 100][cut % 4];
        let remains = Remains::new(&after_cut(&events[..end], kept, false, &mut random));
        assert!(
            remains.is_sound(),
            "damaged by a cut after event {end} of {}, with {kept} % of the unflushed sectors kept",
            events.len()
        );
        if cut % 60 == 17 {
            remains.recovers(&place.photos());
        }
    }
    println!("{cuts} cuts in {writes} writes and {syncs} flushes: every database sound");

    // This test can fail: a disk that ignores flushes damages some of the databases.
    let damaged = (0..100).filter(|_| {
        let end = random.below(events.len() + 1);
        !Remains::new(&after_cut(&events[..end], 50, true, &mut random)).is_sound()
    });
    let damaged = damaged.count();
    println!("100 cuts on a disk that ignores flushes: {damaged} databases damaged");
    assert!(damaged > 0);
}
