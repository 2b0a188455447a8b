//! Forms ordered pairs of images within a tag.

/// A rated image, with the values that decide its order in a pair of images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rated<'a> {
    /// Text of the tag that the image was rated under.
    pub tag: &'a str,
    /// Mean score given by people.
    pub score: f32,
    /// Fit of the image to the tag; `None` if unknown.
    pub alignment: Option<f32>,
}

/// Returns the pairs (better, worse) of indices into `batch`, after Sugiura and Yamauchi. Within a tag, the image with
/// the higher score is better. If the scores differ by less than `tie_threshold`, the image that fits the tag better is
/// better. Such near ties are left out if the fit is unknown or equal.
pub fn ranked_pairs(batch: &[Rated<'_>], tie_threshold: f32) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (i, a) in batch.iter().enumerate() {
        for (j, b) in batch.iter().enumerate().skip(i + 1) {
            if a.tag == b.tag
                && let Some(first) = first_is_better(*a, *b, tie_threshold)
            {
                pairs.push(if first { (i, j) } else { (j, i) });
            }
        }
    }
    pairs
}

/// Returns the fit of each image of a batch to its tag. These are the stated values. If the whole batch has none, they
/// are the similarities of trained encoders, if available. The two are never mixed, because their scales differ.
pub fn fits(stated: Vec<Option<f32>>, similarity: Option<impl FnOnce() -> Vec<f32>>) -> Vec<Option<f32>> {
    match similarity {
        Some(similarity) if stated.iter().all(Option::is_none) => similarity().into_iter().map(Some).collect(),
        _ => stated,
    }
}

/// Returns whether `a` is better than `b`; `None` if the pair is undecided.
fn first_is_better(a: Rated<'_>, b: Rated<'_>, tie_threshold: f32) -> Option<bool> {
    let difference = a.score - b.score;
    if difference.abs() >= tie_threshold && difference != 0.0 {
        return Some(difference > 0.0);
    }
    let (fit_a, fit_b) = (a.alignment?, b.alignment?);
    (fit_a != fit_b).then_some(fit_a > fit_b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(tag: &str, score: f32, alignment: Option<f32>) -> Rated<'_> {
        Rated { tag, score, alignment }
    }

    #[test]
    fn higher_scores_come_first_and_only_within_a_tag() {
        let batch = [rated("a", 1.0, None), rated("b", 2.0, None), rated("a", 3.0, None), rated("b", 1.0, None)];
        assert_eq!(ranked_pairs(&batch, 0.1), [(2, 0), (1, 3)]);
    }

    #[test]
    fn the_similarity_stands_in_where_the_data_say_nothing() {
        let similar = || vec![0.2, 0.9];
        let near = |fits: Vec<Option<f32>>| ranked_pairs(&[rated("t", 1.05, fits[0]), rated("t", 1.0, fits[1])], 0.1);
        assert_eq!(near(fits(vec![None, None], Some(similar))), [(1, 0)]);
        assert_eq!(near(fits(vec![Some(0.9), Some(0.2)], Some(similar))), [(0, 1)]);
        assert_eq!(near(fits(vec![Some(0.9), None], Some(similar))), []);
        assert_eq!(near(fits(vec![None, None], None::<fn() -> Vec<f32>>)), []);
    }

    #[test]
    fn near_ties_go_by_alignment_or_are_left_out() {
        let near = |a, b| ranked_pairs(&[rated("t", 1.0, a), rated("t", 1.05, b)], 0.1);
        assert_eq!(near(Some(0.9), Some(0.2)), [(0, 1)]);
        assert_eq!(near(Some(0.1), Some(0.2)), [(1, 0)]);
        assert_eq!(near(Some(0.2), Some(0.2)), []);
        assert_eq!(near(Some(0.2), None), []);
    }

    #[test]
    fn a_difference_of_exactly_the_threshold_is_no_tie_and_equal_scores_always_are() {
        assert_eq!(ranked_pairs(&[rated("t", 1.0, None), rated("t", 1.5, None)], 0.5), [(1, 0)]);
        assert_eq!(ranked_pairs(&[rated("t", 1.0, None), rated("t", 1.0, None)], 0.0), []);
    }
}
