//! The running daemon as its users see it: its status, the order of its work, and the replacement of its model.

use std::fs::{rename, write};
use std::os::unix::fs::FileTypeExt;

use edge_testing::{Place, copy_of_model, jpeg, make_old, until};
use rustix::process::Signal;
use serde_json::{Value, json};

const FILES: &str = "SELECT count(*) FROM file";

fn status_of(place: &Place) -> Value {
    place.scorer("status", &["--format", "json"]).expect(0).json()
}

fn run_on_photos(place: &Place, config: &str) -> edge_testing::daemon::Daemon {
    let config = place.config(config);
    place.start(&["--config", config.to_str().unwrap(), place.photos().to_str().unwrap()], |_| {})
}

#[test]
fn the_status_is_that_of_the_running_daemon() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    place.write("broken.jpg", b"no image");
    let daemon = run_on_photos(&place, "");
    place.wait_for_rows(FILES, &["1"]);
    place.wait_for_rows("SELECT count(*) FROM failure", &["1"]);
    let status = status_of(&place);
    let live = &status["daemon"];
    assert_eq!((&live["scored"], &live["failed"], &live["in_work"]), (&json!(1), &json!(1), &json!(0)), "{live}");
    assert_eq!(live["model"]["digest"], status["model"]["digest"]);
    assert!(live["model"]["device_reason"].as_str().unwrap().contains("CUDA"), "{live}");
    assert!(live["last_image"]["path"].as_str().unwrap().ends_with("/photos/a.jpg"), "{live}");
    let source = &live["sources"][0];
    assert_eq!((&source["kind"], &source["reason"]), (&json!("inotify"), &json!("a local file system")));
    assert!(live["memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(status["database_bytes"].as_u64().unwrap() > 4096);
    let text = place.scorer("status", &[]).expect(0).stdout;
    for line in ["since start   1 scored, 0 copies, 1 failed, 0 in flight", "by inotify (a local file system)"] {
        assert!(text.contains(line), "{text}");
    }
    let socket = place.path("scores.db.status");
    assert!(std::fs::metadata(&socket).unwrap().file_type().is_socket());
    daemon.stop();
    assert!(!socket.exists());
    assert_eq!(status_of(&place)["daemon"], Value::Null);
    assert!(place.scorer("status", &[]).expect(0).stdout.contains("no daemon is running on this database"));
}

#[test]
fn new_files_go_before_old_ones_and_the_progress_through_these_is_shown() {
    let place = Place::new();
    let count = 400;
    for seed in 0..count {
        make_old(&place.write(format!("{seed}.jpg"), &jpeg(seed)));
    }
    let daemon = run_on_photos(&place, "[watch]\nsettle_ms = 20\n[threads]\ndecode = 1\n[store]\ncommit_images = 1\n");
    daemon.wait_for("ready");
    // Several hundred files wait for the decoder now, and the scan is paused.
    let live = until("a scan has begun", || {
        Some(status_of(&place)["daemon"].clone()).filter(|d| d["scan"]["seen"].as_u64() > Some(0))
    });
    assert_eq!(live["scan"]["total"], json!(count));
    let done = || place.value(FILES).parse::<u32>().unwrap();
    let before = done();
    place.write("new.jpg", &jpeg(count + 1));
    let new = "SELECT count(*) FROM file WHERE path LIKE '%/new.jpg'";
    place.wait_for_rows(new, &["1"]);
    // More than 250 files were in the queue before the new file.
    let passed = done() - before;
    assert!(passed < 100, "{passed} old files were scored before the new one");
    let left = until("an estimate of the remaining time", || status_of(&place)["daemon"]["left_s"].as_u64());
    assert!(left < 3600, "{left}");
    daemon.stop();
    place.assert_sound();
}

#[test]
fn a_replaced_bundle_is_used_if_it_can_be_proved_and_refused_if_not() {
    let place = Place::new();
    let bundle = copy_of_model(place.dir.path());
    let config =
        format!("[model]\ndir = {:?}\n[tags]\nalways = [\"birds\"]\nfrom_similarity = 0\n", bundle.to_str().unwrap());
    let config = place.config(&config);
    place.write("a.jpg", &jpeg(1));
    let (config, photos, db) = (config, place.photos(), place.db());
    let mut command = place.command();
    command.args(["run", "--config", config.to_str().unwrap(), "--db", db.to_str().unwrap(), photos.to_str().unwrap()]);
    let log = place.path("log");
    command.stderr(std::fs::File::create_new(&log).unwrap()).stdout(std::process::Stdio::null());
    let daemon = edge_testing::daemon::Daemon::spawn(command, log);
    place.wait_for_rows("SELECT count(*) FROM score", &["1"]);

    // The bundle is replaced by another one, first by a copy with a damaged graph.
    let fresh = place.path("fresh");
    std::fs::create_dir(&fresh).unwrap();
    let next = copy_of_model(&fresh);
    write(next.join("quality_head.onnx"), b"damaged").unwrap();
    rename(&bundle, place.path("old")).unwrap();
    rename(&next, &bundle).unwrap();
    daemon.wait_for("reload refused; the old configuration and model stay in use");
    place.write("b.jpg", &jpeg(2));
    place.wait_for_rows("SELECT count(*), count(DISTINCT model_id) FROM score", &["2|1"]);

    let next = copy_of_model(&fresh);
    let manifest = std::fs::read_to_string(next.join("manifest.json")).unwrap();
    write(next.join("manifest.json"), manifest.replacen("\"small\"", "\"smaller\"", 1)).unwrap();
    rename(&bundle, place.path("damaged")).unwrap();
    rename(&next, &bundle).unwrap();
    // The old scores stay. The new scores are computed from the stored embeddings, without the files.
    place.wait_for_rows(
        "SELECT model.name, count(*) FROM score JOIN model ON model.id = model_id GROUP BY 1",
        &["small|2", "smaller|2"],
    );
    assert_eq!(
        (place.live("backfilled"), place.live("scored"), place.live("linked")),
        (2, 0, 0),
        "a file was read again"
    );
    assert_eq!(place.rows("SELECT DISTINCT model FROM top_images"), ["smaller"]);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().0.code(), Some(0));
    place.assert_sound();
}
