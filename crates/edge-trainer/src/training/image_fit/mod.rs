//! Fits the small image encoder in closed form, and embeds the images it was fitted to as if their own group had not been there,
//! so that what is trained and judged on the embeddings does not believe a fit to its own examples.

mod answers;
mod codebook;

use std::collections::HashMap;

use burn::tensor::Tensor;
use half::f16;
use nalgebra::DMatrix;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::dataset::Example;
use crate::device::Host;
use crate::features::{FeatureTable, FittedEncoder};
use crate::gradient_free::Components;
use crate::loader::{Job, View, pixels, to_tensor};
use crate::message::{Listener, Message, note};
use crate::model::measure::{BLOCKS, Codebook, measure};
use crate::model::{Block, COMPONENT, COMPONENTS, Compute, EMBEDDING, Fit, values};
use crate::{TrainError, TrainOptions, parallel};
use answers::{answer, questions};
use codebook::learn_codebook;
use edge_model::image_input::InputRule;

/// The distinct images of some examples, in the order in which they first occur.
struct DistinctImages<'a> {
    first: Vec<&'a Example>,
    /// For each image the examples that show it.
    examples: Vec<Vec<&'a Example>>,
}

impl<'a> DistinctImages<'a> {
    fn of(examples: impl Iterator<Item = &'a Example>) -> Self {
        let mut place: HashMap<&str, usize> = HashMap::new();
        let mut images = Self { first: Vec::new(), examples: Vec::new() };
        for example in examples {
            let at = *place.entry(&example.content_id).or_insert_with(|| {
                images.first.push(example);
                images.examples.push(Vec::new());
                images.first.len() - 1
            });
            images.examples[at].push(example);
        }
        images
    }
}

/// Fits the encoder to all of the examples and embeds them. That those which validate a training are among them does not make them
/// known to it: what the training reads of them are answers of a fit without their group.
///
/// # Errors
/// [`TrainError::Image`], [`TrainError::Options`] where there is nothing to fit to.
pub fn fit_image_encoder(
    options: &TrainOptions,
    rule: &InputRule,
    examples: [&[Example]; 2],
    listener: &mut dyn Listener,
) -> Result<FittedEncoder, TrainError> {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let images = DistinctImages::of(examples.into_iter().flatten());
    let codebook = learn_codebook(options.filters, rule, &images.first, &mut rng, listener)?;
    let measured = measure_all(&images.first, rule, &codebook, listener)?;
    let mut order: Vec<usize> = (0..images.first.len()).collect();
    order.shuffle(&mut rng);
    let order = by_turns(&order, |image| &images.first[image].source);

    let components: Vec<Components> =
        measured.iter().zip(COMPONENTS).map(|(rows, count)| kept(Components::fit(rows, count))).collect();
    let projected: Vec<DMatrix<f64>> = measured.iter().zip(&components).map(|(rows, c)| c.apply(rows)).collect();
    let centres = &order[..order.len().min(options.centres)];
    let centres: Vec<DMatrix<f64>> = projected.iter().map(|rows| rounded(&rows.select_rows(centres))).collect();

    let questions = questions(&images);
    let fitted = answer(&images, &order, &projected, &centres, &questions)?;
    note(listener, fitted.summary(centres[0].nrows()));
    let weights = fitted.weights();
    let blocks: Vec<Block> = components.iter().zip(&centres).map(|(c, centres)| block(c, centres)).collect();
    let blocks: [Block; BLOCKS] =
        blocks.try_into().map_err(|_| TrainError::Internal("blocks of measurements are missing".to_owned()))?;
    let fit = Fit { codebook, blocks, weights: row_major(&weights), answers: weights.ncols() };

    let mut table = FeatureTable::default();
    let taken = fit.taken();
    for (i, example) in images.first.iter().enumerate() {
        let row = embedding(fitted.of_image(i), &projected, taken, i);
        table.0.insert(example.content_id.clone(), row);
    }
    Ok(FittedEncoder { fit, table, answer_of: fitted.of_tag, unseen: fitted.unseen })
}

/// The same images, those of each data set in turn, so that a large one does not take the places of a small one: as long as they
/// last, every data set has an equal share of whatever number comes first.
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

/// `[N, D]` from its parts, as [`Fit::embed`] puts them together.
fn embedding(mut row: Vec<f32>, components: &[DMatrix<f64>], taken: [usize; BLOCKS], image: usize) -> Vec<f32> {
    for (components, taken) in components.iter().zip(taken) {
        row.extend(components.row(image).iter().take(taken).map(|v| *v as f32 * COMPONENT));
    }
    row.resize(EMBEDDING, 0.0);
    row
}

/// Does something with the centre of every image, on all processors; the answers are in the images' order.
fn on_images<T: Send>(
    what: &str,
    images: &[&Example],
    rule: &InputRule,
    work: impl Fn(Tensor<Host, 4>) -> T + Sync,
    listener: &mut dyn Listener,
) -> Result<Vec<T>, TrainError> {
    let view = View::centre(rule.size_px);
    let one = |i: usize| pixels(&Job::of(images[i], view), rule).map(|pixels| work(to_tensor(&pixels)));
    let mut done: Vec<Option<T>> = images.iter().map(|_| None).collect();
    listener.on(Message::Begin { what: what.to_owned(), steps: images.len() as u64 });
    parallel::for_each(images.len(), one, |i, answer| {
        done[i] = Some(answer?);
        listener.on(Message::Step { measure: String::new() });
        Ok::<(), TrainError>(())
    })?;
    listener.on(Message::End);
    Ok(done.into_iter().flatten().collect())
}

/// The three blocks of measurements of all images, `[N, F]` each.
fn measure_all(
    images: &[&Example],
    rule: &InputRule,
    codebook: &Codebook,
    listener: &mut dyn Listener,
) -> Result<Vec<DMatrix<f64>>, TrainError> {
    let side_px = rule.size_px as usize;
    let one = |pixels: Tensor<Host, 4>| {
        measure(&mut Compute::<Host>::new(pixels.device()), &pixels, side_px, codebook).map(values)
    };
    let rows = on_images("measuring images", images, rule, one, listener)?;
    let block = |b: usize| {
        let columns = rows.first().map_or(0, |row| row[b].len());
        DMatrix::from_fn(rows.len(), columns, |i, j| f64::from(rows[i][b][j]))
    };
    Ok((0..BLOCKS).map(block).collect())
}

fn block(components: &Components, centres: &DMatrix<f64>) -> Block {
    Block {
        mean: components.mean.iter().map(|v| *v as f32).collect(),
        scale: components.scale.iter().map(|v| *v as f32).collect(),
        directions: row_major(&components.directions),
        centres: row_major(centres),
    }
}

/// With directions as the graph keeps them.
fn kept(components: Components) -> Components {
    Components { directions: rounded(&components.directions), ..components }
}

/// As 16-bit floats hold them: so the graph keeps its large matrices.
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
