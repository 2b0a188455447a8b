//! Every figure with its name, its meaning and which direction is good.

use serde::Serialize;

use super::Sample;
use super::correlation::{mean, pearson, spearman};
use super::distribution::{BIN_WIDTH, Bins, EPSILON, earth_movers_distance, kl_divergence, wasserstein};
use super::within::{pair_accuracy, within_tag_srcc};

/// What the measures need to know besides the predictions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rules {
    /// Score difference up to which two images of a tag count as alike.
    pub tie_threshold: f64,
    /// Lowest score of the scale.
    pub low: f64,
    /// Highest score of the scale.
    pub high: f64,
}

/// Which values are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// High ones.
    Higher,
    /// Low ones.
    Lower,
}

/// A figure of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Mean of |prediction - truth|.
    ErrorMean,
    /// Its population standard deviation.
    ErrorStd,
    /// Pearson's correlation.
    Lcc,
    /// Spearman's correlation.
    Srcc,
    /// KL divergence of the score histograms.
    Kl,
    /// NIMA's earth mover's distance of the score histograms.
    Emd,
    /// 1-Wasserstein distance of the scores.
    Wasserstein,
    /// Macro average of the tags' own Spearman correlations.
    WithinTagSrcc,
    /// Share of the pairs of a tag in the right order.
    PairAccuracy,
}

impl Measure {
    /// All of them, in the order of the report.
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

    /// The name in JSON and in the manifest.
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

    /// The name in tables.
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

    /// Which values are good.
    pub fn better(self) -> Better {
        match self {
            Self::Lcc | Self::Srcc | Self::WithinTagSrcc | Self::PairAccuracy => Better::Higher,
            Self::ErrorMean | Self::ErrorStd | Self::Kl | Self::Emd | Self::Wasserstein => Better::Lower,
        }
    }

    /// The definition, for the report.
    pub fn definition(self, rules: &Rules) -> String {
        let Rules { tie_threshold, low, high } = rules;
        match self {
            Self::ErrorMean => "mean of |prediction - truth|, in score units; low is good".to_owned(),
            Self::ErrorStd => "population standard deviation of |prediction - truth|; low is good".to_owned(),
            Self::Lcc => "Pearson's linear correlation of prediction and truth; high is good".to_owned(),
            Self::Srcc => "Spearman's rank correlation, average ranks for ties; high is good".to_owned(),
            Self::Kl => format!(
                "Kullback-Leibler divergence KL(truth || prediction), in nats, of the two score histograms over all \
                 judged images: bins {BIN_WIDTH} wide from {low} to {high}, scores outside counted in the first or the \
                 last one, {EPSILON} added to every count; low is good"
            ),
            Self::Emd => "NIMA's earth mover's distance with r = 2 between the cumulative histograms over the same \
                          bins, nothing added: sqrt(mean over bins of the squared difference); low is good"
                .to_owned(),
            Self::Wasserstein => {
                "1-Wasserstein distance of the two sets of scores, in score units: mean difference of the sorted \
                 scores; low is good"
                    .to_owned()
            }
            Self::WithinTagSrcc => {
                "macro average: each tag's own SRCC, averaged over the tags with at least three images and no constant \
                 side; high is good"
                    .to_owned()
            }
            Self::PairAccuracy => format!(
                "share of the pairs of one tag whose truths are more than {tie_threshold} apart that are in the right \
                 order; equal predictions count half; high is good"
            ),
        }
    }

    /// The figure; `NaN` where it is not defined.
    pub fn of(self, sample: &Sample, rules: &Rules) -> f64 {
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

fn errors(sample: &Sample) -> Vec<f64> {
    sample.prediction.iter().zip(&sample.truth).map(|(p, t)| (p - t).abs()).collect()
}
