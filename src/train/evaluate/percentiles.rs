//! Whether percentiles mean what they say: on images of the reference's kind they spread evenly.

use super::{Embedded, JudgeError};
use crate::bundle::manifest::percentile;
use crate::scorer::Scorer;
use crate::train::metrics::kolmogorov_to_uniform;

/// Kolmogorov's distance between the uniform distribution and the percentiles of images under their own tags; `quantiles` are those
/// that belong to a tag.
///
/// # Errors
/// [`JudgeError::Scorer`].
pub fn percentile_distance<'q>(
    images: &Embedded<'_>,
    scorer: &Scorer,
    quantiles: impl Fn(&str) -> &'q [f32],
) -> Result<f64, JudgeError> {
    let judged = images.judge(scorer, str::to_owned)?;
    let of_row = judged.iter().filter_map(|row| percentile(quantiles(&row.tag), row.prediction as f32));
    Ok(kolmogorov_to_uniform(of_row.map(|p| f64::from(p) / 100.0).collect()))
}
