//! Draws charts as `<svg>` elements. Colours are defined in the style sheet of the page, so that they follow its light
//! or dark mode.

mod kinds;
mod plot;

pub use kinds::{Band, CalibrationPoint, Series, calibration, curves, distributions, spans, spreads};
