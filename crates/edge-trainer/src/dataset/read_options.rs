//! Options of the data set readers.

use serde::{Deserialize, Serialize};

/// Division of AVA into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AvaSplit {
    /// As in Sugiura and Yamauchi's paper: the seed draws 135,000 images for training and 1,350 for the test. If there
    /// are fewer images, one in 101 of them is for the test.
    #[default]
    Paper,
    /// AVA's own list of test images.
    Official,
}

/// Options of the data set readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// AVA: smallest number of images of a tag; rarer tags are dropped.
    pub min_images_per_tag: usize,
    /// AVA: division into parts.
    pub ava_split: AvaSplit,
    /// AVA: seed of the draw of images.
    pub seed: u64,
    /// Whether a data set may name images outside its own directory.
    pub allow_outside: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        // Sugiura and Yamauchi's paper keeps the tags with at least a thousand images.
        Self { min_images_per_tag: 1000, ava_split: AvaSplit::Paper, seed: 1, allow_outside: false }
    }
}
