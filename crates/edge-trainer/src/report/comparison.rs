//! Builds the report of a [`Comparison`].

use super::chart::{self, Band, Series};
use super::document::{Block, Chart, Document, Grid, Section};
use super::words::{self, interval, number, plural, sentence, signed};
use crate::evaluate::compare::{ComparedMethod, Comparison, PUBLISHED};
use crate::metrics::{Better, Bins, Estimate, Measure};

/// Measures that the paper of the [`PUBLISHED`] figures reports, in the paper's order.
const PAPER_MEASURES: [Measure; 5] = [Measure::ErrorMean, Measure::Lcc, Measure::Srcc, Measure::Kl, Measure::Emd];

/// Returns the report.
pub fn document(comparison: &Comparison) -> Document {
    Document {
        title: format!("Comparison on {}", comparison.data.name),
        sections: vec![
            subject(comparison),
            figures(comparison),
            differences(comparison),
            charts(comparison),
            distributions(comparison),
            published(),
            definitions(comparison),
        ],
    }
}

fn subject(comparison: &Comparison) -> Section {
    let data = &comparison.data;
    let mut blocks = vec![
        Block::Text(format!("Data: {}, licence {}, digest {}.", data.name, data.licence, &data.sha256[..16])),
        Block::Text(format!("Judged: {} under {}.", plural(comparison.n, "image"), plural(comparison.tags, "tag"))),
    ];
    blocks.extend(comparison.images.iter().map(|s| Block::Text(sentence(s))));
    blocks.push(Block::Terms(comparison.rows.iter().map(|r| (r.name.clone(), r.how.clone())).collect()));
    Section::printed("What is compared", blocks)
}

fn header(first: &'static str) -> Vec<&'static str> {
    std::iter::once(first).chain(Measure::ALL.map(Measure::label)).collect()
}

fn figures(comparison: &Comparison) -> Section {
    let mut grid = Grid { header: header("method"), rows: Vec::new() };
    for row in &comparison.rows {
        let cells = Measure::ALL.map(|m| number(row.measures[m.key()].value));
        grid.rows.push(std::iter::once(row.name.clone()).chain(cells).collect());
    }
    Section::printed("Figures", vec![Block::Table(grid)])
}

/// Compares every method with the reference: one row per measure with the difference and its interval.
fn differences(comparison: &Comparison) -> Section {
    let mut grid = Grid::new(&["method", "measure", "figure", "95 %", "difference", "95 % ", "against the reference"]);
    for row in &comparison.rows {
        let Some(minus) = &row.minus_reference else { continue };
        for measure in Measure::ALL {
            let (own, difference) = (row.measures[measure.key()], minus[measure.key()]);
            grid.rows.push(vec![
                row.name.clone(),
                measure.label().to_owned(),
                number(own.value),
                interval(&own),
                signed(difference.value),
                interval(&difference),
                verdict(measure, &difference).to_owned(),
            ]);
        }
    }
    let about = format!(
        "Each difference is the method's figure minus the figure of {:?}, on the same replicates.",
        comparison.reference
    );
    Section::printed("Against the reference", vec![Block::Text(about), Block::Table(grid)])
}

/// Says whether a method is better or worse than the reference, judged by the interval of the difference.
fn verdict(measure: Measure, difference: &Estimate) -> &'static str {
    let (higher, lower) = (difference.low > 0.0, difference.high < 0.0);
    let (better, worse) = match measure.better() {
        Better::Higher => (higher, lower),
        Better::Lower => (lower, higher),
    };
    if better {
        "better"
    } else if worse {
        "worse"
    } else {
        "no clear difference"
    }
}

fn charts(comparison: &Comparison) -> Section {
    let chart = |measure: Measure| {
        let rows: Vec<Band<'_, _>> = comparison
            .rows
            .iter()
            .filter_map(|r| Some((r, r.minus_reference.as_ref()?)))
            .map(|(r, minus)| Band { name: &r.name, marks: vec![("model", minus[measure.key()])] })
            .collect();
        let caption = format!(
            "Difference in {} from {:?}, with 95 % intervals. An interval that contains zero shows no clear \
             difference.",
            measure.label(),
            comparison.reference
        );
        let svg = chart::spans(&rows, &[], &format!("difference in {}", measure.label()), true, &caption);
        Block::Chart(Chart { caption, svg })
    };
    Section::filed("Differences", [Measure::Srcc, Measure::WithinTagSrcc, Measure::ErrorMean].map(chart).to_vec())
}

fn distributions(comparison: &Comparison) -> Section {
    let bins = Bins::over(comparison.rules.low, comparison.rules.high);
    let chart = |row: &ComparedMethod| {
        let truth: Vec<f64> = row.judged.iter().map(|j| j.truth).collect();
        let prediction: Vec<f64> = row.judged.iter().map(|j| j.prediction).collect();
        let series = [
            Series { class: "model", name: "prediction", values: &prediction },
            Series { class: "human", name: "people", values: &truth },
        ];
        let caption = format!("Scores of the judged images by people and by {:?}.", row.name);
        let svg = chart::distributions(&bins, &series, "score", &caption);
        Block::Chart(Chart { caption, svg })
    };
    Section::filed("Distributions of the scores", comparison.rows.iter().map(chart).collect())
}

fn published() -> Section {
    let mut grid =
        Grid { header: std::iter::once("method").chain(PAPER_MEASURES.map(Measure::label)).collect(), rows: vec![] };
    for row in PUBLISHED {
        grid.rows.push(std::iter::once(row.name.to_owned()).chain(row.figures.map(number)).collect());
    }
    let about = "From Sugiura and Yamauchi, \"A proposal of an image quality model that uses text tags\", on AVA with \
                 scores from 1 to 10. The values are not comparable with figures on other data or other scales. The \
                 order of the methods is comparable."
        .to_owned();
    Section::printed("Published", vec![Block::Table(grid), Block::Text(about)])
}

fn definitions(comparison: &Comparison) -> Section {
    let terms = words::definitions(&comparison.rules, &comparison.bootstrap);
    Section::filed("What the figures mean", vec![Block::Terms(terms)])
}
