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
pub(super) struct Line {
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    taken: bool,
    waiting: VecDeque<oneshot::Sender<()>>,
}

impl Line {
    /// Waits for this call's turn, which lasts until the guard goes.
    pub(super) async fn take(&self) -> First<'_> {
        let receiver = {
            let mut calls = self.calls();
            if !std::mem::replace(&mut calls.taken, true) {
                return First(self);
            }
            let (sender, receiver) = oneshot::channel();
            calls.waiting.push_back(sender);
            receiver
        };
        let mut place = Place {
            line: self,
            receiver,
        };
        // A sender is used before it is dropped, for the line lives as long as this call.
        let _ = (&mut place.receiver).await;
        // From here on it is the turn's to pass on.
        place.receiver.close();
        First(self)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn of the first who still waits.
    fn pass_on(&self) {
        loop {
            let next = {
                let mut calls = self.calls();
                calls.taken = !calls.waiting.is_empty();
                calls.waiting.pop_front()
            };
            if next.is_none_or(|next| next.send(()).is_ok()) {
                return;
            }
        }
    }
}

/// A place in the line. Left early, it passes on the turn it may have been given already.
struct Place<'a> {
    line: &'a Line,
    receiver: oneshot::Receiver<()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(Some(())) = self.receiver.try_recv() {
            self.line.pass_on();
        }
    }
}

/// This call's turn.
pub(super) struct First<'a>(&'a Line);

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// A value that one call at a time may use.
pub(super) struct Lined<T> {
    line: Line,
    /// Whoever locks it has the turn; a `peek` is over at once.
    value: async_lock::Mutex<T>,
}

impl<T> Lined<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            line: Line::default(),
            value: async_lock::Mutex::new(value),
        }
    }

    pub(super) async fn lock(&self) -> LinedGuard<'_, T> {
        let turn = self.line.take().await;
        LinedGuard {
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
pub(super) struct LinedGuard<'a, T> {
    value: async_lock::MutexGuard<'a, T>,
    _turn: First<'a>,
}

impl<T> Deref for LinedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for LinedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
