//! Messages between the daemon and its decoder processes: a length (u32, little-endian) and so many bytes of JSON. The pixels of
//! a picture follow their message, S rows of S times red, green and blue.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Opened;
use crate::daemon::work::FileFailure;
use edge_model::image_input::{InputRule, Limits, PictureFacts};

/// Longer messages are none: a path and its escapes, or 64 keywords, stay far below.
const LONGEST_BYTES: u32 = 1 << 20;

/// What the daemon asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// First of all: how to work, and the memory that the process may take.
    Begin { rule: InputRule, limits: Limits, memory_bytes: u64 },
    /// Read the file of this name, as raw bytes.
    Open { path: Vec<u8> },
    /// The keywords in what was read.
    Keywords,
    /// The picture in what was read.
    Picture,
}

/// What the process answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// To `Begin`.
    Ready,
    /// To `Open`.
    Opened(Opened),
    /// To `Keywords`.
    Keywords(Vec<String>),
    /// To `Picture`; the pixels follow.
    Picture { facts: PictureFacts, side_px: u32 },
    /// To any of them: there is no such file.
    Gone,
    /// To any of them.
    Failed(FileFailure),
}

pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&text)?;
    to.flush()
}

/// The next message; none where the other side has ended between two messages.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    loop {
        match from.read(&mut length[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            // A signal that is left to the daemon wakes its decoders too.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    from.read_exact(&mut length[1..])?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
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
    fn what_is_cut_off_or_no_message_is_an_error() {
        let mut whole = Vec::new();
        send(&mut whole, &Request::Keywords).unwrap();
        for end in 1..whole.len() {
            assert!(receive::<Request>(&mut &whole[..end]).is_err(), "{end} bytes");
        }
        assert!(receive::<Request>(&mut [0xff; 64].as_slice()).is_err());
    }
}
