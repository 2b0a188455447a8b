//! `edge-scorer scan`: score what is there, then end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select};

use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::watch::{self, FileStamp, Observed, Settler, Sighting};
use edge_model::scorer::Scorer;

use super::counters::{Counters, Snapshot};
use super::decoder::Decoders;
use super::pipeline::{Lane, Pipeline};
use super::shutdown::{StopToken, stop_pair};
use super::survey::{SurveyError, Surveyor};
use super::tagging::check_always;
use super::{Control, DaemonError};

/// Files that may be in the middle of being written at the same time; more are found by another walk.
const SETTLING: usize = 10_000;
/// Files whose rows are looked up together.
const PAGE: usize = 256;
/// A file that is still growing after this long is left for another scan.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a scan came to.
#[derive(Debug, Clone)]
pub struct ScanReport {
    /// The final counters.
    pub counters: Snapshot,
    /// Directories and files that could not be looked at, as messages.
    pub unreadable: Vec<String>,
    /// Files that were still being written when they were read, or at the end.
    pub still_written: Vec<PathBuf>,
    /// Whether the scan was stopped by a signal.
    pub stopped: bool,
}

impl ScanReport {
    /// Whether every image that was found is scored.
    pub fn is_complete(&self) -> bool {
        let Snapshot { failed, waiting, .. } = self.counters;
        failed + waiting == 0 && self.unreadable.is_empty() && self.still_written.is_empty() && !self.stopped
    }
}

/// Scores every image below the settings' directories that the database does not know yet.
///
/// # Errors
/// [`DaemonError`]: a directory that is not there, a database that cannot be written, a device that fails.
pub fn scan(
    settings: &Settings,
    decoders: Decoders,
    scorer: Scorer,
    counters: &Arc<Counters>,
    control: &Receiver<Control>,
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
    let (pipeline, inlet) = Pipeline::start(settings, decoders, &Arc::new(scorer), counters, &stop)?;
    let mut pass = Pass {
        surveyor: Surveyor::new(inlet),
        clock: SystemClock::new(),
        settler: Settler::new(settings.watch.settle, SETTLING),
        unreadable: Vec::new(),
        still_written: Vec::new(),
    };
    let result = pass.all(&settings.watch.dirs, settings.watch.recursive);
    let Pass { surveyor, unreadable, mut still_written, .. } = pass;
    let in_flight = surveyor.inlet.in_flight.clone();
    // A failure further right ends the survey too and is the better message.
    pipeline.finish(surveyor.inlet)?;
    match result {
        Ok(()) | Err(SurveyError::Ended) => {}
        Err(SurveyError::Store(error)) => return Err(error.into()),
        Err(SurveyError::Scan(error)) => return Err(DaemonError::Scan(error)),
    }
    still_written.extend(in_flight.take_again());
    drop(done);
    let stopped = stopper.join().unwrap_or(false);
    Ok(ScanReport { counters: counters.snapshot(), unreadable, still_written, stopped })
}

struct Pass {
    surveyor: Surveyor,
    clock: SystemClock,
    settler: Settler,
    unreadable: Vec<String>,
    still_written: Vec<PathBuf>,
}

impl Pass {
    fn all(&mut self, dirs: &[PathBuf], recursive: bool) -> Result<(), SurveyError> {
        for dir in dirs {
            match self.walk(dir, recursive) {
                // One directory that cannot be read does not keep the others waiting.
                Err(SurveyError::Scan(error)) if dirs.len() > 1 => {
                    log::warn!("{error}");
                    self.unreadable.push(error.to_string());
                    continue;
                }
                other => other?,
            }
            self.surveyor.collect_stored();
            self.surveyor.submit_stored()?;
            self.wait_for_writers()?;
            self.surveyor.note_missing(dir)?;
        }
        Ok(())
    }

    fn walk(&mut self, dir: &Path, recursive: bool) -> Result<(), SurveyError> {
        let mut files = watch::scan(dir, dir, recursive)?;
        let mut page = Vec::with_capacity(PAGE);
        loop {
            let mut looked = 0;
            for found in files.by_ref().take(PAGE) {
                looked += 1;
                match found {
                    Ok(found) => page.push(found),
                    Err(error) => {
                        log::warn!("{error}");
                        self.unreadable.push(error.to_string());
                    }
                }
            }
            if looked == 0 {
                return Ok(());
            }
            if self.stop().is_stopped() {
                return Err(SurveyError::Ended);
            }
            Counters::add(&self.surveyor.inlet.counters.found, page.len() as u64);
            let must_read = self.surveyor.must_read_each(&page)?;
            self.surveyor.submit_stored()?;
            for (found, _) in page.drain(..).zip(must_read).filter(|(_, must_read)| *must_read) {
                match self.settler.observe(&found.path, found.stamp, Sighting::Scan, self.clock.now()) {
                    Observed::Ready => self.surveyor.submit(found.path, found.stamp, Lane::Backlog)?,
                    Observed::Waiting => {}
                    Observed::Refused => self.still_written.push(found.path),
                }
            }
        }
    }

    /// Files that were touched just before the scan are given the time to settle.
    fn wait_for_writers(&mut self) -> Result<(), SurveyError> {
        let give_up = self.clock.now().monotonic + PATIENCE;
        while let Some(deadline) = self.settler.next_deadline() {
            let now = self.clock.now();
            let stat = |path: &Path| FileStamp::read(path).ok().flatten();
            for settled in self.settler.due(now, usize::MAX, stat) {
                self.surveyor.submit(settled.path, settled.stamp, Lane::Backlog)?;
            }
            if now.monotonic >= give_up {
                self.still_written.extend(self.settler.waiting().map(Path::to_owned));
                return Ok(());
            }
            let pause = deadline.saturating_sub(now.monotonic).min(Duration::from_millis(250));
            let _ = self.stop().channel().recv_timeout(pause);
            if self.stop().is_stopped() {
                return Err(SurveyError::Ended);
            }
        }
        Ok(())
    }

    fn stop(&self) -> StopToken {
        self.surveyor.inlet.stop.clone()
    }
}
