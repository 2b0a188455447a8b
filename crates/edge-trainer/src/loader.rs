//! Reads and crops images on background threads, a bounded number of batches ahead of the network.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use burn::tensor::{Tensor, TensorData};
use crossbeam_channel::bounded;
use image::RgbImage;
use image::imageops::flip_horizontal_in_place;
use ndarray::Array3;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::cache::FeatureError;
use crate::dataset::Example;
use crate::device::Host;
use crate::features::Features;
use crate::model::ImageBatch;
use edge_model::image_input::{
    InputRule, Limits, Picture, decode_reduced, encoder_input, normalise, read_file, resize_crop, resized_size,
};

/// Error of loading images.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An image became unreadable after the check of the data.
    #[error("{}: {reason}. The image was readable when the training began: restore it and start again", path.display())]
    Image {
        /// Path of the image.
        path: PathBuf,
        /// Error of reading or decoding.
        reason: String,
    },
    /// The stored features of an image cannot be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// A defect of the program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

/// Largest number of loaded batches that wait for the network. Each thread holds one more batch.
const AHEAD: usize = 2;

/// The part of an image that the network gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crop {
    /// The views of the input rule, as the scorer makes them.
    AsScored,
    /// A square section of the image resized to the rule's short side. Only for rules with the centre as their only view.
    Section {
        /// Position of the square between the left (0) and the right (1) border.
        x: f64,
        /// Position of the square between the upper (0) and the lower (1) border.
        y: f64,
        /// Whether the section is mirrored horizontally.
        mirrored: bool,
    },
}

impl Crop {
    /// Draws a random position and mirroring.
    pub fn random(rng: &mut StdRng) -> Self {
        Self::Section { x: rng.random(), y: rng.random(), mirrored: rng.random() }
    }
}

/// An image to load, and the part of it that is needed.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadJob {
    /// Path of the image.
    pub path: PathBuf,
    /// Content id, the key of stored features.
    pub content_id: String,
    /// The part of the image that is needed.
    pub crop: Crop,
}

impl LoadJob {
    /// Creates the job for this part of an example's image.
    pub fn of(example: &Example, crop: Crop) -> Self {
        Self { path: example.path.clone(), content_id: example.content_id.clone(), crop }
    }
}

/// Loads images as input of a network.
#[derive(Debug, Clone, Copy)]
pub struct Loader<'a> {
    /// Input rule: how images are resized and normalised.
    pub rule: &'a InputRule,
    /// Stored features of the images; if present, no image is opened.
    pub features: Option<Features<'a>>,
    /// Number of threads that load images.
    pub threads: usize,
}

impl Loader<'_> {
    /// Loads all batches and passes them to `take` in their order, with their index. Loading continues while `take`
    /// runs. If `take` breaks or fails, each thread ends after its current batch.
    ///
    /// # Errors
    /// [`LoadError`] converted to `E`, and errors of `take`.
    pub fn batches<E: From<LoadError>>(
        self,
        batches: &[Vec<LoadJob>],
        mut take: impl FnMut(usize, ImageBatch<Host>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let (send, receive) = bounded(AHEAD);
            for i in 0..self.threads.max(1) {
                let (send, next) = (send.clone(), &next);
                let work = move || {
                    while let Some((index, jobs)) = {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        batches.get(index).map(|jobs| (index, jobs))
                    } {
                        // Sending fails if `take` broke or failed.
                        if send.send((index, self.load(jobs))).is_err() {
                            break;
                        }
                    }
                };
                thread::Builder::new()
                    .name(format!("loader-{i}"))
                    .spawn_scoped(scope, work)
                    .map_err(|e| LoadError::Internal(format!("cannot start a thread for loading images: {e}")))?;
            }
            drop(send);
            let mut waiting = BTreeMap::new();
            let mut due = 0;
            for (index, images) in receive {
                waiting.insert(index, images);
                while let Some(images) = waiting.remove(&due) {
                    if take(due, images?)?.is_break() {
                        return Ok(());
                    }
                    due += 1;
                }
            }
            Ok(())
        })
    }

    fn load(self, jobs: &[LoadJob]) -> Result<ImageBatch<Host>, LoadError> {
        let images = jobs.iter().map(|job| match self.features {
            Some(features) => Ok(ImageBatch::Features(features.get(&job.content_id)?)),
            None => Ok(ImageBatch::Pixels(to_tensor(&pixels(job, self.rule)?))),
        });
        ImageBatch::cat(images.collect::<Result<Vec<_>, LoadError>>()?)
            .ok_or_else(|| LoadError::Internal("a batch is empty or mixes pixels and features".to_owned()))
    }
}

/// Converts pixels `[3, H, W]` to a tensor `[1, 3, H, W]`.
pub fn to_tensor(pixels: &Array3<f32>) -> Tensor<Host, 4> {
    let (c, h, w) = pixels.dim();
    let values: Vec<f32> = pixels.iter().copied().collect();
    Tensor::from_data(TensorData::new(values, [1, c, h, w]), &Default::default())
}

/// Returns the normalised pixels of a job's part of its image, `[3, H, W]`.
///
/// # Errors
/// [`LoadError::Image`].
pub fn pixels(job: &LoadJob, rule: &InputRule) -> Result<Array3<f32>, LoadError> {
    let limits = Limits::default();
    let picture = read_file(&job.path, &limits)
        .and_then(|bytes| decode_reduced(&bytes, &limits, rule))
        .map_err(|e| LoadError::Image { path: job.path.clone(), reason: e.to_string() })?;
    Ok(normalise(&cut(&picture, rule, job.crop), rule))
}

/// Resizes the picture and cuts out the part.
fn cut(picture: &Picture, rule: &InputRule, crop: Crop) -> RgbImage {
    let Crop::Section { x, y, mirrored } = crop else { return encoder_input(picture, rule) };
    let (width, height) = resized_size((picture.width_px, picture.height_px), rule.resize_short_px);
    let place = |length: u32, share: f64| (f64::from(length - rule.size_px) * share).floor() as u32;
    let mut square = resize_crop(picture, rule, rule.size_px, (place(width, x), place(height, y)));
    if mirrored {
        flip_horizontal_in_place(&mut square);
    }
    square
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use edge_model::image_input::{ResizeFilter, decode, pixel_values};

    fn rule() -> InputRule {
        let (mean, std) = ([0.5; 3], [0.25; 3]);
        InputRule { size_px: 64, resize_short_px: 80, filter: ResizeFilter::Bicubic, mean, std, views: Vec::new() }
    }

    fn loader(rule: &InputRule, threads: usize) -> Loader<'_> {
        Loader { rule, features: None, threads }
    }

    fn picture(seed: u8) -> RgbImage {
        RgbImage::from_fn(120, 91, |x, y| Rgb([seed, (x * 2) as u8, (y * 2) as u8]))
    }

    #[test]
    fn the_middle_section_is_what_the_scorer_sees() {
        let mut png = std::io::Cursor::new(Vec::new());
        picture(9).write_to(&mut png, image::ImageFormat::Png).unwrap();
        let picture = decode(&png.into_inner(), &Limits::default()).unwrap();
        let square = cut(&picture, &rule(), Crop::Section { x: 0.5, y: 0.5, mirrored: false });
        assert_eq!(normalise(&square, &rule()), pixel_values(&picture, &rule()));
    }

    #[test]
    fn batches_come_in_order_from_several_threads() {
        let dir = tempfile::tempdir().unwrap();
        let jobs: Vec<Vec<LoadJob>> = (0..7u8)
            .map(|i| {
                let path = dir.path().join(format!("{i}.png"));
                picture(i * 30).save(&path).unwrap();
                vec![LoadJob { path, content_id: String::new(), crop: Crop::AsScored }]
            })
            .collect();
        let mut seen = Vec::new();
        loader(&rule(), 3)
            .batches(&jobs, |i, _| {
                seen.push(i);
                Ok::<_, LoadError>(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!(seen, (0..7).collect::<Vec<_>>());
        std::fs::remove_file(&jobs[4][0].path).unwrap();
        let error = loader(&rule(), 3).batches(&jobs, |_, _| Ok::<_, LoadError>(ControlFlow::Continue(())));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("4.png") && error.contains("restore it"), "{error}");
    }

    #[test]
    fn a_failing_taker_ends_the_loading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        picture(1).save(&path).unwrap();
        let jobs = vec![vec![LoadJob { path, content_id: String::new(), crop: Crop::AsScored }]; 50];
        let fail = |i, _| {
            if i == 2 { Err(LoadError::Internal("enough".to_owned())) } else { Ok(ControlFlow::Continue(())) }
        };
        assert!(loader(&rule(), 2).batches(&jobs, fail).unwrap_err().to_string().contains("enough"));
        let mut taken = 0;
        let enough = |i, _| {
            taken += 1;
            Ok::<_, LoadError>(if i == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        loader(&rule(), 2).batches(&jobs, enough).unwrap();
        assert_eq!(taken, 3);
    }
}
