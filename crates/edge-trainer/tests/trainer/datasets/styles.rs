//! The style data set: making it, reading it, training on it, and damage in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use edge_trainer::dataset::{Example, ReadOptions};
use image::{Rgb, RgbImage};

use super::{TINY, all, cut_in_half, damage, draw, examine, stderr, trainer};

/// Draws twenty images in a directory and a subdirectory.
fn sources(dir: &Path) -> PathBuf {
    let images = dir.join("photos");
    fs::create_dir_all(images.join("more")).unwrap();
    for seed in 0..20 {
        draw(&images.join(if seed % 2 == 0 { format!("{seed}.png") } else { format!("more/{seed}.jpg") }), seed);
    }
    images
}

fn make(images: &Path, out: &Path, more: &str) -> Output {
    let renderings = if more.contains("--renderings") { "" } else { "--renderings 5" };
    let (images, out) = (images.display(), out.display());
    trainer(&format!("make-data style --images {images} --out {out} --short-px 48 {renderings} {more}"))
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = |d: PathBuf| fs::read_dir(d).unwrap().map(|e| e.unwrap().path());
    entries(dir.to_owned())
        .chain(entries(dir.join("images")))
        .filter(|p| p.is_file())
        .map(|path| {
            let name = path.strip_prefix(dir).unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

#[test]
fn styles_are_made_again_byte_for_byte_and_the_same_pixels_have_different_scores() {
    let dir = tempfile::tempdir().unwrap();
    let images = sources(dir.path());
    let [first, again, other] = ["first", "again", "other"].map(|name| dir.path().join(name));
    let made = make(&images, &first, "--seed 7");
    assert!(made.status.success(), "{}", stderr(&made));
    assert!(stderr(&made).contains("each counts as 5.5 on a scale of 1 to 10"), "{}", stderr(&made));
    let counts = "100 renderings of 20 source images and 400 ratings; 0 other source images were skipped";
    assert!(stderr(&made).contains(counts), "{}", stderr(&made));
    assert!(make(&images, &again, "--seed 7").status.success() && make(&images, &other, "--seed 8").status.success());
    assert_eq!(files(&first), files(&again));
    assert_ne!(files(&first), files(&other));
    let few = make(&images, &dir.path().join("few"), "--limit 9 --renderings 2 --tags-per-rendering 2");
    let counts = "18 renderings of 9 source images and 36 ratings; 0 other source images were skipped";
    assert!(stderr(&few).contains(counts), "{}", stderr(&few));
    let occupied = make(&images, &first, "");
    assert!(!occupied.status.success() && stderr(&occupied).contains("is not empty"), "{}", stderr(&occupied));

    let spec = format!("style:{}", first.display());
    let (parts, warnings) = examine(&spec, ReadOptions::default(), 0.0).unwrap();
    assert_eq!((warnings.as_str(), parts.sizes()), ("", [15 * 20, 2 * 20, 3 * 20]));
    let mut of_image: BTreeMap<&Path, Vec<&Example>> = BTreeMap::new();
    all(&parts).for_each(|e| of_image.entry(&e.path).or_default().push(e));
    assert_eq!(of_image.len(), 100);
    for rows in of_image.values() {
        let score = |tag: &str| rows.iter().find(|e| e.tag == tag).map(|e| e.score);
        let condition = rows[0].condition.as_deref().unwrap();
        let styles: Vec<&str> =
            condition.split(" + ").map(|s| s.rsplit_once(' ').map_or(s, |(name, _)| name)).collect();
        assert!(styles.iter().all(|s| *s == "plain" || score(s).is_some()), "{condition}");
        let neutral = score("photograph").unwrap();
        let others = rows.iter().filter(|e| e.tag != "photograph" && !styles.contains(&e.tag.as_str()));
        // The scores are at least four standard deviations of the noise apart, except at the end of the scale.
        others.for_each(|e| assert!(e.score < neutral || e.score == 1.0, "{condition}: {} under {}", e.score, e.tag));
    }
    let readme = fs::read_to_string(first.join("README.md")).unwrap();
    for words in [
        "Seed 7. ",
        "Of the source: the images are not rated: each counts as 5.5",
        "| motion blur | 3.15 |",
        "less 2.25 when the tag asks",
        "whose licence is: unknown",
    ] {
        assert!(readme.contains(words), "{words:?} is not in\n{readme}");
    }
}

#[test]
fn styles_are_trained_on_and_a_bad_source_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let images = sources(dir.path());
    cut_in_half(&images.join("4.png"));
    RgbImage::from_fn(64, 64, |x, y| Rgb([(x ^ y) as u8; 3])).save(images.join("grey.png")).unwrap();
    let out = dir.path().join("styles");
    let refused = make(&images, &out, "");
    assert!(stderr(&refused).contains("1 of 21 images cannot be used"), "{}", stderr(&refused));
    let off_scale = make(&images, &out, "--source-score -3 --scale -1,1");
    assert_eq!(off_scale.status.code(), Some(78));
    assert!(stderr(&off_scale).contains("do not lie on a scale of -1 to 1"), "{}", stderr(&off_scale));
    assert!(!out.exists());
    let made = make(&images, &out, "--max-bad-fraction 0.05 --source-score 8");
    let said = stderr(&made);
    assert!(
        made.status.success()
            && said.contains("19 source images")
            && said.contains("2 other source images were skipped"),
        "{said}"
    );
    assert!(said.contains("1 images are unreadable") && said.contains("4.png"), "{said}");
    let grey =
        "1 source images are skipped: the image has no colour, so the style \"black and white\" would not change";
    assert!(said.contains(grey) && said.contains("; the first is ") && said.contains("grey.png"), "{said}");
    let model = dir.path().join("model");
    let trained = trainer(&format!("fit --data style:{} --out {} {TINY}", out.display(), model.display()));
    assert!(trained.status.success(), "{}", stderr(&trained));
    assert!(stderr(&trained).contains("divided as stated in the data"), "{}", stderr(&trained));
    let shown = trainer(&format!("inspect {}", model.display()));
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("styles of photos (unknown)") && text.contains("less the penalties for styles"), "{text}");
}

#[test]
fn damage_in_a_style_data_set_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("styles");
    assert!(make(&sources(dir.path()), &out, "").status.success());
    // The table alone is accepted too.
    let csv = out.join("ratings.csv");
    assert_eq!(examine(csv.to_str().unwrap(), ReadOptions::default(), 0.0).unwrap().1, "");
    let spec = out.display().to_string();
    let (parts, _) = examine(&spec, ReadOptions::default(), 0.0).unwrap();
    let training: BTreeSet<PathBuf> = parts.train.iter().map(|e| e.path.clone()).collect();
    let training: Vec<PathBuf> = training.into_iter().collect();
    let named = damage(&training);
    named(&examine(&spec, ReadOptions::default(), 0.05).unwrap().1);
    let refused = examine(&spec, ReadOptions::default(), 0.01).unwrap_err();
    assert!(refused.contains("2 of 100 images cannot be used"), "{refused}");

    fs::copy(&training[5], &parts.test[0].path).unwrap();
    let leak = examine(&spec, ReadOptions::default(), 0.05).unwrap_err();
    assert!(leak.contains("is in train and in test") || leak.contains("is in test and in train"), "{leak}");
    fs::write(out.join("recipe.json"), "{}").unwrap();
    let broken = examine(&spec, ReadOptions::default(), 0.05).unwrap_err();
    assert!(broken.contains("recipe.json: not the recipe of a style data set"), "{broken}");
}

#[test]
fn data_sets_with_the_same_scale_are_trained_on_together() {
    let dir = tempfile::tempdir().unwrap();
    let images = sources(dir.path());
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    assert!(make(&images, &first, "--seed 7").status.success() && make(&images, &second, "--seed 8").status.success());
    let (table, _) = super::table(dir.path());
    let out = dir.path().join("model");
    let (a, b, model) = (first.display(), second.display(), out.display());
    let refused = trainer(&format!("fit --data style:{a} --data table:{} --out {model} {TINY}", table.display()));
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the scale of styles of photos is 1 to 10, ratings states no scale"), "{said}");

    let trained = trainer(&format!("fit --data style:{a} --data style:{b} --fold 2/3 --out {model} {TINY}"));
    assert!(trained.status.success(), "{}", stderr(&trained));
    assert!(stderr(&trained).contains("in held-out groups: styles of photos "), "{}", stderr(&trained));
    let manifest = fs::read_to_string(out.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let training = &manifest["training"];
    assert_eq!(training["data"][0]["name"], "styles of photos");
    assert_eq!(training["data"][1]["name"], "styles of photos (2)");
    assert!(training["split"].as_str().unwrap().contains("20 groups, fold 2/3, seed 3"), "{training}");
    // An evaluation on one of the data sets uses the same fold.
    let json = dir.path().join("report");
    let judged = trainer(&format!("eval --model {model} --data style:{a} --out {}", json.display()));
    assert!(judged.status.success(), "{}", stderr(&judged));
    let report = fs::read_to_string(json.join("report.md")).unwrap();
    assert!(report.contains("fold 2/3") && report.contains("no judged image was trained on"), "{report}");
}
