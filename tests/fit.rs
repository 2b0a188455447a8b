//! `edge-trainer`, the real program, from rated pictures to a bundle that the scorer opens. The pictures are drawn by the
//! project itself.
#![cfg(feature = "train")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use edge_scorer::backend::DeviceChoice;
use edge_scorer::scorer::Scorer;
use edge_scorer::train::render::{Scene, Treatment, picture};

/// Flags that make a training tiny.
const TINY: &str = "--epochs 2 --batch 8 --crop-px 64 --input-px 64,96 --resize-short-px 96 --widths 8,12 --seed 3";

fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edge-trainer")).args(arguments).output().unwrap()
}

fn fit(data: &Path, out: &Path) -> Output {
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    let mut arguments = vec!["fit", "--data", data, "--out", out];
    arguments.extend(TINY.split_whitespace());
    trainer(&arguments)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Twelve tags with four pictures each, the clean ones rated higher; `extra` rows are added to the table.
fn table(dir: &Path, header: &str, split: impl Fn(usize) -> &'static str, extra: &str) -> std::path::PathBuf {
    let mut csv = format!("{header}\n");
    let treatments = [Treatment::Clean, Treatment::Noisy, Treatment::Underexposed, Treatment::Blurred];
    for tag in 0..12usize {
        let scene = Scene::ALL[tag % Scene::ALL.len()];
        for (i, treatment) in treatments.into_iter().enumerate() {
            let name = format!("{tag}_{i}.png");
            picture(scene, treatment, 120 + tag as u32, 100, tag as u64).save(dir.join(&name)).unwrap();
            let score = 4.5 - i as f32 + 0.1 * (tag % 3) as f32;
            csv += &format!("{name},{} {tag},{score}{}\n", scene.tag(), split(tag));
        }
    }
    let path = dir.join("ratings.csv");
    std::fs::write(&path, csv + extra).unwrap();
    path
}

#[test]
fn a_table_becomes_a_bundle_that_the_scorer_opens_and_inspect_explains() {
    let dir = tempfile::tempdir().unwrap();
    let data = table(dir.path(), "path,tag,score", |_| "", "");
    let out = dir.path().join("bundles/tiny");
    let output = fit(&data, &out);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("validation SRCC"), "{}", stderr(&output));

    let scorer = Scorer::open(&out, DeviceChoice::Cpu).unwrap();
    let manifest = scorer.manifest();
    assert_eq!((manifest.name.as_str(), manifest.training.seed), ("tiny", 3));
    assert!(manifest.training.command.starts_with("edge-trainer fit --data"));
    assert!(manifest.metrics.contains_key("test.srcc") && manifest.metrics.contains_key("test_shuffled_tags.srcc"));
    assert!(manifest.tags.iter().all(|t| t.quantiles.len() == 33));
    assert!(scorer.replay().image_embedding <= 1e-4);
    for name in ["README.md", "report/metrics.json", "report/report.md"] {
        assert!(manifest.files.contains_key(name), "{name}");
    }

    let shown = trainer(&["inspect", out.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("small-cnn") && text.contains("quality_head.onnx"), "{text}");
    let run = dir.path().join("bundles/tiny.run");
    for name in ["config.toml", "metrics.jsonl", "best.mpk"] {
        assert!(run.join(name).exists(), "{name}");
    }
    let shown = trainer(&["inspect", run.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("best epoch"), "{text}");

    std::fs::write(out.join("quality_head.onnx"), b"changed").unwrap();
    let shown = trainer(&["inspect", out.to_str().unwrap()]);
    assert_eq!(shown.status.code(), Some(78), "{}", stderr(&shown));
}

#[test]
fn a_leak_between_the_parts_is_refused_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    let parts = |tag| [",train", ",validation", ",test"][tag % 3];
    let data = table(dir.path(), "path,tag,score,split", parts, "0_0.png,another tag,2,test\n");
    let output = fit(&data, &dir.path().join("out"));
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("0_0.png is in train and in test"), "{message}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn missing_images_above_the_limit_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let data = table(dir.path(), "path,tag,score", |_| "", "gone.png,flower 3,2\n");
    let output = fit(&data, &dir.path().join("out"));
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("1 of 49 images") && message.contains("gone.png is missing"), "{message}");
    assert!(message.contains("--max-bad-fraction"), "{message}");
}

#[test]
fn wrong_inputs_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    assert_eq!(fit(Path::new("/nowhere/ratings.csv"), &out).status.code(), Some(66));
    assert_eq!(trainer(&["fit", "--data", "x.csv"]).status.code(), Some(64));
    assert_eq!(trainer(&["inspect", dir.path().to_str().unwrap()]).status.code(), Some(66));
    let config = dir.path().join("c.toml");
    std::fs::write(&config, "epoch = 3\n").unwrap();
    let arguments = ["fit", "--data", "x.csv", "--out", "y", "--config", config.to_str().unwrap()];
    let output = trainer(&arguments);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("epoch"), "{}", stderr(&output));
}
