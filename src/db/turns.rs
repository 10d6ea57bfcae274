//! One call at a time, in the order they came: what waits is served first in, first out, so that a
//! busy queue of commits cannot starve a flush; and no clock is asked (a lock that grows fair after half
//! a millisecond makes two runs of one seed differ). A caller that stops waiting leaves the line.

use futures_channel::oneshot;
use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A line of calls.
#[derive(Default)]
pub(super) struct Turns {
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    taken: bool,
    waiting: VecDeque<oneshot::Sender<()>>,
}

impl Turns {
    /// Waits for this call's turn, which lasts until the guard goes.
    pub(super) async fn take(&self) -> Turn<'_> {
        let receiver = {
            let mut line = self.line();
            if !std::mem::replace(&mut line.taken, true) {
                return Turn(self);
            }
            let (sender, receiver) = oneshot::channel();
            line.waiting.push_back(sender);
            receiver
        };
        let mut place = Place {
            turns: self,
            receiver,
        };
        // A sender is used before it is dropped, for the line lives as long as this call.
        let _ = (&mut place.receiver).await;
        // From here on it is the turn's to pass on.
        place.receiver.close();
        Turn(self)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn of the first who still waits.
    fn pass_on(&self) {
        loop {
            let next = {
                let mut line = self.line();
                line.taken = !line.waiting.is_empty();
                line.waiting.pop_front()
            };
            if next.is_none_or(|next| next.send(()).is_ok()) {
                return;
            }
        }
    }
}

/// A place in the line. Left early, it passes on the turn it may have been given already.
struct Place<'a> {
    turns: &'a Turns,
    receiver: oneshot::Receiver<()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(Some(())) = self.receiver.try_recv() {
            self.turns.pass_on();
        }
    }
}

/// This call's turn.
pub(super) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// A value that one call at a time may use.
pub(super) struct InTurn<T> {
    turns: Turns,
    /// Whoever locks it has the turn; a `peek` is over at once.
    value: async_lock::Mutex<T>,
}

impl<T> InTurn<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            turns: Turns::default(),
            value: async_lock::Mutex::new(value),
        }
    }

    pub(super) async fn lock(&self) -> InTurnGuard<'_, T> {
        let turn = self.turns.take().await;
        InTurnGuard {
            value: self.value.lock().await,
            _turn: turn,
        }
    }

    /// A look at the value, if nobody is using it.
    pub(super) fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.value.try_lock().map(|value| look(&value))
    }
}

/// The value, for one call. Fields go in order: the value is free before the next call has its turn.
pub(super) struct InTurnGuard<'a, T> {
    value: async_lock::MutexGuard<'a, T>,
    _turn: Turn<'a>,
}

impl<T> Deref for InTurnGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for InTurnGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
