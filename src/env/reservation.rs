//! Bytes of a [`Budget`] that somebody holds. Invariant: a budget's `used` is what its reservations say, but for
//! those whose holders vanished and were written off.

use super::Budget;
use std::{fmt, future::poll_fn, pin::pin};

/// Reserved bytes. Dropping it gives them back.
pub struct Reservation {
    pub(super) budget: Budget,
    pub(super) bytes: usize,
    /// Where the holder may vanish: its number.
    pub(super) lease: Option<u64>,
}

impl Reservation {
    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps `bytes` and gives the rest back; never takes more.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.set(bytes);
        }
    }

    /// Whether `more` bytes could be added without waiting.
    pub fn try_grow(&mut self, more: usize) -> bool {
        match self.budget.try_reserve(more) {
            Some(reservation) => {
                self.merge(reservation);
                true
            }
            None => false,
        }
    }

    /// Adds bytes that are in memory already (see [`Budget::take`]).
    pub fn take(&mut self, more: usize) {
        self.set(self.bytes.saturating_add(more));
    }

    /// Becomes `bytes`, whether there is room or not.
    pub fn set(&mut self, bytes: usize) {
        self.budget.clone().resize(self, bytes);
    }

    /// Splits `bytes` off (all there are, if it has fewer).
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.budget.clone().split(self, bytes)
    }

    /// Takes over another's bytes, of the same budget.
    pub fn merge(&mut self, other: Self) {
        self.budget.clone().merge(self, other);
    }

    /// The holder is there: it is not to be written off. Who was is counted again.
    pub fn touch(&self) {
        if self.lease.is_some() {
            self.budget.touch(self);
        }
    }

    /// Does `work` with it: whenever that moves, the holder is seen to be there.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.touch();
            work.as_mut().poll(context)
        })
        .await
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 || self.lease.is_some() {
            self.budget.end(self);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({} of {:?})", self.bytes, self.budget)
    }
}
