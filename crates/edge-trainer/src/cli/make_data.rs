//! `edge-trainer make-data`: makes sample images, style and damage data sets, and CLIP models with random weights.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use edge_cli::{CommandError, Outcome, exit_code};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageError, ImageFormat, RgbImage};

use super::message_printer::MessagePrinter;
use crate::TrainError;
use crate::backbone::{BackboneError, draw_clip};
use crate::dataset;
use crate::dataset::damage::{DamageRequest, MadeDamage};
use crate::dataset::style::{MadeStyles, StyleRequest, make};
use crate::model::clip::ClipConfig;
use crate::render::{Scene, Treatment, picture};

const EXAMPLES: &str = "Examples:
  edge-trainer make-data samples --out samples
  edge-trainer make-data style --images agiqa:data/agiqa-3k --out data/styles
  edge-trainer make-data style --images ~/Pictures --out data/styles --seed 7 --limit 500
  edge-trainer make-data damage --images ~/Pictures --out data/damaged
  edge-trainer fit --data style:data/styles --out models/styles";

/// Quality of the sample images in JPEG format, 1 to 100.
const JPEG_QUALITY: u8 = 88;

/// The arguments of `make-data`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MakeDataArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Fifteen sample images of six subjects, of good and bad quality, as JPEG, PNG and WebP
    Samples {
        /// Directory for the images; files with the same names are overwritten
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Images in photographic styles at several strengths, each rated under several tags
    Style(StyleRequest),
    /// Photographs and damaged copies of them, each with a score that falls with the damage
    Damage(DamageRequest),
    /// A CLIP directory with random weights for `fit --backbone`, to measure speed and memory at full size. The model's
    /// scores mean nothing
    Clip {
        /// Directory for the files; files with the same names are overwritten
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// config.json of a CLIP model; the new model has the same size [default: the size of ViT-B/32]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Seed of the random weights
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// A sample image: scene, treatment, (width, height) in pixels, seed and file extension.
type Sample = (Scene, Treatment, (u32, u32), u64, &'static str);

const SAMPLES: [Sample; 15] = [
    (Scene::Clock, Treatment::Clean, (800, 640), 1, "jpg"),
    (Scene::Clock, Treatment::Blurred, (640, 800), 2, "jpg"),
    (Scene::Clock, Treatment::Noisy, (480, 480), 3, "webp"),
    (Scene::Balloon, Treatment::Clean, (800, 800), 1, "jpg"),
    (Scene::Balloon, Treatment::Flat, (640, 480), 2, "png"),
    (Scene::Balloon, Treatment::Blurred, (600, 800), 3, "jpg"),
    (Scene::Mountains, Treatment::Clean, (960, 640), 7, "jpg"),
    (Scene::Mountains, Treatment::Flat, (480, 360), 8, "webp"),
    (Scene::Sunset, Treatment::Clean, (960, 640), 4, "jpg"),
    (Scene::Sunset, Treatment::Blurred, (960, 640), 5, "jpg"),
    (Scene::Flower, Treatment::Clean, (640, 640), 2, "jpg"),
    (Scene::Flower, Treatment::Underexposed, (480, 480), 2, "jpg"),
    (Scene::Flower, Treatment::Blurred, (480, 640), 5, "jpg"),
    (Scene::Umbrella, Treatment::Clean, (640, 640), 2, "jpg"),
    (Scene::Umbrella, Treatment::Noisy, (640, 480), 3, "jpg"),
];

/// Makes the requested data.
pub fn run(arguments: &MakeDataArguments) -> Outcome {
    match &arguments.what {
        What::Samples { out } => samples(out),
        What::Style(request) => style(request),
        What::Damage(request) => damage(request),
        What::Clip { out, config, seed } => clip(out, config.as_deref(), *seed),
    }
}

fn style(request: &StyleRequest) -> Outcome {
    let made = make(request, &mut MessagePrinter::default()).map_err(TrainError::from)?;
    let MadeStyles { sources, skipped, images, rows } = made;
    let out = request.out.display();
    eprintln!(
        "{out} holds {images} renderings of {sources} source images and {rows} ratings; {skipped} other source images \
         were skipped"
    );
    eprintln!("train on the renderings with `edge-trainer fit --data style:{out} --out DIR`");
    Ok(())
}

fn damage(request: &DamageRequest) -> Outcome {
    let made = dataset::damage::make(request, &mut MessagePrinter::default()).map_err(TrainError::from)?;
    let MadeDamage { sources, skipped, images, rows } = made;
    let out = request.out.display();
    eprintln!(
        "{out} holds {images} images of {sources} photographs and {rows} ratings; {skipped} other photographs were skipped"
    );
    eprintln!("train on them with `edge-trainer fit --data damage:{out} --out DIR`");
    Ok(())
}

fn clip(out: &Path, config: Option<&Path>, seed: u64) -> Outcome {
    let config = match config {
        Some(path) => ClipConfig::read(path).map_err(BackboneError::from).map_err(TrainError::from)?,
        None => ClipConfig::vit_b32(),
    };
    draw_clip(out, &config, seed).map_err(TrainError::from)?;
    eprintln!("a CLIP model with random weights is in {}", out.display());
    Ok(())
}

fn samples(out: &Path) -> Outcome {
    std::fs::create_dir_all(out).map_err(|e| unwritable(out, e))?;
    for (scene, treatment, (width, height), seed, extension) in SAMPLES {
        let name = format!("{}-{}.{extension}", scene.tag().replace(' ', "-"), treatment.name());
        let bytes = encode(&picture(scene, treatment, width, height, seed), extension)
            .map_err(|e| CommandError::new(exit_code::SOME_FAILED, format!("{name}: {e}")))?;
        let path = out.join(name);
        std::fs::write(&path, bytes).map_err(|e| unwritable(&path, e))?;
        eprintln!("{}", path.display());
    }
    Ok(())
}

fn unwritable(path: &Path, error: std::io::Error) -> CommandError {
    CommandError::new(exit_code::SOME_FAILED, format!("{}: cannot be written: {error}", path.display()))
}

fn encode(image: &RgbImage, extension: &str) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    match extension {
        "png" => image.write_to(&mut bytes, ImageFormat::Png)?,
        "webp" => image.write_to(&mut bytes, ImageFormat::WebP)?,
        _ => JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(image)?,
    }
    Ok(bytes.into_inner())
}
