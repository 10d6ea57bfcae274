//! Wakes calls that wait for the state to move on, or for the handle to close. It carries nothing: who is
//! woken looks for himself. Invariant: a wake after `next` was called is not missed.

use futures_channel::oneshot;
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
pub(super) struct Watch(Mutex<Vec<oneshot::Sender<()>>>);

impl Watch {
    /// Resolves at the next wake, or when the handle is gone. Ask first, then look, then wait.
    pub(super) fn next(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|sender| !sender.is_canceled());
        waiting.push(sender);
        receiver
    }

    pub(super) fn wake(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for sender in waiting {
            let _ = sender.send(());
        }
    }
}
