//! Encodes all images once, for a training that does not change the encoders.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use burn::tensor::backend::{AutodiffBackend, Backend};
use edge_model::image_input::InputRule;

use super::error::LearnError;
use crate::backbone::Backbone;
use crate::cache::FeatureCache;
use crate::dataset::Example;
use crate::device::{DeviceTask, TrainDevice};
use crate::loader::{Crop, LoadError, LoadJob, Loader};
use crate::message::{Listener, Message, note};
use crate::model::{ModelShape, values};

/// Images per batch of the encoder.
const BATCH: usize = 4;

/// Encoders that are not trained, and the form of their input.
#[derive(Debug, Clone, Copy)]
pub struct FrozenEncoders<'a> {
    /// The encoders and where their weights are.
    pub backbone: &'a Backbone,
    /// Kinds and sizes of the networks, which determine the shapes of the weights.
    pub shape: &'a ModelShape,
    /// The device that the encoders run on.
    pub device: &'a TrainDevice,
    /// How images are resized and normalised.
    pub rule: &'a InputRule,
    /// Number of threads that load images.
    pub threads: usize,
}

/// Encodes the images that are not in the cache and adds their features to it. If the cache has all images, the
/// encoders are not loaded. Reports the numbers of images and bytes to the listener at the start, and the expected time
/// after the first batch.
///
/// # Errors
/// [`LearnError::Load`], [`LearnError::Backbone`], [`LearnError::Device`].
pub fn keep_features<'a>(
    frozen: FrozenEncoders<'_>,
    cache: &FeatureCache,
    examples: impl Iterator<Item = &'a Example>,
    listener: &mut dyn Listener,
) -> Result<(), LearnError> {
    let mut distinct: BTreeMap<&str, &Example> = BTreeMap::new();
    for example in examples {
        distinct.entry(&example.content_id).or_insert(example);
    }
    let all = distinct.len();
    let missing: Vec<&Example> = distinct.into_values().filter(|e| !cache.has(&e.content_id)).collect();
    let megabytes = |images: usize| (images * cache.entry_bytes()) as f64 / 1e6;
    note(
        listener,
        format!(
            "features: {} of {all} images are already encoded. Encoding the others adds {:.1} MB to {}, which then \
             holds {:.1} MB for these images",
            all - missing.len(),
            megabytes(missing.len()),
            cache.dir().display(),
            megabytes(all)
        ),
    );
    if missing.is_empty() { Ok(()) } else { frozen.device.run(EncodingTask { frozen, cache, missing, listener })? }
}

struct EncodingTask<'a> {
    frozen: FrozenEncoders<'a>,
    cache: &'a FeatureCache,
    missing: Vec<&'a Example>,
    listener: &'a mut dyn Listener,
}

impl DeviceTask for EncodingTask<'_> {
    type Output = Result<(), LearnError>;

    fn run<L: AutodiffBackend>(self, device: &L::Device) -> Self::Output {
        encode::<L::InnerBackend>(self, device)
    }
}

fn encode<B: Backend>(encoding: EncodingTask<'_>, device: &B::Device) -> Result<(), LearnError> {
    let EncodingTask { frozen, cache, missing, listener } = encoding;
    let FrozenEncoders { backbone, shape, rule, threads, .. } = frozen;
    let chunks: Vec<&[&Example]> = missing.chunks(BATCH).collect();
    let jobs: Vec<Vec<LoadJob>> =
        chunks.iter().map(|c| c.iter().map(|e| LoadJob::of(e, Crop::AsScored)).collect()).collect();
    let encoder = backbone.model::<B>(shape, device)?.image;
    listener.on(Message::Begin { what: "encoding images".to_owned(), steps: chunks.len() as u64 });
    let loader = Loader { rule, features: None, threads };
    let started = Instant::now();
    loader.batches(&jobs, |index, images| {
        let output = encoder.forward(images.carry(device));
        let embeddings = values(output.embedding);
        let patches = output.patches.map(values).filter(|_| cache.keeps_patches()).unwrap_or_default();
        let count = chunks[index].len();
        let rows = |v: &[f32], at: usize| v[at * v.len() / count..(at + 1) * v.len() / count].to_vec();
        for (at, example) in chunks[index].iter().enumerate() {
            let (embedding, patches) = (rows(&embeddings, at), rows(&patches, at));
            cache.put(&example.content_id, &embedding, &patches).map_err(LoadError::from)?;
        }
        if index == 0 && chunks.len() > 1 {
            let left = started.elapsed() * (chunks.len() - 1) as u32;
            note(listener, format!("encoding the other images takes about {}", about(left)));
        }
        listener.on(Message::Advance { measure: String::new() });
        Ok::<_, LearnError>(ControlFlow::Continue(()))
    })?;
    listener.on(Message::End);
    Ok(())
}

/// The time in words, to the second or the minute.
fn about(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
