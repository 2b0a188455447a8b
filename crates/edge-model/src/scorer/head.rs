//! The quality head: computes scores from pairs of an encoded image and an encoded tag.

use ndarray::{Array, Array1, ArrayD, ArrayView, Dimension, RemoveAxis, stack};
use ndarray::{Array2, Axis};

use super::device_model::DeviceModel;
use super::encoded::{EncodedTag, ImageFeatures, Scored};
use super::error::{ScorerError, finite};
use crate::backend::Input;
use crate::bundle::manifest::{ImageSide, TextSide, file};

/// Pairs per run of the head: enough to use a device fully, few enough to bound memory.
const PAIRS: usize = 1024;
/// Pairs per run if each pair includes its image's patch tokens.
const PAIRS_WITH_PATCHES: usize = 32;

/// An encoded image and an encoded tag to be scored.
pub(super) type Pair<'a> = (&'a ImageFeatures, &'a EncodedTag);

impl DeviceModel {
    /// Scores pairs. Returns the results in the same order.
    pub(super) fn score_pairs(&self, pairs: &[Pair<'_>]) -> Result<Vec<Scored>, ScorerError> {
        let mut scored = Vec::with_capacity(pairs.len());
        let needs_images = self.manifest().head.image_side == ImageSide::PatchTokens;
        for chunk in pairs.chunks(if needs_images { PAIRS_WITH_PATCHES } else { PAIRS }) {
            for (score, (image, tag)) in self.run_head(chunk)?.into_iter().zip(chunk) {
                let similarity = image.embedding.similarity(tag);
                finite([similarity].iter(), "the similarity")?;
                let percentile = self.manifest().percentile(&tag.tag, score);
                scored.push(Scored { score, similarity, percentile });
            }
        }
        Ok(scored)
    }

    /// The head's inputs for the pairs: the tensors of the images, then those of the tags.
    fn head_inputs(&self, pairs: &[Pair<'_>]) -> Result<Vec<Input>, ScorerError> {
        let head = &self.manifest().head;
        let architecture = &self.manifest().architecture;
        let [dim, text_dim] = [architecture.embedding_dim, architecture.text_dim()];
        let (mut images, mut texts) = (Array2::zeros((pairs.len(), dim)), Array2::zeros((pairs.len(), text_dim)));
        for (row, (image, tag)) in pairs.iter().enumerate() {
            let lengths = [(image.embedding.0.len(), dim), (tag.embedding.len(), text_dim)];
            if let Some(&(found, expected)) = lengths.iter().find(|(found, expected)| found != expected) {
                return Err(unfit(vec![found], vec![expected]));
            }
            images.row_mut(row).iter_mut().zip(&image.embedding.0).for_each(|(to, from)| *to = from.to_f32());
            texts.row_mut(row).iter_mut().zip(&tag.embedding).for_each(|(to, from)| *to = *from);
        }
        let mut inputs = vec![images.into_dyn()];
        if head.image_side == ImageSide::PatchTokens {
            let patches = pairs.iter().map(|(image, _)| image.patch_tokens.as_ref().ok_or(ScorerError::NeedsImage));
            inputs.push(stacked(&patches.collect::<Result<Vec<_>, _>>()?)?);
        }
        if head.text_side != TextSide::Nothing {
            inputs.push(texts.into_dyn());
        }
        if head.text_side == TextSide::TokenStates {
            let tokens = pairs.iter().map(|(_, tag)| tag.tokens.as_ref().ok_or_else(|| unfit(vec![0], vec![dim])));
            let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
            inputs.push(stacked(&tokens.iter().map(|t| &t.states).collect::<Vec<_>>())?);
            let masks: Vec<&Array1<f32>> = tokens.iter().map(|t| &t.mask).collect();
            inputs.push(stacked(&masks)?);
        }
        Ok(inputs.into_iter().map(Input::F32).collect())
    }

    /// Scores pairs in one run. The pair of the known answer, if the device needs one, comes first.
    fn run_head(&self, pairs: &[Pair<'_>]) -> Result<Vec<f32>, ScorerError> {
        let known = self.known.as_ref().map(|known| (&known.features, &known.tag));
        let rows: Vec<_> = known.into_iter().chain(pairs.iter().copied()).collect();
        let output = self.quality_head.run(self.head_inputs(&rows)?)?.into_iter().next().unwrap_or_default();
        if output.shape() != [rows.len()] {
            return Err(unfit(output.shape().to_vec(), vec![rows.len()]));
        }
        let mut scores: Vec<f32> = output.into_iter().collect();
        if let Some(known) = &self.known {
            known.check_score(scores.remove(0))?;
        }
        finite(scores.iter(), "the score")?;
        Ok(scores)
    }
}

fn unfit(found: Vec<usize>, expected: Vec<usize>) -> ScorerError {
    ScorerError::Shape { graph: file::QUALITY_HEAD, found, expected }
}

/// Stacks N arrays of one shape to `[N, ..]`.
fn stacked<D: Dimension>(arrays: &[&Array<f32, D>]) -> Result<ArrayD<f32>, ScorerError>
where
    D::Larger: RemoveAxis,
{
    let views: Vec<ArrayView<'_, f32, D>> = arrays.iter().map(|a| a.view()).collect();
    let shape = |a: Option<&&Array<f32, D>>| a.map(|a| a.shape().to_vec()).unwrap_or_default();
    let stacked = stack(Axis(0), &views).map_err(|_| unfit(shape(arrays.last()), shape(arrays.first())))?;
    Ok(stacked.into_dyn())
}
