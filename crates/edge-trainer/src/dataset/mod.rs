//! Training data: reads rated (image, tag) examples from the formats that `--data` accepts, checks them and divides
//! them into parts. The module does not depend on networks or losses.

mod agiqa;
mod ava;
mod check;
pub mod damage;
mod error;
mod example;
mod fold;
mod inside;
mod lines;
mod making;
mod part;
mod read;
mod read_options;
mod split;
pub mod style;
mod table;

pub use check::{CheckReport, check, digest};
pub use error::DataError;
pub use example::{DataSet, Example};
pub use fold::Fold;
pub use making::MakeError;
pub use part::Part;
pub use read::{read, read_all};
pub use read_options::{AvaSplit, ReadOptions};
pub use split::{Parts, Shares, divide};
