//! The rows of the published table that are networks: with tags, without text, and the previous way (EfficientNet), trained on one
//! division and one budget.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::checkpoint::StateDirectory;
use super::message::{Listener, note};
use super::{FitRequest, TrainError, TrainOptions, fit};
use edge_model::bundle::manifest::{HeadKind, file};

/// A row that is a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaperRow {
    /// Image and tag.
    WithTags,
    /// The same encoder without text.
    WithoutText,
    /// EfficientNet, which sees the image alone.
    Previous,
}

impl PaperRow {
    /// All rows, the reference first.
    pub const ALL: [Self; 3] = [Self::WithTags, Self::WithoutText, Self::Previous];

    /// What the row is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::WithTags => "with tags",
            Self::WithoutText => "without text",
            Self::Previous => "previous",
        }
    }

    /// The options of its training: those given, but for what makes the row.
    fn options(self, given: &TrainOptions) -> TrainOptions {
        let mut options = TrainOptions { name: self.name().replace(' ', "-"), ..given.clone() };
        match self {
            Self::WithTags => {}
            Self::WithoutText => options.head = Some(HeadKind::ImageOnly),
            Self::Previous => {
                options.head = Some(HeadKind::ImageOnly);
                options.backbone = "efficientnet-b0".to_owned();
            }
        }
        options
    }
}

/// What the rows are trained on and with.
#[derive(Debug, Clone)]
pub struct RowsRequest {
    /// The data, see [`super::dataset::read`].
    pub data: String,
    /// The bundles go below this directory.
    pub dir: PathBuf,
    /// Where the features of images are kept between runs.
    pub cache: PathBuf,
    /// Raised to stop the training at hand.
    pub stop: Arc<AtomicBool>,
    /// How to train.
    pub options: TrainOptions,
    /// The command line, for the model cards.
    pub command: String,
}

/// Trains the rows that are not there yet, and goes on with one that was stopped; answers with every row's name and bundle.
///
/// # Errors
/// [`TrainError`].
pub fn train_rows(request: &RowsRequest, listener: &mut dyn Listener) -> Result<Vec<(String, PathBuf)>, TrainError> {
    let mut bundles = Vec::new();
    for row in PaperRow::ALL {
        let options = row.options(&request.options);
        let out = request.dir.join(&options.name);
        let name = row.name();
        if out.join(file::MANIFEST).is_file() {
            note(listener, format!("{name}: the bundle in {} is taken as it is", out.display()));
        } else {
            let run = beside(&out);
            let resume = StateDirectory::of(&run).path().is_dir();
            note(listener, format!("{name}: training {}", if resume { "goes on" } else { "begins" }));
            let (data, cache, stop) = (vec![request.data.clone()], request.cache.clone(), Arc::clone(&request.stop));
            let command = request.command.clone();
            fit(
                &FitRequest { style: Vec::new(), data, out: out.clone(), run, cache, resume, stop, options, command },
                listener,
            )?;
        }
        bundles.push((name.to_owned(), out));
    }
    Ok(bundles)
}

/// The run directory of a bundle, where nobody says another.
pub fn beside(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".run");
    out.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_differ_in_what_they_read_and_in_nothing_else() {
        let given = TrainOptions { epochs: 3, seed: 9, ..TrainOptions::default() };
        let [tags, without, previous] = PaperRow::ALL.map(|row| row.options(&given));
        assert_eq!((tags.head, without.head), (None, Some(HeadKind::ImageOnly)));
        assert_eq!(TrainOptions { head: None, name: tags.name.clone(), ..without.clone() }, tags);
        assert_eq!(TrainOptions { backbone: "small".to_owned(), name: without.name.clone(), ..previous }, without);
    }

    #[test]
    fn the_run_lies_beside_the_bundle() {
        assert_eq!(beside(Path::new("models/small")), Path::new("models/small.run"));
    }
}
