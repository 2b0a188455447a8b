//! Scores photographs under text tags, on the device that took them, and trains the models that do it.
//!
//! The modules in reading order, which is also the order of their imports (a module uses only those above it):
//!
//! 1. [`image_input`] turns a file's bytes into the model's pixel tensor; [`text`] turns a tag into its token ids.
//! 2. [`bundle`] reads, proves and writes the directory that holds a model; [`backend`] runs its graphs on a device.
//! 3. [`scorer`] joins those four: images and tags in, quality scores out. It knows neither database nor directory.
//! 4. [`store`] is the database of images, tags, scores and failures. [`watch`] says which files there are to score.
//! 5. [`config`] says what to do; [`daemon`] does it, from a file that appeared to a committed score.
//! 6. [`doctor`] says what keeps it from doing so on this machine.
//! 7. `train` (feature `train`) makes bundles out of rated images. It uses 1 to 3 only.
//! 8. [`cli`] is the two programs' command lines.
//!
//! [`clock`] lies below them all, so that waiting is tested without waiting.

pub mod backend;
pub mod bundle;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod image_input;
pub mod scorer;
pub mod store;
#[cfg(test)]
mod testing;
pub mod text;
#[cfg(feature = "train")]
pub mod train;
pub mod watch;
