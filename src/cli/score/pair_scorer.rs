//! Scores the rows of a list of pairs in chunks. Each image is decoded and embedded once, whatever the number of its tags.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pairs::{PairError, PairRow};
use crate::config::Settings;
use crate::decoder::Decoder;
use edge_model::image_input::{ImageError, RgbImage, open_file};
use edge_model::scorer::{EncodedTag, ImageFeatures, Scored, Scorer, ScorerError};

/// Number of image embeddings and of encoded tags to cache. A list may name an image again much later.
const CACHE_CAPACITY: usize = 8192;
/// Number of images to cache if the head needs their patches. Patches take a hundred kilobytes or more per image.
const CACHE_CAPACITY_WITH_PATCHES: usize = 256;

type Result<T> = std::result::Result<T, PairError>;

pub(super) struct PairScorer {
    scorer: Scorer,
    /// One for each decoding thread.
    decoders: Vec<Decoder>,
    images: HashMap<PathBuf, Result<ImageFeatures>>,
    tags: HashMap<String, Result<EncodedTag>>,
}

impl PairScorer {
    pub(super) fn new(scorer: Scorer, settings: &Settings) -> Self {
        let Settings { limits, decode_timeout, decode_threads, .. } = settings;
        let decoder = |_| Decoder::new(&scorer.manifest().image_input, limits, *decode_timeout);
        let decoders = (0..*decode_threads).map(decoder).collect();
        Self { scorer, decoders, images: HashMap::new(), tags: HashMap::new() }
    }

    /// Returns the result of each row, in order.
    pub(super) fn score(&mut self, rows: &[PairRow]) -> Vec<Result<Scored>> {
        self.embed(rows);
        self.encode_tags(rows);
        let results = self.run_head(rows);
        if self.images.len() > if self.scorer.needs_images() { CACHE_CAPACITY_WITH_PATCHES } else { CACHE_CAPACITY } {
            self.images.clear();
        }
        if self.tags.len() > CACHE_CAPACITY {
            self.tags.clear();
        }
        results
    }

    fn run_head(&self, rows: &[PairRow]) -> Vec<Result<Scored>> {
        let pairs: Vec<Result<(&ImageFeatures, &EncodedTag)>> = rows.iter().map(|row| self.pair(row)).collect();
        let usable: Vec<_> = pairs.iter().filter_map(|pair| pair.as_ref().ok().copied()).collect();
        let mut scored = self.scorer.score_each(&usable).map(Vec::into_iter).map_err(PairError::from);
        let mut next = || match &mut scored {
            Ok(scores) => scores.next().map_or(Err(PairError::Unscored), |score| score.map_err(PairError::from)),
            Err(error) => Err(error.clone()),
        };
        pairs.into_iter().map(|pair| pair.and_then(|_| next())).collect()
    }

    /// Looks up the image and the tag of a row.
    fn pair(&self, row: &PairRow) -> Result<(&ImageFeatures, &EncodedTag)> {
        if let Some(problem) = &row.problem {
            return Err(problem.clone());
        }
        let image = self.images.get(&row.file).ok_or(PairError::Unscored)?.as_ref().map_err(Clone::clone)?;
        let tag = self.tags.get(&row.tag).ok_or(PairError::Unscored)?.as_ref().map_err(Clone::clone)?;
        Ok((image, tag))
    }

    /// Encodes the tags that are not cached.
    fn encode_tags(&mut self, rows: &[PairRow]) {
        for row in rows.iter().filter(|row| row.problem.is_none()) {
            if !self.tags.contains_key(&row.tag) {
                let encoded = self.scorer.encode_tag(&row.tag).map_err(PairError::from);
                if let Ok(encoded) = &encoded {
                    self.scorer.warn_if_unknown(encoded);
                }
                self.tags.insert(row.tag.clone(), encoded);
            }
        }
    }

    /// Decodes and embeds the images that are not cached.
    fn embed(&mut self, rows: &[PairRow]) {
        let mut new: Vec<&Path> = Vec::new();
        for row in rows.iter().filter(|row| row.problem.is_none()) {
            if !self.images.contains_key(&row.file) && !new.contains(&row.file.as_path()) {
                new.push(&row.file);
            }
        }
        let (mut decoded, mut inputs) = (Vec::new(), Vec::new());
        for (path, result) in new.iter().zip(self.decode_all(&new)) {
            match result {
                Ok(input) => {
                    decoded.push(path.to_path_buf());
                    inputs.push(input);
                }
                Err(error) => drop(self.images.insert(path.to_path_buf(), Err(error))),
            }
        }
        match self.scorer.embed(&inputs) {
            Ok(embeddings) => self.images.extend(decoded.into_iter().zip(embeddings.into_iter().map(Ok))),
            Err(error @ ScorerError::DeviceFailed { .. }) => {
                let error = PairError::from(error);
                self.images.extend(decoded.into_iter().map(|path| (path, Err(error.clone()))));
            }
            // A failure of one image must not fail the others, so each image is embedded alone.
            Err(_) => {
                for (path, input) in decoded.into_iter().zip(&inputs) {
                    let alone = self.scorer.embed(std::slice::from_ref(input)).map_err(PairError::from);
                    self.images.insert(path, alone.and_then(|mut images| images.pop().ok_or(PairError::Unscored)));
                }
            }
        }
    }

    fn decode_all(&mut self, paths: &[&Path]) -> Vec<Result<RgbImage>> {
        let share = paths.len().div_ceil(self.decoders.len()).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = paths
                .chunks(share)
                .zip(&mut self.decoders)
                .map(|(chunk, decoder)| {
                    scope.spawn(|| chunk.iter().map(|path| decode(decoder, path)).collect::<Vec<_>>())
                })
                .collect();
            workers
                .into_iter()
                .zip(paths.chunks(share))
                .flat_map(|(worker, chunk)| {
                    let panicked = |_| chunk.iter().map(|_| Err(PairError::DecoderPanicked)).collect();
                    worker.join().unwrap_or_else(panicked)
                })
                .collect()
        })
    }
}

fn decode(decoder: &mut Decoder, path: &Path) -> Result<RgbImage> {
    let file = open_file(path)?;
    let size_bytes = file.metadata().map_err(|error| ImageError::from(&error))?.len();
    decoder.read(&file, size_bytes)?;
    Ok(decoder.picture()?.input)
}

impl From<ScorerError> for PairError {
    fn from(error: ScorerError) -> Self {
        Self::Scorer(Arc::new(error))
    }
}
