//! Tests of the daemon on a full disk.

use rustix::process::Signal;

use super::library;
use edge_testing::daemon::Daemon;
use edge_testing::{Place, jpeg, until};

const FILES: &str = "SELECT count(*) FROM file";
const COMMIT_FAILED: &str = "results, trying again in";

/// Starts a daemon whose disk is full while the file `full` exists. If there is no C compiler, reports the test as
/// skipped and returns `None`.
fn start(place: &Place) -> Option<Daemon> {
    let library = library(place)?;
    let config = place.config("[watch]\nsettle_ms = 20\n[limits]\nstuck_timeout_s = 2\n");
    let arguments = ["--config", config.to_str().unwrap(), place.photos().to_str().unwrap()].map(str::to_owned);
    let daemon = place.start(&arguments.each_ref().map(String::as_str), |command| {
        command.env("LD_PRELOAD", library).env("DISK_DB", place.db()).env("DISK_FULL", place.path("full"));
    });
    daemon.wait_for("ready");
    Some(daemon)
}

#[test]
fn images_that_arrive_while_the_disk_is_full_are_recorded_when_there_is_room_again() {
    let place = Place::new();
    let Some(daemon) = start(&place) else { return };
    place.write("before.jpg", &jpeg(1));
    place.wait_for_rows(FILES, &["1"]);
    std::fs::write(place.path("full"), b"").unwrap();
    for seed in 2..8 {
        place.write(format!("{seed}.jpg"), &jpeg(seed));
    }
    place.write("broken.jpg", b"not an image");
    until("all of them are in flight", || (place.live("in_work") == 7).then_some(()));
    daemon.wait_for_times(COMMIT_FAILED, 3);
    assert!(daemon.log().contains("no space is left on the disk. Free some"), "{}", daemon.log());
    assert_eq!(place.value(FILES), "1");
    place.assert_sound();
    std::fs::remove_file(place.path("full")).unwrap();
    place.wait_for_rows(FILES, &["7"]);
    place.wait_for_rows("SELECT stage, attempts FROM failure", &["decode|1"]);
    let log = daemon.stop();
    assert!(log.contains("7 scored, 0 copies of known images, 1 failed attempts"), "{log}");
    place.assert_sound();
}

#[test]
fn after_a_stop_with_a_full_disk_the_next_start_finds_every_image() {
    let place = Place::new();
    let Some(daemon) = start(&place) else { return };
    place.write("before.jpg", &jpeg(1));
    place.wait_for_rows(FILES, &["1"]);
    std::fs::write(place.path("full"), b"").unwrap();
    place.write("a.jpg", &jpeg(2));
    daemon.wait_for(COMMIT_FAILED);
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.lines().last().unwrap().contains("no space is left on the disk"), "{log}");
    // A start on a full disk fails with the same reason.
    let failed = place.start(&[place.photos().to_str().unwrap()], |command| {
        command
            .env("LD_PRELOAD", place.path("disk.so"))
            .env("DISK_DB", place.db())
            .env("DISK_FULL", place.path("full"));
    });
    let (status, log) = failed.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.lines().last().unwrap().contains("no space is left on the disk"), "{log}");
    std::fs::remove_file(place.path("full")).unwrap();
    let daemon = place.daemon(&[place.photos().to_str().unwrap()]);
    place.wait_for_rows(FILES, &["2"]);
    daemon.stop();
    place.assert_sound();
}
