//! `fit.toml`: all inputs of a training in one file. `edge-trainer fit --config fit.toml` repeats the training. Every
//! bundle contains the file of its own training.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::TrainOptions;
use super::dataset::damage::DamageRequest;
use super::dataset::style::StyleRequest;

/// Name of the file in a bundle that holds all inputs of the training.
pub const FIT_FILE: &str = "fit.toml";

/// The content of a `fit.toml`. Options that the file lacks have their defaults. Paths are relative to the working
/// directory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FitFile {
    /// The data sets and the output directories.
    pub setup: FitSetup,
    /// The training options.
    pub options: TrainOptions,
}

/// The data sets and the output directories of a training. The help texts of the flags are the documentation of the
/// fields.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitSetup {
    /// The rated images: ava:DIR, agiqa:DIR, style:DIR, damage:DIR, table:FILE, or a path whose kind is recognised; repeat the flag
    /// to train on several data sets together
    #[arg(long, value_name = "SPEC")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
    /// Directory of the bundle; an existing bundle in this directory is replaced once the new one has passed all checks
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// Directory of the run, for its options, figures and weights [default: the output directory's name with .run
    /// added]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
    /// Style data sets that are made before the training if they do not exist
    #[arg(skip)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub style: Vec<StyleRequest>,
    /// Damage data sets that are made before the training if they do not exist
    #[arg(skip)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<DamageRequest>,
}

impl FitSetup {
    /// Returns the setup of the flags, completed by the setup of the file. If a flag sets the output directory, the
    /// file's run directory is ignored, because it belongs to the file's output directory.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        let run = self.run.or(if self.out.is_none() { file.run } else { None });
        Self {
            data: if self.data.is_empty() { file.data } else { self.data },
            out: self.out.or(file.out),
            run,
            style: file.style,
            damage: file.damage,
        }
    }
}

impl FitFile {
    /// Parses the text of a `fit.toml`.
    ///
    /// # Errors
    /// A description of the error, with the line number if it is known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut options: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut setup = toml::Table::new();
        for key in ["data", "out", "run", "style", "damage"] {
            setup.extend(options.remove(key).map(|value| (key.to_owned(), value)));
        }
        let of_options = |e: toml::de::Error| {
            // Errors of a table name no line. If the text has only options, parse it again for an error with the line.
            toml::from_str::<TrainOptions>(text).err().filter(|_| setup.is_empty()).unwrap_or(e).to_string()
        };
        let options = options.try_into().map_err(of_options)?;
        Ok(Self { options, setup: setup.try_into().map_err(|e| e.to_string())? })
    }

    /// Returns the text of a `fit.toml` with this content.
    ///
    /// # Errors
    /// A description of the error, for values that TOML cannot express, such as an infinite rate.
    pub fn text(&self) -> Result<String, String> {
        toml::to_string(&self.table()?).map_err(|e| e.to_string())
    }

    /// Returns the content as a TOML table.
    ///
    /// # Errors
    /// See [`Self::text`].
    pub fn table(&self) -> Result<toml::Table, String> {
        let mut table = toml::Table::try_from(&self.setup).map_err(|e| e.to_string())?;
        table.extend(toml::Table::try_from(&self.options).map_err(|e| e.to_string())?);
        table.iter_mut().for_each(|(_, value)| shorten(value));
        Ok(table)
    }
}

/// Replaces a number that was an `f32` by the number with its shortest decimal text: 0.10000000149011612 becomes 0.1.
fn shorten(value: &mut toml::Value) {
    match value {
        toml::Value::Float(number) if f64::from(*number as f32) == *number => {
            *number = (*number as f32).to_string().parse().unwrap_or(*number);
        }
        toml::Value::Array(values) => values.iter_mut().for_each(shorten),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| shorten(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_all_that_it_was_told() {
        let style =
            StyleRequest { images: "agiqa:a".to_owned(), out: "styles".into(), faults: 1, ..StyleRequest::default() };
        let setup = FitSetup {
            data: vec!["agiqa:a".to_owned(), "style:styles".to_owned()],
            out: Some("models/x".into()),
            run: None,
            style: vec![style],
            damage: vec![DamageRequest { kinds: 3, ..DamageRequest::default() }],
        };
        let file = FitFile { setup, options: TrainOptions { lr: 0.25, epochs: 3, ..TrainOptions::default() } };
        let text = file.text().unwrap();
        assert_eq!(FitFile::parse(&text).unwrap(), file);
        assert!(text.contains("tie_threshold = 0.1\n") && text.contains("rater_noise = 0.02\n"), "{text}");
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_unknown_is_refused() {
        let file = FitFile::parse("data = [\"table:a.csv\"]\nlr = 1e-3\n[[style]]\nimages = \"photos\"\nout = \"s\"\n")
            .unwrap();
        assert_eq!((file.options.lr, file.options.epochs), (1e-3, TrainOptions::default().epochs));
        assert_eq!(file.setup.style[0].renderings, StyleRequest::default().renderings);
        assert!(FitFile::parse("lr = 1\nspeed = 3\n").unwrap_err().contains("speed"));
        assert!(FitFile::parse("out = 3\n").unwrap_err().contains("invalid type"));
        assert!(FitFile::parse("[[style]]\nimages = \"a\"\nmood = 1\n").unwrap_err().contains("mood"));
        let message = FitFile::parse("lr = 1e-3\nepochs = \"many\"\n").unwrap_err();
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    fn the_shipped_models_file_is_read() {
        let file = FitFile::parse(include_str!("../../../models/small/fit.toml")).unwrap();
        assert_eq!((file.options.centres, file.options.train), (3800, crate::Trainable::Auto));
        assert_eq!(file.setup.out, Some("models/small".into()));
    }

    #[test]
    fn flags_win_over_the_file_and_its_run_belongs_to_its_output() {
        let [a, b, run] = ["a", "b", "run"].map(|name| Some(PathBuf::from(name)));
        let data = |name: &str| vec![name.to_owned()];
        let file =
            FitSetup { data: data("file"), out: a.clone(), run: run.clone(), style: Vec::new(), damage: Vec::new() };
        assert_eq!(FitSetup::default().or(file.clone()), file);
        let flags = FitSetup { data: data("flag"), out: b.clone(), ..FitSetup::default() };
        assert_eq!(flags.clone().or(file.clone()), flags);
        let flags = FitSetup { run: b.clone(), ..FitSetup::default() };
        assert_eq!(
            flags.or(file),
            FitSetup { data: data("file"), out: a, run: b, style: Vec::new(), damage: Vec::new() }
        );
    }
}
