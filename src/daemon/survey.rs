//! Compares the files of a directory with the database: finds new files, changed files, missing scores and files that are gone.

use std::path::{Path, PathBuf};

use crate::identity::FileStamp;
use crate::store::{FileLookup, FileState, StoreError};
use crate::watch::{self, Found, RootState, ScanError};

use super::backfill::{Backfill, Needs};
use super::counters::Counters;
use super::pipeline::{Ended, Inlet, Lane};
use super::work::{Outcome, StoredWork};

/// Number of known files that are read from the database together.
const PAGE_ROWS: usize = 512;

/// Why a survey stopped.
#[derive(Debug)]
pub(super) enum SurveyError {
    /// The pipeline is ending.
    Ended,
    /// The database cannot be read.
    Store(StoreError),
    /// The directory cannot be scanned.
    Scan(ScanError),
}

impl From<Ended> for SurveyError {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl From<StoreError> for SurveyError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ScanError> for SurveyError {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

/// Compares files with the database, and records their presence through the pipeline's inlet.
pub(super) struct Surveyor {
    pub(super) inlet: Inlet,
    backfill: Backfill,
    /// Missing scores that have not been taken yet.
    stored: Vec<StoredWork>,
}

impl Surveyor {
    pub(super) fn new(inlet: Inlet) -> Self {
        let backfill = Backfill::new(inlet.model_id, &inlet.encoder_digest, inlet.always.clone(), inlet.needs_images);
        Self { inlet, backfill, stored: Vec::new() }
    }

    /// Returns whether a file must be read. A known file is recorded as present. With `check_scores`, its missing scores are collected.
    /// Scores can be missing only after the tags or the model changed, so one check after a start is enough. A file that was missing
    /// or offline is checked when it comes back, even without `check_scores`.
    pub(super) fn must_read(&mut self, path: &Path, stamp: FileStamp, check_scores: bool) -> Result<bool, SurveyError> {
        let Self { inlet, backfill, stored } = self;
        must_read(inlet, backfill, stored, path, stamp, check_scores)
    }

    /// Like [`Surveyor::must_read`] for several files, with one consistent read of the database.
    pub(super) fn must_read_each(&mut self, files: &[Found], check_scores: bool) -> Result<Vec<bool>, SurveyError> {
        let Self { inlet, backfill, stored } = self;
        let each = || {
            let one = |file: &Found| must_read(inlet, backfill, stored, &file.path, file.stamp, check_scores);
            files.iter().map(one).collect()
        };
        inlet.reader.in_read_transaction(each)?
    }

    /// Sends a file to the pipeline if it is not in flight yet. Blocks while the lane is full.
    pub(super) fn submit(&self, path: PathBuf, stamp: FileStamp, lane: Lane) -> Result<(), SurveyError> {
        if let Some(candidate) = self.inlet.put_in_flight(path, stamp) {
            self.inlet.submit(candidate, lane)?;
        }
        Ok(())
    }

    /// Makes all missing scores collected so far available to [`Surveyor::take_stored`], even if they do not fill a message.
    pub(super) fn collect_stored(&mut self) {
        self.stored.extend(self.backfill.finish());
    }

    /// Takes the missing scores that can be computed from stored embeddings.
    pub(super) fn take_stored(&mut self) -> Vec<StoredWork> {
        std::mem::take(&mut self.stored)
    }

    /// Records as missing the known files below `root` that are gone. If the root itself is gone, unreadable or empty, such as the mount
    /// point of a removed card, records all its files as offline instead.
    pub(super) fn note_missing(&self, root: &Path) -> Result<(), SurveyError> {
        if !matches!(watch::root_state(root), Ok(RootState::Online)) {
            self.inlet.record(Outcome::Offline { root: root.to_owned() })?;
            return Ok(());
        }
        self.note_missing_below(root)
    }

    /// Records as missing the known files below `dir` that are gone.
    pub(super) fn note_missing_below(&self, dir: &Path) -> Result<(), SurveyError> {
        let mut after: Option<PathBuf> = None;
        loop {
            let page = self.inlet.reader.files_under(dir, after.as_deref(), PAGE_ROWS)?;
            let Some(last) = page.last() else { break };
            after = Some(last.path.clone());
            let missing: Vec<PathBuf> = page
                .into_iter()
                .filter(|file| file.state != FileState::Missing && self.lacks(&file.path))
                .map(|file| file.path)
                .collect();
            self.record_missing(missing)?;
        }
        // A file that failed has no row among the known files. Its failure is deleted when the file is gone.
        let mut after: Option<PathBuf> = None;
        loop {
            let page = self.inlet.reader.failed_files_under(dir, after.as_deref(), PAGE_ROWS)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            self.record_missing(page.into_iter().filter(|path| self.lacks(path)).collect())?;
        }
    }

    /// Returns whether no watched directory has a file at `path`. A file that cannot be checked is assumed to exist.
    pub(super) fn lacks(&self, path: &Path) -> bool {
        self.inlet.trees.of(path).is_none_or(|tree| tree.lacks(path))
    }

    fn record_missing(&self, paths: Vec<PathBuf>) -> Result<(), SurveyError> {
        if !paths.is_empty() {
            self.inlet.record(Outcome::Presence { paths, state: FileState::Missing })?;
        }
        if self.inlet.stop.is_stopped() { Err(SurveyError::Ended) } else { Ok(()) }
    }
}

fn must_read(
    inlet: &Inlet,
    backfill: &mut Backfill,
    stored: &mut Vec<StoredWork>,
    path: &Path,
    stamp: FileStamp,
    check_scores: bool,
) -> Result<bool, SurveyError> {
    if inlet.in_flight.covers(path, stamp) {
        return Ok(false);
    }
    match inlet.reader.file_state(path, stamp.recorded())? {
        FileLookup::Known { image_id, state } => {
            if state != FileState::Present {
                inlet.record(Outcome::Presence { paths: vec![path.to_owned()], state: FileState::Present })?;
            }
            let check_scores = check_scores || state != FileState::Present;
            if check_scores && backfill.check(&inlet.reader, image_id, |work| stored.push(work))? == Needs::File {
                return is_due(inlet, path, stamp);
            }
            Counters::add(&inlet.counters.unchanged, 1);
            Ok(false)
        }
        FileLookup::Unknown | FileLookup::Changed => is_due(inlet, path, stamp),
    }
}

/// Returns whether a file may be read now. After a failure, an unchanged file may be read only when its next attempt is due.
fn is_due(inlet: &Inlet, path: &Path, stamp: FileStamp) -> Result<bool, SurveyError> {
    let failure = inlet.reader.failure_of(path)?;
    let due = failure.is_none_or(|f| f.should_try(stamp.recorded(), inlet.clock.now().wall));
    if !due {
        Counters::add(&inlet.counters.waiting, 1);
    }
    Ok(due)
}
