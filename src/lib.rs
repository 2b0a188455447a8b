//! `edge-scorer` scores photographs under text tags on the device that took them.
//!
//! The modules in reading order. A module imports only modules above it, so this is also the order of imports:
//!
//! 1. [`clock`] gives the time and lets tests set it. [`identity`] identifies files and images. `own_program` starts this program again, for the
//!    work that a process of its own must do.
//! 2. [`store`] is the database of images, tags, scores and failures. [`watch`] finds and opens the files to score. [`decoder`] reads and
//!    decodes them in processes of their own.
//! 3. [`config`] reads the configuration. [`prover`] tries models in a process of its own. [`daemon`] takes each file from its discovery to a
//!    committed score.
//! 4. [`doctor`] reports the problems of this machine that keep the daemon from working.
//! 5. [`cli`] is the command line.
//!
//! The crate `edge_model` computes the scores. The modules from [`watch`] on use it.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod decoder;
pub mod doctor;
pub mod identity;
mod own_program;
pub mod prover;
pub mod store;
pub mod watch;
