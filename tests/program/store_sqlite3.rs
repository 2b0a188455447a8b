//! The database opened with the real `sqlite3` program, as users do. Skipped if the program is not installed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use edge_scorer::identity::{ContentId, RecordedStamp};
use edge_scorer::store::{
    FileState, NewEmbedding, NewFailure, NewImage, NewModel, NewScore, RetryPolicy, Stage, Store, TagReason,
};
use edge_testing::has_program;
use half::f16;
use jiff::Timestamp;

const NOW: Timestamp = Timestamp::constant(1_767_323_045, 678_000_000);
const ENCODER: &str = "sha256 of the encoder";

/// Runs the sqlite3 program.
fn run_sqlite3(database: &Path, sql: &str) -> Output {
    Command::new("sqlite3").arg("-batch").arg("-bail").arg(database).arg(sql).output().unwrap()
}

/// The lines that sqlite3 prints, one per row.
fn sqlite3(database: &Path, sql: &str) -> Vec<String> {
    let output = run_sqlite3(database, sql);
    assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
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

/// A file's bytes, its score, and its paths.
type Content = (&'static [u8], f32, &'static [&'static [u8]]);

/// Records three images under one tag: one with three paths, one with one path, and one whose file is missing. Adds a failure and
/// the scores of an older model.
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
            content_id: ContentId::of(content),
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
            batch
                .record_file(
                    Path::new(OsStr::from_bytes(path)),
                    image_id,
                    RecordedStamp { size_bytes: 4, mtime_ns: 1 },
                    NOW,
                )
                .unwrap();
        }
        batch.record_image_tag(image_id, tag, TagReason::Default, None).unwrap();
        let value = NewScore { score, similarity: Some(0.3), percentile: Some(81.5) };
        batch.record_score(image_id, tag, current, &value, NOW).unwrap();
        batch.record_score(image_id, tag, old, &NewScore { score: -score, ..value }, NOW).unwrap();
    }
    batch.set_file_state(&["/photos/gone.jpg"], FileState::Missing, NOW).unwrap();
    let broken = NewFailure {
        path: Path::new("/photos/broken.jpg"),
        stage: Stage::Decode,
        error: "not a JPEG",
        stamp: RecordedStamp { size_bytes: 3, mtime_ns: 1 },
    };
    batch.record_failure(&broken, &RetryPolicy::default(), NOW).unwrap();
    batch.commit().unwrap();
}

#[test]
fn sqlite3_reads_the_ranking_and_finds_the_database_sound() {
    if !has_program("store_sqlite3::sqlite3_reads_the_ranking_and_finds_the_database_sound", "sqlite3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.db");
    let mut store = Store::open(&path).unwrap();
    fill(&mut store);

    // The writer stays open, because users query the database of a running daemon.
    let ranking = "SELECT rank, score, percentile, similarity, typeof(path), quote(path), scored_at, model
                   FROM top_images WHERE tag = 'a good photo' ORDER BY rank";
    let rows = sqlite3(&path, ranking);
    assert_eq!(
        rows.join("\n"),
        "1|7.5|81.5|0.3|text|'/photos/it''s a \"best\"\nphoto.jpg'|2026-01-02T03:04:05.678Z|small\n\
         2|6.25|81.5|0.3|blob|X'2F70686F746F732FFE2E6A7067'|2026-01-02T03:04:05.678Z|small"
    );
    let failures = "SELECT path, stage, error, attempts, next_retry_at, quarantined FROM failure";
    let rows = sqlite3(&path, failures);
    assert_eq!(rows, ["/photos/broken.jpg|decode|not a JPEG|1|2026-01-02T03:05:05.678Z|0"]);
    let embedding = sqlite3(&path, "SELECT hex(embedding), encoder_digest FROM image ORDER BY id LIMIT 1");
    assert_eq!(embedding, [format!("8047003C|{ENCODER}")], "little-endian f16 of 7.5 and 1");

    assert_eq!(sqlite3(&path, "PRAGMA integrity_check; PRAGMA foreign_key_check"), ["ok"]);
    assert_eq!(sqlite3(&path, "PRAGMA user_version; PRAGMA journal_mode"), ["2", "wal"]);
    let schema = sqlite3(&path, ".schema").join("\n");
    for comment in ["BLAKE3 of the file's bytes", "a BLOB of the raw bytes where the name is not UTF-8"] {
        assert!(schema.contains(comment), "{comment:?} is not in the schema:\n{schema}");
    }
}

#[test]
fn the_view_and_the_program_have_the_same_ranking() {
    if !has_program("store_sqlite3::the_view_and_the_program_have_the_same_ranking", "sqlite3") {
        return;
    }
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
    assert_eq!(ours, sqlite3(&path, sql));
}

#[test]
fn constraints_refuse_wrong_changes_made_with_sqlite3() {
    if !has_program("store_sqlite3::constraints_refuse_wrong_changes_made_with_sqlite3", "sqlite3") {
        return;
    }
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
        let output = run_sqlite3(&path, sql);
        assert!(String::from_utf8_lossy(&output.stderr).contains("constraint failed"), "{sql}");
    }
}
