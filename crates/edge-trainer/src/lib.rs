//! `edge-trainer`'s library: rated images in, a proved bundle out.
//!
//! Owns burn and the export's protobuf types. Speaks through [`message::Listener`] only and draws nothing. Uses the scorer's own
//! code to read images, to encode tags and to prove the bundle; knows neither daemon nor database.

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
mod fit;
mod fit_file;
mod golden;
pub mod gradient_free;
mod judge;
mod keeper;
mod loader;
pub mod loss;
pub mod message;
pub mod metrics;
pub mod model;
pub mod onnx;
mod optimise;
mod options;
pub mod pairs;
mod parallel;
pub mod render;
pub mod report;
pub mod rows;
mod tokenizer;
mod training;
pub mod weights;

pub use error::TrainError;
pub use export::{IMAGE_PARITY, PARITY, Parity};
pub use fit::{FitOutcome, FitRequest, fit};
pub use fit_file::{FIT_FILE, FitFile, Setup};
pub use options::{Precision, TrainOptions, Trainable};
