//! `edge-scorer bench`: the time that the model takes for batches of images, or for each of its operators.

use std::collections::HashMap;
use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::time::Instant;

use clap::{Args, ValueHint};
use serde_json::json;

use super::options::{Common, ListFormat, ListOutput};
use edge_cli::Outcome;
use edge_cli::output::{Table, printable, write_json};
use edge_model::image_input::RgbImage;
use edge_model::scorer::{Scorer, ScorerError};

/// Number of runs before the measurement. A GPU chooses its GPU kernels in the first runs.
const WARM_UP_RUNS: usize = 3;

const NOTES: &str =
    "Measures the model as `run` uses it, on decoded pixels: reading and decoding files takes further time. On the CPU
the images of a batch are spread over all cores; on a GPU up to 32 images run together.";

#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Numbers of images per batch; each is measured separately
    #[arg(long, value_name = "N", value_delimiter = ',', default_values = ["1", "8", "32"], value_hint = ValueHint::Other)]
    batch: Vec<NonZeroUsize>,
    /// Number of measured runs of each batch
    #[arg(long, value_name = "N", default_value = "20", value_hint = ValueHint::Other)]
    runs: NonZeroUsize,
    /// Show the time of each operator of the image encoder, not of batches
    #[arg(long, conflicts_with_all = ["batch", "format"])]
    operators: bool,
    #[command(flatten)]
    output: ListOutput,
}

/// Times of the measured runs of one batch, in seconds.
struct BatchTimes {
    images: usize,
    median: f64,
    fastest: f64,
    slowest: f64,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let (_, scorer) = arguments.common.scorer()?;
    let device = scorer.device();
    let runs = arguments.runs.get();
    if arguments.operators {
        return show_operators(&scorer, runs);
    }
    let measured = arguments.batch.iter().map(|images| measure(&scorer, images.get(), runs));
    let measured = measured.collect::<Result<Vec<_>, _>>()?;
    if scorer.device() != device {
        eprintln!(
            "{device} failed during the measurement; the times after the failure were measured on {}. Repeat the \
             measurement",
            scorer.device()
        );
    }
    let mut out = stdout().lock();
    match arguments.output.format {
        ListFormat::Table => {
            writeln!(out, "{} on {device}", printable(&scorer.manifest().name))?;
            let mut table = Table::new(&["batch", "ms", "fastest", "slowest", "images/s"]);
            for times in measured {
                let ms = |seconds: f64| format!("{:.2}", 1e3 * seconds);
                let rate = format!("{:.1}", times.images as f64 / times.median);
                let BatchTimes { images, median, fastest, slowest } = times;
                table.push(vec![images.to_string(), ms(median), ms(fastest), ms(slowest), rate]);
            }
            table.write(&mut out)?;
        }
        ListFormat::Json => {
            let mut runs = Vec::with_capacity(measured.len());
            for BatchTimes { images, median, fastest, slowest } in measured {
                runs.push(json!({ "batch": images, "median_s": median, "fastest_s": fastest, "slowest_s": slowest }));
            }
            let device = json!({ "name": device.name, "precision": device.precision.to_string() });
            write_json(&mut out, &json!({ "model": scorer.manifest().name, "device": device, "runs": runs }))?;
        }
    }
    Ok(())
}

/// Embeds a batch of `images` images `runs` times.
fn measure(scorer: &Scorer, images: usize, runs: usize) -> Result<BatchTimes, ScorerError> {
    let size = scorer.manifest().image_input.input_size();
    let batch: Vec<_> = (0..images as u32).map(|seed| test_image(seed, size)).collect();
    let mut seconds = Vec::with_capacity(runs);
    for run in 0..WARM_UP_RUNS + runs {
        let started = Instant::now();
        scorer.embed(&batch)?;
        if run >= WARM_UP_RUNS {
            seconds.push(started.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    Ok(BatchTimes { images, median: seconds[runs / 2], fastest: seconds[0], slowest: seconds[runs - 1] })
}

/// Prints the time of each kind of operator of the image encoder, the slowest first.
fn show_operators(scorer: &Scorer, runs: usize) -> Outcome {
    let image = test_image(0, scorer.manifest().image_input.input_size());
    let mut kinds: HashMap<(String, String), (usize, f64)> = HashMap::new();
    for run in 0..WARM_UP_RUNS + runs {
        for part in scorer.profile(&image)?.into_iter().filter(|_| run >= WARM_UP_RUNS) {
            let (count, seconds) = kinds.entry((part.operator, part.shapes)).or_default();
            *count += 1;
            *seconds += part.time.as_secs_f64();
        }
    }
    if kinds.is_empty() {
        eprintln!("{} does not report operator times; use --device cpu", scorer.device());
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    let total: f64 = kinds.iter().map(|(_, (_, seconds))| seconds).sum();
    let mut table = Table::new(&["ms", "share", "number", "operator", "shapes"]);
    for ((operator, shapes), (count, seconds)) in kinds {
        let ms = format!("{:.2}", 1e3 * seconds / runs as f64);
        table.push(vec![ms, format!("{:.1} %", 1e2 * seconds / total), (count / runs).to_string(), operator, shapes]);
    }
    let mut out = stdout().lock();
    let ms = 1e3 * total / runs as f64;
    writeln!(out, "{} on {}: {ms:.2} ms per image", scorer.manifest().name, scorer.device())?;
    Ok(table.write(&mut out)?)
}

/// Returns an image of `side` x `side` pixels that differs from that of every other seed.
fn test_image(seed: u32, (width, height): (u32, u32)) -> RgbImage {
    let value = |x: u32, y: u32, channel: u32| ((seed * 31 + channel * 17 + y * 7 + x * 3) % 255) as u8;
    RgbImage::from_fn(width, height, |x, y| [0, 1, 2].map(|channel| value(x, y, channel)).into())
}
