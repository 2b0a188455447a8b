//! The decoding threads. A thread lets its decoder read and hash a file, then looks up the content id in the database. If no stored
//! embedding can be used, the decoder then decodes the picture.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};

use crate::store::Store;
use edge_model::scorer::Scorer;

use super::decoder::{DecodeError, Decoder};
use super::shutdown::StopToken;
use super::work::{Candidate, Decoded, FileFailure, NewPicture, Outcome};

/// The state of a decoding thread.
pub(super) struct DecodeWorker {
    pub(super) scorer: Arc<Scorer>,
    pub(super) decoder: Decoder,
    pub(super) reader: Store,
    pub(super) stop: StopToken,
    pub(super) fresh: Receiver<Candidate>,
    pub(super) backlog: Receiver<Candidate>,
    pub(super) decoded: Sender<Decoded>,
    pub(super) outcomes: Sender<Outcome>,
}

impl DecodeWorker {
    /// Runs until both lanes are closed. After a stop, queued candidates are discarded. They are not in the database, so the next start
    /// finds them again.
    pub(super) fn run(mut self) {
        while let Some(candidate) = self.next() {
            if self.stop.is_stopped() {
                continue;
            }
            let sent = match self.decode(&candidate) {
                Ok(decoded) => self.decoded.send(decoded).is_ok(),
                Err(Refusal::Gone) => self.outcomes.send(Outcome::Dropped { candidate, again: false }).is_ok(),
                Err(Refusal::Changed) => self.outcomes.send(Outcome::Dropped { candidate, again: true }).is_ok(),
                Err(Refusal::Failed(failure)) => self.outcomes.send(Outcome::Failed { candidate, failure }).is_ok(),
            };
            // A channel is closed only if the receiving thread has failed. That thread's error ends the run.
            if !sent {
                return;
            }
        }
    }

    /// Returns the next candidate, from the fresh lane first, or `None` when both lanes are closed.
    fn next(&self) -> Option<Candidate> {
        if let Ok(candidate) = self.fresh.try_recv() {
            return Some(candidate);
        }
        // Both lanes are closed together, with the inlet. If one is closed, the other may still contain candidates.
        select! {
            recv(self.fresh) -> candidate => candidate.or_else(|_| self.backlog.recv()).ok(),
            recv(self.backlog) -> candidate => candidate.or_else(|_| self.fresh.recv()).ok(),
        }
    }

    fn decode(&mut self, candidate: &Candidate) -> Result<Decoded, Refusal> {
        let opened = self.decoder.open(&candidate.path)?;
        // The file has changed since it settled and may be incomplete. Its hash must not be recorded.
        if opened.stamp != candidate.stamp {
            return Err(Refusal::Changed);
        }
        let known = self.reader.image_by_content(&opened.content_id).unwrap_or_else(|error| {
            // After a failed look-up the file is processed as new content. If its content is known, this costs a second inference, and the
            // writer detects the duplicate.
            log::warn!(
                "{}: decoded as a new image, because the database cannot be searched for its content: {error}",
                candidate.path.display()
            );
            None
        });
        let current = self.scorer.encoder_digest();
        // A head that needs image features needs the picture for every tag.
        let known =
            known.filter(|image| image.encoder_digest.as_deref() == Some(current) && !self.scorer.needs_images());
        if let Some(image) = known {
            let keywords = self.decoder.keywords()?;
            return Ok(Decoded::Known { candidate: candidate.clone(), image_id: image.image_id, keywords });
        }
        let picture = self.decoder.picture()?;
        Ok(Decoded::New(Box::new(NewPicture { candidate: candidate.clone(), content_id: opened.content_id, picture })))
    }
}

enum Refusal {
    Gone,
    Changed,
    Failed(FileFailure),
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Gone => Self::Gone,
            DecodeError::Failed(failure) => Self::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::daemon::decoder::Decoders;
    use crate::daemon::shutdown::stop_pair;
    use crate::identity::FileStamp;
    use edge_model::backend::DeviceChoice;
    use edge_model::image_input::Limits;

    #[test]
    fn a_file_that_changed_before_it_was_read_is_dropped_and_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        image::RgbImage::new(64, 64).save(&path).unwrap();
        let seen = FileStamp::read(&path).unwrap().unwrap();
        let bundle = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/small");
        let (_handle, stop) = stop_pair();
        let (backlog_in, backlog) = bounded(4);
        let (fresh_in, fresh) = bounded(4);
        let (decoded, decoded_out) = bounded(4);
        let (outcomes, outcomes_out) = bounded(4);
        let scorer = Arc::new(Scorer::open(&bundle, DeviceChoice::Cpu).unwrap());
        let rule = &scorer.manifest().image_input;
        let worker = DecodeWorker {
            decoder: Decoders::Here.start(rule, &Limits::default(), Duration::from_secs(60)),
            scorer,
            reader: Store::open(&dir.path().join("s.db")).unwrap(),
            stop,
            fresh,
            backlog,
            decoded,
            outcomes,
        };
        let file = |stamp| Candidate { path: path.clone(), stamp };
        backlog_in.send(file(seen)).unwrap();
        backlog_in.send(file(FileStamp { mtime_ns: seen.mtime_ns - 1, ..seen })).unwrap();
        backlog_in.send(file(FileStamp { size_bytes: seen.size_bytes - 1, ..seen })).unwrap();
        fresh_in.send(Candidate { path: dir.path().join("gone.png"), ..file(seen) }).unwrap();
        drop((backlog_in, fresh_in));
        worker.run();
        assert!(
            matches!(&decoded_out.try_iter().collect::<Vec<_>>()[..], [Decoded::New(picture)] if picture.candidate.path == path)
        );
        let again = |outcome| matches!(outcome, Outcome::Dropped { again: true, .. });
        assert_eq!(outcomes_out.try_iter().map(again).collect::<Vec<_>>(), [false, true, true], "the fresh one first");
    }
}
