//! The stages behind the intake: started together, ended from left to right.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use jiff::Timestamp;

use crate::config::Settings;
use crate::store::{ModelId, NewModel, Store, StoreError, TagId};
use crate::watch::FileStamp;
use edge_model::scorer::{Device, Scorer, ScorerError};

use super::DaemonError;
use super::counters::Counters;
use super::decode::DecodeWorker;
use super::decoder::Decoders;
use super::in_flight::InFlight;
use super::infer::{InferWorker, TagCache};
use super::live::LastImage;
use super::shutdown::StopToken;
use super::tagging::Tagger;
use super::work::{Candidate, Outcome, StoredWork};
use super::write_lock::WriteLock;
use super::writer::Writer;

/// Candidates that wait for a decoder. Each is a path, so this may be generous.
const CANDIDATES: usize = 256;
/// Outcomes that wait for the writer.
const OUTCOMES: usize = 256;

/// The two ways to the decoders. They take from the second only when the first is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What arrives now.
    Fresh,
    /// What a scan has found, such as a whole card or pictures that a new model must see.
    Backlog,
}

/// The left end of the pipeline: what feeds it.
pub(super) struct Inlet {
    fresh: Sender<Candidate>,
    backlog: Sender<Candidate>,
    stored: Sender<StoredWork>,
    outcomes: Sender<Outcome>,
    /// A connection of its own for look-ups.
    pub(super) reader: Store,
    pub(super) counters: Arc<Counters>,
    pub(super) in_flight: InFlight,
    pub(super) last_image: LastImage,
    pub(super) stop: StopToken,
    pub(super) model_id: ModelId,
    pub(super) encoder_digest: String,
    pub(super) needs_images: bool,
    pub(super) always: Vec<(TagId, String)>,
}

/// The pipeline is going down: by a stop or by a failure that [`Pipeline::finish`] returns.
#[derive(Debug)]
pub(super) struct Ended;

impl Inlet {
    /// Makes a file a candidate that must be sent; none where it is on its way already.
    pub(super) fn take_in(&self, path: PathBuf, stamp: FileStamp) -> Option<Candidate> {
        let candidate = Candidate { path, size_bytes: stamp.size_bytes, mtime_ns: stamp.mtime_ns };
        let is_new = self.in_flight.insert(&candidate);
        if is_new {
            Counters::add(&self.counters.queued, 1);
        }
        is_new.then_some(candidate)
    }

    /// Hands a candidate to the decoders; waits while they are busy.
    pub(super) fn submit(&self, candidate: Candidate, lane: Lane) -> Result<(), Ended> {
        select! {
            send(self.lane(lane), candidate) -> sent => sent.map_err(|_| Ended),
            recv(self.stop.channel()) -> _ => Err(Ended),
        }
    }

    /// The way to the decoders.
    pub(super) fn lane(&self, lane: Lane) -> &Sender<Candidate> {
        match lane {
            Lane::Fresh => &self.fresh,
            Lane::Backlog => &self.backlog,
        }
    }

    /// The way of stored embeddings to the model.
    pub(super) fn stored(&self) -> &Sender<StoredWork> {
        &self.stored
    }

    /// Hands stored embeddings to the model.
    pub(super) fn submit_stored(&self, work: StoredWork) -> Result<(), Ended> {
        select! {
            send(self.stored, work) -> sent => sent.map_err(|_| Ended),
            recv(self.stop.channel()) -> _ => Err(Ended),
        }
    }

    /// Hands an outcome that needs no work to the writer.
    pub(super) fn record(&self, outcome: Outcome) -> Result<(), Ended> {
        self.outcomes.send(outcome).map_err(|_| Ended)
    }
}

/// The running stages.
pub(super) struct Pipeline {
    decoders: Vec<JoinHandle<()>>,
    infer: Vec<JoinHandle<Result<(), ScorerError>>>,
    writer: JoinHandle<Result<(), StoreError>>,
    ended: Receiver<()>,
    _lock: WriteLock,
}

impl Pipeline {
    /// Opens the database, makes the scorer's model current and starts the stages.
    pub(super) fn start(
        settings: &Settings,
        decoders: Decoders,
        scorer: &Arc<Scorer>,
        counters: &Arc<Counters>,
        stop: &StopToken,
    ) -> Result<(Self, Inlet), DaemonError> {
        let path = &settings.store.path;
        let mut store = Store::open(path)?;
        let lock = WriteLock::acquire(path)?;
        let device = scorer.device();
        let model_id = register(&mut store, scorer, &device)?;
        let tagger = Tagger::new(&settings.tags, scorer);
        let always = tag_ids(&mut store, tagger.always())?;
        let in_flight = InFlight::new();
        let last_image = LastImage::default();
        let (alarm, ended) = bounded(1);

        let (fresh_in, fresh_out) = bounded(CANDIDATES);
        let (backlog_in, backlog_out) = bounded(CANDIDATES);
        // Decoded pictures are large: no more wait than the device takes at once, and one for each decoder on top.
        let policy = scorer.policy();
        let (decoded_in, decoded_out) = bounded(policy.image_batch * policy.streams + settings.decode_threads);
        let (stored_in, stored_out) = bounded(2);
        let (outcomes_in, outcomes_out) = bounded(OUTCOMES);

        let mut workers = Vec::with_capacity(settings.decode_threads);
        for number in 0..settings.decode_threads {
            let worker = DecodeWorker {
                scorer: Arc::clone(scorer),
                decoder: decoders.start(&scorer.manifest().image_input, &settings.limits, settings.decode_timeout),
                reader: Store::open_read_only(path)?,
                stop: stop.clone(),
                fresh: fresh_out.clone(),
                backlog: backlog_out.clone(),
                decoded: decoded_in.clone(),
                outcomes: outcomes_in.clone(),
            };
            workers.push(spawn(&format!("decode-{number}"), &alarm, move || worker.run())?);
        }
        let (tagger, tag_cache) = (Arc::new(tagger), TagCache::default());
        let mut infer = Vec::with_capacity(policy.streams);
        for number in 0..policy.streams {
            let worker = InferWorker {
                scorer: Arc::clone(scorer),
                device: device.clone(),
                tagger: Arc::clone(&tagger),
                reader: Store::open_read_only(path)?,
                decoded: decoded_out.clone(),
                stored: stored_out.clone(),
                outcomes: outcomes_in.clone(),
                tag_cache: Arc::clone(&tag_cache),
                workers: policy.streams,
            };
            infer.push(spawn(&format!("infer-{number}"), &alarm, move || worker.run())?);
        }
        let inlet = Inlet {
            fresh: fresh_in,
            backlog: backlog_in,
            stored: stored_in,
            outcomes: outcomes_in,
            reader: Store::open_read_only(path)?,
            counters: Arc::clone(counters),
            in_flight: in_flight.clone(),
            last_image: Arc::clone(&last_image),
            stop: stop.clone(),
            model_id,
            encoder_digest: scorer.encoder_digest().to_owned(),
            needs_images: scorer.needs_images(),
            always,
        };
        let writer = Writer {
            store,
            settings: settings.store.clone(),
            model_id,
            encoder_digest: scorer.encoder_digest().to_owned(),
            outcomes: outcomes_out,
            in_flight,
            counters: Arc::clone(counters),
            last_image,
            stop: stop.clone(),
        };
        let writer = spawn("store", &alarm, move || writer.run())?;
        Ok((Self { decoders: workers, infer, writer, ended, _lock: lock }, inlet))
    }

    /// Receives something when a stage has ended, which before [`Pipeline::finish`] only a failure makes it do.
    pub(super) fn ended(&self) -> &Receiver<()> {
        &self.ended
    }

    /// Ends the stages after the inlet: what they hold is finished and committed. Returns the first failure from the right,
    /// because a failure on the right is what ends the left.
    pub(super) fn finish(self, inlet: Inlet) -> Result<(), DaemonError> {
        drop(inlet);
        let mut panicked = None;
        for decoder in self.decoders {
            if decoder.join().is_err() {
                panicked = Some("decode");
            }
        }
        let infer: Vec<_> = self.infer.into_iter().map(JoinHandle::join).collect();
        let writer = self.writer.join();
        writer.map_err(|_| DaemonError::Panicked("store"))??;
        for worker in infer {
            worker.map_err(|_| DaemonError::Panicked("infer"))??;
        }
        panicked.map_or(Ok(()), |name| Err(DaemonError::Panicked(name)))
    }
}

fn register(store: &mut Store, scorer: &Scorer, device: &Device) -> Result<ModelId, StoreError> {
    let model = NewModel {
        digest: scorer.digest(),
        name: &scorer.manifest().name,
        manifest: scorer.bundle().manifest_json(),
        encoder_digest: scorer.encoder_digest(),
        device: device.name,
        precision: &device.precision.to_string(),
        device_reason: &device.reason,
    };
    store.register_model(&model, Timestamp::now())
}

fn tag_ids(store: &mut Store, tags: &[String]) -> Result<Vec<(TagId, String)>, StoreError> {
    let batch = store.begin()?;
    let ids = tags.iter().map(|t| Ok((batch.tag_id(t)?, t.clone()))).collect::<Result<_, StoreError>>()?;
    batch.commit()?;
    Ok(ids)
}

/// Tells, when it is dropped, that its thread has ended in whatever way.
struct Alarm(Sender<()>);

impl Drop for Alarm {
    fn drop(&mut self) {
        // One message is enough, and nobody listens any more in an orderly end.
        let _ = self.0.try_send(());
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    alarm: &Sender<()>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, DaemonError> {
    let failed = |source| DaemonError::Io { action: format!("the {name} thread cannot be started"), source };
    let alarm = Alarm(alarm.clone());
    let work = move || {
        let _alarm = alarm;
        work()
    };
    Builder::new().name(name.to_owned()).spawn(work).map_err(failed)
}
