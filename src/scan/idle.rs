//! What a reader holds between two calls: anybody who waits for memory may take it away, and the next call
//! begins anew where the last one ended. Invariant: a call that ends, in whatever way, leaves what it holds
//! where it can be taken.
//!
//! Rows that are ready and few are no matter: they may stay, so that a turn is worth its while.

use crate::env::{Budget, Yields};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What can be taken away.
pub(super) trait Held: Send + Sized + 'static {
    /// What stays of it, which is small, and what goes.
    fn taken(self) -> (Option<Self>, Option<Self>);
}

/// The place where it is left.
pub(super) struct Idle<T>(Mutex<Option<T>>);

impl<T: Held> Idle<T> {
    /// Nothing there yet; asked for by `budget` when somebody waits.
    pub(super) fn of(budget: &Budget) -> Arc<Self> {
        let idle = Arc::new(Self(Mutex::new(None)));
        let holder: Weak<dyn Yields> = Arc::<Self>::downgrade(&idle);
        budget.register(holder);
        idle
    }

    fn swap(&self, held: Option<T>) -> Option<T> {
        std::mem::replace(
            &mut self.0.lock().unwrap_or_else(PoisonError::into_inner),
            held,
        )
    }
}

impl<T: Held> Yields for Idle<T> {
    fn give_back(&self) {
        let goes = {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (stays, goes) = held.take().map_or((None, None), T::taken);
            *held = stays;
            goes
        };
        // Whoever waited for it is woken here.
        drop(goes);
    }
}

/// A call: it has what was left, if that is still there.
pub(super) struct Call<T: Held> {
    idle: Arc<Idle<T>>,
    budget: Budget,
    pub(super) held: Option<T>,
}

impl<T: Held> Call<T> {
    pub(super) fn begin(idle: &Arc<Idle<T>>, budget: &Budget) -> Self {
        Self {
            held: idle.swap(None),
            idle: idle.clone(),
            budget: budget.clone(),
        }
    }
}

impl<T: Held> Drop for Call<T> {
    fn drop(&mut self) {
        if self.held.is_some() {
            drop(self.idle.swap(self.held.take()));
            // Who began to wait meanwhile found nothing to take.
            if self.budget.contended() {
                self.idle.give_back();
            }
        }
    }
}
