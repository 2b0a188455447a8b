//! Writes the man pages and shell completions that packages ship next to the program.
//!
//! ```sh
//! cargo run --example manual -- target/manual
//! ```
//!
//! This is an example because examples may use the generators, which the installed program does not need.

mod generate;

use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let dir = PathBuf::from(std::env::args_os().nth(1).unwrap_or("target/manual".into()));
    generate::write(&edge_scorer::cli::command(), &dir)
}
