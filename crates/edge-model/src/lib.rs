//! Images and text tags in, quality scores out: what `edge-scorer` and `edge-trainer` share. It knows neither database nor
//! directories of photographs.
//!
//! The modules in reading order, which is also the order of their imports (a module uses only those above it):
//!
//! 1. [`image_input`] turns a file's bytes into the model's pixel tensor; [`text`] turns a tag into its token ids.
//! 2. [`bundle`] reads, checks and writes the directory that holds a model; [`backend`] runs its graphs on a device.
//! 3. [`scorer`] joins those four.

pub mod backend;
pub mod bundle;
pub mod image_input;
pub mod scorer;
pub mod text;
