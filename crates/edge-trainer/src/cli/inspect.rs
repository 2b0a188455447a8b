//! `edge-trainer inspect`: describes a bundle or a run directory.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use edge_cli::output::printable;
use edge_cli::{CommandError, Outcome, exit_code};
use edge_model::bundle::Bundle;
use edge_model::bundle::manifest::file;

use crate::checkpoint::{self, CheckpointError};
use crate::model::{TagScorer, parameters};

const EXAMPLES: &str = "Examples:
  edge-trainer inspect models/small
  edge-trainer inspect models/small.run";

/// The arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArguments {
    /// A bundle, or the directory of a run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Prints the description of the bundle or run directory on standard output.
pub fn run(arguments: &InspectArguments) -> Outcome {
    let dir = &arguments.dir;
    let text = if dir.join(file::MANIFEST).exists() {
        describe_bundle(dir)?
    } else if dir.join(checkpoint::MODEL).exists() {
        describe_run(dir)?
    } else {
        let (manifest, model) = (file::MANIFEST, checkpoint::MODEL);
        let dir = dir.display();
        let reason = format!("{dir}: not a bundle (there is no {manifest}) and not a run (there is no {model})");
        return Err(CommandError::new(exit_code::NO_INPUT, reason));
    };
    // A bundle or a run from a stranger may hold anything in its texts.
    text.lines().for_each(|line| println!("{}", printable(line)));
    Ok(())
}

fn describe_bundle(dir: &Path) -> Result<String, CommandError> {
    let bundle = Bundle::open(dir)?;
    bundle.verify()?;
    let m = bundle.manifest();
    let mut out = String::new();
    writeln!(out, "bundle          {}", dir.display())?;
    writeln!(out, "name            {}", m.name)?;
    writeln!(out, "digest          {}", bundle.digest())?;
    writeln!(out, "written         {} by {}", m.created_at, m.tool_version)?;
    let a = &m.architecture;
    writeln!(out, "image encoder   {}, embeddings of {}", a.image_encoder, a.embedding_dim)?;
    writeln!(out, "text encoder    {}, prompts of {} tokens", a.text_encoder, m.text_input.context_length)?;
    writeln!(out, "parameters      {}", a.parameters)?;
    for view in m.image_input.views_in_words() {
        writeln!(out, "input           {view}")?;
    }
    writeln!(out, "scores          {} to {}: {}", m.score_scale.min, m.score_scale.max, m.score_scale.unit)?;
    let unknown = if m.open_vocabulary { "accepted" } else { "accepted with a warning" };
    writeln!(out, "tags            {} trained; unknown tags are {unknown}", m.tags.len())?;
    writeln!(out, "default tags    {}", m.default_tags.join(", "))?;
    for data in &m.training.data {
        writeln!(out, "data            {} ({}), sha256 {}", data.name, data.licence, data.sha256)?;
    }
    let [train, validation, test] = m.training.examples;
    writeln!(out, "examples        {train} train, {validation} validation, {test} test; {}", m.training.split)?;
    writeln!(out, "command         {}", m.training.command)?;
    writeln!(out, "goldens         {} images x {} tags", m.goldens.images.len(), m.goldens.tags.len())?;
    writeln!(out, "\nmetrics")?;
    for (name, value) in &m.metrics {
        writeln!(out, "  {name:<36} {value:.4}")?;
    }
    writeln!(out, "\nfiles; all match their digests")?;
    for (name, digest) in &m.files {
        writeln!(out, "  {name:<24} {:>9} bytes  {}", digest.size_bytes, digest.sha256)?;
    }
    Ok(out)
}

fn describe_run(dir: &Path) -> Result<String, CommandError> {
    let about = checkpoint::read_about(dir)?;
    let mut out = String::new();
    writeln!(out, "run             {}", dir.display())?;
    writeln!(out, "best epoch      {}", about.epoch)?;
    writeln!(out, "validation      SRCC {:.4}, within tags {:.4}", about.srcc, about.within_tag_srcc)?;
    let [image, text] = about.shape.backbone.names();
    if let Some(fresh) = TagScorer::fresh(&about.shape, &Default::default()) {
        // Loading checks that the weights are complete.
        writeln!(out, "parameters      {}", parameters(&checkpoint::load(dir, &about, fresh)?))?;
    }
    writeln!(out, "image encoder   {image}{}", if about.head_only { ", not trained" } else { "" })?;
    writeln!(out, "text encoder    {text}, prompts of {} tokens", about.shape.context_length)?;
    writeln!(
        out,
        "head            {}",
        serde_json::to_string(&about.shape.head).unwrap_or_default().trim_matches('"')
    )?;
    writeln!(out, "scores          mean {:.3}, deviation {:.3}", about.unit.mean, about.unit.deviation)?;
    writeln!(out, "\nepochs")?;
    let path = dir.join(checkpoint::METRICS);
    let broken = |reason: String| CommandError::new(exit_code::CONFIG, format!("{}: {reason}", path.display()));
    let metrics = std::fs::read_to_string(&path).map_err(|e| broken(e.to_string()))?;
    for line in metrics.lines().filter(|l| !l.trim().is_empty()) {
        let e: serde_json::Value = serde_json::from_str(line).map_err(|e| broken(e.to_string()))?;
        let figure = |name: &str| e[name].as_f64().unwrap_or(f64::NAN);
        let mark = if e["best"].as_bool() == Some(true) { "  best so far" } else { "" };
        writeln!(
            out,
            "  {:>3}  loss {:.4}  SRCC {:.4}  within tags {:.4}{mark}",
            e["epoch"],
            figure("loss"),
            figure("srcc"),
            figure("within_tag_srcc")
        )?;
    }
    Ok(out)
}

impl From<CheckpointError> for CommandError {
    fn from(error: CheckpointError) -> Self {
        Self::new(exit_code::SOME_FAILED, error)
    }
}
