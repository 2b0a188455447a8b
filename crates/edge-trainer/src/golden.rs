//! Makes the goldens of a bundle: draws images and computes the trained network's outputs for them, before the export.

use std::io::Cursor;

use burn::tensor::{Tensor, TensorData};
use half::f16;
use image::ImageFormat;
use ndarray::Array2;

use super::device::Host;
use super::loader::to_tensor;
use super::loss;
use super::model::head::HeadInput;
use super::model::{ImageBatch, ImageOutput, ScoreUnit, TagScorer, TextOutput, values};
use super::render::{self, Scene, Treatment};
use edge_model::bundle::GoldenTensors;
use edge_model::bundle::manifest::Tolerance;
use edge_model::image_input::{InputRule, Limits, decode_reduced, pixel_values};
use edge_model::text::{TagTokenizer, TextError};

/// Largest allowed differences of a replay on any device. They are larger than the limits of the parity check because
/// devices sum in different orders, and because values of an embedding may be rounded to a neighbouring f16.
pub const TOLERANCE: Tolerance = Tolerance { embedding: 1e-3, score: 5e-3, similarity: 1e-3 };

/// The golden images: scene, treatment, width and height in pixels. Some are smaller and some larger than the encoder's
/// input, some wide and some tall, so that every branch of decoding and resizing is used.
const PICTURES: [(Scene, Treatment, u32, u32); 4] = [
    (Scene::Sunset, Treatment::Clean, 420, 280),
    (Scene::Mountains, Treatment::Noisy, 260, 360),
    (Scene::NightStreet, Treatment::Clean, 640, 530),
    (Scene::Flower, Treatment::Blurred, 540, 620),
];

/// Golden images and tags with the trained network's outputs for them.
#[derive(Debug, Clone)]
pub struct Goldens {
    /// File names and PNG bytes of the golden images.
    pub images: Vec<(String, Vec<u8>)>,
    /// Texts of the golden tags.
    pub tags: Vec<String>,
    /// The trained network's outputs for the golden images and tags.
    pub tensors: GoldenTensors,
}

/// Reason why the goldens cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// A tag cannot be encoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A defect of this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

/// Draws the golden images and computes the trained network's outputs for them and `tags`.
///
/// # Errors
/// [`GoldenError::Text`]; [`GoldenError::Internal`] if an image cannot be encoded or decoded.
pub fn make(
    model: &TagScorer<Host>,
    unit: ScoreUnit,
    rule: &InputRule,
    tokenizer: &TagTokenizer,
    tags: &[String],
) -> Result<Goldens, GoldenError> {
    let device = Default::default();
    let mut images = Vec::new();
    let mut seen: Vec<ImageOutput<Host>> = Vec::new();
    for (i, (scene, treatment, width, height)) in PICTURES.into_iter().enumerate() {
        let picture = render::picture(scene, treatment, width, height, i as u64 + 1);
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, ImageFormat::Png).map_err(internal)?;
        let png = png.into_inner();
        let decoded = decode_reduced(&png, &Limits::default(), rule).map_err(internal)?;
        let pixels = to_tensor(&pixel_values(&decoded, rule));
        seen.push(model.image.forward(ImageBatch::Pixels(pixels)));
        images.push((format!("golden_{}.png", i + 1), png));
    }
    let ids = tags.iter().map(|t| tokenizer.encode(t, None)).collect::<Result<Vec<_>, _>>()?;
    let text = model.embed_texts(&ids, &device);
    let image = matrix(Tensor::cat(seen.iter().map(|s| s.embedding.clone()).collect(), 0))?;

    let (mut score, mut similarity) =
        (Array2::zeros((images.len(), tags.len())), Array2::zeros((images.len(), tags.len())));
    for (g, seen) in seen.into_iter().enumerate() {
        let input = paired(seen, &text);
        fill(&mut similarity, g, loss::cosine(input.image.clone(), input.text.clone()));
        fill(&mut score, g, model.head.forward(input, unit));
    }
    let text_embedding = matrix(text.embedding)?;
    let tensors = GoldenTensors { image_embedding: image, text_embedding, score, similarity };
    Ok(Goldens { images, tags: tags.to_vec(), tensors })
}

/// Returns the head's input for one image under every tag. The image embedding is rounded to f16, as the scorer stores
/// it.
fn paired(image: ImageOutput<Host>, text: &TextOutput<Host>) -> HeadInput<Host> {
    let ([tags, _], [_, dim]) = (text.embedding.dims(), image.embedding.dims());
    let stored: Vec<f32> = values(image.embedding).into_iter().map(|v| f16::from_f32(v).to_f32()).collect();
    let stored = Tensor::from_data(TensorData::new(stored, [1, dim]), &Default::default());
    HeadInput {
        image: stored.repeat_dim(0, tags),
        patches: image.patches.map(|p| p.repeat_dim(0, tags)),
        text: text.embedding.clone(),
        tokens: text.tokens.clone(),
    }
}

fn internal(e: impl std::fmt::Display) -> GoldenError {
    GoldenError::Internal(format!("a golden cannot be made: {e}"))
}

fn matrix(x: Tensor<Host, 2>) -> Result<Array2<f32>, GoldenError> {
    let [rows, columns] = x.dims();
    Array2::from_shape_vec((rows, columns), values(x)).map_err(internal)
}

fn fill(target: &mut Array2<f32>, row: usize, from: Tensor<Host, 1>) {
    target.row_mut(row).iter_mut().zip(values(from)).for_each(|(to, from)| *to = from);
}
