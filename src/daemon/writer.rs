//! The writer thread: the one that changes the database. Commits are batched by count and by time, because each of them writes
//! whole pages to flash memory: a single image is committed at once, a stream of them once in an interval.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use jiff::Timestamp;

use crate::config::StoreSettings;
use crate::store::{
    Batch, FileState, ImageId, ModelId, NewEmbedding, NewFailure, NewImage, NewScore, RetryPolicy, Store, StoreError,
    TagReason,
};
use edge_model::scorer::Scored;

use super::counters::Counters;
use super::decoder;
use super::in_flight::InFlight;
use super::live::LastImage;
use super::shutdown::StopToken;
use super::work::{Candidate, NewPicture, Outcome, TagResult};

/// Longest wait between two tries of a commit that may succeed later (full disk, locked database).
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// While so many files are in work nobody waits for a single one of them,
const CROWD: usize = 64;
/// and commits may be up to so many intervals apart.
const CROWD_INTERVALS: u32 = 4;

/// After so many attempts a file that kills its decoder, or holds it up, is quarantined.
const TWICE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// What the writer thread holds.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) settings: StoreSettings,
    pub(super) model_id: ModelId,
    pub(super) encoder_digest: String,
    pub(super) outcomes: Receiver<Outcome>,
    pub(super) in_flight: InFlight,
    pub(super) counters: Arc<Counters>,
    pub(super) last_image: LastImage,
    pub(super) stop: StopToken,
}

impl Writer {
    /// Works until the outcomes end and everything is committed.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        let mut buffer: Vec<Outcome> = Vec::new();
        // Counted from the last commit: what comes after a while without any does not wait.
        let mut last: Option<Instant> = None;
        // Grows while a crowd is in work, so that a daemon that is killed again and again still gets on.
        let mut intervals = 1;
        loop {
            let is_crowd = self.in_flight.len() >= CROWD + buffer.len();
            let wait = self.settings.commit_interval * if is_crowd { intervals } else { 1 };
            let due = last.map_or_else(Instant::now, |last| last + wait);
            let next = if buffer.is_empty() {
                self.outcomes.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.outcomes.recv_deadline(due)
            };
            match next {
                Ok(outcome) => buffer.push(outcome),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.commit(&mut buffer)?;
                    self.store.checkpoint()?;
                    return Ok(());
                }
            }
            if buffer.len() >= self.settings.commit_images || Instant::now() >= due {
                // A directory that is away is noted at every scan, mostly without a change: nothing has to wait for that.
                let writes = buffer.iter().any(|outcome| !matches!(outcome, Outcome::Offline { .. }));
                self.commit(&mut buffer)?;
                if writes {
                    last = Some(Instant::now());
                    intervals = if is_crowd { (intervals * 2).min(CROWD_INTERVALS) } else { 1 };
                }
            }
        }
    }

    /// Commits, waiting out what passes by itself. When the daemon is asked to stop meanwhile the error is returned: nothing
    /// is lost, because what is not in the database is found again.
    fn commit(&mut self, buffer: &mut Vec<Outcome>) -> Result<(), StoreError> {
        let mut wait = Duration::from_secs(1);
        while let Err(error) = self.try_commit(buffer) {
            if !error.is_transient() || self.stop.is_stopped() {
                return Err(error);
            }
            log::warn!("{} results wait for their commit, next try in {wait:?}: {error}", buffer.len());
            let _ = self.stop.channel().recv_timeout(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        for outcome in buffer.drain(..) {
            // Said when it is recorded, once, however often the commit was tried.
            if let Outcome::Failed { candidate, failure } = &outcome {
                log::warn!("{}: {}", candidate.path.display(), failure.error);
            }
            if let Outcome::Scored { picture, .. } = &outcome {
                let last = (picture.candidate.path.clone(), Timestamp::now());
                *self.last_image.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            }
            if let Some(candidate) = outcome.candidate() {
                self.in_flight.finish(&candidate.path, matches!(outcome, Outcome::Dropped { again: true, .. }));
            }
        }
        Ok(())
    }

    fn try_commit(&mut self, buffer: &[Outcome]) -> Result<(), StoreError> {
        Counters::add(&self.counters.commits, 1);
        let now = Timestamp::now();
        let mut done = Done::default();
        let batch = self.store.begin()?;
        let recorder = Recorder {
            batch: &batch,
            settings: &self.settings,
            model: self.model_id,
            encoder: &self.encoder_digest,
            now,
        };
        for outcome in buffer {
            recorder.record(outcome, &mut done)?;
        }
        batch.commit()?;
        let counters = &self.counters;
        Counters::add(&counters.scored, done.scored);
        Counters::add(&counters.linked, done.linked);
        Counters::add(&counters.failed, done.failed);
        Counters::add(&counters.dropped, done.dropped);
        Counters::add(&counters.backfilled, done.backfilled);
        Ok(())
    }
}

#[derive(Default)]
struct Done {
    scored: u64,
    linked: u64,
    failed: u64,
    dropped: u64,
    backfilled: u64,
}

struct Recorder<'a> {
    batch: &'a Batch<'a>,
    settings: &'a StoreSettings,
    model: ModelId,
    encoder: &'a str,
    now: Timestamp,
}

impl Recorder<'_> {
    fn record(&self, outcome: &Outcome, done: &mut Done) -> Result<(), StoreError> {
        match outcome {
            Outcome::Scored { picture, embedding, tags } => {
                let known = self.batch.image_by_content(&picture.content_id)?;
                let again = known.is_some_and(|image| image.encoder_digest.as_deref() == Some(self.encoder));
                let image = self.record_image(picture, embedding)?;
                self.record_tags(image, tags)?;
                self.record_file(&picture.candidate, image)?;
                if again { done.linked += 1 } else { done.scored += 1 }
            }
            Outcome::Linked { candidate, image_id, tags } => {
                self.record_tags(*image_id, tags)?;
                self.record_file(candidate, *image_id)?;
                done.linked += 1;
            }
            Outcome::Failed { candidate, failure } => {
                let ledger = NewFailure {
                    path: &candidate.path,
                    stage: failure.stage,
                    error: &failure.error,
                    size_bytes: candidate.size_bytes,
                    mtime_ns: candidate.mtime_ns,
                };
                self.batch.record_failure(&ledger, &self.retry_policy(failure.stage), self.now)?;
                done.failed += 1;
            }
            Outcome::Dropped { .. } => done.dropped += 1,
            Outcome::Backfilled { tag_id, reason, scores } => {
                for (image, scored) in scores {
                    if let Some(reason) = reason {
                        self.batch.record_image_tag(*image, *tag_id, *reason, None)?;
                    }
                    self.batch.record_score(*image, *tag_id, self.model, &new_score(scored), self.now)?;
                }
                done.backfilled += scores.len() as u64;
            }
            Outcome::Presence { paths, state } => {
                self.batch.set_file_state(paths, *state, self.now)?;
                if *state == FileState::Missing {
                    // A file that is gone cannot fail any more.
                    paths.iter().try_for_each(|path| self.batch.clear_failure(path))?;
                }
            }
            Outcome::Offline { root } => {
                self.batch.set_offline_under(root, self.now)?;
            }
            Outcome::Device(device) => {
                self.batch.set_device(self.model, device.name, &device.precision.to_string(), &device.reason)?;
            }
        }
        Ok(())
    }

    /// What has killed or held up a decoder twice would do so for ever.
    fn retry_policy(&self, stage: &str) -> RetryPolicy {
        let retry = self.settings.retry;
        let most = if [decoder::CRASH, decoder::TIME].contains(&stage) { TWICE } else { retry.max_attempts };
        RetryPolicy { max_attempts: most.min(retry.max_attempts), ..retry }
    }

    fn record_image(&self, picture: &NewPicture, embedding: &[half::f16]) -> Result<ImageId, StoreError> {
        let captured_at = picture.picture.metadata.captured_at.as_deref().and_then(|t| t.parse().ok());
        let image = NewImage {
            content_id: picture.content_id,
            size_bytes: picture.candidate.size_bytes,
            format: picture.picture.format,
            width_px: picture.picture.width_px,
            height_px: picture.picture.height_px,
            captured_at,
            embedding: Some(NewEmbedding { values: embedding, encoder_digest: self.encoder }),
            brightness: Some(picture.picture.measures.brightness),
            contrast: Some(picture.picture.measures.contrast),
            sharpness: Some(picture.picture.measures.sharpness),
        };
        self.batch.record_image(&image, self.now)
    }

    fn record_tags(&self, image: ImageId, tags: &[TagResult]) -> Result<(), StoreError> {
        for tag in tags {
            let tag_id = self.batch.tag_id(&tag.text)?;
            let confidence = tag.confidence.filter(|_| tag.reason == TagReason::Similarity);
            self.batch.record_image_tag(image, tag_id, tag.reason, confidence)?;
            self.batch.record_score(image, tag_id, self.model, &new_score(&tag.scored), self.now)?;
        }
        Ok(())
    }

    fn record_file(&self, candidate: &Candidate, image: ImageId) -> Result<(), StoreError> {
        self.batch.record_file(&candidate.path, image, candidate.size_bytes, candidate.mtime_ns, self.now)?;
        self.batch.clear_failure(&candidate.path)
    }
}

fn new_score(scored: &Scored) -> NewScore {
    NewScore { score: scored.score, similarity: Some(scored.similarity), percentile: scored.percentile }
}

impl Outcome {
    /// The file that this outcome finishes.
    fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Scored { picture, .. } => Some(&picture.candidate),
            Self::Linked { candidate, .. } | Self::Failed { candidate, .. } | Self::Dropped { candidate, .. } => {
                Some(candidate)
            }
            Self::Backfilled { .. } | Self::Presence { .. } | Self::Offline { .. } | Self::Device(_) => None,
        }
    }
}
