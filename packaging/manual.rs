//! Writes what a package holds beside the programs: man pages of every subcommand, and completions for bash, zsh and fish.
//!
//! ```sh
//! cargo run --example manual -- target/manual
//! ```
//!
//! An example, so that neither generator is part of a program that runs on a device.

use std::io;
use std::path::PathBuf;

use clap_complete::Shell;

fn main() -> io::Result<()> {
    let dir = PathBuf::from(std::env::args_os().nth(1).unwrap_or("target/manual".into()));
    std::fs::create_dir_all(&dir)?;
    let mut command = edge_scorer::cli::command();
    clap_mangen::generate_to(command.clone(), &dir)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "edge-scorer", &dir)?;
    }
    Ok(())
}
