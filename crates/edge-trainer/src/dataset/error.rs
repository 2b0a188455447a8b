//! Errors of reading, checking and dividing data.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::part::Part;

/// Error of reading, checking or dividing data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or directory is missing or cannot be opened.
    #[error("{}: {reason}. Check the path given to --data", path.display())]
    Missing {
        /// Path of the missing file or directory.
        path: PathBuf,
        /// Error of the operating system, or a sentence that names the missing file or directory.
        reason: String,
    },
    /// The path matches no known format.
    #[error(
        "{}: not a known data set format. Write ava:DIR for AVA (a directory with AVA.txt, tags.txt and images), \
         agiqa:DIR for AGIQA-3K (a directory with data.csv), style:DIR for the output of make-data style, or \
         table:FILE for a .csv, .jsonl or .parquet file with the columns path, tag and score", path.display()
    )]
    Unrecognised {
        /// Path given to `--data`.
        path: PathBuf,
    },
    /// A row cannot be parsed.
    #[error("{}, {unit} {number}: {reason}", path.display())]
    Row {
        /// Path of the table.
        path: PathBuf,
        /// Unit of `number`: `line` for text files (a header counts), `row` for Parquet.
        unit: &'static str,
        /// Number of the line or row, from 1.
        number: u64,
        /// Description of the mistake, such as the column and its invalid value.
        reason: String,
    },
    /// The table as a whole cannot be used.
    #[error("{}: {reason}", path.display())]
    Table {
        /// Path of the table.
        path: PathBuf,
        /// Description of the mistake, such as a missing column.
        reason: String,
    },
    /// A table names an image outside its directory.
    #[error(
        "{} names the image {}, which lies outside {}. Copy the images there, or allow it with --allow-outside if you trust the table",
        table.display(), image.display(), root.display()
    )]
    Outside {
        /// Path of the table or data set.
        table: PathBuf,
        /// Path of the image.
        image: PathBuf,
        /// The directory that images must lie in.
        root: PathBuf,
    },
    /// Too many images are missing or unreadable.
    #[error(
        "{bad} of {all} images cannot be used, more than --max-bad-fraction {allowed} allows. The first such image: \
         {example}. Repair the data, or raise --max-bad-fraction to train without these images"
    )]
    TooManyBad {
        /// Number of images that are missing or cannot be decoded.
        bad: usize,
        /// Number of images in the data, usable or not.
        all: usize,
        /// Largest allowed share of unusable images, 0 to 1.
        allowed: f64,
        /// The first unusable image and the reason.
        example: String,
    },
    /// Two parts share an image or a split unit.
    #[error(
        "the parts of the data overlap: {item} is in {first} and in {second}. Put all images of a group, and all copies \
         of an image, into the same part"
    )]
    Leak {
        /// The shared image or split unit.
        item: String,
        /// One part that contains it.
        first: Part,
        /// The other part that contains it.
        second: Part,
    },
    /// Data sets that are read together have different score scales.
    #[error(
        "data sets that are trained on together need the same score scale, but {found}. Convert the scores to one \
         scale, and state the scale in each data set"
    )]
    Scales {
        /// The scale of each data set, in words.
        found: String,
    },
    /// A part is empty after the division.
    #[error("the {part} part has no images after the division: {advice}")]
    EmptyPart {
        /// The part without images.
        part: Part,
        /// Instruction that resolves the error.
        advice: String,
    },
}

impl DataError {
    /// Returns a closure that converts an error of opening `path` into [`DataError::Missing`].
    pub(super) fn missing<E: Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |e| Self::Missing { path: path.to_owned(), reason: e.to_string() }
    }

    /// Returns the error for an invalid line of a text file.
    pub(super) fn line(path: &Path, number: u64, reason: impl Display) -> Self {
        Self::Row { path: path.to_owned(), unit: "line", number, reason: reason.to_string() }
    }
}
