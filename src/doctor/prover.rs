//! Proving a model on a device in a process of its own: a driver may hang or crash, and the report must be written all the same.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use edge_model::backend::{DeviceChoice, Fact, Precision, Setup};
use edge_model::image_input::{Limits, decode_reduced, square};
use edge_model::scorer::{Scorer, ScorerError};

/// A GPU's kernels are compiled at the first start, which takes minutes on a small board.
const LONGEST_PROOF: Duration = Duration::from_secs(900);
/// Libraries answer at once.
const LONGEST_FACTS: Duration = Duration::from_secs(90);
/// Runs of the image encoder, of which the quickest counts.
const RUNS: usize = 5;

/// What a model proved on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// What the device computes in: a wider one than was asked for where it does not have that.
    pub precision: String,
    /// Seconds from nothing to a proved model.
    pub open_s: f64,
    /// Seconds for the embedding of one image, its decoding not included.
    pub image_s: f64,
    /// Largest difference of a golden's score.
    pub score_off: f32,
    /// Largest difference of a golden's embedding, as a share of the largest magnitude.
    pub embedding_off: f32,
}

/// Proves a model here and now, in this process.
///
/// # Errors
/// Why it is refused.
pub fn prove(model: &Path, device: DeviceChoice, precision: Precision) -> Result<Proof, ScorerError> {
    let started = Instant::now();
    let scorer = Scorer::open_in(model, device, &Setup { precision, cache_dir: None })?;
    let open_s = started.elapsed().as_secs_f64();
    let mut image_s = f64::INFINITY;
    if let Some(name) = scorer.manifest().goldens.images.first() {
        let input = &scorer.manifest().image_input;
        let picture = decode_reduced(&scorer.bundle().read(name)?, &Limits::default(), input)
            .map_err(|source| ScorerError::GoldenImage { name: name.clone(), source })?;
        let pixels = [square(&picture, input)];
        for _ in 0..RUNS {
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

/// Starts the children: the program itself with a hidden subcommand.
#[derive(Debug, Clone)]
pub struct Prover {
    program: PathBuf,
}

impl Prover {
    /// The hidden subcommand.
    pub const ARGUMENT: &str = "prove";

    /// Children of this program.
    ///
    /// # Errors
    /// Where the program's own file cannot be told.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { program: std::env::current_exe()? })
    }

    /// Proves a model on a device. The error is for people.
    pub(super) fn prove(&self, model: &Path, device: DeviceChoice, precision: Precision) -> Result<Proof, String> {
        let mut command = self.command();
        command.arg("--model").arg(model).args([
            "--device",
            &device.to_string(),
            "--precision",
            &precision.to_string(),
        ]);
        answer::<Result<Proof, String>>(command, LONGEST_PROOF)?
    }

    /// What is known of the GPU and its libraries.
    pub(super) fn facts(&self) -> Result<Vec<Fact>, String> {
        let mut command = self.command();
        command.arg("--facts");
        answer(command, LONGEST_FACTS)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Panics and messages of the libraries come in the answer.
        command.arg(Self::ARGUMENT).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

/// Runs a command that answers with JSON on its standard output, and ends it where it takes too long.
fn answer<T: DeserializeOwned>(mut command: Command, limit: Duration) -> Result<T, String> {
    let mut child = command.spawn().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.and_then(|mut out| out.read_to_string(&mut text).ok());
        text
    });
    let status = wait(&mut child, limit).map_err(|e| e.to_string())?;
    let text = reader.join().unwrap_or_default();
    let Some(status) = status else { return Err(format!("it has not answered for {} s", limit.as_secs())) };
    serde_json::from_str(&text).map_err(|_| format!("the process that asked it ended without an answer ({status})"))
}

/// None where it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let give_up = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= give_up {
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

    fn shell(script: &str, limit: Duration) -> Result<Vec<u32>, String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        answer(command, limit)
    }

    #[test]
    fn a_child_answers_crashes_or_is_ended() {
        let patience = Duration::from_secs(30);
        assert_eq!(shell("echo '[1, 2]'", patience), Ok(vec![1, 2]));
        let crashed = shell("kill -SEGV $$", patience).unwrap_err();
        assert!(crashed.contains("signal: 11"), "{crashed}");
        assert!(shell("echo nonsense; exit 3", patience).unwrap_err().contains("exit status: 3"));
        let hung = shell("exec sleep 60", Duration::from_millis(50)).unwrap_err();
        assert_eq!(hung, "it has not answered for 0 s");
    }
}
