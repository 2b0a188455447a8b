//! `edge-trainer make-data`: pictures drawn by the project itself.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageError, ImageFormat, RgbImage};

use crate::cli::{Failure, Outcome, exit_code};
use crate::train::render::{Scene, Treatment, picture};

const EXAMPLES: &str = "Examples:
  edge-trainer make-data samples --out samples";

/// Quality of the JPEG samples.
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
    /// A dozen drawn photographs, well and badly taken, as JPEG, PNG and WebP
    Samples {
        /// Where they go; files of the same names are overwritten
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Scene, treatment, size, seed and file extension.
type Sample = (Scene, Treatment, (u32, u32), u64, &'static str);

const SAMPLES: [Sample; 12] = [
    (Scene::Sunset, Treatment::Clean, (960, 640), 4, "jpg"),
    (Scene::Sunset, Treatment::Blurred, (960, 640), 5, "jpg"),
    (Scene::Mountains, Treatment::Clean, (960, 640), 7, "jpg"),
    (Scene::Mountains, Treatment::Flat, (360, 270), 8, "webp"),
    (Scene::NightStreet, Treatment::Clean, (640, 800), 3, "jpg"),
    (Scene::NightStreet, Treatment::Noisy, (480, 360), 6, "jpg"),
    (Scene::Flower, Treatment::Clean, (640, 640), 2, "jpg"),
    (Scene::Flower, Treatment::Underexposed, (300, 300), 2, "png"),
    (Scene::Forest, Treatment::Clean, (720, 900), 1, "jpg"),
    (Scene::Forest, Treatment::Blurred, (640, 480), 9, "jpg"),
    (Scene::Portrait, Treatment::Clean, (640, 800), 2, "jpg"),
    (Scene::Portrait, Treatment::Noisy, (360, 450), 2, "jpg"),
];

/// Makes what was asked for.
pub fn run(arguments: &MakeDataArguments) -> Outcome {
    match &arguments.what {
        What::Samples { out } => samples(out),
    }
}

fn samples(out: &Path) -> Outcome {
    std::fs::create_dir_all(out).map_err(|e| unwritable(out, e))?;
    for (scene, treatment, (width, height), seed, extension) in SAMPLES {
        let name = format!("{}-{}.{extension}", scene.tag().replace(' ', "-"), treatment.name());
        let bytes = encode(&picture(scene, treatment, width, height, seed), extension)
            .map_err(|e| Failure::new(exit_code::SOME_FAILED, format!("{name}: {e}")))?;
        let path = out.join(name);
        std::fs::write(&path, bytes).map_err(|e| unwritable(&path, e))?;
        eprintln!("{}", path.display());
    }
    Ok(())
}

fn unwritable(path: &Path, error: std::io::Error) -> Failure {
    Failure::new(exit_code::SOME_FAILED, format!("{}: cannot be written: {error}", path.display()))
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
