//! `edge-scorer doctor` on a machine without a GPU: every problem is reported with the next step, and a sound machine has none.

use edge_testing::{Place, bytes, copy_of_model, jpeg, repository};
use image::ImageFormat;
use rusqlite::Connection;
use serde_json::Value;

/// A temporary directory with photographs and a configuration: the photo directory is watched, and the device is the CPU.
struct Machine {
    place: Place,
}

impl Machine {
    fn new() -> Self {
        let place = Place::new();
        place.config(&format!("[model]\ndevice = \"cpu\"\n[watch]\ndirs = [{:?}]\n", place.photos()));
        Self { place }
    }

    /// Runs `doctor` and returns its JSON report. The exit code must be 1 if the report has problems, else 0.
    #[track_caller]
    fn report(&self, more: &[&str]) -> Value {
        let config = self.place.path("edge-scorer.toml");
        let arguments = ["--config", config.to_str().unwrap(), "--format", "json"];
        let outcome = self.place.scorer("doctor", &[&arguments, more].concat());
        let report = outcome.json();
        let problems = report["problems"].as_u64().unwrap();
        assert_eq!(outcome.code, Some(i32::from(problems > 0)), "{report:#}");
        report
    }

    /// Fails unless `doctor` reports the subject in this state. The finding must contain `found`, and its next step `next`.
    #[track_caller]
    fn finds(&self, subject: &str, state: &str, found: &str, next: &str) {
        let report = self.report(&[]);
        let of_subject = |f: &&Value| f["subject"].as_str().unwrap().contains(subject);
        let finding = report["findings"].as_array().unwrap().iter().find(of_subject);
        let finding = finding.unwrap_or_else(|| panic!("no finding on {subject} in {report:#}"));
        assert_eq!(finding["state"], state, "{finding}");
        assert!(finding["found"].as_str().unwrap().contains(found), "{finding}");
        assert!(finding["next"].as_str().unwrap_or_default().contains(next), "{finding}");
    }
}

#[test]
fn a_machine_in_order() {
    let machine = Machine::new();
    let report = machine.report(&[]);
    assert_eq!(report["problems"], 0, "{report:#}");
    for subject in ["program", "system", "processor", "memory", "contents", "cpu in f32", "fs.inotify.max_user_watches"]
    {
        machine.finds(subject, "fine", "", "");
    }
    let decoders = report["findings"].as_array().unwrap().iter().find(|f| f["subject"] == "decoders").unwrap();
    assert!(decoders["found"].as_str().unwrap().contains("confined by"), "{decoders}");
    machine.place.write("a.jpg", &jpeg(1));
    machine.place.scan(&["--device", "cpu"]).expect(0);
    machine.finds("integrity", "fine", "SQLite finds no damage", "");
    machine.finds("contents", "fine", "1 images, 3 scores under 3 tags", "");
    let table = machine.place.scorer("doctor", &["--device", "cpu"]).expect(0).stdout;
    assert!(table.lines().any(|line| line.starts_with("  model     cpu in f32: goldens reproduced: ")), "{table}");
}

#[test]
fn a_missing_directory() {
    let machine = Machine::new();
    std::fs::remove_dir(machine.place.photos()).unwrap();
    machine.finds("photos", "problem", "No such file", "Create or mount the directory");
}

#[test]
fn a_database_that_is_damaged_older_newer_or_of_another_program() {
    let machine = Machine::new();
    machine.place.write("a.jpg", &jpeg(1));
    machine.place.scan(&["--device", "cpu"]).expect(0);
    let sound = std::fs::read(machine.place.db()).unwrap();
    let mut damaged = sound.clone();
    damaged[4096 + 100..].fill(0x5a);
    std::fs::write(machine.place.db(), damaged).unwrap();
    let report = machine.report(&[]);
    assert!(report["problems"].as_u64().unwrap() >= 1, "{report:#}");
    assert!(report.to_string().contains("it keeps the damaged file, creates a new database"), "{report:#}");

    std::fs::write(machine.place.db(), &sound).unwrap();
    let set_version = |version: u32| {
        let conn = Connection::open(machine.place.db()).unwrap();
        conn.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(1);
    machine.finds("contents", "problem", "schema version", "edge-scorer migrate");
    set_version(99);
    machine.finds("contents", "problem", "schema version", "or a newer one");
    std::fs::write(
        machine.place.db(),
        "a text that is not a database, but has the hundred bytes that the header of a database would have",
    )
    .unwrap();
    machine.finds("contents", "problem", "", "");
    std::fs::write(machine.place.path("scores.db.damaged-20260101T000000000Z"), "").unwrap();
    machine.finds("damage", "note", "set aside: 1; the latest is", "replace the disk");
}

#[test]
fn quarantined_files() {
    let machine = Machine::new();
    machine.place.config(&format!(
        "[model]\ndevice = \"cpu\"\n[watch]\ndirs = [{:?}]\n[retry]\nmax_attempts = 1\n",
        machine.place.photos()
    ));
    let mut broken = bytes(1, ImageFormat::Png);
    broken.truncate(300);
    edge_testing::make_old(&machine.place.write("broken.png", &broken));
    let config = machine.place.path("edge-scorer.toml");
    machine.place.scan(&["--config", config.to_str().unwrap()]).expect(1);
    machine.finds("failures", "note", "1 files are quarantined", "`edge-scorer failures`");
}

#[test]
fn a_damaged_bundle() {
    let machine = Machine::new();
    let model = copy_of_model(machine.place.dir.path());
    let db = machine.place.db();
    let doctor = |expected| {
        let arguments = ["doctor", "--model", model.to_str().unwrap(), "--db", db.to_str().unwrap(), "--device", "cpu"];
        machine.place.run(arguments).expect(expected)
    };
    doctor(0);
    let head = std::fs::read(model.join("quality_head.onnx")).unwrap();
    std::fs::write(model.join("quality_head.onnx"), &head[..head.len() - 1]).unwrap();
    let outcome = doctor(1);
    assert!(
        outcome.stdout.contains("\nX model     ") && outcome.stdout.contains("Copy the bundle again"),
        "{}",
        outcome.stdout
    );
    assert_eq!(outcome.stderr, "edge-scorer: 1 problem found; follow the advice\n");
}

#[test]
fn the_shipped_configuration_is_examined() {
    let place = Place::new();
    let config = repository("systemd/edge-scorer.toml");
    let outcome = place.scorer("doctor", &["--config", config.to_str().unwrap(), "--device", "cpu"]);
    assert!(outcome.stdout.contains("/var/lib/camera: "), "{}", outcome.stdout);
}
