//! Tests of errors before any work begins. The message states the problem, its location and the next step; the exit code states
//! the class of the error.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use edge_testing::{Place, ProgramOutput, jpeg, model, skip};
use rusqlite::Connection;

/// Runs a command that must fail with this exit code, print nothing to stdout and print one message with these words.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], code: i32, message: &str) -> ProgramOutput {
    let outcome = place.run(arguments).expect(code).stderr_contains(message);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.contains("panicked")), ("", false), "{}", outcome.stderr);
    assert_eq!(
        outcome.stderr.lines().filter(|line| line.starts_with("edge-scorer: ")).count(),
        1,
        "{}",
        outcome.stderr
    );
    outcome
}

#[test]
fn no_model() {
    let place = Place::new();
    let photos = place.photos();
    let photos = photos.to_str().unwrap();
    for command in [&["run", photos][..], &["scan", photos], &["score", "--tag", "x", "a.jpg"], &["config", "check"]] {
        let arguments = [command, &["--model", "/nonexistent"]].concat();
        refused(&place, &arguments, 78, "/nonexistent: there is no such directory. Name a model bundle with --model");
    }
    assert!(!place.path(".local/state").exists(), "a refused command created files");

    // Packages install the program away from the models. It then finds them in the user's data directory.
    let program = place.path("bin/edge-scorer");
    std::fs::create_dir(place.path("bin")).unwrap();
    std::fs::copy(edge_testing::program("edge-scorer"), &program).unwrap();
    let check = || {
        let mut command = Command::new(&program);
        command.args(["config", "check"]).env("HOME", place.dir.path()).env_remove("XDG_DATA_HOME");
        command.env_remove("XDG_STATE_HOME").env_remove("STATE_DIRECTORY").output().unwrap()
    };
    if Path::new("/usr/share/edge-scorer/models").exists() || Path::new("/usr/local/share/edge-scorer/models").exists()
    {
        skip("errors::no_model", "a bundle is installed on this system");
    } else {
        let output = check();
        assert_eq!(output.status.code(), Some(78));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            stderr
                .contains("no model: the shipped bundle was found neither in a models directory above the program nor"),
            "{stderr}"
        );
    }
    let share = place.path(".local/share/edge-scorer/models");
    std::fs::create_dir_all(&share).unwrap();
    symlink(model(), share.join("small")).unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let database = place.path(".local/state/edge-scorer/scores.db");
    assert!(String::from_utf8_lossy(&output.stdout).contains(database.to_str().unwrap()), "{output:?}");
}

#[test]
fn no_directory() {
    let place = Place::new();
    let model = model();
    let model = model.to_str().unwrap();
    refused(
        &place,
        &["scan", "--model", model, "none"],
        66,
        "none: there is no such directory. Create it or name another one",
    );
    place.write("a.jpg", &jpeg(1));
    refused(&place, &["scan", "--model", model, "photos/a.jpg"], 66, "a.jpg: there is no such directory");
    for command in ["scan", "run"] {
        let message = "no directory to watch: name one on the command line or under [watch] dirs in the configuration";
        refused(&place, &[command, "--model", model], 64, message);
    }
    let config = place.config("[watch]\ndirs = [\"photos\", \"none\"]\n");
    let outcome = place.run(["config", "check", "--model", model, "--config", config.to_str().unwrap()]).expect(66);
    assert!(
        outcome.stdout.contains("photos (readable)") && outcome.stdout.contains("none (MISSING or not readable)"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stderr.contains("1 of the watched directories cannot be read; create or mount them"),
        "{}",
        outcome.stderr
    );
    let long = "word ".repeat(300);
    refused(&place, &["scan", "--model", model, "--tag", &long, "photos"], 64, "tokens and the model takes at most");
}

#[test]
fn no_permission() {
    if rustix::process::geteuid().is_root() {
        return skip("errors::no_permission", "root may read every file; run the tests as another user");
    }
    let place = Place::new();
    let forbid = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    place.write("a.jpg", &jpeg(1));
    forbid(&place.write("closed.jpg", &jpeg(2)), 0o000);
    place.write("closed/b.jpg", &jpeg(3));
    forbid(&place.photo("closed"), 0o000);
    let outcome = place.scan(&[]).expect(1);
    assert!(
        outcome.stderr.contains("closed: cannot be read") && outcome.stderr.contains("Give this user read access"),
        "{}",
        outcome.stderr
    );
    assert_eq!(place.value("SELECT count(*) FROM image"), "1");
    assert_eq!(place.value("SELECT stage FROM failure"), "read");
    forbid(&place.photo("closed"), 0o700);

    std::fs::create_dir(place.path("state")).unwrap();
    forbid(&place.path("state"), 0o500);
    let model = model();
    let arguments = ["scan", "--model", model.to_str().unwrap(), "--db", "state/s.db", "photos"];
    refused(&place, &arguments, 1, "state/s.db: cannot create the database: Permission denied");
    forbid(&place.db(), 0o400);
    let outcome = place.scan(&[]).expect(1);
    assert!(outcome.stderr.contains("scores.db: cannot"), "{}", outcome.stderr);
}

#[test]
fn a_database_below_a_file_cannot_be_created() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let model = model();
    let arguments = ["scan", "--model", model.to_str().unwrap(), "--db", "photos/a.jpg/s.db", "photos"];
    refused(&place, &arguments, 1, "s.db: cannot create the database: Not a directory");
    refused(&place, &["status", "--db", "photos/a.jpg/s.db"], 1, "s.db: cannot reach the database: Not a directory");
}

#[test]
fn wrong_configuration() {
    let place = Place::new();
    let check = |text: &str, code: i32, message: &str| {
        let config = place.config(text);
        for command in [&["config", "check"][..], &["run"], &["scan"], &["top", "--tag", "x"], &["status"]] {
            refused(&place, &[command, &["--config", config.to_str().unwrap()]].concat(), code, message);
        }
    };
    check(
        "[watch]\nsettle_ms = 5\ndris = [\"a\"]\n",
        78,
        "edge-scorer.toml:3: unknown key watch.dris; did you mean watch.dirs?",
    );
    check("[wacht]\n", 78, "edge-scorer.toml:1: unknown key wacht; did you mean watch?");
    check("[watch\n", 78, "edge-scorer.toml: the configuration is not valid:");
    check("[watch]\nrecursive = \"yes\"\n", 78, "expected a boolean");
    check(
        "[model]\ndir = \"m\"\ndevice = \"tpu\"\n",
        78,
        "model.device: \"tpu\" is not a device: use auto, cpu or cuda",
    );
    check("[model]\ndir = \"m\"\n[limits]\nmax_pixels = 0\n", 78, "limits.max_pixels is 0; it must be 1 to ");
    refused(&place, &["run", "--config", "none.toml"], 66, "none.toml: the configuration cannot be read: No such file");
}

#[test]
fn files_that_are_not_our_databases() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let text = place.path("notes.db");
    std::fs::write(&text, "Dear diary, this is not a database. ".repeat(50)).unwrap();
    let theirs = place.path("theirs.db");
    Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    place.scan(&[]).expect(0);
    let newer = place.path("newer.db");
    std::fs::copy(place.db(), &newer).unwrap();
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let cases = [
        (&text, "notes.db: not an SQLite database, so it is not changed. Move it away, or name another file with --db"),
        (&theirs, "theirs.db: the database of another program (application_id 0x00000000), so it is not changed"),
        (&newer, "newer.db: the database has schema version 99, but this program knows only versions up to 2. Install"),
    ];
    let model = model();
    let model = model.to_str().unwrap();
    for (path, message) in cases {
        let before = std::fs::read(path).unwrap();
        let db = path.to_str().unwrap();
        refused(&place, &["scan", "--model", model, "--db", db, "photos"], 78, message);
        refused(&place, &["run", "--model", model, "--db", db, "photos"], 78, message);
        refused(&place, &["migrate", "--db", db], 78, message);
        for command in [&["top", "--tag", "x"][..], &["tags"], &["status"], &["failures"], &["failures", "--retry"]] {
            refused(&place, &[command, &["--model", model, "--db", db]].concat(), 78, message);
        }
        assert_eq!(std::fs::read(path).unwrap(), before, "{db} was changed");
        assert!(!place.path(format!("{db}.lock")).exists());
    }
    for command in
        [&["top", "--tag", "x"][..], &["tags"], &["status"], &["failures"], &["failures", "--retry"], &["migrate"]]
    {
        let message = "none.db: there is no database here. Run `edge-scorer scan DIR` to create one, or name another file with --db";
        refused(&place, &[command, &["--db", "none.db"]].concat(), 66, message);
        assert!(!place.path("none.db").exists());
    }
    let mut homeless = place.command();
    homeless.env_remove("HOME").arg("status");
    let output = homeless.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no database: neither XDG_STATE_HOME nor HOME is set"));
}
