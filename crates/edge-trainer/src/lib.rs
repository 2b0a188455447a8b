//! The library of `edge-trainer`: trains on rated images and writes a proved bundle.
//!
//! Only this crate depends on burn. It contains the ONNX export with its protobuf types. Reports progress through
//! [`message::Listener`] only; the command line displays it. Uses the code of the scorer to read images, to encode tags
//! and to prove the bundle. Knows neither the daemon nor its database.

mod assemble;
pub mod backbone;
mod batches;
pub mod bench;
mod cache;
pub mod checkpoint;
pub mod cli;
pub mod dataset;
pub mod device;
mod error;
pub mod evaluate;
mod export;
mod features;
mod file_error;
mod fit;
mod fit_file;
mod golden;
pub mod gradient_free;
mod loader;
pub mod loss;
pub mod message;
pub mod metrics;
pub mod model;
pub mod onnx;
mod optimise;
mod options;
pub mod pairs;
mod paper_rows;
mod parallel;
pub mod render;
pub mod report;
mod tokenizer;
mod training;
pub mod weights;
pub mod words;

pub use error::TrainError;
pub use export::{IMAGE_PARITY, PARITY, Parity};
pub use file_error::FileError;
pub use fit::{FitOutcome, FitRequest, fit};
pub use fit_file::{FIT_FILE, FitFile, FitSetup};
pub use options::{HeadName, Precision, TrainOptions, Trainable};
