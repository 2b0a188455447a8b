//! The decoder process: replies to requests until the daemon closes its socket.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::cage::{Cage, Layers};
use super::file_decoder::FileDecoder;
use super::protocol::{Reply, Request, Requests, send, send_bytes};
use edge_model::image_input::Prepared;

/// The arguments of a decoder process.
#[derive(Debug, Clone, Copy, Args)]
pub struct Arguments {
    /// Largest size of the address space in bytes.
    #[arg(long)]
    memory_bytes: u64,
    /// Seconds of processor time over the life of the process.
    #[arg(long)]
    cpu_s: u64,
}

impl Arguments {
    /// The hidden subcommand that runs the program as a decoder process.
    pub const SUBCOMMAND: &'static str = "decoder-process";

    /// The command line for a decoder in this cage.
    pub(super) fn of(cage: Cage) -> [String; 5] {
        let Cage { memory_bytes, cpu_s } = cage;
        let flag = |name: &str| name.to_owned();
        [
            Self::SUBCOMMAND.to_owned(),
            flag("--memory-bytes"),
            memory_bytes.to_string(),
            flag("--cpu-s"),
            cpu_s.to_string(),
        ]
    }
}

/// Runs this process as a decoder for the process that started it, until that process closes the socket or dies. Standard input is the socket
/// of the requests, standard output the pipe of the replies.
///
/// # Errors
/// The socket is broken, a message is invalid, or the process cannot be caged.
pub fn serve(arguments: Arguments) -> io::Result<()> {
    ignore_stops()?;
    // The kernel kills this process as soon as the daemon dies.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If memory runs out, the kernel shall kill the decoder and not the daemon. Ignore a refusal.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let Arguments { memory_bytes, cpu_s } = arguments;
    let layers = Cage { memory_bytes, cpu_s }.enter()?;
    answer(Requests::new(io::stdin()), &mut io::stdout().lock(), layers)
}

fn answer(mut requests: Requests<impl AsFd>, to: &mut impl Write, layers: Layers) -> io::Result<()> {
    let Some(Request::Begin { rule, limits }) = requests.next()? else { return Ok(()) };
    let mut decoder = FileDecoder::new(rule, limits);
    send(to, &Reply::Ready { layers })?;
    while let Some(request) = requests.next()? {
        match request {
            Request::Begin { .. } => return Err(invalid("the request Begin was sent twice")),
            Request::Read { size_bytes } => {
                let file = File::from(requests.take_file().ok_or_else(|| invalid("a request came without its file"))?);
                send(to, &decoder.read(file, size_bytes).map_or_else(Reply::Failed, Reply::Read))?;
            }
            Request::Keywords => send(to, &decoder.keywords().map_or_else(Reply::Failed, Reply::Keywords))?,
            Request::Picture => match decoder.picture() {
                Ok(Prepared { facts, input }) => {
                    send(to, &Reply::Picture { facts })?;
                    send_bytes(to, input.as_raw())?;
                }
                Err(failure) => send(to, &Reply::Failed(failure))?,
            },
        }
    }
    Ok(())
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Makes this process ignore SIGTERM, SIGINT and SIGHUP. Service managers and terminals send them to a decoder process and its parent;
/// only the parent acts on them.
fn ignore_stops() -> io::Result<()> {
    // A registered handler replaces the signal's default action. No code reads the flag.
    let unread_flag = Arc::new(AtomicBool::new(false));
    [SIGTERM, SIGINT, SIGHUP].into_iter().try_for_each(|s| flag::register(s, Arc::clone(&unread_flag)).map(drop))
}
