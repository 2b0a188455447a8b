//! A camera's card in a reader: mounted, pulled out, put back. In a mount namespace of the test's own, so that it needs no root.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use edge_testing::{Place, jpeg, make_old, model, skip, until};

const FILES: &str = "SELECT replace(path, rtrim(path, replace(path, '/', '')), ''), state FROM file ORDER BY 1";

/// A shell in the namespace; the daemon runs beside it.
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
fn a_card_that_is_pulled_out_is_offline_and_what_is_on_it_is_not_scored_again() {
    let test = "a_card_that_is_pulled_out_is_offline…";
    let place = Place::new();
    // The card is the directory `card`, and shows in `photos` where it is mounted.
    let card = place.path("card");
    std::fs::create_dir(&card).unwrap();
    for (name, seed) in [("a.jpg", 1), ("b.jpg", 2)] {
        std::fs::write(card.join(name), jpeg(seed)).unwrap();
        make_old(&card.join(name));
    }
    let spawned =
        Command::new("unshare").args(["-Urm", "sh"]).current_dir(place.dir.path()).stdin(Stdio::piped()).spawn();
    let Ok(child) = spawned else { return skip(test, "there is no unshare program") };
    let mut shell = Shell(child);
    let mount = format!("mount --bind {} {}", quoted(&card), quoted(&place.photos()));
    shell.run(&format!("{mount} && touch mounted || touch refused"));
    until("a mount", || (place.path("mounted").exists() || place.path("refused").exists()).then_some(()));
    if place.path("refused").exists() {
        return skip(test, "nothing can be mounted here");
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
    // Elsewhere a picture is added and one deleted.
    std::fs::write(card.join("c.jpg"), jpeg(3)).unwrap();
    std::fs::remove_file(card.join("b.jpg")).unwrap();
    shell.run(&mount);
    place.wait_for_rows(FILES, &["a.jpg|present", "b.jpg|missing", "c.jpg|present"]);

    shell.run("kill $daemon; wait $daemon; touch ended");
    until("the end of the daemon", || place.path("ended").exists().then_some(()));
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("3 scored, 0 linked, 0 failed"), "nothing twice: {log}");
    place.assert_sound();
}
