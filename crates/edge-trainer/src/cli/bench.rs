//! `edge-trainer bench`: the time of a training step.

use clap::Args;

use super::eval::Format;
use super::fit::PrecisionName;
use crate::bench::{BenchRequest, StepTimes, bench};
use crate::device::Device;
use crate::{TrainOptions, Trainable};
use edge_cli::{CommandError, Outcome, exit_code};

/// The flags of `bench`.
#[derive(Debug, Args)]
pub struct BenchArguments {
    /// The encoders: small, efficientnet-b0, or a directory with weights
    #[arg(long, value_name = "NAME|DIR", default_value = "small")]
    backbone: String,
    /// Which weights are fitted [default: the head's where the encoders come trained, else all]
    #[arg(long = "train", value_name = "head|last:N|all", default_value = "auto", hide_default_value = true)]
    trainable: Trainable,
    /// Images per step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Steps that are timed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before the clock runs
    #[arg(long, default_value_t = 2)]
    warm_up: u32,
    /// Where to train: auto takes the first GPU that has all it needs, else the processor
    #[arg(long, value_name = "auto|cpu|cuda:N", default_value = "auto")]
    device: Device,
    /// Matrix products in 32 or 16 bits [default: bf16 on a GPU, f32 on the processor]
    #[arg(long, value_enum)]
    precision: Option<PrecisionName>,
    /// How to print the times
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Times.
pub fn run(arguments: &BenchArguments) -> Outcome {
    let options = TrainOptions {
        backbone: arguments.backbone.clone(),
        trainable: arguments.trainable,
        batch: arguments.batch,
        device: arguments.device,
        precision: arguments.precision.map(Into::into).unwrap_or_default(),
        ..TrainOptions::default()
    };
    let (warm_up, steps) = (arguments.warm_up as usize, arguments.steps as usize);
    let times = bench(&BenchRequest { options, warm_up, steps })?;
    match arguments.format {
        Format::Json => {
            let json = serde_json::to_string(&times).map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?;
            println!("{json}");
        }
        Format::Table => print!("{}", table(&times)),
    }
    Ok(())
}

fn table(times: &StepTimes) -> String {
    let [image, text] = &times.backbone;
    let what = if times.head_only { "the head alone" } else { "all that is fitted" };
    let median = times.median();
    format!(
        "{image} and {text}, {what}, on {} in {:?}: {:.1} ms a step of {} images of {} px and {} tags, {:.1} images/s\n",
        times.device,
        times.precision,
        median * 1e3,
        times.batch,
        times.image_px,
        times.tags,
        times.batch as f64 / median,
    )
}
