//! The generated man pages and completions. The bash completion runs in an interactive bash on a terminal.

#[path = "../../packaging/generate.rs"]
mod generate;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use edge_scorer::cli::command;
use edge_scorer::decoder;
use edge_scorer::prover::Prover;
use edge_testing::{Place, has_program, until};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

const PROMPT: &str = "ready> ";
/// The key that replaces the word before the cursor by all of its completions.
const INSERT_COMPLETIONS: &str = "\x01";
const TAB: &str = "\t";

/// A stand-in for the program: it writes its arguments to a file, one per line.
const STAND_IN: &str = r#"#!/bin/sh
printf '%s\n' "$@" > "$0.new"
mv "$0.new" "$0.arguments"
"#;

/// An interactive bash that has loaded the completion script.
struct Shell {
    place: Place,
    bash: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    lines: usize,
}

impl Shell {
    fn start() -> Self {
        let place = Place::new();
        generate::write(&command(), &place.path("manual")).unwrap();
        std::fs::create_dir(place.path("bin")).unwrap();
        std::fs::write(place.path("bin/edge-scorer"), STAND_IN).unwrap();
        std::fs::set_permissions(place.path("bin/edge-scorer"), PermissionsExt::from_mode(0o755)).unwrap();
        let settings = format!(
            "PS1='{PROMPT}'\nPATH=$PWD/bin:$PATH\nbind 'set enable-bracketed-paste off' 'set bell-style none'\n\
             bind '\"\\C-a\": insert-completions'\nsource manual/edge-scorer.bash\n"
        );
        std::fs::write(place.path("bashrc"), settings).unwrap();

        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let inside = || Stdio::from(ioctl_tiocgptpeer(&terminal, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--rcfile", "bashrc", "-i"]).current_dir(place.dir.path());
        bash.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", place.dir.path());
        bash.env("TERM", "dumb").env("LC_ALL", "C.UTF-8").env("INPUTRC", "/dev/null").env("HISTFILE", "");
        let bash = bash.stdin(inside()).stdout(inside()).stderr(inside()).spawn().unwrap();

        let keyboard = File::from(terminal);
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut output, shown) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when bash has closed the terminal.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().extend(&bytes[..count]);
            }
        });
        Self { place, bash, keyboard, screen, lines: 0 }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Types a command line and returns the arguments that the program gets.
    fn types(&mut self, keys: &[&str]) -> Vec<String> {
        self.lines += 1;
        until("the prompt", || (self.screen().matches(PROMPT).count() >= self.lines).then_some(()));
        let arguments = self.place.path("bin/edge-scorer.arguments");
        let _ = std::fs::remove_file(&arguments);
        self.keyboard.write_all((keys.concat() + "\r").as_bytes()).unwrap();
        let text = until("the program", || std::fs::read_to_string(&arguments).ok());
        text.lines().map(str::to_owned).collect()
    }

    /// Returns the completions of the last word of a command line, sorted.
    fn completions(&mut self, line: &str) -> Vec<String> {
        let before = line.split(' ').count() - 2;
        let mut found = self.types(&[line, INSERT_COMPLETIONS]).split_off(before);
        found.sort();
        found
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
        if std::thread::panicking() {
            eprintln!("the terminal shows:\n{}", self.screen());
        }
    }
}

fn sorted(words: &str) -> Vec<String> {
    let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn bash_completes_subcommands_options_values_and_files() {
    if !has_program("completion::bash_completes_subcommands_options_values_and_files", "bash") {
        return;
    }
    let mut shell = Shell::start();
    assert_eq!(shell.types(&["edge-scorer top --t", TAB, "birds"]), ["top", "--tag", "birds"]);
    assert_eq!(shell.types(&["edge-scorer to", TAB, "--ta", TAB, "birds"]), ["top", "--tag", "birds"]);
    assert_eq!(
        shell.completions("edge-scorer "),
        sorted("run scan score top tags status failures config doctor bench migrate help -h --help -V --version"),
        "internal subcommands are not completed"
    );
    for (line, expected) in [
        ("edge-scorer config ch", "check"),
        ("edge-scorer config check --mo", "--model"),
        ("edge-scorer help to", "top"),
        ("edge-scorer run --device ", "auto cpu cuda"),
        ("edge-scorer run --tag birds --precision ", "f16 f32 int8"),
        ("edge-scorer top --tag birds --format ", "csv json paths paths0 table"),
        ("edge-scorer score --format j", "jsonl"),
        ("edge-scorer status --format ", "json table"),
    ] {
        assert_eq!(shell.completions(line), sorted(expected), "{line}");
    }

    std::fs::create_dir(shell.place.path("my photos")).unwrap();
    std::fs::write(shell.place.path("my settings.toml"), "").unwrap();
    for (line, expected) in [
        ("edge-scorer run --config my\\ s", "my settings.toml"),
        ("edge-scorer status --db my\\ s", "my settings.toml"),
        ("edge-scorer score --pairs my\\ s", "my settings.toml"),
        ("edge-scorer run --model my", "my photos/"),
        ("edge-scorer scan my\\ p", "my photos/"),
    ] {
        let completed = shell.types(&[line, TAB]);
        assert_eq!(completed.last().map(String::as_str), Some(expected), "{line}");
    }
    assert_eq!(shell.types(&["edge-scorer top --tag my", TAB]), ["top", "--tag", "my"], "a tag is not a file");
}

/// Names of the man pages of a command and all its subcommands, such as `edge-scorer-config-check`.
fn subcommands(command: &clap::Command, path: &str) -> Vec<String> {
    let children =
        command.get_subcommands().flat_map(|child| subcommands(child, &format!("{path}-{}", child.get_name())));
    std::iter::once(path.to_owned()).chain(children).collect()
}

#[test]
fn every_subcommand_has_a_man_page_and_internal_ones_have_none() {
    let place = Place::new();
    let dir = place.path("manual");
    generate::write(&command(), &dir).unwrap();
    let mut expected: Vec<PathBuf> =
        subcommands(&command(), "edge-scorer").iter().map(|path| dir.join(format!("{path}.1"))).collect();
    expected.extend(["_edge-scorer", "edge-scorer.bash", "edge-scorer.fish"].map(|name| dir.join(name)));
    let mut written: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    expected.sort();
    written.sort();
    assert_eq!(written, expected);
    let page = std::fs::read_to_string(dir.join("edge-scorer.1")).unwrap();
    assert!(page.contains("Scores photographs under text tags") && !page.contains("train"), "{page}");
    for script in ["_edge-scorer", "edge-scorer.bash", "edge-scorer.fish"] {
        let text = std::fs::read_to_string(dir.join(script)).unwrap();
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
        assert!(words.contains(&"failures"), "{script}");
        for internal in [decoder::Arguments::SUBCOMMAND, Prover::ARGUMENT] {
            assert!(!words.contains(&internal), "{internal} is in {script}");
        }
    }
}
