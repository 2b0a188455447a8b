//! One test suite for all backends: every device must compute what the CPU computes in f32, for single images, in batches of any size,
//! under many tags, and from several threads. A device that does not exist is skipped.
//!
//! `EDGE_SCORER_PARITY_MODELS` names the bundles, separated by colons; by default these are the shipped one and a small CLIP made by
//! edge-trainer. With `EDGE_SCORER_GPU=required` a missing GPU is a failure. On a machine without the repository, the program looks for
//! `models/small` and `samples` in the working directory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use edge_model::backend::{BackendError, BackendOptions, DeviceChoice, Precision};
use edge_model::image_input::Limits;
use edge_model::scorer::{EncodedTag, ImageFeatures, Scorer, ScorerError};
use image::RgbImage;

/// Every device and precision that a score can come from.
const DEVICES: [(DeviceChoice, Precision); 4] = [
    (DeviceChoice::Cpu, Precision::F32),
    (DeviceChoice::Cpu, Precision::Int8),
    (DeviceChoice::Cuda, Precision::F32),
    (DeviceChoice::Cuda, Precision::F16),
];

const TAGS: [&str; 5] = ["a good photo", "night street", "sunset over the sea", "a dog", "black and white"];

/// Largest allowed differences from the CPU in f32: for scores on a scale of 10, and for embeddings as a share of the largest value of an
/// embedding. Embeddings are stored in 16 bits, whose relative precision is about 1/2000.
fn allowed(precision: Precision) -> (f32, f32) {
    match precision {
        Precision::F32 => (2e-3, 1.5e-3),
        Precision::F16 => (2e-2, 2e-2),
        Precision::Int8 => (1e-1, 5e-2),
    }
}

/// A model on a device, and the same model on the CPU in f32.
struct Pair {
    name: String,
    reference: Scorer,
    scorer: Scorer,
    device: (&'static str, Precision),
    pictures: Vec<RgbImage>,
    score_off: f32,
    embedding_off: f32,
}

impl Pair {
    fn of(model: &Path, (device, precision): (DeviceChoice, Precision)) -> Option<Self> {
        let name = format!("{} on {device} in {precision}", model.display());
        let scorer = match Scorer::open_in(model, device, &BackendOptions { precision, ..BackendOptions::default() }) {
            Ok(scorer) => scorer,
            Err(ScorerError::Backend(error @ (BackendError::Unavailable { .. } | BackendError::NotBuilt { .. })))
                if std::env::var_os("EDGE_SCORER_GPU").is_none_or(|v| v != "required") =>
            {
                edge_testing::skip(&format!("parity of {name}"), &error.to_string());
                return None;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let reference = Scorer::open(model, DeviceChoice::Cpu).unwrap();
        let opened = scorer.device();
        if (device, precision) == (DeviceChoice::Cpu, Precision::Int8) && opened.precision == Precision::F32 {
            edge_testing::skip(&format!("parity of {name}"), "this processor has no 8-bit products");
            return None;
        }
        assert_eq!((opened.name.to_string(), opened.precision), (device.to_string(), precision));
        let scale = &reference.manifest().score_scale;
        let (score_off, embedding_off) = allowed(precision);
        let score_off = score_off * (scale.max - scale.min) / 10.0;
        let pictures = pictures(&reference);
        Some(Self {
            name,
            reference,
            scorer,
            device: (opened.name, opened.precision),
            pictures,
            score_off,
            embedding_off,
        })
    }

    fn tags(scorer: &Scorer) -> Vec<EncodedTag> {
        TAGS.iter().map(|tag| scorer.encode_tag(tag).unwrap()).collect()
    }

    #[track_caller]
    fn same_image(&self, found: &ImageFeatures, expected: &ImageFeatures) {
        let pairs = found.embedding.0.iter().zip(&expected.embedding.0).map(|(a, b)| (a.to_f32(), b.to_f32()));
        let pairs: Vec<_> = pairs.collect();
        let largest = pairs.iter().fold(f32::MIN_POSITIVE, |largest, (_, b)| largest.max(b.abs()));
        let off = pairs.iter().fold(0.0f32, |off, (a, b)| off.max((a - b).abs())) / largest;
        assert!(off <= self.embedding_off, "{}: an embedding differs by {off}", self.name);
    }

    #[track_caller]
    fn same_score(&self, found: f32, expected: f32) {
        assert!(
            (found - expected).abs() <= self.score_off,
            "{}: the score is {found} instead of {expected}",
            self.name
        );
    }

    /// Runs every check.
    fn check(&self) {
        let images = self.every_picture_scores_the_same();
        self.a_batch_of_any_size_is_its_pictures(&images);
        self.many_tags_are_each_tag(&images[0]);
        self.threads_do_not_disturb_each_other(&images);
    }

    fn every_picture_scores_the_same(&self) -> Vec<ImageFeatures> {
        let expected = self.reference.embed(&self.pictures).unwrap();
        let (here, there) = (Self::tags(&self.scorer), Self::tags(&self.reference));
        let mut found = Vec::with_capacity(expected.len());
        let (mut worst, mut range) = (0.0f32, [f32::INFINITY, f32::NEG_INFINITY]);
        for (picture, expected) in self.pictures.iter().zip(&expected) {
            let image = self.scorer.embed(std::slice::from_ref(picture)).unwrap().remove(0);
            self.same_image(&image, expected);
            let scores = self.scorer.score(&image, &here).unwrap();
            for (found, expected) in scores.iter().zip(self.reference.score(expected, &there).unwrap()) {
                self.same_score(found.score, expected.score);
                assert!((found.similarity - expected.similarity).abs() <= self.embedding_off, "{}", self.name);
                worst = worst.max((found.score - expected.score).abs());
                range = [range[0].min(expected.score), range[1].max(expected.score)];
            }
            found.push(image);
        }
        println!("{}: scores from {:.3} to {:.3}, at most {worst:.1e} off", self.name, range[0], range[1]);
        found
    }

    fn a_batch_of_any_size_is_its_pictures(&self, alone: &[ImageFeatures]) {
        for size in [1, 2, 7, 8, 9, 33] {
            let number = |i: usize| (i * 5 + size) % alone.len();
            let batch: Vec<_> = (0..size).map(|i| self.pictures[number(i)].clone()).collect();
            let found = self.scorer.embed(&batch).unwrap();
            assert_eq!(found.len(), size, "{}", self.name);
            for (i, found) in found.iter().enumerate() {
                self.same_image(found, &alone[number(i)]);
            }
        }
        assert!(self.scorer.embed(&[]).unwrap().is_empty());
    }

    fn many_tags_are_each_tag(&self, image: &ImageFeatures) {
        let tags: Vec<_> =
            (0..40).map(|n| self.scorer.encode_tag(&format!("{} {n}", TAGS[n % TAGS.len()])).unwrap()).collect();
        let together = self.scorer.score(image, &tags).unwrap();
        assert_eq!(together.len(), tags.len());
        for (tag, together) in tags.iter().zip(together) {
            let alone = self.scorer.score(image, std::slice::from_ref(tag)).unwrap().remove(0);
            self.same_score(together.score, alone.score);
        }
    }

    fn threads_do_not_disturb_each_other(&self, alone: &[ImageFeatures]) {
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || {
                    for at in 0..4 {
                        let number = (thread * 3 + at) % alone.len();
                        let found = self.scorer.embed(std::slice::from_ref(&self.pictures[number])).unwrap().remove(0);
                        self.same_image(&found, &alone[number]);
                    }
                });
            }
        });
        // The model must still be on its device: no failure may have moved it to another during the test.
        assert_eq!((self.scorer.device().name, self.scorer.device().precision), self.device);
    }
}

/// The images of `samples` as inputs of the image encoder.
fn pictures(scorer: &Scorer) -> Vec<RgbImage> {
    let mut paths: Vec<_> = std::fs::read_dir(root().join("samples")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| ["jpg", "png", "webp"].iter().any(|known| e == *known)));
    paths.sort();
    assert!(paths.len() >= 10, "{paths:?}");
    let read = |path: &PathBuf| scorer.decode(&std::fs::read(path).unwrap(), &Limits::default()).unwrap();
    paths.iter().map(|path| scorer.encoder_input(&read(path))).collect()
}

/// The repository on the machine that built the program, else the working directory.
fn root() -> PathBuf {
    let built = edge_testing::repository("");
    if built.join("samples").is_dir() { built } else { std::env::current_dir().unwrap() }
}

fn check(model: &Path) {
    for device in DEVICES {
        if let Some(pair) = Pair::of(model, device) {
            pair.check();
        }
    }
}

#[test]
fn every_backend_scores_as_the_cpu_does() {
    match std::env::var_os("EDGE_SCORER_PARITY_MODELS") {
        Some(models) => std::env::split_paths(&models).for_each(|model| check(&model)),
        None => check(&root().join("models/small")),
    }
}

/// Covers patch tokens and text tokens, which the shipped model's head does not read.
#[test]
fn every_backend_scores_as_the_cpu_does_with_a_clip_of_random_weights() {
    use std::process::Command;

    let place = edge_testing::Place::new();
    let trainer = |arguments: &[&str]| {
        let mut command = Command::new(edge_testing::program("edge-trainer"));
        edge_testing::ProgramOutput::of(command.current_dir(place.dir.path()).args(arguments).output().unwrap())
            .expect(0)
    };
    let tiny =
        std::fs::read_to_string(edge_testing::repository("crates/edge-trainer/tests/data/clip_tiny/config.json"))
            .unwrap();
    assert!(tiny.contains("\"vocab_size\": 60") && tiny.contains("\"max_position_embeddings\": 10"));
    let roomy = tiny.replace("\"vocab_size\": 60", "\"vocab_size\": 2000");
    let roomy = roomy.replace("\"max_position_embeddings\": 10", "\"max_position_embeddings\": 40");
    std::fs::write(place.path("size.json"), roomy).unwrap();
    trainer(&["make-data", "clip", "--config", "size.json", "--out", "clip"]);
    let samples = edge_testing::repository("samples");
    trainer(&["make-data", "style", "--images", samples.to_str().unwrap(), "--short-px", "64", "--out", "styles"]);
    let fit = [
        "fit",
        "--data",
        "style:styles",
        "--backbone",
        "clip",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--cache",
        "cache",
        "--out",
        "bundle",
    ];
    trainer(&fit);
    check(&place.path("bundle"));
}
