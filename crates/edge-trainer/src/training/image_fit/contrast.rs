//! Learns to tell an image's text from the others of its data set.

use std::collections::BTreeMap;

use nalgebra::{DMatrix, DVector};

use super::images::DistinctImages;

/// Divides the cosines before the softmax.
const TEMPERATURE: f64 = 0.07;
/// Weight of the squared difference between the matrix and the identity, times a half.
const DECAY: f64 = 0.2;
/// Steps of the descent. The loss is convex: 300 steps have the same figures as 60, within .001 (docs/small-model.md, "Own prompts").
const STEPS: usize = 100;
/// Step size, for gradients that are divided by their recent size. The last third of the steps takes a quarter of it.
const STEP: f64 = 0.005;
/// Fewest texts that an image's own is told from.
const TEXTS: usize = 8;

/// The images of a data set that have one text each.
pub(super) struct Captions {
    /// Directions of N images, `[N, E]`.
    pub(super) images: DMatrix<f64>,
    /// Directions of T texts, `[T, E]`.
    pub(super) texts: DMatrix<f64>,
    /// The text of each image, `[N]`.
    pub(super) own: Vec<usize>,
}

impl Captions {
    /// The gradient of the mean cross-entropy with respect to the matrix M that images are multiplied by, `[E, E]`. The logits are
    /// `images M texts^T / TEMPERATURE`.
    fn gradient(&self, matrix: &DMatrix<f64>) -> DMatrix<f64> {
        let mut errors = &self.images * matrix * self.texts.transpose() / TEMPERATURE;
        for (mut row, &own) in errors.row_iter_mut().zip(&self.own) {
            let largest = row.max();
            row.apply(|logit| *logit = (*logit - largest).exp());
            let sum = row.sum();
            row /= sum;
            row[own] -= 1.0;
        }
        self.images.tr_mul(&(errors * &self.texts)) / (TEMPERATURE * self.own.len() as f64)
    }
}

/// The images of each data set that have one text with a positive alignment. `counts` tells which images are used. `contents [N, E]` holds
/// the vectors of all images. `direction` returns the unit vector of a text, `[E]`; texts without one are left out.
pub(super) fn captions(
    images: &DistinctImages<'_>,
    counts: &[bool],
    contents: &DMatrix<f64>,
    direction: impl Fn(&str) -> Option<DVector<f64>>,
) -> Vec<Captions> {
    let mut by_source: BTreeMap<&str, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for (image, examples) in images.examples.iter().enumerate() {
        let [example] = examples[..] else { continue };
        if counts[image] && example.alignment.is_some_and(|a| a > 0.0) {
            by_source.entry(&example.source).or_default().entry(&example.tag).or_default().push(image);
        }
    }
    let of_source = |by_text: BTreeMap<&str, Vec<usize>>| {
        let (mut rows, mut texts, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for (tag, members) in by_text {
            let Some(direction) = direction(tag) else { continue };
            own.extend(std::iter::repeat_n(texts.len(), members.len()));
            texts.push(direction.transpose());
            rows.extend(members.into_iter().map(|image| contents.row(image).normalize()));
        }
        (!texts.is_empty()).then(|| Captions {
            images: DMatrix::from_rows(&rows),
            texts: DMatrix::from_rows(&texts),
            own,
        })
    };
    by_source.into_values().filter_map(of_source).collect()
}

/// Returns a matrix near the identity, `[length, length]`. Images that are multiplied by it are nearer to their own texts than before. Data
/// sets with few texts are left out; without any, the matrix is the identity.
pub(super) fn contrast(sets: &[Captions], length: usize) -> DMatrix<f64> {
    let sets: Vec<&Captions> = sets.iter().filter(|set| set.texts.nrows() >= TEXTS).collect();
    let identity = DMatrix::identity(length, length);
    let mut matrix = identity.clone();
    if sets.is_empty() {
        return matrix;
    }
    // Adam with decays of .9 and .99.
    let (mut mean, mut square) = (DMatrix::zeros(length, length), DMatrix::zeros(length, length));
    for step in 0..STEPS {
        let of_sets: DMatrix<f64> = sets.iter().map(|set| set.gradient(&matrix)).sum();
        let gradient = (&matrix - &identity) * DECAY + of_sets / sets.len() as f64;
        mean = mean * 0.9 + &gradient * 0.1;
        square = square * 0.99 + gradient.component_mul(&gradient) * 0.01;
        let size = if 3 * step < 2 * STEPS { STEP } else { STEP / 4.0 };
        matrix -= mean.zip_map(&square, |mean: f64, square: f64| size * mean / (square.sqrt() + 1e-6));
    }
    matrix
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::dataset::Example;

    /// Twelve texts, and three images of each, whose directions are those of the texts after a rotation by a right angle in some planes.
    fn turned() -> Captions {
        let texts = DMatrix::from_fn(12, 6, |t, j| ((t * 7 + j * 13) as f64 * 1.3).sin());
        let texts = DMatrix::from_rows(&texts.row_iter().map(|row| row.normalize()).collect::<Vec<_>>());
        let own: Vec<usize> = (0..36).map(|i| i / 3).collect();
        let value = |i: usize, j: usize| {
            let noise = ((i * 5 + j * 3) as f64 * 0.7).sin() * 0.05;
            noise + if j.is_multiple_of(2) { texts[(own[i], j)] } else { texts[(own[i], (j + 2) % 6)] * 0.8 }
        };
        let images = DMatrix::from_fn(36, 6, value);
        Captions { images, texts, own }
    }

    fn right(captions: &Captions, matrix: &DMatrix<f64>) -> usize {
        let near = &captions.images * matrix * captions.texts.transpose();
        near.row_iter().zip(&captions.own).filter(|(row, own)| row.transpose().argmax().0 == **own).count()
    }

    #[test]
    fn more_images_find_their_text() {
        let captions = turned();
        let before = right(&captions, &DMatrix::identity(6, 6));
        let matrix = contrast(&[turned()], 6);
        let after = right(&captions, &matrix);
        assert!(after > before + 2, "{before} {after}");
        assert!(matrix.determinant().abs() > 0.1);
    }

    #[test]
    fn the_gradient_is_that_of_the_cross_entropy() {
        let captions = turned();
        let loss = |matrix: &DMatrix<f64>| {
            let logits = &captions.images * matrix * captions.texts.transpose() / TEMPERATURE;
            let each = logits.row_iter().zip(&captions.own);
            let sum: f64 = each.map(|(row, own)| row.iter().map(|v| v.exp()).sum::<f64>().ln() - row[*own]).sum();
            sum / captions.own.len() as f64
        };
        let at = DMatrix::<f64>::identity(6, 6) * 0.9;
        let gradient = captions.gradient(&at);
        for (i, j) in [(0, 0), (2, 5), (4, 1)] {
            let mut moved = [at.clone(), at.clone()];
            moved[0][(i, j)] += 1e-5;
            moved[1][(i, j)] -= 1e-5;
            let slope = (loss(&moved[0]) - loss(&moved[1])) / 2e-5;
            assert!((slope - gradient[(i, j)]).abs() < 1e-5 * (1.0 + slope.abs()), "{slope} {}", gradient[(i, j)]);
        }
    }

    #[test]
    fn only_images_with_one_text_that_fits_are_captions() {
        let example = |source: &str, content_id: &str, tag: &str, alignment: Option<f32>| Example {
            path: PathBuf::new(),
            tag: tag.to_owned(),
            score: 1.0,
            alignment,
            part: None,
            group: content_id.to_owned(),
            source: source.to_owned(),
            condition: None,
            content_id: content_id.to_owned(),
        };
        let examples = [
            example("a", "0", "dog", Some(1.0)),
            example("a", "1", "cat", Some(0.5)),
            example("a", "2", "cat", Some(0.0)),
            example("a", "3", "dog", None),
            example("a", "4", "dog", Some(1.0)),
            example("a", "4", "cat", Some(1.0)),
            example("a", "5", "dog", Some(1.0)),
            example("a", "6", "unknown", Some(1.0)),
            example("a", "7", "dog", Some(1.0)),
            example("b", "8", "dog", Some(1.0)),
        ];
        let images = DistinctImages::of(examples.iter());
        let contents = DMatrix::from_fn(9, 2, |i, j| if j == 0 { 3.0 * (i + 1) as f64 } else { 4.0 * (i + 1) as f64 });
        let mut counts = [true; 9];
        counts[5] = false;
        let direction =
            |tag: &str| ["cat", "dog"].contains(&tag).then(|| DVector::from_vec(vec![tag.len() as f64, 0.0]));
        let found = captions(&images, &counts, &contents, direction);
        let own: Vec<&[usize]> = found.iter().map(|set| set.own.as_slice()).collect();
        // "cat" is text 0 of the first data set: image 1. "dog" is text 1: images 0 and 7.
        assert_eq!(own, [&[0, 1, 1][..], &[0]]);
        assert!(found[0].images.row_iter().all(|row| (row[0] - 0.6).abs() < 1e-12 && (row[1] - 0.8).abs() < 1e-12));
        assert_eq!(found[0].texts.nrows(), 2);
    }

    #[test]
    fn few_texts_change_nothing() {
        let few = Captions {
            texts: turned().texts.rows(0, 3).into_owned(),
            own: vec![0, 1, 2],
            images: turned().images.rows(0, 3).into_owned(),
        };
        assert_eq!(contrast(&[few], 6), DMatrix::identity(6, 6));
        assert_eq!(contrast(&[], 6), DMatrix::identity(6, 6));
    }
}
