//! Messages between the daemon and its decoder processes. A message is its length in bytes (u32, little-endian), followed
//! by JSON. After the message [`Reply::Picture`] come the pixels of the square: S rows of S pixels, each with one byte of
//! red, green and blue.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::opened::Opened;
use crate::daemon::work::FileFailure;
use edge_model::image_input::{InputRule, Limits, PictureFacts};

/// The largest accepted message in bytes. A path with its JSON escapes is far shorter, and so are the keywords of a file
/// (at most 64).
const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// Request from the daemon to the decoder process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first request: the input rule, the limits and the memory that the process may use.
    Begin { rule: InputRule, limits: Limits, memory_bytes: u64 },
    /// Reads the file at this path, given as raw bytes.
    Open { path: Vec<u8> },
    /// Returns the keywords in the opened file.
    Keywords,
    /// Returns the picture's facts and its square.
    Picture,
}

/// Reply from the decoder process to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Reply to `Begin`: the decoder accepts files.
    Ready,
    /// Reply to `Open`: content id and stamp of the file.
    Opened(Opened),
    /// Reply to `Keywords`: the keywords embedded in the file.
    Keywords(Vec<String>),
    /// Reply to `Picture`: the picture's facts and the side of its square. The square's pixels follow the message.
    Picture { facts: PictureFacts },
    /// Reply to any request: the file does not exist.
    Gone,
    /// Reply to any request: the file failed.
    Failed(FileFailure),
}

pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&text)?;
    to.flush()
}

/// Receives the next message; `None` if the other side closed the pipe between two messages.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    loop {
        match from.read(&mut length[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            // A signal such as SIGTERM, on which the decoder does not act, still interrupts the read.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    from.read_exact(&mut length[1..])?;
    let length = u32::from_le_bytes(length);
    if length > MAX_MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes is too long")));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

pub(super) fn send_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

pub(super) fn receive_bytes(from: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_pixels_arrive_as_they_were_sent() {
        let mut pipe = Vec::new();
        let path = b"/\xff\n\"".to_vec();
        send(&mut pipe, &Request::Open { path: path.clone() }).unwrap();
        send_bytes(&mut pipe, &[0, 13, 255]).unwrap();
        let mut from = pipe.as_slice();
        assert!(matches!(receive(&mut from).unwrap(), Some(Request::Open { path: arrived }) if arrived == path));
        assert_eq!(receive_bytes(&mut from, 3).unwrap(), [0, 13, 255]);
        assert!(receive::<Request>(&mut from).unwrap().is_none());
    }

    #[test]
    fn truncated_and_invalid_messages_are_errors() {
        let mut whole = Vec::new();
        send(&mut whole, &Request::Keywords).unwrap();
        for end in 1..whole.len() {
            assert!(receive::<Request>(&mut &whole[..end]).is_err(), "{end} bytes");
        }
        assert!(receive::<Request>(&mut [0xff; 64].as_slice()).is_err());
    }
}
