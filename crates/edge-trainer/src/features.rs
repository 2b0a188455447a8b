//! Embeddings of images whose encoder is not trained any further.

use std::collections::HashMap;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

use super::cache::{FeatureCache, FeatureError};
use super::device::Host;
use super::model::{EncoderFit, ImageOutput};

/// The embeddings of images, by content id.
#[derive(Debug, Clone, Default)]
pub struct FeatureTable(pub HashMap<String, Vec<f32>>);

/// Everything that was encoded or fitted before the training of head and text encoder.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Features from a frozen pretrained encoder.
    pub kept: Option<FeatureCache>,
    /// The small image encoder, fitted to the images, with its embeddings.
    pub fitted: Option<FittedEncoder>,
}

/// The fitted small image encoder and its embeddings of the images it was fitted to.
#[derive(Debug)]
pub struct FittedEncoder {
    /// The fitted values of the encoder.
    pub fit: EncoderFit,
    /// Embeddings; each comes from a fit that left out the image's group.
    pub table: FeatureTable,
    /// For each tag, the index of its answer in the image embedding: the tag's own answer, or that of its data set.
    pub answer_of: HashMap<String, usize>,
    /// Accuracy of the first answer on kinds of images that the fit left out.
    pub unseen: Vec<UnseenRow>,
}

impl Encoded {
    /// The images' features, if their encoder is not trained any further.
    pub fn features(&self) -> Option<Features<'_>> {
        let fitted = self.fitted.as_ref().map(|fitted| Features::Fitted(&fitted.table));
        self.kept.as_ref().map(Features::Kept).or(fitted)
    }
}

/// The first answer's accuracy on one kind of images, such as those of one generator, when the fit left out all of that kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnseenRow {
    /// Name of the kind: what made the images.
    pub name: String,
    /// Number of images of the kind.
    pub n: usize,
    /// Spearman's correlation if the fit left out only the image's group.
    pub known: f64,
    /// Spearman's correlation if the fit left out all images of the kind.
    pub unseen: f64,
}

/// Images that were encoded before the training.
#[derive(Debug, Clone, Copy)]
pub enum Features<'a> {
    /// Features from a frozen pretrained encoder, cached on disk.
    Kept(&'a FeatureCache),
    /// Embeddings from the encoder fitted in this training.
    Fitted(&'a FeatureTable),
}

impl Features<'_> {
    /// The encoder's output for one image, as a batch of one.
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
