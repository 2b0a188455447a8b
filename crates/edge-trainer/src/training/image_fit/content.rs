//! Fits what an image shows: a vector in the space of texts, from the network's classes and from a regression on the texts of the
//! training images.

use std::collections::{BTreeMap, HashMap};

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::contrast::{captions, contrast};
use super::images::DistinctImages;
use super::row_major;
use crate::dataset::Example;
use crate::gradient_free::{KernelFit, KernelRidge};
use crate::model::kernel_encoder::{CLASSES, CONTENT, ContentFit, class_probabilities};
use crate::training::error::LearnError;
use crate::words::Meanings;

/// The ridge parameter of the regression on texts.
const RIDGE: f64 = 1.0;
/// Exponent of the variances by which the directions of the texts are divided: 0 leaves the texts as they are, 0.5 gives all directions
/// the same variance.
const WHITENING: f64 = 0.25;
/// Share of the largest variance that is added to each, so that a direction without variance is not blown up.
const FLOOR: f64 = 0.02;
/// Exponent of the variances of the content by which images are divided and texts multiplied; see [`balance`].
const BALANCE: f64 = 0.3;
/// As [`FLOOR`], for the variances of the content.
const BALANCE_FLOOR: f64 = 0.001;

/// The text encoder that belongs to the content vectors: the table of tokens, and what a text is compared with.
#[derive(Debug, Clone)]
pub struct TextFit {
    /// The vectors of all tokens, row-major `[V, E]`.
    pub vectors: Vec<f32>,
    /// 1 at each token that begins a word, `[V]`.
    pub word_begins: Vec<f32>,
    /// Mean of the training texts, `[E]`.
    pub mean: Vec<f32>,
    /// The matrix by which a text's difference from the mean is multiplied, row-major `[E, E]`.
    pub spread: Vec<f32>,
    /// The matrices that lead contents and texts back to the space in which the content was fitted, row-major `[E, E]` each.
    pub match_axes: [Vec<f32>; 2],
}

/// The texts of the training images, in a space where a regression on them is fitted.
pub(super) struct TextSpace<'a> {
    words: &'a Meanings,
    mean: DVector<f64>,
    spread: DMatrix<f64>,
}

/// The fitted content, and the content of the training images by fits without their groups.
pub(super) struct FittedContent {
    pub(super) fit: ContentFit,
    /// The content vector of each image, `[N, E]`.
    pub(super) held_out: DMatrix<f64>,
    /// The fit multiplied contents by the first matrix and texts by the second; see [`balance`] and [`contrast`].
    pub(super) axes: [DMatrix<f64>; 2],
}

impl<'a> TextSpace<'a> {
    /// Learns mean and spread from the texts of images with a known alignment. Each data set has the same weight in the mean. The spread
    /// also depends on the classes' vectors, so that words that no training text has are not squeezed.
    pub(super) fn of(words: &'a Meanings, images: &DistinctImages<'_>) -> Result<Self, LearnError> {
        let mut by_source: BTreeMap<&str, BTreeMap<&str, Vec<f32>>> = BTreeMap::new();
        for example in images.examples.iter().flatten().filter(|e| e.alignment.is_some()) {
            let texts = by_source.entry(&example.source).or_default();
            if !texts.contains_key(example.tag.as_str()) {
                texts.insert(&example.tag, words.table.embed(&example.tag)?);
            }
        }
        let of_texts: Vec<Vec<&[f32]>> =
            by_source.values().map(|texts| texts.values().map(Vec::as_slice).collect()).collect();
        let means: Vec<DVector<f64>> = of_texts.iter().map(|texts| mean(texts)).collect();
        let sum = means.iter().fold(DVector::zeros(CONTENT), |sum, mean| sum + mean);
        let middle = sum / means.len().max(1) as f64;
        let all: Vec<&[f32]> = of_texts.into_iter().flatten().chain(words.classes.iter().map(Vec::as_slice)).collect();
        Ok(Self { words, mean: middle, spread: spread(&all) })
    }

    /// The text encoder for contents that were fitted in this space. `axes` are those of the [`FittedContent`].
    ///
    /// # Errors
    /// [`LearnError::NotFinite`] if a matrix has no inverse.
    pub(super) fn text_fit(&self, axes: &[DMatrix<f64>; 2]) -> Result<TextFit, LearnError> {
        let back =
            |axes: &DMatrix<f64>| axes.clone().try_inverse().as_ref().map(row_major).ok_or_else(texts_not_finite);
        Ok(TextFit {
            vectors: self.words.table.vectors().to_vec(),
            word_begins: self.words.table.word_begins(),
            mean: self.mean.iter().map(|v| *v as f32).collect(),
            spread: row_major(&(&self.spread * &axes[1])),
            match_axes: [back(&axes[0])?, back(&axes[1])?],
        })
    }

    /// The direction of a text relative to the others.
    fn relative(&self, vector: &[f32]) -> DVector<f64> {
        unit(self.spread.tr_mul(&(column(vector) - &self.mean)))
    }

    /// The classes' vectors, `[K, E]`.
    fn classes(&self) -> DMatrix<f64> {
        let rows = &self.words.classes;
        DMatrix::from_fn(rows.len(), CONTENT, |k, j| f64::from(rows[k][j])) * &self.spread
    }

    /// The target of an image's regression: the mean of its texts, each weighted by its alignment. `None` without a text that is known to
    /// fit.
    fn target(
        &self,
        examples: &[&Example],
        known: &mut HashMap<String, DVector<f64>>,
    ) -> Result<Option<DVector<f64>>, LearnError> {
        let mut sum = DVector::zeros(CONTENT);
        for example in examples {
            let Some(alignment) = example.alignment.filter(|a| *a > 0.0) else { continue };
            if !known.contains_key(&example.tag) {
                let vector = self.relative(&self.words.table.embed(&example.tag)?);
                known.insert(example.tag.clone(), vector);
            }
            sum += &known[&example.tag] * f64::from(alignment);
        }
        Ok((sum.norm() > 0.0).then(|| unit(sum)))
    }
}

/// Fits the content. `ridge` is the regression on the kernel of the content, for the images `rows`; `all` is that kernel between all
/// images and the centres, `[N, M]`; `logits` are the network's, `[N, K]`.
pub(super) fn fit_content(
    space: &TextSpace<'_>,
    images: &DistinctImages<'_>,
    (ridge, rows): (&KernelRidge, &[usize]),
    all: &DMatrix<f64>,
    logits: &DMatrix<f64>,
) -> Result<FittedContent, LearnError> {
    let mut known = HashMap::new();
    let (mut labelled, mut targets) = (Vec::new(), Vec::new());
    let originals = images.originals();
    for (row, &image) in rows.iter().enumerate().filter(|(_, image)| originals[**image]) {
        if let Some(target) = space.target(&images.examples[image], &mut known)? {
            labelled.push(row);
            targets.push(target.transpose());
        }
    }
    let regression = if targets.is_empty() {
        None
    } else {
        let fitted = ridge.fit(&labelled, &DMatrix::from_rows(&targets), &[RIDGE]);
        Some(fitted.ok_or_else(texts_not_finite)?)
    };
    let regressed = regressed(regression.as_ref(), rows, all);

    let classes = space.classes();
    let probabilities = class_probabilities(logits);
    let of_classes = &probabilities * &classes;
    let class_mean = mean_by_source(images, &of_classes);
    let [of_images, of_texts] = balance(&contents(&of_classes, &class_mean, &regressed));
    let balanced = contents(&(&of_classes * &of_images), &of_images.tr_mul(&class_mean), &(&regressed * &of_images));
    let captions = captions(images, &originals, &balanced, |tag| Some(unit(of_texts.tr_mul(known.get(tag)?))));
    let of_images = &of_images * contrast(&captions, CONTENT);

    let (classes, class_mean) = (classes * &of_images, of_images.tr_mul(&class_mean));
    let held_out = contents(&(probabilities * &classes), &class_mean, &(regressed * &of_images));
    let weights = regression.map(|fit| row_major(&(fit.weights * &of_images)));
    let fit = ContentFit {
        classes: row_major(&classes),
        mean: class_mean.iter().map(|v| *v as f32).collect(),
        weights: weights.unwrap_or_else(|| vec![0.0; all.ncols() * CONTENT]),
    };
    Ok(FittedContent { fit, held_out, axes: [of_images, of_texts] })
}

fn texts_not_finite() -> LearnError {
    LearnError::NotFinite { what: "the texts of the images".to_owned() }
}

/// The content vectors of images, `[N, E]`: the direction of the classes' vectors relative to their mean, and that of the regression's.
fn contents(of_classes: &DMatrix<f64>, class_mean: &DVector<f64>, regressed: &DMatrix<f64>) -> DMatrix<f64> {
    let vector = |image: usize| {
        let of_classes = unit(of_classes.row(image).transpose() - class_mean);
        (of_classes * f64::from(CLASSES) + unit(regressed.row(image).transpose())).transpose()
    };
    DMatrix::from_rows(&(0..of_classes.nrows()).map(vector).collect::<Vec<_>>())
}

/// Returns the matrices that contents and texts are multiplied by, so that the cosines of all texts vary about equally between images.
///
/// The products of contents and texts stay the same. Without this, the cosines under a text in whose direction contents vary a lot are far
/// from 0 in both directions, and an image with such a cosine hides its own text.
fn balance(contents: &DMatrix<f64>) -> [DMatrix<f64>; 2] {
    let directions: Vec<_> = contents.row_iter().map(|row| unit(row.transpose()).transpose()).collect();
    let covariance = Covariance::of(&DMatrix::from_rows(&directions));
    [-BALANCE, BALANCE].map(|exponent| covariance.power(BALANCE_FLOOR, exponent))
}

/// The regression's vectors of all images, without the mean of the targets. Those of the images `rows` come from fits without their
/// groups.
fn regressed(fit: Option<&KernelFit>, rows: &[usize], all: &DMatrix<f64>) -> DMatrix<f64> {
    let Some(fit) = fit else { return DMatrix::zeros(all.nrows(), CONTENT) };
    let mut regressed = all * &fit.weights;
    for (at, &image) in rows.iter().enumerate() {
        for j in 0..CONTENT {
            regressed[(image, j)] = fit.held_out[(at, j)] - fit.mean[j];
        }
    }
    regressed
}

/// The mean over the data sets with known alignments of the mean over their images.
fn mean_by_source(images: &DistinctImages<'_>, rows: &DMatrix<f64>) -> DVector<f64> {
    let mut by_source: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, examples) in images.examples.iter().enumerate() {
        if examples.iter().any(|e| e.alignment.is_some()) {
            by_source.entry(&images.first[i].source).or_default().push(i);
        }
    }
    let all: Vec<usize> = (0..rows.nrows()).collect();
    let sets: Vec<&Vec<usize>> = if by_source.is_empty() { vec![&all] } else { by_source.values().collect() };
    let sum: DVector<f64> = sets.iter().map(|set| rows.select_rows(set.iter()).row_mean().transpose()).sum();
    sum / sets.len() as f64
}

/// The matrix that evens out the variances of texts. It is symmetric.
fn spread(vectors: &[&[f32]]) -> DMatrix<f64> {
    let rows = DMatrix::from_fn(vectors.len(), CONTENT, |i, j| f64::from(vectors[i][j]));
    Covariance::of(&rows).power(FLOOR, -WHITENING)
}

/// The covariance of vectors, divided by its largest variance.
struct Covariance(SymmetricEigen<f64, nalgebra::Dyn>);

impl Covariance {
    /// That of the rows.
    fn of(rows: &DMatrix<f64>) -> Self {
        let mean = rows.row_mean();
        let centred = DMatrix::from_fn(rows.nrows(), rows.ncols(), |i, j| rows[(i, j)] - mean[j]);
        let mut eigen = SymmetricEigen::new(centred.tr_mul(&centred));
        eigen.eigenvalues /= eigen.eigenvalues.max().max(f64::MIN_POSITIVE);
        Self(eigen)
    }

    /// `(covariance + floor)^exponent`.
    fn power(&self, floor: f64, exponent: f64) -> DMatrix<f64> {
        let SymmetricEigen { eigenvalues, eigenvectors } = &self.0;
        let scales = eigenvalues.map(|v| (v.max(0.0) + floor).powf(exponent));
        eigenvectors * DMatrix::from_diagonal(&scales) * eigenvectors.transpose()
    }
}

fn mean(vectors: &[&[f32]]) -> DVector<f64> {
    vectors.iter().map(|v| column(v)).sum::<DVector<f64>>() / vectors.len().max(1) as f64
}

fn column(vector: &[f32]) -> DVector<f64> {
    DVector::from_iterator(vector.len(), vector.iter().map(|v| f64::from(*v)))
}

/// The vector divided by its length; the vector 0 stays as it is.
fn unit(vector: DVector<f64>) -> DVector<f64> {
    let length = vector.norm();
    if length > 0.0 { vector / length } else { vector }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::answers::Kernels;
    use super::*;
    use crate::words::TokenTable;

    /// Three words in different directions; the network has one class for each of the first two.
    fn words() -> Meanings {
        let vector =
            |seed: usize| -> Vec<f32> { (0..CONTENT).map(|i| ((i * 7 + seed * 41) as f32 * 0.9).sin()).collect() };
        let vectors = [vec![0.0; CONTENT], vector(1), vector(2), vector(3)].concat();
        let table = TokenTable::of_words(&["?", "dog", "cat", "night"], CONTENT, vectors);
        let classes = ["dog", "cat"].map(|word| table.embed(word).unwrap()).into();
        Meanings { table, classes, plain_tags: Vec::new() }
    }

    /// Images of dogs, of cats and of the night; each group has two. The measurements tell the three apart.
    fn examples() -> Vec<Example> {
        let example = |i: usize| Example {
            path: PathBuf::new(),
            tag: ["dog", "cat", "night"][i % 3].to_owned(),
            score: 1.0,
            alignment: Some(1.0),
            part: None,
            group: (i / 6).to_string(),
            source: "photos".to_owned(),
            condition: None,
            content_id: i.to_string(),
        };
        (0..60).map(example).collect()
    }

    fn fitted(logit: f64) -> (FittedContent, [DVector<f64>; 3]) {
        let (words, examples) = (words(), examples());
        let images = DistinctImages::of(examples.iter());
        let space = TextSpace::of(&words, &images).unwrap();
        let noise = |i: usize, j: usize| ((i * 31 + j * 17) as f64 * 0.7).sin() * 0.2;
        let block = DMatrix::from_fn(60, 3, |i, j| if i % 3 == j { 2.0 } else { 0.0 } + noise(i, j));
        let logits = DMatrix::from_fn(60, 2, |i, k| if i % 3 == k { logit } else { 0.0 });
        let rows: Vec<usize> = (0..60).collect();
        let Kernels { ridge, all } =
            Kernels::of(&images, &rows, std::slice::from_ref(&block), std::slice::from_ref(&block), (&[1.0], 4.0));
        let content = fit_content(&space, &images, (&ridge, &rows), &all, &logits).unwrap();
        let texts = ["dog", "cat", "night"].map(|word| {
            let text = space.relative(&words.table.embed(word).unwrap());
            unit(content.axes[1].tr_mul(&text))
        });
        (content, texts)
    }

    #[test]
    fn images_are_nearest_to_their_own_text() {
        // With the classes, and by the regression alone: logits of zero say nothing.
        for logit in [6.0, 0.0] {
            let (content, texts) = fitted(logit);
            for image in 0..60 {
                let vector = content.held_out.row(image).transpose();
                let near: Vec<f64> = texts.iter().map(|text| text.dot(&vector)).collect();
                let own = image % 3;
                assert!((0..3).all(|other| other == own || near[own] > near[other] + 0.1), "{logit} {image}: {near:?}");
            }
        }
    }

    #[test]
    fn balance_keeps_the_products_and_evens_out_the_variances() {
        // Contents whose first direction varies ten times as much as the second.
        let contents = DMatrix::from_fn(400, 3, |i, j| match j {
            0 => (i as f64 * 0.71).sin(),
            1 => (i as f64 * 1.37).sin() * 0.1,
            _ => 1.0,
        });
        let [of_images, of_texts] = balance(&contents);
        let texts = DMatrix::<f64>::identity(3, 3);
        let products = (&contents * &of_images) * (&texts * &of_texts).transpose();
        assert!((products - &contents).abs().max() < 1e-9);

        let deviation = |contents: &DMatrix<f64>, text: DVector<f64>| {
            let cosines = contents.row_iter().map(|row| unit(row.transpose()).dot(&unit(text.clone())));
            DVector::from_iterator(contents.nrows(), cosines).variance().sqrt()
        };
        let ratio = |contents: &DMatrix<f64>, texts: &DMatrix<f64>| {
            deviation(contents, texts.row(0).transpose()) / deviation(contents, texts.row(1).transpose())
        };
        let (before, after) = (ratio(&contents, &texts), ratio(&(&contents * of_images), &(&texts * of_texts)));
        assert!(before > 8.0 && after < 0.5 * before, "{before} {after}");
    }

    #[test]
    fn the_match_axes_lead_back_to_the_space_of_the_fit() {
        let words = words();
        let space = TextSpace::of(&words, &DistinctImages::of(examples().iter())).unwrap();
        let axes = [0.3, 0.7].map(|turn| {
            DMatrix::from_fn(
                CONTENT,
                CONTENT,
                |i, j| if i == j { 1.5 } else { 0.1 * ((i * 3 + j) as f64 * turn).sin() },
            )
        });
        let fit = space.text_fit(&axes).unwrap();
        for (axes, back) in axes.iter().zip(&fit.match_axes) {
            let back = DMatrix::from_row_iterator(CONTENT, CONTENT, back.iter().map(|v| f64::from(*v)));
            assert!((axes * back - DMatrix::identity(CONTENT, CONTENT)).abs().max() < 1e-5);
        }
        assert!(space.text_fit(&[axes[0].clone(), DMatrix::zeros(CONTENT, CONTENT)]).is_err());
    }

    #[test]
    fn without_a_known_alignment_there_is_no_regression() {
        let words = words();
        let examples: Vec<Example> = examples().into_iter().map(|e| Example { alignment: None, ..e }).collect();
        let images = DistinctImages::of(examples.iter());
        let space = TextSpace::of(&words, &images).unwrap();
        let rows: Vec<usize> = (0..60).collect();
        let block = [DMatrix::from_fn(60, 2, |i, j| ((i * 3 + j) as f64).sin())];
        let Kernels { ridge, all } = Kernels::of(&images, &rows, &block, &block, (&[1.0], 4.0));
        let logits = DMatrix::from_fn(60, 2, |i, k| if i % 2 == k { 4.0 } else { 0.0 });
        let content = fit_content(&space, &images, (&ridge, &rows), &all, &logits).unwrap();
        assert!(content.fit.weights.iter().all(|w| *w == 0.0));
        assert!(
            content.held_out.iter().all(|v| v.is_finite())
                && (content.held_out.row(0).norm() - f64::from(CLASSES)).abs() < 1e-6
        );
    }
}
