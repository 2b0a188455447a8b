//! Checks that decoder processes start, and reports which layers confine them.

use std::time::Duration;

use edge_model::image_input::{InputRule, Limits, ResizeFilter};

use super::finding::Finding;
use crate::decoder::Decoder;

const AREA: &str = "machine";

/// Starts a decoder process and reports the layers of its cage.
pub(super) fn finding(limits: &Limits, timeout: Duration) -> Finding {
    // Nothing is decoded, so any rule will do.
    let rule = InputRule {
        size_px: 1,
        resize_short_px: 1,
        filter: ResizeFilter::Bicubic,
        mean: [0.5; 3],
        std: [0.5; 3],
        views: Vec::new(),
    };
    match Decoder::new(&rule, limits, timeout).start() {
        Ok(layers) => match layers.advice() {
            None => Finding::fine(AREA, "decoders", layers.in_words()),
            Some(advice) => Finding::note(AREA, "decoders", layers.in_words(), advice),
        },
        Err(error) => {
            Finding::problem(AREA, "decoders", error.to_string(), "Images wait until a process can be started")
        }
    }
}
