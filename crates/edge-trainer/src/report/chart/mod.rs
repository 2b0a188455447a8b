//! Charts as `<svg>` elements, drawn without help. Colours come from the page's style, so that they follow light and
//! dark.

mod kinds;
mod plot;

pub use kinds::{Band, Series, calibration, curves, distributions, spans, spreads};
