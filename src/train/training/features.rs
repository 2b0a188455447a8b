//! Encoding all images once, for a training whose encoders are frozen.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::Compute;
use crate::image_input::InputRule;
use crate::train::TrainError;
use crate::train::cache::FeatureCache;
use crate::train::dataset::Example;
use crate::train::loader::{Job, Loader, View};
use crate::train::message::{Listener, Message, note};
use crate::train::model::{ImageBackbone, values};

/// Images per run of the encoder.
const BATCH: usize = 4;

/// Keeps the features of every image that lacks them; where none does, `encoder` is not asked for. It says beforehand how many, how much and, from the first of them, how long.
///
/// # Errors
/// [`TrainError::Image`], [`TrainError::File`].
pub fn keep_features<'a>(
    encoder: impl FnOnce() -> Result<ImageBackbone<Compute>, TrainError>,
    cache: &FeatureCache,
    examples: impl Iterator<Item = &'a Example>,
    (rule, threads): (&InputRule, usize),
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
    let view = View::centre(rule.size_px);
    let chunks: Vec<&[&Example]> = lacking.chunks(BATCH).collect();
    let jobs: Vec<Vec<Job>> = chunks.iter().map(|c| c.iter().map(|e| Job::of(e, view)).collect()).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let encoder = encoder()?;
    listener.on(Message::Begin { what: "encoding images".to_owned(), steps: chunks.len() as u64 });
    let loader = Loader { rule, is_small: false, features: None, threads };
    let started = Instant::now();
    loader.batches(&jobs, |index, images| {
        let output = encoder.forward(images);
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
