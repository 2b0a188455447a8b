//! Writes the man pages and shell completions that packages ship next to the program.
//!
//! ```sh
//! cargo run --example manual -- target/manual
//! ```
//!
//! This program is a cargo example, because examples can use dev-dependencies. The installed program does not need the generators.

mod generate;

use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let dir = PathBuf::from(std::env::args_os().nth(1).unwrap_or("target/manual".into()));
    generate::write(&edge_scorer::cli::command(), &dir)
}
