//! Reads and crops images on threads of its own, a bounded number of batches ahead of the network.

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

use super::TrainError;
use super::dataset::Example;
use super::device::Host;
use super::features::Features;
use super::model::ImageBatch;
use edge_model::image_input::{
    InputRule, Limits, Picture, decode_reduced, normalise, read_file, resize_crop, resized_size,
};

/// Batches that wait for the network, beside those that are in the making.
const AHEAD: usize = 2;

/// What to cut out of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Side of the square, in pixels of the resized image.
    pub size_px: u32,
    /// Place of the square between the left (0) and the right (1) border.
    pub x: f64,
    /// Place of the square between the upper (0) and the lower (1) border.
    pub y: f64,
    /// Whether left and right are exchanged.
    pub mirrored: bool,
}

impl View {
    /// The centre, as the scorer cuts it.
    pub fn centre(size_px: u32) -> Self {
        Self { size_px, x: 0.5, y: 0.5, mirrored: false }
    }

    /// Any place, mirrored or not.
    pub fn random(size_px: u32, rng: &mut StdRng) -> Self {
        Self { size_px, x: rng.random(), y: rng.random(), mirrored: rng.random() }
    }
}

/// One image to load.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The file.
    pub path: PathBuf,
    /// Its content, under which its features are kept.
    pub content_id: String,
    /// What to cut out of it.
    pub view: View,
}

impl Job {
    /// This view of an example's image.
    pub fn of(example: &Example, view: View) -> Self {
        Self { path: example.path.clone(), content_id: example.content_id.clone(), view }
    }
}

/// How images become a network's input.
#[derive(Debug, Clone, Copy)]
pub struct Loader<'a> {
    /// How they are resized and normalised.
    pub rule: &'a InputRule,
    /// Where their features are kept already: then no image is opened.
    pub features: Option<Features<'a>>,
    /// Threads that load.
    pub threads: usize,
}

impl Loader<'_> {
    /// Loads all batches and hands them to `take` in their order, with their index. Loading goes on while `take` works; when
    /// `take` breaks off or fails, the threads end after the batch at hand.
    ///
    /// # Errors
    /// [`TrainError::Image`] and whatever `take` says.
    pub fn batches(
        self,
        batches: &[Vec<Job>],
        mut take: impl FnMut(usize, ImageBatch<Host>) -> Result<ControlFlow<()>, TrainError>,
    ) -> Result<(), TrainError> {
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
                        // The receiver is gone when the training failed: then there is nobody to load for.
                        if send.send((index, self.load(jobs))).is_err() {
                            break;
                        }
                    }
                };
                thread::Builder::new()
                    .name(format!("loader-{i}"))
                    .spawn_scoped(scope, work)
                    .map_err(|e| TrainError::Internal(format!("no thread for loading images: {e}")))?;
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

    fn load(self, jobs: &[Job]) -> Result<ImageBatch<Host>, TrainError> {
        let images = jobs.iter().map(|job| match self.features {
            Some(features) => features.get(&job.content_id).map(ImageBatch::Features),
            None => Ok(ImageBatch::Pixels(to_tensor(&pixels(job, self.rule)?))),
        });
        ImageBatch::cat(images.collect::<Result<Vec<_>, TrainError>>()?)
            .ok_or_else(|| TrainError::Internal("a batch of no or of mixed images".to_owned()))
    }
}

/// `[1, 3, H, W]` of `[3, H, W]`.
pub fn to_tensor(pixels: &Array3<f32>) -> Tensor<Host, 4> {
    let (c, h, w) = pixels.dim();
    let values: Vec<f32> = pixels.iter().copied().collect();
    Tensor::from_data(TensorData::new(values, [1, c, h, w]), &Default::default())
}

/// The normalised pixels of a job's view.
///
/// # Errors
/// [`TrainError::Image`].
pub fn pixels(job: &Job, rule: &InputRule) -> Result<Array3<f32>, TrainError> {
    let limits = Limits::default();
    let picture = read_file(&job.path, &limits)
        .and_then(|bytes| decode_reduced(&bytes, &limits, rule))
        .map_err(|e| TrainError::Image { path: job.path.clone(), reason: e.to_string() })?;
    Ok(normalise(&cut(&picture, rule, job.view), rule))
}

fn cut(picture: &Picture, rule: &InputRule, view: View) -> RgbImage {
    let (width, height) = resized_size((picture.width_px, picture.height_px), rule.resize_short_px);
    let place = |length: u32, share: f64| (f64::from(length - view.size_px) * share).floor() as u32;
    let corner = (place(width, view.x), place(height, view.y));
    let mut square = resize_crop(picture, rule, view.size_px, corner);
    if view.mirrored {
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
        InputRule { size_px: 64, resize_short_px: 80, filter: ResizeFilter::Bicubic, mean: [0.5; 3], std: [0.25; 3] }
    }

    fn loader(rule: &InputRule, threads: usize) -> Loader<'_> {
        Loader { rule, features: None, threads }
    }

    fn picture(seed: u8) -> RgbImage {
        RgbImage::from_fn(120, 91, |x, y| Rgb([seed, (x * 2) as u8, (y * 2) as u8]))
    }

    #[test]
    fn the_centre_view_is_what_the_scorer_sees() {
        let mut png = std::io::Cursor::new(Vec::new());
        picture(9).write_to(&mut png, image::ImageFormat::Png).unwrap();
        let picture = decode(&png.into_inner(), &Limits::default()).unwrap();
        let square = cut(&picture, &rule(), View::centre(64));
        assert_eq!(normalise(&square, &rule()), pixel_values(&picture, &rule()));
    }

    #[test]
    fn batches_come_in_order_from_several_threads() {
        let dir = tempfile::tempdir().unwrap();
        let jobs: Vec<Vec<Job>> = (0..7u8)
            .map(|i| {
                let path = dir.path().join(format!("{i}.png"));
                picture(i * 30).save(&path).unwrap();
                vec![Job { path, content_id: String::new(), view: View::centre(64) }]
            })
            .collect();
        let mut seen = Vec::new();
        loader(&rule(), 3)
            .batches(&jobs, |i, _| {
                seen.push(i);
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!(seen, (0..7).collect::<Vec<_>>());
        std::fs::remove_file(&jobs[4][0].path).unwrap();
        let error = loader(&rule(), 3).batches(&jobs, |_, _| Ok(ControlFlow::Continue(()))).unwrap_err().to_string();
        assert!(error.contains("4.png") && error.contains("restore it"), "{error}");
    }

    #[test]
    fn a_failing_taker_ends_the_loading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        picture(1).save(&path).unwrap();
        let jobs = vec![vec![Job { path, content_id: String::new(), view: View::centre(64) }]; 50];
        let fail = |i, _| {
            if i == 2 { Err(TrainError::Internal("enough".to_owned())) } else { Ok(ControlFlow::Continue(())) }
        };
        assert!(loader(&rule(), 2).batches(&jobs, fail).unwrap_err().to_string().contains("enough"));
        let mut taken = 0;
        let enough = |i, _| {
            taken += 1;
            Ok(if i == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        loader(&rule(), 2).batches(&jobs, enough).unwrap();
        assert_eq!(taken, 3);
    }
}
