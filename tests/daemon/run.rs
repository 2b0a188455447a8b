//! `edge-scorer run` as a process: files that come, change and go, signals, reloads, kills, service notifications.

use std::fs::{File, OpenOptions, rename};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use edge_testing::{PATIENCE, Place, jpeg, make_old, model, png, until};
use rustix::process::Signal;

const FILES: &str = "SELECT replace(path, rtrim(path, replace(path, '/', '')), ''), state FROM file ORDER BY 1, 2";
const IMAGES: &str = "SELECT count(*) FROM image";

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}

/// Starts a daemon that watches the photo directory.
fn watch(place: &Place) -> edge_testing::daemon::Daemon {
    place.daemon(&[place.photos().to_str().unwrap()])
}

#[test]
fn files_that_come_into_and_leave_a_watched_directory_in_every_way() {
    let place = Place::new();
    place.write("before.jpg", &jpeg(1));
    let daemon = watch(&place);
    place.wait_for_rows(FILES, &["before.jpg|present"]);

    // Files that are copied, moved, and moved with their directory into the watched one.
    place.write("copied.png", &png(2));
    std::fs::write(place.path("moved.jpg"), jpeg(3)).unwrap();
    rename(place.path("moved.jpg"), place.photo("moved.jpg")).unwrap();
    std::fs::create_dir_all(place.path("card/deep")).unwrap();
    std::fs::write(place.path("card/a.jpg"), jpeg(4)).unwrap();
    std::fs::write(place.path("card/deep/b.jpg"), jpeg(5)).unwrap();
    rename(place.path("card"), place.photo("card")).unwrap();
    // Many programs write a file under a temporary name and rename it.
    place.write("late.jpg.part", &jpeg(6));
    rename(place.photo("late.jpg.part"), place.photo("late.jpg")).unwrap();
    place.write("made/while/running/c.jpg", &jpeg(7));
    // A hard link to a file elsewhere, and a copy that keeps its old modification time, as `cp -l` and `cp -p` make them.
    std::fs::write(place.path("elsewhere.jpg"), jpeg(10)).unwrap();
    std::fs::hard_link(place.path("elsewhere.jpg"), place.photo("linked.jpg")).unwrap();
    make_old(&place.write("old.jpg", &jpeg(11)));
    place.write("copy of before.jpg", &jpeg(1));
    place.write("broken.jpg", &jpeg(8)[..700]);
    let present = [
        "a.jpg|present",
        "b.jpg|present",
        "before.jpg|present",
        "c.jpg|present",
        "copied.png|present",
        "copy of before.jpg|present",
        "late.jpg|present",
        "linked.jpg|present",
        "moved.jpg|present",
        "old.jpg|present",
    ];
    place.wait_for_rows(FILES, &present);
    place.wait_for_rows(IMAGES, &["9"]);
    place.wait_for_rows("SELECT stage, attempts FROM failure", &["decode|1"]);

    // Files that are renamed, deleted, repaired, replaced by another image, and moved out with their directory.
    rename(place.photo("copied.png"), place.photo("renamed.png")).unwrap();
    std::fs::remove_file(place.photo("moved.jpg")).unwrap();
    place.write("broken.jpg", &jpeg(8));
    place.write("before.jpg", &jpeg(9));
    rename(place.photo("card"), place.path("card")).unwrap();
    let after = [
        "a.jpg|missing",
        "b.jpg|missing",
        "before.jpg|present",
        "broken.jpg|present",
        "c.jpg|present",
        "copied.png|missing",
        "copy of before.jpg|present",
        "late.jpg|present",
        "linked.jpg|present",
        "moved.jpg|missing",
        "old.jpg|present",
        "renamed.png|present",
    ];
    place.wait_for_rows(FILES, &after);
    place.wait_for_rows(IMAGES, &["11"]);
    place.wait_for_rows("SELECT count(*) FROM failure", &["0"]);
    let changed =
        "SELECT count(DISTINCT image_id) FROM file WHERE path LIKE '%/before.jpg' OR path LIKE '%/copy of before.jpg'";
    assert_eq!(place.value(changed), "2");
    // The failure of a broken file is deleted with the file.
    place.write("broken too.jpg", b"not an image");
    place.wait_for_rows("SELECT count(*) FROM failure", &["1"]);
    std::fs::remove_file(place.photo("broken too.jpg")).unwrap();
    place.wait_for_rows("SELECT count(*) FROM failure", &["0"]);
    daemon.stop();
    assert_eq!(
        place.value("SELECT max(n) FROM (SELECT count(*) AS n FROM score GROUP BY image_id, tag_id, model_id)"),
        "1"
    );
    place.assert_sound();
}

#[test]
fn a_slow_writer_is_waited_for() {
    let place = Place::new();
    let daemon = place.daemon(&[
        "--config",
        place.config("[watch]\nsettle_ms = 2400\n").to_str().unwrap(),
        place.photos().to_str().unwrap(),
    ]);
    let whole = jpeg(1);
    let mut slow = File::create(place.photo("slow.jpg")).unwrap();
    for (n, chunk) in whole.chunks(whole.len().div_ceil(5)).enumerate() {
        // A slow writer pauses between chunks. Together the pauses take as long as the settle time.
        std::thread::sleep(Duration::from_millis(if n == 0 { 0 } else { 600 }));
        slow.write_all(chunk).unwrap();
    }
    drop(slow);
    place.wait_for_rows(FILES, &["slow.jpg|present"]);
    assert_eq!(place.value("SELECT content_id FROM image"), blake3::hash(&whole).to_hex().as_str());
    assert_eq!(place.value("SELECT count(*) FROM failure"), "0");
    let log = daemon.stop();
    assert!(log.contains("1 scored, 0 copies of known images, 0 failed attempts"), "{log}");
}

#[test]
fn a_start_finds_files_that_came_and_went_while_no_daemon_ran() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    place.write("b.jpg", &jpeg(2));
    let daemon = watch(&place);
    place.wait_for_rows(FILES, &["a.jpg|present", "b.jpg|present"]);
    daemon.stop();
    place.write("new.jpg", &jpeg(3));
    std::fs::remove_file(place.photo("a.jpg")).unwrap();
    let daemon = watch(&place);
    place.wait_for_rows(FILES, &["a.jpg|missing", "b.jpg|present", "new.jpg|present"]);
    let log = daemon.stop();
    assert!(log.contains("1 scored, 0 copies of known images, 0 failed attempts"), "{log}");
}

#[test]
fn a_reload_takes_a_new_configuration_and_refuses_a_bad_one() {
    let place = Place::new();
    let bundle = edge_testing::copy_of_model(place.dir.path());
    let config = |tags: &str| {
        let (dirs, dir, db) = (quoted(&place.photos()), quoted(&bundle), quoted(&place.db()));
        place.config(&format!(
            "[model]\ndir = {dir}\n[watch]\ndirs = [{dirs}]\n[tags]\nfrom_similarity = 0\n{tags}\n[store]\npath = {db}\n"
        ))
    };
    place.write("a.jpg", &jpeg(1));
    let path = config("always = [\"birds\"]");
    let log = place.path("reload.log");
    let mut command = place.command();
    command.args(["run".as_ref(), "--config".as_ref(), path.as_os_str()]).stderr(File::create(&log).unwrap());
    let mut daemon = edge_testing::daemon::Daemon::spawn(command, log);
    let scores = "SELECT tag.text, count(*) FROM score JOIN tag ON tag.id = tag_id GROUP BY 1 ORDER BY 1";
    place.wait_for_rows(scores, &["birds|1"]);

    config("always = [\"birds\", \"night\"]");
    daemon.signal(Signal::HUP);
    place.wait_for_rows(scores, &["birds|1", "night|1"]);
    daemon.wait_for_times("ready", 2);

    // Each invalid configuration is refused, and the old configuration stays in use.
    config("allways = [\"never\"]");
    daemon.signal(Signal::HUP);
    daemon.wait_for("reload refused; the old configuration and model stay in use");
    daemon.wait_for("unknown key tags.allways; did you mean tags.always?");
    config(&format!("always = [\"never\", {:?}]", "word ".repeat(300)));
    daemon.signal(Signal::HUP);
    daemon.wait_for("tokens and the model takes at most");
    config("always = [\"never\"]\n[threads]\ndecode = 1");
    let mut weights = OpenOptions::new().append(true).open(bundle.join("image_encoder.onnx")).unwrap();
    weights.write_all(b"x").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for("the file differs from the manifest (size is");
    daemon.wait_for_times("reload refused", 3);
    // This configuration is valid, but its database cannot be opened: the directory of the database is a file.
    let in_the_way = place.write("a.jpg.d", b"a file");
    let text = std::fs::read_to_string(&path).unwrap();
    weights.set_len(weights.metadata().unwrap().len() - 1).unwrap();
    std::fs::write(&path, text.replace(&quoted(&place.db()), &quoted(&in_the_way.join("s.db")))).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_times("reload refused", 4);

    assert!(daemon.is_running());
    place.write("b.jpg", &jpeg(2));
    place.wait_for_rows(scores, &["birds|2", "night|2"]);
    daemon.stop();
    assert!(!place.rows(scores).iter().any(|row| row.starts_with("never")));
}

#[test]
fn a_kill_loses_no_image_and_scores_none_twice() {
    let place = Place::new();
    let count = 60;
    let config = place.config("[store]\ncommit_images = 3\n[tags]\nalways = [\"birds\"]\nfrom_similarity = 0\n");
    let (config, photos) = (config.to_str().unwrap().to_owned(), place.photos().to_str().unwrap().to_owned());
    for seed in 0..count {
        place.write(format!("{seed}.jpg"), &jpeg(seed));
    }
    let daemon = place.start(&["--config", &config, &photos], |_| {});
    let committed = || place.try_rows(IMAGES).and_then(|rows| rows[0].parse::<u32>().ok()).unwrap_or(0);
    until("a few commits", || (committed() >= 3).then_some(()));
    daemon.signal(Signal::KILL);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), None, "{log}");
    place.assert_sound();
    let before =
        place.rows("SELECT content_id, scored_at FROM image JOIN score ON score.image_id = image.id ORDER BY 1");
    assert!(before.len() >= 3 && before.len() < count as usize, "not killed in the middle: {} images", before.len());

    let daemon = place.daemon(&["--config", &config, &photos]);
    place.wait_for_rows("SELECT count(*), count(DISTINCT image_id) FROM file", &[&format!("{count}|{count}")]);
    let log = daemon.stop();
    assert!(
        log.contains(&format!("{} scored, 0 copies of known images, 0 failed attempts", count as usize - before.len())),
        "{log}"
    );
    assert_eq!(place.value("SELECT count(*) FROM score"), count.to_string());
    let after =
        place.rows("SELECT content_id, scored_at FROM image JOIN score ON score.image_id = image.id ORDER BY 1");
    assert!(before.iter().all(|row| after.contains(row)), "a committed image was scored again");
    place.assert_sound();
}

#[test]
fn a_stop_finishes_files_in_flight_and_a_second_one_ends_at_once() {
    let place = Place::new();
    for seed in 0..40 {
        place.write(format!("{seed}.jpg"), &jpeg(seed));
    }
    let photos = place.photos();
    let daemon = place.start(&[photos.to_str().unwrap()], |_| {});
    daemon.wait_for("watching");
    let log = daemon.stop();
    let scored: u32 = log.rsplit_once(" scored, ").unwrap().0.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert_eq!(place.value(IMAGES), scored.to_string(), "{log}");
    place.assert_sound();

    // Another process holds the write lock, so the first stop waits for its commit.
    let place = Place::new();
    let daemon = watch(&place);
    let lock = rusqlite::Connection::open(place.db()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    place.write("a.jpg", &jpeg(1));
    daemon.wait_for("results, trying again in");
    daemon.signal(Signal::INT);
    daemon.wait_for("stopping");
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(130), "{log}");
    drop(lock);
    place.assert_sound();
}

#[test]
fn files_that_change_while_they_are_in_flight_are_handled_afterwards() {
    let place = Place::new();
    // The rescan interval is longer than this test, and three results make a commit.
    let config = place.config(
        "[watch]\nsettle_ms = 50\nrescan_interval_s = 3600\n[store]\ncommit_images = 3\ncommit_interval_ms = 10000\n",
    );
    let daemon = place.daemon(&["--config", config.to_str().unwrap(), place.photos().to_str().unwrap()]);
    place.write("stays.jpg", &jpeg(9));
    place.wait_for_rows(FILES, &["stays.jpg|present"]);
    let lock = rusqlite::Connection::open(place.db()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    place.write("changed.jpg", &jpeg(1));
    place.write("deleted.jpg", &jpeg(2));
    place.write("sub/moved.jpg", &jpeg(3));
    // All three are decoded and scored by now, and cannot be committed.
    daemon.wait_for("cannot commit 3 results, trying again in");
    place.write("changed.jpg", &png(4));
    std::fs::remove_file(place.photo("deleted.jpg")).unwrap();
    rename(place.photo("sub"), place.path("elsewhere")).unwrap();
    // The next attempt to commit comes seconds later, when the daemon has seen all of these changes.
    daemon.wait_for_times("results, trying again in", 2);
    lock.execute_batch("ROLLBACK").unwrap();
    place.wait_for_rows(
        FILES,
        &["changed.jpg|present", "deleted.jpg|missing", "moved.jpg|missing", "stays.jpg|present"],
    );
    let shown = "SELECT image.format FROM image JOIN file ON image.id = file.image_id WHERE path LIKE '%/changed.jpg'";
    place.wait_for_rows(shown, &["png"]);
    daemon.stop();
    place.assert_sound();
}

#[test]
fn a_failing_database_ends_the_daemon_with_an_error() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let daemon = watch(&place);
    place.wait_for_rows(IMAGES, &["1"]);
    let other = rusqlite::Connection::open(place.db()).unwrap();
    other.execute_batch("DROP VIEW top_images; DROP TABLE score").unwrap();
    place.write("b.jpg", &jpeg(2));
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("edge-scorer: ") && last.contains("no such table"), "{log}");
}

#[test]
fn a_polled_directory_and_one_that_comes_later() {
    let place = Place::new();
    let config = place.config("[watch]\nsource = \"poll\"\npoll_interval_s = 1\nsettle_ms = 100\n");
    let daemon = place.daemon(&["--config", config.to_str().unwrap(), place.photos().to_str().unwrap()]);
    daemon.wait_for("poll (set in the configuration)");
    place.write("a.jpg", &jpeg(1));
    place.write("b.jpg", &jpeg(2));
    place.wait_for_rows(FILES, &["a.jpg|present", "b.jpg|present"]);
    std::fs::remove_file(place.photo("a.jpg")).unwrap();
    place.wait_for_rows(FILES, &["a.jpg|missing", "b.jpg|present"]);
    daemon.stop();

    let place = Place::new();
    let later = place.path("later/camera");
    let daemon = place.daemon(&[later.to_str().unwrap()]);
    daemon.wait_for("the directory does not exist yet. The daemon watches it as soon as it appears");
    std::fs::create_dir_all(&later).unwrap();
    std::fs::write(later.join("a.jpg"), jpeg(1)).unwrap();
    place.wait_for_rows(FILES, &["a.jpg|present"]);
    // The directory goes with its parent, as on a card that is removed, and comes back.
    rename(place.path("later"), place.path("away")).unwrap();
    place.wait_for_rows(FILES, &["a.jpg|offline"]);
    rename(place.path("away"), place.path("later")).unwrap();
    place.wait_for_rows(FILES, &["a.jpg|present"]);
    let log = daemon.stop();
    assert!(log.contains("1 scored, 0 copies of known images, 0 failed attempts"), "{log}");
}

#[test]
fn the_service_manager_is_kept_informed() {
    let place = Place::new();
    let socket = UnixDatagram::bind(place.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = String::new();
    let mut wait_for = |text: &str| {
        while !heard.contains(text) {
            let mut buffer = [0; 4096];
            let length =
                socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{text} was not received ({e}), only:\n{heard}"));
            heard += &String::from_utf8_lossy(&buffer[..length]);
            heard.push('\n');
        }
        std::mem::take(&mut heard)
    };
    place.write("a.jpg", &jpeg(1));
    let photos = place.photos();
    let daemon = place.start(&[photos.to_str().unwrap()], |command| {
        command.env("NOTIFY_SOCKET", place.path("notify")).env("WATCHDOG_USEC", "3000000");
    });
    let first = wait_for("READY=1");
    assert!(!first.contains("WATCHDOG=1") && !first.contains("STOPPING=1"), "{first}");
    wait_for("STATUS=1 scored, ");
    // Pings come three times per watchdog interval.
    wait_for("WATCHDOG=1");
    wait_for("WATCHDOG=1");
    daemon.signal(Signal::HUP);
    let reloading = wait_for("READY=1");
    let stamp = reloading.split("MONOTONIC_USEC=").nth(1).unwrap().lines().next().unwrap();
    assert!(reloading.contains("RELOADING=1") && stamp.parse::<u64>().unwrap() > 0, "{reloading}");
    daemon.signal(Signal::TERM);
    wait_for("STOPPING=1");
    assert_eq!(daemon.end().0.code(), Some(0));
}

#[test]
fn the_model_in_use_is_the_one_that_was_named() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let daemon = watch(&place);
    place.wait_for_rows(IMAGES, &["1"]);
    let status = place.scorer("status", &["--format", "json"]).expect(0).json();
    let manifest = std::fs::read(model().join("manifest.json")).unwrap();
    assert_eq!(status["model"]["digest"], edge_model::bundle::sha256_hex(&manifest));
    assert_eq!(
        place.value("SELECT count(*) FROM score WHERE model_id <> (SELECT id FROM model WHERE current = 1)"),
        "0"
    );
    daemon.stop();
}
