//! Man pages and shell completions, generated from the description of a command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Creates the directory `dir` and writes the man page of every subcommand and the completions for bash, zsh and fish into it.
///
/// # Errors
/// A file cannot be written, or the bash script does not have the expected form.
pub(crate) fn write(command: &Command, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command.clone(), dir)?;
    let name = command.get_name();
    for shell in [Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), name, dir)?;
    }
    fs::write(dir.join(format!("{name}.bash")), bash_completion(command)?)
}

/// Returns the completion script for bash.
///
/// If the program's name has a hyphen, clap_complete 4.6.11 names a subcommand `edge__scorer__subcmd__top` in one place of the script and
/// `edge__subcmd__scorer__subcmd__top` in another, so nothing after the first word is completed (clap-rs/clap issue 6421). Therefore the
/// script is generated for the name with an underscore. Then its last lines, which register this name, are changed to the real name.
fn bash_completion(command: &Command) -> io::Result<String> {
    let name = command.get_name();
    let identifier = name.replace('-', "_");
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut command.clone(), &identifier, &mut script);
    let script = String::from_utf8(script).map_err(io::Error::other)?;
    let registration = format!(" -o default {identifier}\n");
    if !script.contains(&registration) {
        return Err(io::Error::other(
            "clap_complete does not register its bash function in the expected form; adapt packaging/generate.rs",
        ));
    }
    Ok(script.replace(&registration, &format!(" -o default {name}\n")))
}
