//! Compares every figure with numpy and scipy. `tests/reference/metrics.py` generates the expected values.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bootstrap::interval;
use super::correlation::ranks;
use super::*;

#[derive(Deserialize)]
struct ReferenceCase {
    tag: Vec<String>,
    group: Vec<String>,
    truth: Vec<f64>,
    prediction: Vec<f64>,
    tie_threshold: f64,
    low: f64,
    high: f64,
    ranks_of_truth: Vec<f64>,
    own_srcc: Vec<Option<f64>>,
    quantiles_5: Vec<f32>,
    figures: BTreeMap<String, f64>,
    bootstrap: ReferenceBootstrap,
}

#[derive(Deserialize)]
struct ReferenceBootstrap {
    other: Vec<f64>,
    drawn: Vec<Vec<usize>>,
    intervals: BTreeMap<String, (f64, f64)>,
    differences: BTreeMap<String, (f64, f64)>,
}

impl ReferenceCase {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../../tests/reference/metrics.json")).unwrap()
    }

    fn judged(&self, prediction: &[f64]) -> Vec<Judged> {
        let rows = self.tag.iter().zip(self.truth.iter().zip(prediction));
        rows.map(|(tag, (&truth, &prediction))| Judged { tag: tag.clone(), truth, prediction }).collect()
    }

    fn rules(&self) -> Rules {
        Rules { tie_threshold: self.tie_threshold, low: self.low, high: self.high }
    }
}

fn strs(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

fn close(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() < 1e-9, "{what}: {a} against {b}");
}

#[test]
fn figures_equal_scipys() {
    for r in ReferenceCase::all() {
        let judged = r.judged(&r.prediction);
        let sample = ScoreSample::of(&judged);
        for measure in Measure::ALL {
            close(measure.of(&sample, &r.rules()), r.figures[measure.key()], measure.key());
        }
        assert_eq!(ranks(&r.truth), r.ranks_of_truth);
        let figures = Figures::of(&judged, r.tie_threshold);
        assert_eq!((figures.tags as f64, figures.pairs as f64), (r.figures["tags"], r.figures["pairs"]));
        for (own, expected) in tag_srccs(&sample).into_iter().zip(&r.own_srcc) {
            match expected {
                Some(expected) => close(own, *expected, "a tag's own SRCC"),
                None => assert!(own.is_nan()),
            }
        }
        let predictions: Vec<f32> = r.prediction.iter().map(|&p| p as f32).collect();
        for (a, b) in quantiles(&predictions, 5).iter().zip(&r.quantiles_5) {
            assert!((a - b).abs() < 1e-5, "{a} against {b}");
        }
    }
}

#[test]
fn bootstrap_intervals_equal_numpys_on_the_same_draws() {
    for r in ReferenceCase::all() {
        let resampling = Resampling::new(&strs(&r.group), &strs(&r.tag), 1, 1);
        let (one, two) = (r.judged(&r.prediction), r.judged(&r.bootstrap.other));
        for measure in Measure::ALL {
            let of = |judged: &[Judged], drawn: &Vec<usize>| {
                measure.of(&ScoreSample::drawn(judged, &resampling.replicate_of(drawn)), &r.rules())
            };
            let values: Vec<f64> = r.bootstrap.drawn.iter().map(|drawn| of(&one, drawn)).collect();
            let differences: Vec<f64> =
                r.bootstrap.drawn.iter().map(|drawn| of(&two, drawn) - of(&one, drawn)).collect();
            for (found, expected) in [
                (interval(&values), r.bootstrap.intervals[measure.key()]),
                (interval(&differences), r.bootstrap.differences[measure.key()]),
            ] {
                close(found.0, expected.0, measure.key());
                close(found.1, expected.1, measure.key());
            }
        }
    }
}
