//! Formats numbers and definitions as text.

use crate::evaluate::Bootstrap;
use crate::metrics::{Estimate, Measure, Rules};

/// Formats a figure with three decimals; a dash if it is undefined.
pub fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "-".to_owned() }
}

/// Formats a figure with three decimals and its sign; a dash if it is undefined.
pub fn signed(value: f64) -> String {
    if value.is_finite() { format!("{value:+.3}") } else { "-".to_owned() }
}

/// Formats the ends of an interval; a dash if it is undefined.
pub fn interval(estimate: &Estimate) -> String {
    if estimate.low.is_finite() { format!("{:.3} to {:.3}", estimate.low, estimate.high) } else { "-".to_owned() }
}

/// Formats a figure with its interval.
pub fn estimate(estimate: &Estimate) -> String {
    format!("{} ({})", number(estimate.value), interval(estimate))
}

/// Formats a number with its noun in singular or plural.
pub fn plural(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Turns a clause into a sentence: capitalises it and adds a full stop.
pub fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// Returns the definitions of the measures and of the intervals.
pub fn definitions(rules: &Rules, bootstrap: &Bootstrap) -> Vec<(String, String)> {
    let mut terms: Vec<(String, String)> =
        Measure::ALL.into_iter().map(|m| (m.label().to_owned(), m.definition(rules))).collect();
    let Bootstrap { replicates, seed, level } = bootstrap;
    terms.push((
        format!("{:.0} %", 100.0 * level),
        format!(
            "percentile bootstrap interval of {replicates} replicates, seed {seed}. Groups are drawn with replacement, \
             each with all of its images (Davison and Hinkley, Bootstrap methods and their application, 1997, section \
             3.8). A group is a set of images that the division never separates: the tag, unless the data name groups. \
             If there is only one group, its images are drawn. Differences use the same replicates. Distances cannot \
             be negative, so noise raises the intervals of KL, EMD and Wasserstein"
        ),
    ));
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_undefined_ones_are_dashes() {
        assert_eq!(
            (number(0.12345), number(f64::NAN), signed(0.5)),
            ("0.123".to_owned(), "-".to_owned(), "+0.500".to_owned())
        );
        let e = Estimate { value: 0.5, low: 0.25, high: 0.75 };
        assert_eq!(estimate(&e), "0.500 (0.250 to 0.750)");
        assert_eq!(
            (plural(1, "tag"), plural(0, "tag"), sentence("a b")),
            ("1 tag".to_owned(), "0 tags".to_owned(), "A b.".to_owned())
        );
    }
}
