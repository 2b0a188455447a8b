//! Tests of the failover on a device that fails on command. That device is the CPU under another name.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use half::f16;
use ndarray::{ArrayD, Axis};

use super::failover::Failover;
use super::model::Model;
use super::replay::prove;
use super::{ImageEmbedding, ImageFeatures, Scorer, ScorerError};
use crate::backend::choice::on_cpu;
use crate::backend::{
    Backend, BackendError, BackendOptions, BatchSize, ChosenBackend, DeviceChoice, Graph, GraphFile, Input, Policy,
    Precision,
};
use crate::image_input::RgbImage;

/// How the device fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// All values of this graph's first output are too large by one.
    Wrong(&'static str),
    /// The last row of this graph's first output is NaN.
    NotANumber(&'static str),
    /// This graph fails this many times and then works.
    Fails(&'static str, usize),
}

#[derive(Clone)]
struct Faulty(Arc<Mutex<Fault>>);

impl Backend for Faulty {
    fn device(&self) -> &'static str {
        "faulty"
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn policy(&self) -> Policy {
        Policy { image_batch: 4, streams: 1, needs_known_answers: true }
    }

    fn load(&self, file: GraphFile<'_>, onnx: Vec<u8>, batch: BatchSize) -> Result<Box<dyn Graph>, BackendError> {
        let graph = on_cpu(String::new(), &BackendOptions::default()).backend.load(file, onnx, batch)?;
        Ok(Box::new(FaultyGraph { name: file.name.to_owned(), graph, fault: Arc::clone(&self.0) }))
    }
}

struct FaultyGraph {
    name: String,
    graph: Box<dyn Graph>,
    fault: Arc<Mutex<Fault>>,
}

impl Graph for FaultyGraph {
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError> {
        let mut outputs = self.graph.run(inputs)?;
        let mut fault = self.fault.lock().unwrap();
        match &mut *fault {
            Fault::Wrong(name) if *name == self.name => outputs[0] += 1.0,
            Fault::NotANumber(name) if *name == self.name => {
                let last = outputs[0].len_of(Axis(0)) - 1;
                outputs[0].index_axis_mut(Axis(0), last).fill(f32::NAN);
            }
            Fault::Fails(name, times) if *name == self.name && *times > 0 => {
                *times -= 1;
                let reason = "out of memory".to_owned();
                return Err(BackendError::Run { device: "faulty".to_owned(), graph: self.name.clone(), reason });
            }
            _ => {}
        }
        Ok(outputs)
    }
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/small")
}

/// The shipped model on a faulty device, and the fault, which the test can change.
fn scorer(choice: DeviceChoice) -> (Scorer, Arc<Mutex<Fault>>) {
    let model = Arc::new(Model::open(&shipped()).unwrap());
    let fault = Arc::new(Mutex::new(Fault::None));
    let chosen = ChosenBackend { backend: Box::new(Faulty(Arc::clone(&fault))), reason: "a test".to_owned() };
    let first = prove(Arc::clone(&model), chosen).unwrap();
    (
        Scorer {
            model,
            failover: Failover::new(choice, BackendOptions::default(), first),
            known_tags: OnceLock::new(),
            known_words: OnceLock::new(),
        },
        fault,
    )
}

fn pixels(scorer: &Scorer, value: f32) -> RgbImage {
    let pattern = |x: u32, y: u32, c: u32| 30.0 + 40.0 * value * ((c + y / 9 + x / 7) % 5) as f32;
    let (width, height) = scorer.manifest().image_input.input_size();
    RgbImage::from_fn(width, height, |x, y| [0, 1, 2].map(|c| pattern(x, y, c) as u8).into())
}

/// Runs all three graphs: encodes an image and a tag and scores them.
fn run_all(scorer: &Scorer) -> Result<(ImageFeatures, f32), ScorerError> {
    let image = scorer.embed(&[pixels(scorer, 0.5)])?.remove(0);
    let tag = scorer.encode_tag("a lake in winter")?;
    let score = scorer.score(&image, &[tag])?[0].score;
    Ok((image, score))
}

/// Whether two embeddings are equal up to rounding. Sums in a batch of another size are rounded differently, and embeddings are
/// rounded to f16.
fn are_close(a: &ImageFeatures, b: &ImageFeatures) -> bool {
    let pairs = a.embedding.0.iter().zip(&b.embedding.0).map(|(a, b)| (a.to_f32(), b.to_f32()));
    pairs.into_iter().all(|(a, b)| (a - b).abs() < 2e-3 * a.abs().max(1.0))
}

const GRAPHS: [&str; 3] = ["image_encoder.onnx", "text_encoder.onnx", "quality_head.onnx"];

#[test]
fn whichever_graph_fails_the_cpu_takes_over_with_the_right_result() {
    let expected = run_all(&scorer(DeviceChoice::Auto).0).unwrap();
    let [image, text, head] = GRAPHS;
    let faults =
        [Fault::Wrong(image), Fault::Wrong(text), Fault::Wrong(head), Fault::NotANumber(text), Fault::Fails(head, 2)];
    for fault in faults {
        let (scorer, now) = scorer(DeviceChoice::Auto);
        *now.lock().unwrap() = fault;
        let (image, score) = run_all(&scorer).unwrap();
        assert!(are_close(&image, &expected.0), "{fault:?}");
        assert!((score - expected.1).abs() < 1e-4, "{fault:?}: {score} and {}", expected.1);
        let device = scorer.device();
        assert_eq!(device.name, "cpu", "{fault:?}");
        assert!(device.reason.starts_with("fallback: faulty failed twice in use: "), "{device}");
        if let Fault::Wrong(graph) | Fault::Fails(graph, _) = fault {
            assert!(device.reason.contains(graph), "{device}");
        }
        assert_eq!(scorer.policy().image_batch, 1);
    }
}

#[test]
fn a_device_that_works_at_the_second_try_stays_in_use() {
    let (scorer, fault) = scorer(DeviceChoice::Auto);
    for graph in GRAPHS {
        *fault.lock().unwrap() = Fault::Fails(graph, 1);
        run_all(&scorer).unwrap();
        assert_eq!(scorer.device().name, "faulty");
    }
}

#[test]
fn an_input_that_gives_nan_on_every_device_does_not_replace_the_device() {
    let (scorer, _) = scorer(DeviceChoice::Auto);
    let tag = scorer.encode_tag("a lake in winter").unwrap();
    let image = ImageFeatures::from(ImageEmbedding(vec![f16::INFINITY; scorer.manifest().architecture.embedding_dim]));
    assert!(matches!(scorer.score(&image, &[tag]), Err(ScorerError::NotFinite(_))));
    assert_eq!(scorer.device().name, "faulty");
    run_all(&scorer).unwrap();
}

#[test]
fn a_device_that_was_chosen_explicitly_is_not_replaced() {
    for graph in GRAPHS {
        let (scorer, fault) = scorer(DeviceChoice::Cuda);
        *fault.lock().unwrap() = Fault::Wrong(graph);
        let error = run_all(&scorer).unwrap_err();
        assert!(matches!(error, ScorerError::DeviceFailed { .. }), "{error:?}");
        assert!(error.to_string().contains(graph), "{error}");
        // NaN beside a right known answer is a failure of that image alone.
        *fault.lock().unwrap() = Fault::NotANumber(graph);
        assert!(matches!(run_all(&scorer), Err(ScorerError::NotFinite(_))));
        *fault.lock().unwrap() = Fault::None;
        run_all(&scorer).unwrap();
        assert_eq!(scorer.device().name, "faulty");
    }
}

#[test]
fn batches_of_any_size_give_the_same_embeddings_as_single_images() {
    let (scorer, _) = scorer(DeviceChoice::Auto);
    let images: Vec<_> = (0..9).map(|n| pixels(&scorer, 0.1 * n as f32)).collect();
    let together = scorer.embed(&images).unwrap();
    assert_eq!(together.len(), 9);
    for (image, together) in images.iter().zip(&together) {
        assert!(are_close(&scorer.embed(std::slice::from_ref(image)).unwrap()[0], together));
    }
}

/// The CPU with a cache that holds a wrong graph of this name.
struct WrongCache(&'static str);

impl Backend for WrongCache {
    fn device(&self) -> &'static str {
        "cpu"
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn policy(&self) -> Policy {
        Policy { image_batch: 1, streams: 1, needs_known_answers: false }
    }

    fn load_prepared(&self, file: GraphFile<'_>, batch: BatchSize) -> Option<Box<dyn Graph>> {
        let onnx = std::fs::read(shipped().join(file.name)).unwrap();
        let graph = self.load(file, onnx, batch).unwrap();
        let fault = Arc::new(Mutex::new(Fault::Wrong(self.0)));
        (file.name == self.0)
            .then(|| Box::new(FaultyGraph { name: file.name.to_owned(), graph, fault }) as Box<dyn Graph>)
    }

    fn load(&self, file: GraphFile<'_>, onnx: Vec<u8>, batch: BatchSize) -> Result<Box<dyn Graph>, BackendError> {
        on_cpu(String::new(), &BackendOptions::default()).backend.load(file, onnx, batch)
    }
}

#[test]
fn a_graph_in_the_cache_that_contradicts_the_bundle_is_prepared_again() {
    let model = Arc::new(Model::open(&shipped()).unwrap());
    for graph in GRAPHS {
        let chosen = ChosenBackend { backend: Box::new(WrongCache(graph)), reason: "a test".to_owned() };
        let on_device = prove(Arc::clone(&model), chosen).unwrap();
        assert!(!on_device.from_cache && on_device.replay.violation(&on_device.tolerance()).is_none(), "{graph}");
    }
}
