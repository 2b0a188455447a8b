//! Measures of predictions against scores given by people. Pure functions of numbers; reports print the definitions.
//!
//! [`Measure`] names every figure, a [`ScoreSample`] is its input, and [`Resampling`] gives its confidence interval.

mod bootstrap;
mod correlation;
mod distribution;
mod figures;
mod measure;
mod names;
#[cfg(test)]
mod reference;
mod sample;
mod within;

pub use bootstrap::{Estimate, LEVEL, Replicate, Resampling, quantile};
pub use correlation::{mean, spearman};
pub use distribution::{Bins, kolmogorov_to_uniform};
pub use figures::{Figures, quantiles};
pub use measure::{Better, Measure, Rules};
pub use names::numbered;
pub use sample::{Judged, ScoreSample};
pub use within::tag_srccs;
