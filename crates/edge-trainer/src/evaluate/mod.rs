//! Judges bundles by the way that the daemon goes: the scorer's own code on the exported graphs. burn has no part in it.
//!
//! `embedding` brings images and tags to the scorer, `choice` says which images are judged, `evaluation` takes the figures,
//! `groups` those of the conditions that images were made under, `data_sets` those of each data set, `percentiles` says what
//! percentiles refer to. [`eval`] is `edge-trainer eval`, [`compare`]
//! `edge-trainer compare`. Nothing here writes a file: [`super::report`] does.

mod choice;
pub mod compare;
mod data_sets;
mod embedding;
mod error;
mod evaluation;
mod groups;
mod percentiles;
mod run;
mod tag_order;

pub use choice::{Chosen, DataName, Division, Which};
pub use data_sets::DataSetRow;
pub use embedding::{Embedded, distinct_tags, embed, shuffled_tags};
pub use error::JudgeError;
pub use evaluation::{Bootstrap, Epoch, Evaluation, Measures, ModelName, Settings, TagRow, evaluate, measure_all};
pub use groups::{GroupRow, Groups, Ladder, Step};
pub use percentiles::{Reference, reference_examples};
pub use run::{EvalRequest, Judgement, eval, rules};
