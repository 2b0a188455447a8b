//! Trains the networks of the published table with the same division and budget: with tags, without text, and the
//! previous method (EfficientNet).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use edge_model::bundle::manifest::file;

use crate::checkpoint::StateDirectory;
use crate::message::{Listener, note};
use crate::{FitRequest, HeadName, TrainError, TrainOptions, fit};

/// A network of the published table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaperRow {
    /// The network that scores an image under a tag.
    WithTags,
    /// A network that has the same image encoder and reads no tag.
    WithoutText,
    /// EfficientNet, which scores the image alone.
    Previous,
}

impl PaperRow {
    /// All networks, the reference first.
    pub const ALL: [Self; 3] = [Self::WithTags, Self::WithoutText, Self::Previous];

    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::WithTags => "with tags",
            Self::WithoutText => "without text",
            Self::Previous => "previous",
        }
    }

    /// Returns the options for training the network: the given ones with its name, head and backbone.
    fn options(self, given: &TrainOptions) -> TrainOptions {
        let mut options = TrainOptions { name: self.name().replace(' ', "-"), ..given.clone() };
        match self {
            Self::WithTags => {}
            Self::WithoutText => options.head = Some(HeadName::ImageOnly),
            Self::Previous => {
                options.head = Some(HeadName::ImageOnly);
                options.backbone = "efficientnet-b0".to_owned();
            }
        }
        options
    }
}

/// Request to train the networks of the published table.
#[derive(Debug, Clone)]
pub struct PaperRowsRequest {
    /// The data, as [`crate::dataset::read`] accepts it.
    pub data: String,
    /// Directory that receives a subdirectory for each bundle.
    pub dir: PathBuf,
    /// Whether the data set may name images outside its own directory.
    pub allow_outside: bool,
    /// Directory of stored image features.
    pub cache: PathBuf,
    /// Set to stop the current training.
    pub stop: Arc<AtomicBool>,
    /// Training options that all networks share.
    pub options: TrainOptions,
    /// Command line for the model cards.
    pub command: String,
}

/// Trains the networks whose bundles are missing, and resumes a stopped training. Returns name and bundle of every
/// network.
///
/// # Errors
/// [`TrainError`].
pub fn train_paper_rows(
    request: &PaperRowsRequest,
    listener: &mut dyn Listener,
) -> Result<Vec<(String, PathBuf)>, TrainError> {
    let mut bundles = Vec::new();
    for row in PaperRow::ALL {
        let options = row.options(&request.options);
        let out = request.dir.join(&options.name);
        let name = row.name();
        if out.join(file::MANIFEST).is_file() {
            note(listener, format!("{name}: uses the existing bundle in {}", out.display()));
        } else {
            let run = run_dir_of(&out);
            let resume = StateDirectory::of(&run).path().is_dir();
            note(listener, format!("{name}: training {}", if resume { "resumes" } else { "begins" }));
            let (data, cache, stop) = (vec![request.data.clone()], request.cache.clone(), Arc::clone(&request.stop));
            let command = request.command.clone();
            fit(
                &FitRequest {
                    style: Vec::new(),
                    damage: Vec::new(),
                    data,
                    allow_outside: request.allow_outside,
                    out: out.clone(),
                    run,
                    cache,
                    resume,
                    stop,
                    options,
                    command,
                },
                listener,
            )?;
        }
        bundles.push((name.to_owned(), out));
    }
    Ok(bundles)
}

/// Returns the default run directory of a bundle.
pub fn run_dir_of(out: &Path) -> PathBuf {
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
        assert_eq!((tags.head, without.head), (None, Some(HeadName::ImageOnly)));
        assert_eq!(TrainOptions { head: None, name: tags.name.clone(), ..without.clone() }, tags);
        assert_eq!(TrainOptions { backbone: "small".to_owned(), name: without.name.clone(), ..previous }, without);
    }

    #[test]
    fn the_run_lies_beside_the_bundle() {
        assert_eq!(run_dir_of(Path::new("models/small")), Path::new("models/small.run"));
    }
}
