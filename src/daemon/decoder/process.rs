//! Starts, controls and ends a decoder process from the daemon.

use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::choice::Decoders;
use super::error::DecodeError;
use super::here::Here;
use super::opened::Opened;
use super::protocol::{Reply, Request, receive, receive_bytes, send};
use crate::daemon::work::FileFailure;
use crate::store::Stage;
use edge_model::image_input::{Prepared, RgbImage};

/// Time limit for the first reply of a new decoder process.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of memory that a decoder process needs besides pixels: the program, its stack and the decoders' data.
const BASE_MEMORY_BYTES: u64 = 512 << 20;
/// Capacity of the reply pipe in bytes. A large pipe passes a picture's pixels in fewer, larger pieces.
const PIPE_BYTES: usize = 1 << 20;

/// Decodes files in a decoder process. Starts the process for the first file. If the process has ended, starts a new one for the next
/// file.
pub(in crate::daemon) struct DecoderProcess {
    /// Decodes in the daemon if no process can be started. This is less safe, but files are still scored.
    here: Here,
    timeout: Duration,
    running: Option<Running>,
    /// Whether the file that was opened last is decoded in the daemon.
    decodes_here: bool,
    has_warned: bool,
}

struct Running {
    child: Child,
    to: ChildStdin,
    from: TimedPipe,
}

impl DecoderProcess {
    pub(super) fn new(here: Here, timeout: Duration) -> Self {
        Self { here, timeout, running: None, decodes_here: false, has_warned: false }
    }

    pub(super) fn open(&mut self, path: &Path) -> Result<Opened, DecodeError> {
        // If the process ended while it was idle, a new one decodes the next file.
        if self.running.as_mut().is_some_and(|r| !matches!(r.child.try_wait(), Ok(None))) {
            self.running = None;
        }
        if self.running.is_none() {
            match self.start() {
                Ok(running) => self.running = Some(running),
                Err(error) if !self.has_warned => {
                    log::warn!(
                        "no decoder process can be started: {error}. Files are decoded in the daemon itself, so a broken \
                         file can stop the daemon. Check this user's limits on processes and memory"
                    );
                    self.has_warned = true;
                }
                Err(_) => {}
            }
        }
        self.decodes_here = self.running.is_none();
        if let Some(running) = &mut self.running {
            running.from.deadline = Instant::now() + self.timeout;
        } else {
            return self.here.open(path);
        }
        match self.ask(&Request::Open { path: path.as_os_str().as_bytes().to_vec() })? {
            Reply::Opened(opened) => Ok(opened),
            other => Err(self.refused(other)),
        }
    }

    pub(super) fn keywords(&mut self) -> Result<Vec<String>, DecodeError> {
        if self.decodes_here {
            return self.here.keywords();
        }
        match self.ask(&Request::Keywords)? {
            Reply::Keywords(keywords) => Ok(keywords),
            other => Err(self.refused(other)),
        }
    }

    pub(super) fn picture(&mut self) -> Result<Prepared, DecodeError> {
        if self.decodes_here {
            return self.here.picture();
        }
        match self.ask(&Request::Picture)? {
            Reply::Picture { facts } => {
                let input = self.receive_input().map_err(|error| self.crash_failure(&error))?;
                Ok(Prepared { facts, input })
            }
            other => Err(self.refused(other)),
        }
    }

    /// Receives the pixels that follow the reply [`Reply::Picture`].
    fn receive_input(&mut self) -> io::Result<RgbImage> {
        let running = self.running.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        let (width, height) = self.here.rule.input_size();
        let bytes = receive_bytes(&mut running.from, 3 * width as usize * height as usize)?;
        RgbImage::from_raw(width, height, bytes).ok_or(ErrorKind::InvalidData.into())
    }

    fn start(&self) -> io::Result<Running> {
        // `/proc/self/exe` starts the running program even after an upgrade has replaced its file.
        let mut command = Command::new("/proc/self/exe");
        command.arg(Decoders::ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C reaches only the daemon, because the process has its own process group. The daemon lets its decoders finish.
        let mut child = command.process_group(0).spawn()?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { return Err(ErrorKind::BrokenPipe.into()) };
        // Ignore a failure: a smaller pipe is only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&from, PIPE_BYTES);
        let from = TimedPipe { pipe: from, deadline: Instant::now() + START_TIMEOUT };
        let mut running = Running { child, to, from };
        let limits = self.here.limits;
        // `max_decode_bytes` counts the decoder's buffers and the RGB copy. The factor leaves room for the temporary upright
        // copy and the luma.
        let memory_bytes = limits.max_decode_bytes.saturating_mul(3).saturating_add(limits.max_file_bytes);
        let memory_bytes = memory_bytes.saturating_add(BASE_MEMORY_BYTES);
        send(&mut running.to, &Request::Begin { rule: self.here.rule.clone(), limits, memory_bytes })?;
        match receive(&mut running.from)? {
            Some(Reply::Ready) => Ok(running),
            _ => Err(io::Error::other("the new process sent no valid reply")),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, DecodeError> {
        let running = self.running.as_mut().ok_or(ErrorKind::BrokenPipe.into());
        let reply = running.and_then(|running| {
            send(&mut running.to, request)?;
            receive(&mut running.from)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
        });
        reply.map_err(|error| self.crash_failure(&error))
    }

    fn refused(&mut self, reply: Reply) -> DecodeError {
        match reply {
            Reply::Gone => DecodeError::Gone,
            Reply::Failed(failure) => DecodeError::Failed(failure),
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
