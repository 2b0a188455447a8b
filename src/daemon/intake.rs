//! The intake thread of the daemon: events and scans in, files that have settled out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select};

use crate::clock::{Clock, SystemClock};
use crate::config::WatchSettings;
use crate::store::{FileState, StoreError};
use crate::watch::{
    self, FileStamp, Hint, Observed, RescanReason, RootState, ScanError, Settler, Sighting, Source, SourceOptions,
};

use super::DaemonError;
use super::pipeline::Inlet;
use super::survey::{SurveyError, Surveyor, is_gone};
use super::work::Outcome;

/// Hints that wait; more become a scan.
const HINTS: usize = 4096;
/// Files that may be in the middle of being written; more become a scan.
const SETTLING: usize = 20_000;
/// Settled files that are handed on before the events are looked at again.
const SETTLED_AT_ONCE: usize = 64;
/// Wait after a database that could not be read for the moment.
const AFTER_TROUBLE: Duration = Duration::from_secs(15);

/// Watches the directories and feeds the pipeline.
pub(super) struct Intake {
    settings: WatchSettings,
    surveyor: Surveyor,
    sources: Vec<Source>,
    hints: Receiver<Hint>,
    settler: Settler,
    clock: SystemClock,
    next_rescan: Duration,
}

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
            surveyor: Surveyor::new(inlet),
            sources,
            hints,
            settler: Settler::new(settings.settle, SETTLING),
            clock: SystemClock::new(),
            next_rescan: Duration::ZERO,
        })
    }

    /// Works until the stop. Gives the inlet back so that the pipeline can be ended behind it.
    pub(super) fn run(mut self) -> (Inlet, Result<(), DaemonError>) {
        let result = self.watch();
        drop(self.sources);
        (self.surveyor.inlet, result)
    }

    fn watch(&mut self) -> Result<(), DaemonError> {
        let mut first = true;
        loop {
            let step = if self.clock.now().monotonic >= self.next_rescan {
                self.next_rescan = self.clock.now().monotonic + self.settings.rescan_interval;
                // A first scan that failed leaves its questions to the next one.
                self.scan_all(first).inspect(|()| first = false)
            } else {
                self.wait()
            };
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
        self.next_rescan = self.clock.now().monotonic + AFTER_TROUBLE;
        Ok(())
    }

    fn wait(&mut self) -> Result<(), SurveyError> {
        let now = self.clock.now().monotonic;
        let next = self.settler.next_deadline().map_or(self.next_rescan, |d| d.min(self.next_rescan));
        let (hints, stop) = (self.hints.clone(), self.surveyor.inlet.stop.clone());
        let again = self.surveyor.inlet.in_flight.nudged().clone();
        select! {
            recv(stop.channel()) -> _ => return Err(SurveyError::Ended),
            recv(hints) -> hint => if let Ok(hint) = hint { self.follow(hint)? },
            recv(again) -> _ => {
                for path in self.surveyor.inlet.in_flight.take_again() {
                    if is_gone(&path) { self.note_removed(&path)? } else { self.look_at(&path)? }
                }
            }
            default(next.saturating_sub(now)) => {}
        }
        self.pass_on_settled()
    }

    fn follow(&mut self, hint: Hint) -> Result<(), SurveyError> {
        match hint {
            Hint::Changed(path) => self.look_at(&path),
            Hint::Removed(path) => self.note_removed(&path),
            Hint::Rescan { dir, reason } => {
                if reason != RescanReason::Periodic {
                    log::info!("scanning {}: {reason}", dir.display());
                }
                self.scan_dir(&dir, false)
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
        for settled in self.settler.due(self.clock.now(), SETTLED_AT_ONCE, stat) {
            if self.surveyor.must_read(&settled.path, settled.stamp, true)? {
                self.surveyor.submit(settled.path, settled.stamp)?;
            }
        }
        self.surveyor.flush()?;
        if self.settler.take_refused() {
            self.next_rescan = Duration::ZERO;
        }
        Ok(())
    }

    fn scan_all(&mut self, check_scores: bool) -> Result<(), SurveyError> {
        for dir in self.settings.dirs.clone() {
            match self.scan_dir(&dir, check_scores) {
                // One directory that is away or unreadable does not keep the others waiting.
                Err(SurveyError::Scan(error)) => log::warn!("{error}"),
                other => other?,
            }
        }
        Ok(())
    }

    fn scan_dir(&mut self, dir: &Path, check_scores: bool) -> Result<(), SurveyError> {
        let Some(root) = self.root_of(dir) else { return Ok(()) };
        let found = match watch::scan(&root, dir, self.settings.recursive) {
            Err(ScanError::Offline { .. }) => return self.surveyor.note_missing(&root),
            other => other?,
        };
        for item in found {
            match item {
                Ok(file) => {
                    if self.surveyor.must_read(&file.path, file.stamp, check_scores)?
                        && self.settler.observe(&file.path, file.stamp, Sighting::Scan, self.clock.now())
                            == Observed::Ready
                    {
                        self.surveyor.submit(file.path, file.stamp)?;
                    }
                }
                Err(error) => log::warn!("{error}"),
            }
            if self.surveyor.inlet.stop.is_stopped() {
                return Err(SurveyError::Ended);
            }
        }
        self.surveyor.flush()?;
        if dir == root { self.surveyor.note_missing(&root) } else { self.surveyor.note_missing_below(dir) }
    }

    /// The watched directory that a path lies in; the deepest one where they are nested.
    fn root_of(&self, path: &Path) -> Option<PathBuf> {
        self.settings.dirs.iter().filter(|dir| path.starts_with(dir)).max_by_key(|dir| dir.as_os_str().len()).cloned()
    }
}
