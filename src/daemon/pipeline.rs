//! The decoding, inference and writer threads, which follow the driver. They are started together and ended in this order.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use jiff::Timestamp;

use crate::clock::SharedClock;
use crate::config::Settings;
use crate::decoder::{DecodeError, Decoder};
use crate::identity::FileStamp;
use crate::store::{ModelId, NewModel, Store, StoreError, TagId};
use crate::watch::Trees;
use edge_model::backend::Policy;
use edge_model::scorer::{Device, Scorer, ScorerError};

use super::DaemonError;
use super::counters::Counters;
use super::decode::DecodeWorker;
use super::in_flight::InFlight;
use super::infer::{InferWorker, TagCache};
use super::live::LastImage;
use super::shutdown::StopToken;
use super::tagging::Tagger;
use super::work::{Candidate, Decoded, Outcome, StoredWork};
use super::write_lock::WriteLock;
use super::writer::Writer;

/// Capacity of each lane. A candidate is a path and a stamp, so a large capacity costs little memory.
const LANE_CAPACITY: usize = 256;
/// Capacity of the writer's queue.
const OUTCOME_CAPACITY: usize = 256;

/// A queue of the decoders. They take from the backlog only when the fresh lane is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Files that arrive while the daemon runs.
    Fresh,
    /// Files that a survey has found, such as files of a newly mounted card or files that a new model must score.
    Backlog,
}

/// The input side of the pipeline: the senders of its channels and the state that the driver shares with it.
pub(super) struct Inlet {
    fresh: Sender<Candidate>,
    backlog: Sender<Candidate>,
    stored: Sender<StoredWork>,
    outcomes: Sender<Outcome>,
    /// Read-only database connection for look-ups.
    pub(super) reader: Store,
    pub(super) counters: Arc<Counters>,
    pub(super) in_flight: InFlight,
    pub(super) last_image: LastImage,
    pub(super) stop: StopToken,
    pub(super) clock: SharedClock,
    pub(super) trees: Trees,
    pub(super) model_id: ModelId,
    pub(super) encoder_digest: String,
    pub(super) needs_images: bool,
    pub(super) always: Vec<(TagId, String)>,
}

/// The pipeline is ending, because a stop was requested or a thread has failed. [`Pipeline::finish`] returns the failure.
#[derive(Debug)]
pub(super) struct Ended;

impl Inlet {
    /// Puts a file in flight and returns the candidate, which the caller must send. Returns `None` if the file is already in flight.
    pub(super) fn put_in_flight(&self, path: PathBuf, stamp: FileStamp) -> Option<Candidate> {
        let candidate = Candidate { path, stamp };
        let is_new = self.in_flight.insert(&candidate);
        if is_new {
            Counters::add(&self.counters.queued, 1);
        }
        is_new.then_some(candidate)
    }

    /// Sends a candidate to the decoders. Blocks while the lane is full.
    pub(super) fn submit(&self, candidate: Candidate, lane: Lane) -> Result<(), Ended> {
        select! {
            send(self.lane(lane), candidate) -> sent => sent.map_err(|_| Ended),
            recv(self.stop.channel()) -> _ => Err(Ended),
        }
    }

    /// Returns the sender of a lane.
    pub(super) fn lane(&self, lane: Lane) -> &Sender<Candidate> {
        match lane {
            Lane::Fresh => &self.fresh,
            Lane::Backlog => &self.backlog,
        }
    }

    /// Returns the sender of stored embeddings to the inference threads.
    pub(super) fn stored(&self) -> &Sender<StoredWork> {
        &self.stored
    }

    /// Sends an outcome that needs no decoding or inference to the writer.
    pub(super) fn record(&self, outcome: Outcome) -> Result<(), Ended> {
        self.outcomes.send(outcome).map_err(|_| Ended)
    }
}

/// The running decoding, inference and writer threads.
pub(super) struct Pipeline {
    decoders: Vec<JoinHandle<Result<(), DecodeError>>>,
    infer: Vec<JoinHandle<Result<(), ScorerError>>>,
    writer: JoinHandle<Result<(), StoreError>>,
    ended: Receiver<()>,
    _lock: WriteLock,
}

/// The arguments that the pipeline is started with.
pub(super) struct Start<'a> {
    pub(super) settings: &'a Settings,
    /// Time that decoding threads wait for a decoder process before they fail; `None` waits for ever.
    pub(super) patience: Option<Duration>,
    pub(super) scorer: &'a Arc<Scorer>,
    pub(super) counters: &'a Arc<Counters>,
    pub(super) stop: &'a StopToken,
    pub(super) clock: &'a SharedClock,
}

/// Both ends of the channels between the driver and the threads of the pipeline.
struct Channels {
    fresh: Channel<Candidate>,
    backlog: Channel<Candidate>,
    decoded: Channel<Decoded>,
    stored: Channel<StoredWork>,
    outcomes: Channel<Outcome>,
}

type Channel<T> = (Sender<T>, Receiver<T>);

impl Channels {
    fn new(policy: &Policy, decode_threads: usize) -> Self {
        Self {
            fresh: bounded(LANE_CAPACITY),
            backlog: bounded(LANE_CAPACITY),
            // Decoded pictures are large. The queue holds one full run of the device and one picture per decoding thread.
            decoded: bounded(policy.image_batch * policy.streams + decode_threads),
            stored: bounded(2),
            outcomes: bounded(OUTCOME_CAPACITY),
        }
    }
}

impl Start<'_> {
    /// Opens the database, makes the scorer's model current and starts the threads.
    pub(super) fn pipeline(&self) -> Result<(Pipeline, Inlet), DaemonError> {
        let path = &self.settings.store.path;
        let mut store = Store::open(path)?;
        let lock = WriteLock::acquire(path)?;
        let device = self.scorer.device();
        let model_id = register(&mut store, self.scorer, &device, self.clock.now().wall)?;
        let tagger = Tagger::new(&self.settings.tags, self.scorer);
        let always = tag_ids(&mut store, tagger.always())?;
        let channels = Channels::new(&self.scorer.policy(), self.settings.decode_threads);
        let (alarm, ended) = bounded(1);
        let decoders = self.start_decoders(&channels, &alarm)?;
        let infer = self.start_inference(&channels, &device, tagger, &alarm)?;
        let inlet = Inlet {
            fresh: channels.fresh.0,
            backlog: channels.backlog.0,
            stored: channels.stored.0,
            outcomes: channels.outcomes.0,
            reader: self.reader()?,
            counters: Arc::clone(self.counters),
            in_flight: InFlight::new(),
            last_image: LastImage::default(),
            stop: self.stop.clone(),
            clock: Arc::clone(self.clock),
            trees: self.trees(),
            model_id,
            encoder_digest: self.scorer.encoder_digest().to_owned(),
            needs_images: self.scorer.needs_images(),
            always,
        };
        let writer = self.start_writer(store, &inlet, channels.outcomes.1, &alarm)?;
        Ok((Pipeline { decoders, infer, writer, ended, _lock: lock }, inlet))
    }

    fn trees(&self) -> Trees {
        Trees::new(&self.settings.watch.dirs)
    }

    fn reader(&self) -> Result<Store, StoreError> {
        Store::open_read_only(&self.settings.store.path)
    }

    fn start_decoders(
        &self,
        channels: &Channels,
        alarm: &Sender<()>,
    ) -> Result<Vec<JoinHandle<Result<(), DecodeError>>>, DaemonError> {
        let Settings { limits, decode_timeout, decode_threads, .. } = self.settings;
        let rule = &self.scorer.manifest().image_input;
        let start = |number| {
            let worker = DecodeWorker {
                scorer: Arc::clone(self.scorer),
                decoder: Decoder::new(rule, limits, *decode_timeout),
                reader: self.reader()?,
                trees: self.trees(),
                clock: Arc::clone(self.clock),
                patience: self.patience,
                stop: self.stop.clone(),
                fresh: channels.fresh.1.clone(),
                backlog: channels.backlog.1.clone(),
                decoded: channels.decoded.0.clone(),
                outcomes: channels.outcomes.0.clone(),
            };
            spawn(&format!("decode-{number}"), alarm, move || worker.run())
        };
        (0..*decode_threads).map(start).collect()
    }

    fn start_inference(
        &self,
        channels: &Channels,
        device: &Device,
        tagger: Tagger,
        alarm: &Sender<()>,
    ) -> Result<Vec<JoinHandle<Result<(), ScorerError>>>, DaemonError> {
        let streams = self.scorer.policy().streams;
        let (tagger, tag_cache) = (Arc::new(tagger), TagCache::default());
        let start = |number| {
            let worker = InferWorker {
                scorer: Arc::clone(self.scorer),
                device: device.clone(),
                tagger: Arc::clone(&tagger),
                reader: self.reader()?,
                decoded: channels.decoded.1.clone(),
                stored: channels.stored.1.clone(),
                outcomes: channels.outcomes.0.clone(),
                tag_cache: Arc::clone(&tag_cache),
                workers: streams,
            };
            spawn(&format!("infer-{number}"), alarm, move || worker.run())
        };
        (0..streams).map(start).collect()
    }

    fn start_writer(
        &self,
        store: Store,
        inlet: &Inlet,
        outcomes: Receiver<Outcome>,
        alarm: &Sender<()>,
    ) -> Result<JoinHandle<Result<(), StoreError>>, DaemonError> {
        let writer = Writer {
            store,
            settings: self.settings.store.clone(),
            model_id: inlet.model_id,
            encoder_digest: inlet.encoder_digest.clone(),
            outcomes,
            in_flight: inlet.in_flight.clone(),
            counters: Arc::clone(self.counters),
            last_image: Arc::clone(&inlet.last_image),
            stop: self.stop.clone(),
            clock: Arc::clone(self.clock),
        };
        spawn("store", alarm, move || writer.run())
    }
}

impl Pipeline {
    /// Returns a channel that receives a message when a thread has ended. Before [`Pipeline::finish`] a thread ends only if it has failed.
    pub(super) fn ended(&self) -> &Receiver<()> {
        &self.ended
    }

    /// Closes the inlet, lets the threads finish and commit their work, and joins them. A failed thread ends the threads before it, so if
    /// several threads have failed, the failure nearest to the writer is returned.
    pub(super) fn finish(self, inlet: Inlet) -> Result<(), DaemonError> {
        drop(inlet);
        let decoders: Vec<_> = self.decoders.into_iter().map(JoinHandle::join).collect();
        let infer: Vec<_> = self.infer.into_iter().map(JoinHandle::join).collect();
        let writer = self.writer.join();
        writer.map_err(|_| DaemonError::Panicked("store"))??;
        for worker in infer {
            worker.map_err(|_| DaemonError::Panicked("infer"))??;
        }
        for decoder in decoders {
            decoder.map_err(|_| DaemonError::Panicked("decode"))??;
        }
        Ok(())
    }
}

fn register(store: &mut Store, scorer: &Scorer, device: &Device, now: Timestamp) -> Result<ModelId, StoreError> {
    let model = NewModel {
        digest: scorer.digest(),
        name: &scorer.manifest().name,
        manifest: scorer.bundle().manifest_json(),
        encoder_digest: scorer.encoder_digest(),
        device: device.name,
        precision: &device.precision.to_string(),
        device_reason: &device.reason,
    };
    store.register_model(&model, now)
}

fn tag_ids(store: &mut Store, tags: &[String]) -> Result<Vec<(TagId, String)>, StoreError> {
    let batch = store.begin()?;
    let ids = tags.iter().map(|t| Ok((batch.tag_id(t)?, t.clone()))).collect::<Result<_, StoreError>>()?;
    batch.commit()?;
    Ok(ids)
}

/// Sends a message when it is dropped, so that the end of its thread is noticed even after a panic.
struct Alarm(Sender<()>);

impl Drop for Alarm {
    fn drop(&mut self) {
        // One message is enough. In an orderly shutdown the receiver may be gone already.
        let _ = self.0.try_send(());
    }
}

/// Returns the error of a thread that the operating system did not start.
pub(super) fn thread_refused(name: &str, source: std::io::Error) -> DaemonError {
    let failure = format!("the {name} thread cannot be started");
    DaemonError::Io { failure, source, next: "Raise this user's limit on threads (`ulimit -u`) or free memory" }
}

fn spawn<T: Send + 'static>(
    name: &str,
    alarm: &Sender<()>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, DaemonError> {
    let failed = |source| thread_refused(name, source);
    let alarm = Alarm(alarm.clone());
    let work = move || {
        let _alarm = alarm;
        work()
    };
    Builder::new().name(name.to_owned()).spawn(work).map_err(failed)
}
