//! Learns to tell an image's text from the others of its data set.

use nalgebra::DMatrix;

/// Divides the cosines before the softmax.
const TEMPERATURE: f64 = 0.07;
/// Weight of the squared difference between the matrix and the identity, times a half.
const DECAY: f64 = 0.2;
/// Steps of the descent. The loss is convex, and more steps change no figure by more than .002.
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
    use super::*;

    /// Twelve texts, and three images of each, whose directions are those of the texts after a rotation by a right angle in some planes.
    fn captions() -> Captions {
        let texts = DMatrix::from_fn(12, 6, |t, j| ((t * 7 + j * 13) as f64 * 1.3).sin());
        let texts = DMatrix::from_rows(&texts.row_iter().map(|row| row.normalize()).collect::<Vec<_>>());
        let own: Vec<usize> = (0..36).map(|i| i / 3).collect();
        let turned = |i: usize, j: usize| {
            let noise = ((i * 5 + j * 3) as f64 * 0.7).sin() * 0.05;
            noise + if j % 2 == 0 { texts[(own[i], j)] } else { texts[(own[i], (j + 2) % 6)] * 0.8 }
        };
        let images = DMatrix::from_fn(36, 6, turned);
        Captions { images, texts, own }
    }

    fn right(captions: &Captions, matrix: &DMatrix<f64>) -> usize {
        let near = &captions.images * matrix * captions.texts.transpose();
        near.row_iter().zip(&captions.own).filter(|(row, own)| row.transpose().argmax().0 == **own).count()
    }

    #[test]
    fn more_images_find_their_text() {
        let captions = captions();
        let before = right(&captions, &DMatrix::identity(6, 6));
        let matrix = contrast(&[self::captions()], 6);
        let after = right(&captions, &matrix);
        assert!(after > before + 2, "{before} {after}");
        assert!(matrix.determinant().abs() > 0.1);
    }

    #[test]
    fn the_gradient_is_that_of_the_cross_entropy() {
        let captions = captions();
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
    fn few_texts_change_nothing() {
        let few = Captions {
            texts: captions().texts.rows(0, 3).into_owned(),
            own: vec![0, 1, 2],
            images: captions().images.rows(0, 3).into_owned(),
        };
        assert_eq!(contrast(&[few], 6), DMatrix::identity(6, 6));
        assert_eq!(contrast(&[], 6), DMatrix::identity(6, 6));
    }
}
