//! The decoding threads. A thread opens a file and lets its decoder read and hash it, then looks up the content id in the database. If no
//! stored embedding can be used, the decoder then decodes the picture.

use std::fs::File;
use std::io;
use std::sync::{Arc, Once};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use crate::clock::SharedClock;
use crate::decoder::{DecodeError, Decoder, FileFailure, Layers};
use crate::identity::{FileStamp, is_absence};
use crate::store::Store;
use crate::watch::Trees;
use edge_model::image_input::ImageError;
use edge_model::scorer::Scorer;

use super::shutdown::StopToken;
use super::work::{Candidate, Decoded, NewPicture, Outcome};

/// Time between two attempts to start a decoder process.
const START_INTERVAL: Duration = Duration::from_secs(5);

/// The state of a decoding thread.
pub(super) struct DecodeWorker {
    pub(super) scorer: Arc<Scorer>,
    pub(super) decoder: Decoder,
    pub(super) reader: Store,
    pub(super) trees: Trees,
    pub(super) clock: SharedClock,
    /// Time after which the thread fails if no decoder process can be started. `None` waits for ever.
    pub(super) patience: Option<Duration>,
    pub(super) stop: StopToken,
    pub(super) fresh: Receiver<Candidate>,
    pub(super) backlog: Receiver<Candidate>,
    pub(super) decoded: Sender<Decoded>,
    pub(super) outcomes: Sender<Outcome>,
}

impl DecodeWorker {
    /// Runs until both lanes are closed. After a stop, queued candidates are discarded. They are not in the database, so the next start
    /// finds them again. Fails only if no decoder process can be started.
    pub(super) fn run(mut self) -> Result<(), DecodeError> {
        while let Some(candidate) = self.next() {
            if self.stop.is_stopped() || !self.wait_for_process()? {
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
                break;
            }
        }
        Ok(())
    }

    /// Waits until a decoder process runs. Files wait meanwhile: without a process nothing is decoded. Returns false after a stop.
    fn wait_for_process(&mut self) -> Result<bool, DecodeError> {
        let since = self.clock.now().monotonic;
        let mut has_warned = false;
        loop {
            let error = match self.decoder.start() {
                Ok(layers) => {
                    warn_of_missing(layers);
                    return Ok(true);
                }
                Err(error) => error,
            };
            let now = self.clock.now().monotonic;
            if self.patience.is_some_and(|patience| now >= since + patience) {
                return Err(error);
            }
            if !std::mem::replace(&mut has_warned, true) {
                log::error!("{error}. Images wait until a process can be started");
            }
            select! {
                recv(self.stop.channel()) -> _ => return Ok(false),
                recv(self.clock.timer(now + START_INTERVAL)) -> _ => {}
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
        let file = self.open(candidate)?;
        let content_id = self.decoder.read(&file, candidate.stamp.size_bytes)?;
        check_unchanged(&file, candidate)?;
        let known = self.reader.image_by_content(&content_id).unwrap_or_else(|error| {
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
        Ok(Decoded::New(Box::new(NewPicture { candidate: candidate.clone(), content_id, picture })))
    }
}

impl DecodeWorker {
    /// Opens the file of a candidate without leaving its watched directory.
    fn open(&self, candidate: &Candidate) -> Result<File, Refusal> {
        let tree = self.trees.of(&candidate.path).ok_or(Refusal::Gone)?;
        let file = tree.open(&candidate.path).map_err(unreadable)?;
        check_unchanged(&file, candidate)?;
        Ok(file)
    }
}

/// Returns an error if the file is not the version of the candidate. It may be incomplete then, and its hash must not be recorded.
fn check_unchanged(file: &File, candidate: &Candidate) -> Result<(), Refusal> {
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_file() && FileStamp::of(&metadata) == candidate.stamp { Ok(()) } else { Err(Refusal::Changed) }
}

fn unreadable(error: io::Error) -> Refusal {
    if is_absence(&error) {
        return Refusal::Gone;
    }
    Refusal::Failed(ImageError::from(&error).into())
}

/// Logs once what this machine's kernel lacks.
fn warn_of_missing(layers: Layers) {
    static ONCE: Once = Once::new();
    if let Some(advice) = layers.advice() {
        ONCE.call_once(|| log::warn!("decoder processes are {}. {advice}", layers.in_words()));
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
            // The process ended after it was started. The file is looked at again with another one.
            DecodeError::NoProcess(_) => Self::Changed,
            DecodeError::Failed(failure) => Self::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;
    use crate::daemon::shutdown::{StopHandle, stop_pair};
    use crate::identity::FileStamp;
    use edge_model::backend::DeviceChoice;
    use edge_model::image_input::Limits;
    use edge_testing::until;

    /// A worker with one file. The program of this test is no decoder, so no decoder process can be started.
    struct Stuck {
        worker: DecodeWorker,
        handle: StopHandle,
        clock: Arc<ManualClock>,
        decoded: Receiver<Decoded>,
        outcomes: Receiver<Outcome>,
        _dir: tempfile::TempDir,
    }

    fn stuck(patience: Option<Duration>) -> Stuck {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        image::RgbImage::new(64, 64).save(&path).unwrap();
        let stamp = FileStamp::read(&path).unwrap().unwrap();
        let bundle = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/small");
        let scorer = Arc::new(Scorer::open(&bundle, DeviceChoice::Cpu).unwrap());
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let (handle, stop) = stop_pair();
        let (fresh_in, fresh) = bounded(4);
        let (_, backlog) = bounded(4);
        let (decoded_in, decoded) = bounded(4);
        let (outcomes_in, outcomes) = bounded(4);
        fresh_in.send(Candidate { path, stamp }).unwrap();
        let worker = DecodeWorker {
            decoder: Decoder::new(&scorer.manifest().image_input, &Limits::default(), Duration::from_secs(60)),
            scorer,
            reader: Store::open(&dir.path().join("s.db")).unwrap(),
            trees: Trees::new(&[dir.path().to_owned()]),
            clock: clock.clone(),
            patience,
            stop,
            fresh,
            backlog,
            decoded: decoded_in,
            outcomes: outcomes_in,
        };
        Stuck { worker, handle, clock, decoded, outcomes, _dir: dir }
    }

    #[test]
    fn without_a_decoder_process_files_wait_until_the_daemon_stops() {
        let Stuck { worker, handle, clock, decoded, outcomes, _dir } = stuck(None);
        let thread = std::thread::spawn(move || worker.run());
        for attempt in 1..4 {
            until("the next attempt waits", || clock.has_timer(attempt * START_INTERVAL).then_some(()));
            assert!(!thread.is_finished());
            clock.advance(START_INTERVAL);
        }
        drop(handle);
        thread.join().unwrap().unwrap();
        assert_eq!((decoded.len(), outcomes.len()), (0, 0), "nothing is decoded, and no file has failed");
    }

    #[test]
    fn a_scan_ends_if_no_decoder_process_can_be_started() {
        let Stuck { worker, handle: _handle, decoded, outcomes, .. } = stuck(Some(Duration::ZERO));
        assert!(matches!(worker.run(), Err(DecodeError::NoProcess(_))));
        assert_eq!((decoded.len(), outcomes.len()), (0, 0));
    }
}
