//! Command line flags for training options. Every command takes its flags from [`TrainOptions`], so that an option has
//! the same name, parser and help text in all commands.

use std::ffi::OsString;
use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use edge_cli::{CommandError, exit_code};

use crate::{FitFile, TrainOptions};

/// Selects the training options that a command takes as flags.
pub(super) trait Selection {
    /// Returns the flag, adapted to the command; `None` if the command does not take the option.
    fn select(flag: Arg) -> Option<Arg>;
}

/// The selection of `fit`: all training options that have a flag.
#[derive(Debug, Clone)]
pub(super) struct AllOptions;

impl Selection for AllOptions {
    fn select(flag: Arg) -> Option<Arg> {
        Some(flag)
    }
}

/// The option flags that the user gave to a command. `S` selects the options that the command takes.
#[derive(Debug, Clone)]
pub(super) struct OptionFlags<S> {
    /// The given flags and values as command line words, such as `--lr=0.1`.
    given: Vec<OsString>,
    selection: PhantomData<S>,
}

impl<S> OptionFlags<S> {
    /// Sets the options whose flags were given.
    ///
    /// # Errors
    /// The parser's error. The flags have been parsed before, so an error here is a defect of the program.
    pub(super) fn apply(&self, options: &mut TrainOptions) -> Result<(), CommandError> {
        let matches = all_flags().no_binary_name(true).try_get_matches_from(&self.given);
        let applied = matches.and_then(|matches| options.update_from_arg_matches(&matches));
        applied.map_err(|e| CommandError::new(exit_code::USAGE, e))
    }
}

impl<S: Selection> Args for OptionFlags<S> {
    fn augment_args(command: Command) -> Command {
        let defaults = FitFile::default().table().unwrap_or_default();
        let flags = all_flags();
        let selected = flags.get_arguments().cloned().filter_map(S::select);
        command.args(selected.map(|flag| with_default(flag, &defaults)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Selection> FromArgMatches for OptionFlags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for flag in all_flags().get_arguments().cloned().filter_map(S::select) {
            let Some(name) = flag.get_long() else { continue };
            for value in matches.get_raw(flag.get_id().as_str()).into_iter().flatten() {
                // Join name and value to one word, so that a value that begins with a hyphen is not parsed as a flag.
                let mut word = OsString::from(format!("--{name}="));
                word.push(value);
                given.push(word);
            }
        }
        Ok(Self { given, selection: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns a command with the flags of all options. They have no default values: a flag that is not given changes no
/// option.
fn all_flags() -> Command {
    // Without a display order the flags appear in the help where the command adds them.
    TrainOptions::augment_args_for_update(Command::new("options").next_display_order(None))
}

/// Adds the option's default value to the help text of its flag. Returns the flag unchanged if the help text already
/// states a default or the option has none.
fn with_default(flag: Arg, defaults: &toml::Table) -> Arg {
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    match defaults.get(flag.get_id().as_str()) {
        Some(toml::Value::String(text)) if text.is_empty() => flag,
        Some(value) if !help.contains("[default: ") => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            flag.help(format!("{help} [default: {text}]"))
        }
        _ => flag,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{HeadName, Trainable};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: OptionFlags<AllOptions>,
    }

    struct Two;

    impl Selection for Two {
        fn select(flag: Arg) -> Option<Arg> {
            ["lr", "train"].contains(&flag.get_id().as_str()).then_some(flag)
        }
    }

    #[test]
    fn given_flags_change_their_options_and_no_others() {
        let mut options = TrainOptions { epochs: 7, ..TrainOptions::default() };
        let words = ["x", "--lr", "0.25", "--train", "last:2", "--head", "hyper", "--crop-px", "64", "--name=-a b"];
        Line::try_parse_from(words).unwrap().flags.apply(&mut options).unwrap();
        let expected = TrainOptions {
            epochs: 7,
            lr: 0.25,
            train: Trainable::Last(2),
            head: Some(HeadName::Hyper),
            crop_px: Some(64),
            name: "-a b".to_owned(),
            ..TrainOptions::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn every_flag_is_a_key_of_the_file() {
        let keys = FitFile::default().table().unwrap();
        for flag in all_flags().get_arguments() {
            let name = flag.get_long().unwrap().replace('-', "_");
            // TOML has no key for an option without a value.
            assert!(keys.contains_key(&name) || ["head", "fold", "crop_px"].contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn a_selection_has_only_its_flags() {
        let command = OptionFlags::<Two>::augment_args(Command::new("x"));
        assert_eq!(command.get_arguments().count(), 2);
        let help = command.clone().render_help().to_string();
        assert!(help.contains("Highest learning rate [default: 0.0015]"), "{help}");
        let matches = command.try_get_matches_from(["x", "--lr=2"]).unwrap();
        assert_eq!(OptionFlags::<Two>::from_arg_matches(&matches).unwrap().given, ["--lr=2"]);
    }
}
