//! The unit file, checked by systemd's own programs if they are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use edge_testing::{has_program, repository, skip};

/// The unit with a program and a user that exist: systemd-analyze requires both, and neither is installed here. `drop_ins` are put behind it.
fn unit(dir: &Path, drop_ins: &[&str]) -> PathBuf {
    let unit = std::fs::read_to_string(repository("systemd/edge-scorer.service")).unwrap();
    let unit = unit.replace("/usr/bin/edge-scorer", edge_testing::program("edge-scorer").to_str().unwrap());
    let unit = unit.replace("User=edge-scorer", "User=daemon").replace("Group=edge-scorer", "Group=daemon");
    let drop_in =
        |name: &&str| std::fs::read_to_string(repository("systemd/edge-scorer.service.d").join(name)).unwrap();
    let path = dir.join("edge-scorer.service");
    std::fs::write(&path, unit + "\n" + &drop_ins.iter().map(drop_in).collect::<String>()).unwrap();
    path
}

const DROP_INS: [&str; 3] = ["cuda.conf", "home.conf", "jetson.conf"];

#[test]
fn systemd_accepts_the_unit_and_its_drop_ins() {
    if !has_program("systemd::systemd_accepts_the_unit_and_its_drop_ins", "systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for drop_ins in [&[][..], &DROP_INS] {
        let path = unit(dir.path(), drop_ins);
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<&str> = text.lines().filter(|l| l.contains("edge-scorer.service")).collect();
        assert!(complaints.is_empty(), "{text}");
    }
}

#[test]
fn the_unit_is_closed_and_its_drop_ins_open_little() {
    let test = "systemd::the_unit_is_closed_and_its_drop_ins_open_little";
    if !has_program(test, "systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The largest exposure, from 0 to 10, in tenths.
    for (drop_ins, largest) in [(&[][..], "3"), (&["home.conf"], "5"), (&DROP_INS, "15")] {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--threshold", largest, "--no-pager"]);
        let output = command.arg(unit(dir.path(), drop_ins)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if text.contains("unrecognized option") {
            return skip(test, "systemd before 250 cannot analyse a unit that is not installed");
        }
        println!("with {drop_ins:?}: {}", text.lines().last().unwrap_or_default());
        assert!(
            output.status.success() && text.contains("Overall exposure level"),
            "with {drop_ins:?} the exposure is above {largest} tenths:\n{text}"
        );
    }
}

#[test]
fn the_user_and_the_directories_can_be_made() {
    let test = "systemd::the_user_and_the_directories_can_be_made";
    if !has_program(test, "systemd-sysusers") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    // The files go through standard input, because a file name would be looked up below the root.
    let run = |program: &str, arguments: &[&str], file: &str| {
        let file = std::fs::File::open(repository(file)).unwrap();
        Command::new(program).arg("--root").arg(root.path()).args(arguments).arg("-").stdin(file).output().unwrap()
    };
    let users = run("systemd-sysusers", &[], "systemd/sysusers.d/edge-scorer.conf");
    assert!(users.status.success(), "{}", String::from_utf8_lossy(&users.stderr));
    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(passwd.contains("edge-scorer:x:"), "{passwd}");
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root may change the owner of a directory");
    }
    if !has_program(test, "systemd-tmpfiles") {
        return;
    }
    let made = run("systemd-tmpfiles", &["--create"], "systemd/tmpfiles.d/edge-scorer.conf");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(root.path().join("var/lib/edge-scorer").is_dir());
}

#[test]
fn the_unit_starts_the_daemon_with_a_command_line_that_exists() {
    let unit = std::fs::read_to_string(repository("systemd/edge-scorer.service")).unwrap();
    let start = unit.lines().find_map(|l| l.strip_prefix("ExecStart=")).unwrap();
    let mut words = start.split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/edge-scorer"));
    let arguments: Vec<&str> = words.collect();
    assert_eq!(arguments, ["run", "--config", "/etc/edge-scorer/edge-scorer.toml"]);
    let output = Command::new(edge_testing::program("edge-scorer"))
        .args(["run", "--config", "/nonexistent/edge-scorer.toml"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(66), "{text}");
    assert!(text.contains("/nonexistent/edge-scorer.toml: the configuration cannot be read"), "{text}");
}
