//! Tests that every kind of damage to a bundle is refused with its own error and with advice.

use std::path::PathBuf;

use edge_model::backend::{BackendError, DeviceChoice};
use edge_model::bundle::{Bundle, BundleError, sha256_hex};
use edge_model::scorer::{Scorer, ScorerError};
use edge_model::text::TextError;
use edge_testing::{Place, change_manifest, copy_of_model, forge, model};
use serde_json::{Value, json};

/// A copy of the shipped bundle, to be damaged by a test.
struct Damaged {
    place: Place,
    dir: PathBuf,
}

impl Damaged {
    fn new() -> Self {
        let place = Place::new();
        let dir = copy_of_model(place.dir.path());
        Self { place, dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn change_manifest(&self, change: impl FnOnce(&mut Value)) {
        change_manifest(&self.dir, change);
    }

    fn forge(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        forge(&self.dir, name, change);
    }

    /// The error of opening the bundle.
    fn refusal(&self) -> ScorerError {
        Scorer::open(&self.dir, DeviceChoice::Cpu).unwrap_err()
    }

    /// Fails unless the library refuses the bundle with an error of this variant whose text contains `message`, and `config check`
    /// prints the text and exits with 78.
    #[track_caller]
    fn is_refused(&self, variant: fn(&ScorerError) -> bool, message: &str) {
        let error = self.refusal();
        assert!(variant(&error), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(message), "{message:?} is not in: {text}");
        let arguments = ["config", "check", "--device", "cpu", "--model", self.dir.to_str().unwrap()];
        let said = self.place.run(arguments).expect(78);
        assert_eq!((said.stdout.as_str(), said.stderr), ("", format!("edge-scorer: {text}\n")));
    }
}

#[test]
fn the_shipped_bundle_is_accepted() {
    let place = Place::new();
    let scorer = Scorer::open(&model(), DeviceChoice::Cpu).unwrap();
    assert!(scorer.replay().violation(&scorer.manifest().goldens.tolerance).is_none());
    let said = place.run(["config", "check", "--model", model().to_str().unwrap()]).expect(0);
    assert!(said.stdout.contains(scorer.digest()) && said.stdout.ends_with("no problems found\n"), "{}", said.stdout);
    // Files that the manifest does not name are ignored.
    let copy = copy_of_model(place.dir.path());
    std::fs::write(copy.join("notes.txt"), "mine").unwrap();
    assert_eq!(Bundle::open(&copy).unwrap().digest(), scorer.digest());
}

#[test]
fn directories_that_are_not_bundles_are_refused() {
    let damaged = Damaged { place: Place::new(), dir: "/nonexistent/model".into() };
    damaged.is_refused(
        |e| matches!(e, ScorerError::Bundle(BundleError::Missing { .. })),
        "/nonexistent/model: there is no such directory. Name a model bundle with --model DIR or with `dir` under \
         [model] in the configuration",
    );
    let damaged = Damaged::new();
    std::fs::remove_file(damaged.file("manifest.json")).unwrap();
    damaged.is_refused(
        |e| matches!(e, ScorerError::Bundle(BundleError::NoManifest { .. })),
        "not a model bundle: there is no manifest.json. Name the directory that `edge-trainer fit --out` wrote",
    );
    std::fs::write(damaged.file("manifest.json"), "{\"schema_version\": 1,").unwrap();
    damaged.is_refused(
        |e| matches!(e, ScorerError::Bundle(BundleError::Manifest { .. })),
        "manifest.json: the manifest is damaged or is not a manifest: EOF while parsing",
    );
    std::fs::write(damaged.file("manifest.json"), b"\xff\xfe{}").unwrap();
    let error = damaged.refusal().to_string();
    assert!(error.ends_with("it is not UTF-8. Copy the bundle again from the original"), "{error}");
    std::fs::write(damaged.file("manifest.json"), "{}").unwrap();
    assert!(damaged.refusal().to_string().contains("it has no schema_version"));
}

#[test]
fn other_schemas_and_unknown_keys_are_refused() {
    let damaged = Damaged::new();
    let version = |e: &ScorerError| matches!(e, ScorerError::Bundle(BundleError::SchemaVersion { known: 1, .. }));
    // A newer manifest may have any keys. The error is about the version.
    damaged.change_manifest(|m| *m = json!({ "schema_version": 2, "something": "new" }));
    damaged.is_refused(version, "schema version 2 is unknown; this program reads version 1. Update edge-scorer");
    damaged.change_manifest(|m| *m = json!({ "schema_version": 0 }));
    damaged.is_refused(version, "schema version 0 is unknown; this program reads version 1. Write the bundle again");

    let manifest = |e: &ScorerError| matches!(e, ScorerError::Bundle(BundleError::Manifest { .. }));
    let damaged = Damaged::new();
    damaged.change_manifest(|m| m["gain"] = json!(2));
    damaged.is_refused(manifest, "unknown field `gain`");
    let damaged = Damaged::new();
    damaged.change_manifest(|m| m["image_input"]["gamma"] = json!(2.2));
    damaged.is_refused(manifest, "unknown field `gamma`");
    let damaged = Damaged::new();
    damaged.change_manifest(|m| drop(m.as_object_mut().unwrap().remove("score_scale")));
    damaged.is_refused(manifest, "missing field `score_scale`");
}

#[test]
fn an_inconsistent_manifest_is_refused() {
    let inconsistent = |e: &ScorerError| matches!(e, ScorerError::Bundle(BundleError::Inconsistent { .. }));
    let entry = json!({ "sha256": "0".repeat(64), "size_bytes": 1 });
    for name in ["../secret", "/etc/passwd", "report/../../x", ""] {
        let damaged = Damaged::new();
        damaged.change_manifest(|m| m["files"][name] = entry.clone());
        damaged.is_refused(inconsistent, &format!("the file name {name:?} points outside the bundle"));
    }
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 10] = [
        (|m| m["goldens"]["images"] = json!([]), "it has no goldens, so the model cannot be proved"),
        (|m| m["goldens"]["tolerance"]["score"] = json!(0.0), "tolerances must be greater than zero"),
        (
            |m| m["goldens"]["tolerance"]["score"] = json!(0.051),
            "tolerance of the score is 0.051; above 0.05 they would",
        ),
        (
            |m| m["goldens"]["tolerance"]["embedding"] = json!(1e9),
            "tolerance of the embedding is 1000000000; above 0.01",
        ),
        (|m| m["goldens"]["tolerance"]["similarity"] = json!(0.02), "tolerance of the similarity is 0.02; above 0.01"),
        (
            |m| {
                m["goldens"]["images"].as_array_mut().unwrap().truncate(1);
                m["goldens"]["tags"].as_array_mut().unwrap().truncate(3);
            },
            "it has 3 pairs of a golden image and a golden tag; at least 4 are needed",
        ),
        (|m| m["score_scale"]["max"] = m["score_scale"]["min"].clone(), "score_scale goes from"),
        (
            |m| m["quantiles"] = json!([2.0, 1.0]),
            "calibration quantiles of \"the whole model\" are not all finite and ascending",
        ),
        (|m| m["architecture"]["embedding_dim"] = json!(0), "embedding_dim is 0"),
        (
            |m| m["architecture"]["text_embedding_dim"] = json!(193),
            "text_embedding_dim is 193; it must be 1 to embedding_dim (192)",
        ),
    ];
    for (change, message) in cases {
        let damaged = Damaged::new();
        damaged.change_manifest(change);
        let error = damaged.refusal();
        assert!(inconsistent(&error) && error.to_string().contains(message), "{error}");
    }
}

#[test]
fn missing_cut_and_changed_files_are_refused() {
    for name in ["image_encoder.onnx", "tokenizer.json", "golden.safetensors", "golden_1.png"] {
        let damaged = Damaged::new();
        std::fs::remove_file(damaged.file(name)).unwrap();
        damaged.is_refused(
            |e| matches!(e, ScorerError::Bundle(BundleError::MissingFile { .. })),
            &format!("{name}: this file of the bundle is missing. Copy the whole bundle again"),
        );
    }
    // A required file that the manifest does not name.
    let damaged = Damaged::new();
    damaged.change_manifest(|m| drop(m["files"].as_object_mut().unwrap().remove("text_encoder.onnx")));
    assert!(
        matches!(damaged.refusal(), ScorerError::Bundle(BundleError::MissingFile { path }) if path.ends_with("text_encoder.onnx"))
    );

    let damaged = Damaged::new();
    let path = damaged.file("text_encoder.onnx");
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    damaged.is_refused(
        |e| matches!(e, ScorerError::Bundle(BundleError::Digest { what: "size", .. })),
        &format!(
            "the file differs from the manifest (size is {} bytes, but the manifest says {length} bytes)",
            length - 1
        ),
    );
    let damaged = Damaged::new();
    let mut bytes = std::fs::read(damaged.file("README.md")).unwrap();
    bytes[0] ^= 1;
    std::fs::write(damaged.file("README.md"), bytes).unwrap();
    damaged.is_refused(
        |e| matches!(e, ScorerError::Bundle(BundleError::Digest { what: "sha256", .. })),
        "it was changed or truncated. Copy the bundle again",
    );
}

#[test]
fn nothing_but_regular_files_of_the_directory_is_read() {
    let not_regular = |e: &ScorerError| matches!(e, ScorerError::Bundle(BundleError::NotRegular { .. }));
    for name in ["manifest.json", "tokenizer.json", "golden_1.png", "quality_head.onnx"] {
        // A link to the right file outside the bundle, a link to it inside, a directory, a pipe.
        for place in ["outside", "inside", "directory", "pipe"] {
            let damaged = Damaged::new();
            let (path, inside) = (damaged.file(name), damaged.file("moved"));
            let outside = damaged.place.path("outside");
            match place {
                "outside" => {
                    std::fs::rename(&path, &outside).and_then(|()| std::os::unix::fs::symlink(&outside, &path))
                }
                "inside" => std::fs::rename(&path, &inside).and_then(|()| std::os::unix::fs::symlink(&inside, &path)),
                "directory" => std::fs::remove_file(&path).and_then(|()| std::fs::create_dir(&path)),
                _ => std::fs::remove_file(&path).map(|()| {
                    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
                }),
            }
            .unwrap();
            damaged.is_refused(not_regular, &format!("{name}: is a link or not a regular file, so it is not read"));
        }
    }
    let damaged = Damaged::new();
    std::fs::rename(damaged.file("report"), damaged.place.path("report")).unwrap();
    std::os::unix::fs::symlink(damaged.place.path("report"), damaged.file("report")).unwrap();
    assert!(not_regular(&damaged.refusal()));
}

#[test]
fn no_more_is_read_than_a_bundle_needs_and_no_digest_is_told() {
    let damaged = Damaged::new();
    damaged.change_manifest(|m| m["files"]["tokenizer.json"]["size_bytes"] = json!((64 << 20) + 1));
    let error = damaged.refusal().to_string();
    assert!(error.contains("the file \"tokenizer.json\" has 67108865 bytes; at most 64 MiB are allowed"), "{error}");
    // A manifest that never ends is not read to its end.
    let damaged = Damaged::new();
    std::fs::File::create(damaged.file("manifest.json")).unwrap().set_len(1 << 40).unwrap();
    assert!(damaged.refusal().to_string().contains("it has more than 16 MiB"));
    // The digest of a file that a bundle's author may not read would tell what is in it.
    let damaged = Damaged::new();
    let secret = b"secret".repeat(1000);
    std::fs::write(damaged.file("README.md"), &secret).unwrap();
    damaged.change_manifest(|m| m["files"]["README.md"]["size_bytes"] = json!(secret.len()));
    let error = damaged.refusal().to_string();
    assert!(error.contains("sha256 is another") && !error.contains(&sha256_hex(&secret)), "{error}");
}

/// Changes the first element of a golden tensor.
fn set_golden(bytes: &mut [u8], tensor: &str, value: impl FnOnce(f32) -> f32) {
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let table: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let start = header + usize::try_from(table[tensor]["data_offsets"][0].as_u64().unwrap()).unwrap();
    let old = f32::from_le_bytes(bytes[start..start + 4].try_into().unwrap());
    bytes[start..start + 4].copy_from_slice(&value(old).to_le_bytes());
}

#[test]
fn goldens_that_are_not_finite_or_not_tensors_are_refused() {
    let goldens = |e: &ScorerError| matches!(e, ScorerError::Bundle(BundleError::Goldens { .. }));
    let damaged = Damaged::new();
    damaged.forge("golden.safetensors", |bytes| set_golden(bytes, "score", |_| f32::NAN));
    damaged.is_refused(goldens, "the goldens cannot be used: score holds values that are not finite");
    let damaged = Damaged::new();
    damaged.forge("golden.safetensors", |bytes| bytes.truncate(bytes.len() - 1));
    damaged.is_refused(goldens, "the goldens cannot be used: ");
    let damaged = Damaged::new();
    damaged.change_manifest(|m| drop(m["goldens"]["tags"].as_array_mut().unwrap().pop()));
    damaged.is_refused(goldens, "has the shape [");
}

#[test]
fn a_model_that_does_not_reproduce_its_goldens_is_refused() {
    let drift = |e: &ScorerError| matches!(e, ScorerError::Bundle(BundleError::Drift { .. }));
    for (tensor, by) in [("score", 0.25), ("similarity", 0.25), ("image_embedding", 1e3), ("text_embedding", 1e3)] {
        let damaged = Damaged::new();
        damaged.forge("golden.safetensors", |bytes| set_golden(bytes, tensor, |old| old + by));
        let error = damaged.refusal();
        let ScorerError::Bundle(BundleError::Drift { what, difference, tolerance, .. }) = &error else {
            panic!("{error}")
        };
        let output = format!("the {}", tensor.replace('_', " "));
        assert!(*what == output && difference > tolerance, "{error}");
        if by < 1.0 {
            // The reported difference is the change, up to the model's own difference from the golden.
            assert!((difference - by).abs() <= *tolerance, "{error}");
            damaged.is_refused(drift, &format!("{output} of the goldens differs from the trainer's result by 2."));
        }
    }
    // An encoder with all weights zero runs, but gives wrong results.
    let damaged = Damaged::new();
    damaged.forge("image_encoder.onnx", |bytes| {
        let weights = bytes.chunks_exact_mut(2048).filter(|block| holds_weights(block));
        weights.for_each(|block| block.fill(0));
    });
    damaged.is_refused(drift, "Scores from this device cannot be trusted");
}

/// Whether a block of a graph's file holds weights: it consists of 32-bit or 16-bit floats of usual magnitude. Blocks of names and
/// lengths do not look like this.
fn holds_weights(block: &[u8]) -> bool {
    let usual = |magnitude: f32| magnitude == 0.0 || (1e-9..1e2).contains(&magnitude);
    let single = |b: &[u8]| usual(f32::from_le_bytes(b.try_into().unwrap()).abs());
    let half = |b: &[u8]| usual(half::f16::from_le_bytes(b.try_into().unwrap()).to_f32().abs());
    let some = block.iter().any(|b| *b != 0);
    let singles = || (0..4).any(|phase| block[phase..].chunks_exact(4).all(single));
    let halves = || (0..2).any(|phase| block[phase..].chunks_exact(2).all(half));
    some && (singles() || halves())
}

#[test]
fn a_model_that_answers_nan_is_refused() {
    let damaged = Damaged::new();
    damaged.forge("text_encoder.onnx", |bytes| {
        // A number whose bits are all ones is NaN, wherever it begins.
        let weights = bytes.chunks_exact_mut(2048).filter(|block| holds_weights(block));
        assert!(weights.map(|block| block.fill(0xff)).count() > 0);
    });
    damaged.is_refused(
        |e| matches!(e, ScorerError::Bundle(BundleError::NotFinite { .. })),
        "cpu returns NaN or infinity for the text embedding of a golden: the model or the device is broken",
    );
}

#[test]
fn broken_graphs_tokenizers_and_golden_images_are_refused() {
    let damaged = Damaged::new();
    damaged.forge("quality_head.onnx", |bytes| *bytes = b"no graph at all".to_vec());
    damaged.is_refused(|e| matches!(e, ScorerError::Backend(BackendError::Load { .. })), "quality_head.onnx");
    let damaged = Damaged::new();
    damaged.forge("tokenizer.json", |bytes| bytes.truncate(100));
    damaged.is_refused(
        |e| matches!(e, ScorerError::Text(TextError::Tokenizer { .. })),
        "tokenizer.json: not a usable tokenizer: ",
    );
    let damaged = Damaged::new();
    damaged.change_manifest(|m| m["text_input"]["template"] = json!("a photo"));
    damaged.is_refused(|e| matches!(e, ScorerError::Text(TextError::Rule(_))), "does not contain {tag}");
    let damaged = Damaged::new();
    damaged.forge("golden_1.png", |bytes| bytes.truncate(200));
    damaged
        .is_refused(|e| matches!(e, ScorerError::GoldenImage { .. }), "golden image golden_1.png: cannot be decoded");
}
