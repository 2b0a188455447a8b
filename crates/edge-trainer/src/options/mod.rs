//! The training options: one struct for the flags of the command line, the `config.toml` of a run and the `fit.toml` of
//! a bundle. An option has the same name and the same values in all three.

mod values;

use clap::Args;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

pub use values::{HeadName, Precision, Trainable};

use crate::dataset::{AvaSplit, Fold, ReadOptions};
use crate::device::DeviceRequest;
use crate::model::MIN_SIZE_PX;

/// All options of a training except the paths of data and outputs, which are in [`crate::FitSetup`]. An empty text
/// selects the default that the field names. The help texts of the flags are the documentation of the fields.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Name of the model [default: the output directory's name]
    #[arg(long)]
    pub name: String,
    /// The encoders: small, efficientnet-b0, or a directory with the weights of a CLIP model or of timm's
    /// efficientnet_b0
    #[arg(long, value_name = "NAME|DIR")]
    pub backbone: String,
    /// How the head combines image and tag [default: depends on the backbone]
    #[arg(long, value_enum)]
    pub head: Option<HeadName>,
    /// Which weights are trained: head (only the head), last:N (the head and the last N layers of both encoders) or all
    /// [default: head if the encoders are pretrained, else all]
    #[arg(long, value_name = "head|last:N|all")]
    #[serde(alias = "trainable")]
    pub train: Trainable,
    /// The prompt, with {tag} in the place of the tag [default: "a photo of {tag}" for CLIP, else the tag]
    #[arg(long)]
    pub template: String,
    /// Passes over the training images
    #[arg(long)]
    pub epochs: usize,
    /// Images per batch
    #[arg(long)]
    pub batch: usize,
    /// Images of one tag that are put into the same batch, so that they can be compared with each other
    #[arg(skip)]
    pub images_per_tag: usize,
    /// Highest learning rate
    #[arg(long)]
    pub lr: f64,
    /// Share of the steps in which the learning rate rises from zero
    #[arg(skip)]
    pub warmup_share: f64,
    /// AdamW's decoupled weight decay
    #[arg(skip)]
    pub weight_decay: f64,
    /// Batches whose gradients are summed for one step. It acts like a larger batch but needs no more memory
    #[arg(long, value_name = "BATCHES")]
    pub accumulate: usize,
    /// Share of the old weights in the moving average that is validated and exported, such as 0.999; 0 for no average
    #[arg(long, value_name = "SHARE")]
    pub ema: f64,
    /// Learning rate of the last layer of pretrained encoders, as a share of `lr`
    #[arg(skip)]
    pub encoder_lr: f64,
    /// Learning rate of each earlier layer of pretrained encoders, as a share of the following layer's
    #[arg(skip)]
    pub layer_decay: f64,
    /// Largest norm of all gradients together
    #[arg(skip)]
    pub max_gradient_norm: f64,
    /// Weight of the squared error of the scores; the ranking loss has the weight 1
    #[arg(long)]
    pub lambda: f64,
    /// Two images whose scores differ by less than this are ordered by their fit to the tag
    #[arg(long, value_name = "SCORE")]
    pub tie_threshold: f32,
    /// Weight of the squared error of the predicted alignment, for data with alignments
    #[arg(skip)]
    pub alignment_weight: f64,
    /// Weight of the contrastive loss between the tags of a batch
    #[arg(skip)]
    pub contrast_weight: f64,
    /// Probability that a step replaces a tag by the default tag, so that the model learns to score images under the
    /// default tag
    #[arg(skip)]
    pub tag_dropout: f64,
    /// Probability that a step leaves out a word of a tag, so that the model learns words rather than whole prompts
    #[arg(skip)]
    pub word_dropout: f64,
    /// Seed of every random choice
    #[arg(long)]
    pub seed: u64,
    /// Epochs without improvement on the validation images after which the training ends
    #[arg(long, value_name = "EPOCHS")]
    pub patience: usize,
    /// Share of the groups for validation, if the data do not assign images to the validation part
    #[arg(skip)]
    pub validation_share: f64,
    /// Share of the groups for the test, if the data do not assign images to parts
    #[arg(skip)]
    pub test_share: f64,
    /// Cross-validation: K/N, such as 2/5, tests on fold K of N and trains on the other folds
    #[arg(long, value_name = "K/N")]
    pub fold: Option<Fold>,
    /// AVA: drop tags with fewer images
    #[arg(long, value_name = "N")]
    pub min_images_per_tag: usize,
    /// AVA: paper draws 135,000 images for training and 1,350 for the test; official tests on AVA's list generic_test
    #[arg(long, value_parser = named::<AvaSplit>, value_name = "paper|official")]
    pub ava_split: AvaSplit,
    /// Largest accepted share of missing or unreadable images
    #[arg(long, value_name = "SHARE")]
    pub max_bad_fraction: f64,
    /// Side of the image encoder's input in pixels, for encoders without a fixed size [default: 384 for small, else
    /// 224]
    #[arg(long, value_name = "PX")]
    pub crop_px: Option<u32>,
    /// Short side to which pictures are resized, in pixels
    #[arg(long, value_name = "PX")]
    pub resize_short_px: u32,
    /// Directory of the published parts that scripts/fetch_backbones fetches, for the backbones efficientnet-lite0 and
    /// efficientnet-lite2
    #[arg(long, value_name = "DIR")]
    pub parts: String,
    /// Filters in the codebook of the small image encoder, at every scale
    #[arg(long, value_name = "N")]
    pub filters: usize,
    /// Most training images that the small image encoder uses as centres of its kernel
    #[arg(long, value_name = "N")]
    pub centres: usize,
    /// Length of a token's vector in the small text encoder
    #[arg(skip)]
    pub text_width: usize,
    /// Layers of the small text encoder
    #[arg(skip)]
    pub text_layers: usize,
    /// Length of a padded prompt, in tokens
    #[arg(skip)]
    pub context_length: usize,
    /// Most tokens that the tokenizer learns
    #[arg(skip)]
    pub vocabulary: usize,
    /// Share of the activations that are dropped in training
    #[arg(skip)]
    pub dropout: f64,
    /// Threads that decode and measure images ahead of the training
    #[arg(skip)]
    pub loader_threads: usize,
    /// Where to train: auto takes the first GPU that can be used, else the processor
    #[arg(long, value_name = "auto|cpu|cuda:N")]
    pub device: DeviceRequest,
    /// Precision of the matrix products in training; weights always have 32 bits [default: bf16 on a GPU, f32 on the
    /// processor]
    #[arg(long, value_enum)]
    pub precision: Precision,
}

/// Parses the value of a flag by the names that it has in files.
fn named<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    T::deserialize(text.into_deserializer()).map_err(|e: serde::de::value::Error| e.to_string())
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            backbone: "small".to_owned(),
            head: None,
            train: Trainable::Auto,
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
            parts: "backbones".to_owned(),
            filters: 96,
            centres: 2000,
            text_width: 128,
            text_layers: 2,
            context_length: 77,
            vocabulary: 2000,
            dropout: 0.2,
            loader_threads: 2,
            device: DeviceRequest::Auto,
            precision: Precision::Auto,
        }
    }
}

impl TrainOptions {
    /// Returns the options that the data set's reader needs.
    pub fn reading(&self, allow_outside: bool) -> ReadOptions {
        ReadOptions {
            min_images_per_tag: self.min_images_per_tag,
            ava_split: self.ava_split,
            seed: self.seed,
            allow_outside,
        }
    }

    /// Returns the first error in the options, or `None` if they are valid.
    pub fn problem(&self) -> Option<String> {
        let share = |name: &str, value: f64, highest: f64| {
            (!(0.0..=highest).contains(&value)).then(|| format!("{name} is {value}; it must be 0 to {highest}"))
        };
        let positive = |name: &str, value: f64| {
            (!(value.is_finite() && value > 0.0)).then(|| format!("{name} is {value}; it must be greater than 0"))
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
                "epochs, loader_threads and accumulate must be at least 1. images_per_tag must be at least 2, and \
                 batch at least as large as images_per_tag"
                    .to_owned(),
            );
        }
        if self.crop_px.is_some_and(|side| !(MIN_SIZE_PX..=self.resize_short_px).contains(&side)) {
            return Some(format!("crop_px must be from {MIN_SIZE_PX} to resize_short_px ({})", self.resize_short_px));
        }
        if !(1..=4096).contains(&self.filters) || !(2..=20_000).contains(&self.centres) {
            return Some("filters must be from 1 to 4096, and centres from 2 to 20000".to_owned());
        }
        if self.text_width == 0 || !self.text_width.is_multiple_of(4) || self.text_layers == 0 {
            return Some("text_width must be a positive multiple of 4, and text_layers must be at least 1".to_owned());
        }
        if !(8..=4096).contains(&self.context_length) || self.vocabulary < 300 {
            return Some("context_length must be 8 to 4096 and vocabulary at least 300".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use edge_model::bundle::manifest::HeadKind;

    use super::*;

    #[test]
    fn the_defaults_are_sound_and_survive_their_own_file() {
        let options = TrainOptions::default();
        assert_eq!(options.problem(), None);
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<TrainOptions>(&text).unwrap(), options);
    }

    #[test]
    fn files_of_earlier_versions_are_read() {
        let old = "trainable = \"last:2\"\nhead = \"hyper_network\"\n";
        let options = toml::from_str::<TrainOptions>(old).unwrap();
        assert_eq!((options.train, options.head), (Trainable::Last(2), Some(HeadName::Hyper)));
        let text = toml::to_string(&options).unwrap();
        assert!(text.contains("train = \"last:2\"\n") && text.contains("head = \"hyper\"\n"), "{text}");
    }

    #[test]
    fn heads_and_precisions_have_one_name_in_flags_and_files() {
        for head in HeadName::value_variants() {
            let flag = head.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(serde_json::to_value(head).unwrap(), flag);
            let of_manifest = HeadKind::from(*head).name();
            assert_eq!(named::<HeadName>(of_manifest), Ok(*head));
        }
        for precision in Precision::value_variants() {
            let flag = precision.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(serde_json::to_value(precision).unwrap(), flag);
        }
        assert_eq!(named::<AvaSplit>("official"), Ok(AvaSplit::Official));
        assert!(named::<AvaSplit>("half").unwrap_err().contains("`paper` or `official`"));
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
