//! `edge-scorer run`: starts the pipeline, handles signals and reloads, and stops the threads in order.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};

use crate::clock::SharedClock;
use crate::config::{ConfigError, Settings};
use crate::prover::{Prover, ProverError};
use crate::store;
use edge_model::scorer::Scorer;

use super::DaemonError;
use super::bundle_watch::BundleWatch;
use super::counters::Counters;
use super::intake::Intake;
use super::live::{Observer, StatusSocket};
use super::pipeline::{Inlet, Pipeline, Start, thread_refused};
use super::shutdown::{StopHandle, stop_pair};
use super::signals::{Control, Requests};
use super::systemd::ServiceManager;
use super::tagging::check_always;
use super::write_lock::WriteLock;

/// Time between two rounds of periodic work: watchdog ping, status update, and check for a replaced bundle.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until a stop signal. `load` reads the settings at the start and at every reload.
///
/// # Errors
/// Returns [`DaemonError`]. A configuration or bundle that is refused at a reload is not an error; the old one stays in use.
pub fn run(
    load: &dyn Fn() -> Result<Settings, ConfigError>,
    requests: &Requests,
    clock: &SharedClock,
) -> Result<(), DaemonError> {
    let mut manager = ServiceManager::new(Arc::clone(clock));
    let mut current = match open(load()?, &mut || !requests.is_stop_requested()) {
        Err(DaemonError::Stopped) => return Ok(()),
        opened => opened?,
    };
    let mut session = start(&current, clock)?;
    loop {
        manager.ready();
        log::info!("ready");
        let replacement = match session.wait(load, requests, &mut manager) {
            End::Reload(replacement) => *replacement,
            End::Stop => {
                manager.stopping();
                return session.finish();
            }
            End::Failure => {
                let Err(failure) = session.finish() else { return Ok(()) };
                set_database_aside(&current, failure, clock)?;
                session = Session::start(&current, clock)?;
                continue;
            }
        };
        session.finish()?;
        session = match Session::start(&replacement, clock) {
            Ok(session) => {
                current = replacement;
                session
            }
            Err(error) => {
                // Some errors appear only at the start of a session, such as a database that cannot be written or a failure of inotify.
                log::error!("{RELOAD_REFUSED}. Reason: {error}");
                Session::start(&current, clock)?
            }
        };
    }
}

/// Starts a session. If the database is damaged, sets it aside and starts with a new one.
fn start(loaded: &Loaded, clock: &SharedClock) -> Result<Session, DaemonError> {
    Session::start(loaded, clock).or_else(|failure| {
        set_database_aside(loaded, failure, clock)?;
        Session::start(loaded, clock)
    })
}

/// Sets the database aside if damage to it caused the failure. Otherwise returns the failure.
fn set_database_aside(
    Loaded { settings, .. }: &Loaded,
    failure: DaemonError,
    clock: &SharedClock,
) -> Result<(), DaemonError> {
    let DaemonError::Store(error) = failure else { return Err(failure) };
    if !error.is_damage() {
        return Err(error.into());
    }
    let path = &settings.store.path;
    let _lock = WriteLock::acquire(path)?;
    let Some(aside) = store::set_aside_if_damaged(path, clock.now().wall)? else { return Err(error.into()) };
    log::error!("{error}");
    log::error!(
        "the damaged database is kept as {}. A new database is created, and all images that are there are scored again. \
         Check the disk for errors",
        aside.display()
    );
    Ok(())
}

const RELOAD_REFUSED: &str = "reload refused; the old configuration and model stay in use";

/// A validated configuration and its loaded model.
struct Loaded {
    settings: Settings,
    scorer: Arc<Scorer>,
    bundle: BundleWatch,
}

/// Opens the model and checks the configuration. A bundle from a stranger may exhaust memory, time or a library, so it is tried in a process
/// of its own first. Asks `goes_on` every few milliseconds during the trial.
fn open(settings: Settings, goes_on: &mut dyn FnMut() -> bool) -> Result<Loaded, DaemonError> {
    if settings.watch.dirs.is_empty() {
        return Err(DaemonError::NothingToWatch);
    }
    for dir in &settings.watch.dirs {
        if !dir.exists() {
            log::warn!(
                "{}: the directory does not exist yet. The daemon watches it as soon as it appears",
                dir.display()
            );
        }
    }
    let dir = settings.model_dir()?;
    let bundle = BundleWatch::new(dir);
    let tried = Prover.try_bundle(dir, &settings.backend, goes_on).map_err(|source| match source {
        ProverError::Interrupted => DaemonError::Stopped,
        ProverError::Refused(message) => DaemonError::Refused(message),
        source => DaemonError::Trial { dir: dir.to_owned(), source },
    })?;
    let scorer = Scorer::open_in(dir, settings.device, &settings.backend)?;
    if scorer.digest() != tried.digest {
        return Err(DaemonError::Exchanged { dir: dir.to_owned() });
    }
    log::info!("model {} ({}) on {}", scorer.manifest().name, &scorer.digest()[..12], scorer.device());
    check_always(&settings.tags, &scorer)?;
    Ok(Loaded { settings, scorer: Arc::new(scorer), bundle })
}

/// Why a session ends.
enum End {
    Stop,
    /// A new configuration or model was accepted.
    Reload(Box<Loaded>),
    /// A thread of the pipeline has failed. [`Session::finish`] returns the error.
    Failure,
}

/// The running threads of one configuration.
struct Session {
    stop: StopHandle,
    pipeline: Pipeline,
    intake: std::thread::JoinHandle<(Inlet, Result<(), DaemonError>)>,
    intake_ended: Receiver<()>,
    observer: Arc<Observer>,
    stuck_timeout: Duration,
    /// Socket of the live status. `None` if it could not be created, for example because the file system does not support sockets.
    socket: Option<StatusSocket>,
    bundle: BundleWatch,
}

impl Session {
    fn start(Loaded { settings, scorer, bundle }: &Loaded, clock: &SharedClock) -> Result<Self, DaemonError> {
        let (stop, token) = stop_pair();
        let counters = Arc::new(Counters::default());
        let start = Start { settings, patience: None, scorer, counters: &counters, stop: &token, clock };
        let (pipeline, inlet) = start.pipeline()?;
        let (in_flight, last_image) = (inlet.in_flight.clone(), Arc::clone(&inlet.last_image));
        let intake = match Intake::start(&settings.watch, inlet) {
            Ok(intake) => intake,
            Err(failure) => {
                let (inlet, error) = *failure;
                drop(stop);
                pipeline.finish(inlet)?;
                return Err(error);
            }
        };
        let sources = intake.sources();
        let observer =
            Arc::new(Observer::new(Arc::clone(scorer), counters, in_flight, last_image, sources, Arc::clone(clock)));
        let (alive, intake_ended) = bounded(0);
        let failed = |source| thread_refused("intake", source);
        let intake = std::thread::Builder::new()
            .name("intake".to_owned())
            .spawn(move || {
                let _alive = alive;
                intake.run()
            })
            .map_err(failed)?;
        let socket = status_socket(&settings.store.path, &observer);
        let stuck_timeout = settings.stuck_timeout;
        Ok(Self { stop, pipeline, intake, intake_ended, observer, stuck_timeout, socket, bundle: bundle.clone() })
    }

    /// Waits until there is a reason to end and returns it.
    fn wait(
        &mut self,
        load: &dyn Fn() -> Result<Settings, ConfigError>,
        requests: &Requests,
        manager: &mut ServiceManager,
    ) -> End {
        loop {
            select! {
                recv(requests.control) -> signal => match signal {
                    Ok(Control::Reload) => {
                        if let Some(loaded) = self.reload(load, requests, manager) {
                            return End::Reload(Box::new(loaded));
                        }
                    }
                    Ok(Control::Stop) | Err(_) => {
                        log::info!("stopping");
                        return End::Stop;
                    }
                },
                recv(self.intake_ended) -> _ => return End::Failure,
                recv(self.pipeline.ended()) -> _ => return End::Failure,
                default(TICK_INTERVAL) => {
                    self.observer.tick();
                    manager.tick(&self.observer, self.stuck_timeout);
                    if self.bundle.was_replaced()
                        && let Some(loaded) = self.try_replacement(load, requests, manager)
                    {
                        return End::Reload(Box::new(loaded));
                    }
                }
            }
        }
    }

    /// Loads the bundle that has replaced the one in use. Returns `None` if it is refused or contains the model in use.
    fn try_replacement(
        &self,
        load: &dyn Fn() -> Result<Settings, ConfigError>,
        requests: &Requests,
        manager: &mut ServiceManager,
    ) -> Option<Loaded> {
        log::info!("{}: the bundle was replaced, loading it", self.bundle.dir.display());
        let loaded = self.reload(load, requests, manager)?;
        if loaded.scorer.digest() == self.observer.scorer.digest() {
            log::info!("{}: the new bundle contains the model in use, so nothing changes", self.bundle.dir.display());
            manager.ready();
            return None;
        }
        Some(loaded)
    }

    /// Reads the configuration and the bundle. If they are refused, logs the reason and returns `None`. The service manager gets its pings
    /// meanwhile.
    fn reload(
        &self,
        load: &dyn Fn() -> Result<Settings, ConfigError>,
        requests: &Requests,
        manager: &mut ServiceManager,
    ) -> Option<Loaded> {
        manager.reloading();
        let mut last_tick = Instant::now();
        let mut goes_on = || {
            if last_tick.elapsed() >= TICK_INTERVAL {
                last_tick = Instant::now();
                self.observer.tick();
                manager.tick(&self.observer, self.stuck_timeout);
            }
            !requests.is_stop_requested()
        };
        match load().map_err(DaemonError::from).and_then(|settings| open(settings, &mut goes_on)) {
            Ok(loaded) => {
                log::info!("the new configuration and model are loaded; the threads are restarted");
                Some(loaded)
            }
            Err(error) => {
                log::error!("{RELOAD_REFUSED}. Reason: {error}");
                manager.ready();
                None
            }
        }
    }

    /// Stops the intake, lets the pipeline finish and commit its work, and returns the first failure.
    fn finish(self) -> Result<(), DaemonError> {
        drop(self.stop);
        let (inlet, intake) = self.intake.join().map_err(|_| DaemonError::Panicked("intake"))?;
        self.pipeline.finish(inlet)?;
        drop(self.socket);
        let counters = self.observer.counters.snapshot();
        log::info!(
            "files: {} scored, {} copies of known images, {} failed attempts",
            counters.scored,
            counters.linked,
            counters.failed
        );
        intake
    }
}

fn status_socket(database: &Path, observer: &Arc<Observer>) -> Option<StatusSocket> {
    let observer = Arc::clone(observer);
    let started = StatusSocket::start(database, move || observer.status());
    let warn = |error: &std::io::Error| {
        log::warn!(
            "{}: the status socket beside the database cannot be created: {error}. Scoring continues, but `edge-scorer status` \
             does not show this daemon. Check that the directory of the database is writable and that its file system supports sockets",
            database.display()
        );
    };
    started.inspect_err(warn).ok()
}
