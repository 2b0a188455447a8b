//! The backlog: the directories that wait for their survey, and the files and missing scores that surveys have found and that wait for a
//! decoding or inference thread.
//!
//! A survey advances in small steps between events. It pauses while files that it has found wait, so that a large directory of old images
//! does not delay new ones.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::watch::{self, Found, Scan, ScanError};

use super::counters::Counters;
use super::work::{Candidate, StoredWork};

/// A request to survey the directory `dir`, which is the watched directory `root` or lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) root: PathBuf,
    pub(super) dir: PathBuf,
    /// Whether to check known images for missing scores.
    pub(super) check_scores: bool,
}

/// A file for a decoding thread, or stored embeddings for an inference thread.
pub(super) enum Offer {
    File(Candidate),
    Stored(StoredWork),
}

/// The result of one step of a survey.
pub(super) enum Step {
    /// An image file, or an error for a path that cannot be read.
    Found(Job, Result<Found, ScanError>),
    /// The survey of the directory is complete, or the directory could not be opened.
    Finished(Job, Result<(), ScanError>),
    /// No directory waits for a survey.
    Idle,
}

/// Number of offers of a survey after which the images of its directory are counted for the progress display. Counting takes a second walk,
/// which is not worth its cost for a few images.
const MIN_OFFERS_TO_COUNT: u64 = 32;

/// The waiting surveys, the current survey, and the files and missing scores that wait for the pipeline.
pub(super) struct Backlog {
    recursive: bool,
    counters: Arc<Counters>,
    jobs: VecDeque<Job>,
    current: Option<(Job, Scan, Progress)>,
    pub(super) offers: VecDeque<Offer>,
}

#[derive(Default)]
struct Progress {
    seen: u64,
    offers: u64,
    /// Number of images in the directory; 0 until the survey has made [`MIN_OFFERS_TO_COUNT`] offers.
    total: u64,
}

impl Backlog {
    pub(super) fn new(recursive: bool, counters: &Arc<Counters>) -> Self {
        let counters = Arc::clone(counters);
        Self { recursive, counters, jobs: VecDeque::new(), current: None, offers: VecDeque::new() }
    }

    /// Queues a survey. If a survey of the same directory or of its root already waits, the two are merged.
    pub(super) fn scan(&mut self, job: Job) {
        let serves = |waiting: &&mut Job| waiting.dir == job.dir || waiting.dir == job.root;
        match self.jobs.iter_mut().find(serves) {
            Some(waiting) => waiting.check_scores |= job.check_scores,
            None => self.jobs.push_back(job),
        }
    }

    /// Queues the current survey again, so that it restarts from its beginning.
    pub(super) fn start_over(&mut self) {
        if let Some((job, ..)) = self.current.take() {
            self.scan(job);
        }
        self.update_progress();
    }

    /// Returns whether a directory waits for its survey and no offers wait for the pipeline.
    pub(super) fn can_step(&self) -> bool {
        self.offers.is_empty() && (self.current.is_some() || !self.jobs.is_empty())
    }

    /// Advances the current survey by one file.
    pub(super) fn step(&mut self) -> Step {
        let Some((job, mut walk, mut progress)) = self.current.take() else { return self.begin() };
        let Some(found) = walk.next() else {
            self.update_progress();
            return Step::Finished(job, Ok(()));
        };
        progress.seen += 1;
        self.current = Some((job.clone(), walk, progress));
        Step::Found(job, found)
    }

    fn begin(&mut self) -> Step {
        let Some(job) = self.jobs.pop_front() else { return Step::Idle };
        match watch::scan(&job.root, &job.dir, self.recursive) {
            Ok(walk) => {
                self.current = Some((job, walk, Progress::default()));
                self.step()
            }
            Err(error) => Step::Finished(job, Err(error)),
        }
    }

    /// Queues a file or missing scores for the pipeline.
    pub(super) fn offer(&mut self, offer: Offer) {
        self.offers.push_back(offer);
        if let Some((job, _, progress)) = &mut self.current {
            progress.offers += 1;
            if progress.offers == MIN_OFFERS_TO_COUNT {
                progress.total = watch::count(&job.dir, self.recursive);
            }
        }
        self.update_progress();
    }

    /// Updates the progress counters.
    fn update_progress(&self) {
        let (seen, total) = self.current.as_ref().map_or((0, 0), |(_, _, p)| (p.seen, p.total));
        Counters::set(&self.counters.scan_seen, seen);
        Counters::set(&self.counters.scan_total, total);
    }
}

impl Job {
    /// Returns the job that surveys a whole watched directory.
    pub(super) fn of_root(root: &Path, check_scores: bool) -> Self {
        Self { root: root.to_owned(), dir: root.to_owned(), check_scores }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(dir: &Path, name: &str) -> Job {
        Job { root: dir.to_owned(), dir: dir.join(name), check_scores: false }
    }

    #[test]
    fn a_waiting_survey_of_the_root_covers_its_subdirectories() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let mut backlog = Backlog::new(true, &Arc::default());
        assert!(!backlog.can_step() && matches!(backlog.step(), Step::Idle));
        backlog.scan(Job::of_root(dir.path(), false));
        backlog.scan(job(dir.path(), "a"));
        backlog.scan(Job::of_root(dir.path(), true));
        assert!(matches!(backlog.step(), Step::Finished(job, Ok(())) if job == Job::of_root(dir.path(), true)));
        assert!(matches!(backlog.step(), Step::Idle));
        backlog.scan(job(dir.path(), "a"));
        backlog.scan(job(dir.path(), "gone"));
        assert!(matches!(backlog.step(), Step::Finished(_, Ok(()))));
        assert!(matches!(backlog.step(), Step::Finished(_, Err(ScanError::Offline { .. }))));
    }

    #[test]
    fn a_survey_pauses_while_its_offers_wait_and_reports_its_progress() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..40 {
            std::fs::write(dir.path().join(format!("{number}.jpg")), "x").unwrap();
        }
        std::fs::write(dir.path().join("no image.txt"), "x").unwrap();
        let counters = Arc::new(Counters::default());
        let mut backlog = Backlog::new(true, &counters);
        backlog.scan(Job::of_root(dir.path(), false));
        let shown = || (counters.snapshot().scan_seen, counters.snapshot().scan_total);
        for number in 1..=MIN_OFFERS_TO_COUNT {
            assert!(backlog.can_step());
            assert_eq!(shown().1, 0, "not counted before there are many");
            let Step::Found(_, Ok(found)) = backlog.step() else { panic!("an image") };
            backlog.offer(Offer::File(Candidate { path: found.path, stamp: found.stamp }));
            assert!(!backlog.can_step());
            assert_eq!(shown().0, number);
            backlog.offers.clear();
        }
        assert_eq!(shown(), (MIN_OFFERS_TO_COUNT, 40));
        // The survey restarts in the middle, as after a database error.
        backlog.start_over();
        let images = std::iter::from_fn(|| matches!(backlog.step(), Step::Found(..)).then_some(())).count();
        assert_eq!((images, shown()), (40, (0, 0)));
    }
}
