//! Starts, asks and ends a decoder process.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cage::{Cage, Layers};
use super::error::{DecodeError, FileFailure};
use super::protocol::{Reply, Request, receive, receive_bytes, send, send_file};
use super::serve::Arguments;
use crate::identity::ContentId;
use crate::own_program;
use crate::store::Stage;
use edge_model::image_input::{InputRule, Limits, Measures, Metadata, PictureFacts, Prepared, RgbImage};

/// Time limit for the first reply of a new decoder process.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of memory that a decoder process needs besides pixels: the program, its stack and the decoders' data.
const BASE_MEMORY_BYTES: u64 = 512 << 20;
/// Capacity of the reply pipe in bytes. A large pipe passes a picture's pixels in fewer, larger pieces.
const PIPE_BYTES: usize = 1 << 20;
/// Number of files after which a decoder process is replaced. Code that has taken over a process meets no more files than these.
const FILES_PER_PROCESS: u32 = 256;

/// Reads and decodes one file at a time in a decoder process. Starts the process for the first file. If the process has ended, starts a new
/// one for the next file.
pub struct Decoder {
    rule: InputRule,
    limits: Limits,
    timeout: Duration,
    running: Option<Running>,
}

struct Running {
    child: Child,
    to: UnixStream,
    from: TimedPipe,
    layers: Layers,
    /// Number of files that the process has been given.
    files: u32,
}

impl Decoder {
    /// A decoder for the input of a model. Reading and decoding one file may take `timeout`.
    pub fn new(rule: &InputRule, limits: &Limits, timeout: Duration) -> Self {
        Self { rule: rule.clone(), limits: *limits, timeout, running: None }
    }

    /// Starts the process if none runs. Returns the layers of its cage.
    ///
    /// # Errors
    /// [`DecodeError::NoProcess`].
    pub fn start(&mut self) -> Result<Layers, DecodeError> {
        // If the process ended while it was idle, a new one decodes the next file.
        let is_over =
            |running: &mut Running| running.files >= FILES_PER_PROCESS || !matches!(running.child.try_wait(), Ok(None));
        if self.running.as_mut().is_some_and(is_over) {
            self.running = None;
        }
        let running = match self.running.take() {
            Some(running) => running,
            None => self.started().map_err(|error| DecodeError::NoProcess(Arc::new(error)))?,
        };
        Ok(self.running.insert(running).layers)
    }

    /// Reads a file that is open at its beginning and has `size_bytes` bytes. Later calls of `keywords` and `picture` refer to it.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read(&mut self, file: &File, size_bytes: u64) -> Result<ContentId, DecodeError> {
        self.start()?;
        let timeout = self.timeout;
        let reply = self.ask(|running| {
            running.from.deadline = Instant::now() + timeout;
            running.files += 1;
            send_file(&mut running.to, &Request::Read { size_bytes }, file.as_fd())
        })?;
        match reply {
            Reply::Read(content_id) => Ok(content_id),
            other => Err(self.refused(other)),
        }
    }

    /// Returns the keywords in the file that was read last.
    ///
    /// # Errors
    /// [`DecodeError::Failed`].
    pub fn keywords(&mut self) -> Result<Vec<String>, DecodeError> {
        match self.ask(|running| send(&mut running.to, &Request::Keywords))? {
            Reply::Keywords(keywords) if Metadata::are_keywords(&keywords) => Ok(keywords),
            other => Err(self.refused(other)),
        }
    }

    /// Returns the picture in the file that was read last.
    ///
    /// # Errors
    /// [`DecodeError::Failed`].
    pub fn picture(&mut self) -> Result<Prepared, DecodeError> {
        match self.ask(|running| send(&mut running.to, &Request::Picture))? {
            Reply::Picture { facts } if is_plausible(&facts) => {
                let input = self.receive_input().map_err(|error| self.crash_failure(&error))?;
                Ok(Prepared { facts, input })
            }
            other => Err(self.refused(other)),
        }
    }

    /// Receives the pixels that follow the reply [`Reply::Picture`].
    fn receive_input(&mut self) -> io::Result<RgbImage> {
        let running = self.running.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        let (width, height) = self.rule.input_size();
        let bytes = receive_bytes(&mut running.from, 3 * width as usize * height as usize)?;
        RgbImage::from_raw(width, height, bytes).ok_or(ErrorKind::InvalidData.into())
    }

    fn started(&self) -> io::Result<Running> {
        let (mut to, requests) = UnixStream::pair()?;
        let mut command = own_program::command()?;
        command.args(Arguments::of(self.cage())).env_clear();
        command.stdin(OwnedFd::from(requests)).stdout(Stdio::piped()).stderr(Stdio::null());
        // Ctrl-C reaches only the daemon, because the process has its own process group. The daemon lets its decoders finish.
        let mut child = command.process_group(0).spawn()?;
        // The command still holds the decoder's end of the socket, which would hide the end of the process.
        drop(command);
        let from = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        // Ignore a failure: a smaller pipe is only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&from, PIPE_BYTES);
        let mut from = TimedPipe { pipe: from, deadline: Instant::now() + START_TIMEOUT };
        let reply = send(&mut to, &Request::Begin { rule: self.rule.clone(), limits: self.limits })
            .and_then(|()| receive(&mut from));
        let layers = match reply {
            Ok(Some(Reply::Ready { layers })) => Ok(layers),
            Ok(_) => Err(io::Error::other("the new process sent no valid reply")),
            Err(error) => Err(error),
        };
        let mut running = Running { child, to, from, layers: Layers { landlock: false, seccomp: false }, files: 0 };
        running.layers = layers?;
        Ok(running)
    }

    fn cage(&self) -> Cage {
        let Limits { max_decode_bytes, max_file_bytes, .. } = self.limits;
        // `max_decode_bytes` counts the decoder's buffers and the RGB copy. The factor leaves room for the temporary upright
        // copy and the luma.
        let memory_bytes = max_decode_bytes.saturating_mul(3).saturating_add(max_file_bytes);
        Cage {
            memory_bytes: memory_bytes.saturating_add(BASE_MEMORY_BYTES),
            cpu_s: self.timeout.as_secs().saturating_add(1).saturating_mul(u64::from(FILES_PER_PROCESS)),
        }
    }

    /// Sends a request and receives its reply.
    fn ask(&mut self, request: impl FnOnce(&mut Running) -> io::Result<()>) -> Result<Reply, DecodeError> {
        let running = self.running.as_mut().ok_or(ErrorKind::BrokenPipe.into());
        let reply = running.and_then(|running| {
            request(running)?;
            receive(&mut running.from)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
        });
        reply.map_err(|error| self.crash_failure(&error))
    }

    fn refused(&mut self, reply: Reply) -> DecodeError {
        match reply {
            Reply::Failed(failure) => DecodeError::Failed(failure.printable()),
            _ => self.crash_failure(&io::Error::new(ErrorKind::InvalidData, "the reply does not match the request")),
        }
    }

    /// Ends the process and returns the failure of the file.
    fn crash_failure(&mut self, error: &io::Error) -> DecodeError {
        let status = self.running.take().and_then(Running::end);
        let failure = if error.kind() == ErrorKind::TimedOut {
            let limit = self.timeout.as_secs_f64();
            let error = format!(
                "reading and decoding took longer than {limit} s. If the file is valid, raise limits.decode_timeout_s"
            );
            FileFailure { stage: Stage::Time, error }
        } else {
            FileFailure {
                stage: Stage::Crash,
                error: format!(
                    "the decoder process crashed on this file: {}. If other programs can open the file, please report the crash",
                    describe_end(status, error)
                ),
            }
        };
        DecodeError::Failed(failure)
    }
}

/// Returns whether these can be facts of a picture. A process that hostile code has taken over may send any.
fn is_plausible(facts: &PictureFacts) -> bool {
    let Measures { brightness, contrast, sharpness } = facts.measures;
    let Metadata { captured_at, keywords } = &facts.metadata;
    [brightness, contrast, sharpness].iter().all(|measure| measure.is_finite())
        && Metadata::are_keywords(keywords)
        && captured_at.as_ref().is_none_or(|time| time.parse::<Timestamp>().is_ok())
}

impl Running {
    /// Ends the process and returns its exit status. A process that has closed its pipe gets one second to end by itself.
    fn end(mut self) -> Option<ExitStatus> {
        // A process that has closed its pipe is about to end. A process that hangs must be killed.
        let deadline = Instant::now() + Duration::from_secs(1);
        let closed = self.from.is_closed();
        while closed && Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().ok()?;
        self.child.wait().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The exit status is not needed, but without the wait the process would remain as a zombie.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn describe_end(status: Option<ExitStatus>, error: &io::Error) -> String {
    match status.map(|s| (s.signal(), s.code())) {
        Some((Some(signal), _)) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown");
            let memory = if [6, 9].contains(&signal) { "; it may have run out of memory" } else { "" };
            format!("signal {signal} ({name}){memory}")
        }
        Some((_, Some(code))) => format!("exit status {code}"),
        _ => error.to_string(),
    }
}

/// A pipe whose reads fail after a deadline.
struct TimedPipe {
    pipe: ChildStdout,
    deadline: Instant,
}

impl TimedPipe {
    fn is_closed(&self) -> bool {
        let mut events = [PollFd::new(&self.pipe, PollFlags::IN)];
        poll(&mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok()
            && events[0].revents().contains(PollFlags::HUP)
    }
}

impl Read for TimedPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let wait = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&wait)) {
                Ok(0) => return Err(ErrorKind::TimedOut.into()),
                Ok(_) => return self.pipe.read(buffer),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_model::image_input::Format;

    #[test]
    fn facts_that_no_picture_has_are_refused() {
        let measures = Measures { brightness: 0.5, contrast: 0.25, sharpness: 0.125 };
        let metadata =
            Metadata { captured_at: Some("2026-01-02T03:04:05Z".to_owned()), keywords: vec!["bird".to_owned(); 64] };
        let facts = PictureFacts { format: Format::Jpeg, width_px: 4, height_px: 3, measures, metadata };
        assert!(is_plausible(&facts));
        let with = |change: fn(&mut PictureFacts)| {
            let mut facts = facts.clone();
            change(&mut facts);
            facts
        };
        assert!(!is_plausible(&with(|facts| facts.measures.contrast = f32::NAN)));
        assert!(!is_plausible(&with(|facts| facts.metadata.keywords.push("dog".to_owned()))));
        assert!(!is_plausible(&with(|facts| facts.metadata.keywords[0] = "x".repeat(201))));
        assert!(!is_plausible(&with(|facts| facts.metadata.captured_at = Some("; DROP TABLE".to_owned()))));
    }
}
