//! Compares the mean scores of conditions, by people and by the model. A condition describes how images were made, such
//! as a generator and its setting.
//!
//! Sugiura and Yamauchi show that the scores of generated images follow the guidance scale of the generator. This
//! module compares the order of the model's means with the order of people's means for the same images.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataset::Example;
use crate::metrics::{Estimate, Judged, Replicate, Resampling, mean, numbered, spearman};

/// Mean scores of one condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConditionRow {
    /// Name of the condition, such as a generator with its settings.
    pub name: String,
    /// Number of judged images of the condition.
    pub n: usize,
    /// Mean score given by people.
    pub human: Estimate,
    /// Mean score of the model.
    pub model: Estimate,
    /// Rank of the mean by people; 1 is the best.
    pub human_place: usize,
    /// Rank of the mean by the model; 1 is the best.
    pub model_place: usize,
}

/// A ladder: conditions whose names differ only after the last `_`, such as the settings of one generator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ladder {
    /// The common beginning of the condition names, such as the generator.
    pub prefix: String,
    /// Conditions in the order of the means by people, the best first.
    pub human: Vec<String>,
    /// Conditions in the order of the means by the model, the best first.
    pub model: Vec<String>,
    /// Whether people and the model order all conditions of the ladder equally.
    pub same_order: bool,
    /// Share of the replicates in which people and the model order all conditions of the ladder equally.
    pub probability: f64,
    /// One comparison for every two conditions of the ladder.
    pub steps: Vec<LadderStep>,
}

/// Comparison of two conditions of a ladder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LadderStep {
    /// The condition with the higher mean by people.
    pub better: String,
    /// The condition with the lower mean by people.
    pub worse: String,
    /// Mean of `better` minus mean of `worse`, by people.
    pub human: Estimate,
    /// Mean of `better` minus mean of `worse`, by the model; negative if the model prefers `worse`.
    pub model: Estimate,
    /// Share of the replicates in which people and the model agree on the order.
    pub probability: f64,
}

/// Mean scores of all conditions, and the orders of these means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConditionMeans {
    /// The conditions in the order of the means by people, the best first.
    pub rows: Vec<ConditionRow>,
    /// Spearman's correlation of the means by people and by the model, over the conditions.
    pub srcc: Estimate,
    /// One ladder for each generator with several settings.
    pub ladders: Vec<Ladder>,
    /// Index into `rows` for every judged image.
    #[serde(skip)]
    pub of_image: Vec<usize>,
}

/// Returns the condition of an example, or its split unit if it has no condition.
fn condition(example: &Example) -> &str {
    example.condition.as_deref().unwrap_or(&example.group)
}

impl ConditionMeans {
    /// Compares the conditions of judged examples. `resampling` draws replicates of the same examples.
    pub fn of(examples: &[Example], judged: &[Judged], resampling: &Resampling) -> Self {
        let (names, condition_of) = numbered(examples.iter().map(condition));
        let all = Replicate { rows: (0..judged.len()).collect(), tags: vec![] };
        let (human, model) = means(&all, &condition_of, judged, names.len());
        let figures = |replicate: &Replicate| {
            let (human, model) = means(replicate, &condition_of, judged, names.len());
            let srcc = spearman_of_defined(&human, &model);
            [human, model, vec![srcc]].concat()
        };
        let count = names.len();
        let mut drawn = resampling.distributions(figures);
        drawn.resize(2 * count + 1, Vec::new());
        let (human, model) =
            (Means { whole: human, drawn: &drawn[..count] }, Means { whole: model, drawn: &drawn[count..] });
        let (human_place, model_place) = (places(&human.whole), places(&model.whole));
        let mut rows: Vec<ConditionRow> = (0..count)
            .map(|i| ConditionRow {
                name: names[i].to_owned(),
                n: condition_of.iter().filter(|&&c| c == i).count(),
                human: human.estimate(i),
                model: model.estimate(i),
                human_place: human_place[i],
                model_place: model_place[i],
            })
            .collect();
        rows.sort_by_key(|row| row.human_place);
        let ladder = |(prefix, members)| ladder(prefix, members, &names, &human, &model);
        Self {
            srcc: Estimate::new(spearman_of_defined(&human.whole, &model.whole), &drawn[2 * count]),
            ladders: prefixes(&names).into_iter().map(ladder).collect(),
            of_image: condition_of.iter().map(|&c| human_place[c] - 1).collect(),
            rows,
        }
    }
}

/// Mean scores of all conditions, given either by people or by the model.
struct Means<'a> {
    /// Mean score over all images, for each condition.
    whole: Vec<f64>,
    /// Mean score over the images of each bootstrap replicate, for each condition.
    drawn: &'a [Vec<f64>],
}

impl Means<'_> {
    fn estimate(&self, condition: usize) -> Estimate {
        Estimate::new(self.whole[condition], &self.drawn[condition])
    }

    /// Returns the mean of condition `a` minus the mean of condition `b` in each replicate.
    fn drawn_difference(&self, a: usize, b: usize) -> Vec<f64> {
        self.drawn[a].iter().zip(&self.drawn[b]).map(|(a, b)| a - b).collect()
    }

    fn difference(&self, a: usize, b: usize) -> Estimate {
        Estimate::new(self.whole[a] - self.whole[b], &self.drawn_difference(a, b))
    }

    /// Returns the means of the conditions `members` in one replicate; `None` if one of them has no image in the
    /// replicate.
    fn of_replicate(&self, number: usize, members: &[usize]) -> Option<Vec<f64>> {
        let means: Vec<f64> = members.iter().map(|&m| self.drawn[m][number]).collect();
        means.iter().all(|m| m.is_finite()).then_some(means)
    }
}

/// Returns the mean score of each condition by people and by the model; `NaN` for a condition without images in the
/// replicate.
fn means(replicate: &Replicate, condition_of: &[usize], judged: &[Judged], count: usize) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![(0.0, 0.0, 0.0); count];
    for &row in &replicate.rows {
        let (n, human, model) = &mut sums[condition_of[row]];
        *n += 1.0;
        *human += judged[row].truth;
        *model += judged[row].prediction;
    }
    sums.into_iter().map(|(n, human, model)| (human / n, model / n)).unzip()
}

/// Returns the prefixes that several names share, each with the indices of the names. A name's prefix ends before its
/// last `_`.
fn prefixes(names: &[&str]) -> Vec<(String, Vec<usize>)> {
    let mut by_prefix: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, name) in names.iter().enumerate() {
        if let Some((prefix, _)) = name.rsplit_once('_') {
            by_prefix.entry(prefix).or_default().push(i);
        }
    }
    by_prefix.into_iter().filter(|(_, m)| m.len() > 1).map(|(prefix, m)| (prefix.to_owned(), m)).collect()
}

/// Returns the indices `members` in descending order of their values.
fn descending(members: &[usize], values: &[f64]) -> Vec<usize> {
    let mut order = members.to_vec();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

/// Compares the conditions with a common prefix.
fn ladder(prefix: String, members: Vec<usize>, names: &[&str], human: &Means<'_>, model: &Means<'_>) -> Ladder {
    let named = |order: &[usize]| order.iter().map(|&i| names[i].to_owned()).collect::<Vec<_>>();
    let (by_human, by_model) = (descending(&members, &human.whole), descending(&members, &model.whole));
    let positions: Vec<usize> = (0..members.len()).collect();
    let replicates = 0..human.drawn[members[0]].len();
    let same = replicates.filter_map(|number| {
        let (human, model) = (human.of_replicate(number, &members)?, model.of_replicate(number, &members)?);
        Some(f64::from(u8::from(descending(&positions, &human) == descending(&positions, &model))))
    });
    let probability = mean(&same.collect::<Vec<_>>());
    let mut steps = Vec::new();
    for (i, &better) in by_human.iter().enumerate() {
        for &worse in &by_human[i + 1..] {
            let pairs = human.drawn_difference(better, worse).into_iter().zip(model.drawn_difference(better, worse));
            let agree = pairs.filter(|(h, _)| h.is_finite()).map(|(h, m)| f64::from(u8::from(h * m > 0.0)));
            steps.push(LadderStep {
                better: names[better].to_owned(),
                worse: names[worse].to_owned(),
                human: human.difference(better, worse),
                model: model.difference(better, worse),
                probability: mean(&agree.collect::<Vec<_>>()),
            });
        }
    }
    let same_order = by_human == by_model;
    Ladder { prefix, human: named(&by_human), model: named(&by_model), same_order, probability, steps }
}

/// Returns the rank of each value, from 1 for the highest.
fn places(values: &[f64]) -> Vec<usize> {
    let mut places = vec![0; values.len()];
    let order = descending(&(0..values.len()).collect::<Vec<_>>(), values);
    order.into_iter().enumerate().for_each(|(place, i)| places[i] = place + 1);
    places
}

/// Returns Spearman's correlation of `a` and `b` over the positions where `a` is finite.
fn spearman_of_defined(a: &[f64], b: &[f64]) -> f64 {
    let (a, b): (Vec<f64>, Vec<f64>) = a.iter().zip(b).filter(|(a, _)| a.is_finite()).unzip();
    spearman(&a, &b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(condition: Option<&str>, group: &str) -> Example {
        Example {
            path: "x".into(),
            tag: group.to_owned(),
            score: 0.0,
            alignment: None,
            part: None,
            group: group.to_owned(),
            source: String::new(),
            condition: condition.map(str::to_owned),
            content_id: String::new(),
        }
    }

    #[test]
    fn the_orders_of_one_generators_settings_are_compared() {
        // Two prompts under three settings of one generator and one of another; the model swaps low and high.
        let scores = [("g_low", 1.0, 2.0), ("g_mid", 3.0, 4.0), ("g_high", 2.0, 1.0), ("other", 5.0, 6.0)];
        let mut examples = Vec::new();
        let mut judged = Vec::new();
        for (prompt, lift) in [("a", 0.0), ("b", 0.5)] {
            for (condition, truth, prediction) in scores {
                examples.push(example(Some(condition), prompt));
                let (truth, prediction) = (truth + lift, prediction + lift);
                judged.push(Judged { tag: prompt.to_owned(), truth, prediction });
            }
        }
        let tags: Vec<&str> = examples.iter().map(|e| e.tag.as_str()).collect();
        let groups = ConditionMeans::of(&examples, &judged, &Resampling::new(&tags, &tags, 50, 1));
        let rows: Vec<_> = groups.rows.iter().map(|r| (r.name.as_str(), r.n, r.human.value, r.model_place)).collect();
        assert_eq!(rows, [("other", 2, 5.25, 1), ("g_mid", 2, 3.25, 2), ("g_high", 2, 2.25, 4), ("g_low", 2, 1.25, 3)]);
        assert_eq!((groups.rows[0].human.low, groups.rows[0].human.high), (5.0, 5.5));
        assert!((groups.srcc.value - 0.8).abs() < 1e-12);
        assert_eq!(groups.of_image, [3, 1, 2, 0, 3, 1, 2, 0]);
        let ladder = &groups.ladders[0];
        assert_eq!((ladder.prefix.as_str(), groups.ladders.len()), ("g", 1));
        assert_eq!((ladder.human[1].as_str(), ladder.model[1].as_str()), ("g_high", "g_low"));
        assert_eq!((ladder.same_order, ladder.probability), (false, 0.0));
        let steps: Vec<_> =
            ladder.steps.iter().map(|s| (s.better.as_str(), s.human.value, s.model.value, s.probability)).collect();
        assert_eq!(steps, [("g_mid", 1.0, 3.0, 1.0), ("g_mid", 2.0, 2.0, 1.0), ("g_high", 1.0, -1.0, 0.0)]);
    }

    #[test]
    fn without_conditions_the_groups_are_compared() {
        let examples = [example(None, "a"), example(None, "b")];
        let judged = [1.0, 2.0].map(|v| Judged { tag: "t".to_owned(), truth: v, prediction: v });
        let groups = ConditionMeans::of(&examples, &judged, &Resampling::of_rows(2, 20, 1));
        assert_eq!((groups.rows[0].name.as_str(), groups.rows[1].name.as_str()), ("b", "a"));
    }
}
