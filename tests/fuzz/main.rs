//! Fuzz tests: each target reads untrusted input, and gets valid inputs (`seeds`) with random changes. No reader may crash, hang or use
//! much memory, whatever the bytes are; returning an error is always right. `EDGE_SCORER_FUZZ` is the number of executions per target
//! (3,000 by default). `EDGE_SCORER_FUZZ_SEED` starts the random number generator (1 by default). `scripts/fuzz` runs a million executions.
//!
//! The current input is in `target/tmp/fuzz-NAME`. After a crash it is the input that caused the crash.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mutate;
mod seeds;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edge_model::bundle::manifest::file;
use edge_model::bundle::{Bundle, sha256_hex};
use edge_model::image_input::{InputRule, Limits, ResizeFilter, decode, keywords_of, prepare};
use edge_model::text::{TagTokenizer, TextRule, normalise_tag};
use edge_scorer::config::{Overrides, RawConfig, Settings};
use edge_testing::random::Random;
use edge_testing::{PATIENCE, model, repository};
use mutate::mutate;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs a target on randomly changed `seeds`. `share` divides the number of executions, for targets that take longer. `target` returns
/// whether it accepted the input.
fn fuzz(name: &str, seeds: &[Vec<u8>], share: u64, mut target: impl FnMut(&[u8]) -> bool) {
    let executions = (from_environment("EDGE_SCORER_FUZZ").unwrap_or(3_000) / share).max(1);
    let mut random = Random(from_environment("EDGE_SCORER_FUZZ_SEED").unwrap_or(1));
    let place = file(name);
    for (number, seed) in seeds.iter().enumerate() {
        assert!(target(seed), "{name}: seed {number} is refused, so its changes would test nothing");
    }
    let (mut accepted, mut longest) = (0_u64, Duration::ZERO);
    for _ in 0..executions {
        let (seed, other) = (random.below(seeds.len()), random.below(seeds.len()));
        let input = mutate(&seeds[seed], &seeds[other], &mut random);
        std::fs::write(&place, &input).unwrap();
        let began = Instant::now();
        accepted += u64::from(target(&input));
        longest = longest.max(began.elapsed());
    }
    println!("{name}: {executions} executions, {accepted} accepted, the longest {} ms", longest.as_millis());
    assert!(longest < PATIENCE, "an input of {name} takes {longest:?}");
    assert!(accepted < executions, "{name}: no input was refused");
    std::fs::remove_file(place).unwrap();
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"))
}

/// Low limits, so that an input that states a large size is refused and not decoded.
const LIMITS: Limits = Limits { max_file_bytes: 1 << 20, max_pixels: 1 << 18, max_decode_bytes: 1 << 22 };

#[test]
fn images() {
    let rule = InputRule {
        size_px: 32,
        resize_short_px: 32,
        filter: ResizeFilter::Bicubic,
        mean: [0.5; 3],
        std: [0.25; 3],
        views: Vec::new(),
    };
    fuzz("images", &seeds::images(), 4, |bytes| {
        let _ = decode(bytes, &LIMITS);
        prepare(bytes, &LIMITS, &rule)
            .inspect(|picture| assert!(picture.input.dimensions() == rule.input_size()))
            .is_ok()
    });
}

#[test]
fn metadata() {
    fuzz("metadata", &seeds::metadata(), 1, |bytes| !keywords_of(bytes).is_empty() || exif_only(bytes));
}

/// Whether an Exif segment follows the first two bytes. One seed has Exif data without keywords and must be accepted.
fn exif_only(bytes: &[u8]) -> bool {
    bytes.get(2..4) == Some(&[0xFF, 0xE1]) && bytes.get(6..10) == Some(b"Exif")
}

#[test]
fn manifests() {
    let dir = tempfile::tempdir().unwrap();
    // Small files replace the graphs, because only their sizes and digests are checked here.
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(model().join("manifest.json")).unwrap()).unwrap();
    for (name, digest) in manifest["files"].as_object_mut().unwrap() {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // The quantiles are read together with the manifest.
        let content =
            if name == file::QUANTILES { std::fs::read(model().join(name)).unwrap() } else { name.as_bytes().into() };
        std::fs::write(&path, &content).unwrap();
        digest["sha256"] = sha256_hex(&content).into();
        if let Some(bytes) = digest.get_mut("size_bytes") {
            *bytes = content.len().into();
        }
    }
    let compact = serde_json::to_vec(&manifest).unwrap();
    let pretty = serde_json::to_vec_pretty(&manifest).unwrap();
    fuzz("manifests", &[compact, pretty], 2, |bytes| {
        std::fs::write(dir.path().join("manifest.json"), bytes).unwrap();
        Bundle::open(dir.path()).is_ok()
    });
}

#[test]
fn configurations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge-scorer.toml");
    let shipped = std::fs::read(repository("systemd/edge-scorer.toml")).unwrap();
    let plain: Vec<u8> = shipped
        .split(|b| *b == b'\n')
        .flat_map(|l| [l.split(|b| *b == b'#').next().unwrap(), b"\n"].concat())
        .collect();
    let overrides = Overrides { model: Some(model()), ..Overrides::default() };
    fuzz("configurations", &[shipped, plain], 1, |bytes| {
        let _ = RawConfig::parse(&path, &String::from_utf8_lossy(bytes));
        std::fs::write(&path, bytes).unwrap();
        Settings::load(Some(&path), &overrides).is_ok()
    });
}

#[test]
fn tags() {
    let tokenizer = model().join("tokenizer.json");
    let rule = TextRule { template: "{tag}".to_owned(), context_length: 77, pad_id: 0, whole_words: false };
    let text = TagTokenizer::from_file(&tokenizer, rule).unwrap();
    let seeds = ["birds", "a photo of the Sea & sky, at 5:30", "ünïcödé 鳥 🐦", "  two   spaces\n"];
    fuzz("tags", &seeds.map(|s| s.as_bytes().to_vec()), 1, |bytes| {
        let tag = String::from_utf8_lossy(bytes);
        let normal = normalise_tag(&tag);
        assert_eq!(normalise_tag(&normal), normal, "normalising a second time changes the tag");
        text.encode(&normal, None).inspect(|ids| assert_eq!(ids.len(), 77)).is_ok()
    });
}
