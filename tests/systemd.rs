//! The unit file, read by systemd's own checker where there is one.

mod common;

use std::process::Command;

use common::{repository, skip};

#[test]
fn systemd_accepts_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("systemd_accepts_the_unit", "systemd-analyze is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(repository("systemd/edge-scorer.service")).unwrap();
    // The checker looks for the program and the user; neither is installed here.
    let unit = unit.replace("/usr/bin/edge-scorer", env!("CARGO_BIN_EXE_edge-scorer"));
    let unit = unit.replace("User=edge-scorer", "User=daemon").replace("Group=edge-scorer", "Group=daemon");
    let path = dir.path().join("edge-scorer.service");
    std::fs::write(&path, unit).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // systemd before 253 does not know notify-reload and says so; everything else counts.
    let complaints: Vec<&str> =
        said.lines().filter(|l| l.contains("edge-scorer.service") && !l.contains("notify-reload")).collect();
    assert!(complaints.is_empty(), "{said}");
}

#[test]
fn the_unit_starts_the_daemon_with_a_command_line_that_exists() {
    let unit = std::fs::read_to_string(repository("systemd/edge-scorer.service")).unwrap();
    let start = unit.lines().find_map(|l| l.strip_prefix("ExecStart=")).unwrap();
    let mut words = start.split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/edge-scorer"));
    let arguments: Vec<&str> = words.collect();
    assert_eq!(arguments, ["run", "--config", "/etc/edge-scorer/edge-scorer.toml"]);
    let output = Command::new(env!("CARGO_BIN_EXE_edge-scorer"))
        .args(["run", "--config", "/nonexistent/edge-scorer.toml"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(66), "{said}");
    assert!(said.contains("/nonexistent/edge-scorer.toml: the configuration cannot be read"), "{said}");
}
