//! The watched directories, and whether the kernel's limits let them be watched.

use std::fs;
use std::path::Path;

use super::{Finding, State};
use crate::config::WatchSettings;
use crate::watch::{SourceChoice, count_directories, inotify_limit, why_poll};

const AREA: &str = "watching";

pub(super) fn findings(settings: &WatchSettings) -> Vec<Finding> {
    if settings.dirs.is_empty() {
        let next =
            "Name directories under [watch] dirs in the configuration, or on the command line of `run` and `scan`";
        return vec![Finding::note(AREA, "directories", "none is named", next)];
    }
    let mut findings: Vec<_> = settings.dirs.iter().map(|dir| directory(dir, settings)).collect();
    let watched = settings.dirs.iter().filter(|dir| settings.source != SourceChoice::Poll && why_poll(dir).is_none());
    let needed = watched.map(|dir| if settings.recursive { count_directories(dir) } else { 1 }).sum();
    if needed > 0 {
        findings.push(limit("max_user_watches", needed, inotify_limit("max_user_watches")));
        findings.push(limit("max_user_instances", settings.dirs.len() as u64, inotify_limit("max_user_instances")));
    }
    findings
}

fn directory(dir: &Path, settings: &WatchSettings) -> Finding {
    let subject = dir.display().to_string();
    if let Err(error) = fs::read_dir(dir) {
        let next = "Create or mount it, and let the daemon's user read it; the daemon waits for it meanwhile";
        return Finding::problem(AREA, subject, error.to_string(), next);
    }
    match (why_poll(dir), settings.source) {
        (None, SourceChoice::Poll) => Finding::fine(AREA, subject, "polled, as the configuration says"),
        (None, _) => Finding::fine(AREA, subject, "watched by inotify"),
        (Some(why), SourceChoice::Inotify) => {
            Finding::problem(AREA, subject, why, "Set source = \"auto\" or \"poll\" under [watch]")
        }
        (Some(why), _) => Finding::fine(AREA, subject, format!("polled every {:?}: {why}", settings.poll_interval)),
    }
}

/// A limit of the kernel's, for all of a user's processes together; 0 where it cannot be read.
fn limit(name: &'static str, needed: u64, limit: u64) -> Finding {
    let subject = format!("fs.inotify.{name}");
    let found = format!("{needed} of {limit} needed");
    let next = format!(
        "Raise it with `sysctl {subject}={}` (as root; in /etc/sysctl.d/ for good), or set source = \"poll\"",
        (2 * needed).max(limit)
    );
    let state = match limit {
        0 => State::Fine,
        _ if needed > limit => State::Problem,
        _ if needed > limit / 2 => State::Note,
        _ => State::Fine,
    };
    let next = (state != State::Fine).then_some(next);
    Finding { area: AREA, subject, state, found, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_judged_by_what_is_needed() {
        let states = [(10, 65_536, State::Fine), (40_000, 65_536, State::Note), (70_000, 65_536, State::Problem)];
        for (needed, most, state) in states {
            let finding = limit("max_user_watches", needed, most);
            assert_eq!(finding.state, state, "{needed}");
            assert_eq!(finding.next.is_some(), state != State::Fine);
        }
        let full = limit("max_user_watches", 70_000, 65_536);
        assert!(full.next.unwrap().contains("`sysctl fs.inotify.max_user_watches=140000`"));
    }
}
