//! Asking threads to stop. Dropping the handle asks; there is no other way, so an early return asks too.

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

/// Held by who decides; dropped to stop everything that holds a token.
#[derive(Debug)]
pub(super) struct StopHandle {
    _sender: Sender<()>,
}

/// Held by every thread that must be able to stop.
#[derive(Debug, Clone)]
pub(super) struct StopToken {
    receiver: Receiver<()>,
}

/// A handle and its token.
pub(super) fn stop_pair() -> (StopHandle, StopToken) {
    let (sender, receiver) = bounded(0);
    (StopHandle { _sender: sender }, StopToken { receiver })
}

impl StopToken {
    /// Whether the handle is gone.
    pub(super) fn is_stopped(&self) -> bool {
        self.receiver.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// A channel that becomes ready, by disconnecting, when the handle is dropped; for `select!`.
    pub(super) fn channel(&self) -> &Receiver<()> {
        &self.receiver
    }
}
