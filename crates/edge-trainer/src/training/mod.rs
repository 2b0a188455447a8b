//! The training: epochs, steps, validation, and the decision when to stop. It owns the weights. Its caller owns the run
//! directory and passes a [`Keeper`].

mod epochs;
mod error;
mod features;
mod image_fit;
mod inputs;
mod keeper;
mod learner;
mod objective;
mod step_time;
mod strange;
mod texts;
mod units;
mod validation;

pub use epochs::{Trained, train};
pub use error::LearnError;
pub use features::{FrozenEncoders, keep_features};
pub use image_fit::{KnownContent, TextFit, fit_image_encoder};
pub use inputs::TrainInputs;
pub use keeper::Keeper;
pub use step_time::{made_up_examples, time_steps};
