//! The kinds of charts of the reports.

use maud::Markup;

use super::plot::{AxisRange, Margins, Plot};
use crate::metrics::{Bins, Estimate, quantile};

const WIDTH: f64 = 960.0;
const MARGINS: Margins = Margins(56.0, 16.0, 34.0, 44.0);
/// Margins with space for the names of rows.
const NAMES: Margins = Margins(230.0, 24.0, 30.0, 44.0);
/// Height of a row in SVG units.
const ROW: f64 = 30.0;

/// Values with a colour and a name.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// CSS class: `human`, `model` or `third`.
    pub class: &'a str,
    /// Name of the series in the chart's key.
    pub name: &'a str,
    /// For a histogram, the values to be counted; for curves, one value for each epoch.
    pub values: &'a [f64],
}

/// A named row of a chart with one mark for each series.
#[derive(Debug, Clone)]
pub struct Band<'a, T> {
    /// Name of the row.
    pub name: &'a str,
    /// CSS class and value of each mark.
    pub marks: Vec<(&'a str, T)>,
}

/// Draws overlaid histograms of several series, each as shares of its values.
pub fn distributions(bins: &Bins, series: &[Series<'_>], unit: &str, meaning: &str) -> Markup {
    let shares = |s: &Series<'_>| {
        let all = s.values.len().max(1) as f64;
        bins.histogram(s.values).into_iter().map(|c| 100.0 * c / all).collect::<Vec<_>>()
    };
    let heights: Vec<Vec<f64>> = series.iter().map(shares).collect();
    let highest = heights.iter().flatten().copied().fold(1.0, f64::max);
    let x = AxisRange { low: bins.edge(0), high: bins.edge(bins.count()) };
    let mut plot = Plot::new(WIDTH, 300.0, MARGINS, x, AxisRange { low: 0.0, high: highest * 1.05 });
    plot.x_axis(unit);
    plot.y_axis("% of the images");
    for (i, (series, heights)) in series.iter().zip(&heights).enumerate() {
        let mut points = vec![(bins.edge(0), 0.0)];
        for (bin, &height) in heights.iter().enumerate() {
            points.extend([(bins.edge(bin), height), (bins.edge(bin + 1), height)]);
        }
        points.push((bins.edge(bins.count()), 0.0));
        plot.path(series.class, &points, true);
        plot.key(i, series.class, series.name);
    }
    plot.finish(meaning)
}

/// A bin of images with similar predictions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationPoint {
    /// Mean score of the model.
    pub prediction: f64,
    /// Mean score given by people.
    pub truth: f64,
    /// Standard error of `truth`.
    pub error: f64,
    /// Number of images in the bin.
    pub n: usize,
}

/// Draws mean truth over mean prediction with standard errors, and the line on which both are equal.
pub fn calibration(points: &[CalibrationPoint], unit: &str, meaning: &str) -> Markup {
    let range =
        AxisRange::of(points.iter().flat_map(|p| [p.prediction, p.truth - p.error, p.truth + p.error])).padded(0.05);
    let mut plot = Plot::new(WIDTH, 360.0, MARGINS, range, range);
    plot.x_axis(&format!("mean score by the model, {unit}"));
    plot.y_axis("mean score by people");
    plot.straight("dashed", (range.low, range.low), (range.high, range.high));
    plot.path("model", &points.iter().map(|p| (p.prediction, p.truth)).collect::<Vec<_>>(), false);
    for &CalibrationPoint { prediction, truth, error, n } in points {
        plot.straight("model", (prediction, truth - error), (prediction, truth + error));
        plot.dot(
            "model",
            (prediction, truth),
            4.0,
            &format!("{prediction:.2} by the model, {truth:.2} by people, {n} images"),
        );
    }
    plot.finish(meaning)
}

/// Draws a line for each series over the epochs, which are counted from 1.
pub fn curves(series: &[Series<'_>], name: &str, meaning: &str) -> Markup {
    let epochs = series.iter().map(|s| s.values.len()).max().unwrap_or(1).max(2);
    let y = AxisRange::of(series.iter().flat_map(|s| s.values.iter().copied())).padded(0.06);
    let mut plot = Plot::new(WIDTH, 240.0, MARGINS, AxisRange { low: 1.0, high: epochs as f64 }, y);
    plot.x_axis("epoch");
    plot.y_axis(name);
    for (i, series) in series.iter().enumerate() {
        let points: Vec<(f64, f64)> =
            (1u32..).zip(series.values).filter(|(_, v)| v.is_finite()).map(|(e, &v)| (f64::from(e), v)).collect();
        plot.path(series.class, &points, false);
        for &(epoch, value) in &points {
            plot.dot(series.class, (epoch, value), 2.5, &format!("{}, epoch {epoch}: {value:.4}", series.name));
        }
        plot.key(i, series.class, series.name);
    }
    plot.finish(meaning)
}

/// Draws rows of figures with their intervals. `zero` adds a line at 0.
pub fn spans(rows: &[Band<'_, Estimate>], keys: &[(&str, &str)], axis: &str, zero: bool, meaning: &str) -> Markup {
    let values = rows.iter().flat_map(|r| &r.marks).flat_map(|(_, e)| [e.value, e.low, e.high]);
    let x = AxisRange::of(values.chain(zero.then_some(0.0))).padded(0.04);
    let mut plot = rows_plot(rows.len(), x, axis, keys);
    if zero {
        plot.straight("dashed", (0.0, 0.0), (0.0, rows.len() as f64));
    }
    for (i, row) in rows.iter().enumerate() {
        let middle = (rows.len() - i) as f64 - 0.5;
        plot.row_name(middle, row.name);
        for (mark, (class, e)) in row.marks.iter().enumerate().filter(|(_, (_, e))| e.value.is_finite()) {
            let y = middle + offset(mark, row.marks.len());
            if e.low.is_finite() {
                plot.straight(&format!("{class} line"), (e.low, y), (e.high, y));
            }
            let tip = format!("{}: {:.3}, {:.3} to {:.3}", row.name, e.value, e.low, e.high);
            plot.dot(class, (e.value, y), 4.5, &tip);
        }
    }
    plot.finish(meaning)
}

/// Draws rows of box plots: a box for the middle half of the values, a dot for the median, a line for the middle 90 %.
pub fn spreads(rows: &[Band<'_, Vec<f64>>], keys: &[(&str, &str)], axis: &str, meaning: &str) -> Markup {
    let values = rows.iter().flat_map(|r| &r.marks).flat_map(|(_, values)| values.iter().copied());
    let mut plot = rows_plot(rows.len(), AxisRange::of(values).padded(0.02), axis, keys);
    for (i, row) in rows.iter().enumerate() {
        let middle = (rows.len() - i) as f64 - 0.5;
        plot.row_name(middle, row.name);
        for (mark, (class, values)) in row.marks.iter().enumerate() {
            let mut sorted = values.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let [least, low, median, high, most] = [0.05, 0.25, 0.5, 0.75, 0.95].map(|q| quantile(&sorted, q));
            if median.is_nan() {
                continue;
            }
            let y = middle + offset(mark, row.marks.len());
            plot.straight(&format!("{class} line"), (least, y), (most, y));
            plot.bar(class, (low, high), y, 5.5);
            plot.dot(
                class,
                (median, y),
                3.0,
                &format!("{}: median {median:.2}, middle half {low:.2} to {high:.2}", row.name),
            );
        }
    }
    plot.finish(meaning)
}

/// Returns the vertical offset of a mark from the middle of its row, in row heights. `mark` is the index of the mark
/// among the `of` marks of the row.
fn offset(mark: usize, of: usize) -> f64 {
    if of < 2 { 0.0 } else { 0.2 - 0.4 * mark as f64 / (of - 1) as f64 }
}

/// Creates an empty plot with one row per name.
fn rows_plot(rows: usize, x: AxisRange, axis: &str, keys: &[(&str, &str)]) -> Plot {
    let Margins(_, _, top, bottom) = NAMES;
    let height = ROW * rows as f64 + top + bottom;
    let mut plot = Plot::new(WIDTH, height, NAMES, x, AxisRange { low: 0.0, high: rows.max(1) as f64 });
    plot.x_axis(axis);
    keys.iter().enumerate().for_each(|(i, (class, name))| plot.key(i, class, name));
    plot
}
