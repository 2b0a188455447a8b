//! The writer thread, the only thread that changes the database while the pipeline runs. Each commit writes whole pages to flash memory, so
//! commits are batched by count and by time. A single image is committed at once. Images in quick succession are committed once per
//! interval.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select};
use jiff::Timestamp;

use crate::clock::SharedClock;
use crate::config::StoreSettings;
use crate::store::{
    Batch, FileState, ImageId, ModelId, NewEmbedding, NewFailure, NewImage, NewScore, RetryPolicy, Stage, Store,
    StoreError, TagReason,
};
use edge_model::scorer::Scored;

use super::counters::Counters;
use super::in_flight::InFlight;
use super::live::LastImage;
use super::shutdown::StopToken;
use super::work::{Candidate, NewPicture, Outcome, TagResult};

/// Longest wait between two attempts of a commit after a transient error, such as a full disk or a locked database.
const MAX_COMMIT_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Number of files in flight from which the commit interval increases. Files in the writer's buffer are not counted.
const BUSY_IN_FLIGHT: usize = 64;
/// Largest factor by which the commit interval increases.
const MAX_INTERVAL_FACTOR: u32 = 4;

/// Number of attempts after which a file that crashes its decoder or exceeds its time limit is quarantined.
const MAX_DECODER_ATTEMPTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// The state of the writer thread.
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
    pub(super) clock: SharedClock,
}

impl Writer {
    /// Runs until the channel of outcomes is closed and everything is committed.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        let mut buffer: Vec<Outcome> = Vec::new();
        // Time of the last commit. An outcome that arrives after a longer pause is committed at once.
        let mut last: Option<Duration> = None;
        // Doubles from 1 while many files are in flight, so that even a daemon that is killed repeatedly commits some results.
        let mut interval_factor = 1;
        loop {
            let is_busy = self.in_flight.len() >= BUSY_IN_FLIGHT + buffer.len();
            let wait = self.settings.commit_interval * if is_busy { interval_factor } else { 1 };
            let due = last.map_or_else(|| self.now(), |last| last + wait);
            let timer = if buffer.is_empty() { never() } else { self.clock.timer(due) };
            select! {
                recv(self.outcomes) -> next => match next {
                    Ok(outcome) => buffer.push(outcome),
                    Err(_) => {
                        self.commit(&mut buffer)?;
                        self.store.checkpoint()?;
                        return Ok(());
                    }
                },
                recv(timer) -> _ => {}
            }
            if buffer.len() >= self.settings.commit_images || self.now() >= due {
                // Every survey records an offline directory, usually without a change. Such a commit does not delay the next one.
                let writes = buffer.iter().any(|outcome| !matches!(outcome, Outcome::Offline { .. }));
                self.commit(&mut buffer)?;
                if writes {
                    last = Some(self.now());
                    interval_factor = if is_busy { (interval_factor * 2).min(MAX_INTERVAL_FACTOR) } else { 1 };
                }
            }
        }
    }

    /// Commits, and retries after transient errors. If a stop is requested while the commit fails, returns the error. No image is lost,
    /// because the next start finds every file that is not in the database.
    fn commit(&mut self, buffer: &mut Vec<Outcome>) -> Result<(), StoreError> {
        let mut wait = Duration::from_secs(1);
        while let Err(error) = self.try_commit(buffer) {
            if !error.is_transient() || self.stop.is_stopped() {
                return Err(error);
            }
            log::warn!("cannot commit {} results, trying again in {wait:?}: {error}", buffer.len());
            select! {
                recv(self.stop.channel()) -> _ => {}
                recv(self.clock.timer(self.now() + wait)) -> _ => {}
            }
            wait = (wait * 2).min(MAX_COMMIT_RETRY_DELAY);
        }
        for outcome in buffer.drain(..) {
            // Log after the commit, so that a failure is logged once even if the commit needs several attempts.
            if let Outcome::Failed { candidate, failure } = &outcome {
                log::warn!("{}: {}", candidate.path.display(), failure.error);
            }
            if let Outcome::Scored { picture, .. } = &outcome {
                let last = (picture.candidate.path.clone(), self.clock.now().wall);
                *self.last_image.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            }
            if let Some(candidate) = outcome.candidate() {
                self.in_flight.finish(&candidate.path, matches!(outcome, Outcome::Dropped { again: true, .. }));
            }
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.clock.now().monotonic
    }

    fn try_commit(&mut self, buffer: &[Outcome]) -> Result<(), StoreError> {
        Counters::add(&self.counters.commits, 1);
        let now = self.clock.now().wall;
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
                    stamp: candidate.stamp.recorded(),
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
                    // A file that is gone will not be tried again.
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

    /// Returns the retry policy of a stage. A file that has crashed or blocked a decoder twice is not tried a third time.
    fn retry_policy(&self, stage: Stage) -> RetryPolicy {
        let retry = self.settings.retry;
        let max_attempts =
            if matches!(stage, Stage::Crash | Stage::Time) { MAX_DECODER_ATTEMPTS } else { retry.max_attempts };
        RetryPolicy { max_attempts: max_attempts.min(retry.max_attempts), ..retry }
    }

    fn record_image(&self, picture: &NewPicture, embedding: &[half::f16]) -> Result<ImageId, StoreError> {
        let facts = &picture.picture.facts;
        let captured_at = facts.metadata.captured_at.as_deref().and_then(|t| t.parse().ok());
        let image = NewImage {
            content_id: picture.content_id,
            size_bytes: picture.candidate.stamp.size_bytes,
            format: facts.format.name(),
            width_px: facts.width_px,
            height_px: facts.height_px,
            captured_at,
            embedding: Some(NewEmbedding { values: embedding, encoder_digest: self.encoder }),
            brightness: Some(facts.measures.brightness),
            contrast: Some(facts.measures.contrast),
            sharpness: Some(facts.measures.sharpness),
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
        self.batch.record_file(&candidate.path, image, candidate.stamp.recorded(), self.now)?;
        self.batch.clear_failure(&candidate.path)
    }
}

fn new_score(scored: &Scored) -> NewScore {
    NewScore { score: scored.score, similarity: Some(scored.similarity), percentile: scored.percentile }
}

impl Outcome {
    /// Returns the file that this outcome finishes.
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

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;
    use edge_testing::until;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::daemon::shutdown::stop_pair;
    use crate::identity::FileStamp;
    use crate::store::NewModel;

    #[test]
    fn a_single_outcome_is_committed_at_once_and_the_next_after_the_interval() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::constant(1_767_323_045, 0)));
        let counters = Arc::new(Counters::default());
        let (_handle, stop) = stop_pair();
        let (outcomes_in, outcomes) = bounded(4);
        let mut store = Store::open(&dir.path().join("scores.db")).unwrap();
        let model = NewModel {
            digest: "d",
            name: "m",
            manifest: "{}",
            encoder_digest: "e",
            device: "cpu",
            precision: "f32",
            device_reason: "",
        };
        let writer = Writer {
            model_id: store.register_model(&model, clock.now().wall).unwrap(),
            store,
            settings: StoreSettings {
                path: dir.path().join("scores.db"),
                commit_images: 100,
                commit_interval: Duration::from_secs(5),
                retry: RetryPolicy::default(),
            },
            encoder_digest: "e".to_owned(),
            outcomes,
            in_flight: InFlight::new(),
            counters: Arc::clone(&counters),
            last_image: LastImage::default(),
            stop,
            clock: clock.clone(),
        };
        let thread = std::thread::spawn(move || writer.run());
        let stamp = FileStamp { size_bytes: 1, mtime_ns: 1, ctime_ns: 1, inode: 1 };
        let drop_file = || {
            let candidate = Candidate { path: "/a.jpg".into(), stamp };
            outcomes_in.send(Outcome::Dropped { candidate, again: false }).unwrap();
        };
        let dropped = |count| until("a commit", || (counters.snapshot().dropped == count).then_some(()));
        drop_file();
        dropped(1);
        drop_file();
        until("the writer waits", || clock.has_timer(Duration::from_secs(5)).then_some(()));
        clock.advance(Duration::from_millis(4999));
        assert_eq!(counters.snapshot().dropped, 1);
        clock.advance(Duration::from_millis(1));
        dropped(2);
        drop(outcomes_in);
        thread.join().unwrap().unwrap();
    }
}
