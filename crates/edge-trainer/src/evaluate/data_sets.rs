//! Computes the figures of each data set that the judged images come from.

use serde::Serialize;

use super::figures::{Bootstrap, Measures, TagRow, measure_all, tag_rows};
use super::percentiles::percentile_distances;
use super::tag_order::tag_order;
use crate::dataset::Example;
use crate::metrics::{Judged, Rules, mean};

/// Smallest number of images of a condition for which a figure is reported.
const MIN_CONDITION_IMAGES: usize = 10;

/// Largest number of images listed for each ranking.
const EXTREMES: usize = 5;

/// Figures of one data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataSetRow {
    /// Name of the data set.
    pub name: String,
    /// Number of judged (image, tag) pairs.
    pub n: usize,
    /// Figures with each image under its own tag.
    pub right_tags: Measures,
    /// Figures with own tags minus figures with shuffled tags, on the same replicates.
    pub right_minus_shuffled: Measures,
    /// Share of tag comparisons in which the model and people agree, 0 to 1; `NaN` without comparisons. Each comparison
    /// ranks two tags of one image.
    pub tag_order: f64,
    /// Number of tag comparisons that `tag_order` counts.
    pub tag_pairs: usize,
    /// Mean of the correlations in `conditions`, -1 to 1; `NaN` if there are none.
    pub within_conditions: f64,
    /// Spearman's correlation within each condition that has enough images.
    pub conditions: Vec<TagRow>,
    /// Kolmogorov's distance between the distribution of the percentiles and the uniform distribution, 0 to 1.
    pub percentile_distance: f64,
    /// The first images of each ranking.
    pub extremes: Vec<Extreme>,
}

/// One of the first images of a ranking, such as the ranking by score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Extreme {
    /// Name of the ranking: `best`, `worst`, `rated too high` or `rated too low`.
    pub end: &'static str,
    /// Name of the image file.
    pub image: String,
    /// Tag under which the image was scored and rated.
    pub tag: String,
    /// Score that the model gave, on the bundle's scale.
    pub prediction: f64,
    /// Mean score that people gave.
    pub truth: f64,
}

/// Computes the figures of every data set, in alphabetical order. `right` and `wrong` are the predictions under own and
/// under shuffled tags. `quantiles` returns the reference quantiles of a tag.
pub(super) fn data_sets<'q>(
    examples: &[Example],
    right: &[Judged],
    wrong: &[Judged],
    rules: &Rules,
    bootstrap: Bootstrap,
    quantiles: impl Fn(&str) -> &'q [f32],
) -> Vec<DataSetRow> {
    let distances = percentile_distances(examples, right, quantiles);
    let row = |(name, distance): (String, f64)| {
        let rows: Vec<usize> = (0..examples.len()).filter(|&i| examples[i].source == name).collect();
        let own: Vec<Example> = rows.iter().map(|&i| examples[i].clone()).collect();
        let of = |judged: &[Judged]| rows.iter().map(|&i| judged[i].clone()).collect::<Vec<_>>();
        let (right, wrong) = (of(right), of(wrong));
        let measured = measure_all(&[&right, &wrong], rules, &bootstrap.resampling(&own));
        let (order, tag_pairs) = tag_order(&own, &right, rules.tie_threshold);
        let conditions = conditions(&own, &right, bootstrap);
        let defined: Vec<f64> = conditions.iter().map(|c| c.srcc.value).filter(|v| v.is_finite()).collect();
        DataSetRow {
            n: rows.len(),
            right_minus_shuffled: measured[0].minus(&measured[1]),
            right_tags: measured.into_iter().next().unwrap_or_default().estimates,
            tag_order: order,
            tag_pairs,
            within_conditions: mean(&defined),
            conditions,
            percentile_distance: distance,
            extremes: extremes(&own, &right),
            name,
        }
    };
    distances.into_iter().map(row).collect()
}

fn conditions(examples: &[Example], judged: &[Judged], bootstrap: Bootstrap) -> Vec<TagRow> {
    let of_condition = |(e, j): (&Example, &Judged)| Some(Judged { tag: e.condition.clone()?, ..j.clone() });
    let by_condition: Vec<Judged> = examples.iter().zip(judged).filter_map(of_condition).collect();
    tag_rows(&by_condition, bootstrap).into_iter().filter(|row| row.n >= MIN_CONDITION_IMAGES).collect()
}

/// Returns the images with the highest and lowest scores, and those whose scores differ most from those given by
/// people.
fn extremes(examples: &[Example], judged: &[Judged]) -> Vec<Extreme> {
    type Key = fn(&Judged) -> f64;
    let ends: [(&'static str, Key); 4] = [
        ("best", |j| j.prediction),
        ("worst", |j| -j.prediction),
        ("rated too high", |j| j.prediction - j.truth),
        ("rated too low", |j| j.truth - j.prediction),
    ];
    let mut order: Vec<usize> = (0..judged.len()).collect();
    let mut all = Vec::new();
    for (end, key) in ends {
        order.sort_by(|&a, &b| key(&judged[b]).total_cmp(&key(&judged[a])));
        all.extend(order.iter().take(EXTREMES.min(judged.len() / 2)).map(|&i| Extreme {
            end,
            image: examples[i].path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            tag: judged[i].tag.clone(),
            prediction: judged[i].prediction,
            truth: judged[i].truth,
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn each_data_set_is_judged_by_itself() {
        let example = |i: usize| Example {
            path: PathBuf::from(format!("dir/{i}.jpg")),
            tag: ["a", "b"][i % 2].to_owned(),
            score: 0.0,
            alignment: None,
            part: None,
            group: (i / 2).to_string(),
            source: if i < 24 { "one" } else { "two" }.to_owned(),
            condition: (i < 24).then(|| if i < 20 { "often" } else { "seldom" }.to_owned()),
            content_id: (i / 2).to_string(),
        };
        let examples: Vec<Example> = (0..60).map(example).collect();
        // The first data set is ranked in the right order, the second in the opposite order.
        let judged = |sign: f64| {
            let one = |(i, e): (usize, &Example)| Judged {
                tag: e.tag.clone(),
                truth: i as f64,
                prediction: i as f64 * if e.source == "one" { sign } else { -sign },
            };
            examples.iter().enumerate().map(one).collect::<Vec<_>>()
        };
        let rules = Rules { tie_threshold: 0.1, low: 0.0, high: 60.0 };
        let (right, wrong) = (judged(1.0), judged(-1.0));
        let even: Vec<f32> = (0..=24).map(|v| v as f32).collect();
        let rows = data_sets(&examples, &right, &wrong, &rules, Bootstrap::new(50, 1), |_| even.as_slice());
        assert_eq!(rows.iter().map(|r| (r.name.as_str(), r.n)).collect::<Vec<_>>(), [("one", 24), ("two", 36)]);
        assert_eq!((rows[0].right_tags["srcc"].value, rows[1].right_tags["srcc"].value), (1.0, -1.0));
        assert_eq!(rows[0].right_minus_shuffled["srcc"].value, 2.0);
        assert_eq!((rows[0].tag_order, rows[0].tag_pairs, rows[1].tag_order), (1.0, 12, 0.0));
        assert_eq!((rows[0].conditions.len(), rows[0].within_conditions), (1, 1.0));
        assert!(rows[1].conditions.is_empty() && rows[1].within_conditions.is_nan());
        let ends: Vec<(&str, &str)> = rows[0].extremes.iter().map(|e| (e.end, e.image.as_str())).collect();
        assert_eq!((ends.len(), ends[0], ends[5]), (20, ("best", "23.jpg"), ("worst", "0.jpg")));
        assert_eq!(rows[1].extremes[15].image, "59.jpg");
        assert!(rows[0].percentile_distance < 0.05 && rows[1].percentile_distance > 0.9);
    }
}
