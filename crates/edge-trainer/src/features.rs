//! Image features that are computed before the training, by an encoder that is not trained further.

use std::collections::HashMap;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

use super::cache::{FeatureCache, FeatureError};
use super::device::Host;
use super::model::ImageOutput;
use super::model::kernel_encoder::EncoderFit;
use super::training::TextFit;

/// The embedding of each image, by content id.
#[derive(Debug, Clone, Default)]
pub struct FeatureTable(pub HashMap<String, Vec<f32>>);

/// Image features that are computed before the training: from a frozen encoder, or from the fitted small encoder. If
/// both fields are `None`, the training runs the image encoder itself.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Features from a frozen pretrained encoder.
    pub kept: Option<FeatureCache>,
    /// The kernel encoder, fitted to the images, with its embeddings.
    pub fitted: Option<FittedEncoder>,
    /// Plain tags that the model can suggest; empty if it only knows its training tags.
    pub vocabulary: Vec<String>,
}

/// The fitted small image encoder and its embeddings of the images it was fitted to.
#[derive(Debug)]
pub struct FittedEncoder {
    /// The fitted values of the encoder.
    pub fit: EncoderFit,
    /// The text encoder; `None` if it is trained.
    pub text: Option<TextFit>,
    /// Embeddings of the images. Each comes from a fit that left out the image's split unit.
    pub table: FeatureTable,
    /// For each tag, the index of its answer in the image embedding. The answer is the tag's own or that of its data
    /// set.
    pub answer_of: HashMap<String, usize>,
    /// Accuracy of the answer to the first question on kinds of images that the fit left out.
    pub unseen: Vec<UnseenRow>,
}

impl Encoded {
    /// Returns the image features; `None` if the training changes the image encoder.
    pub fn features(&self) -> Option<Features<'_>> {
        let fitted = self.fitted.as_ref().map(|fitted| Features::Fitted(&fitted.table));
        self.kept.as_ref().map(Features::Kept).or(fitted)
    }
}

/// Accuracy of the answer to the first question on one kind of images, such as those of one generator. The figures
/// compare fits with and without this kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnseenRow {
    /// Name of the kind, such as the generator that made the images.
    pub name: String,
    /// Number of images of the kind.
    pub n: usize,
    /// Spearman's correlation if the fit for each image left out only the image's split unit.
    pub known: f64,
    /// Spearman's correlation if the fit left out all images of the kind.
    pub unseen: f64,
}

/// Reference to image features that were computed before the training.
#[derive(Debug, Clone, Copy)]
pub enum Features<'a> {
    /// Features from a frozen pretrained encoder, cached on disk.
    Kept(&'a FeatureCache),
    /// Embeddings from the encoder fitted in this training.
    Fitted(&'a FeatureTable),
}

impl Features<'_> {
    /// Returns the encoder's output for one image, as a batch of one.
    ///
    /// # Errors
    /// [`FeatureError::File`]; [`FeatureError::Internal`] for an image that was not encoded.
    pub fn get(self, content_id: &str) -> Result<ImageOutput<Host>, FeatureError> {
        let table = match self {
            Self::Kept(cache) => return cache.get(content_id),
            Self::Fitted(table) => table,
        };
        let row = table.0.get(content_id);
        let row = row.ok_or_else(|| FeatureError::Internal(format!("the image {content_id} was not encoded")))?;
        let data = TensorData::new(row.clone(), [1, row.len()]);
        Ok(ImageOutput { embedding: Tensor::from_data(data, &Default::default()), patches: None })
    }
}
