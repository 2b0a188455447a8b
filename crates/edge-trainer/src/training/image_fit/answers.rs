//! Fits the answers of the small image encoder: ridge regressions that predict the score of an image. There is one
//! answer for each question.

use std::collections::HashMap;

use nalgebra::{DMatrix, DVector};

use super::images::DistinctImages;
use super::questions::{About, CORRECTION, Question, reads_common};
use crate::dataset::Example;
use crate::features::UnseenRow;
use crate::gradient_free::{KernelFit, KernelRidge, gram};
use crate::metrics::{numbered, spearman};
use crate::training::error::LearnError;

/// Most images that the ridge regression is fitted to. For further images it only predicts.
const FITTED: usize = 12_000;
/// Share of the correction that is added to the answer for the first data set. People rated that data set; the whole correction would cost its
/// order (docs/small-model.md, "Tilted photographs").
const CORRECTED: f64 = 0.4;
/// Candidate ridge parameters; the one with the smallest held-out error is used.
const RIDGES: [f64; 6] = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

/// The fitted answers of Q questions, for N images and M kernel centres.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// For each question, the weights of the M centres, divided by the standard deviation of the held-out answers. The
    /// mean score is not added to the answers.
    weights: Vec<DVector<f64>>,
    /// The same for the kernel of the rated answer. The sum of both is the answer.
    rated_weights: Vec<DVector<f64>>,
    /// For each question, the answers for the N images, on the scale of the answers by `weights`. If `weights` was
    /// fitted to an image, the answer for that image comes from a second fit, which left out the image's group.
    held_out: Vec<DVector<f64>>,
    /// For each question: the number that its answers were divided by.
    spreads: Vec<f64>,
    /// For each question: its name, the ridge parameter, and the share of the scores' variance that held-out answers
    /// explain.
    figures: Vec<(String, f64, f64)>,
    /// For each tag with an answer of its own: the index of its question.
    pub(super) of_tag: HashMap<String, usize>,
    /// For each kind of images, the accuracy of the answers to the first question, by fits with and without this kind.
    pub(super) unseen: Vec<UnseenRow>,
}

impl Answers {
    /// Returns the weight of each of the M centres for each question, `[M, Q]`.
    pub(super) fn weights(&self) -> DMatrix<f64> {
        DMatrix::from_columns(&self.weights)
    }

    /// The same for the kernel of the rated answer.
    pub(super) fn rated_weights(&self) -> DMatrix<f64> {
        DMatrix::from_columns(&self.rated_weights)
    }

    /// Returns the answers for one image, in the order of the questions.
    pub(super) fn of_image(&self, image: usize) -> Vec<f32> {
        self.held_out.iter().map(|answers| answers[image] as f32).collect()
    }

    /// Summarises the fit in one sentence.
    pub(super) fn summary(&self, centres: usize) -> String {
        let ridge = self.figures.first().map_or(0.0, |(_, ridge, _)| *ridge);
        let share = |(name, _, explained): &(String, f64, f64)| format!("{name} {:.1} %", 100.0 * explained);
        let shares: Vec<String> = self.figures.iter().map(share).collect();
        format!(
            "image encoder: {centres} centres, ridge {ridge}. Share of the score variance explained in held-out \
             groups: {}",
            shares.join(", ")
        )
    }

    /// Adds the share [`CORRECTED`] of the correction to the first answer.
    fn correct(&mut self, correction: usize) {
        let share = CORRECTED * self.spreads[correction] / self.spreads[0];
        for answers in [&mut self.weights, &mut self.rated_weights, &mut self.held_out] {
            let added = &answers[correction] * share;
            answers[0] += added;
        }
    }

    /// Adds a question's answers, divided by the standard deviation of its held-out answers. The images `rows`, to
    /// which the regression was fitted, get held-out answers. The answers for other images are computed from the kernel
    /// matrix `all [N, M]` of images and centres, which is that of the rated answer if `is_rated`.
    fn add(
        &mut self,
        (name, is_rated): (&str, bool),
        (fitted, column): (&KernelFit, usize),
        all: &DMatrix<f64>,
        rows: &[usize],
        (labelled, targets): (&[usize], &DMatrix<f64>),
    ) {
        let targets = targets.column(column);
        let of_labelled: Vec<f64> = labelled.iter().map(|&row| fitted.held_out[(row, column)]).collect();
        let error =
            of_labelled.iter().zip(targets.iter()).map(|(a, t)| (a - t).powi(2)).sum::<f64>() / labelled.len() as f64;
        let variance = deviation(targets.as_slice()).powi(2);
        self.figures.push((name.to_owned(), fitted.ridge, 1.0 - error / variance.max(1e-12)));
        let spread = deviation(&of_labelled).max(1e-6);
        let weights = fitted.weights.column(column) / spread;
        let mut answers = all * &weights;
        for (at, &image) in rows.iter().enumerate() {
            answers[image] = (fitted.held_out[(at, column)] - fitted.mean[column]) / spread;
        }
        let none = DVector::zeros(weights.len());
        let (own, other) = if is_rated { (none, weights) } else { (weights, none) };
        self.weights.push(own);
        self.rated_weights.push(other);
        self.held_out.push(answers);
        self.spreads.push(spread);
    }
}

/// The kernels that a regression is fitted with.
pub(super) struct Kernels {
    /// The regression on the kernel between the images `rows` and the centres.
    pub(super) ridge: KernelRidge,
    /// The kernel between all N images and the M centres, `[N, M]`.
    pub(super) all: DMatrix<f64>,
}

/// Returns the images that regressions are fitted to: the first [`FITTED`] of `order`.
pub(super) fn fitted_rows(order: &[usize]) -> &[usize] {
    &order[..order.len().min(FITTED)]
}

impl Kernels {
    /// Computes the kernels of some blocks, each with its share. `projected` holds the components of all images, one matrix for each
    /// block. Images of the same group are held out together.
    pub(super) fn of(
        images: &DistinctImages<'_>,
        rows: &[usize],
        projected: &[DMatrix<f64>],
        centres: &[DMatrix<f64>],
        (shares, length): (&[f64], f64),
    ) -> Self {
        let mut group_of: HashMap<&str, usize> = HashMap::new();
        let groups: Vec<usize> = rows
            .iter()
            .map(|&image| {
                let next = group_of.len();
                *group_of.entry(&images.first[image].group).or_insert(next)
            })
            .collect();
        let all = gram(projected, centres, shares, length);
        let ridge = KernelRidge::new(gram(centres, centres, shares, length), all.select_rows(rows), &groups);
        Self { ridge, all }
    }
}

/// Returns the answers to all questions. `fitted_rows` are the images of the regressions. `rated` has the kernels of the answer for the first
/// data set; if it is `None`, that answer has the kernels of the others.
///
/// # Errors
/// [`LearnError::NotFinite`] if a score or a measurement is not finite.
pub(super) fn fit_answers(
    images: &DistinctImages<'_>,
    fitted_rows: &[usize],
    kernels: Kernels,
    rated: Option<Kernels>,
    questions: &[Question],
) -> Result<Answers, LearnError> {
    let mut row_of = vec![None; kernels.all.nrows()];
    fitted_rows.iter().enumerate().for_each(|(row, &image)| row_of[image] = Some(row));
    let mut answers = Answers::default();
    let mut first = None;
    let mut of_question = HashMap::new();
    let is_corrected = questions.iter().any(|question| question.about == About::Correction);
    let known: Vec<(&Question, Vec<(usize, f64)>)> =
        questions.iter().map(|q| (q, q.among(&row_of))).filter(|(_, known)| !known.is_empty()).collect();
    let labelled_of = |known: &[(usize, f64)]| known.iter().map(|(row, _)| *row).collect::<Vec<_>>();
    // Questions about the same images are fitted together: the expensive part depends on the images alone. The correction needs the answer
    // before it, and has targets of its own.
    let is_correction = |question: &Question| question.about == About::Correction;
    let are_together = |a: &(&Question, Vec<(usize, f64)>), b: &(&Question, Vec<(usize, f64)>)| {
        !is_correction(a.0) && !is_correction(b.0) && labelled_of(&a.1) == labelled_of(&b.1)
    };
    for together in known.chunk_by(are_together) {
        let labelled = labelled_of(&together[0].1);
        let mut targets = DMatrix::from_fn(labelled.len(), together.len(), |i, q| together[q].1[i].1);
        if is_correction(together[0].0) {
            let rows: Vec<usize> = labelled.iter().map(|&row| fitted_rows[row]).collect();
            targets = corrections(images, &rows, targets.as_slice(), &answers);
        }
        // Choosing the ridge again for each tag would take most of the time. A tag has the ridge of its data set where data sets share an
        // answer: the first question's is then too large for it. Otherwise it has that of the first question.
        let chooses = is_corrected && together[0].0.about != About::Tag;
        let set = together[0].0.known.first().map(|(image, _)| images.first[*image].source.as_str());
        let of_set = answers.figures.iter().find(|(name, ..)| is_corrected && Some(name.as_str()) == set);
        let chosen = of_set.or(answers.figures.first()).filter(|_| !chooses).map(|(_, ridge, _)| [*ridge]);
        let ridges = chosen.as_ref().map_or(&RIDGES[..], |one| &one[..]);
        let is_first = together[0].0.about == About::DataSet && first.is_none();
        let own = rated.as_ref().filter(|_| is_first);
        let Kernels { ridge, all } = own.unwrap_or(&kernels);
        let fitted = ridge
            .fit(&labelled, &targets, ridges)
            .ok_or_else(|| LearnError::NotFinite { what: together[0].0.name.clone() })?;
        for (column, (question, _)) in together.iter().enumerate() {
            of_question.insert((question.about, question.name.clone()), answers.weights.len());
            let named = (question.name.as_str(), own.is_some());
            answers.add(named, (&fitted, column), all, fitted_rows, (&labelled, &targets));
        }
        if is_first {
            first = Some((labelled, targets, fitted));
        }
    }
    let of_all = of_question.get(&(About::Correction, CORRECTION.to_owned())).map(|&correction| {
        answers.correct(correction);
        0
    });
    if let Some((labelled, targets, fitted)) = first {
        let kinds: Vec<Option<&str>> = fitted_rows.iter().map(|&image| kind(images.first[image])).collect();
        answers.unseen = unseen(rated.unwrap_or(kernels).ridge, (&labelled, &targets), &fitted, &kinds);
    }
    for example in images.examples.iter().flatten() {
        let own = of_question.get(&(About::Tag, example.tag.clone()));
        // Tags that name contents share one answer, so that scores under them can be compared.
        let of_all = of_all.filter(|_| reads_common(example));
        let of_set = || of_question.get(&(About::DataSet, example.source.clone()));
        let answer = of_all.or_else(|| own.or_else(of_set).copied());
        answers.of_tag.entry(example.tag.clone()).or_insert(answer.unwrap_or_default());
    }
    Ok(answers)
}

/// Returns what has to be added to the first answer for images with these scores, `[N, 1]`. For images of the first data set this is nothing:
/// its own answer is the best that is known. The mean of each other data set is left out, because nobody compared the images of one with those
/// of another. `rows` are the images; `answers` holds the first answer.
fn corrections(images: &DistinctImages<'_>, rows: &[usize], scores: &[f64], answers: &Answers) -> DMatrix<f64> {
    let source = |image: usize| images.first[image].source.as_str();
    let first = images.first.first().map(|example| example.source.as_str());
    let mut missing: Vec<f64> = rows
        .iter()
        .zip(scores)
        .map(|(&image, score)| score - answers.held_out[0][image] * answers.spreads[0])
        .collect();
    let mut of_source: HashMap<&str, (f64, f64)> = HashMap::new();
    for (&image, missing) in rows.iter().zip(&missing) {
        let (sum, count) = of_source.entry(source(image)).or_default();
        (*sum, *count) = (*sum + missing, *count + 1.0);
    }
    for (&image, missing) in rows.iter().zip(&mut missing) {
        let (sum, count) = of_source[source(image)];
        *missing = if Some(source(image)) == first { 0.0 } else { *missing - sum / count };
    }
    DMatrix::from_vec(rows.len(), 1, missing)
}

/// The generator of an image: the part of its condition before the last `_`. The generator's setting stands after it.
fn kind(example: &Example) -> Option<&str> {
    let condition = example.condition.as_deref()?;
    Some(condition.rsplit_once('_').map_or(condition, |(by, _)| by))
}

/// Returns the accuracy of the answers to the first question for each kind of images, by the fit `fitted` and by a fit
/// without this kind. Codebook and components come from all images in both cases.
fn unseen(
    ridge: KernelRidge,
    (labelled, targets): (&[usize], &DMatrix<f64>),
    fitted: &KernelFit,
    kinds: &[Option<&str>],
) -> Vec<UnseenRow> {
    let (names, of_labelled) = numbered(labelled.iter().map(|&row| kinds[row].unwrap_or_default()));
    if names.len() < 2 || labelled.iter().any(|&row| kinds[row].is_none()) {
        return Vec::new();
    }
    // Images without a label form one more group, whose answers are not used.
    let mut group = vec![names.len(); kinds.len()];
    labelled.iter().zip(&of_labelled).for_each(|(&row, &kind)| group[row] = kind);
    let Some(without) = ridge.grouped(&group).fit(labelled, targets, &[fitted.ridge]) else { return Vec::new() };
    let row = |(number, name): (usize, &&str)| {
        let members: Vec<usize> = (0..labelled.len()).filter(|&at| of_labelled[at] == number).collect();
        let truth: Vec<f64> = members.iter().map(|&at| targets[(at, 0)]).collect();
        let answers = |held_out: &DMatrix<f64>| {
            spearman(&truth, &members.iter().map(|&at| held_out[(labelled[at], 0)]).collect::<Vec<_>>())
        };
        let (known, unseen) = (answers(&fitted.held_out), answers(&without.held_out));
        UnseenRow { name: (*name).to_owned(), n: members.len(), known, unseen }
    };
    names.iter().enumerate().map(row).collect()
}

/// The population standard deviation.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::questions::questions;
    use super::*;
    use crate::dataset::style::NEUTRAL_TAG;

    fn example(i: usize, source: &str, tag: &str, alignment: Option<f32>) -> Example {
        Example {
            path: PathBuf::new(),
            tag: tag.to_owned(),
            score: (i as f32).cos(),
            alignment,
            part: None,
            group: format!("{source} {}", i / 2),
            source: source.to_owned(),
            condition: None,
            content_id: i.to_string(),
        }
    }

    #[test]
    fn a_question_that_no_fitted_image_answers_is_left_out() {
        let examples: Vec<Example> = (0..12).map(|i| example(i, "", "", None)).collect();
        let images = DistinctImages::of(examples.iter());
        let rows = |k: usize| DMatrix::from_fn(12, k, |i, j| ((i * 5 + j * 3) as f64 * 0.7).sin());
        let blocks = [rows(2), rows(3), rows(4)];
        let kernels = Kernels::of(&images, &(0..12).collect::<Vec<_>>(), &blocks, &blocks, (&[0.4, 0.3, 0.3], 4.0));
        let question =
            |name: &str, known: Vec<(usize, f64)>| Question { name: name.to_owned(), about: About::DataSet, known };
        let known = (0..12).map(|i| (i, (i as f64).cos())).collect();
        let questions = [question("none", Vec::new()), question("all", known)];
        let order: Vec<usize> = (0..12).collect();
        let answers = fit_answers(&images, &order, kernels, None, &questions).unwrap();
        assert_eq!((answers.weights().ncols(), answers.of_image(3).len()), (1, 1));
        assert_eq!(answers.of_tag[""], 0);
        assert!(answers.summary(12).contains("all ") && answers.of_image(3)[0].is_finite());
    }

    #[test]
    fn tags_that_name_contents_share_an_answer_if_the_encoder_knows_contents() {
        let examples: Vec<Example> = (0..150)
            .map(|i| match i % 3 {
                0 => example(i, "rated", "a dog", Some(1.0)),
                1 => example(i, "styles", ["grain", NEUTRAL_TAG][i % 2], None),
                _ => example(i, "damaged", "dog", Some(1.0)),
            })
            .collect();
        let images = DistinctImages::of(examples.iter());
        let names = |knows_content| -> Vec<String> {
            questions(&images, knows_content).into_iter().map(|question| question.name).collect()
        };
        assert_eq!(names(true), ["rated", "styles", "damaged", CORRECTION, "grain"]);
        assert_eq!(names(false), ["rated", "styles", "damaged", "a dog", "dog", "grain", NEUTRAL_TAG]);

        let blocks = [DMatrix::from_fn(150, 3, |i, j| ((i * 5 + j * 3) as f64 * 0.7).sin())];
        let order: Vec<usize> = (0..150).collect();
        let fit = |knows_content: bool| {
            let kernels = |length| Kernels::of(&images, &order, &blocks, &blocks, (&[1.0], length));
            let rated = knows_content.then(|| kernels(2.0));
            fit_answers(&images, &order, kernels(4.0), rated, &questions(&images, knows_content)).unwrap()
        };
        let (knows, not) = (fit(true), fit(false));
        let tags = ["a dog", "dog", NEUTRAL_TAG, "grain"];
        assert_eq!(tags.map(|tag| knows.of_tag[tag]), [0, 0, 0, 4]);
        assert_eq!(tags.map(|tag| not.of_tag[tag]), [3, 4, 6, 5]);
        // The rated set alone has its own kernel; the correction has that of the others.
        let (own, others) = (knows.rated_weights(), knows.weights());
        assert!(own.column(0).norm() > 0.0 && (1..5).all(|question| own.column(question).norm() == 0.0));
        let share = CORRECTED * knows.spreads[3] / knows.spreads[0];
        assert!((others.column(0) - others.column(3) * share).norm() < 1e-9 * others.column(0).norm());
        assert!((0..5).all(|question| others.column(question).norm() > 0.0));
        // Its targets are what the first answer lacked before it was corrected.
        let before = Answers {
            held_out: vec![&knows.held_out[0] - &knows.held_out[3] * share],
            spreads: knows.spreads.clone(),
            ..Answers::default()
        };
        let all = questions(&images, true);
        let (rows, scores): (Vec<usize>, Vec<f64>) = all[3].known.iter().copied().unzip();
        let targets = corrections(&images, &rows, &scores, &before);
        let kernels = Kernels::of(&images, &order, &blocks, &blocks, (&[1.0], 4.0));
        let expected = kernels.ridge.fit(&rows, &targets, &RIDGES).unwrap().weights.column(0) / knows.spreads[3];
        assert!((others.column(3) - &expected).norm() < 1e-6 * expected.norm());
        assert!(not.rated_weights().norm() == 0.0);
    }

    #[test]
    fn a_correction_is_what_the_first_answer_lacks_elsewhere() {
        let examples: Vec<Example> = (0..4).map(|i| example(i, ["rated", "damaged"][i / 2], "", None)).collect();
        let images = DistinctImages::of(examples.iter());
        let answers = Answers {
            held_out: vec![DVector::from_vec(vec![1.0, 2.0, 0.5, 1.5])],
            spreads: vec![2.0],
            ..Answers::default()
        };
        // Scores of 4 and 3, where the answer is 1 and 3: 3 and 0, without their mean.
        let found = corrections(&images, &[0, 2, 3, 1], &[9.0, 4.0, 3.0, 7.0], &answers);
        assert_eq!(found.as_slice(), [0.0, 1.5, -1.5, 0.0]);
    }
}
