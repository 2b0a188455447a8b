//! Tests that the store's statements use the intended indices, with and without table statistics.

use std::path::Path;

use rusqlite::StatementStatus;
use rusqlite::config::DbConfig;

use super::testing::{NOW, TempStore, stamp};
use super::{FileState, ImageId, Store, TagReason, failures, files, images, models, scores, tags, top};

/// A statement and the texts that its query plan must contain.
struct Expected {
    sql: &'static str,
    uses: &'static [&'static str],
}

const EXPECTED: &[Expected] = &[
    Expected { sql: files::LOOK_UP, uses: &["SEARCH file USING PRIMARY KEY (path=?)"] },
    Expected { sql: files::UNDER, uses: &["SEARCH file USING PRIMARY KEY (path>? AND path<?)"] },
    Expected { sql: files::OFFLINE_UNDER, uses: &["SEARCH file USING PRIMARY KEY (path>? AND path<?)"] },
    Expected { sql: images::BY_CONTENT, uses: &["SEARCH image USING INDEX sqlite_autoindex_image_1 (content_id=?)"] },
    Expected {
        sql: images::BY_ID,
        uses: &[
            "SEARCH i USING INTEGER PRIMARY KEY (rowid=?)",
            "SEARCH f USING COVERING INDEX file_by_image (image_id=? AND state=?)",
        ],
    },
    Expected {
        sql: images::WITH_EMBEDDING,
        uses: &[
            "SEARCH i USING INDEX image_by_encoder (encoder_digest=? AND rowid>?)",
            "SEARCH f USING COVERING INDEX file_by_image (image_id=? AND state=?)",
        ],
    },
    Expected { sql: tags::FIND, uses: &["SEARCH tag USING COVERING INDEX tag_in_any_case (text=?)"] },
    Expected { sql: tags::OF_IMAGE, uses: &["SEARCH it USING PRIMARY KEY (image_id=?)"] },
    Expected { sql: scores::SCORED_TAGS, uses: &["SEARCH score USING PRIMARY KEY (image_id=?)"] },
    Expected { sql: failures::OF_PATH, uses: &["SEARCH failure USING PRIMARY KEY (path=?)"] },
    Expected { sql: failures::AFTER_PATH, uses: &["SEARCH failure USING PRIMARY KEY (path>?)"] },
    Expected { sql: failures::DUE, uses: &["SEARCH failure USING COVERING INDEX failure_due (next_retry_at<?)"] },
    Expected { sql: failures::NEXT_DUE, uses: &["failure USING COVERING INDEX failure_due"] },
    Expected { sql: models::CURRENT, uses: &["SEARCH model USING INDEX model_current (current=?)"] },
    Expected {
        sql: top::TOP,
        uses: &[
            "SEARCH t USING COVERING INDEX tag_in_any_case (text=?)",
            "SEARCH s USING INDEX score_by_rank (tag_id=? AND model_id=?)",
            "SEARCH i USING INTEGER PRIMARY KEY (rowid=?)",
            "SEARCH f USING COVERING INDEX file_by_image (image_id=? AND state=?)",
        ],
    },
];

fn plan(store: &Store, sql: &str) -> String {
    let mut plan = store.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let lines = plan.raw_query();
    let lines: Vec<String> = lines.mapped(|row| row.get(3)).map(|line| line.unwrap()).collect();
    // Some SQLite versions add EXISTS to a plan line if they run an EXISTS clause as a join.
    lines.join("\n").replace(" EXISTS USING", " USING")
}

fn check_all(store: &Store, statistics: &str) {
    for Expected { sql, uses } in EXPECTED {
        let plan = plan(store, sql);
        for part in *uses {
            assert!(plan.contains(part), "{statistics}: {sql}\nshould use {part}\nbut is\n{plan}");
        }
        for scanned in ["SCAN i", "SCAN s", "SCAN f", "SCAN it", "TEMP B-TREE"] {
            // NEXT_DUE reads only the first entry of the partial index; SQLite reports that as a scan.
            let whole = plan.lines().find(|line| line.contains(scanned) && !line.contains("INDEX failure_due"));
            assert!(whole.is_none(), "{statistics}: {sql}\nmust not {scanned}\nbut is\n{plan}");
        }
    }
    // The program itself does not use the view; its users do.
    store.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, true).unwrap();
    let view = plan(store, "SELECT path, score FROM top_images WHERE tag = 'birds' AND rank <= 10 ORDER BY rank");
    assert!(view.contains("SEARCH t USING COVERING INDEX sqlite_autoindex_tag_1 (text=?)"), "{statistics}: {view}");
    assert!(view.contains("SEARCH s USING INDEX score_by_rank (tag_id=? AND model_id=?)"), "{statistics}: {view}");
    let summaries = plan(store, tags::SUMMARIES);
    assert!(summaries.contains("SEARCH s USING COVERING INDEX score_by_rank (tag_id=? AND model_id=?)"), "{summaries}");
}

#[test]
fn other_values_do_not_prepare_a_statement_again() {
    let mut store = TempStore::new();
    let model = store.use_model("m");
    for n in 0..300 {
        let image = store.add_image(&n.to_string(), &[&format!("/d/{n}.jpg")]);
        store.score(image, "birds", model, n as f32);
    }
    store.conn.execute_batch("ANALYZE").unwrap();
    for n in 0..300 {
        store.file_state(Path::new(&format!("/d/{n}.jpg")), stamp(1, 1)).unwrap();
        store.scored_tags(ImageId(n), model).unwrap();
        store.tags_of_image(ImageId(n)).unwrap();
    }
    for sql in [files::LOOK_UP, scores::SCORED_TAGS, tags::OF_IMAGE] {
        let statement = store.conn.prepare_cached(sql).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 300, "{sql}");
        // ANALYZE causes one repeated preparation.
        assert!(statement.get_status(StatementStatus::RePrepare) <= 1, "{sql}");
    }
}

#[test]
fn every_statement_uses_its_index_with_and_without_statistics() {
    let mut store = TempStore::new();
    check_all(&store, "empty");
    let model = store.use_model("m");
    for n in 0..300 {
        let image = store.add_image(&n.to_string(), &[&format!("/d/{n}.jpg"), &format!("/copy/{n}.jpg")]);
        store.score(image, "birds", model, n as f32);
        let batch = store.begin().unwrap();
        let tag = batch.tag_id(if n % 2 == 0 { "birds" } else { "night" }).unwrap();
        batch.record_image_tag(image, tag, TagReason::Keyword, None).unwrap();
        if n % 3 == 0 {
            batch.set_file_state(&[format!("/copy/{n}.jpg")], FileState::Missing, NOW).unwrap();
        }
        batch.commit().unwrap();
    }
    check_all(&store, "filled");
    store.conn.execute_batch("ANALYZE").unwrap();
    check_all(&store, "analysed");
}
