//! The database as others see it: opened with the real `sqlite3` program. Skipped, loudly, where there is none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use edge_scorer::store::{
    FileState, NewEmbedding, NewFailure, NewImage, NewModel, NewScore, RetryPolicy, Store, TagReason,
};
use half::f16;
use jiff::Timestamp;

const NOW: Timestamp = Timestamp::constant(1_767_323_045, 678_000_000);
const ENCODER: &str = "sha256 of the encoder";

/// What `sqlite3` prints, one line per row; none where the program is absent.
fn sqlite3(database: &Path, sql: &str) -> Option<Vec<String>> {
    let output = match Command::new("sqlite3").arg("-batch").arg("-bail").arg(database).arg(sql).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: the program sqlite3 cannot be run ({error}); apt install sqlite3");
            return None;
        }
    };
    assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn model<'a>(digest: &'a str, name: &'a str) -> NewModel<'a> {
    NewModel {
        digest,
        name,
        manifest: "{}",
        encoder_digest: ENCODER,
        device: "cpu",
        precision: "f32",
        device_reason: "no GPU is there",
    }
}

/// A file's bytes, its score, and the names under which it lies.
type Content = (&'static [u8], f32, &'static [&'static [u8]]);

/// Two images by three names under one tag, one image that is gone, a failure, and the scores of an older model.
fn fill(store: &mut Store) {
    let old = store.register_model(&model("d1", "older"), NOW).unwrap();
    let current = store.register_model(&model("d2", "small"), NOW).unwrap();
    let batch = store.begin().unwrap();
    let tag = batch.tag_id("a good photo").unwrap();
    let contents: [Content; 3] = [
        (b"best", 7.5, &[b"/photos/z.jpg", b"/photos/it's a \"best\"\nphoto.jpg", b"/photos/a\xff.jpg"]),
        (b"second", 6.25, &[b"/photos/\xfe.jpg"]),
        (b"gone", 9.0, &[b"/photos/gone.jpg"]),
    ];
    for (content, score, paths) in contents {
        let values = [f16::from_f32(score), f16::ONE];
        let image = NewImage {
            content_id: blake3::hash(content),
            size_bytes: 4,
            format: "jpeg",
            width_px: 640,
            height_px: 480,
            captured_at: None,
            embedding: Some(NewEmbedding { values: &values, encoder_digest: ENCODER }),
            brightness: None,
            contrast: None,
            sharpness: None,
        };
        let image_id = batch.record_image(&image, NOW).unwrap();
        for path in paths {
            batch.record_file(Path::new(OsStr::from_bytes(path)), image_id, 4, 1, NOW).unwrap();
        }
        batch.record_image_tag(image_id, tag, TagReason::Default, None).unwrap();
        let value = NewScore { score, similarity: Some(0.3), percentile: Some(81.5) };
        batch.record_score(image_id, tag, current, &value, NOW).unwrap();
        batch.record_score(image_id, tag, old, &NewScore { score: -score, ..value }, NOW).unwrap();
    }
    batch.set_file_state(&["/photos/gone.jpg"], FileState::Missing, NOW).unwrap();
    let broken = NewFailure {
        path: Path::new("/photos/broken.jpg"),
        stage: "decode",
        error: "not a JPEG",
        size_bytes: 3,
        mtime_ns: 1,
    };
    batch.record_failure(&broken, &RetryPolicy::default(), NOW).unwrap();
    batch.commit().unwrap();
}

#[test]
fn sqlite3_reads_the_ranking_and_finds_the_database_sound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.db");
    let mut store = Store::open(&path).unwrap();
    fill(&mut store);

    // The writer stays open: people query a running daemon.
    let ranking = "SELECT rank, score, percentile, similarity, typeof(path), quote(path), scored_at, model
                   FROM top_images WHERE tag = 'a good photo' ORDER BY rank";
    let Some(rows) = sqlite3(&path, ranking) else { return };
    assert_eq!(
        rows.join("\n"),
        "1|7.5|81.5|0.3|text|'/photos/it''s a \"best\"\nphoto.jpg'|2026-01-02T03:04:05.678Z|small\n\
         2|6.25|81.5|0.3|blob|X'2F70686F746F732FFE2E6A7067'|2026-01-02T03:04:05.678Z|small"
    );
    let failures = "SELECT path, stage, error, attempts, next_retry_at, quarantined FROM failure";
    let rows = sqlite3(&path, failures).unwrap();
    assert_eq!(rows, ["/photos/broken.jpg|decode|not a JPEG|1|2026-01-02T03:05:05.678Z|0"]);
    let embedding = sqlite3(&path, "SELECT hex(embedding), encoder_digest FROM image ORDER BY id LIMIT 1").unwrap();
    assert_eq!(embedding, [format!("8047003C|{ENCODER}")], "little-endian f16 of 7.5 and 1");

    assert_eq!(sqlite3(&path, "PRAGMA integrity_check; PRAGMA foreign_key_check").unwrap(), ["ok"]);
    assert_eq!(sqlite3(&path, "PRAGMA user_version; PRAGMA journal_mode").unwrap(), ["2", "wal"]);
    let schema = sqlite3(&path, ".schema").unwrap().join("\n");
    for comment in ["BLAKE3 of the file's bytes", "a BLOB of the raw bytes where the name is not UTF-8"] {
        assert!(schema.contains(comment), "the schema explains itself:\n{schema}");
    }
}

#[test]
fn the_ranking_of_the_view_is_the_ranking_of_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.db");
    let mut store = Store::open(&path).unwrap();
    fill(&mut store);
    let ours: Vec<String> = store
        .top("a good photo", 10, None)
        .unwrap()
        .into_iter()
        .map(|row| format!("{}|{}|{}|{}", row.rank, row.score, row.content_id, row.model_digest))
        .collect();
    assert_eq!(ours.len(), 2);
    let sql = "SELECT rank, score, content_id, model_digest FROM top_images WHERE tag = 'a good photo' ORDER BY rank";
    let Some(theirs) = sqlite3(&path, sql) else { return };
    assert_eq!(ours, theirs);
}

#[test]
fn what_sqlite3_damages_by_hand_is_refused_by_the_constraints() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.db");
    fill(&mut Store::open(&path).unwrap());
    for sql in [
        "UPDATE model SET current = 1",
        "INSERT INTO tag (text) VALUES ('A GOOD PHOTO')",
        "UPDATE file SET state = 'lost'",
        "PRAGMA foreign_keys = ON; DELETE FROM image",
        "UPDATE failure SET quarantined = 1",
    ] {
        match Command::new("sqlite3").arg("-batch").arg("-bail").arg(&path).arg(sql).output() {
            Ok(output) => assert!(String::from_utf8_lossy(&output.stderr).contains("constraint failed"), "{sql}"),
            Err(error) => return eprintln!("SKIPPED: the program sqlite3 cannot be run ({error})"),
        }
    }
}
