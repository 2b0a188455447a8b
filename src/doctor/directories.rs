//! The watched directories, and the kernel's limits on watching them.

use std::fs;
use std::path::Path;

use super::finding::{Finding, Severity};
use crate::config::WatchSettings;
use crate::watch::{SourceChoice, count_directories, inotify_limit, why_poll};

const AREA: &str = "watching";

pub(super) fn findings(settings: &WatchSettings) -> Vec<Finding> {
    if settings.dirs.is_empty() {
        let next =
            "Name directories under [watch] dirs in the configuration, or on the command line of `run` and `scan`";
        return vec![Finding::note(AREA, "directories", "none are configured", next)];
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
        let next = "Create or mount the directory, and give the daemon's user read access. The daemon watches it as soon as it appears";
        return Finding::problem(AREA, subject, error.to_string(), next);
    }
    match (why_poll(dir), settings.source) {
        (None, SourceChoice::Poll) => Finding::fine(AREA, subject, "polled, as configured"),
        (None, _) => Finding::fine(AREA, subject, "watched with inotify"),
        (Some(why), SourceChoice::Inotify) => {
            Finding::problem(AREA, subject, why, "Set source = \"auto\" or \"poll\" under [watch]")
        }
        (Some(why), _) => Finding::fine(AREA, subject, format!("polled every {:?}: {why}", settings.poll_interval)),
    }
}

/// Compares the number of inotify watches or instances that the daemon needs with the kernel's limit. The limit holds for all processes of
/// a user together; 0 means that it cannot be read.
fn limit(name: &'static str, needed: u64, limit: u64) -> Finding {
    let subject = format!("fs.inotify.{name}");
    let found = format!("{needed} needed; the limit is {limit}");
    let next = format!(
        "Raise the limit with `sysctl {subject}={}` (as root; permanently in /etc/sysctl.d/), or set source = \"poll\" under [watch] in the configuration",
        (2 * needed).max(limit)
    );
    let severity = match limit {
        0 => Severity::Fine,
        _ if needed > limit => Severity::Problem,
        _ if needed > limit / 2 => Severity::Note,
        _ => Severity::Fine,
    };
    let next = (severity != Severity::Fine).then_some(next);
    Finding { area: AREA, subject, severity, found, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_compared_with_the_needed_number() {
        let cases = [(10, Severity::Fine), (40_000, Severity::Note), (70_000, Severity::Problem)];
        for (needed, severity) in cases {
            let finding = limit("max_user_watches", needed, 65_536);
            assert_eq!(finding.severity, severity, "{needed}");
            assert_eq!(finding.next.is_some(), severity != Severity::Fine);
        }
        let full = limit("max_user_watches", 70_000, 65_536);
        assert!(full.next.unwrap().contains("`sysctl fs.inotify.max_user_watches=140000`"));
    }
}
