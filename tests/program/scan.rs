//! `edge-scorer scan`, and the commands that read its database, on directories of images and of files that are not images.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use edge_testing::{Place, bytes, has_program, jpeg, make_old, png, png_with_huge_header, png_with_keywords};
use image::ImageFormat;

const STATES: &str = "SELECT CAST(path AS TEXT), state, image_id FROM file ORDER BY path";

/// Runs a query with two columns, the first of them a path. Returns a map from the path, relative to the photo directory, to the second
/// column.
fn by_name(place: &Place, sql: &str) -> BTreeMap<String, String> {
    let photos = format!("{}/", place.photos().display());
    let cut = |row: String| {
        let (path, word) = row.rsplit_once('|').unwrap();
        (path.replace(&photos, ""), word.to_owned())
    };
    place.rows(sql).into_iter().map(cut).collect()
}

fn pairs(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn every_kind_of_file_is_scored_or_recorded_as_a_failure() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    place.write("b.png", &png(2));
    place.write("sub/c.webp", &bytes(3, ImageFormat::WebP));
    place.write("copy of a.jpg", &jpeg(1));
    place.write("png called.jpg", &png(4));
    place.write(OsStr::from_bytes(b"\xff\xfe.jpg"), &jpeg(5));
    place.write("new\nline \x1b[31mred.jpg", &jpeg(6));
    symlink("a.jpg", place.photo("inside.jpg")).unwrap();
    std::fs::write(place.path("secret.jpg"), jpeg(7)).unwrap();
    symlink("../secret.jpg", place.photo("outside.jpg")).unwrap();
    symlink("nowhere.jpg", place.photo("dangling.jpg")).unwrap();
    let whole = jpeg(8);
    place.write("cut\n\x1b[2Joff.jpg", &whole[..whole.len() / 3]);
    place.write("empty.jpg", b"");
    place.write("huge.png", &png_with_huge_header());
    place.write("text.jpg", b"Dear diary, this is not an image.");
    place.write("notes.txt", b"ignored");
    place.write(".hidden.jpg", &jpeg(9));

    let outcome = place.scan(&["--tag", "a good photo"]).expect(1);
    assert!(
        outcome.stdout.starts_with("12 images found: 6 scored, 2 copies of known images, 0 unchanged, 4 failed"),
        "{}",
        outcome.stdout
    );
    assert!(
        !outcome.stderr.contains('\x1b') && outcome.stderr.contains("cut\\n\\u{1b}[2Joff.jpg: "),
        "{}",
        outcome.stderr
    );

    let present = [
        "a.jpg",
        "b.png",
        "sub/c.webp",
        "copy of a.jpg",
        "png called.jpg",
        "\u{fffd}\u{fffd}.jpg",
        "new\nline \x1b[31mred.jpg",
        "inside.jpg",
    ];
    let expected = present.map(|name| (name, "present"));
    assert_eq!(by_name(&place, "SELECT CAST(path AS TEXT), state FROM file"), pairs(&expected));
    assert_eq!(place.value("SELECT count(*) FROM image"), "6");
    // Each image has the tag of the scan and three that the model suggests.
    assert_eq!(place.value("SELECT count(*) FROM score"), "24");
    assert_eq!(
        place.value("SELECT count(DISTINCT image_id) FROM file WHERE path LIKE '%/a.jpg' OR path LIKE '%copy of a.jpg' OR path LIKE '%inside.jpg'"),
        "1"
    );
    assert_eq!(place.rows("SELECT format, count(*) FROM image GROUP BY 1"), ["jpeg|3", "png|2", "webp|1"]);
    assert_eq!(
        place.value("SELECT typeof(path) FROM file WHERE CAST(path AS BLOB) LIKE '%' || x'fffe' || '%'"),
        "blob"
    );
    let failures =
        [("cut\n\x1b[2Joff.jpg", "decode"), ("empty.jpg", "decode"), ("huge.png", "limit"), ("text.jpg", "decode")];
    assert_eq!(by_name(&place, "SELECT CAST(path AS TEXT), stage FROM failure"), pairs(&failures));

    // The failed files are not due yet, which the exit code reports. Nothing else is left to do.
    let before = place.rows("SELECT * FROM score ORDER BY 1, 2, 3");
    let outcome = place
        .scan(&["--tag", "a good photo"])
        .expect(1)
        .stderr_contains("4 files failed before and are not due for a retry. `edge-scorer failures` lists");
    assert!(
        outcome.stdout.contains("12 images found: 0 scored, 0 copies of known images, 8 unchanged, 0 failed"),
        "{}",
        outcome.stdout
    );
    assert_eq!(place.rows("SELECT * FROM score ORDER BY 1, 2, 3"), before);
    place.assert_sound();
    list_and_retry_failures(&place);
    real_sqlite3(&place);
}

/// Tests `failures` as a table and as JSON, and `--retry` with one repaired file and three that still fail.
fn list_and_retry_failures(place: &Place) {
    let table = place.scorer("failures", &[]).expect(0).stdout;
    assert!(!table.contains('\x1b') && table.lines().count() == 5, "{table}");
    assert!(table.contains("3600000000 pixels; the limit is 200000000"), "{table}");
    let json = place.scorer("failures", &["--format", "json"]).expect(0).stdout;
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["attempts"] == 1 && row["quarantined"] == false), "{json}");

    let empty = place.photo("empty.jpg");
    let only = place.scorer("failures", &["--retry", "--path", empty.to_str().unwrap()]).expect(0);
    assert_eq!(
        only.stdout,
        "1 failed files are due for a retry. A running daemon retries them within seconds; without a daemon, the next \
         scan does\n"
    );
    let outcome = place.scan(&[]).expect(1);
    assert!(outcome.stdout.contains("0 scored, 0 copies of known images, 8 unchanged, 1 failed"), "{}", outcome.stdout);
    // A repaired file has changed, so it is tried without being asked for.
    std::fs::write(&empty, jpeg(20)).unwrap();
    assert_eq!(
        place.scorer("failures", &["--retry"]).expect(0).stdout,
        "4 failed files are due for a retry. A running daemon retries them within seconds; without a daemon, the next \
         scan does\n"
    );
    let outcome = place.scan(&["--tag", "a good photo"]).expect(1);
    assert!(outcome.stdout.contains("1 scored, 0 copies of known images, 8 unchanged, 3 failed"), "{}", outcome.stdout);
    assert_eq!(place.value("SELECT count(*) FROM failure"), "3");
    // A deleted file has no failure any more.
    for name in ["huge.png", "text.jpg", "cut\n\x1b[2Joff.jpg"] {
        std::fs::remove_file(place.photo(name)).unwrap();
    }
    place.scan(&["--tag", "a good photo"]).expect(0);
    assert_eq!(place.value("SELECT count(*) FROM failure"), "0");
}

/// The sqlite3 program reads the ranking and finds no damage.
fn real_sqlite3(place: &Place) {
    if !has_program("scan::real_sqlite3", "sqlite3") {
        return;
    }
    let ask = |sql: &str| Command::new("sqlite3").arg("-readonly").arg(place.db()).arg(sql).output().unwrap();
    let best = "SELECT path FROM top_images WHERE tag = 'a good photo' AND typeof(path) = 'text' ORDER BY rank LIMIT 1";
    let output = ask(best);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(place.photos().to_str().unwrap()), "{output:?}");
    assert_eq!(ask("PRAGMA integrity_check").stdout, b"ok\n");
}

#[test]
fn a_rename_is_recognised_and_a_change_is_scored_again() {
    let place = Place::new();
    for (name, seed) in [("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 3)] {
        place.write(name, &jpeg(seed));
    }
    place.scan(&["--tag", "birds"]).expect(0);
    let scores = place.rows("SELECT * FROM score ORDER BY image_id");
    std::fs::rename(place.photo("a.jpg"), place.photo("renamed.jpg")).unwrap();
    let outcome = place.scan(&["--tag", "birds"]).expect(0);
    assert!(outcome.stdout.contains("0 scored, 1 copies of known images, 2 unchanged"), "{}", outcome.stdout);
    let expected = [("a.jpg", "missing"), ("b.jpg", "present"), ("c.jpg", "present"), ("renamed.jpg", "present")];
    assert_eq!(by_name(&place, "SELECT path, state FROM file"), pairs(&expected));
    assert_eq!(
        place.value("SELECT count(DISTINCT image_id) FROM file WHERE path LIKE '%/a.jpg' OR path LIKE '%/renamed.jpg'"),
        "1"
    );
    let column = |rows: &[String]| rows.iter().map(|r| r.rsplit_once('|').unwrap().0.to_owned()).collect::<Vec<_>>();
    assert_eq!(column(&place.rows("SELECT * FROM score ORDER BY image_id")), column(&scores));

    // The rename is undone, and another image gets the name b.jpg.
    std::fs::rename(place.photo("renamed.jpg"), place.photo("a.jpg")).unwrap();
    place.write("b.jpg", &jpeg(4));
    let outcome = place.scan(&["--tag", "birds"]).expect(0);
    assert!(outcome.stdout.contains("1 scored, 0 copies of known images, 2 unchanged"), "{}", outcome.stdout);
    let expected = [("a.jpg", "present"), ("b.jpg", "present"), ("c.jpg", "present"), ("renamed.jpg", "missing")];
    assert_eq!(by_name(&place, "SELECT path, state FROM file"), pairs(&expected));
    assert_eq!(place.rows(STATES).len(), 4);
    assert_eq!(place.value("SELECT count(*) FROM score"), "16", "the old image keeps its scores");
    let top = place.scorer("top", &["--tag", "birds", "--format", "paths"]).expect(0).stdout;
    assert_eq!(top.lines().count(), 3, "the old image is still ranked:\n{top}");
    place.assert_sound();
}

#[test]
fn a_new_tag_is_scored_from_stored_embeddings() {
    let place = Place::new();
    for seed in 1..=5 {
        make_old(&place.write(format!("{seed}.jpg"), &jpeg(seed)));
    }
    place.scan(&["--tag", "birds"]).expect(0);
    // A second database, scanned under the new tag while the images could be read.
    let other = Place::new();
    let photos = place.photos();
    other.scorer("scan", &["--tag", "night street", photos.to_str().unwrap()]).expect(0);
    let images: Vec<String> =
        (1..=5).map(|seed| place.photo(format!("{seed}.jpg")).to_str().unwrap().to_owned()).collect();
    let files: Vec<&str> = images.iter().map(String::as_str).collect();
    let direct = place
        .run(
            [
                &[
                    "score",
                    "--model",
                    edge_testing::model().to_str().unwrap(),
                    "--format",
                    "jsonl",
                    "--tag",
                    "night street",
                ],
                &files[..],
            ]
            .concat(),
        )
        .expect(0);
    let direct: BTreeMap<String, [f64; 3]> = direct.stdout.lines().map(numbers).collect();

    // The content of every image is overwritten. Size and modification time stay the same, so the scan takes the files as unchanged.
    for image in &images {
        let length = std::fs::metadata(image).unwrap().len();
        let modified = std::fs::metadata(image).unwrap().modified().unwrap();
        std::fs::write(image, vec![0; usize::try_from(length).unwrap()]).unwrap();
        std::fs::File::options().write(true).open(image).unwrap().set_modified(modified).unwrap();
    }
    let tops = ["--tag", "night street", "--format", "json", "-n", "99"];
    let unknown =
        place.scorer("top", &tops).expect(0).stderr_contains("5 images are scored now, from their stored embeddings");
    let outcome = place.scan(&["--tag", "birds", "--tag", "Night  Street"]).expect(0);
    assert!(outcome.stdout.contains("5 scores computed from stored embeddings"), "{}", outcome.stdout);
    let known = place.scorer("top", &tops).expect(0);
    assert!(known.stderr.is_empty(), "{}", known.stderr);
    let whole = other.scorer("top", &tops).expect(0);

    let order =
        |json: &serde_json::Value| json.as_array().unwrap().iter().map(|r| r["path"].clone()).collect::<Vec<_>>();
    assert_eq!(order(&unknown.json()), order(&known.json()));
    for outcome in [unknown, known, whole] {
        let rows = outcome.json();
        assert_eq!(rows.as_array().unwrap().len(), 5);
        for (rank, row) in rows.as_array().unwrap().iter().enumerate() {
            assert_eq!(row["rank"], rank + 1);
            let (path, found) = numbers(&row.to_string());
            for (a, b) in found.iter().zip(direct[&path]) {
                assert!((a - b).abs() < 1e-4, "{path}: {found:?}, at once {:?}", direct[&path]);
            }
        }
    }
    let tagged = "SELECT text, reason, count(*) FROM image_tag JOIN tag ON tag.id = tag_id WHERE reason = 'manual' GROUP BY 1, 2";
    assert_eq!(place.rows(tagged), ["Night Street|manual|5", "birds|manual|5"]);
}

/// Path, score, similarity and percentile of a JSON row.
fn numbers(line: &str) -> (String, [f64; 3]) {
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    let number = |key: &str| row[key].as_f64().unwrap_or(-1.0);
    (row["path"].as_str().unwrap().to_owned(), [number("score"), number("similarity"), number("percentile") / 100.0])
}

#[test]
fn tags_come_from_keywords_directories_and_the_bundle() {
    let place = Place::new();
    place.write("keywords.png", &png_with_keywords(1, &["red car", " Red  Car ", "Birds"]));
    place.write("night street/in.jpg", &jpeg(2));
    let config = place.config("[tags]\nfrom_similarity = 0\n");
    let reasons = "SELECT file.path, tag.text || ' by ' || reason FROM image_tag JOIN tag ON tag.id = tag_id JOIN file USING (image_id) ORDER BY 1, 2";
    place.scan(&["--config", config.to_str().unwrap()]).expect(0);
    let manifest = std::fs::read_to_string(edge_testing::model().join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let mut defaults: Vec<String> = manifest["default_tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| format!("{} by default", t.as_str().unwrap()))
        .collect();
    defaults.sort();
    let named = |name: &str, tags: &[String]| -> Vec<String> {
        tags.iter().map(|tag| format!("{}|{tag}", place.photo(name).display())).collect()
    };
    let keywords = named("keywords.png", &["Birds by keyword".into(), "red car by keyword".into()]);
    assert_eq!(place.rows(reasons), [keywords.clone(), named("night street/in.jpg", &defaults)].concat());

    std::fs::remove_file(place.db()).unwrap();
    let config = place.config("[tags]\nfrom_similarity = 0\nfrom_directory = true\nfrom_keywords = false\n");
    place.scan(&["--config", config.to_str().unwrap()]).expect(0);
    let rows = place.rows(reasons);
    let by_directory = |name: &str, tag: &str| format!("{}|{tag} by directory", place.photo(name).display());
    assert_eq!(rows, [by_directory("keywords.png", "photos"), by_directory("night street/in.jpg", "night street")]);
    assert_eq!(place.value("SELECT count(*) FROM score"), "2");
}

#[test]
fn results_are_listed_in_every_format() {
    let place = Place::new();
    for seed in 1..=4 {
        place.write(format!("{seed} \"x\", y.jpg"), &jpeg(seed));
    }
    place.write("odd\nname.jpg", &jpeg(9));
    place.scan(&["--tag", "birds", "--tag", "night"]).expect(0);

    let tags = place.scorer("tags", &["--format", "json"]).expect(0).json();
    let birds = tags.as_array().unwrap().iter().find(|t| t["tag"] == "birds").unwrap();
    assert_eq!(birds["images"], 5);
    assert!(place.scorer("tags", &[]).expect(0).stdout.contains("birds"));

    let status = place.scorer("status", &["--format", "json"]).expect(0).json();
    assert_eq!(
        (&status["images"], &status["files"]["present"], &status["failures"]),
        (&5.into(), &5.into(), &0.into())
    );
    assert_eq!(status["model"]["digest"], place.value("SELECT digest FROM model WHERE current = 1"));
    assert!(place.scorer("status", &[]).expect(0).stdout.contains("images        5 distinct; files: 5 present"));

    let json = place.scorer("top", &["--tag", "BIRDS", "--format", "json"]).expect(0).json();
    let scores: Vec<f64> = json.as_array().unwrap().iter().map(|r| r["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 5 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let csv = place.scorer("top", &["--tag", "birds", "--format", "csv"]).expect(0).stdout;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(
        reader.headers().unwrap(),
        vec!["rank", "tag", "score", "percentile", "similarity", "path", "content_id", "captured_at", "model"]
    );
    let paths: Vec<String> = reader.records().map(|r| r.unwrap()[5].to_owned()).collect();
    let from_json: Vec<&str> = json.as_array().unwrap().iter().map(|r| r["path"].as_str().unwrap()).collect();
    assert_eq!(paths, from_json.iter().map(|p| p.replace('\n', "\\n")).collect::<Vec<_>>());
    let raw = place.scorer("top", &["--tag", "birds", "--format", "paths0"]).expect(0).stdout;
    assert_eq!(raw, from_json.iter().map(|p| format!("{p}\0")).collect::<String>());
    let table = place.scorer("top", &["--tag", "birds", "-n", "2"]).expect(0).stdout;
    assert_eq!(table.lines().count(), 3, "{table}");
    let in_view = place.rows("SELECT path FROM top_images WHERE tag = 'birds' ORDER BY rank");
    assert_eq!(in_view, from_json);

    let count = |since: &str| {
        place
            .scorer("top", &["--tag", "birds", "--since", since, "--format", "json"])
            .expect(0)
            .json()
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((count("1h"), count("2999-01-01")), (5, 0));
    place.scorer("top", &["--tag", "birds", "--since", "soon"]).expect(64).stderr_contains("\"soon\" is not a time");
    place.scorer("top", &["--tag", " "]).expect(64).stderr_contains("the tag is empty");
}

#[test]
fn a_second_writer_is_refused_with_the_process_number_of_the_first() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let photos = place.photos();
    let daemon = place.daemon(&[photos.to_str().unwrap()]);
    place.wait_for_rows("SELECT count(*) FROM image", &["1"]);
    let outcome = place.scan(&[]).expect(1);
    let pid = std::fs::read_to_string(place.path("scores.db.lock")).unwrap();
    assert!(
        outcome.stderr.contains(&format!("another edge-scorer (process {}) is writing", pid.trim())),
        "{}",
        outcome.stderr
    );
    assert!(Path::new("/proc").join(pid.trim()).exists());
    // Commands that only read are not refused.
    place.scorer("status", &[]).expect(0);
    daemon.stop();
    place.scan(&[]).expect(0);
}
