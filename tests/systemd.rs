//! The unit file, read by systemd's own checker where there is one.

use std::process::Command;

use edge_testing::{repository, skip};

#[test]
fn systemd_accepts_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("systemd_accepts_the_unit", "systemd-analyze is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(repository("systemd/edge-scorer.service")).unwrap();
    // The checker looks for the program and the user; neither is installed here.
    let unit = unit.replace("/usr/bin/edge-scorer", edge_testing::program("edge-scorer").to_str().unwrap());
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
fn the_unit_is_hardened() {
    let test = "the_unit_is_hardened";
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--threshold=25", "--no-pager"]);
    let Ok(output) = command.arg(repository("systemd/edge-scorer.service")).output() else {
        return skip(test, "systemd-analyze is not installed");
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if said.contains("unrecognized option") {
        return skip(test, "systemd before 250 cannot judge a unit that is not installed");
    }
    println!("{}", said.lines().last().unwrap_or_default());
    assert!(output.status.success() && said.contains("Overall exposure level"), "above 2.5:\n{said}");
}

#[test]
fn the_user_and_the_directories_can_be_made() {
    let test = "the_user_and_the_directories_can_be_made";
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    // A name would be looked for below the root.
    let run = |program: &str, arguments: &[&str], file: &str| {
        let file = std::fs::File::open(repository(file)).unwrap();
        Command::new(program).arg("--root").arg(root.path()).args(arguments).arg("-").stdin(file).output()
    };
    let Ok(users) = run("systemd-sysusers", &[], "systemd/sysusers.d/edge-scorer.conf") else {
        return skip(test, "systemd-sysusers is not installed");
    };
    assert!(users.status.success(), "{}", String::from_utf8_lossy(&users.stderr));
    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(passwd.contains("edge-scorer:x:"), "{passwd}");
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root can give directories away");
    }
    let Ok(made) = run("systemd-tmpfiles", &["--create"], "systemd/tmpfiles.d/edge-scorer.conf") else {
        return skip(test, "systemd-tmpfiles is not installed");
    };
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
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(66), "{said}");
    assert!(said.contains("/nonexistent/edge-scorer.toml: the configuration cannot be read"), "{said}");
}
