//! Fits the small image encoder in closed form and embeds the images that it was fitted to. Each of these embeddings
//! comes from a fit without the image's group. Otherwise the training and the validation on them would be too
//! optimistic.

mod answers;
mod codebook;
mod images;

use std::collections::HashMap;

use burn::tensor::Tensor;
use edge_model::image_input::InputRule;
use half::f16;
use nalgebra::DMatrix;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use answers::{fit_answers, questions};
use codebook::learn_codebook;
use images::{DistinctImages, on_images};

use super::error::LearnError;
use crate::TrainOptions;
use crate::dataset::Example;
use crate::device::Host;
use crate::features::{FeatureTable, FittedEncoder};
use crate::gradient_free::Components;
use crate::message::{Listener, note};
use crate::model::measure::{BLOCKS, Codebook, measure};
use crate::model::{COMPONENT, COMPONENTS, Compute, EMBEDDING, EncoderFit, FittedBlock, values};

/// Fits the encoder to the training and the validation examples and embeds their images. The validation stays fair,
/// because the embedding of each image comes from a fit without the image's group.
///
/// # Errors
/// [`LearnError::Load`], [`LearnError::NotFinite`].
pub fn fit_image_encoder(
    options: &TrainOptions,
    rule: &InputRule,
    examples: [&[Example]; 2],
    listener: &mut dyn Listener,
) -> Result<FittedEncoder, LearnError> {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let images = DistinctImages::of(examples.into_iter().flatten());
    let codebook = learn_codebook(options.filters, rule, &images.first, &mut rng, listener)?;
    let measured = measure_all(&images.first, rule, &codebook, listener)?;
    let mut order: Vec<usize> = (0..images.first.len()).collect();
    order.shuffle(&mut rng);
    let order = by_turns(&order, |image| &images.first[image].source);

    let fitted = measured.iter().zip(COMPONENTS).map(|(rows, count)| Components::fit(rows, count));
    let components: Vec<Components> = fitted.map(with_rounded_directions).collect();
    let projected: Vec<DMatrix<f64>> = measured.iter().zip(&components).map(|(rows, c)| c.apply(rows)).collect();
    let centres = &order[..order.len().min(options.centres)];
    let centres: Vec<DMatrix<f64>> = projected.iter().map(|rows| rounded(&rows.select_rows(centres))).collect();

    let questions = questions(&images);
    let fitted = fit_answers(&images, &order, &projected, &centres, &questions)?;
    note(listener, fitted.summary(centres[0].nrows()));
    let weights = fitted.weights();
    let blocks: Vec<FittedBlock> = components.iter().zip(&centres).map(|(c, centres)| block(c, centres)).collect();
    let blocks: [FittedBlock; BLOCKS] =
        blocks.try_into().map_err(|_| LearnError::Internal("a block of measurements is missing".to_owned()))?;
    let fit = EncoderFit { codebook, blocks, weights: row_major(&weights), answers: weights.ncols() };

    let mut table = FeatureTable::default();
    let taken = fit.taken();
    for (i, example) in images.first.iter().enumerate() {
        let row = embedding(fitted.of_image(i), &projected, taken, i);
        table.0.insert(example.content_id.clone(), row);
    }
    Ok(FittedEncoder { fit, table, answer_of: fitted.of_tag, unseen: fitted.unseen })
}

/// Returns the images in an order that takes one image of each data set in turn. Every prefix of it has the same number
/// of images of each data set, until a small data set has no more.
fn by_turns<'a>(order: &[usize], source: impl Fn(usize) -> &'a str) -> Vec<usize> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut turns: Vec<(usize, usize)> = order
        .iter()
        .map(|&image| {
            let turn = seen.entry(source(image)).or_default();
            *turn += 1;
            (*turn, image)
        })
        .collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, image)| image).collect()
}

/// Assembles the embedding of one image: its answers `row`, then the first `taken` components of each block, then
/// zeros. This is the order of [`EncoderFit::embed`].
fn embedding(mut row: Vec<f32>, components: &[DMatrix<f64>], taken: [usize; BLOCKS], image: usize) -> Vec<f32> {
    for (components, taken) in components.iter().zip(taken) {
        row.extend(components.row(image).iter().take(taken).map(|v| *v as f32 * COMPONENT));
    }
    row.resize(EMBEDDING, 0.0);
    row
}

/// Measures all images and returns the three blocks of measurements, `[N, F]` each.
fn measure_all(
    images: &[&Example],
    rule: &InputRule,
    codebook: &Codebook,
    listener: &mut dyn Listener,
) -> Result<Vec<DMatrix<f64>>, LearnError> {
    let side_px = rule.size_px as usize;
    let one = |pixels: Tensor<Host, 4>| {
        measure(&mut Compute::<Host>::new(pixels.device()), pixels, side_px, codebook).map(values)
    };
    let rows = on_images("measuring images", images, rule, one, listener)?;
    let block = |b: usize| {
        let columns = rows.first().map_or(0, |row| row[b].len());
        DMatrix::from_fn(rows.len(), columns, |i, j| f64::from(rows[i][b][j]))
    };
    Ok((0..BLOCKS).map(block).collect())
}

fn block(components: &Components, centres: &DMatrix<f64>) -> FittedBlock {
    FittedBlock {
        mean: components.mean.iter().map(|v| *v as f32).collect(),
        scale: components.scale.iter().map(|v| *v as f32).collect(),
        directions: row_major(&components.directions),
        centres: row_major(centres),
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
        let turns = by_turns(&order, source);
        assert_eq!(turns, [7, 0, 3, 2, 4, 1, 5, 6]);
        assert_eq!(by_turns(&[], source), Vec::<usize>::new());
    }
}
