//! Where the embeddings of images come from when their encoder stays as it is.

use std::collections::HashMap;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

use super::TrainError;
use super::cache::FeatureCache;
use super::device::Host;
use super::model::{Fit, ImageOutput};

/// The embeddings of images, by their content.
#[derive(Debug, Clone, Default)]
pub struct FeatureTable(pub HashMap<String, Vec<f32>>);

/// What was encoded or fitted before the training of head and text encoder.
#[derive(Debug, Default)]
pub struct Encoded {
    /// By encoders that came trained and stay as they are.
    pub kept: Option<FeatureCache>,
    /// By the small image encoder, which was fitted to them.
    pub fitted: Option<FittedEncoder>,
}

/// The small image encoder with what it says of the images that it was fitted to.
#[derive(Debug)]
pub struct FittedEncoder {
    /// The encoder.
    pub fit: Fit,
    /// Embeddings as a fit without the image's group has them.
    pub table: FeatureTable,
    /// Which number of the embedding answers a tag: its own one, or that of its data set.
    pub answer_of: HashMap<String, usize>,
    /// How the first answer does on kinds of images that it was not fitted to.
    pub unseen: Vec<UnseenRow>,
}

impl Encoded {
    /// The images' features, where their encoder stays as it is.
    pub fn features(&self) -> Option<Features<'_>> {
        let fitted = self.fitted.as_ref().map(|fitted| Features::Fitted(&fitted.table));
        self.kept.as_ref().map(Features::Kept).or(fitted)
    }
}

/// A kind of images, such as those of one generator, that a fit did without.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnseenRow {
    /// What the images were made by.
    pub name: String,
    /// Number of its images.
    pub n: usize,
    /// Spearman's correlation of answers that left out the image's group alone.
    pub known: f64,
    /// Of answers that left out all images of the kind.
    pub unseen: f64,
}

/// Images that were encoded before the training.
#[derive(Debug, Clone, Copy)]
pub enum Features<'a> {
    /// By encoders that came trained, kept on disk.
    Kept(&'a FeatureCache),
    /// By an encoder that was fitted for this training.
    Fitted(&'a FeatureTable),
}

impl Features<'_> {
    /// What the encoder made of an image, as a batch of one.
    ///
    /// # Errors
    /// [`TrainError::File`]; [`TrainError::Internal`] for an image that was not encoded.
    pub fn get(self, content_id: &str) -> Result<ImageOutput<Host>, TrainError> {
        let table = match self {
            Self::Kept(cache) => return cache.get(content_id),
            Self::Fitted(table) => table,
        };
        let row = table.0.get(content_id);
        let row = row.ok_or_else(|| TrainError::Internal(format!("the image {content_id} was not encoded")))?;
        let data = TensorData::new(row.clone(), [1, row.len()]);
        Ok(ImageOutput { embedding: Tensor::from_data(data, &Default::default()), patches: None })
    }
}
