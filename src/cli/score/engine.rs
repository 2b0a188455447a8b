//! Scores chunks of pairs; decodes and embeds each image of a list once, whatever the number of its tags.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::pairs::Pair;
use edge_model::image_input::{Limits, RgbImage, read_file};
use edge_model::scorer::{EncodedTag, ImageFeatures, Scored, Scorer, ScorerError};

/// Embeddings and tags that are remembered: a list may name an image again much later.
const REMEMBERED: usize = 8192;
/// Images that are remembered with their patches, of which each takes a hundred kilobytes and more.
const REMEMBERED_WITH_PATCHES: usize = 256;

type Result<T> = std::result::Result<T, String>;

pub(super) struct Engine {
    scorer: Scorer,
    limits: Limits,
    threads: usize,
    images: HashMap<PathBuf, Result<ImageFeatures>>,
    tags: HashMap<String, Result<EncodedTag>>,
}

impl Engine {
    pub(super) fn new(scorer: Scorer, limits: Limits, threads: usize) -> Self {
        Self { scorer, limits, threads, images: HashMap::new(), tags: HashMap::new() }
    }

    /// The result of each pair, in order.
    pub(super) fn score(&mut self, pairs: &[Pair]) -> Vec<Result<Scored>> {
        self.embed(pairs);
        for pair in pairs.iter().filter(|p| p.problem.is_none()) {
            if !self.tags.contains_key(&pair.tag) {
                let encoded = self.scorer.encode_tag(&pair.tag).map_err(|e| e.to_string());
                if let Ok(encoded) = &encoded {
                    self.scorer.warn_of_foreign(encoded);
                }
                self.tags.insert(pair.tag.clone(), encoded);
            }
        }
        let results = self.run_head(pairs);
        if self.images.len() > if self.scorer.needs_images() { REMEMBERED_WITH_PATCHES } else { REMEMBERED } {
            self.images.clear();
        }
        if self.tags.len() > REMEMBERED {
            self.tags.clear();
        }
        results
    }

    fn run_head(&self, pairs: &[Pair]) -> Vec<Result<Scored>> {
        let sides: Vec<Result<(&ImageFeatures, &EncodedTag)>> = pairs.iter().map(|pair| self.sides(pair)).collect();
        let usable: Vec<_> = sides.iter().filter_map(|s| s.as_ref().ok().copied()).collect();
        let text = |error: ScorerError| error.to_string();
        let mut scored = self.scorer.score_each(&usable).map_err(text).map(Vec::into_iter);
        let missing = || Err("the model gave no score for this row".to_owned());
        let mut next = || scored.as_mut().map_err(|e| e.clone())?.next().map_or_else(missing, |s| s.map_err(text));
        sides.into_iter().map(|side| side.and_then(|_| next())).collect()
    }

    fn sides(&self, pair: &Pair) -> Result<(&ImageFeatures, &EncodedTag)> {
        if let Some(problem) = &pair.problem {
            return Err(problem.clone());
        }
        let lost = || "the row was lost: this is a defect, please report it".to_owned();
        let image = self.images.get(&pair.file).ok_or_else(lost)?.as_ref().map_err(Clone::clone)?;
        let tag = self.tags.get(&pair.tag).ok_or_else(lost)?.as_ref().map_err(Clone::clone)?;
        Ok((image, tag))
    }

    fn embed(&mut self, pairs: &[Pair]) {
        let mut new: Vec<&Path> = Vec::new();
        for pair in pairs.iter().filter(|p| p.problem.is_none()) {
            if !self.images.contains_key(&pair.file) && !new.contains(&pair.file.as_path()) {
                new.push(&pair.file);
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
                self.images.extend(decoded.into_iter().map(|path| (path, Err(error.to_string()))));
            }
            // One image must not fail the others.
            Err(_) => {
                for (path, input) in decoded.into_iter().zip(&inputs) {
                    let alone = self.scorer.embed(std::slice::from_ref(input));
                    let result = alone.map_err(|e| e.to_string()).and_then(|mut e| e.pop().ok_or_else(String::new));
                    self.images.insert(path, result);
                }
            }
        }
    }

    fn decode_all(&self, paths: &[&Path]) -> Vec<Result<RgbImage>> {
        let share = paths.len().div_ceil(self.threads).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = paths
                .chunks(share)
                .map(|mine| scope.spawn(move || mine.iter().map(|path| self.decode(path)).collect::<Vec<_>>()))
                .collect();
            workers
                .into_iter()
                .zip(paths.chunks(share))
                .flat_map(|(worker, mine)| {
                    let panicked = |_| mine.iter().map(|_| Err("the decoder has panicked".to_owned())).collect();
                    worker.join().unwrap_or_else(panicked)
                })
                .collect()
        })
    }

    fn decode(&self, path: &Path) -> Result<RgbImage> {
        let decoded = read_file(path, &self.limits).and_then(|bytes| self.scorer.decode(&bytes, &self.limits));
        decoded.map(|picture| self.scorer.square(&picture)).map_err(|e| e.to_string())
    }
}
