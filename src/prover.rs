//! Tests a model on a device in a child process. A driver that hangs or crashes then does not take the report of the doctor with it, and a
//! bundle that exhausts memory, time or a library does not take the daemon with it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::own_program;
use edge_model::backend::{BackendOptions, DeviceChoice, Fact};
use edge_model::bundle::MAX_GRAPH_BYTES;
use edge_model::bundle::manifest::file;
use edge_model::image_input::{Limits, decode_reduced, encoder_input};
use edge_model::scorer::{Scorer, ScorerError};

/// Maximum time of a test. The first test on a GPU compiles its GPU kernels, which takes minutes on a small board.
const PROOF_TIMEOUT: Duration = Duration::from_secs(900);
/// Maximum time in which a child process reports the versions of the GPU libraries.
const FACTS_TIMEOUT: Duration = Duration::from_secs(90);
/// Memory of a trial besides that of the graphs: the program, the goldens, and the threads' stacks.
const TRIAL_BASE_MIB: u64 = 1024;
/// Memory of a trial per byte of the graphs. They are kept in 16 bits, and unpacked, converted and packed again.
const TRIAL_BYTES_PER_BYTE: u64 = 8;
/// Seconds of a trial besides those for the size of the graphs. The shipped model takes less than one on a small board.
const TRIAL_BASE_S: u64 = 60;
/// Most bytes of an answer. A process that a bundle has taken over may send any number.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Number of measured runs of the image encoder. The time of the fastest run is reported.
const MEASURED_RUNS: usize = 5;

/// The result of a test in which the model reproduced its goldens on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Digest of the model; see [`edge_model::bundle::Bundle::digest`].
    pub digest: String,
    /// Effective precision. May be wider than the requested one.
    pub precision: String,
    /// Seconds to open the bundle and to reproduce its goldens.
    pub open_s: f64,
    /// Seconds to embed one decoded image.
    pub image_s: f64,
    /// Largest difference of a score from its golden.
    pub score_off: f32,
    /// Largest difference of an embedding from its golden, as a fraction of the largest magnitude in the golden embeddings.
    pub embedding_off: f32,
}

/// Why a test in a child process has no result.
#[derive(Debug, thiserror::Error)]
pub enum ProverError {
    /// The child process cannot be started or waited for.
    #[error("{}: cannot be run: {source}", program.display())]
    Process {
        /// Path of the program that was to be started.
        program: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The child process did not finish in time and was killed.
    #[error("it did not finish within {} s", limit.as_secs())]
    TimedOut {
        /// The time after which the child process was killed.
        limit: Duration,
    },
    /// The child process ended without a result, for example because the driver crashed.
    #[error("its process ended without a result ({status})")]
    Crashed {
        /// Exit status or signal of the child process.
        status: ExitStatus,
    },
    /// The caller no longer waits for the result.
    #[error("the trial of the model was interrupted")]
    Interrupted,
    /// The child process refused the model. Holds the message of its [`ScorerError`].
    #[error("{0}")]
    Refused(String),
}

impl ProverError {
    /// Whether the same test may succeed later, because the failure is not that of the model.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Process { .. } | Self::Interrupted)
    }
}

/// Tests a model in this process.
///
/// # Errors
/// Returns the reason why the model is refused.
pub fn prove(model: &Path, device: DeviceChoice, options: &BackendOptions) -> Result<Proof, ScorerError> {
    let started = Instant::now();
    let scorer = Scorer::open_in(model, device, options)?;
    let open_s = started.elapsed().as_secs_f64();
    let mut image_s = f64::INFINITY;
    if let Some(name) = scorer.manifest().goldens.images.first() {
        let input = &scorer.manifest().image_input;
        let picture = decode_reduced(&scorer.bundle().read(name)?, &Limits::default(), input)
            .map_err(|source| ScorerError::GoldenImage { name: name.clone(), source })?;
        let pixels = [encoder_input(&picture, input)];
        for _ in 0..MEASURED_RUNS {
            let started = Instant::now();
            scorer.embed(&pixels)?;
            image_s = image_s.min(started.elapsed().as_secs_f64());
        }
    }
    let replay = scorer.replay();
    let embedding_off = replay.image_embedding.max(replay.text_embedding);
    let precision = scorer.device().precision.to_string();
    let digest = scorer.digest().to_owned();
    Ok(Proof { digest, precision, open_s, image_s, score_off: replay.score, embedding_off })
}

/// The resources of a child process that tries a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialLimits {
    /// Largest size of the address space, in MiB.
    pub memory_mib: u64,
    /// Longest time in seconds. The processor time may be as long on each core.
    pub time_s: u64,
}

impl TrialLimits {
    /// Limits for the bundle in `dir`, by the size of its graphs.
    fn of(dir: &Path) -> Self {
        let sizes = file::GRAPHS.iter().filter_map(|name| std::fs::metadata(dir.join(name)).ok());
        // A bundle with a larger graph is refused. Its size must not raise the limits.
        let mib = sizes.map(|metadata| metadata.len().min(MAX_GRAPH_BYTES)).sum::<u64>() >> 20;
        Self {
            memory_mib: TRIAL_BASE_MIB.saturating_add(mib.saturating_mul(TRIAL_BYTES_PER_BYTE)),
            time_s: TRIAL_BASE_S.saturating_add(mib),
        }
    }

    /// Confines this process for the rest of its life.
    ///
    /// # Errors
    /// The kernel refuses a limit.
    pub fn enter(self) -> std::io::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let limits = [
            (Resource::As, self.memory_mib.saturating_mul(1 << 20)),
            (Resource::Cpu, self.time_s.saturating_mul(cores)),
            (Resource::Core, 0),
            // A trial writes nothing but its answer.
            (Resource::Fsize, 0),
        ];
        for (resource, limit) in limits {
            setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
        }
        // It would go on without the daemon, which a stop signal may end before the trial does.
        Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
    }
}

/// Starts child processes that test a model. A child process runs this program with an internal subcommand.
#[derive(Debug, Clone, Copy)]
pub struct Prover;

impl Prover {
    /// The hidden subcommand that runs a test in a child process.
    pub const ARGUMENT: &str = "prove";

    /// Tests a model on a device in a child process, without the cache of prepared graphs.
    pub(crate) fn prove(
        self,
        model: &Path,
        device: DeviceChoice,
        options: &BackendOptions,
    ) -> Result<Proof, ProverError> {
        output_of::<Result<Proof, String>>(of_model(model, device, options)?, PROOF_TIMEOUT, &mut || true)?
            .map_err(ProverError::Refused)
    }

    /// Tries on the CPU whether a bundle can be opened with limited memory in limited time and reproduces its goldens. Asks `goes_on` every few
    /// milliseconds whether the caller still waits.
    pub(crate) fn try_bundle(
        self,
        model: &Path,
        options: &BackendOptions,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Proof, ProverError> {
        let limits = TrialLimits::of(model);
        let mut command = of_model(model, DeviceChoice::Cpu, options)?;
        command.args(["--memory-mib", &limits.memory_mib.to_string(), "--time-s", &limits.time_s.to_string()]);
        output_of::<Result<Proof, String>>(command, Duration::from_secs(limits.time_s), goes_on)?
            .map_err(ProverError::Refused)
    }

    /// Returns facts about the GPU and its libraries, read in a child process.
    pub(crate) fn facts(self) -> Result<Vec<Fact>, ProverError> {
        let mut command = command()?;
        command.arg("--facts");
        output_of(command, FACTS_TIMEOUT, &mut || true)
    }
}

fn of_model(model: &Path, device: DeviceChoice, options: &BackendOptions) -> Result<Command, ProverError> {
    let mut command = command()?;
    command.arg("--model").arg(model).args([
        "--device",
        &device.to_string(),
        "--precision",
        &options.precision.to_string(),
        "--gpu-timeout-s",
        &options.gpu_timeout.as_secs().to_string(),
    ]);
    Ok(command)
}

fn command() -> Result<Command, ProverError> {
    let unknown = |source| ProverError::Process { program: PathBuf::from("edge-scorer"), source };
    let mut command = own_program::command().map_err(unknown)?;
    // Messages of libraries on stderr would disturb the report. Errors are part of the JSON on stdout.
    command.arg(Prover::ARGUMENT).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command)
}

/// Runs a command and parses the JSON on its standard output. Kills the process if it exceeds the time limit, or when `goes_on` returns false.
fn output_of<T: DeserializeOwned>(
    mut command: Command,
    limit: Duration,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<T, ProverError> {
    let program = PathBuf::from(command.get_program());
    let process = |source| ProverError::Process { program: program.clone(), source };
    let mut child = command.spawn().map_err(process)?;
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.and_then(|out| out.take(MAX_ANSWER_BYTES).read_to_string(&mut text).ok());
        text
    });
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(process)? {
            break status;
        }
        let is_late = Instant::now() >= deadline;
        if is_late || !goes_on() {
            child.kill().map_err(process)?;
            child.wait().map_err(process)?;
            return Err(if is_late { ProverError::TimedOut { limit } } else { ProverError::Interrupted });
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = reader.join().unwrap_or_default();
    serde_json::from_str(&text).map_err(|_| ProverError::Crashed { status })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Vec<u32>, ProverError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        output_of(command, limit, &mut || true)
    }

    #[test]
    fn a_child_process_answers_crashes_or_is_killed() {
        let patience = Duration::from_secs(30);
        assert_eq!(shell("echo '[1, 2]'", patience).unwrap(), [1, 2]);
        let crashed = shell("kill -SEGV $$", patience).unwrap_err().to_string();
        assert!(crashed.contains("signal: 11"), "{crashed}");
        assert!(shell("echo nonsense; exit 3", patience).unwrap_err().to_string().contains("exit status: 3"));
        let hung = shell("exec sleep 60", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(hung, ProverError::TimedOut { .. }), "{hung}");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec sleep 60"]).stdout(Stdio::piped());
        let mut asked = 0;
        let stopped = output_of::<u32>(command, patience, &mut || {
            asked += 1;
            asked < 3
        });
        assert!(matches!(stopped, Err(ProverError::Interrupted)), "{stopped:?}");
    }
}
