//! Scores photographs under text tags, on the device that took them, and trains the models that do it.

pub mod backend;
pub mod bundle;
pub mod clock;
pub mod image_input;
pub mod scorer;
pub mod store;
pub mod text;
#[cfg(feature = "train")]
pub mod train;
pub mod watch;
