//! The style data set: images rendered in photographic styles. The recipe's rule rates each rendering under several
//! tags, so that the same pixels have different scores under different tags. Renderings may also show a fault in
//! several degrees.
//!
//! `read` reads a style data set; [`make()`] makes one.

mod make;
mod read;
mod readme;
mod recipe;
mod rendering;
mod request;
mod sources;
mod table;

pub use make::{ensure, make};
pub use recipe::NEUTRAL_TAG;
pub use request::{MadeStyles, StyleRequest};

pub(super) use read::{read, recognises};
