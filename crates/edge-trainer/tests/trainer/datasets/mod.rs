//! The data sets that the trainer reads, each of them sound and damaged. Damage is counted and named before any training. The tests draw
//! their images; tests of AVA and AGIQA-3K use the real tables and are skipped without them.

mod styles;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edge_model::image_input::Limits;
use edge_trainer::dataset::{self, AvaSplit, Example, Parts, ReadOptions, Shares};
use edge_trainer::render::{Scene, Treatment, picture};
use image::{Rgb, RgbImage};

/// Options for a training of a few seconds.
const TINY: &str = "--epochs 1 --batch 8 --crop-px 64 --resize-short-px 64 --filters 8 --seed 3";

fn shares(validation: f64, test: f64, seed: u64) -> Shares {
    Shares { validation, test, seed, fold: None, by_name: false }
}

fn trainer(arguments: &str) -> Output {
    Command::new(edge_testing::program("edge-trainer")).args(arguments.split_whitespace()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads, checks and divides a data set, as `fit` does before the training. Returns the parts and the warnings.
fn examine(spec: &str, options: ReadOptions, max_bad_fraction: f64) -> Result<(Parts, String), String> {
    let data = dataset::read(spec, &options).map_err(|e| e.to_string())?;
    let (examples, report) =
        dataset::check(data.examples, max_bad_fraction, &Limits::default(), || ()).map_err(|e| e.to_string())?;
    let test_share = data.test_share.unwrap_or(0.2);
    let parts = dataset::divide(examples, shares(0.2, test_share, options.seed)).map_err(|e| e.to_string())?;
    Ok((parts, report.warnings().join("\n")))
}

fn all(parts: &Parts) -> impl Iterator<Item = &Example> {
    parts.train.iter().chain(&parts.validation).chain(&parts.test)
}

fn draw(path: &Path, seed: u64) {
    let scene = Scene::ALL[seed as usize % Scene::ALL.len()];
    let drawn = picture(scene, Treatment::Clean, 72 + (seed % 7) as u32, 64, seed);
    // The reader recognises the format by the first bytes, not by the name.
    drawn.save_with_format(path, image::ImageFormat::Png).unwrap();
}

fn cut_in_half(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Deletes the first image, truncates the second and makes the third a copy of the fourth. Returns a check that the warnings name all of
/// them.
fn damage(images: &[PathBuf]) -> impl Fn(&str) + use<> {
    let names: Vec<String> = images.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    fs::remove_file(&images[0]).unwrap();
    cut_in_half(&images[1]);
    fs::copy(&images[3], &images[2]).unwrap();
    move |warnings| {
        let [missing, broken, copy, original] = [0, 1, 2, 3].map(|i| &names[i]);
        let line = |needle: &str| warnings.lines().find(|l| l.contains(needle)).unwrap_or_else(|| panic!("{warnings}"));
        assert!(line("1 images are missing").contains(missing.as_str()), "{warnings}");
        assert!(line("1 images are unreadable").contains(broken.as_str()), "{warnings}");
        let copies = line("1 images are copies");
        assert!(copies.contains(copy.as_str()) && copies.contains(original.as_str()), "{warnings}");
    }
}

/// A directory of the reference data. If it does not exist, reports `test` as skipped.
fn real(name: &str, test: &str) -> Option<PathBuf> {
    let found = edge_testing::shared_data().map(|d| d.join(name)).filter(|d| d.is_dir());
    if found.is_none() {
        edge_testing::skip(test, &format!("../shared/data/{name} does not exist"));
    }
    found
}

/// Writes the first rows of the real AVA.txt that have one of three tags, with drawn images. Returns the images. If AVA.txt does not exist,
/// reports `test` as skipped.
fn ava(dir: &Path, rows: usize, test: &str) -> Option<Vec<PathBuf>> {
    let shared = real("ava", test)?;
    fs::create_dir(dir.join("images")).unwrap();
    fs::copy(shared.join("tags.txt"), dir.join("tags.txt")).unwrap();
    let text = fs::read_to_string(shared.join("AVA.txt")).unwrap();
    let wanted = |line: &&str| ["14", "15", "21"].contains(&line.split_whitespace().nth(12).unwrap());
    let lines: Vec<&str> = text.lines().filter(wanted).take(rows).collect();
    fs::write(dir.join("AVA.txt"), lines.join("\n")).unwrap();
    let image = |(seed, line): (u64, &&str)| {
        let path = dir.join(format!("images/{}.jpg", line.split_whitespace().nth(1).unwrap()));
        draw(&path, seed);
        path
    };
    Some((1000..).zip(&lines).map(image).collect())
}

fn ava_options(ava_split: AvaSplit) -> ReadOptions {
    ReadOptions { min_images_per_tag: 5, ava_split, seed: 1, ..ReadOptions::default() }
}

#[test]
fn all_rows_of_ava_are_read_as_an_independent_count_says() {
    let Some(shared) = real("ava", "datasets::all_rows_of_ava_are_read_as_an_independent_count_says") else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("images")).unwrap();
    for name in ["AVA.txt", "tags.txt"] {
        fs::copy(shared.join(name), dir.path().join(name)).unwrap();
    }
    let text = fs::read_to_string(shared.join("AVA.txt")).unwrap();
    let rows: Vec<Vec<f64>> =
        text.lines().map(|l| l.split_whitespace().map(|v| v.parse().unwrap()).collect()).collect();
    let tags = |row: &[f64]| row[12..14].iter().filter(|t| **t > 0.0).map(|t| *t as u32).collect::<BTreeSet<_>>();
    let mut count: BTreeMap<u32, usize> = BTreeMap::new();
    rows.iter().flat_map(|r| tags(r)).for_each(|tag| *count.entry(tag).or_default() += 1);
    let expected: usize = rows.iter().map(|r| tags(r).iter().filter(|t| count[t] >= 1000).count()).sum();

    let spec = format!("ava:{}", dir.path().display());
    let data = dataset::read(&spec, &ReadOptions::default()).unwrap();
    assert_eq!((rows.len(), data.examples.len()), (25_551, expected));
    let names: BTreeSet<&str> = data.examples.iter().map(|e| e.tag.as_str()).collect();
    assert_eq!(names.len(), count.values().filter(|n| **n >= 1000).count());
    let points: f64 = (1..=10).map(|p| p as f64 * rows[0][p + 1]).sum();
    let first = data.examples.iter().find(|e| e.group == rows[0][1].to_string());
    let mean = points / rows[0][2..12].iter().sum::<f64>();
    assert!(first.is_none_or(|e| (f64::from(e.score) - mean).abs() < 1e-5));
    assert!(data.notes[0].contains("Pinhole/Zone Plate"), "{:?}", data.notes);
    // With known content ids the division needs no images.
    let known: Vec<Example> =
        data.examples.iter().map(|e| Example { content_id: e.group.clone(), ..e.clone() }).collect();
    let images = known.iter().map(|e| e.group.as_str()).collect::<BTreeSet<_>>().len();
    let parts = dataset::divide(known, shares(0.1, data.test_share.unwrap(), 1)).unwrap();
    let tested = parts.test.iter().map(|e| e.group.as_str()).collect::<BTreeSet<_>>().len();
    assert_eq!(tested, (images as f64 / 101.0).round() as usize);
}

#[test]
fn ava_is_trained_on_and_the_flags_reach_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    if ava(dir.path(), 60, "datasets::ava_is_trained_on_and_the_flags_reach_its_reader").is_none() {
        return;
    }
    let (data, out) = (dir.path().display(), dir.path().join("model"));
    let too_few = trainer(&format!("fit --data {data} --out {} {TINY}", out.display()));
    assert_eq!(too_few.status.code(), Some(1));
    assert!(stderr(&too_few).contains("no tag has at least 1000 images"), "{}", stderr(&too_few));
    let no_list = trainer(&format!(
        "fit --data {data} --out {} {TINY} --min-images-per-tag 5 --ava-split official",
        out.display()
    ));
    assert_eq!(no_list.status.code(), Some(66));
    assert!(stderr(&no_list).contains("generic_test.jpgl"), "{}", stderr(&no_list));
    let done = trainer(&format!("fit --data ava:{data} --out {} {TINY} --min-images-per-tag 5", out.display()));
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("are dropped:"), "{}", stderr(&done));
    let shown = trainer(&format!("inspect {}", out.display()));
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("scores          1 to 10: mean rating of AVA") && text.contains("60 groups"), "{text}");
}

#[test]
fn damage_in_ava_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let Some(images) = ava(dir.path(), 80, "datasets::damage_in_ava_is_named") else { return };
    let spec = format!("ava:{}", dir.path().display());
    let (parts, warnings) = examine(&spec, ava_options(AvaSplit::Paper), 0.0).unwrap();
    assert_eq!(warnings, "");
    assert_eq!(parts.test.iter().map(|e| &e.group).collect::<BTreeSet<_>>().len(), 1);

    let named = damage(&images);
    let (parts, warnings) = examine(&spec, ava_options(AvaSplit::Paper), 0.05).unwrap();
    named(&warnings);
    assert!(all(&parts).all(|e| e.path != images[0] && e.path != images[1]));
    let refused = examine(&spec, ava_options(AvaSplit::Paper), 0.01).unwrap_err();
    assert!(refused.contains("2 of 80 images cannot be used, more than --max-bad-fraction 0.01"), "{refused}");

    // The same image under two ids; one of them is on the list of the test part.
    let [id, original] = [2, 3].map(|i| images[i].file_stem().unwrap().to_string_lossy());
    fs::write(dir.path().join("generic_test.jpgl"), format!("{id}\n")).unwrap();
    let leak = examine(&spec, ava_options(AvaSplit::Official), 0.05).unwrap_err();
    assert!(leak.contains(&*id) && leak.contains(&*original), "{leak}");
    assert!(leak.contains("is in test and in train. Put all images of a group, and all copies of an image,"), "{leak}");

    let rows = fs::read_to_string(dir.path().join("AVA.txt")).unwrap();
    fs::write(dir.path().join("AVA.txt"), rows.replacen('\n', " x\n", 3)).unwrap();
    let broken = examine(&spec, ava_options(AvaSplit::Paper), 0.05).unwrap_err();
    assert!(broken.contains("AVA.txt, line 1: all fields must be whole numbers"), "{broken}");
}

/// Forty images under ten tags, listed in a CSV file.
fn table(dir: &Path) -> (PathBuf, Vec<PathBuf>) {
    let mut csv = "path,tag,score\n".to_owned();
    let mut images = Vec::new();
    for i in 0..40u64 {
        images.push(dir.join(format!("{i}.png")));
        draw(&images[i as usize], i);
        writeln!(csv, "{i}.png,tag {},{}", i % 10, i as f32 / 10.0).unwrap();
    }
    fs::write(dir.join("ratings.csv"), csv).unwrap();
    (dir.join("ratings.csv"), images)
}

#[test]
fn damage_in_a_table_is_named_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let (path, images) = table(dir.path());
    let examine = |spec: &Path, bad| examine(spec.to_str().unwrap(), ReadOptions::default(), bad);
    assert_eq!(examine(&path, 0.0).unwrap().1, "");
    let named = damage(&images);
    named(&examine(&path, 0.05).unwrap().1);
    let refused = examine(&path, 0.01).unwrap_err();
    assert!(refused.contains("2 of 40 images") && refused.contains("0.png is missing"), "{refused}");

    let csv = fs::read_to_string(&path).unwrap();
    let lines: String = csv.lines().skip(1).fold(String::new(), |mut out, line| {
        let [path, tag, score] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        writeln!(out, "{{\"path\":\"{path}\",\"tag\":[\"{tag}\"],\"score\":{score}}}").unwrap();
        out
    });
    let json = dir.path().join("ratings.jsonl");
    fs::write(&json, &lines).unwrap();
    named(&examine(&json, 0.05).unwrap().1);

    // The copies 2.png and 3.png have different tags, and these are in different parts.
    let split = csv.replace("score\n", "score,split\n").lines().fold(String::new(), |mut out, line| {
        let part = match line.rsplit_once("tag ").map(|(_, rest)| rest.as_bytes()[0]) {
            None => "",
            Some(b'2') => ",test",
            Some(b'0') => ",validation",
            Some(_) => ",train",
        };
        writeln!(out, "{line}{part}").unwrap();
        out
    });
    fs::write(&path, split).unwrap();
    let leak = examine(&path, 0.05).unwrap_err();
    assert!(leak.contains("the image") && leak.contains("is in test and in train"), "{leak}");
    fs::write(&json, lines.replacen("\"score\":0.4", "\"score\":\"good\"", 1)).unwrap();
    let broken = examine(&json, 0.05).unwrap_err();
    assert!(broken.contains("ratings.jsonl, line 5: score is \"good\""), "{broken}");
}

#[test]
fn one_bad_image_in_a_thousand_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = "path,tag,score\n".to_owned();
    for i in 0..1000u32 {
        let pixel = |x: u32, _| Rgb([(i % 256) as u8, (i / 256) as u8, x as u8]);
        RgbImage::from_fn(8, 8, pixel).save(dir.path().join(format!("{i}.png"))).unwrap();
        writeln!(csv, "{i}.png,tag {},{}", i % 50, i % 7).unwrap();
    }
    cut_in_half(&dir.path().join("417.png"));
    let path = dir.path().join("ratings.csv");
    fs::write(&path, csv).unwrap();
    let default = edge_trainer::TrainOptions::default().max_bad_fraction;
    let (parts, warnings) = examine(path.to_str().unwrap(), ReadOptions::default(), default).unwrap();
    assert_eq!(parts.sizes().iter().sum::<usize>(), 999);
    assert!(warnings.starts_with("1 images are unreadable and skipped, the first:"), "{warnings}");
    assert!(warnings.contains("417.png") && warnings.lines().count() == 1, "{warnings}");
}

#[test]
fn damage_in_agiqa_is_named() {
    let Some(shared) = real("agiqa-3k", "datasets::damage_in_agiqa_is_named") else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("images")).unwrap();
    let csv = fs::read_to_string(shared.join("data.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().take(41).collect();
    fs::write(dir.path().join("data.csv"), rows.join("\n")).unwrap();
    let mut images = Vec::new();
    for row in &rows[1..] {
        let name = row.split(',').next().unwrap();
        images.push(dir.path().join("images").join(name));
        fs::write(images.last().unwrap(), fs::read(shared.join("images").join(name)).unwrap()).unwrap();
    }
    let spec = format!("agiqa:{}", dir.path().display());
    assert_eq!(examine(&spec, ReadOptions::default(), 0.0).unwrap().1, "");
    let named = damage(&images);
    named(&examine(&spec, ReadOptions::default(), 0.05).unwrap().1);
    // The program itself: first too many bad images, then a malformed row.
    let out = dir.path().join("model");
    let refused = trainer(&format!("fit --data {spec} --out {} {TINY}", out.display()));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("2 of 40 images cannot be used"), "{}", stderr(&refused));
    fs::write(dir.path().join("data.csv"), format!("{}\nx.jpg,a dog,,,,fine,0,0,0\n", rows.join("\n"))).unwrap();
    let broken = trainer(&format!("fit --data {spec} --out {} {TINY}", out.display()));
    assert!(stderr(&broken).contains("data.csv, line 42"), "{}", stderr(&broken));
    assert!(!out.exists());
}
