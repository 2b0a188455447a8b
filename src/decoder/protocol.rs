//! Messages between a decoder process and its parent. A message is its length in bytes (u32, little-endian), followed by JSON. The file to
//! read is a descriptor that comes with the message [`Request::Read`]. After the message [`Reply::Picture`] come the pixels of the image
//! encoder's input, row by row, each with one byte of red, green and blue.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cage::Layers;
use super::error::FileFailure;
use crate::identity::ContentId;
use edge_model::image_input::{InputRule, Limits, PictureFacts};

/// The largest accepted message in bytes. The keywords of a file (at most 64) are far shorter.
const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// Request to a decoder process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first request: the input rule and the limits.
    Begin { rule: InputRule, limits: Limits },
    /// Reads the file of this size that comes with the message.
    Read { size_bytes: u64 },
    /// Returns the keywords in the file.
    Keywords,
    /// Returns the picture's facts and its pixels.
    Picture,
}

/// Reply from a decoder process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Reply to `Begin`: the decoder is caged and accepts files.
    Ready { layers: Layers },
    /// Reply to `Read`: content id of the file.
    Read(ContentId),
    /// Reply to `Keywords`: the keywords embedded in the file.
    Keywords(Vec<String>),
    /// Reply to `Picture`: the picture's facts. The pixels follow the message.
    Picture { facts: PictureFacts },
    /// Reply to any request but `Begin`: the file failed.
    Failed(FileFailure),
}

/// The requests that come from a socket, and their files.
pub(super) struct Requests<S: AsFd> {
    socket: S,
    files: VecDeque<OwnedFd>,
}

impl<S: AsFd> Requests<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, files: VecDeque::new() }
    }

    /// Receives the next request; `None` if the other side closed the socket between two requests.
    pub(super) fn next(&mut self) -> io::Result<Option<Request>> {
        receive(self)
    }

    /// Takes the file that came with the last request.
    pub(super) fn take_file(&mut self) -> Option<OwnedFd> {
        self.files.pop_front()
    }
}

impl<S: AsFd> Read for Requests<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        Ok(received.bytes)
    }
}

pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&framed(message)?)?;
    to.flush()
}

/// Sends a request with a file.
pub(super) fn send_file(mut to: impl Write + AsFd, message: &Request, file: BorrowedFd<'_>) -> io::Result<()> {
    let bytes = framed(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let files = [file];
    let sent = loop {
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Without NOSIGNAL a decoder that has ended would end this process too.
        match sendmsg(&to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => break sent?,
        }
    };
    to.write_all(&bytes[sent..])
}

fn framed(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok([&length.to_le_bytes(), text.as_slice()].concat())
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
    use std::io::Seek;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn requests_arrive_with_their_files_and_pixels_as_they_were_sent() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut requests = Requests::new(theirs);
        for text in ["first", "second"] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.rewind().unwrap();
            send_file(&mut ours, &Request::Read { size_bytes: 5 }, file.as_fd()).unwrap();
        }
        send(&mut ours, &Request::Keywords).unwrap();
        send_bytes(&mut ours, &[0, 13, 255]).unwrap();
        for expected in ["first", "second"] {
            assert!(matches!(requests.next().unwrap(), Some(Request::Read { size_bytes: 5 })));
            let mut text = String::new();
            std::fs::File::from(requests.take_file().unwrap()).read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        }
        assert!(matches!(requests.next().unwrap(), Some(Request::Keywords)));
        assert!(requests.take_file().is_none());
        assert_eq!(receive_bytes(&mut requests, 3).unwrap(), [0, 13, 255]);
        drop(ours);
        assert!(requests.next().unwrap().is_none());
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
