//! Checks the images of a fit and divides the examples into parts.

use std::collections::HashSet;
use std::path::Path;

use edge_model::image_input::Limits;

use crate::TrainOptions;
use crate::dataset::{self, DataError, DataSet, Parts, Shares};
use crate::message::{Listener, Message, note, warn};

/// Opens every image once, leaves out unusable images, divides the examples, and reports the result. If `by_name` is
/// true, the names of the split units alone decide the parts.
pub(super) fn check_and_divide(
    data: &DataSet,
    by_name: bool,
    options: &TrainOptions,
    listener: &mut dyn Listener,
) -> Result<Parts, DataError> {
    data.notes.iter().for_each(|text| note(listener, text));
    let examples = data.examples.clone();
    let paths: HashSet<&Path> = examples.iter().map(|e| e.path.as_path()).collect();
    listener.on(Message::Begin { what: "checking images".to_owned(), steps: paths.len() as u64 });
    let checked = dataset::check(examples, options.max_bad_fraction, &Limits::default(), || {
        listener.on(Message::Advance { measure: String::new() });
    });
    listener.on(Message::End);
    let (examples, found) = checked?;
    found.warnings().into_iter().for_each(|w| warn(listener, w));
    let shares = Shares {
        validation: options.validation_share,
        test: data.test_share.unwrap_or(options.test_share),
        seed: options.seed,
        fold: options.fold,
        by_name,
    };
    let parts = dataset::divide(examples, shares)?;
    let [train, validation, test] = parts.sizes();
    let how = &parts.how;
    note(
        listener,
        format!("{train} examples for training, {validation} for validation, {test} for the test; divided {how}"),
    );
    Ok(parts)
}
