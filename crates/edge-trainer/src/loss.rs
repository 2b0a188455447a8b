//! Loss functions. Each states its formula and source, and is tested against a plain loop.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// Returns the ranking loss, `-1/|P| * sum over (better, worse) in P of log sigmoid(f(better) - f(worse))`, where P is
/// `pairs` and f gives the `scores`; `None` without pairs.
///
/// It is the ranking term of Sugiura and Yamauchi, "A proposal of an image quality model that uses text tags"; the
/// pairwise probability is that of RankNet (Burges et al., "Learning to rank using gradient descent", ICML 2005).
pub fn ranking<B: Backend>(scores: Tensor<B, 1>, pairs: &[(usize, usize)]) -> Option<Tensor<B, 1>> {
    if pairs.is_empty() {
        return None;
    }
    let device = scores.device();
    let pick = |index: fn(&(usize, usize)) -> usize| {
        let ids: Vec<i64> = pairs.iter().map(|p| index(p) as i64).collect();
        scores.clone().select(0, Tensor::<B, 1, Int>::from_data(ids.as_slice(), &device))
    };
    let margin = pick(|p| p.0) - pick(|p| p.1);
    Some(log_sigmoid(margin).mean().neg())
}

/// Returns the mean squared error, `1/D * sum of (f(x) - s)^2`, over the D `scores` f(x) and true scores s. It is the
/// second term of the loss of Sugiura and Yamauchi, "A proposal of an image quality model that uses text tags".
pub fn squared_error<B: Backend>(scores: Tensor<B, 1>, truth: Tensor<B, 1>) -> Tensor<B, 1> {
    (scores - truth).square().mean()
}

/// Returns the cosine similarity of corresponding rows, as the scorer computes it: `image [N, D]`, `text [N, E]` -> `[N]`. It compares
/// the text with the first E numbers of the image.
pub fn cosine<B: Backend>(image: Tensor<B, 2>, text: Tensor<B, 2>) -> Tensor<B, 1> {
    let n = image.dims()[0];
    (unit(compared(image, &text)) * unit(text)).sum_dim(1).reshape([n])
}

/// The part of the image embeddings that text embeddings are compared with.
fn compared<B: Backend>(image: Tensor<B, 2>, text: &Tensor<B, 2>) -> Tensor<B, 2> {
    image.narrow(1, 0, text.dims()[1])
}

/// Scales each row to length 1.
fn unit<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let length = (x.clone().square().sum_dim(1) + 1e-12).sqrt();
    x / length
}

/// Returns the contrastive loss, `-1/N * sum over i of log softmax over k of (cos(image_i, text_k) / temperature) at k
/// = tag of i`.
///
/// It is InfoNCE (van den Oord, Li, Vinyals, "Representation learning with contrastive predictive coding", 2018) over
/// the K distinct tags of a batch. `image` is `[N, D]`, `text` is `[K, E]`, and `tag_of` holds N indices below K.
pub fn contrast<B: Backend>(
    image: Tensor<B, 2>,
    text: Tensor<B, 2>,
    tag_of: Tensor<B, 1, Int>,
    temperature: f32,
) -> Tensor<B, 1> {
    let logits = unit(compared(image, &text)).matmul(unit(text).transpose()) / temperature;
    let n = logits.dims()[0];
    log_softmax(logits, 1).gather(1, tag_of.reshape([n, 1])).mean().neg()
}

/// Returns the mean cross-entropy of `logits [N, K]`, where `right[n]` is the right choice for row n.
pub fn choice<B: Backend>(logits: Tensor<B, 2>, right: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let n = logits.dims()[0];
    log_softmax(logits, 1).gather(1, right.reshape([n, 1])).mean().neg()
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};

    use super::*;

    type B = Flex;

    fn close(a: f32, b: f64) {
        assert!((f64::from(a) - b).abs() < 1e-5 * b.abs().max(1.0), "{a} against {b}");
    }

    fn vector(values: &[f32]) -> Tensor<B, 1> {
        Tensor::from_data(values, &Default::default())
    }

    #[test]
    fn ranking_is_the_mean_of_log_one_plus_exp() {
        let scores = [1.0f32, 3.0, -2.0, 0.5];
        let pairs = [(0, 1), (1, 2), (3, 2), (0, 3)];
        let expected: f64 =
            pairs.iter().map(|&(a, b)| (1.0 + f64::from(scores[b] - scores[a]).exp()).ln()).sum::<f64>()
                / pairs.len() as f64;
        close(ranking(vector(&scores), &pairs).unwrap().into_scalar(), expected);
        assert!(ranking(vector(&scores), &[]).is_none());
    }

    #[test]
    fn ranking_stays_finite_where_the_model_is_utterly_wrong() {
        let loss = ranking(vector(&[-500.0, 500.0]), &[(0, 1)]).unwrap().into_scalar();
        close(loss, 1000.0);
    }

    #[test]
    fn the_gradient_of_ranking_is_minus_sigmoid_of_the_inverted_margin() {
        let scores = Tensor::<Autodiff<Flex>, 1>::from_data([0.3f32, 1.1], &Default::default()).require_grad();
        let gradients = ranking(scores.clone(), &[(0, 1)]).unwrap().backward();
        let gradient = scores.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();
        let expected = 1.0 / (1.0 + (0.3f64 - 1.1).exp());
        close(gradient[0], -expected);
        close(gradient[1], expected);
    }

    #[test]
    fn choice_is_the_mean_of_minus_the_logarithm_of_the_right_share() {
        let logits = [[1.0f32, 3.0, -2.0], [0.5, 0.5, 4.0]];
        let share =
            |row: &[f32; 3], k: usize| f64::from(row[k]).exp() / row.iter().map(|v| f64::from(*v).exp()).sum::<f64>();
        let expected = -(share(&logits[0], 1).ln() + share(&logits[1], 0).ln()) / 2.0;
        let device = Default::default();
        let found = choice::<B>(Tensor::from_data(logits, &device), Tensor::from_data([1i64, 0], &device));
        close(found.into_scalar(), expected);
    }

    #[test]
    fn squared_error_is_the_mean_of_squares() {
        close(squared_error(vector(&[1.0, 2.0, 4.0]), vector(&[1.0, 0.0, 1.0])).into_scalar(), 13.0 / 3.0);
    }

    #[test]
    fn contrast_and_cosine_equal_plain_loops() {
        let image = [[1.0f32, 2.0], [0.5, -1.0], [3.0, 0.1]];
        let text = [[0.2f32, 1.0], [1.0, 0.0]];
        let tag_of = [0i64, 1, 1];
        let cos = |a: &[f32; 2], b: &[f32; 2]| {
            let dot = |x: &[f32; 2], y: &[f32; 2]| f64::from(x[0] * y[0] + x[1] * y[1]);
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let mut expected = 0.0;
        for (i, &k) in image.iter().zip(&tag_of) {
            let sum: f64 = text.iter().map(|t| (cos(i, t) / 0.1).exp()).sum();
            expected -= ((cos(i, &text[k as usize]) / 0.1).exp() / sum).ln() / 3.0;
        }
        let device = Default::default();
        let images = Tensor::<B, 2>::from_data(image, &device);
        let texts = Tensor::<B, 2>::from_data(text, &device);
        let loss = contrast(images.clone(), texts.clone(), Tensor::from_data(tag_of, &device), 0.1);
        close(loss.into_scalar(), expected);
        let similarity = cosine(images.narrow(0, 0, 2), texts).into_data().to_vec::<f32>().unwrap();
        close(similarity[0], cos(&image[0], &text[0]));
        close(similarity[1], cos(&image[1], &text[1]));
    }
}
