//! Images and tags in, scores out: the library that `edge-scorer` and `edge-trainer` share. It uses no database and no directories
//! of images.
//!
//! The modules in reading order, which is also the order of their imports (a module uses only those above it):
//!
//! 1. [`image_input`] turns a file's bytes into the model's pixel tensor; [`text`] turns a tag into token ids.
//! 2. [`bundle`] reads, checks and writes the directory that contains a model; [`backend`] runs the model's graphs on a device.
//! 3. [`scorer`] combines these four modules to score images under tags.

pub mod backend;
pub mod bundle;
pub mod image_input;
pub mod scorer;
pub mod text;
