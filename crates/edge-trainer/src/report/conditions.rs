//! Builds a report's sections on conditions: mean scores by people and by the model, [`Ladder`]s and charts.

use super::chart::{self, Band};
use super::document::{Block, Grid, Section};
use super::words::{interval, number, plural, signed};
use crate::evaluate::{ConditionMeans, Evaluation, Ladder};
use crate::metrics::Judged;

/// Largest number of rows of a chart with one row per condition.
const CHART_ROWS: usize = 40;

/// Returns a section with the tables of the conditions and ladders, and a section with charts of the conditions.
pub(super) fn condition_sections(conditions: &ConditionMeans, evaluation: &Evaluation) -> Vec<Section> {
    let mut grid = Grid::new(&["condition", "n", "people", "95 %", "model", "95 % ", "rank by people", "by the model"]);
    for row in &conditions.rows {
        grid.rows.push(vec![
            row.name.clone(),
            row.n.to_string(),
            number(row.human.value),
            interval(&row.human),
            number(row.model.value),
            interval(&row.model),
            row.human_place.to_string(),
            row.model_place.to_string(),
        ]);
    }
    let srcc = format!(
        "SRCC of the means of the conditions: {} ({}), over {}.",
        number(conditions.srcc.value),
        interval(&conditions.srcc),
        plural(conditions.rows.len(), "condition")
    );
    let mut blocks = vec![Block::Table(grid), Block::Text(srcc)];
    if !conditions.ladders.is_empty() {
        blocks.extend(ladders(&conditions.ladders));
    }
    vec![
        Section::printed("Conditions", blocks),
        Section::filed("Scores per condition", condition_charts(conditions, evaluation)),
    ]
}

/// Returns two tables. The first holds the order of each ladder's conditions by people and by the model, the second
/// compares every two conditions of a ladder.
fn ladders(ladders: &[Ladder]) -> [Block; 2] {
    let mut orders =
        Grid::new(&["conditions of", "order by people", "order by the model", "same order", "probability"]);
    let mut steps =
        Grid::new(&["better by people", "than", "by people", "95 %", "by the model", "95 % ", "probability"]);
    for ladder in ladders {
        let order = |names: &[String]| {
            let short = |n: &String| n.strip_prefix(&format!("{}_", ladder.prefix)).unwrap_or(n).to_owned();
            names.iter().map(short).collect::<Vec<_>>().join(" > ")
        };
        let same = if ladder.same_order { "yes" } else { "no" };
        orders.rows.push(vec![
            ladder.prefix.clone(),
            order(&ladder.human),
            order(&ladder.model),
            same.to_owned(),
            number(ladder.probability),
        ]);
        for step in &ladder.steps {
            steps.rows.push(vec![
                step.better.clone(),
                step.worse.clone(),
                signed(step.human.value),
                interval(&step.human),
                signed(step.model.value),
                interval(&step.model),
                number(step.probability),
            ]);
        }
    }
    [Block::Table(orders), Block::Table(steps)]
}

fn condition_charts(conditions: &ConditionMeans, evaluation: &Evaluation) -> Vec<Block> {
    let keys = [("model", "model"), ("human", "people")];
    let shown = &conditions.rows[..conditions.rows.len().min(CHART_ROWS)];
    let means: Vec<Band<'_, _>> =
        shown.iter().map(|r| Band { name: &r.name, marks: vec![("human", r.human), ("model", r.model)] }).collect();
    let of_condition = |row: usize, value: fn(&Judged) -> f64| {
        let images = evaluation.judged.iter().zip(&conditions.of_image);
        images.filter(|(_, own)| **own == row).map(|(j, _)| value(j)).collect::<Vec<_>>()
    };
    let spreads: Vec<Band<'_, _>> = shown
        .iter()
        .enumerate()
        .map(|(i, r)| Band {
            name: &r.name,
            marks: vec![("human", of_condition(i, |j| j.truth)), ("model", of_condition(i, |j| j.prediction))],
        })
        .collect();
    let unit = &evaluation.model.unit;
    let means_caption = "Mean score of each condition by people and by the model, with 95 % intervals.";
    let spread_caption = "Scores within each condition: the box holds the middle half, the dot is the median, the line \
                          holds the middle 90 %.";
    vec![
        Block::chart(means_caption, chart::spans(&means, &keys, &format!("mean score, {unit}"), false, means_caption)),
        Block::chart(spread_caption, chart::spreads(&spreads, &keys, unit, spread_caption)),
    ]
}
