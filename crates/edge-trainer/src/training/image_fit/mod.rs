//! Fits the small image encoder in closed form and embeds the images that it was fitted to. Each of these embeddings
//! comes from a fit without the image's group. Otherwise the training and the validation on them would be too
//! optimistic.

mod answers;
mod codebook;
mod content;
mod contrast;
mod images;
mod measured;
mod questions;

use std::collections::{HashMap, HashSet};

use edge_model::image_input::InputRule;
use half::f16;
use nalgebra::DMatrix;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use answers::{Kernels, fit_answers, fitted_rows};
use codebook::learn_codebook;
pub use content::TextFit;
use content::{FittedContent, TextSpace, fit_content};
use images::DistinctImages;
use measured::measure_all;
use questions::questions;

use super::error::LearnError;
use crate::TrainOptions;
use crate::dataset::Example;
use crate::device::Host;
use crate::features::{FeatureTable, FittedEncoder};
use crate::gradient_free::Components;
use crate::message::{Listener, note};
use crate::model::efficientnet::EfficientNet;
use crate::model::kernel_encoder::{
    BlockShape, COMPONENT, EncoderFit, FittedBlock, KernelUse, block_shapes, embedding_length,
};
use crate::words::Meanings;

/// What an encoder is fitted with besides images: a network that was trained on ImageNet, and the meanings of words.
#[derive(Debug)]
pub struct KnownContent {
    /// The network. Its weights must be folded; see [`EfficientNet::folded`].
    pub network: EfficientNet<Host>,
    /// The vectors of tokens and classes.
    pub words: Meanings,
}

/// Fits the encoder to the training and the validation examples and embeds their images. The validation stays fair,
/// because the embedding of each image comes from a fit without the image's group.
///
/// # Errors
/// [`LearnError::Load`], [`LearnError::NotFinite`], [`LearnError::Measure`], [`LearnError::Word`].
pub fn fit_image_encoder(
    options: &TrainOptions,
    rule: &InputRule,
    known: Option<&KnownContent>,
    examples: [&[Example]; 2],
    listener: &mut dyn Listener,
) -> Result<FittedEncoder, LearnError> {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let images = DistinctImages::of(examples.into_iter().flatten());
    let codebook = learn_codebook(options.filters, rule, &images.first, &mut rng, listener)?;
    let network = known.map(|known| &known.network);
    let measured = measure_all(&images.first, rule, &codebook, network, listener)?;
    let mut order: Vec<usize> = (0..images.first.len()).collect();
    order.shuffle(&mut rng);
    // With a network the first data set counts more: people rated it, and the others add what it lacks.
    let first = images.first.first().filter(|_| known.is_some()).map_or("", |example| example.source.as_str());
    let order = by_turns(&order, first, |image| &images.first[image].source);
    let rows = fitted_rows(&order);

    let shapes = block_shapes(known.is_some());
    let fitted = measured.blocks.iter().zip(&shapes).map(|(rows, shape)| Components::fit(rows, shape.components));
    let components: Vec<Components> = fitted.map(with_rounded_directions).collect();
    let projected: Vec<DMatrix<f64>> = measured.blocks.iter().zip(&components).map(|(rows, c)| c.apply(rows)).collect();
    let centres = &order[..order.len().min(options.centres)];
    let centres: Vec<DMatrix<f64>> = projected.iter().map(|rows| rounded(&rows.select_rows(centres))).collect();
    let kernels = |of: KernelUse| {
        let shares: Vec<f64> = shapes.iter().map(|shape| f64::from(shape.shares[of as usize])).collect();
        Kernels::of(&images, rows, &projected, &centres, (&shares, of.length()))
    };

    let space = known.map(|known| TextSpace::of(&known.words, &images)).transpose()?;
    let content = match (&space, &measured.logits) {
        (Some(space), Some(logits)) => {
            let Kernels { ridge, all } = kernels(KernelUse::Content);
            Some(fit_content(space, &images, (&ridge, rows), &all, logits)?)
        }
        _ => None,
    };
    let questions = questions(&images, known.is_some());
    let rated = known.map(|_| kernels(KernelUse::Rated));
    let answers = fit_answers(&images, rows, kernels(KernelUse::Answers), rated, &questions)?;
    note(listener, answers.summary(centres[0].nrows()));
    let weights = answers.weights();
    let fit = EncoderFit {
        codebook,
        blocks: components.iter().zip(&centres).zip(&shapes).map(|((c, m), shape)| block(c, m, *shape)).collect(),
        weights: row_major(&weights),
        rated_weights: known.map(|_| row_major(&answers.rated_weights())),
        answers: weights.ncols(),
        content: content.as_ref().map(|content| content.fit.clone()),
    };
    let mut table = FeatureTable::default();
    for (i, example) in images.first.iter().enumerate() {
        let row = embedding(answers.of_image(i), content.as_ref(), (&projected, &fit.taken()), i);
        table.0.insert(example.content_id.clone(), row);
    }
    let text = space.zip(content.as_ref()).map(|(space, content)| space.text_fit(&content.axes)).transpose()?;
    Ok(FittedEncoder { fit, text, table, answer_of: answers.of_tag, unseen: answers.unseen })
}

/// Returns the images in an order that takes one image of each data set in turn. Every prefix of it has the same number
/// of images of each data set, until a small data set has no more. The data set `first` has as many turns as all others together.
fn by_turns<'a>(order: &[usize], first: &str, source: impl Fn(usize) -> &'a str) -> Vec<usize> {
    let sets = order.iter().map(|&image| source(image)).collect::<HashSet<_>>().len();
    let turns_of_first = sets.saturating_sub(1).max(1);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut turns: Vec<(usize, usize)> = order
        .iter()
        .map(|&image| {
            let source = source(image);
            let taken = seen.entry(source).or_default();
            *taken += 1;
            (if source == first { taken.div_ceil(turns_of_first) } else { *taken }, image)
        })
        .collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, image)| image).collect()
}

/// Assembles the embedding of one image from its content, its answers and the first `taken` components of each block, then
/// zeros. This is the order of [`EncoderFit::embed`].
fn embedding(
    answers: Vec<f32>,
    content: Option<&FittedContent>,
    (components, taken): (&[DMatrix<f64>], &[usize]),
    image: usize,
) -> Vec<f32> {
    let mut row: Vec<f32> = content
        .iter()
        .flat_map(|content| content.held_out.row(image).iter().map(|v| *v as f32).collect::<Vec<_>>())
        .collect();
    row.extend(answers);
    for (components, taken) in components.iter().zip(taken) {
        row.extend(components.row(image).iter().take(*taken).map(|v| *v as f32 * COMPONENT));
    }
    row.resize(embedding_length(content.is_some()), 0.0);
    row
}

fn block(components: &Components, centres: &DMatrix<f64>, shape: BlockShape) -> FittedBlock {
    FittedBlock {
        mean: components.mean.iter().map(|v| *v as f32).collect(),
        scale: components.scale.iter().map(|v| *v as f32).collect(),
        directions: row_major(&components.directions),
        centres: row_major(centres),
        shares: shape.shares,
    }
}

/// Rounds the components' directions to 16-bit floats, as the exported graph stores them.
fn with_rounded_directions(components: Components) -> Components {
    Components { directions: rounded(&components.directions), ..components }
}

/// The matrix rounded to 16-bit floats, in which the graph stores its large matrices.
fn rounded(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    matrix.map(|v| f16::from_f64(v).to_f64())
}

fn row_major(matrix: &DMatrix<f64>) -> Vec<f32> {
    matrix.transpose().iter().map(|v| *v as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sets_take_turns() {
        let source = |image: usize| if image < 3 { "small" } else { "large" };
        let order = [7, 3, 0, 4, 5, 2, 6, 1];
        let turns = by_turns(&order, "", source);
        assert_eq!(turns, [7, 0, 3, 2, 4, 1, 5, 6]);
        assert_eq!(by_turns(&[], "", source), Vec::<usize>::new());
        let three = |image: usize| ["a", "b", "c"][image % 3];
        assert_eq!(by_turns(&[0, 3, 6, 9, 1, 4, 2, 5], "a", three), [0, 3, 1, 2, 6, 9, 4, 5]);
    }
}
