//! The damage data set: photographs and damaged copies of them, each with a score that falls with the degree of its damage, under tags that
//! name what the photograph shows.
//!
//! `read` reads a damage data set; [`make()`] makes one.

mod make;
mod read;
mod recipe;
mod request;
mod sources;

pub use make::{ensure, make};
pub use request::{DamageRequest, MadeDamage};

pub(super) use read::{read, recognises};

/// Condition of photographs that nobody damaged.
pub const UNDAMAGED: &str = "undamaged";
