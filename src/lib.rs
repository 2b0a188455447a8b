//! `edge-scorer`: scores photographs under text tags, on the device that took them.
//!
//! The modules in reading order, which is also the order of their imports (a module uses only those above it):
//!
//! 1. [`clock`] is the time, so that waiting is tested without waiting; [`identity`] is what tells files and images apart.
//! 2. [`store`] is the database of images, tags, scores and failures. [`watch`] says which files there are to score.
//! 3. [`config`] says what to do; [`daemon`] does it, from a file that appeared to a committed score.
//! 4. [`doctor`] says what keeps it from doing so on this machine.
//! 5. [`cli`] is the command line.
//!
//! How an image and a tag become a score is the crate `edge_model`, which all of them use.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod identity;
pub mod store;
pub mod watch;
