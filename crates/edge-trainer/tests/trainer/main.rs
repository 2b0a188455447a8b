//! `edge-trainer` as its users run it: from rated images to bundles, evaluations and comparisons.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backbones;
mod datasets;
mod eval;
mod fit;
