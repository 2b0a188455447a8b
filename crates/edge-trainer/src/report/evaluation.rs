//! Builds the report of an [`Evaluation`].

use super::chart::{self, CalibrationPoint, Series};
use super::conditions::condition_sections;
use super::document::{Block, Document, Grid, Section, Strip};
use super::words::{estimate, interval, number, plural, sentence, signed};
use crate::evaluate::{DataSetRow, EpochFigures, Evaluation, TagRow};
use crate::metrics::{Bins, Judged, Measure, Rules, mean};

/// Number of bins of the calibration. Each holds the same number of images.
const CALIBRATION_BINS: usize = 10;

/// Returns the report. `gallery` is empty if no images may be shown.
pub fn document(evaluation: &Evaluation, gallery: Vec<Strip>) -> Document {
    let mut sections = vec![subject(evaluation), figures(evaluation)];
    match &evaluation.groups {
        Some(conditions) => sections.extend(condition_sections(conditions, evaluation)),
        None => sections.push(tags(evaluation)),
    }
    sections.extend(data_set_sections(&evaluation.data_sets));
    sections.push(distributions(evaluation));
    sections.push(calibration(&evaluation.judged, &evaluation.model.unit));
    if !gallery.is_empty() {
        let about = "For each of the tags with the most images: up to three images with the highest scores of the \
                     model, then the same number with the lowest scores."
            .to_owned();
        sections.push(Section::filed("Best and worst images", vec![Block::Text(about), Block::Gallery(gallery)]));
    }
    if evaluation.groups.is_some() {
        sections.push(Section { printed: false, ..tags(evaluation) });
    }
    if !evaluation.epochs.is_empty() {
        sections.push(course(&evaluation.epochs));
    }
    sections.push(definitions(evaluation));
    Document { title: format!("Evaluation of {}", evaluation.model.name), sections }
}

fn subject(evaluation: &Evaluation) -> Section {
    let mut blocks = Vec::new();
    let mut say = |text: String| blocks.push(Block::Text(text));
    let digest =
        evaluation.model.digest.as_ref().map_or_else(String::new, |d| format!(", digest {}", &d[..16.min(d.len())]));
    say(format!("Model: {}{digest}. Scores: {}.", evaluation.model.name, evaluation.model.unit));
    if let Some(data) = &evaluation.data {
        say(format!("Data: {}, licence {}, digest {}.", data.name, data.licence, &data.sha256[..16]));
    }
    let (n, tags) = (evaluation.n, evaluation.tags.len());
    say(format!("Judged: {} under {}.", plural(n, "image"), plural(tags, "tag")));
    evaluation.images.iter().for_each(|clause| say(sentence(clause)));
    Section::printed("What was judged", blocks)
}

fn figures(evaluation: &Evaluation) -> Section {
    let mut grid =
        Grid::new(&["measure", "right tags", "95 %", "shuffled tags", "default tag", "right - shuffled", "95 % "]);
    for measure in Measure::ALL {
        let key = measure.key();
        let (right, difference) = (evaluation.right_tags[key], evaluation.right_minus_shuffled[key]);
        grid.rows.push(vec![
            measure.label().to_owned(),
            number(right.value),
            interval(&right),
            number(evaluation.shuffled_tags[key].value),
            number(evaluation.default_tag[key].value),
            signed(difference.value),
            interval(&difference),
        ]);
    }
    let (found, chance) = (100.0 * evaluation.retrieval, 100.0 * evaluation.retrieval_by_chance);
    let retrieval = format!(
        "For {found:.1} % of the images, their own tag has the highest similarity of all judged tags; by chance it \
         would be {chance:.1} %."
    );
    Section::printed("Figures", vec![Block::Table(grid), Block::Text(verdict(evaluation)), Block::Text(retrieval)])
}

/// Returns a sentence on whether the model is better with the right tags.
fn verdict(evaluation: &Evaluation) -> String {
    let gain = evaluation.right_minus_shuffled[Measure::Srcc.key()];
    let words = if gain.low > 0.0 {
        "the model is better with the right tags"
    } else if gain.high < 0.0 {
        "the model is worse with the right tags"
    } else {
        "these images show no clear difference"
    };
    format!("Right tags minus shuffled tags: SRCC {} ({}), {words}.", signed(gain.value), interval(&gain))
}

fn tags(evaluation: &Evaluation) -> Section {
    let mut rows: Vec<&TagRow> = evaluation.tags.iter().collect();
    rows.sort_by(|a, b| b.srcc.value.total_cmp(&a.srcc.value));
    let mut grid = Grid::new(&["tag", "n", "SRCC", "95 %"]);
    let row = |t: &TagRow| vec![t.tag.clone(), t.n.to_string(), number(t.srcc.value), interval(&t.srcc)];
    grid.rows.extend(rows.into_iter().map(row));
    Section::printed("Tags", vec![Block::Table(grid)])
}

/// Returns a section with a table of all data sets. For each data set, further sections hold the figures of its
/// conditions and the first images of its rankings.
fn data_set_sections(rows: &[DataSetRow]) -> Vec<Section> {
    let mut grid = Grid::new(&[
        "data set",
        "n",
        "SRCC",
        "95 %",
        "SRCC in tag",
        "95 % ",
        "right - shuffled",
        "95 %  ",
        "two tags in order",
        "SRCC in condition",
        "percentiles to uniform",
    ]);
    for row in rows {
        let (srcc, within) = (Measure::Srcc.key(), Measure::WithinTagSrcc.key());
        let (srcc, own, gain) = (row.right_tags[srcc], row.right_tags[within], row.right_minus_shuffled[within]);
        grid.rows.push(vec![
            row.name.clone(),
            row.n.to_string(),
            number(srcc.value),
            interval(&srcc),
            number(own.value),
            interval(&own),
            signed(gain.value),
            interval(&gain),
            number(row.tag_order),
            number(row.within_conditions),
            number(row.percentile_distance),
        ]);
    }
    let mut sections = vec![Section::printed("Data sets", vec![Block::Table(grid)])];
    for row in rows {
        if !row.conditions.is_empty() {
            let mut grid = Grid::new(&["condition", "n", "SRCC", "95 %"]);
            let of = |c: &TagRow| vec![c.tag.clone(), c.n.to_string(), number(c.srcc.value), interval(&c.srcc)];
            grid.rows.extend(row.conditions.iter().map(of));
            sections.push(Section::filed(&format!("Conditions of {}", row.name), vec![Block::Table(grid)]));
        }
        let mut grid = Grid::new(&["ranking", "image", "tag", "model", "people"]);
        grid.rows.extend(
            row.extremes
                .iter()
                .map(|e| vec![e.end.to_owned(), e.image.clone(), e.tag.clone(), number(e.prediction), number(e.truth)]),
        );
        sections.push(Section::filed(&format!("Extremes of {}", row.name), vec![Block::Table(grid)]));
    }
    sections
}

fn distributions(evaluation: &Evaluation) -> Section {
    let Rules { low, high, .. } = evaluation.rules;
    let truth: Vec<f64> = evaluation.judged.iter().map(|j| j.truth).collect();
    let prediction: Vec<f64> = evaluation.judged.iter().map(|j| j.prediction).collect();
    let series = [
        Series { class: "model", name: "model", values: &prediction },
        Series { class: "human", name: "people", values: &truth },
    ];
    let caption = "Scores of all judged images by people and by the model, in the bins of KL and EMD.";
    let svg = chart::distributions(&Bins::over(low, high), &series, &evaluation.model.unit, caption);
    Section::filed("Distribution of the scores", vec![Block::chart(caption, svg)])
}

/// Divides the images in the order of their predictions into bins of equal size.
fn calibration_points(judged: &[Judged]) -> Vec<CalibrationPoint> {
    let mut order: Vec<&Judged> = judged.iter().collect();
    order.sort_by(|a, b| a.prediction.total_cmp(&b.prediction));
    let bins = CALIBRATION_BINS.min(order.len());
    let point = |bin: usize| {
        let rows = &order[order.len() * bin / bins..order.len() * (bin + 1) / bins];
        let truths: Vec<f64> = rows.iter().map(|j| j.truth).collect();
        let predictions: Vec<f64> = rows.iter().map(|j| j.prediction).collect();
        let (truth, n) = (mean(&truths), rows.len() as f64);
        let squares: f64 = truths.iter().map(|t| (t - truth).powi(2)).sum();
        let error = (squares / (n - 1.0).max(1.0) / n).sqrt();
        CalibrationPoint { prediction: mean(&predictions), truth, error, n: rows.len() }
    };
    (0..bins).map(point).collect()
}

fn calibration(judged: &[Judged], unit: &str) -> Section {
    let points = calibration_points(judged);
    let mut grid = Grid::new(&["mean by the model", "mean by people", "standard error", "n"]);
    for CalibrationPoint { prediction, truth, error, n } in &points {
        grid.rows.push(vec![number(*prediction), number(*truth), number(*error), n.to_string()]);
    }
    let caption = "Mean score by people over mean score by the model, in bins of equal numbers of images, with \
                   standard errors. On the dashed line both are equal.";
    let svg = chart::calibration(&points, unit, caption);
    Section::filed("Calibration", vec![Block::chart(caption, svg), Block::Table(grid)])
}

fn course(epochs: &[EpochFigures]) -> Section {
    let column = |value: fn(&EpochFigures) -> Option<f64>| {
        epochs.iter().map(|e| value(e).unwrap_or(f64::NAN)).collect::<Vec<_>>()
    };
    let (loss, ranking) = (column(|e| e.loss), column(|e| e.ranking));
    let (squared, srcc, within) = (column(|e| e.squared_error), column(|e| e.srcc), column(|e| e.within_tag_srcc));
    let losses = [
        Series { class: "third", name: "squared error", values: &squared },
        Series { class: "model", name: "ranking", values: &ranking },
        Series { class: "human", name: "whole loss", values: &loss },
    ];
    let merits = [
        Series { class: "model", name: "within tags", values: &within },
        Series { class: "human", name: "SRCC", values: &srcc },
    ];
    let mut grid =
        Grid::new(&["epoch", "loss", "ranking", "squared error", "validation SRCC", "within tags", "best so far"]);
    let cell = |value: Option<f64>| number(value.unwrap_or(f64::NAN));
    for e in epochs {
        let mark = if e.best { "yes" } else { "" };
        grid.rows.push(vec![
            e.epoch.to_string(),
            cell(e.loss),
            cell(e.ranking),
            cell(e.squared_error),
            cell(e.srcc),
            cell(e.within_tag_srcc),
            mark.to_owned(),
        ]);
    }
    let (of_loss, of_merit) = ("Mean losses over the training batches.", "Rank correlation on the validation images.");
    let blocks = vec![
        Block::chart(of_loss, chart::curves(&losses, "loss", of_loss)),
        Block::chart(of_merit, chart::curves(&merits, "SRCC", of_merit)),
        Block::Table(grid),
    ];
    Section::filed("Course of the training", blocks)
}

fn definitions(evaluation: &Evaluation) -> Section {
    let mut terms = super::words::definitions(&evaluation.rules, &evaluation.bootstrap);
    let mut add = |term: &str, meaning: String| terms.push((term.to_owned(), meaning));
    add("shuffled tags", "each tag replaced by another judged tag, the same one for all images of the tag".to_owned());
    add("default tag", format!("every image scored under \"{}\"", evaluation.default_tag_text));
    add(
        "two tags in order",
        "share of the pairs of tags of one image that are in the right order, among pairs whose truths differ by more \
         than the tie threshold"
            .to_owned(),
    );
    add(
        "condition",
        "description of how an image was made, such as a generator and its setting. The figure SRCC in condition of a \
         data set is the mean over its conditions"
            .to_owned(),
    );
    add(
        "percentiles to uniform",
        "Kolmogorov's distance between the percentiles of the images and a uniform distribution over 0 to 100; lower \
         is better"
            .to_owned(),
    );
    add(
        "interval of a tag",
        "percentile bootstrap over the images of the tag. It is rough for few images, and images that a replicate \
         draws twice agree with themselves, which raises the interval a little"
            .to_owned(),
    );
    if evaluation.groups.is_some() {
        add(
            "conditions by mean",
            "images without a condition count under their group: the tag, unless the data name groups".to_owned(),
        );
        add(
            "probability",
            "share of the bootstrap replicates in which the mean scores by people and by the model put these \
             conditions in the same order"
                .to_owned(),
        );
    }
    Section::filed("What the figures mean", vec![Block::Terms(terms)])
}

/// Returns one line with the main figures.
pub fn summary(evaluation: &Evaluation) -> String {
    let figure = |measure: Measure| estimate(&evaluation.right_tags[measure.key()]);
    format!(
        "LCC {}, SRCC {}, within tags {}, pairs right {}",
        figure(Measure::Lcc),
        figure(Measure::Srcc),
        figure(Measure::WithinTagSrcc),
        figure(Measure::PairAccuracy)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_bins_hold_equally_many_images() {
        let judged: Vec<Judged> = (0..25)
            .map(|i| Judged { tag: "t".to_owned(), truth: f64::from(i) + 1.0, prediction: f64::from(i) })
            .collect();
        let points = calibration_points(&judged);
        assert_eq!((points.len(), points.iter().map(|p| p.n).sum::<usize>()), (10, 25));
        assert_eq!((points[0].prediction, points[0].truth), (0.5, 1.5));
        // Two values that differ by 1 have a variance of 1/2, so the standard error of their mean is sqrt(1/4).
        assert!((points[0].error - 0.5).abs() < 1e-12);
        assert_eq!(
            calibration_points(&judged[..1]),
            [CalibrationPoint { prediction: 0.0, truth: 1.0, error: 0.0, n: 1 }]
        );
    }
}
