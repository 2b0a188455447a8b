//! `edge-scorer score`: image paths and tags in, scores out, no database.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use edge_testing::{Place, ProgramOutput, bytes, jpeg, model, png};
use image::ImageFormat;
use serde_json::Value;

const KEYS: [&str; 6] = ["path", "tag", "score", "similarity", "percentile", "model"];

/// Runs `score` with the shipped bundle.
fn score(place: &Place, more: &[&str]) -> ProgramOutput {
    place.run([&["score", "--model", model().to_str().unwrap()], more].concat())
}

/// Runs `score` with the shipped bundle and a text on its standard input.
fn score_input(place: &Place, more: &[&str], input: &str) -> ProgramOutput {
    place.run_with_input(&[&["score", "--model", model().to_str().unwrap()], more].concat(), input)
}

/// The rows of JSON Lines output.
fn rows(outcome: &ProgramOutput) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(row: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn sorted<const N: usize>(mut keys: [&str; N]) -> [&str; N] {
    keys.sort_unstable();
    keys
}

/// Path and tag of each row.
fn named(rows: &[Value]) -> Vec<[&str; 2]> {
    rows.iter().map(|row| [row["path"].as_str().unwrap(), row["tag"].as_str().unwrap()]).collect()
}

/// A place with this many images.
fn with_images(count: u32) -> Place {
    let place = Place::new();
    for seed in 0..count {
        place.write(format!("{seed}.jpg"), &jpeg(seed));
    }
    place
}

#[test]
fn every_image_under_every_tag_in_order_and_in_every_format() {
    let place = with_images(2);
    place.write("c.png", &png(2));
    place.write("d.webp", &bytes(3, ImageFormat::WebP));
    let images = ["photos/d.webp", "photos/0.jpg", "photos/c.png", "photos/1.jpg"];
    let arguments = [&["--tag", "night  street", "--tag", "birds"], &images[..]].concat();
    let jsonl = score(&place, &[&["--format", "jsonl"], &arguments[..]].concat()).expect(0);
    assert_eq!(jsonl.stderr, "");
    let unknown = score(&place, &["--tag", "xqzwv birds", "photos/0.jpg"]).expect(0);
    assert_eq!(unknown.stderr.lines().count(), 1, "{}", unknown.stderr);
    unknown.stderr_contains("the model does not know \"xqzwv\" in the tag \"xqzwv birds\"");
    let found = rows(&jsonl);
    let expected: Vec<[&str; 2]> = images.iter().flat_map(|i| [[*i, "night  street"], [*i, "birds"]]).collect();
    assert_eq!(named(&found), expected);
    for row in &found {
        assert_eq!(keys(row), sorted(KEYS));
        assert!(row["score"].as_f64().unwrap().is_finite());
        assert!((-1.001..=1.001).contains(&row["similarity"].as_f64().unwrap()), "{row}");
        assert!(row["percentile"].is_null() || (0.0..=100.0).contains(&row["percentile"].as_f64().unwrap()), "{row}");
        assert_eq!(row["model"].as_str().unwrap().len(), 64);
    }

    let csv = score(&place, &[&["--format", "csv"], &arguments[..]].concat()).expect(0).stdout;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap(), vec!["path", "tag", "score", "similarity", "percentile", "model", "error"]);
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), found.len());
    for (record, row) in records.iter().zip(&found) {
        assert_eq!([&record[0], &record[1]], [row["path"].as_str().unwrap(), row["tag"].as_str().unwrap()]);
        assert!((record[2].parse::<f64>().unwrap() - row["score"].as_f64().unwrap()).abs() < 1e-5);
        assert_eq!(&record[6], "");
    }
    let table = score(&place, &arguments).expect(0).stdout;
    assert_eq!(table.lines().count(), 9);
    assert!(table.lines().next().unwrap().split_whitespace().eq(["score", "percentile", "similarity", "tag", "path"]));
    assert!(table.lines().nth(1).unwrap().ends_with("night  street  photos/d.webp"), "{table}");
}

#[test]
fn a_row_that_fails_has_an_error_and_the_others_have_their_scores() {
    let place = with_images(3);
    place.write("broken.jpg", &jpeg(1)[..500]);
    place.write("text.jpg", b"not a picture");
    let long = "word ".repeat(200);
    let list = format!(
        "photos/0.jpg,birds\nphotos/broken.jpg,birds\nphotos/none.jpg,birds\nphotos/1.jpg,{long}\nphotos/1.jpg,  \n,birds\n\
         photos/text.jpg,birds\nphotos/1.jpg\nphotos/1.jpg,birds\nphotos/2.jpg,\"a, \"\"quoted\"\" tag\"\n"
    );
    std::fs::write(place.path("list.csv"), format!("path,tag\n{list}")).unwrap();
    let outcome = score(&place, &["--pairs", "list.csv", "--format", "jsonl"]).expect(1);
    let found = rows(&outcome);
    assert_eq!(found.len(), 10);
    let errors: Vec<Option<&str>> = found.iter().map(|row| row["error"].as_str()).collect();
    let says = |index: usize, text: &str| assert!(errors[index].unwrap().contains(text), "{index}: {errors:?}");
    says(1, "cannot be decoded as jpeg");
    says(2, "cannot be read: No such file");
    says(3, "tokens and the model takes at most");
    says(4, "the tag is empty");
    says(5, "line 7 has no path or no tag");
    says(6, "is not a JPEG, PNG or WebP image");
    says(7, "line 9 has no path or no tag");
    for row in found.iter().filter(|row| row.get("error").is_some()) {
        assert_eq!(keys(row), sorted(["path", "tag", "error", "model"]));
    }
    for index in [0, 8, 9] {
        assert_eq!((errors[index], keys(&found[index])), (None, sorted(KEYS).to_vec()));
    }
    assert_eq!(found[9]["tag"], "a, \"quoted\" tag");
    // The good rows have the same scores as without the bad rows.
    let alone =
        rows(&score(&place, &["--tag", "birds", "--format", "jsonl", "photos/0.jpg", "photos/1.jpg"]).expect(0));
    for (a, b) in [(&found[0], &alone[0]), (&found[8], &alone[1])] {
        assert!((a["score"].as_f64().unwrap() - b["score"].as_f64().unwrap()).abs() < 1e-4, "{a} {b}");
    }
    let csv = score(&place, &["--pairs", "list.csv", "--format", "csv"]).expect(1).stdout;
    let errors =
        csv::Reader::from_reader(csv.as_bytes()).records().filter(|r| !r.as_ref().unwrap()[6].is_empty()).count();
    assert_eq!(errors, 7);
    assert!(score(&place, &["--pairs", "list.csv"]).expect(1).stdout.contains("photos/none.jpg: cannot be read"));
}

#[test]
fn lists_are_read_in_the_forms_that_people_write() {
    let place = with_images(2);
    let plain = score_input(&place, &["--pairs", "-", "--format", "jsonl"], "path,tag\nphotos/0.jpg,birds\n").expect(0);
    for list in [
        "tag,path\nbirds,photos/0.jpg\n",
        "id,Path,width,TAG\n7,photos/0.jpg,640,birds\n",
        "\u{feff}path,tag\r\nphotos/0.jpg,birds\r\n",
        "\"path\", tag\nphotos/0.jpg,birds",
    ] {
        let outcome = score_input(&place, &["--pairs", "-", "--format", "jsonl"], list).expect(0);
        assert_eq!(outcome.stdout, plain.stdout, "{list:?}");
    }
    assert_eq!(score_input(&place, &["--pairs", "-", "--format", "jsonl"], "path,tag\n").expect(0).stdout, "");

    // A relative path is looked up in the working directory, then in the directory of the list.
    place.write("list.csv", b"path,tag\n1.jpg,birds\nphotos/0.jpg,birds\n");
    let found = rows(&score(&place, &["--pairs", "photos/list.csv", "--format", "jsonl"]).expect(0));
    assert_eq!(named(&found), [["1.jpg", "birds"], ["photos/0.jpg", "birds"]]);
    assert_eq!(found[1], rows(&plain)[0]);

    let outcome = score_input(&place, &["--pairs", "-"], "file,tag\na,b\n").expect(64);
    outcome.stderr_contains("has no column \"path\". Its columns are [\"file\", \"tag\"]; path and tag are required");
    score(&place, &["--pairs", "none.csv"]).expect(66).stderr_contains("none.csv: cannot be read: No such file");
}

#[test]
fn many_rows_come_out_in_their_order() {
    let place = with_images(7);
    let mut list = "path,tag\n".to_owned();
    let expected: Vec<[String; 2]> =
        (0..130).map(|row| [format!("photos/{}.jpg", row * 5 % 8), format!("tag {}", row % 3)]).collect();
    for [path, tag] in &expected {
        list += &format!("{path},{tag}\n");
    }
    let outcome = score_input(&place, &["--pairs", "-", "--format", "jsonl"], &list).expect(1);
    let found = rows(&outcome);
    assert_eq!(named(&found), expected);
    let mut scores = std::collections::HashMap::new();
    for (row, [path, tag]) in found.iter().zip(&expected) {
        assert_eq!(row.get("error").is_some(), path == "photos/7.jpg", "{row}");
        let score = row["score"].as_f64().unwrap_or(f64::INFINITY);
        assert_eq!(*scores.entry((path, tag)).or_insert(score), score, "the same pair got two scores");
    }
    let distinct: std::collections::HashSet<u64> = scores.values().map(|s| s.to_bits()).collect();
    assert!(distinct.len() > 5, "too few different scores: {scores:?}");
}

#[test]
fn mistakes_on_the_command_line_are_usage_errors() {
    let place = with_images(1);
    place.run(["score", "--help"]).expect(0);
    place.run(["--version"]).expect(0);
    assert!(place.run(["--help"]).expect(0).stdout.contains("Exit codes: 0 all done"));
    for wrong in [
        &["score"][..],
        &["score", "photos/0.jpg"],
        &["score", "--tag", "birds"],
        &["score", "--tag", "birds", "--pairs", "-"],
        &["score", "--pairs", "-", "photos/0.jpg"],
        &["score", "--tag", "birds", "--format", "xml", "photos/0.jpg"],
        &["score", "--tag", "birds", "--device", "tpu", "photos/0.jpg"],
        &["frobnicate"],
        &[],
    ] {
        let outcome = place.run(wrong).expect(64);
        let explained = outcome.stderr.contains("Usage: ") || outcome.stderr.starts_with("error: invalid value");
        assert!(outcome.stdout.is_empty() && explained, "{wrong:?}: {}", outcome.stderr);
    }
    score(&place, &["--tag", " ", "photos/0.jpg"]).expect(64).stderr_contains("a tag is empty: give a short text");
    score(&place, &["--tag", "birds", "--device", "cuda", "photos/0.jpg"])
        .code
        .filter(|c| [0, 1, 78].contains(c))
        .unwrap();
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_a_failure() {
    let place = with_images(4);
    let list: String = (0..3000).map(|row| format!("photos/{}.jpg,a good photo\n", row % 4)).collect();
    std::fs::write(place.path("list.csv"), format!("path,tag\n{list}")).unwrap();
    let model = model();
    let score = ["score", "--model", model.to_str().unwrap(), "--pairs", "list.csv", "--format"];
    let check = ["config", "check", "--model", model.to_str().unwrap()];
    let cases = [
        [&score[..], &["jsonl"]].concat(),
        [&score[..], &["csv"]].concat(),
        [&score[..], &["table"]].concat(),
        check.to_vec(),
    ];
    for arguments in cases {
        let mut child = place.command().args(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::with_capacity(64, child.stdout.take().unwrap());
        if arguments[0] == "score" {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
        }
        drop(reader);
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn decoders_are_started_by_the_runner_and_without_one_nothing_is_decoded() {
    let place = Place::new();
    let image = place.write("a.jpg", &jpeg(1));
    let score = |runner: Option<&str>| {
        let mut command = place.command();
        command
            .args([
                "score",
                "--model",
                model().to_str().unwrap(),
                "--device",
                "cpu",
                "--format",
                "csv",
                "--tag",
                "birds",
            ])
            .arg(&image);
        command.envs(runner.map(|runner| ("EDGE_SCORER_RUNNER", runner)));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let plain = score(None);
    assert_eq!(plain.0, Some(0));
    assert_eq!(score(Some("env LANG=C")), plain);
    let (code, rows) = score(Some("/nonexistent"));
    assert_eq!(code, Some(1));
    assert!(rows.contains("no decoder process can be started: No such file or directory"), "{rows}");
}
