//! Tests that failed files are retried when they are due or when the user asks, and at no other time.

use edge_testing::{Place, jpeg, make_old};

const LEDGER: &str = "SELECT stage, attempts, quarantined FROM failure";

#[test]
fn a_failed_file_is_tried_again_when_it_is_due_and_when_the_user_asks() {
    let place = Place::new();
    let whole = jpeg(1);
    let path = place.write("a.jpg", &whole[..whole.len() / 2]);
    make_old(&path);
    // The scan interval is longer than this test.
    let config = place.config("[watch]\nrescan_interval_s = 3600\n[retry]\nfirst_delay_s = 1\nmax_attempts = 3\n");
    let daemon = place.daemon(&["--config", config.to_str().unwrap(), place.photos().to_str().unwrap()]);
    place.wait_for_rows(LEDGER, &["decode|1|0"]);
    place.wait_for_rows(LEDGER, &["decode|3|1"]);
    let last = "SELECT last_failed_at FROM failure";
    let before = place.value(last);

    let photos = place.photos();
    let outcome =
        place.run(["failures", "--db", place.db().to_str().unwrap(), "--retry", "--path", photos.to_str().unwrap()]);
    assert!(outcome.expect(0).stdout.starts_with("1 failed files are due for a retry."));
    place.wait_for_rows(LEDGER, &["decode|3|1"]);
    assert!(place.value(last) > before, "the file was not tried again");
    // Three attempts before the quarantine and three after the request.
    assert_eq!(place.live("failed"), 6);
    daemon.stop();
    place.assert_sound();
}
