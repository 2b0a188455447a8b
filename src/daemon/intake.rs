//! The intake thread of the daemon. It receives hints, runs the surveys and retries failed files when they are due.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::DaemonError;
use super::backlog::Job;
use super::driver::{Driver, DriverOptions, Page, Wake};
use super::pipeline::{Inlet, Lane};
use super::survey::SurveyError;
use super::work::Outcome;
use crate::clock::SharedClock;
use crate::config::WatchSettings;
use crate::store::{FileState, StoreError};
use crate::watch::{
    self, Hint, RescanReason, RootState, ScanError, Sighting, Source, SourceOptions, StatusHandle, Tree,
};

/// Capacity of the channel of hints. When it is full, further hints are replaced by a survey.
const HINT_CAPACITY: usize = 4096;
/// Largest number of files that may be settling at the same time. Further files are found by a later survey.
const MAX_SETTLING: usize = 20_000;
/// Number of files that a survey processes before the next hint is received.
const PAGE_FILES: usize = 64;
/// Longest time between two queries for failed files whose next attempt is due. `failures --retry` can make files due at any time.
const LEDGER_INTERVAL: Duration = Duration::from_secs(5);
/// Largest number of due files from one query. The others follow with the next query or survey.
const MAX_RETRIES_PER_QUERY: usize = 256;
/// Time between a transient database error and the next survey.
const DATABASE_RETRY_DELAY: Duration = Duration::from_secs(15);

/// Watches the directories and sends files to the pipeline.
pub(super) struct Intake {
    settings: WatchSettings,
    driver: Driver,
    sources: Vec<Source>,
    hints: Receiver<Hint>,
    clock: SharedClock,
    next_rescan: Duration,
    /// Time of the next query for failed files that are due.
    next_retry: Duration,
    /// Time until which surveys are paused.
    resume_at: Duration,
    /// Whether a survey that looks for missing scores has been requested since the start.
    scores_checked: bool,
}

impl Intake {
    /// Starts watching the directories. Hints are queued from this call on, so the first survey misses no change that happens while it
    /// runs. A failure gives the inlet back.
    pub(super) fn start(settings: &WatchSettings, inlet: Inlet) -> Result<Self, Box<(Inlet, DaemonError)>> {
        let (sender, hints) = bounded(HINT_CAPACITY);
        let clock = inlet.clock.clone();
        let options = SourceOptions {
            choice: settings.source,
            recursive: settings.recursive,
            poll_interval: settings.poll_interval,
        };
        let mut sources = Vec::new();
        for dir in &settings.dirs {
            match Source::start(dir, options, sender.clone(), clock.clone()) {
                Ok(source) => {
                    let status = source.status();
                    log::info!("watching {} by {} ({})", dir.display(), status.kind, status.reason);
                    sources.push(source);
                }
                Err(error) => return Err(Box::new((inlet, error.into()))),
            }
        }
        let options = DriverOptions {
            settle: settings.settle,
            settling: MAX_SETTLING,
            recursive: settings.recursive,
            page: PAGE_FILES,
            settled_lane: if settings.new_first { Lane::Fresh } else { Lane::Backlog },
        };
        let now = clock.now().monotonic;
        Ok(Self {
            settings: settings.clone(),
            driver: Driver::new(inlet, options),
            sources,
            hints,
            clock,
            next_rescan: now,
            next_retry: now + LEDGER_INTERVAL,
            resume_at: now,
            scores_checked: false,
        })
    }

    /// Returns the watched directories with the status of their sources.
    pub(super) fn sources(&self) -> Vec<(PathBuf, StatusHandle)> {
        self.settings.dirs.iter().cloned().zip(self.sources.iter().map(Source::status_handle)).collect()
    }

    /// Runs until a stop or a failure. Returns the inlet, which the caller needs to end the pipeline.
    pub(super) fn run(mut self) -> (Inlet, Result<(), DaemonError>) {
        let result = self.watch();
        drop(self.sources);
        (self.driver.surveyor.inlet, result)
    }

    fn watch(&mut self) -> Result<(), DaemonError> {
        loop {
            match self.work() {
                Ok(()) => {}
                Err(SurveyError::Ended) => return Ok(()),
                Err(SurveyError::Scan(error)) => log::warn!("{error}"),
                Err(SurveyError::Store(error)) => self.postpone(error)?,
            }
        }
    }

    /// Runs one round: timed work, one page of the current survey, then a wait for the next event.
    fn work(&mut self) -> Result<(), SurveyError> {
        let now = self.clock.now().monotonic;
        if now >= self.next_rescan {
            self.next_rescan = now + self.settings.rescan_interval;
            let check_scores = !std::mem::replace(&mut self.scores_checked, true);
            for dir in self.settings.dirs.clone() {
                self.driver.scan(Job::of_root(&dir, check_scores));
            }
        }
        self.retry_due(now)?;
        if self.driver.can_survey() && now >= self.resume_at {
            let page = self.driver.survey_page()?;
            self.end_page(page)?;
        }
        self.driver.send_queued()?;
        match self.driver.wait(&self.hints, self.next_deadline())? {
            Wake::Hint(hint) => self.follow(hint)?,
            Wake::Recheck(paths) => {
                for path in paths {
                    if self.driver.surveyor.lacks(&path) { self.note_removed(&path)? } else { self.look_at(&path)? }
                }
            }
            Wake::Continue => {}
        }
        self.driver.send_settled()?;
        if self.driver.settler.take_refused() {
            self.next_rescan = self.clock.now().monotonic;
        }
        Ok(())
    }

    /// Schedules a survey after a transient database error, such as a lock or a full disk. The survey finds the missed files. Any other
    /// error is returned.
    fn postpone(&mut self, error: StoreError) -> Result<(), DaemonError> {
        if !error.is_transient() {
            return Err(error.into());
        }
        log::warn!(
            "a database error interrupted the scan, which starts again in {} s: {error}",
            DATABASE_RETRY_DELAY.as_secs()
        );
        self.driver.start_over();
        self.next_rescan = self.clock.now().monotonic + DATABASE_RETRY_DELAY;
        self.resume_at = self.next_rescan;
        Ok(())
    }

    /// Returns the time at which the next timed work is due.
    fn next_deadline(&self) -> Duration {
        let now = self.clock.now().monotonic;
        if self.driver.can_survey() && now >= self.resume_at {
            return now;
        }
        let next = self.next_rescan.min(self.next_retry.max(self.resume_at));
        self.driver.settler.next_deadline().map_or(next, |deadline| deadline.min(next))
    }

    fn follow(&mut self, hint: Hint) -> Result<(), SurveyError> {
        match hint {
            Hint::Changed(path) => self.look_at(&path),
            Hint::Removed(path) => self.note_removed(&path),
            Hint::Rescan { dir, reason } => {
                if reason != RescanReason::Periodic {
                    log::info!("starting a scan of {}, because {reason}", dir.display());
                }
                if let Some(tree) = self.tree_of(&dir) {
                    self.driver.scan(Job { root: tree.root().to_owned(), dir, check_scores: false });
                }
                Ok(())
            }
        }
    }

    fn look_at(&mut self, path: &Path) -> Result<(), SurveyError> {
        let Some(tree) = self.tree_of(path) else { return Ok(()) };
        match tree.stamp(path) {
            Ok(Some(stamp)) => {
                self.driver.settler.observe(path, stamp, Sighting::Hint, self.clock.now());
            }
            Ok(None) => self.driver.settler.remove(path),
            Err(error) => {
                log::warn!(
                    "{}: the metadata of the file cannot be read: {error}. The next scan tries again",
                    path.display()
                );
            }
        }
        Ok(())
    }

    fn note_removed(&mut self, path: &Path) -> Result<(), SurveyError> {
        self.driver.settler.remove(path);
        let surveyor = &self.driver.surveyor;
        surveyor.inlet.in_flight.mark_for_recheck(path);
        let Some(tree) = self.tree_of(path) else { return Ok(()) };
        if !matches!(watch::root_state(tree.root()), Ok(RootState::Online)) {
            return surveyor.note_missing(tree.root());
        }
        if surveyor.lacks(path) {
            surveyor.inlet.record(Outcome::Presence { paths: vec![path.to_owned()], state: FileState::Missing })?;
            surveyor.note_missing_below(path)?;
        }
        Ok(())
    }

    fn end_page(&self, page: Page) -> Result<(), SurveyError> {
        page.unreadable.iter().for_each(|error| log::warn!("{error}"));
        match page.ended {
            None => Ok(()),
            Some((job, Ok(()))) => self.driver.note_missing(&job),
            Some((job, Err(ScanError::Offline { .. }))) => self.driver.surveyor.note_missing(&job.root),
            // The caller logs the error and continues, so an unreadable directory does not delay the others.
            Some((_, Err(error))) => Err(error.into()),
        }
    }

    /// Queues for the pipeline the failed files whose next attempt is due.
    fn retry_due(&mut self, now: Duration) -> Result<(), SurveyError> {
        if now < self.next_retry || now < self.resume_at {
            return Ok(());
        }
        let reader = &self.driver.surveyor.inlet.reader;
        let wall = self.clock.now().wall;
        let (due, next) = (reader.failures_due(wall, MAX_RETRIES_PER_QUERY)?, reader.next_failure_due()?);
        for path in due {
            let Some(tree) = self.tree_of(&path) else { continue };
            // Surveys record files that are gone. A file that cannot be read now may be readable later.
            if let Ok(Some(stamp)) = tree.stamp(&path) {
                self.driver.offer(path, stamp)?;
            }
        }
        let wait =
            next.map_or(LEDGER_INTERVAL, |next| Duration::try_from(next.duration_since(wall)).unwrap_or_default());
        self.next_retry = now + wait.clamp(Duration::from_secs(1), LEDGER_INTERVAL);
        Ok(())
    }

    fn tree_of(&self, path: &Path) -> Option<Tree> {
        self.driver.surveyor.inlet.trees.of(path).cloned()
    }
}
