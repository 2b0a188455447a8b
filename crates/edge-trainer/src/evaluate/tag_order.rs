//! Measures whether the model ranks the tags of one image in the same order as people.

use std::collections::BTreeMap;

use crate::dataset::Example;
use crate::metrics::Judged;

/// Compares every two tags of the same image whose true scores differ by more than `tie_threshold`. Returns the share
/// of the comparisons in which the predictions have the same order as the true scores, and the number of comparisons.
/// Equal predictions count half. `judged` holds the prediction of each example.
pub fn tag_order(examples: &[Example], judged: &[Judged], tie_threshold: f64) -> (f64, usize) {
    let mut by_image: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
    for (example, judged) in examples.iter().zip(judged) {
        by_image.entry(&example.content_id).or_default().push(judged);
    }
    let (mut right, mut pairs) = (0.0, 0usize);
    for rows in by_image.values() {
        for (i, a) in rows.iter().enumerate() {
            for b in rows.iter().skip(i + 1).filter(|b| (a.truth - b.truth).abs() > tie_threshold) {
                let agreement = (a.truth - b.truth) * (a.prediction - b.prediction);
                right += if agreement > 0.0 { 1.0 } else { 0.5 * f64::from(u8::from(agreement == 0.0)) };
                pairs += 1;
            }
        }
    }
    (right / pairs as f64, pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_tags_of_one_image_are_counted() {
        let rows =
            [("a", 1.0, 1.0), ("a", 2.0, 3.0), ("a", 3.0, 2.0), ("b", 1.0, 5.0), ("b", 4.0, 5.0), ("c", 1.0, 0.0)];
        let example = |image: &str| Example {
            path: image.into(),
            tag: String::new(),
            score: 0.0,
            alignment: None,
            part: None,
            group: String::new(),
            source: String::new(),
            condition: None,
            content_id: image.to_owned(),
        };
        let examples: Vec<Example> = rows.iter().map(|r| example(r.0)).collect();
        let judged: Vec<Judged> =
            rows.iter().map(|&(_, truth, prediction)| Judged { tag: String::new(), truth, prediction }).collect();
        // Image a: two of three comparisons are right. Image b: equal predictions. Image c: no comparison.
        assert_eq!(tag_order(&examples, &judged, 0.1), (2.5 / 4.0, 4));
        assert_eq!(tag_order(&examples, &judged, 1.5).1, 2);
        assert!(tag_order(&examples[5..], &judged[5..], 0.1).0.is_nan());
    }
}
