//! The decoder process: replies to requests on stdin until the pipe is closed.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::error::DecodeError;
use super::here::Here;
use super::protocol::{Reply, Request, receive, send, send_bytes};
use crate::daemon::signals;
use edge_model::image_input::Prepared;

/// Runs this process as a decoder for the daemon that started it, until the daemon closes the pipe or dies.
///
/// # Errors
/// The pipe is broken, or a message is invalid.
pub fn serve() -> io::Result<()> {
    signals::ignore_stops()?;
    // The kernel kills this process as soon as the daemon dies.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If memory runs out, the kernel shall kill the decoder and not the daemon. Ignore a refusal.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    answer(&mut io::stdin().lock(), &mut io::stdout().lock())
}

fn answer(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let Some(Request::Begin { rule, limits, memory_bytes }) = receive(from)? else { return Ok(()) };
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::As, limit(memory_bytes))?;
    // Disable core dumps: one holds a whole picture and could fill an SD card.
    setrlimit(Resource::Core, limit(0))?;
    let mut here = Here::new(rule, limits);
    send(to, &Reply::Ready)?;
    while let Some(request) = receive(from)? {
        match request {
            Request::Begin { .. } => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the request Begin was sent twice"));
            }
            Request::Open { path } => {
                let opened = here.open(&PathBuf::from(OsString::from_vec(path)));
                send(to, &opened.map_or_else(refusal, Reply::Opened))?;
            }
            Request::Keywords => send(to, &here.keywords().map_or_else(refusal, Reply::Keywords))?,
            Request::Picture => match here.picture() {
                Ok(prepared) => send_picture(to, prepared)?,
                Err(error) => send(to, &refusal(error))?,
            },
        }
    }
    Ok(())
}

fn send_picture(to: &mut impl Write, prepared: Prepared) -> io::Result<()> {
    let Prepared { facts, input } = prepared;
    send(to, &Reply::Picture { facts })?;
    send_bytes(to, input.as_raw())
}

fn refusal(error: DecodeError) -> Reply {
    match error {
        DecodeError::Gone => Reply::Gone,
        DecodeError::Failed(failure) => Reply::Failed(failure),
    }
}
