//! `edge-trainer fit` and `inspect`, from rated images to a bundle that the scorer opens. The tests draw their images.

use std::path::Path;
use std::process::{Command, Output};

use edge_model::backend::DeviceChoice;
use edge_model::scorer::Scorer;
use edge_trainer::render::{Scene, Treatment, picture};

/// Options for a training of a few seconds.
const TINY: &str = "--epochs 2 --batch 8 --crop-px 64 --resize-short-px 96 --filters 8 --seed 3";

fn trainer(arguments: &[&str]) -> Output {
    Command::new(edge_testing::program("edge-trainer")).args(arguments).output().unwrap()
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

/// Writes a table of twelve tags with four images each; images without a fault have the highest ratings. `extra` is appended to the table.
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
    assert!((0.0..=1.0).contains(&manifest.metrics["test.percentile_distance"]));
    assert!(manifest.tags.iter().all(|t| t.quantiles.len() == 33));
    assert!(scorer.replay().image_embedding <= 1e-4);
    for name in ["README.md", "fit.toml", "report/metrics.json", "report/report.md"] {
        assert!(manifest.files.contains_key(name), "{name}");
    }

    let shown = trainer(&["inspect", out.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("small-kernel") && text.contains("quality_head.onnx"), "{text}");
    let run = dir.path().join("bundles/tiny.run");
    for name in ["config.toml", "metrics.jsonl", "best.mpk"] {
        assert!(run.join(name).exists(), "{name}");
    }
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join("run.json")).unwrap()).unwrap();
    let digest = serde_json::to_value(&manifest.training.data[0].sha256).unwrap();
    assert_eq!((&record["seed"], &record["data_sha256"]), (&serde_json::json!(3), &digest));
    assert!(record["engine"].as_str().unwrap().starts_with("burn 0.") && record["device"] != "", "{record}");
    let shown = trainer(&["inspect", run.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("best epoch"), "{text}");

    std::fs::write(out.join("quality_head.onnx"), b"changed").unwrap();
    let shown = trainer(&["inspect", out.to_str().unwrap()]);
    assert_eq!(shown.status.code(), Some(78), "{}", stderr(&shown));
}

#[test]
fn the_fit_file_of_a_bundle_repeats_its_training_with_the_same_styles() {
    let dir = tempfile::tempdir().unwrap();
    let data = table(dir.path(), "path,tag,score", |_| "", "");
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (data, config, styles) = (data.to_str().unwrap().to_owned(), at("config.toml"), at("styles"));
    let setup = format!(
        "data = [\"style:{styles}\"]\nout = \"{}\"\nepochs = 1\nbatch = 8\ncrop_px = 64\nresize_short_px = 96\n\
         filters = 8\nseed = 4\n[[style]]\nimages = \"table:{data}\"\nout = \"{styles}\"\nrenderings = 3\nfaults = 1\n",
        at("styled")
    );
    std::fs::write(&config, setup).unwrap();
    let output = trainer(&["fit", "--config", &config]);
    assert!(output.status.success(), "{}", stderr(&output));
    let manifest = |name: &str| Scorer::open(Path::new(&at(name)), DeviceChoice::Cpu).unwrap().manifest().clone();
    let first = manifest("styled");
    let tags: Vec<&str> = first.tags.iter().map(|t| t.text.as_str()).collect();
    assert!(tags.contains(&"duotone") && tags.contains(&"photograph"), "{tags:?}");
    assert!(first.metrics.contains_key("test.tag_order"), "{:?}", first.metrics);

    let output = trainer(&["fit", "--config", &format!("{}/fit.toml", at("styled")), "--out", &at("again")]);
    assert!(output.status.success(), "{}", stderr(&output));
    let again = manifest("again");
    assert_eq!(first.training.data, again.training.data);
    let srcc = "test.srcc";
    assert!(
        (first.metrics[srcc] - again.metrics[srcc]).abs() < 1e-6,
        "{} {}",
        first.metrics[srcc],
        again.metrics[srcc]
    );

    let other = std::fs::read_to_string(&config).unwrap().replace("faults = 1", "faults = 2");
    std::fs::write(&config, other).unwrap();
    let output = trainer(&["fit", "--config", &config]);
    assert!(stderr(&output).contains("made with other options"), "{}", stderr(&output));
    let output = trainer(&["fit", "--out", &at("nothing")]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("give --data, or a --config that names it"), "{}", stderr(&output));
}

#[test]
fn a_leak_between_the_parts_is_refused_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    let parts = |tag| [",train", ",validation", ",test"][tag % 3];
    // An image in two parts is a leak, under the same tag as under another one.
    for row in ["0_0.png,another tag,2,test\n", "0_0.png,flower 0,2,test\n"] {
        let data = table(dir.path(), "path,tag,score,split", parts, row);
        let output = fit(&data, &dir.path().join("out"));
        assert_eq!(output.status.code(), Some(1));
        let message = stderr(&output);
        assert!(message.contains("0_0.png is in train and in test"), "{message}");
        assert!(!dir.path().join("out").exists());
    }
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

/// Starts a `fit` of three epochs with its messages in a file.
fn start(data: &Path, out: &Path, log: &Path) -> std::process::Child {
    Command::new(edge_testing::program("edge-trainer"))
        .args(["fit", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap(), "--epochs", "3"])
        .args(TINY.split_whitespace().skip(2))
        .args(["--ema", "0.9", "--accumulate", "2"])
        .stderr(std::fs::File::create(log).unwrap())
        .spawn()
        .unwrap()
}

#[test]
fn a_training_that_was_stopped_and_resumed_gives_the_same_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let data = table(dir.path(), "path,tag,score", |_| "", "");
    let [whole, cut] = ["whole", "cut"].map(|name| dir.path().join(name));
    assert!(start(&data, &whole, &dir.path().join("log")).wait().unwrap().success());

    let log = dir.path().join("cut.log");
    let mut child = start(&data, &cut, &log);
    let read = || std::fs::read_to_string(&log).unwrap();
    while !read().contains("epoch 1: loss") {
        assert!(child.try_wait().unwrap().is_none(), "{}", read());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{}", read());
    let run = dir.path().join("cut.run");
    assert!(read().contains("the state is saved. To continue `fit`, run the same command with --resume"), "{}", read());
    assert!(!cut.exists());

    let resumed = |data: &Path, run: &Path| {
        let paths = [data, &cut, run].map(|p| p.to_str().unwrap());
        trainer(&["fit", "--data", paths[0], "--out", paths[1], "--resume", paths[2]])
    };
    // A run is not resumed with other data.
    let other = dir.path().join("other.csv");
    std::fs::write(&other, std::fs::read_to_string(&data).unwrap().replace(",4.5\n", ",4.4\n")).unwrap();
    let refused = resumed(&other, &run);
    assert_eq!(refused.status.code(), Some(1));
    let reason = "cannot resume this run: the training was started on data with the digest";
    assert!(stderr(&refused).contains(reason), "{}", stderr(&refused));
    let refused = resumed(&data, &dir.path().join("nothing.run"));
    assert_eq!(refused.status.code(), Some(66), "{}", stderr(&refused));

    let output = resumed(&data, &run);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("resuming in epoch 2 after"), "{}", stderr(&output));
    for name in ["image_encoder.onnx", "text_encoder.onnx", "quality_head.onnx", "golden.safetensors"] {
        let [a, b] = [&whole, &cut].map(|bundle| std::fs::read(bundle.join(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
    let epochs = |run: &str| {
        let text = std::fs::read_to_string(dir.path().join(run).join("metrics.jsonl")).unwrap();
        let epoch = |line: &str| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            record.as_object_mut().unwrap().remove("seconds");
            record
        };
        text.lines().map(epoch).collect::<Vec<_>>()
    };
    assert_eq!(epochs("whole.run"), epochs("cut.run"));
    assert_eq!(epochs("cut.run").len(), 3);
}

#[test]
fn if_ratings_depend_only_on_the_tag_the_model_uses_the_tag() {
    let dir = tempfile::tempdir().unwrap();
    // Bright and dark images. Each is good under one of two tags and bad under the other, so a model that ignores the tag can only guess.
    let mut csv = "path,tag,score,split,group\n".to_owned();
    for i in 0..144u64 {
        let treatment = if i % 2 == 0 { Treatment::Clean } else { Treatment::Underexposed };
        let name = format!("{i}.png");
        picture(Scene::ALL[i as usize % Scene::ALL.len()], treatment, 100, 80, i).save(dir.path().join(&name)).unwrap();
        let part = ["train", "train", "train", "train", "validation", "test"][i as usize / 2 % 6];
        for (tag, wanted) in [("as it is", 0), ("dark", 1)] {
            let score = if i % 2 == wanted { 4.0 } else { 1.0 } + 0.01 * (i % 7) as f64;
            csv += &format!("{name},{tag},{score},{part},{i}\n");
        }
    }
    let data = dir.path().join("ratings.csv");
    std::fs::write(&data, csv).unwrap();
    for head in ["weighted", "pooled", "hyper"] {
        let out = dir.path().join(head);
        let paths = [&data, &out].map(|p| p.to_str().unwrap());
        let mut arguments = vec!["fit", "--data", paths[0], "--out", paths[1], "--head", head, "--epochs", "12"];
        arguments.extend("--batch 16 --crop-px 64 --resize-short-px 80 --filters 8 --lr 0.002".split(' '));
        let output = trainer(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        let metrics = Scorer::open(&out, DeviceChoice::Cpu).unwrap().manifest().metrics.clone();
        let (right, shuffled) = (metrics["test.within_tag_srcc"], metrics["test_shuffled_tags.within_tag_srcc"]);
        assert!(right > 0.6 && shuffled < -0.4, "{head}: {right} with the right tags, {shuffled} with shuffled tags");
        assert!(metrics["test.tag_order"] > 0.85, "{head}: {metrics:?}");
    }
}
