//! `edge-scorer scan`: scores the images in directories and prints a summary.

use std::io::{self, Write, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{RecvTimeoutError, bounded};
use log::LevelFilter;

use super::options::{Common, Targets};
use crate::clock::SystemClock;
use crate::daemon::{self, Counters, ScanReport};
use edge_cli::output::printable;
use edge_cli::progress::ProgressMeter;
use edge_cli::{CommandError, Outcome, exit_code, logging};
use edge_model::scorer::Scorer;

const EXAMPLES: &str = "Examples:
  edge-scorer scan --tag \"a good photo\" ~/Pictures
  edge-scorer scan --db trip.db --tag mountains --tag people /media/card/DCIM
A second scan reads only new and changed files. A new --tag is scored from stored embeddings, without reading images.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    targets: Targets,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    logging::start(LevelFilter::Warn);
    let settings = arguments.common.settings(&arguments.targets.tags, &arguments.targets.dirs)?;
    if let Some(path) = settings.watch.dirs.iter().find(|dir| !dir.is_dir()) {
        return Err(daemon::DaemonError::NoDirectory { path: path.clone() }.into());
    }
    let scorer = Scorer::open_in(settings.model_dir()?, settings.device, &settings.backend)?;
    let requests =
        daemon::install_signals(exit_code::SOME_FAILED).map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?;
    let counters = Arc::new(Counters::default());
    let started = Instant::now();
    let report = with_progress(&counters, || {
        daemon::scan(&settings, scorer, &counters, &requests.control, &SystemClock::shared())
    })?;
    // A report that cannot be printed, for example into a closed pipe, does not change the scan's outcome.
    let _ = print_report(&report, started.elapsed());
    if report.is_complete() { Ok(()) } else { Err(CommandError::reported()) }
}

/// Runs `work` while another thread shows its progress.
fn with_progress<T>(counters: &Counters, work: impl FnOnce() -> T) -> T {
    let (done, ended) = bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut progress = ProgressMeter::counting("images");
            while ended.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                let now = counters.snapshot();
                if now.queued > 0 {
                    progress.set(now.finished(), now.queued);
                }
            }
            progress.finish();
        });
        let result = work();
        drop(done);
        result
    })
}

fn print_report(report: &ScanReport, elapsed: Duration) -> io::Result<()> {
    let mut out = stdout().lock();
    let counters = report.counters;
    let rate = counters.finished() as f64 / elapsed.as_secs_f64();
    writeln!(
        out,
        "{} images found: {} scored, {} copies of known images, {} unchanged, {} failed in {:.1} s ({rate:.1} per second)",
        counters.found,
        counters.scored,
        counters.linked,
        counters.unchanged,
        counters.failed,
        elapsed.as_secs_f64()
    )?;
    if counters.backfilled > 0 {
        writeln!(out, "{} scores computed from stored embeddings", counters.backfilled)?;
    }
    if counters.waiting > 0 {
        let advice = "`edge-scorer failures` lists them; `edge-scorer failures --retry` makes the next scan retry them";
        eprintln!("{} files failed before and are not due for a retry. {advice}", counters.waiting);
    }
    for path in &report.still_written {
        eprintln!("{}: still being written. Scan again later", printable(&path.display().to_string()));
    }
    if report.stopped {
        eprintln!("stopped early; all results so far are stored. Scan again to score the other images");
    }
    Ok(())
}
