//! Mean and standard deviation, with which scores and similarities are brought to the same scale.

/// Returns the mean and the population standard deviation. If all values are equal, the deviation is 1.
pub(super) fn spread(values: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / n;
    let variance = values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let deviation = variance.sqrt();
    (mean as f32, if deviation > 1e-6 { deviation as f32 } else { 1.0 })
}
