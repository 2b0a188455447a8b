//! Reads and decodes files in processes that can do nothing else.
//!
//! Image decoders handle the bytes of strangers, and some of them are written in C. In a decoder process, a crash, a hang or a lack of memory
//! costs one attempt at one file. Code that takes over the process is in a [`Cage`]: it can read the file that it was given and answer, but
//! not open files, start programs, reach a network or touch other processes. A [`Decoder`] starts and asks a decoder process, and [`serve()`] is
//! that process. Nothing is decoded outside.

mod cage;
mod error;
mod file_decoder;
mod process;
mod protocol;
mod serve;

pub use cage::{Cage, Layers};
pub use error::{DecodeError, FileFailure};
pub use process::Decoder;
pub use serve::{Arguments, serve};
