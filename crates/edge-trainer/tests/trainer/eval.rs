//! `edge-trainer eval` and `compare` on a bundle that was trained on drawn images. The tests compute the figures a second time, with plain
//! loops over the scores.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use edge_model::backend::DeviceChoice;
use edge_model::image_input::Limits;
use edge_model::scorer::{EncodedTag, ImageFeatures, Scorer};
use edge_trainer::render::{Scene, Treatment, picture};
use serde_json::Value;

/// Options for a training of a few seconds.
const TINY: &str = "--epochs 2 --batch 8 --crop-px 64 --resize-short-px 96 --filters 8 --seed 3";
/// The conditions of the images, from the best to the worst.
const CONDITIONS: [(&str, Treatment); 4] = [
    ("pen_clean", Treatment::Clean),
    ("pen_noisy", Treatment::Noisy),
    ("dim", Treatment::Underexposed),
    ("pen_blurred", Treatment::Blurred),
];

fn trainer(arguments: &[&str]) -> Output {
    Command::new(edge_testing::program("edge-trainer")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A trained bundle and its data.
struct Trained {
    dir: PathBuf,
}

/// Trained once for all tests of this module.
static TRAINED: LazyLock<Trained> = LazyLock::new(|| {
    // A static is never dropped, so a temporary directory would not be deleted.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("eval");
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).unwrap();
    let mut csv = "path,tag,score,condition\n".to_owned();
    for tag in 0..20usize {
        let scene = Scene::ALL[tag % Scene::ALL.len()];
        for (i, (condition, treatment)) in CONDITIONS.into_iter().enumerate() {
            let name = format!("{tag} & '{i}'.png");
            picture(scene, treatment, 120, 100, tag as u64).save(dir.join(&name)).unwrap();
            let score = 4.5 - i as f32 + 0.13 * (tag % 5) as f32 - 0.3 * ((tag * 7 + i * 3) % 4) as f32;
            csv += &format!("{name},{} <i>{tag}</i>,{score},{condition}\n", scene.tag());
        }
    }
    std::fs::write(dir.join("ratings.csv"), csv).unwrap();
    let trained = Trained { dir };
    let (data, model) = (trained.data(), trained.model());
    let mut arguments = vec!["fit", "--data", &data, "--out", &model];
    arguments.extend(TINY.split_whitespace());
    let output = trainer(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    trained
});

/// A row of the run's `split.csv`.
struct Rated {
    path: PathBuf,
    tag: String,
    score: f64,
    part: String,
}

impl Trained {
    fn at(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn data(&self) -> String {
        self.at("ratings.csv")
    }

    fn model(&self) -> String {
        self.at("tiny")
    }

    fn rated(&self, part: &str) -> Vec<Rated> {
        let mut reader = csv::Reader::from_path(self.at("tiny.run/split.csv")).unwrap();
        let rows = reader.records().map(|r| r.unwrap()).map(|r| Rated {
            path: r[0].into(),
            tag: r[1].to_owned(),
            score: f64::from(r[2].parse::<f32>().unwrap()),
            part: r[3].to_owned(),
        });
        rows.filter(|r| r.part == part).collect()
    }
}

fn embed(scorer: &Scorer, path: &Path) -> ImageFeatures {
    let picture = scorer.decode(&std::fs::read(path).unwrap(), &Limits::default()).unwrap();
    scorer.embed(&[scorer.encoder_input(&picture)]).unwrap().remove(0)
}

/// Spearman's rank correlation, with ranks found by counting.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |v: &[f64]| -> Vec<f64> {
        let below = |x: f64| v.iter().filter(|y| **y < x).count() as f64;
        let same = |x: f64| v.iter().filter(|y| **y == x).count() as f64;
        v.iter().map(|&x| below(x) + (same(x) + 1.0) / 2.0).collect()
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Fails unless a figure of the report is nearly this value.
fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
}

/// Fails unless the page parses as XML and loads nothing from other places. Returns the page.
fn check_page(path: &Path) -> String {
    let html = std::fs::read_to_string(path).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let page = roxmltree::Document::parse_with_options(&html, options).unwrap();
    for node in page.descendants().filter(|n| n.is_element()) {
        let name = node.tag_name().name();
        assert!(!["script", "link", "iframe", "object", "i"].contains(&name), "{name}");
        for attribute in node.attributes() {
            let value = attribute.value();
            let refers = ["src", "href", "srcset", "data", "action"].contains(&attribute.name());
            assert!(!refers || value.starts_with("data:image/jpeg;base64,"), "{}={value}", attribute.name());
            assert!(!attribute.name().starts_with("on"), "{}", attribute.name());
        }
    }
    assert!(!html.contains("url(") && !html.contains("@import"));
    html
}

#[test]
fn eval_takes_the_test_part_and_computes_the_same_figures_as_plain_loops() {
    let t = &*TRAINED;
    let out = t.at("report");
    let output = trainer(&[
        "eval",
        "--model",
        &t.model(),
        "--data",
        &t.data(),
        "--format",
        "json",
        "--out",
        &out,
        "--bootstrap",
        "200",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();

    let scorer = Scorer::open(Path::new(&t.model()), DeviceChoice::Cpu).unwrap();
    let test = t.rated("test");
    let prediction: Vec<f64> = test
        .iter()
        .map(|r| {
            let tag = scorer.encode_tag(&r.tag).unwrap();
            f64::from(scorer.score(&embed(&scorer, &r.path), &[tag]).unwrap()[0].score)
        })
        .collect();
    let truth: Vec<f64> = test.iter().map(|r| r.score).collect();
    assert_eq!(found["n"], test.len());
    assert_eq!(found["data"]["is_the_bundles"], true);
    let own = &found["right_tags"];
    close(&own["srcc"]["value"], spearman(&truth, &prediction));
    close(
        &own["error_mean"]["value"],
        mean(&truth.iter().zip(&prediction).map(|(t, p)| (t - p).abs()).collect::<Vec<_>>()),
    );
    let tags: std::collections::BTreeSet<&str> = test.iter().map(|r| r.tag.as_str()).collect();
    let of_tag = |tag: &str, values: &[f64]| -> Vec<f64> {
        test.iter().zip(values).filter(|(r, _)| r.tag == tag).map(|(_, v)| *v).collect()
    };
    let within: Vec<f64> = tags.iter().map(|t| spearman(&of_tag(t, &truth), &of_tag(t, &prediction))).collect();
    close(&own["within_tag_srcc"]["value"], mean(&within));
    for (row, (tag, srcc)) in found["tags"].as_array().unwrap().iter().zip(tags.iter().zip(&within)) {
        assert_eq!((row["tag"].as_str(), row["n"].as_u64()), (Some(*tag), Some(4)));
        close(&row["srcc"]["value"], *srcc);
    }
    for (measure, value) in own.as_object().unwrap() {
        let [value, low, high] = ["value", "low", "high"].map(|k| value[k].as_f64().unwrap());
        assert!(low <= high && value.is_finite(), "{measure}");
    }
    // The report's figures equal those that the training computed for the same images.
    for (key, measure) in
        [("test.srcc", "srcc"), ("test.kl", "kl"), ("test.emd", "emd"), ("test.wasserstein", "wasserstein")]
    {
        close(&own[measure]["value"], scorer.manifest().metrics[key]);
    }
    close(&found["shuffled_tags"]["srcc"]["value"], scorer.manifest().metrics["test_shuffled_tags.srcc"]);
    let difference = own["srcc"]["value"].as_f64().unwrap() - found["shuffled_tags"]["srcc"]["value"].as_f64().unwrap();
    close(&found["right_minus_shuffled"]["srcc"]["value"], difference);

    let page = check_page(&Path::new(&out).join("report.html"));
    assert!(page.contains("data:image/jpeg;base64,") && page.contains("&lt;i&gt;"));
    let written: Value = serde_json::from_slice(&std::fs::read(Path::new(&out).join("metrics.json")).unwrap()).unwrap();
    assert_eq!(written, found);
    let markdown = std::fs::read_to_string(Path::new(&out).join("report.md")).unwrap();
    assert!(
        markdown.contains("| SRCC | ") && markdown.contains("\\<i\\>") && markdown.contains("What the figures mean")
    );
}

#[test]
fn a_bundles_own_report_shows_no_image() {
    let t = &*TRAINED;
    let page = check_page(&Path::new(&t.model()).join("report/report.html"));
    assert!(!page.contains("<img") && page.contains("<svg") && page.contains("Course of the training"));
    let markdown = std::fs::read_to_string(Path::new(&t.model()).join("report/report.md")).unwrap();
    // The report names the images with the best and the worst ratings, but does not contain them.
    assert!(
        markdown.contains("Extremes of ratings") && !markdown.contains("![") && !markdown.contains("data:image"),
        "{markdown}"
    );
}

#[test]
fn eval_by_group_compares_the_conditions_of_all_images() {
    let t = &*TRAINED;
    let arguments =
        ["eval", "--model", &t.model(), "--data", &t.data(), "--part", "all", "--by", "group", "--bootstrap", "100"];
    let output = trainer(&[&arguments[..], &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let groups = &found["groups"];
    let all: Vec<Rated> = ["train", "validation", "test"].iter().flat_map(|part| t.rated(part)).collect();
    let human = |number: usize| {
        let ending = format!("'{number}'.png");
        let own = all.iter().filter(|r| r.path.to_str().unwrap().ends_with(&ending));
        mean(&own.map(|r| r.score).collect::<Vec<_>>())
    };
    let mut expected: Vec<(f64, &str)> = (0..4).map(|i| (human(i), CONDITIONS[i].0)).collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let rows = groups["rows"].as_array().unwrap();
    assert_eq!((rows.len(), found["n"].as_u64()), (4, Some(80)));
    for (row, (value, name)) in rows.iter().zip(&expected) {
        assert_eq!((row["name"].as_str(), row["n"].as_u64()), (Some(*name), Some(20)));
        close(&row["human"]["value"], *value);
    }
    let places: Vec<f64> = rows.iter().map(|r| r["model_place"].as_f64().unwrap()).collect();
    close(&groups["srcc"]["value"], spearman(&[1.0, 2.0, 3.0, 4.0], &places));
    let ladder = &groups["ladders"][0];
    assert_eq!((ladder["prefix"].as_str(), ladder["human"].as_array().unwrap().len()), (Some("pen"), 3));
    assert_eq!(ladder["same_order"], ladder["human"] == ladder["model"]);

    let printed = text(&trainer(&arguments).stdout);
    for words in ["all parts", "many of the judged images were used for training", "rank by people", "pen_blurred"] {
        assert!(printed.contains(words), "{words} is missing in:\n{printed}");
    }
}

/// The image's similarity to the good prompt minus its similarity to the bad prompt.
fn contrast(scorer: &Scorer, rated: &Rated) -> f64 {
    let image = embed(scorer, &rated.path);
    let cosine = |words: &str| {
        let prompt: EncodedTag = scorer.encode_prompt(&format!("{words} {}", rated.tag)).unwrap();
        f64::from(image.embedding.similarity(&prompt))
    };
    cosine("a good photo of") - cosine("a bad photo of")
}

#[test]
fn compare_evaluates_bundles_probe_and_prompts_on_the_same_images() {
    let t = &*TRAINED;
    let (first, second, out) = (format!("one={}", t.model()), format!("two={}", t.model()), t.at("comparison"));
    let arguments = ["compare", "--data", &t.data(), "--model", &first, "--model", &second, "--bootstrap", "100"];
    let output = trainer(&[&arguments[..], &["--format", "json", "--out", &out]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let scorer = Scorer::open(Path::new(&t.model()), DeviceChoice::Cpu).unwrap();
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "one, shuffled tags", "two", "two, shuffled tags", "linear probe", "zero-shot prompts"]);
    close(&rows[0]["measures"]["srcc"]["value"], scorer.manifest().metrics["test.srcc"]);
    assert!(rows[0]["minus_reference"].is_null());
    let same = &rows[2]["minus_reference"]["within_tag_srcc"];
    assert_eq!([&same["value"], &same["low"], &same["high"]].map(|v| v.as_f64().unwrap()), [0.0; 3]);

    let (validation, test) = (t.rated("validation"), t.rated("test"));
    let x: Vec<f64> = validation.iter().map(|r| contrast(&scorer, r)).collect();
    let y: Vec<f64> = validation.iter().map(|r| r.score).collect();
    let xx = mean(&x.iter().map(|x| x * x).collect::<Vec<_>>()) - mean(&x).powi(2);
    let xy = mean(&x.iter().zip(&y).map(|(x, y)| x * y).collect::<Vec<_>>()) - mean(&x) * mean(&y);
    let errors = test.iter().map(|r| (mean(&y) + xy / xx * (contrast(&scorer, r) - mean(&x)) - r.score).abs());
    close(&rows[5]["measures"]["error_mean"]["value"], mean(&errors.collect::<Vec<_>>()));

    assert_eq!(found["published"][2]["figures"][1], 0.684);
    assert!(!check_page(&Path::new(&out).join("report.html")).contains("<img"));
    let printed = text(&trainer(&arguments).stdout);
    assert!(printed.contains("0.684") && printed.contains("no clear difference"), "{printed}");
}

#[test]
fn data_of_another_origin_are_reported() {
    let t = &*TRAINED;
    let foreign = t.at("foreign.csv");
    let table = std::fs::read_to_string(t.data()).unwrap();
    std::fs::write(&foreign, table.lines().take(33).collect::<Vec<_>>().join("\n")).unwrap();
    let output = trainer(&["eval", "--model", &t.model(), "--data", &foreign, "--part", "all", "--bootstrap", "20"]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        printed.contains("the digests differ") && printed.contains("tags that the bundle was trained on"),
        "{printed}"
    );
}

#[test]
fn images_outside_the_tables_directory_need_a_flag() {
    let t = &*TRAINED;
    let elsewhere = tempfile::tempdir().unwrap();
    let table = std::fs::read_to_string(t.data()).unwrap();
    let mut lines = table.lines();
    let header = lines.next().unwrap().to_owned();
    let rows = lines.map(|row| t.at(row));
    let outside = elsewhere.path().join("ratings.csv");
    std::fs::write(&outside, std::iter::once(header).chain(rows).collect::<Vec<_>>().join("\n")).unwrap();
    let outside = outside.to_str().unwrap();
    let (model, out) = (t.model(), elsewhere.path().join("model"));
    let fit = ["fit", "--data", outside, "--out", out.to_str().unwrap()];
    let fit: Vec<&str> = fit.into_iter().chain(TINY.split_whitespace()).collect();
    for arguments in [vec!["eval", "--model", &model, "--data", outside, "--bootstrap", "20"], fit] {
        let refused = trainer(&arguments);
        assert!(!refused.status.success());
        assert!(text(&refused.stderr).contains("--allow-outside"), "{}", text(&refused.stderr));
        let allowed = trainer(&[&arguments[..], &["--allow-outside"]].concat());
        assert!(allowed.status.success(), "{}", text(&allowed.stderr));
    }
}

#[test]
fn another_division_of_the_bundles_data_is_reported() {
    let t = &*TRAINED;
    let moved = t.at("moved.csv");
    let part = |i: usize| ["train", "validation", "test"][(i / 4).min(2)];
    let table = std::fs::read_to_string(t.data()).unwrap();
    let rows = table
        .lines()
        .enumerate()
        .map(|(i, row)| if i == 0 { format!("{row},split") } else { format!("{row},{}", part(i - 1)) });
    std::fs::write(&moved, rows.collect::<Vec<_>>().join("\n")).unwrap();
    let output = trainer(&["eval", "--model", &t.model(), "--data", &moved, "--bootstrap", "20"]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(printed.contains("the division differs: [4, 4, 72]"), "{printed}");
    let own = text(&trainer(&["eval", "--model", &t.model(), "--data", &t.data(), "--bootstrap", "20"]).stdout);
    assert!(own.contains("so no judged image was trained on") && own.contains("12 of 80 examples"), "{own}");
}

#[test]
fn wrong_arguments_have_their_exit_codes() {
    let t = &*TRAINED;
    let (data, model) = (t.data(), t.model());
    let code = |arguments: &[&str]| trainer(arguments).status.code();
    assert_eq!(code(&["eval", "--model", &model, "--data", "/nowhere.csv"]), Some(66));
    assert_eq!(code(&["eval", "--model", "/nowhere", "--data", &data]), Some(78));
    assert_eq!(code(&["eval", "--model", &model, "--data", &data, "--part", "some"]), Some(64));
    assert_eq!(code(&["compare", "--data", &data]), Some(64));
    let named = format!("a={model}");
    let twice = trainer(&["compare", "--data", &data, "--model", &named, "--model", &named]);
    assert_eq!(twice.status.code(), Some(64));
    assert!(text(&twice.stderr).contains("given twice"), "{}", text(&twice.stderr));
}

#[test]
fn compare_trains_the_published_rows_once_and_reuses_them() {
    let trained = &*TRAINED;
    let all = std::fs::read_to_string(trained.data()).unwrap();
    let few = trained.at("few.csv");
    // A header and six tags of four images.
    std::fs::write(&few, all.lines().take(1 + 6 * 4).map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    let config = trained.at("tiny.toml");
    std::fs::write(&config, "epochs = 1\nbatch = 8\ncrop_px = 64\nresize_short_px = 96\nfilters = 8\n").unwrap();
    let out = trained.at("rows");
    let compare = || trainer(&["compare", "--data", &few, "--out", &out, "--config", &config, "--bootstrap", "50"]);
    let output = compare();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    for row in ["with tags", "without text", "previous"] {
        assert!(said.contains(&format!("{row}: training begins")), "{said}");
        assert!(printed.lines().any(|line| line.starts_with(row)), "{printed}");
    }
    let kind = |bundle: &str| {
        let scorer = Scorer::open(Path::new(&trained.at(&format!("rows/{bundle}"))), DeviceChoice::Cpu).unwrap();
        let manifest = scorer.manifest();
        (manifest.architecture.image_encoder.clone(), manifest.head.kind.clone())
    };
    assert_eq!(kind("with-tags"), ("small-kernel".to_owned(), "weighted_sum".into()));
    assert_eq!(kind("without-text"), ("small-kernel".to_owned(), "image_only".into()));
    assert_eq!(kind("previous"), ("efficientnet-b0".to_owned(), "image_only".into()));

    let again = compare();
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), printed);
    assert_eq!(text(&again.stderr).matches("the existing bundle in").count(), 3, "{}", text(&again.stderr));
    let page = check_page(&Path::new(&out).join("report.html"));
    assert!(page.contains("without text"));
}
