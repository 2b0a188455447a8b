//! Encoding all images once, for a training whose encoders are frozen.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::TrainError;
use crate::backbone::Backbone;
use crate::cache::FeatureCache;
use crate::dataset::Example;
use crate::device::{Place, Work};
use crate::loader::{Job, Loader, View};
use crate::message::{Listener, Message, note};
use crate::model::{ModelShape, values};
use edge_model::image_input::InputRule;

/// Images per run of the encoder.
const BATCH: usize = 4;

/// Frozen encoders and how they are given images.
#[derive(Debug, Clone, Copy)]
pub struct Frozen<'a> {
    /// The encoders.
    pub backbone: &'a Backbone,
    /// Shapes of the weights.
    pub shape: &'a ModelShape,
    /// Where they compute.
    pub place: &'a Place,
    /// How images are normalised.
    pub rule: &'a InputRule,
    /// Threads that load.
    pub threads: usize,
}

/// Keeps the features of every image that lacks them; where none does, the encoders are not loaded. It says beforehand how many,
/// how much and, from the first of them, how long.
///
/// # Errors
/// [`TrainError::Image`], [`TrainError::File`], [`TrainError::Backbone`].
pub fn keep_features<'a>(
    frozen: Frozen<'_>,
    cache: &FeatureCache,
    examples: impl Iterator<Item = &'a Example>,
    listener: &mut dyn Listener,
) -> Result<(), TrainError> {
    let mut distinct: BTreeMap<&str, &Example> = BTreeMap::new();
    for example in examples {
        distinct.entry(&example.content_id).or_insert(example);
    }
    let all = distinct.len();
    let lacking: Vec<&Example> = distinct.into_values().filter(|e| !cache.has(&e.content_id)).collect();
    let megabytes = |images: usize| (images * cache.entry_bytes()) as f64 / 1e6;
    note(
        listener,
        format!(
            "features: {} of {all} images are encoded already; the others take {:.1} MB of {:.1} MB in {}",
            all - lacking.len(),
            megabytes(lacking.len()),
            megabytes(all),
            cache.dir().display()
        ),
    );
    if lacking.is_empty() { Ok(()) } else { frozen.place.run(Encoding { frozen, cache, lacking, listener })? }
}

/// The encoding of images, for the device that it is to be done on.
struct Encoding<'a> {
    frozen: Frozen<'a>,
    cache: &'a FeatureCache,
    lacking: Vec<&'a Example>,
    listener: &'a mut dyn Listener,
}

impl Work for Encoding<'_> {
    type Output = Result<(), TrainError>;

    fn on<L: AutodiffBackend>(self, device: &L::Device) -> Self::Output {
        encode::<L::InnerBackend>(self, device)
    }
}

fn encode<B: Backend>(encoding: Encoding<'_>, device: &B::Device) -> Result<(), TrainError> {
    let Encoding { frozen: Frozen { backbone, shape, rule, threads, .. }, cache, lacking, listener } = encoding;
    let view = View::centre(rule.size_px);
    let chunks: Vec<&[&Example]> = lacking.chunks(BATCH).collect();
    let jobs: Vec<Vec<Job>> = chunks.iter().map(|c| c.iter().map(|e| Job::of(e, view)).collect()).collect();
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
            cache.put(&example.content_id, &rows(&embeddings, at), &rows(&patches, at))?;
        }
        if index == 0 && chunks.len() > 1 {
            let left = started.elapsed() * (chunks.len() - 1) as u32;
            note(listener, format!("encoding the rest takes about {}", about(left)));
        }
        listener.on(Message::Step { measure: String::new() });
        Ok(ControlFlow::Continue(()))
    })?;
    listener.on(Message::End);
    Ok(())
}

fn about(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
