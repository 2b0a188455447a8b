//! The decoding threads: read once, hash, recognise known content, decode.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::image_input::{self, ImageError, Limits};
use crate::scorer::Scorer;
use crate::store::Store;
use crate::watch::FileStamp;

use super::shutdown::StopToken;
use super::work::{Candidate, Decoded, FileFailure, NewPicture, Outcome};

/// What a decoding thread holds.
pub(super) struct DecodeWorker {
    pub(super) scorer: Arc<Scorer>,
    pub(super) limits: Limits,
    pub(super) reader: Store,
    pub(super) stop: StopToken,
    pub(super) candidates: Receiver<Candidate>,
    pub(super) decoded: Sender<Decoded>,
    pub(super) outcomes: Sender<Outcome>,
}

impl DecodeWorker {
    /// Works until the candidates end. After a stop the rest is let go: it is not in the database, so the next start finds it.
    pub(super) fn run(self) {
        for candidate in &self.candidates {
            if self.stop.is_stopped() {
                continue;
            }
            let sent = match self.guarded_decode(&candidate) {
                Ok(decoded) => self.decoded.send(decoded).is_ok(),
                Err(Refusal::Gone) => self.outcomes.send(Outcome::Dropped { candidate, again: false }).is_ok(),
                Err(Refusal::Changed) => self.outcomes.send(Outcome::Dropped { candidate, again: true }).is_ok(),
                Err(Refusal::Failed(failure)) => self.outcomes.send(Outcome::Failed { candidate, failure }).is_ok(),
            };
            // A receiver is gone only when its thread has failed; that thread's error ends the run.
            if !sent {
                return;
            }
        }
    }

    /// A decoder that panics on a hostile file must not take the thread along.
    fn guarded_decode(&self, candidate: &Candidate) -> Result<Decoded, Refusal> {
        let panicked = |_| FileFailure { stage: "decode", error: "the decoder has panicked on this file".to_owned() };
        catch_unwind(AssertUnwindSafe(|| self.decode(candidate))).map_err(panicked)?
    }

    fn decode(&self, candidate: &Candidate) -> Result<Decoded, Refusal> {
        let (bytes, metadata) = image_input::read_file_and_metadata(&candidate.path, &self.limits)?;
        let read = FileStamp::of(&metadata);
        // Bytes of a file that someone was writing to are no state of it, and their hash would be recorded as one.
        if (read.size_bytes, read.mtime_ns) != (candidate.size_bytes, candidate.mtime_ns) {
            return Err(Refusal::Changed);
        }
        let content_id = blake3::hash(&bytes);
        let known = self.reader.image_by_content(&content_id).unwrap_or_else(|error| {
            // A reader that fails costs a second inference at most; the writer finds the duplicate.
            log::warn!("{}: cannot look up known content: {error}", candidate.path.display());
            None
        });
        let current = self.scorer.encoder_digest();
        // A head that looks at patches needs the picture for every tag.
        let known =
            known.filter(|image| image.encoder_digest.as_deref() == Some(current) && !self.scorer.needs_images());
        if let Some(image) = known {
            let keywords = image_input::keywords_of(&bytes);
            return Ok(Decoded::Known { candidate: candidate.clone(), image_id: image.image_id, keywords });
        }
        let picture = self.scorer.decode(&bytes, &self.limits)?;
        Ok(Decoded::New(Box::new(NewPicture {
            candidate: candidate.clone(),
            content_id,
            format: picture.format.name(),
            width_px: picture.width_px,
            height_px: picture.height_px,
            measures: picture.measures(),
            pixel_values: self.scorer.pixel_values(&picture),
            metadata: picture.metadata,
        })))
    }
}

enum Refusal {
    Gone,
    Changed,
    Failed(FileFailure),
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unreadable { not_found: true, .. } => Self::Gone,
            other => Self::Failed(other.into()),
        }
    }
}

impl From<FileFailure> for Refusal {
    fn from(failure: FileFailure) -> Self {
        Self::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::backend::DeviceChoice;
    use crate::daemon::shutdown::stop_pair;

    #[test]
    fn a_file_that_was_written_to_since_it_was_seen_is_dropped_to_be_seen_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        image::RgbImage::new(64, 64).save(&path).unwrap();
        let seen = FileStamp::read(&path).unwrap().unwrap();
        let bundle = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/small");
        let (_handle, stop) = stop_pair();
        let (candidates_in, candidates) = bounded(4);
        let (decoded, decoded_out) = bounded(4);
        let (outcomes, outcomes_out) = bounded(4);
        let worker = DecodeWorker {
            scorer: Arc::new(Scorer::open(&bundle, DeviceChoice::Cpu).unwrap()),
            limits: Limits::default(),
            reader: Store::open(&dir.path().join("s.db")).unwrap(),
            stop,
            candidates,
            decoded,
            outcomes,
        };
        let file = |size_bytes, mtime_ns| Candidate { path: path.clone(), size_bytes, mtime_ns };
        candidates_in.send(file(seen.size_bytes, seen.mtime_ns)).unwrap();
        candidates_in.send(file(seen.size_bytes, seen.mtime_ns - 1)).unwrap();
        candidates_in.send(file(seen.size_bytes - 1, seen.mtime_ns)).unwrap();
        candidates_in.send(Candidate { path: dir.path().join("gone.png"), ..file(1, 1) }).unwrap();
        drop(candidates_in);
        worker.run();
        assert!(
            matches!(&decoded_out.try_iter().collect::<Vec<_>>()[..], [Decoded::New(picture)] if picture.candidate.path == path)
        );
        let again = |outcome| matches!(outcome, Outcome::Dropped { again: true, .. });
        assert_eq!(outcomes_out.try_iter().map(again).collect::<Vec<_>>(), [true, true, false]);
    }
}
