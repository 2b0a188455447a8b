//! `edge-scorer scan`: scores the images that exist now, then ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, never, select};

use super::backlog::Job;
use super::counters::{Counters, Snapshot};
use super::driver::{Driver, DriverOptions, Page, Wake};
use super::pipeline::{Lane, Start};
use super::shutdown::stop_pair;
use super::survey::SurveyError;
use super::tagging::check_always;
use super::{Control, DaemonError};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::watch::{Hint, ScanError};
use edge_model::scorer::Scorer;

/// Largest number of files that may be settling at the same time. Further files are left for another scan.
const MAX_SETTLING: usize = 10_000;
/// Number of files that are looked up in the database together.
const PAGE_FILES: usize = 256;
/// Longest wait for files to settle. A file that is still changing after this time is left for another scan.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a decoder process. A scan ends with an error then, because somebody waits for it.
const DECODER_PATIENCE: Duration = Duration::from_secs(30);

/// The result of a scan.
#[derive(Debug, Clone)]
pub struct ScanReport {
    /// The counters at the end of the scan.
    pub counters: Snapshot,
    /// One message for each directory or file that could not be read.
    pub unreadable: Vec<String>,
    /// Files that were still being written when they were read or when the scan ended.
    pub still_written: Vec<PathBuf>,
    /// Whether the scan was stopped by a signal.
    pub stopped: bool,
}

impl ScanReport {
    /// Returns whether every image that was found has been scored.
    pub fn is_complete(&self) -> bool {
        let Snapshot { failed, waiting, .. } = self.counters;
        failed + waiting == 0 && self.unreadable.is_empty() && self.still_written.is_empty() && !self.stopped
    }
}

/// Scores the images below the directories in the settings. Images that the database already contains get only their missing scores.
///
/// # Errors
/// [`DaemonError`]: a directory does not exist, the database cannot be written, or the device fails.
pub fn scan(
    settings: &Settings,
    scorer: Scorer,
    counters: &Arc<Counters>,
    control: &Receiver<Control>,
    clock: &SharedClock,
) -> Result<ScanReport, DaemonError> {
    if settings.watch.dirs.is_empty() {
        return Err(DaemonError::NothingToWatch);
    }
    if let Some(path) = settings.watch.dirs.iter().find(|dir| !dir.is_dir()) {
        return Err(DaemonError::NoDirectory { path: path.clone() });
    }
    check_always(&settings.tags, &scorer)?;
    let (handle, stop) = stop_pair();
    let (done, finished) = bounded::<()>(0);
    let control = control.clone();
    let stopper = std::thread::spawn(move || {
        let signalled = select! { recv(control) -> signal => signal.is_ok(), recv(finished) -> _ => false };
        drop(handle);
        signalled
    });
    let patience = Some(DECODER_PATIENCE);
    let start = Start { settings, patience, scorer: &Arc::new(scorer), counters, stop: &stop, clock };
    let (pipeline, inlet) = start.pipeline()?;
    let options = DriverOptions {
        settle: settings.watch.settle,
        settling: MAX_SETTLING,
        recursive: settings.watch.recursive,
        page: PAGE_FILES,
        settled_lane: Lane::Backlog,
    };
    let mut pass = Pass {
        driver: Driver::new(inlet, options),
        clock: Arc::clone(clock),
        hints: never(),
        unreadable: Vec::new(),
        still_written: Vec::new(),
    };
    let result = pass.all(&settings.watch.dirs);
    let Pass { driver, unreadable, mut still_written, .. } = pass;
    let inlet = driver.surveyor.inlet;
    let in_flight = inlet.in_flight.clone();
    // A failed thread of the pipeline also ends the survey. Its error names the cause, so it is returned first.
    pipeline.finish(inlet)?;
    match result {
        Ok(()) | Err(SurveyError::Ended) => {}
        Err(SurveyError::Store(error)) => return Err(error.into()),
        Err(SurveyError::Scan(error)) => return Err(DaemonError::Scan(error)),
    }
    still_written.extend(in_flight.take_rechecks());
    drop(done);
    let stopped = stopper.join().unwrap_or(false);
    Ok(ScanReport { counters: counters.snapshot(), unreadable, still_written, stopped })
}

/// One run of `scan` over its directories.
struct Pass {
    driver: Driver,
    clock: SharedClock,
    /// A channel that never receives a hint, because a scan watches no directory.
    hints: Receiver<Hint>,
    unreadable: Vec<String>,
    still_written: Vec<PathBuf>,
}

impl Pass {
    fn all(&mut self, dirs: &[PathBuf]) -> Result<(), SurveyError> {
        for dir in dirs {
            match self.survey(dir) {
                // If one of several directories cannot be read, the scan continues with the next one.
                Err(SurveyError::Scan(error)) if dirs.len() > 1 => {
                    self.report(&error);
                    continue;
                }
                other => other?,
            }
            self.wait_for_writers()?;
            self.driver.surveyor.note_missing(dir)?;
        }
        Ok(())
    }

    /// Surveys a directory. Sends to the pipeline the files that must be read and have settled.
    fn survey(&mut self, dir: &Path) -> Result<(), SurveyError> {
        self.driver.scan(Job::of_root(dir, true));
        loop {
            self.driver.send_queued()?;
            if self.driver.can_survey() {
                if self.driver.surveyor.inlet.stop.is_stopped() {
                    return Err(SurveyError::Ended);
                }
                let Page { unreadable, refused, ended } = self.driver.survey_page()?;
                unreadable.iter().for_each(|error| self.report(error));
                self.still_written.extend(refused);
                if let Some((_, result)) = ended {
                    result?;
                }
            } else if self.driver.has_offers() {
                self.wait(Duration::MAX)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Waits until files that changed shortly before the scan have settled, at most for [`SETTLE_TIMEOUT`].
    fn wait_for_writers(&mut self) -> Result<(), SurveyError> {
        let end = self.clock.now().monotonic + SETTLE_TIMEOUT;
        while let Some(deadline) = self.driver.settler.next_deadline() {
            if self.clock.now().monotonic >= end {
                self.still_written.extend(self.driver.settler.waiting().map(Path::to_owned));
                break;
            }
            self.wait(deadline.min(end))?;
            self.driver.send_settled()?;
            self.driver.send_queued()?;
        }
        while self.driver.has_offers() {
            self.wait(Duration::MAX)?;
            self.driver.send_queued()?;
        }
        Ok(())
    }

    fn wait(&mut self, deadline: Duration) -> Result<(), SurveyError> {
        if let Wake::Recheck(paths) = self.driver.wait(&self.hints, deadline)? {
            self.still_written.extend(paths);
        }
        Ok(())
    }

    fn report(&mut self, error: &ScanError) {
        log::warn!("{error}");
        self.unreadable.push(error.to_string());
    }
}
