//! Judges bundles as the daemon uses them: the scorer runs the exported graphs, without burn.
//!
//! `embedding` computes the embeddings, `choice` chooses the images to judge, and `figures` computes figures with
//! intervals. `conditions` and `data_sets` compute the figures of conditions and of data sets. `percentiles` chooses
//! the reference scores of percentiles. [`eval`] implements `edge-trainer eval`, [`compare`] implements `edge-trainer
//! compare`. [`super::report`] writes the results to files.

mod choice;
pub mod compare;
mod conditions;
mod data_sets;
mod embedding;
mod error;
mod evaluation;
mod failures;
mod figures;
mod options;
mod percentiles;
mod run;
mod tag_order;

pub use choice::{DataName, Which};
pub use conditions::{ConditionMeans, ConditionRow, Ladder, LadderStep};
pub use data_sets::DataSetRow;
pub use embedding::{Embedded, distinct_tags, embed, shuffled_tags};
pub use error::JudgeError;
pub use evaluation::{EpochFigures, EvalSettings, Evaluation, ModelName, evaluate};
pub use failures::{ScoreError, Suggestions, largest_errors, suggestions};
pub use figures::{Bootstrap, Measures, TagRow};
pub use options::JudgeOptions;
pub use percentiles::{PercentileReference, reference_examples};
pub use run::{EvalRequest, Judgement, eval, rules};
