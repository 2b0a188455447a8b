//! `edge-scorer bench`.

use std::collections::HashMap;
use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::options::{Common, ListFormat};
use edge_cli::Outcome;
use edge_cli::output::Table;
use edge_model::image_input::RgbImage;
use edge_model::scorer::Scorer;

/// Runs that are not counted: a GPU chooses its kernels in the first ones.
const WARM_UP: usize = 3;

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Images that are embedded at once, each number for itself
    #[arg(long, value_name = "N", value_delimiter = ',', default_values = ["1", "8", "32"])]
    batch: Vec<NonZeroUsize>,
    /// Runs of each
    #[arg(long, default_value = "20")]
    runs: NonZeroUsize,
    /// Say instead what each operator of the image encoder takes
    #[arg(long, conflicts_with_all = ["batch", "format"])]
    operators: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    format: ListFormat,
}

const AFTER: &str = "Times the model as `run` uses it, on pixels that are there: reading and decoding come on top. On the CPU the images of a batch
go to all cores, on a GPU up to 32 of them together.";

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let (_, scorer) = arguments.common.scorer()?;
    let side = scorer.manifest().image_input.size_px;
    let device = scorer.device();
    if arguments.operators {
        return operators(&scorer, arguments.runs.get());
    }
    let mut rows = Vec::with_capacity(arguments.batch.len());
    for batch in arguments.batch.iter().map(|n| n.get()) {
        let images: Vec<_> = (0..batch as u32).map(|seed| pixels(seed, side)).collect();
        let mut seconds = Vec::with_capacity(arguments.runs.get());
        for run in 0..WARM_UP + arguments.runs.get() {
            let started = Instant::now();
            scorer.embed(&images)?;
            if run >= WARM_UP {
                seconds.push(started.elapsed().as_secs_f64());
            }
        }
        seconds.sort_by(f64::total_cmp);
        rows.push((batch, seconds[seconds.len() / 2], seconds[0], seconds[seconds.len() - 1]));
    }
    if scorer.device() != device {
        log::warn!("the device failed meanwhile: {}", scorer.device());
    }
    let mut out = stdout().lock();
    match arguments.format {
        ListFormat::Table => {
            writeln!(out, "{} on {device}", scorer.manifest().name)?;
            let mut table = Table::new(&["batch", "ms", "fastest", "slowest", "images/s"]);
            for (batch, median, fastest, slowest) in rows {
                let ms = |seconds: f64| format!("{:.2}", 1e3 * seconds);
                let rate = format!("{:.1}", batch as f64 / median);
                table.push(vec![batch.to_string(), ms(median), ms(fastest), ms(slowest), rate]);
            }
            table.write(&mut out)?;
        }
        ListFormat::Json => {
            let row = |(batch, median, fastest, slowest): (usize, f64, f64, f64)| json!({ "batch": batch, "median_s": median, "fastest_s": fastest, "slowest_s": slowest });
            let rows: Vec<_> = rows.into_iter().map(row).collect();
            let device = json!({ "name": device.name, "precision": device.precision.to_string() });
            writeln!(out, "{}", json!({ "model": scorer.manifest().name, "device": device, "runs": rows }))?;
        }
    }
    Ok(())
}

/// Times the parts of the image encoder, the largest first.
fn operators(scorer: &Scorer, runs: usize) -> Outcome {
    let image = pixels(0, scorer.manifest().image_input.size_px);
    let mut kinds: HashMap<(String, String), (usize, f64)> = HashMap::new();
    for run in 0..WARM_UP + runs {
        for part in scorer.profile(&image)?.into_iter().filter(|_| run >= WARM_UP) {
            let (count, seconds) = kinds.entry((part.operator, part.shapes)).or_default();
            *count += 1;
            *seconds += part.time.as_secs_f64();
        }
    }
    if kinds.is_empty() {
        eprintln!("{} does not tell", scorer.device());
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    let all: f64 = kinds.iter().map(|(_, (_, seconds))| seconds).sum();
    let mut table = Table::new(&["ms", "share", "number", "operator", "shapes"]);
    for ((operator, shapes), (count, seconds)) in kinds {
        let ms = format!("{:.2}", 1e3 * seconds / runs as f64);
        table.push(vec![ms, format!("{:.1} %", 1e2 * seconds / all), (count / runs).to_string(), operator, shapes]);
    }
    let mut out = stdout().lock();
    writeln!(out, "{} on {}: {:.2} ms an image", scorer.manifest().name, scorer.device(), 1e3 * all / runs as f64)?;
    Ok(table.write(&mut out)?)
}

/// Pixels that are like no other image's.
fn pixels(seed: u32, side: u32) -> RgbImage {
    let value = |x: u32, y: u32, channel: u32| ((seed * 31 + channel * 17 + y * 7 + x * 3) % 255) as u8;
    RgbImage::from_fn(side, side, |x, y| [0, 1, 2].map(|channel| value(x, y, channel)).into())
}
