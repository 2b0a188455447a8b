//! Tests of a memory card that is mounted, removed and mounted again, in a mount namespace of the test's own. The test does not
//! need to run as root.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use edge_testing::{Place, can_unshare, jpeg, make_old, model, skip, until};

/// Options of `unshare`: new user and mount namespaces, in which the current user counts as root.
const NAMESPACE: [&str; 1] = ["-Urm"];
const FILES: &str = "SELECT replace(path, rtrim(path, replace(path, '/', '')), ''), state FROM file ORDER BY 1";

/// A shell in the new namespaces. It mounts the card and starts the daemon there.
struct Shell(Child);

impl Shell {
    fn run(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn quoted(path: &std::path::Path) -> String {
    format!("'{}'", path.display())
}

#[test]
fn files_of_a_removed_card_are_offline_and_not_scored_again_when_it_returns() {
    let test = "mounts::files_of_a_removed_card_are_offline_and_not_scored_again_when_it_returns";
    if !can_unshare(test, &NAMESPACE) {
        return;
    }
    let place = Place::new();
    // The card is the directory `card`. It is mounted at `photos`.
    let card = place.path("card");
    std::fs::create_dir(&card).unwrap();
    for (name, seed) in [("a.jpg", 1), ("b.jpg", 2)] {
        std::fs::write(card.join(name), jpeg(seed)).unwrap();
        make_old(&card.join(name));
    }
    let mut unshare = Command::new("unshare");
    unshare.args(NAMESPACE).arg("sh").current_dir(place.dir.path()).stdin(Stdio::piped());
    let mut shell = Shell(unshare.spawn().unwrap());
    let mount = format!("mount --bind {} {}", quoted(&card), quoted(&place.photos()));
    shell.run(&format!("{mount} && touch mounted || touch refused"));
    until("the mount", || (place.path("mounted").exists() || place.path("refused").exists()).then_some(()));
    if place.path("refused").exists() {
        return skip(test, "`mount --bind` is refused in a new mount namespace");
    }
    let config = place.config("[watch]\nsettle_ms = 20\nrescan_interval_s = 2\n");
    let program = edge_testing::program("edge-scorer").display().to_string();
    shell.run(&format!(
        "{program} run --config {} --model {} --db {} {} 2> log & daemon=$!",
        quoted(&config),
        quoted(&model()),
        quoted(&place.db()),
        quoted(&place.photos())
    ));
    place.wait_for_rows(FILES, &["a.jpg|present", "b.jpg|present"]);

    shell.run("umount -l photos");
    place.wait_for_rows(FILES, &["a.jpg|offline", "b.jpg|offline"]);
    // While the card is away, one image is added to it and one deleted.
    std::fs::write(card.join("c.jpg"), jpeg(3)).unwrap();
    std::fs::remove_file(card.join("b.jpg")).unwrap();
    shell.run(&mount);
    place.wait_for_rows(FILES, &["a.jpg|present", "b.jpg|missing", "c.jpg|present"]);

    shell.run("kill $daemon; wait $daemon; touch ended");
    until("the end of the daemon", || place.path("ended").exists().then_some(()));
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("3 scored, 0 copies of known images, 0 failed attempts"), "a file was scored twice: {log}");
    place.assert_sound();
}
