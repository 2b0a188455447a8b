//! The intake thread of the daemon: events and scans in, files that have settled out.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::{Clock, SystemClock};
use crate::config::WatchSettings;
use crate::store::{FileState, StoreError};
use crate::watch::{
    self, FileStamp, Found, Hint, Observed, RescanReason, RootState, ScanError, Settler, Sighting, Source,
    SourceOptions, StatusHandle,
};

use super::DaemonError;
use super::backlog::{Backlog, Job, Offer, Step};
use super::counters::Counters;
use super::pipeline::{Inlet, Lane};
use super::survey::{SurveyError, Surveyor, is_gone};
use super::work::{Candidate, Outcome, StoredWork};

/// Hints that wait; more become a scan.
const HINTS: usize = 4096;
/// Files that may be in the middle of being written; more become a scan.
const SETTLING: usize = 20_000;
/// Settled files that are handed on before the events are looked at again.
const SETTLED_AT_ONCE: usize = 64;
/// Files that a scan looks at before the events are looked at again.
const SCANNED_AT_ONCE: usize = 64;
/// Longest time until the ledger is asked again for files whose next attempt is due: `failures --retry` makes some so at any time.
const LEDGER_INTERVAL: Duration = Duration::from_secs(5);
/// Due files that are taken from the ledger at once; what is left comes with the next look or scan.
const RETRIED_AT_ONCE: usize = 256;
/// Wait after a database that could not be read for the moment.
const AFTER_TROUBLE: Duration = Duration::from_secs(15);

/// Watches the directories and feeds the pipeline.
pub(super) struct Intake {
    settings: WatchSettings,
    surveyor: Surveyor,
    backlog: Backlog,
    sources: Vec<Source>,
    hints: Receiver<Hint>,
    settler: Settler,
    clock: SystemClock,
    next_rescan: Duration,
    /// When the ledger of failures is asked again.
    next_retry: Duration,
    /// No scan goes on before this time.
    resume_at: Duration,
    /// Whether the database was compared with the tags and the model since the start.
    scores_checked: bool,
    /// Channels that nobody takes anything from.
    nobody: (Channel<Candidate>, Channel<StoredWork>),
}

type Channel<T> = (Sender<T>, Receiver<T>);

impl Intake {
    /// Starts to watch; events are collected from here on, so the first scan misses nothing.
    pub(super) fn start(settings: &WatchSettings, inlet: Inlet) -> Result<Self, Box<(Inlet, DaemonError)>> {
        let (sender, hints) = bounded(HINTS);
        let options = SourceOptions {
            choice: settings.source,
            recursive: settings.recursive,
            poll_interval: settings.poll_interval,
        };
        let mut sources = Vec::new();
        for dir in &settings.dirs {
            match Source::start(dir, options, sender.clone()) {
                Ok(source) => {
                    let status = source.status();
                    log::info!("watching {} by {} ({})", dir.display(), status.kind, status.reason);
                    sources.push(source);
                }
                Err(error) => return Err(Box::new((inlet, error.into()))),
            }
        }
        Ok(Self {
            settings: settings.clone(),
            backlog: Backlog::new(settings.recursive, &inlet.counters),
            surveyor: Surveyor::new(inlet),
            sources,
            hints,
            settler: Settler::new(settings.settle, SETTLING),
            clock: SystemClock::new(),
            next_rescan: Duration::ZERO,
            next_retry: LEDGER_INTERVAL,
            resume_at: Duration::ZERO,
            scores_checked: false,
            nobody: (bounded(0), bounded(0)),
        })
    }

    /// How the sources are.
    pub(super) fn sources(&self) -> Vec<(PathBuf, StatusHandle)> {
        self.settings.dirs.iter().cloned().zip(self.sources.iter().map(Source::status_handle)).collect()
    }

    /// Works until the stop. Gives the inlet back so that the pipeline can be ended behind it.
    pub(super) fn run(mut self) -> (Inlet, Result<(), DaemonError>) {
        let result = self.watch();
        drop(self.sources);
        (self.surveyor.inlet, result)
    }

    fn watch(&mut self) -> Result<(), DaemonError> {
        loop {
            let now = self.clock.now().monotonic;
            if now >= self.next_rescan {
                self.next_rescan = now + self.settings.rescan_interval;
                let check_scores = !std::mem::replace(&mut self.scores_checked, true);
                for dir in self.settings.dirs.clone() {
                    self.backlog.scan(Job::of_root(&dir, check_scores));
                }
            }
            let step = self.retry_due(now).and_then(|()| self.go_on_scanning(now)).and_then(|()| self.wait());
            match step {
                Ok(()) => {}
                Err(SurveyError::Ended) => return Ok(()),
                Err(SurveyError::Scan(error)) => log::warn!("{error}"),
                Err(SurveyError::Store(error)) => self.postpone(error)?,
            }
        }
    }

    /// A database that is locked or on a full disk is read again later; what was missed is found by that scan.
    fn postpone(&mut self, error: StoreError) -> Result<(), DaemonError> {
        if !error.is_transient() {
            return Err(error.into());
        }
        log::warn!("scanning again in {AFTER_TROUBLE:?}: {error}");
        self.backlog.start_over();
        self.next_rescan = self.clock.now().monotonic + AFTER_TROUBLE;
        self.resume_at = self.next_rescan;
        Ok(())
    }

    fn wait(&mut self) -> Result<(), SurveyError> {
        let timeout = self.time_to_wait();
        let (hints, stop) = (self.hints.clone(), self.surveyor.inlet.stop.clone());
        let again = self.surveyor.inlet.in_flight.nudged().clone();
        // What the front of the backlog is for; the other channel takes nothing.
        let inlet = &self.surveyor.inlet;
        let (no_files, no_stored) = (&self.nobody.0.0, &self.nobody.1.0);
        let (files, stored) = match self.backlog.offers.front() {
            Some(Offer::File(_)) => (inlet.lane(Lane::Backlog).clone(), no_stored.clone()),
            Some(Offer::Stored(_)) => (no_files.clone(), inlet.stored().clone()),
            None => (no_files.clone(), no_stored.clone()),
        };
        let offers = &mut self.backlog.offers;
        select! {
            recv(stop.channel()) -> _ => return Err(SurveyError::Ended),
            recv(hints) -> hint => if let Ok(hint) = hint { self.follow(hint)? },
            recv(again) -> _ => {
                for path in self.surveyor.inlet.in_flight.take_again() {
                    if is_gone(&path) { self.note_removed(&path)? } else { self.look_at(&path)? }
                }
            }
            send(files, take_file(offers)) -> sent => sent.map_err(|_| SurveyError::Ended)?,
            send(stored, take_stored(offers)) -> sent => sent.map_err(|_| SurveyError::Ended)?,
            default(timeout) => {}
        }
        self.pass_on_settled()
    }

    fn time_to_wait(&self) -> Duration {
        let now = self.clock.now().monotonic;
        if self.backlog.can_step() && now >= self.resume_at {
            return Duration::ZERO;
        }
        let next = self.next_rescan.min(self.next_retry.max(self.resume_at));
        let next = self.settler.next_deadline().map_or(next, |deadline| deadline.min(next));
        next.saturating_sub(now)
    }

    fn follow(&mut self, hint: Hint) -> Result<(), SurveyError> {
        match hint {
            Hint::Changed(path) => self.look_at(&path),
            Hint::Removed(path) => self.note_removed(&path),
            Hint::Rescan { dir, reason } => {
                if reason != RescanReason::Periodic {
                    log::info!("scanning {}: {reason}", dir.display());
                }
                if let Some(root) = self.root_of(&dir) {
                    self.backlog.scan(Job { root, dir, check_scores: false });
                }
                Ok(())
            }
        }
    }

    fn look_at(&mut self, path: &Path) -> Result<(), SurveyError> {
        let Some(root) = self.root_of(path) else { return Ok(()) };
        // A link may lead out of the tree; what it leads to is then nobody's image here.
        match FileStamp::read_inside(&root, path) {
            Ok(Some(stamp)) => {
                self.settler.observe(path, stamp, Sighting::Hint, self.clock.now());
            }
            Ok(None) => self.settler.remove(path),
            Err(error) => log::warn!("{}: cannot be looked at: {error}", path.display()),
        }
        Ok(())
    }

    fn note_removed(&mut self, path: &Path) -> Result<(), SurveyError> {
        self.settler.remove(path);
        self.surveyor.inlet.in_flight.look_again_at(path);
        let Some(root) = self.root_of(path) else { return Ok(()) };
        if !matches!(watch::root_state(&root), Ok(RootState::Online)) {
            return self.surveyor.note_missing(&root);
        }
        if is_gone(path) {
            self.surveyor
                .inlet
                .record(Outcome::Presence { paths: vec![path.to_owned()], state: FileState::Missing })?;
            self.surveyor.note_missing_below(path)?;
        }
        Ok(())
    }

    fn pass_on_settled(&mut self) -> Result<(), SurveyError> {
        let stat = |path: &Path| FileStamp::read(path).ok().flatten();
        let lane = if self.settings.new_first { Lane::Fresh } else { Lane::Backlog };
        for settled in self.settler.due(self.clock.now(), SETTLED_AT_ONCE, stat) {
            if self.surveyor.must_read(&settled.path, settled.stamp, true)? {
                self.surveyor.submit(settled.path, settled.stamp, lane)?;
            }
        }
        if self.settler.take_refused() {
            self.next_rescan = Duration::ZERO;
        }
        Counters::set(&self.surveyor.inlet.counters.settling, self.settler.len() as u64);
        self.collect_stored();
        Ok(())
    }

    /// A few steps of the scan at work, while its finds are taken.
    fn go_on_scanning(&mut self, now: Duration) -> Result<(), SurveyError> {
        if now < self.resume_at {
            return Ok(());
        }
        for _ in 0..SCANNED_AT_ONCE {
            if !self.backlog.can_step() {
                break;
            }
            match self.backlog.step() {
                Step::Idle => break,
                Step::Found(job, Ok(found)) => self.look_at_found(&job, found)?,
                Step::Found(_, Err(error)) => log::warn!("{error}"),
                Step::Finished(job, result) => self.end_scan(&job, result)?,
            }
        }
        Ok(())
    }

    fn look_at_found(&mut self, job: &Job, found: Found) -> Result<(), SurveyError> {
        self.offer(found.path, found.stamp, job.check_scores)?;
        self.take_full_stored();
        Ok(())
    }

    /// Takes the files up whose next attempt is due.
    fn retry_due(&mut self, now: Duration) -> Result<(), SurveyError> {
        if now < self.next_retry || now < self.resume_at {
            return Ok(());
        }
        let reader = &self.surveyor.inlet.reader;
        let wall = self.clock.now().wall;
        let (due, next) = (reader.failures_due(wall, RETRIED_AT_ONCE)?, reader.next_failure_due()?);
        for path in due {
            let Some(root) = self.root_of(&path) else { continue };
            // A scan notes what is gone; what cannot be looked at now may be readable later.
            if let Ok(Some(stamp)) = FileStamp::read_inside(&root, &path) {
                self.offer(path, stamp, false)?;
            }
        }
        let wait =
            next.map_or(LEDGER_INTERVAL, |next| Duration::try_from(next.duration_since(wall)).unwrap_or_default());
        self.next_retry = now + wait.clamp(Duration::from_secs(1), LEDGER_INTERVAL);
        Ok(())
    }

    fn offer(&mut self, path: PathBuf, stamp: FileStamp, check_scores: bool) -> Result<(), SurveyError> {
        if self.surveyor.must_read(&path, stamp, check_scores)?
            && self.settler.observe(&path, stamp, Sighting::Scan, self.clock.now()) == Observed::Ready
            && let Some(candidate) = self.surveyor.inlet.take_in(path, stamp)
        {
            self.backlog.offer(Offer::File(candidate));
        }
        Ok(())
    }

    fn end_scan(&mut self, job: &Job, result: Result<(), ScanError>) -> Result<(), SurveyError> {
        self.collect_stored();
        match result {
            Err(ScanError::Offline { .. }) => self.surveyor.note_missing(&job.root),
            // One directory that is unreadable does not keep the others waiting.
            Err(error) => Err(error.into()),
            Ok(()) if job.dir == job.root => self.surveyor.note_missing(&job.root),
            Ok(()) => self.surveyor.note_missing_below(&job.dir),
        }
    }

    fn take_full_stored(&mut self) {
        self.surveyor.take_stored().into_iter().for_each(|work| self.backlog.offer(Offer::Stored(work)));
    }

    /// What was collected so far is work now, however little it is.
    fn collect_stored(&mut self) {
        self.surveyor.collect_stored();
        self.take_full_stored();
    }

    /// The watched directory that a path lies in; the deepest one where they are nested.
    fn root_of(&self, path: &Path) -> Option<PathBuf> {
        self.settings.dirs.iter().filter(|dir| path.starts_with(dir)).max_by_key(|dir| dir.as_os_str().len()).cloned()
    }
}

fn take_file(offers: &mut VecDeque<Offer>) -> Candidate {
    match offers.pop_front() {
        Some(Offer::File(candidate)) => candidate,
        _ => unreachable!("the channel for files is open only when a file is at the front"),
    }
}

fn take_stored(offers: &mut VecDeque<Offer>) -> StoredWork {
    match offers.pop_front() {
        Some(Offer::Stored(work)) => work,
        _ => unreachable!("the channel for embeddings is open only when some are at the front"),
    }
}
