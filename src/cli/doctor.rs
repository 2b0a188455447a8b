//! `edge-scorer doctor`, and the internal subcommand of its child processes.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::options::{Common, ListFormat, ListOutput};
use crate::doctor::{Finding, Severity, examine};
use crate::prover::{Prover, TrialLimits, prove};
use edge_cli::output::{printable, write_json};
use edge_cli::{CommandError, Outcome, exit_code};
use edge_model::backend::{BackendOptions, DeviceChoice, Precision, cuda_facts};

#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    output: ListOutput,
}

const NOTES: &str =
    "Each line names a subject and the result of its examination. `!` marks a result that could be better and `X` a
problem; the line below such a result gives advice. The exit code is 1 if there is a problem. Run the doctor as the
daemon's user, so that it has the same permissions:
  sudo -u edge-scorer edge-scorer doctor --config /etc/edge-scorer/edge-scorer.toml";

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let settings = arguments.common.settings(&[], &[])?;
    if stderr().is_terminal() {
        eprintln!("testing the model on each device; the first test on a GPU takes minutes");
    }
    let (mut findings, mut problems, mut written) = (Vec::new(), 0, Ok(()));
    examine(&settings, Prover, &mut |finding| {
        problems += usize::from(finding.severity == Severity::Problem);
        match arguments.output.format {
            ListFormat::Table if written.is_ok() => written = write(&finding),
            ListFormat::Table => {}
            ListFormat::Json => findings.push(finding),
        }
    });
    written?;
    if let ListFormat::Json = arguments.output.format {
        write_json(&mut stdout(), &serde_json::json!({ "problems": problems, "findings": findings }))?;
    }
    match problems {
        0 => Ok(()),
        1 => Err(CommandError::new(exit_code::SOME_FAILED, "1 problem found; follow the advice")),
        _ => Err(CommandError::new(exit_code::SOME_FAILED, format!("{problems} problems found; follow the advice"))),
    }
}

fn write(finding: &Finding) -> std::io::Result<()> {
    let mark = match finding.severity {
        Severity::Fine => ' ',
        Severity::Note => '!',
        Severity::Problem => 'X',
    };
    let mut out = stdout().lock();
    let (subject, found) = (printable(&finding.subject), printable(&finding.found));
    writeln!(out, "{mark} {:<9} {subject}: {found}", finding.area)?;
    if let Some(next) = &finding.next {
        writeln!(out, "            {}", printable(next))?;
    }
    Ok(())
}

/// Arguments of a child process.
#[derive(Debug, Args)]
pub(super) struct ProveArguments {
    /// Report the GPU and its libraries
    #[arg(long)]
    facts: bool,
    /// Test this model
    #[arg(long, required_unless_present = "facts")]
    model: Option<PathBuf>,
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    #[arg(long, default_value_t)]
    precision: Precision,
    /// Time limit for one run on a GPU in seconds
    #[arg(long, default_value_t = BackendOptions::GPU_TIMEOUT_S)]
    gpu_timeout_s: u64,
    /// Largest size of the address space in MiB
    #[arg(long, requires = "time_s")]
    memory_mib: Option<u64>,
    /// Longest time in seconds
    #[arg(long, requires = "memory_mib")]
    time_s: Option<u64>,
}

/// Runs in a child process of `doctor` or the daemon: tests the model or reads GPU facts, and prints the result as JSON.
pub(super) fn answer(arguments: &ProveArguments) -> Outcome {
    if let (Some(memory_mib), Some(time_s)) = (arguments.memory_mib, arguments.time_s) {
        TrialLimits { memory_mib, time_s }.enter()?;
    }
    let answer = match &arguments.model {
        Some(model) if !arguments.facts => {
            let gpu_timeout = Duration::from_secs(arguments.gpu_timeout_s);
            let options = BackendOptions { precision: arguments.precision, cache_dir: None, gpu_timeout };
            let proof = prove(model, arguments.device, &options).map_err(|e| e.to_string());
            serde_json::to_string(&proof)
        }
        _ => serde_json::to_string(&cuda_facts()),
    };
    let answer = answer.map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?;
    writeln!(stdout(), "{answer}")?;
    Ok(())
}
