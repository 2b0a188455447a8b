//! Tests a model on a device in a child process, so that a driver that hangs or crashes does not take the report with it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use edge_model::backend::{BackendOptions, DeviceChoice, Fact};
use edge_model::image_input::{Limits, decode_reduced, encoder_input};
use edge_model::scorer::{Scorer, ScorerError};

/// Maximum time of a test. The first test on a GPU compiles its GPU kernels, which takes minutes on a small board.
const PROOF_TIMEOUT: Duration = Duration::from_secs(900);
/// Maximum time in which a child process reports the versions of the GPU libraries.
const FACTS_TIMEOUT: Duration = Duration::from_secs(90);
/// Number of measured runs of the image encoder. The time of the fastest run is reported.
const MEASURED_RUNS: usize = 5;

/// The result of a test in which the model reproduced its goldens on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
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
    #[error("the child process did not finish within {} s", limit.as_secs())]
    TimedOut {
        /// The time after which the child process was killed.
        limit: Duration,
    },
    /// The child process ended without a result, for example because the driver crashed.
    #[error("the child process ended without a result ({status})")]
    Crashed {
        /// Exit status or signal of the child process.
        status: ExitStatus,
    },
    /// The child process refused the model. Holds the message of its [`ScorerError`].
    #[error("{0}")]
    Refused(String),
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
    Ok(Proof { precision, open_s, image_s, score_off: replay.score, embedding_off })
}

/// Starts child processes that test a model. A child process runs this program with an internal subcommand.
#[derive(Debug, Clone)]
pub struct Prover {
    program: PathBuf,
}

impl Prover {
    /// The hidden subcommand that runs a test in a child process.
    pub const ARGUMENT: &str = "prove";

    /// Creates a prover that starts the program of this process.
    ///
    /// # Errors
    /// Fails if the path of the program is unknown.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { program: std::env::current_exe()? })
    }

    /// Tests a model on a device in a child process, without the cache of prepared graphs.
    pub(super) fn prove(
        &self,
        model: &Path,
        device: DeviceChoice,
        options: &BackendOptions,
    ) -> Result<Proof, ProverError> {
        let mut command = self.command();
        command.arg("--model").arg(model).args([
            "--device",
            &device.to_string(),
            "--precision",
            &options.precision.to_string(),
            "--gpu-timeout-s",
            &options.gpu_timeout.as_secs().to_string(),
        ]);
        output_of::<Result<Proof, String>>(command, PROOF_TIMEOUT)?.map_err(ProverError::Refused)
    }

    /// Returns facts about the GPU and its libraries, read in a child process.
    pub(super) fn facts(&self) -> Result<Vec<Fact>, ProverError> {
        let mut command = self.command();
        command.arg("--facts");
        output_of(command, FACTS_TIMEOUT)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Messages of libraries on stderr would disturb the report. Errors are part of the JSON on stdout.
        command.arg(Self::ARGUMENT).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

/// Runs a command and parses the JSON on its standard output. Kills the process if it exceeds the time limit.
fn output_of<T: DeserializeOwned>(mut command: Command, limit: Duration) -> Result<T, ProverError> {
    let program = PathBuf::from(command.get_program());
    let process = |source| ProverError::Process { program: program.clone(), source };
    let mut child = command.spawn().map_err(process)?;
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.and_then(|mut out| out.read_to_string(&mut text).ok());
        text
    });
    let status = wait(&mut child, limit).map_err(process)?;
    let text = reader.join().unwrap_or_default();
    let status = status.ok_or(ProverError::TimedOut { limit })?;
    serde_json::from_str(&text).map_err(|_| ProverError::Crashed { status })
}

/// Waits for the child process and returns its exit status. At the time limit, kills the process and returns none.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Vec<u32>, ProverError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        output_of(command, limit)
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
    }
}
