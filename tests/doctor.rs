//! What `doctor` finds on a machine without a GPU: each trouble with its next step, and nothing where there is none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edge_testing::{Place, bytes, copy_of_model, jpeg, repository};
use image::ImageFormat;
use rusqlite::Connection;
use serde_json::Value;

struct Machine {
    place: Place,
}

impl Machine {
    fn new() -> Self {
        let place = Place::new();
        place.config(&format!("[model]\ndevice = \"cpu\"\n[watch]\ndirs = [{:?}]\n", place.photos()));
        Self { place }
    }

    /// The report, and the exit code that goes with its problems.
    #[track_caller]
    fn report(&self, more: &[&str]) -> Value {
        let config = self.place.path("edge-scorer.toml");
        let arguments = ["--config", config.to_str().unwrap(), "--format", "json"];
        let said = self.place.scorer("doctor", &[&arguments, more].concat());
        let report = said.json();
        let problems = report["problems"].as_u64().unwrap();
        assert_eq!(said.code, Some(i32::from(problems > 0)), "{report:#}");
        report
    }

    /// The finding on a subject, with its state, what was found and what to do.
    #[track_caller]
    fn finds(&self, subject: &str, state: &str, found: &str, next: &str) {
        let report = self.report(&[]);
        let of_subject = |f: &&Value| f["subject"].as_str().unwrap().contains(subject);
        let finding = report["findings"].as_array().unwrap().iter().find(of_subject);
        let finding = finding.unwrap_or_else(|| panic!("nothing on {subject} in {report:#}"));
        assert_eq!(finding["state"], state, "{finding}");
        assert!(finding["found"].as_str().unwrap().contains(found), "{finding}");
        assert!(finding["next"].as_str().unwrap_or_default().contains(next), "{finding}");
    }
}

#[test]
fn a_box_in_order() {
    let b = Machine::new();
    let report = b.report(&[]);
    assert_eq!(report["problems"], 0, "{report:#}");
    for subject in ["program", "system", "processor", "memory", "contents", "cpu in f32", "fs.inotify.max_user_watches"]
    {
        b.finds(subject, "fine", "", "");
    }
    b.place.write("a.jpg", &jpeg(1));
    b.place.scan(&["--device", "cpu"]).expect(0);
    b.finds("soundness", "fine", "SQLite finds no damage", "");
    b.finds("contents", "fine", "1 images, 1 scores under 1 tags", "");
    let table = b.place.scorer("doctor", &["--device", "cpu"]).expect(0).stdout;
    assert!(table.lines().any(|line| line.starts_with("  model     cpu in f32: goldens right: ")), "{table}");
}

#[test]
fn a_directory_that_is_missing() {
    let b = Machine::new();
    std::fs::remove_dir(b.place.photos()).unwrap();
    b.finds("photos", "problem", "No such file", "Create or mount it");
}

#[test]
fn a_database_that_is_damaged_old_new_or_somebody_elses() {
    let b = Machine::new();
    b.place.write("a.jpg", &jpeg(1));
    b.place.scan(&["--device", "cpu"]).expect(0);
    let sound = std::fs::read(b.place.db()).unwrap();
    let mut damaged = sound.clone();
    damaged[4096 + 100..].fill(0x5a);
    std::fs::write(b.place.db(), damaged).unwrap();
    let report = b.report(&[]);
    assert!(report["problems"].as_u64().unwrap() >= 1, "{report:#}");
    assert!(report.to_string().contains("it keeps the damaged file and begins a new one"), "{report:#}");

    std::fs::write(b.place.db(), &sound).unwrap();
    let set_version = |version: u32| {
        let conn = Connection::open(b.place.db()).unwrap();
        conn.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(1);
    b.finds("contents", "problem", "schema version", "edge-scorer migrate");
    set_version(99);
    b.finds("contents", "problem", "schema version", "or a later one");
    std::fs::write(
        b.place.db(),
        "not a database at all, but long enough to be looked at as one, with a text of a hundred bytes",
    )
    .unwrap();
    b.finds("contents", "problem", "", "");
    std::fs::write(b.place.path("scores.db.damaged-20260101T000000000Z"), "").unwrap();
    b.finds("damage", "note", "1 damaged databases were set aside", "replace it");
}

#[test]
fn files_in_quarantine() {
    let b = Machine::new();
    b.place.config(&format!(
        "[model]\ndevice = \"cpu\"\n[watch]\ndirs = [{:?}]\n[retry]\nmax_attempts = 1\n",
        b.place.photos()
    ));
    let mut broken = bytes(1, ImageFormat::Png);
    broken.truncate(300);
    edge_testing::make_old(&b.place.write("broken.png", &broken));
    let config = b.place.path("edge-scorer.toml");
    b.place.scan(&["--config", config.to_str().unwrap()]).expect(1);
    b.finds("failures", "note", "1 files are not tried any more", "`edge-scorer failures`");
}

#[test]
fn a_bundle_that_is_damaged_or_wrong() {
    let b = Machine::new();
    let model = copy_of_model(b.place.dir.path());
    let db = b.place.db();
    let doctor = |expected| {
        let arguments = ["doctor", "--model", model.to_str().unwrap(), "--db", db.to_str().unwrap(), "--device", "cpu"];
        b.place.run(arguments).expect(expected)
    };
    doctor(0);
    let head = std::fs::read(model.join("quality_head.onnx")).unwrap();
    std::fs::write(model.join("quality_head.onnx"), &head[..head.len() - 1]).unwrap();
    let said = doctor(1);
    assert!(said.stdout.contains("\nX model     ") && said.stdout.contains("Copy the bundle again"), "{}", said.stdout);
    assert_eq!(said.stderr, "edge-scorer: one thing does not work\n");
}

#[test]
fn the_shipped_configuration_is_examined_as_it_is() {
    let place = Place::new();
    let config = repository("systemd/edge-scorer.toml");
    let said = place.scorer("doctor", &["--config", config.to_str().unwrap(), "--device", "cpu"]);
    assert!(said.stdout.contains("/var/lib/camera: "), "{}", said.stdout);
}
