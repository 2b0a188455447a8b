//! Tests of the daemon's decoder processes: one is killed, one hangs, one receives the signals meant for the daemon.

use edge_testing::daemon::Daemon;
use edge_testing::{Place, jpeg, until};
use rustix::process::{Pid, Signal, kill_process};

const IMAGES: &str = "SELECT count(*) FROM image";
const FAILURES: &str = "SELECT stage, attempts, quarantined FROM failure";

/// Starts a daemon with one decoder process and waits until an image is recorded. Returns the daemon and the decoder's process id.
fn one_decoder(place: &Place, more: &str) -> (Daemon, Pid) {
    let text = format!(
        "[threads]\ndecode = 1\n[watch]\nsettle_ms = 20\nrescan_interval_s = 1\n[store]\ncommit_interval_ms = 50\n{more}"
    );
    let config = place.config(&text);
    let daemon = place.daemon(&["--config", config.to_str().unwrap(), place.photos().to_str().unwrap()]);
    place.write("first.jpg", &jpeg(1));
    place.wait_for_rows(IMAGES, &["1"]);
    let decoder = only_decoder(&daemon);
    (daemon, decoder)
}

/// Returns the process id of the daemon's only decoder process.
fn only_decoder(daemon: &Daemon) -> Pid {
    let decoders = daemon.decoders();
    assert_eq!(decoders.len(), 1, "{decoders:?}");
    decoders[0]
}

#[test]
fn a_file_that_kills_its_decoder_fails_alone_and_is_quarantined_after_the_second_time() {
    let place = Place::new();
    let (daemon, decoder) = one_decoder(&place, "[retry]\nfirst_delay_s = 3\n");
    // The stopped decoder holds the file that it was given. Then it aborts, as if by a defect in its code.
    let abort_with_a_file = |decoder| {
        until("a file in the decoder", || (place.live("in_work") == 1).then_some(()));
        kill_process(decoder, Signal::ABORT).unwrap();
        kill_process(decoder, Signal::CONT).unwrap();
    };
    kill_process(decoder, Signal::STOP).unwrap();
    place.write("bad.jpg", &jpeg(2));
    abort_with_a_file(decoder);
    place.wait_for_rows(FAILURES, &["crash|1|0"]);
    let error = place.value("SELECT error FROM failure");
    assert_eq!(
        error,
        "the decoder process crashed on this file: signal 6 (SIGABRT); it may have run out of memory. If other programs \
         can open the file, please report the crash"
    );
    // Another decoder takes the next file, and the bad file when its retry is due.
    place.write("good.jpg", &jpeg(3));
    place.wait_for_rows(IMAGES, &["2"]);
    let decoder = only_decoder(&daemon);
    kill_process(decoder, Signal::STOP).unwrap();
    abort_with_a_file(decoder);
    place.wait_for_rows(FAILURES, &["crash|2|1"]);
    place.write("last.jpg", &jpeg(4));
    place.wait_for_rows(IMAGES, &["3"]);
    // A changed file is tried again.
    place.write("bad.jpg", &jpeg(5));
    place.wait_for_rows(FAILURES, &[]);
    place.wait_for_rows(IMAGES, &["4"]);
    daemon.stop();
    place.assert_sound();
}

#[test]
fn a_decoder_that_hangs_is_killed_and_replaced() {
    let place = Place::new();
    let (daemon, decoder) = one_decoder(&place, "[limits]\ndecode_timeout_s = 1\n");
    kill_process(decoder, Signal::STOP).unwrap();
    place.write("endless.jpg", &jpeg(2));
    place.wait_for_rows(FAILURES, &["time|1|0"]);
    let error = place.value("SELECT error FROM failure");
    assert_eq!(error, "reading and decoding took longer than 1 s. If the file is valid, raise limits.decode_timeout_s");
    place.write("next.jpg", &jpeg(3));
    place.wait_for_rows(IMAGES, &["2"]);
    assert_ne!(only_decoder(&daemon), decoder);
    daemon.stop();
}

#[test]
fn an_idle_decoder_may_die_and_signals_for_the_daemon_do_not_end_one_at_work() {
    let place = Place::new();
    let (daemon, decoder) = one_decoder(&place, "");
    kill_process(decoder, Signal::KILL).unwrap();
    until("the decoder has ended", || daemon.decoders().iter().all(|&d| d != decoder).then_some(()));
    place.write("second.jpg", &jpeg(2));
    place.wait_for_rows(IMAGES, &["2"]);
    // A service manager that stops a unit sends its signal to every process of the unit.
    let decoder = only_decoder(&daemon);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(decoder, signal).unwrap();
    }
    place.write("third.jpg", &jpeg(3));
    place.wait_for_rows(IMAGES, &["3"]);
    assert_eq!(only_decoder(&daemon), decoder);
    assert_eq!(place.rows("SELECT * FROM failure"), [] as [&str; 0]);
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end().0.code(), None);
    until("the decoder ends with its daemon", || kill_process(decoder, Signal::HUP).is_err().then_some(()));
}
