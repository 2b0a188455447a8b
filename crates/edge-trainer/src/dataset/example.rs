//! The types of the training data: an example, and a data set of examples.

use std::path::PathBuf;

use super::part::Part;

/// One rated image under one tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Path of the image file.
    pub path: PathBuf,
    /// Text that says what the image is meant to show.
    pub tag: String,
    /// Mean score given by people.
    pub score: f32,
    /// Rating of how well the image matches the tag, on the data set's own scale; `None` if the data set has no such
    /// rating.
    pub alignment: Option<f32>,
    /// Part that the data set assigns the example to; `None` if it assigns none.
    pub part: Option<Part>,
    /// Name of the split unit, whose examples stay in one part. Defaults to the tag.
    pub group: String,
    /// How the image was made, such as a generator and its setting; `None` if the data set does not say. Reports show
    /// figures per condition.
    pub condition: Option<String>,
    /// Name of the data set.
    pub source: String,
    /// BLAKE3 of the image file's bytes; empty until [`check()`](super::check()) fills it in.
    pub content_id: String,
}

/// Examples with a description of the data set that they come from. Reading a data set opens no image.
#[derive(Debug, Clone, Default)]
pub struct DataSet {
    /// Name of the data set.
    pub name: String,
    /// Licence; `unknown` if none is stated.
    pub licence: String,
    /// One sentence that describes the images.
    pub about: String,
    /// Description of the unit of the scores.
    pub unit: String,
    /// Lowest and highest possible score; `None` if the format does not fix them.
    pub scale: Option<(f32, f32)>,
    /// Share of the split units in the test part, 0 to 1; `None` if the format does not fix it.
    pub test_share: Option<f64>,
    /// Sentences about the reading, such as one for each kind of row that was left out.
    pub notes: Vec<String>,
    /// All rows that can be used, each an image with a tag and a score.
    pub examples: Vec<Example>,
}
