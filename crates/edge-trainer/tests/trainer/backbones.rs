//! `edge-trainer fit` on CLIP and EfficientNet encoders with every kind of head, up to a bundle that edge-scorer scores with. The encoders
//! are tiny and have random weights; unit tests compare their outputs with the original implementations.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "../../../edge-model/tests/support/onnx_runtime.rs"]
mod onnx_runtime;

use edge_model::backend::DeviceChoice;
use edge_model::bundle::manifest::{HeadKind, ImageSide};
use edge_model::scorer::Scorer;
use edge_testing::{Place, copy_dir, repository};
use edge_trainer::render::{Scene, Treatment, picture};
use serde_json::{Map, Value, json};

/// A tokenizer of whole words for the tiny CLIP, which has 60 tokens. The last two begin and end a text, as in CLIP's own tokenizer.
fn tokenizer() -> Value {
    let words = "a photo of good , the over sea night street birds at dawn <unk>";
    let scenes: Vec<String> = Scene::ALL.iter().map(|s| s.tag().to_owned()).collect();
    let mut vocabulary = Map::new();
    let numbers = (0..12).map(|n| n.to_string());
    let scene_words = scenes.iter().flat_map(|s| s.split(' ')).map(str::to_owned);
    for word in words.split(' ').map(str::to_owned).chain(scene_words).chain(numbers) {
        let id = vocabulary.len();
        vocabulary.entry(word).or_insert(json!(id));
    }
    assert!(vocabulary.len() < 58);
    for (token, id) in [("<|startoftext|>", 58), ("<|endoftext|>", 59)] {
        vocabulary.insert(token.to_owned(), json!(id));
    }
    let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let ids = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("<|startoftext|>"), {"Sequence": {"id": "A", "type_id": 0}}, special("<|endoftext|>")],
            "pair": [special("<|startoftext|>"), {"Sequence": {"id": "A", "type_id": 0}}, special("<|endoftext|>")],
            "special_tokens": {
                "<|startoftext|>": ids("<|startoftext|>", 58), "<|endoftext|>": ids("<|endoftext|>", 59)
            }
        },
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    })
}

/// A directory with a tiny CLIP and a table of rated images.
struct Workshop {
    place: Place,
}

impl Workshop {
    fn new() -> Self {
        Self::with_tags(9)
    }

    /// A directory with this many tags and four images for each.
    fn with_tags(tags: usize) -> Self {
        let place = Place::new();
        copy_dir(&repository("crates/edge-trainer/tests/data/clip_tiny"), &place.path("clip"));
        std::fs::write(place.path("clip/tokenizer.json"), tokenizer().to_string()).unwrap();
        let mut csv = "path,tag,score\n".to_owned();
        let treatments = [Treatment::Clean, Treatment::Noisy, Treatment::Underexposed, Treatment::Blurred];
        for (number, scene) in Scene::ALL.into_iter().cycle().take(tags).enumerate() {
            for (i, treatment) in treatments.into_iter().enumerate() {
                let name = format!("{number}_{i}.png");
                picture(scene, treatment, 60, 50, number as u64).save(place.path(&name)).unwrap();
                csv += &format!("{name},{} {number},{}\n", scene.tag(), 4.5 - i as f32);
            }
        }
        std::fs::write(place.path("ratings.csv"), csv).unwrap();
        Self { place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// Runs `fit` on the table.
    fn fit(&self, out: &str, more: &str) -> Output {
        let mut command = Command::new(edge_testing::program("edge-trainer"));
        command.current_dir(self.place.dir.path()).env("XDG_CACHE_HOME", self.path("cache"));
        command.args(["fit", "--data", "ratings.csv", "--batch", "8", "--out", out]);
        let epochs = if more.contains("efficientnet") { "1" } else { "2" };
        command.args(["--epochs", epochs]).args(more.split_whitespace()).output().unwrap()
    }

    /// Runs `fit`, which must succeed. Returns the model and the messages.
    #[track_caller]
    fn fitted(&self, out: &str, more: &str) -> (Scorer, String) {
        let output = self.fit(out, more);
        assert!(output.status.success(), "{}", stderr(&output));
        (Scorer::open(&self.path(out), DeviceChoice::Cpu).unwrap(), stderr(&output))
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Scores one image under two tags.
fn two_tags(scorer: &Scorer, image: &Path) -> [f32; 2] {
    let bytes = std::fs::read(image).unwrap();
    let pixels = scorer.encoder_input(&scorer.decode(&bytes, &Default::default()).unwrap());
    let image = scorer.embed(&[pixels]).unwrap().remove(0);
    let tags = ["night street", "birds"].map(|t| scorer.encode_tag(t).unwrap());
    let scored = scorer.score(&image, &tags).unwrap();
    [scored[0].score, scored[1].score]
}

#[test]
fn every_head_on_frozen_clip_becomes_a_bundle_whose_score_depends_on_the_tag() {
    let in_onnx_runtime = onnx_runtime::is_installed("backbones::every_head_on_frozen_clip (graphs in ONNX Runtime)");
    let shop = Workshop::new();
    let kinds = [
        ("patch", HeadKind::PatchCrossAttention),
        ("pooled", HeadKind::PooledCrossAttention),
        ("gated", HeadKind::GatedCrossAttention),
        ("hyper", HeadKind::HyperNetwork),
        ("image-only", HeadKind::ImageOnly),
    ];
    for (number, (name, kind)) in kinds.into_iter().enumerate() {
        let (scorer, said) = shop.fitted(name, &format!("--backbone clip --head {name}"));
        assert_eq!(scorer.manifest().head.kind, kind.name());
        assert_eq!(scorer.manifest().architecture.image_encoder, "clip-vit-2x16-8");
        assert_eq!(scorer.manifest().text_input.template, "a photo of {tag}");
        let [a, b] = two_tags(&scorer, &shop.path("0_0.png"));
        assert_eq!(a != b, kind != HeadKind::ImageOnly, "{name}: {a} {b}");
        if in_onnx_runtime {
            onnx_runtime::assert_agrees(&shop.path(name));
        }
        // The features with patches and those without are encoded once each, and then read from the cache.
        let encoded = if number < 2 { "0 of 32" } else { "32 of 32" };
        assert!(said.contains(&format!("features: {encoded} images are already encoded")), "{name}: {said}");
    }
}

#[test]
fn a_model_that_reads_patches_scores_new_tags_from_the_image_and_refuses_without_it() {
    let shop = Workshop::new();
    let (scorer, _) = shop.fitted("model", "--backbone clip");
    assert_eq!(scorer.manifest().head.image_side, ImageSide::PatchTokens);
    let photos = shop.place.photos();
    for name in ["0_0.png", "1_1.png"] {
        std::fs::copy(shop.path(name), photos.join(name)).unwrap();
    }
    let (model, db) = (shop.path("model"), shop.place.db());
    let common = ["--model", model.to_str().unwrap(), "--db", db.to_str().unwrap()];
    let scan = |tag: &str| {
        let more = ["--tag", tag, photos.to_str().unwrap()];
        shop.place.run(["scan"].iter().chain(&common).chain(&more)).expect(0).stdout
    };
    let scores = "SELECT tag.text, count(*) FROM score JOIN tag ON tag.id = tag_id GROUP BY 1 ORDER BY 1";
    assert!(scan("birds").contains("2 images found: 2 scored"));
    assert_eq!(shop.place.rows(scores), ["birds|2"]);
    // No score is missing, so no file is read.
    assert!(scan("birds").contains("2 images found: 0 scored, 0 copies of known images, 2 unchanged"));
    // A new tag needs the images again, and the old scores stay.
    let said = scan("night street");
    assert!(said.contains("0 scored, 2 copies of known images, 0 unchanged"), "{said}");
    assert_eq!(shop.place.rows(scores), ["birds|2", "night street|2"]);
    assert!(scan("night street").contains("2 unchanged"));
    let top = shop.place.run(["top", "--tag", "never asked"].iter().chain(&common)).expect(78);
    top.stderr_contains("this model reads the image itself for every tag");
    assert_eq!(shop.place.value("SELECT count(*) FROM image"), "2");
    // The stored score equals a newly computed one.
    let stored: f32 =
        shop.place.value("SELECT score FROM top_images WHERE tag = 'birds' AND path LIKE '%/0_0.png'").parse().unwrap();
    assert!((two_tags(&scorer, &shop.path("0_0.png"))[1] - stored).abs() < 1e-4);
    shop.place.assert_sound();
}

#[test]
fn fitting_all_weights_changes_the_encoders_and_fitting_the_head_does_not() {
    let shop = Workshop::new();
    let graph = |out: &str| std::fs::read(shop.path(out).join("image_encoder.onnx")).unwrap();
    shop.fitted("head", "--backbone clip --head hyper --train head");
    shop.fitted("head2", "--backbone clip --head hyper --seed 5");
    shop.fitted("all", "--backbone clip --head hyper --train all");
    shop.fitted("last", "--backbone clip --head hyper --train last:1 --ema 0.5");
    assert!(graph("head") == graph("head2"));
    assert!(graph("head") != graph("all") && graph("head") != graph("last") && graph("last") != graph("all"));
    // The weights before the last layer are unchanged: the graph contains the same bytes as the file.
    let bytes = std::fs::read(shop.path("clip/model.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let holds = |out: &str, tensor: &str| {
        let values = weights.tensor(&format!("vision_model.{tensor}")).unwrap().data();
        graph(out).windows(values.len()).any(|window| window == values)
    };
    for (tensor, kept) in
        [("encoder.layers.0.layer_norm1.weight", true), ("encoder.layers.1.layer_norm1.weight", false)]
    {
        assert_eq!(
            [holds("head", tensor), holds("last", tensor), holds("all", tensor)],
            [true, kept, false],
            "{tensor}"
        );
    }
    // The run of a model with frozen encoders stores only the head.
    let kept = |run: &str| std::fs::metadata(shop.path(run).join("best.mpk")).unwrap().len();
    assert!(kept("head.run") < kept("all.run"));
    let shown = Command::new(edge_testing::program("edge-trainer")).arg("inspect").arg(shop.path("head.run")).output();
    let shown = String::from_utf8_lossy(&shown.unwrap().stdout).into_owned();
    assert!(shown.contains("clip-vit-2x16-8, not trained") && shown.contains("hyper_network"), "{shown}");
}

#[test]
fn an_unusable_backbone_is_refused_before_any_training() {
    let shop = Workshop::new();
    let refused = |code: i32, more: &str, message: &str| {
        let output = shop.fit("out", more);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert!(!shop.path("out").exists());
    };
    refused(66, "--backbone vit-b32", "--backbone vit-b32: neither small, efficientnet-lite0, efficientnet-lite2 or");
    let parts = "efficientnet-lite0/model.pth, which does not exist. scripts/fetch_backbones fetches all parts";
    refused(66, "--backbone efficientnet-lite0 --parts nowhere", parts);
    refused(78, "--head patch", "needs patch and text tokens, which this backbone does not give. Use --head pooled");
    let untrained = "--train head needs pretrained encoders, but the encoders of small have random weights";
    refused(78, "--train head", untrained);
    let weights = shop.path("clip/model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    refused(78, "--backbone clip", "clip/model.safetensors: not a complete safetensors file");
    std::fs::remove_file(shop.path("clip/tokenizer.json")).unwrap();
    refused(78, "--backbone clip", "clip/tokenizer.json: cannot be read");
}

#[test]
fn efficientnet_from_scratch_becomes_a_bundle_without_a_text_side() {
    let shop = Workshop::with_tags(3);
    let (scorer, _) = shop.fitted("previous", "--method efficientnet");
    let manifest = scorer.manifest();
    assert_eq!(manifest.architecture.image_encoder, "efficientnet-b0");
    assert_eq!((manifest.head.kind.as_str(), manifest.architecture.embedding_dim), ("image_only", 1280));
    let [a, b] = two_tags(&scorer, &shop.path("0_0.png"));
    assert_eq!(a, b);
    if onnx_runtime::is_installed("backbones::efficientnet_from_scratch (graphs in ONNX Runtime)") {
        onnx_runtime::assert_agrees(&shop.path("previous"));
    }
}

#[test]
fn a_step_is_timed_on_the_head_and_on_everything() {
    let shop = Workshop::new();
    let bench = |more: &str| {
        let mut command = Command::new(edge_testing::program("edge-trainer"));
        command.current_dir(shop.place.dir.path()).args(["bench", "--backbone", "clip", "--batch", "8"]);
        command.args(["--steps", "3", "--warm-up", "1"]).args(more.split_whitespace()).output().unwrap()
    };
    for (train, head_only) in [("head", true), ("all", false)] {
        let out = bench(&format!("--train {train} --device cpu --format json"));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let times: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(times["head_only"], json!(head_only));
        assert_eq!((&times["device"], &times["precision"]), (&json!("cpu"), &json!("f32")));
        assert_eq!((&times["batch"], &times["tags"], &times["image_px"]), (&json!(8), &json!(2), &json!(24)));
        assert_eq!(times["seconds"].as_array().unwrap().len(), 3);
    }
    let out = bench("--device cpu");
    assert!(String::from_utf8_lossy(&out.stdout).contains("the head alone, on cpu with precision F32: "), "{out:?}");
    // No machine has a GPU of this number. Without a GPU the device itself is refused.
    let out = bench("--device cuda:999");
    assert_eq!(out.status.code(), Some(78));
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(message.contains("cuda:999 cannot be used: ") && message.contains("--device cpu"), "{message}");
}
