//! Draws axes and marks, given in data coordinates, as an `<svg>` element.

use maud::{Markup, Render, html};

use crate::report::markup::{clean, closed};

/// Margins around the plot: left, right, top, bottom.
#[derive(Debug, Clone, Copy)]
pub struct Margins(pub f64, pub f64, pub f64, pub f64);

/// The range of data values along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AxisRange {
    /// Value at the start of the axis.
    pub low: f64,
    /// Value at the end of the axis.
    pub high: f64,
}

impl AxisRange {
    /// Returns the range of all defined values: 0 to 1 without values, and a range of width 1 around a single value.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|v| v.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            Self { low: 0.0, high: 1.0 }
        } else if high - low < 1e-9 {
            Self { low: low - 0.5, high: high + 0.5 }
        } else {
            Self { low, high }
        }
    }

    /// Returns the range extended by a share of its width on both sides.
    pub fn padded(self, share: f64) -> Self {
        let margin = (self.high - self.low) * share;
        Self { low: self.low - margin, high: self.high + margin }
    }

    /// Returns about `count` round values within the range.
    pub fn ticks(self, count: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.999).unwrap_or(rough);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }
}

/// A plot under construction: its size, axes and the marks drawn so far.
#[derive(Debug)]
pub struct Plot {
    width: f64,
    height: f64,
    margins: Margins,
    x: AxisRange,
    y: AxisRange,
    marks: Vec<Markup>,
}

/// Formats a tick with just enough decimals to distinguish the ticks.
fn tick_text(value: f64, ticks: &[f64]) -> String {
    let step = ticks.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    let decimals = if step.is_finite() { (-step.log10()).ceil().max(0.0) as usize } else { 1 };
    format!("{value:.decimals$}")
}

impl Plot {
    /// Creates an empty plot. Width and height are in SVG units; a unit is about a pixel on a wide screen.
    pub fn new(width: f64, height: f64, margins: Margins, x: AxisRange, y: AxisRange) -> Self {
        Self { width, height, margins, x, y, marks: Vec::new() }
    }

    fn px(&self, x: f64) -> f64 {
        let Margins(left, right, ..) = self.margins;
        left + (x - self.x.low) / (self.x.high - self.x.low) * (self.width - left - right)
    }

    fn py(&self, y: f64) -> f64 {
        let Margins(_, _, top, bottom) = self.margins;
        self.height - bottom - (y - self.y.low) / (self.y.high - self.y.low) * (self.height - top - bottom)
    }

    /// Draws vertical grid lines with numbers below, and the name of the axis.
    pub fn x_axis(&mut self, name: &str) {
        let ticks = self.x.ticks(8);
        let (top, bottom) = (self.py(self.y.high), self.py(self.y.low));
        for &tick in &ticks {
            let x = self.px(tick);
            self.segment("grid", (x, top), (x, bottom));
            self.label(x, bottom + 16.0, "middle", None, &tick_text(tick, &ticks));
        }
        self.segment("axis", (self.px(self.x.low), bottom), (self.px(self.x.high), bottom));
        let middle = (self.px(self.x.low) + self.px(self.x.high)) / 2.0;
        self.label(middle, bottom + 34.0, "middle", None, name);
    }

    /// Draws horizontal grid lines with numbers at the left, and the name of the axis above.
    pub fn y_axis(&mut self, name: &str) {
        let ticks = self.y.ticks(5);
        let (left, right) = (self.px(self.x.low), self.px(self.x.high));
        for &tick in &ticks {
            let y = self.py(tick);
            self.segment("grid", (left, y), (right, y));
            self.label(left - 6.0, y + 4.0, "end", None, &tick_text(tick, &ticks));
        }
        self.label(left, self.margins.2 - 8.0, "start", None, name);
    }

    fn segment(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let line = html! { line class=(class) x1=(Units(x1)) y1=(Units(y1)) x2=(Units(x2)) y2=(Units(y2)); };
        self.marks.push(closed(line));
    }

    fn label(&mut self, x: f64, y: f64, anchor: &str, class: Option<&str>, text: &str) {
        let text = html! { text class=[class] x=(Units(x)) y=(Units(y)) text-anchor=(anchor) { (clean(text)) } };
        self.marks.push(text);
    }

    /// Writes the name of a row at the left of the plot.
    pub fn row_name(&mut self, y: f64, text: &str) {
        let (x, y) = (self.px(self.x.low) - 10.0, self.py(y) + 4.0);
        self.label(x, y, "end", Some("name"), text);
    }

    /// Writes a key, the name of a colour, above the plot. `place` counts the keys from the right.
    pub fn key(&mut self, place: usize, class: &str, text: &str) {
        let x = self.width - self.margins.1 - 110.0 * place as f64;
        self.label(x, self.margins.2 - 8.0, "end", Some(class), text);
    }

    /// Draws a line between two data points.
    pub fn straight(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let (from, to) = ((self.px(from.0), self.py(from.1)), (self.px(to.0), self.py(to.1)));
        self.segment(class, from, to);
    }

    /// Draws a line through data points, and fills the area below it if `area` is set.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)], area: bool) {
        let joined: Vec<String> = points.iter().map(|&(x, y)| format!("{:.1} {:.1}", self.px(x), self.py(y))).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let line = joined.join(" L");
        if area {
            let (left, right, floor) = (self.px(first.0), self.px(last.0), self.py(self.y.low));
            let outline = format!("M{left:.1} {floor:.1} L{line} L{right:.1} {floor:.1} Z");
            self.marks.push(closed(html! { path class={ (class) " area" } d=(outline); }));
        }
        self.marks.push(closed(html! { path class={ (class) " line" } d={ "M" (line) }; }));
    }

    /// Draws a round mark with a tooltip.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64, tip: &str) {
        let (x, y) = (self.px(x), self.py(y));
        self.marks.push(html! {
            circle class=(class) cx=(Units(x)) cy=(Units(y)) r=(Units(radius)) { title { (clean(tip)) } }
        });
    }

    /// Draws a box between two values of the x axis. It extends `half` SVG units above and below `y`.
    pub fn bar(&mut self, class: &str, (from, to): (f64, f64), y: f64, half: f64) {
        let (left, right, middle) = (self.px(from), self.px(to), self.py(y));
        let (top, width, height) = (middle - half, (right - left).max(1.0), 2.0 * half);
        self.marks.push(closed(html! {
            rect class={ (class) " box" } x=(Units(left)) y=(Units(top)) width=(Units(width)) height=(Units(height));
        }));
    }

    /// Returns the `<svg>` element. `meaning` describes it for screen readers.
    pub fn finish(self, meaning: &str) -> Markup {
        let view = format!("0 0 {} {}", self.width, self.height);
        html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox=(view) role="img" aria-label=(clean(meaning)) {
                @for mark in &self.marks { "\n" (mark) }
                "\n"
            }
        }
    }
}

/// A length in SVG units, written with one decimal.
struct Units(f64);

impl Render for Units {
    fn render_to(&self, buffer: &mut String) {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = write!(buffer, "{:.1}", self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(AxisRange { low: 0.0, high: 5.0 }.ticks(5), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let ticks = AxisRange { low: -0.12, high: 0.31 }.ticks(4);
        assert_eq!(ticks.iter().map(|&t| tick_text(t, &ticks)).collect::<Vec<_>>(), ["0.0", "0.2"]);
        assert_eq!(AxisRange::of([f64::NAN].into_iter()), AxisRange { low: 0.0, high: 1.0 });
        assert_eq!(AxisRange::of([2.0, 2.0].into_iter()), AxisRange { low: 1.5, high: 2.5 });
    }

    #[test]
    fn a_plot_is_well_formed_and_its_texts_are_escaped() {
        let range = AxisRange { low: 0.0, high: 1.0 };
        let mut plot = Plot::new(400.0, 200.0, Margins(40.0, 10.0, 20.0, 40.0), range, range);
        plot.x_axis("a < b");
        plot.y_axis("\u{1b}");
        plot.dot("human", (0.5, 0.5), 3.0, "<x>");
        plot.path("model", &[(0.0, 0.0), (1.0, 1.0)], true);
        let svg = plot.finish("\"quoted\"").into_string();
        let parsed = roxmltree::Document::parse(&svg).unwrap();
        let dot = parsed.descendants().find(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "circle"))).unwrap();
        assert_eq!((dot.attribute("cx"), dot.attribute("cy")), (Some("215.0"), Some("90.0")));
    }
}
