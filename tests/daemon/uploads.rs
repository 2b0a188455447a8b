//! Tests of uploaders who want the daemon to read what they may not read, or to wait.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use edge_testing::daemon::Daemon;
use edge_testing::{Place, jpeg, until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

const FILES: &str = "SELECT name FROM (SELECT replace(path, rtrim(path, replace(path, '/', '')), '') AS name, state FROM file) \
                     ORDER BY name";
const PRESENT: &str = "SELECT count(*) FROM file WHERE state = 'present'";

/// A watched directory, and one beside it with an image that its uploaders may not read.
struct Attack {
    place: Place,
    outside: PathBuf,
}

impl Attack {
    fn new() -> Self {
        let place = Place::new();
        let outside = place.path("private");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("a.jpg"), jpeg(7)).unwrap();
        Self { place, outside }
    }

    fn daemon(&self, settle_ms: u32) -> Daemon {
        let text = format!(
            "[threads]\ndecode = 1\n[watch]\nsettle_ms = {settle_ms}\nrescan_interval_s = 1\n[store]\ncommit_interval_ms = 50\n"
        );
        let config = self.place.config(&text);
        self.place.daemon(&["--config", config.to_str().unwrap(), self.place.photos().to_str().unwrap()])
    }

    /// Replaces the directory `sub` by a link to the one outside.
    fn swap(&self) {
        let sub = self.place.photos().join("sub");
        fs::rename(&sub, self.place.photos().join("was")).unwrap();
        symlink(&self.outside, sub).unwrap();
    }

    /// Uploads an honest image and waits until it is recorded.
    fn honest(&self, name: &str, images: &str) {
        self.place.write(name, &jpeg(u32::try_from(name.len()).unwrap() + 20));
        self.place.wait_for_rows("SELECT count(*) FROM image", &[images]);
    }

    /// Fails unless the image that was moved to `was` is recorded, and no other of its name, and no file has failed.
    #[track_caller]
    fn assert_only_the_moved_image(&self) {
        assert!(self.place.value("SELECT path FROM file WHERE path LIKE '%/a.jpg'").ends_with("/was/a.jpg"));
        assert_eq!(self.place.rows("SELECT path FROM failure"), [] as [&str; 0]);
    }

    fn names(&self) -> Vec<String> {
        self.place.rows(FILES)
    }
}

/// Stops the daemon's only decoder and gives it a file, so that the next files wait.
fn hold(attack: &Attack, daemon: &Daemon) -> Pid {
    let decoders = daemon.decoders();
    assert_eq!(decoders.len(), 1);
    kill_process(decoders[0], Signal::STOP).unwrap();
    attack.place.write("held.jpg", &jpeg(3));
    until("a file in the decoder", || (attack.place.live("in_work") == 1).then_some(()));
    decoders[0]
}

#[test]
fn a_directory_that_becomes_a_link_while_its_image_settles_leads_nowhere() {
    let attack = Attack::new();
    let daemon = attack.daemon(2000);
    attack.place.write("sub/a.jpg", &jpeg(5));
    until("the image settles", || (attack.place.live("settling") == 1).then_some(()));
    attack.swap();
    // Each takes one settle time, after which the image outside would be recorded. The moved one is recorded too.
    attack.honest("h.jpg", "2");
    attack.honest("ho.jpg", "3");
    attack.honest("hon.jpg", "4");
    assert_eq!(attack.names(), ["a.jpg", "h.jpg", "ho.jpg", "hon.jpg"]);
    attack.assert_only_the_moved_image();
    daemon.stop();
}

#[test]
fn a_directory_that_becomes_a_link_while_its_image_waits_leads_nowhere() {
    let attack = Attack::new();
    let daemon = attack.daemon(20);
    attack.honest("h.jpg", "1");
    let decoder = hold(&attack, &daemon);
    attack.place.write("sub/a.jpg", &jpeg(5));
    until("a waiting file", || (attack.place.live("in_work") == 2).then_some(()));
    attack.swap();
    kill_process(decoder, Signal::CONT).unwrap();
    attack.honest("ho.jpg", "4");
    attack.assert_only_the_moved_image();
    daemon.stop();
}

#[test]
fn an_image_whose_directory_becomes_a_link_is_no_longer_present() {
    let attack = Attack::new();
    let daemon = attack.daemon(20);
    attack.place.write("sub/a.jpg", &jpeg(5));
    attack.place.wait_for_rows(PRESENT, &["1"]);
    attack.swap();
    attack
        .place
        .wait_for_rows("SELECT path LIKE '%/was/a.jpg', state FROM file ORDER BY 1", &["0|missing", "1|present"]);
    daemon.stop();
}

#[test]
fn a_named_pipe_in_place_of_an_image_holds_nobody_up() {
    let attack = Attack::new();
    let daemon = attack.daemon(20);
    attack.honest("h.jpg", "1");
    let decoder = hold(&attack, &daemon);
    let path = attack.place.photos().join("pipe.jpg");
    attack.place.write("pipe.jpg", &jpeg(5));
    until("a waiting file", || (attack.place.live("in_work") == 2).then_some(()));
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    kill_process(decoder, Signal::CONT).unwrap();
    attack.honest("ho.jpg", "3");
    assert_eq!(attack.names(), ["h.jpg", "held.jpg", "ho.jpg"]);
    assert_eq!(attack.place.rows("SELECT path FROM failure"), [] as [&str; 0]);
    daemon.stop();
}
