//! The training options: one struct that the command line fills, that `--config` may preset, and that is saved beside the
//! results, so that a run can be repeated from its own file.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::dataset::{AvaSplit, Fold, ReadOptions};
use super::device::{Device, Place};
use super::model::MIN_SIZE_PX;
use edge_model::bundle::manifest::HeadKind;

/// Everything that decides how a model is trained, apart from where data and bundle lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Name of the model in the manifest; empty: the output directory's name.
    pub name: String,
    /// The encoders: `small`, `efficientnet-b0`, or a directory with weights.
    pub backbone: String,
    /// The head; none: the backbone's own default.
    pub head: Option<HeadKind>,
    /// Which weights are fitted.
    pub trainable: Trainable,
    /// The prompt, with `{tag}` where the tag goes; empty: the backbone's own default.
    pub template: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch: usize,
    /// Images of one tag that stand together in a batch, so that pairs arise.
    pub images_per_tag: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Share of the steps in which the rate rises from zero.
    pub warmup_share: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Batches whose gradients make one step together: a large batch on a small device.
    pub accumulate: usize,
    /// Share of the old weights in the moving average that is judged and exported; 0: the weights themselves are.
    pub ema: f64,
    /// Share of `lr` at which the last layer of encoders that come trained is fitted.
    pub encoder_lr: f64,
    /// Share of its successor's rate at which each layer before it is fitted.
    pub layer_decay: f64,
    /// Largest norm of all gradients together.
    pub max_gradient_norm: f64,
    /// Weight of the squared error beside the ranking loss.
    pub lambda: f64,
    /// Score difference below which the image that fits the tag better counts as the better one.
    pub tie_threshold: f32,
    /// Weight of the squared error of the expected alignment, where the data have alignments.
    pub alignment_weight: f64,
    /// Weight of the contrast between the tags of a batch.
    pub contrast_weight: f64,
    /// Share of the tags that a step replaces by the default tag, so that the model stays usable without a known tag.
    pub tag_dropout: f64,
    /// Share of a tag's words that a step leaves out, so that words count and not the prompts that they stand in.
    pub word_dropout: f64,
    /// Seed of every random choice.
    pub seed: u64,
    /// Epochs without improvement on the validation images after which the training ends.
    pub patience: usize,
    /// Share of the groups for validation, where the data do not say.
    pub validation_share: f64,
    /// Share of the groups for the test, where the data do not say.
    pub test_share: f64,
    /// The test part is this fold of several, for cross-validation.
    pub fold: Option<Fold>,
    /// AVA: tags with fewer images are dropped.
    pub min_images_per_tag: usize,
    /// AVA: how it is divided.
    pub ava_split: AvaSplit,
    /// Largest share of unreadable or missing images.
    pub max_bad_fraction: f64,
    /// Side of the image encoder's input, in pixels, where the encoder does not fix it; none: its own default.
    pub crop_px: Option<u32>,
    /// Short side that pictures are resized to, in pixels.
    pub resize_short_px: u32,
    /// Filters of the small image encoder's codebook, at every scale.
    pub filters: usize,
    /// Training images that the small image encoder compares with, at most.
    pub centres: usize,
    /// Length of a token inside of the text encoder.
    pub text_width: usize,
    /// Layers of the text encoder.
    pub text_layers: usize,
    /// Length of a padded prompt, in tokens.
    pub context_length: usize,
    /// Tokens that the tokenizer may learn.
    pub vocabulary: usize,
    /// Share of the activations dropped in training.
    pub dropout: f64,
    /// Threads that decode and measure images ahead of the training.
    pub loader_threads: usize,
    /// Where the networks are trained.
    pub device: Device,
    /// In how many bits matrix products are done; the weights have 32 in any case.
    pub precision: Precision,
}

/// Which weights are fitted; written `auto`, `head`, `last:2` or `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Trainable {
    /// The head's where the encoders come trained, else all.
    #[default]
    Auto,
    /// The head's. The images are encoded once and their features kept.
    Head,
    /// The head's and those of so many last layers of both encoders, with what stands behind them.
    Last(usize),
    /// All.
    All,
}

impl FromStr for Trainable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is none of auto, head, last:N (N at least 1) and all");
        match text {
            "auto" => Ok(Self::Auto),
            "head" => Ok(Self::Head),
            "all" => Ok(Self::All),
            _ => {
                let layers = text.strip_prefix("last:").and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                layers.map(Self::Last).ok_or_else(wrong)
            }
        }
    }
}

impl TryFrom<String> for Trainable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Trainable> for String {
    fn from(trainable: Trainable) -> Self {
        match trainable {
            Trainable::Auto => "auto".to_owned(),
            Trainable::Head => "head".to_owned(),
            Trainable::Last(layers) => format!("last:{layers}"),
            Trainable::All => "all".to_owned(),
        }
    }
}

/// In how many bits the encoders' matrix products and convolutions are done in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bfloat16 on a GPU, 32 bits on the processor.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// bfloat16, which keeps the range of 32 bits.
    Bf16,
}

impl Precision {
    /// What it comes to on this device.
    #[must_use]
    pub fn on(self, place: &Place) -> Self {
        match self {
            Self::Auto if place.prefers_bf16() => Self::Bf16,
            Self::Auto => Self::F32,
            given => given,
        }
    }
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            backbone: "small".to_owned(),
            head: None,
            trainable: Trainable::Auto,
            template: String::new(),
            epochs: 16,
            batch: 16,
            images_per_tag: 4,
            lr: 1.5e-3,
            warmup_share: 0.08,
            weight_decay: 0.05,
            accumulate: 1,
            ema: 0.0,
            encoder_lr: 0.1,
            layer_decay: 0.75,
            max_gradient_norm: 2.0,
            lambda: 1.0,
            tie_threshold: 0.1,
            alignment_weight: 0.1,
            contrast_weight: 0.02,
            tag_dropout: 0.2,
            word_dropout: 0.0,
            seed: 1,
            patience: 6,
            validation_share: 0.1,
            test_share: 0.15,
            fold: None,
            min_images_per_tag: 1000,
            ava_split: AvaSplit::Paper,
            max_bad_fraction: 0.01,
            crop_px: None,
            resize_short_px: 512,
            filters: 96,
            centres: 2000,
            text_width: 128,
            text_layers: 2,
            context_length: 77,
            vocabulary: 2000,
            dropout: 0.2,
            loader_threads: 2,
            device: Device::Auto,
            precision: Precision::Auto,
        }
    }
}

impl TrainOptions {
    /// What the data set's reader depends on.
    pub fn reading(&self) -> ReadOptions {
        ReadOptions { min_images_per_tag: self.min_images_per_tag, ava_split: self.ava_split, seed: self.seed }
    }

    /// Says what is wrong with the options, if anything is.
    pub fn problem(&self) -> Option<String> {
        let share = |name: &str, value: f64, highest: f64| {
            (!(0.0..=highest).contains(&value)).then(|| format!("{name} is {value}, it must be 0 to {highest}"))
        };
        let positive = |name: &str, value: f64| {
            (!(value.is_finite() && value > 0.0)).then(|| format!("{name} is {value}, it must be greater than 0"))
        };
        let shares = [
            share("validation_share", self.validation_share, 0.5),
            share("test_share", self.test_share, 0.5),
            share("max_bad_fraction", self.max_bad_fraction, 1.0),
            share("tag_dropout", self.tag_dropout, 1.0),
            share("word_dropout", self.word_dropout, 1.0),
            share("warmup_share", self.warmup_share, 1.0),
            share("dropout", self.dropout, 0.9),
            share("ema", self.ema, 0.99999),
            share("encoder_lr", self.encoder_lr, 1.0),
            share("layer_decay", self.layer_decay, 1.0),
            positive("lr", self.lr),
            positive("max_gradient_norm", self.max_gradient_norm),
            share("lambda", self.lambda, 1e6),
            share("tie_threshold", f64::from(self.tie_threshold), 1e6),
        ];
        shares.into_iter().flatten().next().or_else(|| self.size_problem())
    }

    fn size_problem(&self) -> Option<String> {
        let ones = [self.epochs, self.loader_threads, self.accumulate];
        if ones.contains(&0) || self.images_per_tag < 2 || self.batch < self.images_per_tag {
            return Some(
                "epochs, loader_threads and accumulate must be at least 1, images_per_tag at least 2, batch at least \
                 images_per_tag"
                    .to_owned(),
            );
        }
        if self.crop_px.is_some_and(|side| !(MIN_SIZE_PX..=self.resize_short_px).contains(&side)) {
            return Some(format!("crop_px must be {MIN_SIZE_PX} to resize_short_px ({})", self.resize_short_px));
        }
        if !(1..=4096).contains(&self.filters) || !(2..=20_000).contains(&self.centres) {
            return Some("filters must be 1 to 4096, centres 2 to 20000".to_owned());
        }
        if self.text_width == 0 || !self.text_width.is_multiple_of(4) || self.text_layers == 0 {
            return Some("text_width must be a multiple of 4, text_layers at least 1".to_owned());
        }
        if !(8..=4096).contains(&self.context_length) || self.vocabulary < 300 {
            return Some("context_length must be 8 to 4096 and vocabulary at least 300".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_survive_their_own_file() {
        let options = TrainOptions::default();
        assert_eq!(options.problem(), None);
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<TrainOptions>(&text).unwrap(), options);
    }

    #[test]
    fn wrong_options_are_named() {
        let problem = |change: fn(&mut TrainOptions)| {
            let mut options = TrainOptions::default();
            change(&mut options);
            options.problem().unwrap()
        };
        assert!(problem(|o| o.lr = -1.0).contains("lr is -1"));
        assert!(problem(|o| o.images_per_tag = 1).contains("images_per_tag"));
        assert!(problem(|o| o.accumulate = 0).contains("accumulate"));
        for trainable in [Trainable::Auto, Trainable::Head, Trainable::Last(3), Trainable::All] {
            assert_eq!(String::from(trainable).parse::<Trainable>().unwrap(), trainable);
        }
        assert!("last:0".parse::<Trainable>().unwrap_err().contains("last:N"));
        assert!(problem(|o| o.crop_px = Some(1024)).contains("resize_short_px (512)"));
        assert!(toml::from_str::<TrainOptions>("epoch = 3").unwrap_err().to_string().contains("epoch"));
    }
}
