//! `fit.toml`: everything that a training is asked for in one file, so that `edge-trainer fit --config fit.toml` repeats it. Every
//! bundle carries the one that it was made with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TrainOptions;
use super::dataset::style::StyleRequest;

/// Name of the file in a bundle.
pub const FIT_FILE: &str = "fit.toml";

/// What stands in the file. Options that it does not name have their defaults; paths count from the working directory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FitFile {
    /// Where data come from and where the bundle goes.
    pub setup: Setup,
    /// How to train.
    pub options: TrainOptions,
}

/// The part of the file that is no option.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// The data sets, see [`super::dataset::read`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
    /// Where the bundle goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// Where options, figures and weights of the run go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
    /// Style data sets that are made first, where they are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub style: Vec<StyleRequest>,
}

impl FitFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, with its place where that is known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut options: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut setup = toml::Table::new();
        for key in ["data", "out", "run", "style"] {
            setup.extend(options.remove(key).map(|value| (key.to_owned(), value)));
        }
        let of_options = |e: toml::de::Error| {
            // Without the keys of the set-up the text can be read once more, for an error that names the line.
            toml::from_str::<TrainOptions>(text).err().filter(|_| setup.is_empty()).unwrap_or(e).to_string()
        };
        let options = options.try_into().map_err(of_options)?;
        Ok(Self { options, setup: setup.try_into().map_err(|e| e.to_string())? })
    }

    /// The text of a file.
    ///
    /// # Errors
    /// Values that TOML has no words for, such as an infinite rate.
    pub fn text(&self) -> Result<String, String> {
        let mut table = toml::Table::try_from(&self.setup).map_err(|e| e.to_string())?;
        table.extend(toml::Table::try_from(&self.options).map_err(|e| e.to_string())?);
        let mut whole = toml::Value::Table(table);
        shorten(&mut whole);
        toml::to_string(&whole).map_err(|e| e.to_string())
    }
}

/// Writes 0.1, not 0.10000000149011612, where a number was kept in 32 bits.
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
        let setup = Setup {
            data: vec!["agiqa:a".to_owned(), "style:styles".to_owned()],
            out: Some("models/x".into()),
            run: None,
            style: vec![style],
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
}
