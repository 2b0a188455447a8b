//! Training data: rated (image, tag) examples from the formats that `--data` takes, checked and divided. Reads files; knows
//! neither networks nor losses.

mod agiqa;
mod ava;
mod check;
mod fold;
mod split;
pub mod style;
mod table;

use std::path::{Path, PathBuf};

pub use ava::AvaSplit;
pub use check::{CheckReport, check, digest};
pub use fold::Fold;
pub use split::{Part, Parts, Shares, divide};

/// One rated image under one tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The image.
    pub path: PathBuf,
    /// What the image is meant to show.
    pub tag: String,
    /// The raters' mean score.
    pub score: f32,
    /// How well the image fits the tag, on the data's own scale, where the data say.
    pub alignment: Option<f32>,
    /// The part that the data themselves put it into.
    pub part: Option<Part>,
    /// Examples of one group are never parted; the tag where the data do not say.
    pub group: String,
    /// What the image was made under, such as a generator and its setting, where the data say: reports tell them apart.
    pub condition: Option<String>,
    /// Name of the data set.
    pub source: String,
    /// BLAKE3 of the file, filled in by [`check()`].
    pub content_id: String,
}

/// A data set as it was read, before any image was opened.
#[derive(Debug, Clone, Default)]
pub struct DataSet {
    /// Its name.
    pub name: String,
    /// Its licence, `unknown` where nothing says.
    pub licence: String,
    /// What its images are, in a sentence.
    pub about: String,
    /// What one unit of its scores is, in words.
    pub unit: String,
    /// The range of the scores, where the format fixes it.
    pub scale: Option<(f32, f32)>,
    /// The share of the groups for the test, where the format fixes it.
    pub test_share: Option<f64>,
    /// What was left out while reading, one sentence each.
    pub notes: Vec<String>,
    /// Its rows.
    pub examples: Vec<Example>,
}

/// What the reading of some formats depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// AVA: tags with fewer images are dropped.
    pub min_images_per_tag: usize,
    /// AVA: how it is divided.
    pub ava_split: AvaSplit,
    /// AVA: seed of the drawing of images.
    pub seed: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        // The paper keeps the tags with at least a thousand images.
        Self { min_images_per_tag: 1000, ava_split: AvaSplit::Paper, seed: 1 }
    }
}

/// Why data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Nothing is there.
    #[error("{}: {reason}. Check the path given to --data", path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The format is not known.
    #[error(
        "{}: not a data set that can be recognised. Write ava:DIR for AVA (a directory with AVA.txt, tags.txt and images), \
         agiqa:DIR for AGIQA-3K (a directory with data.csv), style:DIR for what make-data style has made, or table:FILE for a \
         .csv, .jsonl or .parquet file with the columns path, tag and score", path.display()
    )]
    Unrecognised {
        /// What was asked for.
        path: PathBuf,
    },
    /// A row cannot be understood.
    #[error("{}, {unit} {number}: {reason}", path.display())]
    Row {
        /// The table.
        path: PathBuf,
        /// What is counted: the lines of a text, a header included, or the rows of a file without lines.
        unit: &'static str,
        /// Counted from 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The table as a whole cannot be understood.
    #[error("{}: {reason}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Too many images are missing or broken.
    #[error(
        "{bad} of {all} images cannot be used, more than --max-bad-fraction {allowed} allows; the first: {example}. Repair \
         the data, or raise --max-bad-fraction if they can be spared"
    )]
    TooManyBad {
        /// Unusable images.
        bad: usize,
        /// All images.
        all: usize,
        /// The allowed share.
        allowed: f64,
        /// The first one and what is wrong with it.
        example: String,
    },
    /// The parts are not disjoint.
    #[error(
        "the data leak between parts: {what} is in {first} and in {second}. Put all of a group, and all copies of an image, \
         into one part"
    )]
    Leak {
        /// The image or the tag.
        what: String,
        /// One part.
        first: Part,
        /// The other part.
        second: Part,
    },
    /// Several data sets do not rate alike.
    #[error(
        "data sets that are trained on together must have one scale of scores, and these have not: {found}. Bring the scores to \
         one scale, and say which in each set"
    )]
    Scales {
        /// Each set's scale.
        found: String,
    },
    /// A part came out empty.
    #[error("{part} has no images after the division: {advice}")]
    EmptyPart {
        /// The part.
        part: Part,
        /// What to do.
        advice: String,
    },
}

impl DataError {
    /// A line of a text that cannot be understood.
    fn line(path: &Path, number: u64, reason: impl std::fmt::Display) -> Self {
        Self::Row { path: path.to_owned(), unit: "line", number, reason: reason.to_string() }
    }
}

/// Reads the table behind `spec`: `ava:DIR`, `agiqa:DIR`, `style:DIR`, `table:FILE`, or a path whose kind shows.
///
/// # Errors
/// [`DataError`], naming the file and, where there is one, the line.
pub fn read(spec: &str, options: &ReadOptions) -> Result<DataSet, DataError> {
    if let Some((format, path)) = spec.split_once(':') {
        let path = Path::new(path);
        match format {
            "ava" => return ava::read(path, options),
            "agiqa" => return agiqa::read(path),
            "style" => return style::read(path),
            "table" => return table::read(path),
            _ => {}
        }
    }
    let path = Path::new(spec);
    if ava::recognises(path) {
        return ava::read(path, options);
    }
    if agiqa::recognises(path) {
        return agiqa::read(path);
    }
    if style::recognises(path) {
        return style::read(path);
    }
    match std::fs::metadata(path) {
        Ok(m) if m.is_file() && table::recognises(path) => table::read(path),
        Ok(_) => Err(DataError::Unrecognised { path: path.to_owned() }),
        Err(e) => Err(DataError::Missing { path: path.to_owned(), reason: e.to_string() }),
    }
}

/// Reads several data sets as one. Their scores must be on one scale.
///
/// # Errors
/// [`DataError`].
pub fn read_all(specs: &[String], options: &ReadOptions) -> Result<DataSet, DataError> {
    let mut sets = specs.iter().map(|spec| read(spec, options)).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = Vec::new();
    for set in &mut sets {
        let same = names.iter().filter(|n| **n == set.name).count();
        names.push(set.name.clone());
        if same > 0 {
            set.name = format!("{} ({})", set.name, same + 1);
        }
        set.examples.iter_mut().for_each(|e| e.source.clone_from(&set.name));
    }
    if sets.len() == 1 {
        return Ok(sets.remove(0));
    }
    let scales: Vec<_> = sets.iter().map(|set| set.scale).collect();
    if scales.windows(2).any(|pair| pair[0] != pair[1]) {
        let said = |set: &DataSet| match set.scale {
            Some((low, high)) => format!("{} has {low} to {high}", set.name),
            None => format!("{} does not say", set.name),
        };
        return Err(DataError::Scales { found: sets.iter().map(said).collect::<Vec<_>>().join(", ") });
    }
    let all = |of: fn(&DataSet) -> &String, between: &str| {
        let mut texts: Vec<&str> = Vec::new();
        for text in sets.iter().map(of) {
            if !texts.contains(&text.as_str()) {
                texts.push(text);
            }
        }
        texts.join(between)
    };
    Ok(DataSet {
        name: all(|s| &s.name, " and "),
        licence: all(|s| &s.licence, "; "),
        about: all(|s| &s.about, " "),
        // The others are on the same scale, and of the first one's making.
        unit: sets[0].unit.clone(),
        scale: scales[0],
        test_share: None,
        notes: sets.iter().flat_map(|s| s.notes.clone()).collect(),
        examples: sets.into_iter().flat_map(|s| s.examples).collect(),
    })
}

/// Opens a file for reading.
fn open(path: &Path) -> Result<std::fs::File, DataError> {
    std::fs::File::open(path).map_err(|e| DataError::Missing { path: path.to_owned(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_path_says_what_could_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(dir.path().to_str().unwrap(), &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().contains("agiqa:DIR"), "{error}");
        let error = read("/nowhere/data.csv", &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().contains("Check the path given to --data"), "{error}");
    }
}
