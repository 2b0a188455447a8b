//! The measures of a report: names, definitions, and whether high or low values are better.

use serde::Serialize;

use super::correlation::{mean, pearson, spearman};
use super::distribution::{BIN_WIDTH, Bins, EPSILON, earth_movers_distance, kl_divergence, wasserstein};
use super::sample::ScoreSample;
use super::within::{pair_accuracy, within_tag_srcc};

/// Tie threshold and score scale, which the measures use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rules {
    /// Largest score difference at which two images of a tag count as tied.
    pub tie_threshold: f64,
    /// Lowest score of the scale.
    pub low: f64,
    /// Highest score of the scale.
    pub high: f64,
}

/// Whether higher or lower values of a measure are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Higher values are better.
    Higher,
    /// Lower values are better.
    Lower,
}

/// A measure of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Mean of |prediction - truth|.
    ErrorMean,
    /// Population standard deviation of |prediction - truth|.
    ErrorStd,
    /// Pearson's correlation of predictions and truths.
    Lcc,
    /// Spearman's correlation of predictions and truths.
    Srcc,
    /// KL divergence of the score histograms.
    Kl,
    /// NIMA's earth mover's distance of the score histograms.
    Emd,
    /// 1-Wasserstein distance of the scores.
    Wasserstein,
    /// Mean over the tags of Spearman's correlation within each tag.
    WithinTagSrcc,
    /// Share of pairs within a tag that are in the right order.
    PairAccuracy,
}

impl Measure {
    /// All measures in the order of the report.
    pub const ALL: [Self; 9] = [
        Self::ErrorMean,
        Self::ErrorStd,
        Self::Lcc,
        Self::Srcc,
        Self::Kl,
        Self::Emd,
        Self::Wasserstein,
        Self::WithinTagSrcc,
        Self::PairAccuracy,
    ];

    /// Returns the name in JSON and in the manifest.
    pub fn key(self) -> &'static str {
        match self {
            Self::ErrorMean => "error_mean",
            Self::ErrorStd => "error_std",
            Self::Lcc => "plcc",
            Self::Srcc => "srcc",
            Self::Kl => "kl",
            Self::Emd => "emd",
            Self::Wasserstein => "wasserstein",
            Self::WithinTagSrcc => "within_tag_srcc",
            Self::PairAccuracy => "pair_accuracy",
        }
    }

    /// Returns the name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::ErrorMean => "error",
            Self::ErrorStd => "error std",
            Self::Lcc => "LCC",
            Self::Srcc => "SRCC",
            Self::Kl => "KL",
            Self::Emd => "EMD",
            Self::Wasserstein => "Wasserstein",
            Self::WithinTagSrcc => "SRCC in tag",
            Self::PairAccuracy => "pairs right",
        }
    }

    /// Returns whether higher or lower values are better.
    pub fn better(self) -> Better {
        match self {
            Self::Lcc | Self::Srcc | Self::WithinTagSrcc | Self::PairAccuracy => Better::Higher,
            Self::ErrorMean | Self::ErrorStd | Self::Kl | Self::Emd | Self::Wasserstein => Better::Lower,
        }
    }

    /// Returns the definition for the report.
    pub fn definition(self, rules: &Rules) -> String {
        let Rules { tie_threshold, low, high } = rules;
        match self {
            Self::ErrorMean => "mean of |prediction - truth|, in score units; lower is better".to_owned(),
            Self::ErrorStd => "population standard deviation of |prediction - truth|; lower is better".to_owned(),
            Self::Lcc => "Pearson's linear correlation of prediction and truth; higher is better".to_owned(),
            Self::Srcc => "Spearman's rank correlation, average ranks for ties; higher is better".to_owned(),
            Self::Kl => format!(
                "Kullback-Leibler divergence KL(truth || prediction), in nats, of the histograms of true and predicted \
                 scores of all judged images. The bins are {BIN_WIDTH} wide, from {low} to {high}. Scores outside this \
                 range count in the first or last bin. {EPSILON} is added to every count; lower is better"
            ),
            Self::Emd => "NIMA's earth mover's distance with r = 2 between the cumulative histograms over the bins of \
                          the KL divergence, with nothing added to the counts: sqrt(mean over bins of the squared \
                          difference); lower is better"
                .to_owned(),
            Self::Wasserstein => {
                "1-Wasserstein distance of the two sets of scores, in score units: mean difference of the sorted \
                 scores; lower is better"
                    .to_owned()
            }
            Self::WithinTagSrcc => {
                "macro average: the SRCC within each tag, averaged over the tags that have at least three images and \
                 neither constant truths nor constant predictions; higher is better"
                    .to_owned()
            }
            Self::PairAccuracy => format!(
                "share of image pairs that the predictions put in the right order; counted are pairs of one tag whose \
                 truths differ by more than {tie_threshold}; equal predictions count half; higher is better"
            ),
        }
    }

    /// Computes the figure; `NaN` if it is not defined.
    pub fn of(self, sample: &ScoreSample, rules: &Rules) -> f64 {
        let (truth, prediction) = (&sample.truth, &sample.prediction);
        let bins = || Bins::over(rules.low, rules.high);
        match self {
            Self::ErrorMean => mean(&errors(sample)),
            Self::ErrorStd => {
                let errors = errors(sample);
                let centre = mean(&errors);
                mean(&errors.iter().map(|e| (e - centre).powi(2)).collect::<Vec<_>>()).sqrt()
            }
            Self::Lcc => pearson(truth, prediction),
            Self::Srcc => spearman(truth, prediction),
            Self::Kl => kl_divergence(&bins(), truth, prediction),
            Self::Emd => earth_movers_distance(&bins(), truth, prediction),
            Self::Wasserstein => wasserstein(truth, prediction),
            Self::WithinTagSrcc => within_tag_srcc(sample),
            Self::PairAccuracy => pair_accuracy(sample, rules.tie_threshold).0,
        }
    }
}

fn errors(sample: &ScoreSample) -> Vec<f64> {
    sample.prediction.iter().zip(&sample.truth).map(|(p, t)| (p - t).abs()).collect()
}
