//! Tests of the program with a damaged database.

use std::path::PathBuf;

use edge_testing::{Place, jpeg, make_old, until};

const FILES: &str = "SELECT count(*) FROM file";

/// Returns the paths of the damaged databases that the daemon set aside.
fn replaced_databases(place: &Place) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.dir.path()).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.to_str().unwrap().contains("scores.db.damaged-")).collect()
}

#[test]
fn a_damaged_database_is_kept_aside_and_all_images_are_scored_into_a_new_one() {
    let place = Place::new();
    for seed in 0..6 {
        make_old(&place.write(format!("{seed}.jpg"), &jpeg(seed)));
    }
    place.scan(&["--tag", "birds"]).expect(0);
    let mut bytes = std::fs::read(place.db()).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(place.db(), &bytes).unwrap();
    // A scan does not replace a damaged database: the user decides.
    place.scan(&[]).expect(1).stderr_contains("the database is damaged");
    assert_eq!(std::fs::read(place.db()).unwrap(), bytes, "a scan changed the damaged database");

    let daemon = place.daemon(&["--tag", "birds", place.photos().to_str().unwrap()]);
    place.wait_for_rows(FILES, &["6"]);
    let log = daemon.stop();
    assert!(log.contains("error: ") && log.contains("the damaged database is kept as "), "{log}");
    place.assert_sound();
    let replaced = replaced_databases(&place);
    assert_eq!(replaced.len(), 1, "{replaced:?}");
    assert_eq!(std::fs::read(&replaced[0]).unwrap(), bytes);
}

#[test]
fn a_database_that_is_damaged_while_the_daemon_runs_is_kept_aside_as_well() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let daemon = place.daemon(&[place.photos().to_str().unwrap()]);
    place.wait_for_rows(FILES, &["1"]);
    let other = rusqlite::Connection::open(place.db()).unwrap();
    let spoil = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'score';
        PRAGMA user_version = 2; PRAGMA schema_version = 77";
    other.execute_batch(spoil).unwrap();
    drop(other);
    place.write("b.jpg", &jpeg(2));
    daemon.wait_for("the damaged database is kept as ");
    until("a new database", || place.try_rows(FILES).filter(|rows| rows == &["2"]));
    daemon.stop();
    place.assert_sound();
    let replaced = replaced_databases(&place);
    assert!(replaced.iter().any(|path| path.to_str().unwrap().ends_with('Z')), "{replaced:?}");
}
