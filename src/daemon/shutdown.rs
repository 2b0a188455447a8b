//! Stop requests to threads. Dropping the handle is the only way to request a stop, so returning early requests a stop too.

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

/// Requests a stop when it is dropped. All threads that have a token of this handle then stop.
#[derive(Debug)]
pub(super) struct StopHandle {
    _sender: Sender<()>,
}

/// Reports a stop request to a thread.
#[derive(Debug, Clone)]
pub(super) struct StopToken {
    receiver: Receiver<()>,
}

/// Returns a handle and its token.
pub(super) fn stop_pair() -> (StopHandle, StopToken) {
    let (sender, receiver) = bounded(0);
    (StopHandle { _sender: sender }, StopToken { receiver })
}

impl StopToken {
    /// Returns whether the handle was dropped.
    pub(super) fn is_stopped(&self) -> bool {
        self.receiver.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Returns a channel for `select!` that disconnects, and so becomes ready, when the handle is dropped.
    pub(super) fn channel(&self) -> &Receiver<()> {
        &self.receiver
    }
}
