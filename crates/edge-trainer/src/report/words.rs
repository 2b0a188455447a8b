//! Numbers and definitions in words.

use crate::evaluate::Bootstrap;
use crate::metrics::{Estimate, Measure, Rules};

/// Three decimals; a dash where nothing is defined.
pub fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "-".to_owned() }
}

/// The same with its sign.
pub fn signed(value: f64) -> String {
    if value.is_finite() { format!("{value:+.3}") } else { "-".to_owned() }
}

/// An interval's ends.
pub fn interval(estimate: &Estimate) -> String {
    if estimate.low.is_finite() { format!("{:.3} to {:.3}", estimate.low, estimate.high) } else { "-".to_owned() }
}

/// A figure with its interval.
pub fn estimate(estimate: &Estimate) -> String {
    format!("{} ({})", number(estimate.value), interval(estimate))
}

/// A number of things.
pub fn plural(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A clause as a sentence.
pub fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// What each measure and its interval mean.
pub fn definitions(rules: &Rules, bootstrap: &Bootstrap) -> Vec<(String, String)> {
    let mut terms: Vec<(String, String)> =
        Measure::ALL.into_iter().map(|m| (m.label().to_owned(), m.definition(rules))).collect();
    let Bootstrap { replicates, seed, level } = bootstrap;
    terms.push((
        format!("{:.0} %", 100.0 * level),
        format!(
            "percentile bootstrap interval of {replicates} replicates, seed {seed}. Groups are drawn with replacement \
             (a group is what the data are never parted within: the tag, unless the data say otherwise), each with all \
             of its images (Davison and Hinkley, Bootstrap methods and their application, 1997, section 3.8); where \
             there is a single group, its images are drawn. Differences are taken on the same replicates. Distances \
             cannot be negative, so noise lifts the intervals of KL, EMD and Wasserstein"
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
