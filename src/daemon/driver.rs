//! Surveys directories, waits until files have settled and sends them to the pipeline. The daemon's intake and `scan` share this driver.
//! The intake and `scan` decide which directories to survey and when to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, TrySendError};

use super::backlog::{Backlog, Job, Offer, Step};
use super::counters::Counters;
use super::pipeline::{Inlet, Lane};
use super::survey::{SurveyError, Surveyor};
use crate::clock::SharedClock;
use crate::identity::FileStamp;
use crate::watch::{Found, Hint, Observed, ScanError, Settler, Sighting};

/// Largest number of settled files that are sent on before the next hint is received.
const MAX_SETTLED_PER_ROUND: usize = 64;

/// The options of a driver.
#[derive(Debug, Clone, Copy)]
pub(super) struct DriverOptions {
    /// Time that a file must stay unchanged before it counts as settled.
    pub(super) settle: Duration,
    /// Largest number of files that may be settling at the same time.
    pub(super) settling: usize,
    /// Whether subdirectories are surveyed.
    pub(super) recursive: bool,
    /// Number of files in one page: the files that are looked up in the database together.
    pub(super) page: usize,
    /// Lane for files that had to settle first.
    pub(super) settled_lane: Lane,
}

/// The reason why a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// A hint from a watched directory arrived.
    Hint(Hint),
    /// Files that changed while they were in flight and must be looked at again.
    Recheck(Vec<PathBuf>),
    /// The deadline was reached, or the pipeline has room.
    Continue,
}

/// The result of one page of a survey. Files that go to the pipeline are not part of it.
#[derive(Default)]
pub(super) struct Page {
    /// Directories and files that could not be read.
    pub(super) unreadable: Vec<ScanError>,
    /// Files that the settler refused because it was full.
    pub(super) refused: Vec<PathBuf>,
    /// The directory whose survey ended with this page, either completely or because it could not be opened.
    pub(super) ended: Option<(Job, Result<(), ScanError>)>,
}

/// Surveys directories and sends files to the pipeline.
pub(super) struct Driver {
    pub(super) surveyor: Surveyor,
    pub(super) settler: Settler,
    backlog: Backlog,
    clock: SharedClock,
    options: DriverOptions,
}

impl Driver {
    pub(super) fn new(inlet: Inlet, options: DriverOptions) -> Self {
        Self {
            backlog: Backlog::new(options.recursive, &inlet.counters),
            settler: Settler::new(options.settle, options.settling),
            clock: inlet.clock.clone(),
            surveyor: Surveyor::new(inlet),
            options,
        }
    }

    /// Queues a survey of a directory.
    pub(super) fn scan(&mut self, job: Job) {
        self.backlog.scan(job);
    }

    /// Restarts the current survey from its beginning.
    pub(super) fn start_over(&mut self) {
        self.backlog.start_over();
    }

    /// Returns whether a directory waits for its survey and all files found so far have been sent to the pipeline.
    pub(super) fn can_survey(&self) -> bool {
        self.backlog.can_step()
    }

    /// Returns whether files or missing scores wait for room in the pipeline.
    pub(super) fn has_offers(&self) -> bool {
        !self.backlog.offers.is_empty()
    }

    /// Surveys at most one page of files. Files that must be read are queued until [`Driver::send_queued`] sends them.
    pub(super) fn survey_page(&mut self) -> Result<Page, SurveyError> {
        let mut page = Page::default();
        let mut found = Vec::with_capacity(self.options.page);
        let mut check_scores = false;
        while found.len() + page.unreadable.len() < self.options.page {
            match self.backlog.step() {
                Step::Idle => break,
                Step::Found(job, Ok(file)) => {
                    check_scores = job.check_scores;
                    found.push(file);
                }
                Step::Found(_, Err(error)) => page.unreadable.push(error),
                Step::Finished(job, result) => {
                    page.ended = Some((job, result));
                    break;
                }
            }
        }
        Counters::add(&self.surveyor.inlet.counters.found, found.len() as u64);
        match self.offer_each(found, check_scores) {
            Ok(refused) => page.refused = refused,
            Err(error) => {
                // Not all files of this page were compared with the database, so the survey is not complete and must run again.
                if let Some((job, _)) = page.ended {
                    self.backlog.scan(job);
                }
                return Err(error);
            }
        }
        if page.ended.is_some() {
            self.collect_stored();
        }
        Ok(page)
    }

    /// Finds the files that must be read. Queues the settled ones for [`Driver::send_queued`] and leaves the others to the settler.
    /// Returns the files that the settler refused because it was full.
    fn offer_each(&mut self, found: Vec<Found>, check_scores: bool) -> Result<Vec<PathBuf>, SurveyError> {
        let must_read = self.surveyor.must_read_each(&found, check_scores)?;
        self.offer_stored();
        let mut refused = Vec::new();
        for (file, _) in found.into_iter().zip(must_read).filter(|(_, must_read)| *must_read) {
            match self.settler.observe(&file.path, file.stamp, Sighting::Scan, self.clock.now()) {
                Observed::Ready => self.offer_file(file),
                Observed::Waiting => {}
                Observed::Refused => refused.push(file.path),
            }
        }
        Ok(refused)
    }

    /// Processes one file in the same way as a survey.
    pub(super) fn offer(&mut self, path: PathBuf, stamp: FileStamp) -> Result<(), SurveyError> {
        self.offer_each(vec![Found { path, stamp }], false).map(drop)
    }

    fn offer_file(&mut self, file: Found) {
        if let Some(candidate) = self.surveyor.inlet.put_in_flight(file.path, file.stamp) {
            self.backlog.offer(Offer::File(candidate));
        }
    }

    fn offer_stored(&mut self) {
        self.surveyor.take_stored().into_iter().for_each(|work| self.backlog.offer(Offer::Stored(work)));
    }

    /// Queues all missing scores collected so far, even if they do not fill a message.
    fn collect_stored(&mut self) {
        self.surveyor.collect_stored();
        self.offer_stored();
    }

    /// Sends queued work to the pipeline until it is full. Does not block.
    pub(super) fn send_queued(&mut self) -> Result<(), SurveyError> {
        while let Some(offer) = self.backlog.offers.pop_front() {
            let inlet = &self.surveyor.inlet;
            let left = match offer {
                Offer::File(candidate) => try_send(inlet.lane(Lane::Backlog), candidate)?.map(Offer::File),
                Offer::Stored(work) => try_send(inlet.stored(), work)?.map(Offer::Stored),
            };
            if let Some(left) = left {
                self.backlog.offers.push_front(left);
                break;
            }
        }
        Ok(())
    }

    /// Sends the files that have settled to the decoders. Blocks while the lane is full.
    pub(super) fn send_settled(&mut self) -> Result<(), SurveyError> {
        let trees = &self.surveyor.inlet.trees;
        let stamp = |path: &Path| trees.of(path)?.stamp(path).ok().flatten();
        for settled in self.settler.due(self.clock.now(), MAX_SETTLED_PER_ROUND, stamp) {
            if self.surveyor.must_read(&settled.path, settled.stamp, true)? {
                self.surveyor.submit(settled.path, settled.stamp, self.options.settled_lane)?;
            }
        }
        Counters::set(&self.surveyor.inlet.counters.settling, self.settler.waiting().len() as u64);
        self.collect_stored();
        Ok(())
    }

    /// Waits for a hint, a file that must be looked at again, room for queued work, or the deadline.
    pub(super) fn wait(&self, hints: &Receiver<Hint>, deadline: Duration) -> Result<Wake, SurveyError> {
        let inlet = &self.surveyor.inlet;
        let timer = self.clock.timer(deadline);
        let mut select = Select::new();
        select.recv(inlet.stop.channel());
        select.recv(hints);
        select.recv(inlet.in_flight.rechecks());
        select.recv(&timer);
        match self.backlog.offers.front() {
            Some(Offer::File(_)) => select.send(inlet.lane(Lane::Backlog)),
            Some(Offer::Stored(_)) => select.send(inlet.stored()),
            None => 0,
        };
        select.ready();
        if inlet.stop.is_stopped() {
            return Err(SurveyError::Ended);
        }
        if let Ok(hint) = hints.try_recv() {
            return Ok(Wake::Hint(hint));
        }
        if inlet.in_flight.rechecks().try_recv().is_ok() {
            return Ok(Wake::Recheck(inlet.in_flight.take_rechecks()));
        }
        Ok(Wake::Continue)
    }

    /// Records the missing files of a directory after its survey is complete.
    pub(super) fn note_missing(&self, job: &Job) -> Result<(), SurveyError> {
        if job.dir == job.root {
            self.surveyor.note_missing(&job.root)
        } else {
            self.surveyor.note_missing_below(&job.dir)
        }
    }
}

/// Sends without blocking. Returns the message if the channel is full.
fn try_send<T>(channel: &Sender<T>, message: T) -> Result<Option<T>, SurveyError> {
    match channel.try_send(message) {
        Ok(()) => Ok(None),
        Err(TrySendError::Full(message)) => Ok(Some(message)),
        Err(TrySendError::Disconnected(_)) => Err(SurveyError::Ended),
    }
}
