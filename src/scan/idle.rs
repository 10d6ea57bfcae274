//! What a reader holds between two calls: anybody who waits for memory may take it away, and the next call
//! begins anew where the last one ended. Invariant: a call that ends, in whatever way, leaves what it holds
//! where it can be taken.

use crate::env::{Budget, Yields};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The place where it is left.
pub(super) struct Idle<T>(Mutex<Option<T>>);

impl<T: Send + 'static> Idle<T> {
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

impl<T: Send + 'static> Yields for Idle<T> {
    fn give_back(&self) {
        drop(self.swap(None));
    }
}

/// A call: it has what was left, if that is still there.
pub(super) struct Call<T: Send + 'static> {
    idle: Arc<Idle<T>>,
    budget: Budget,
    pub(super) held: Option<T>,
}

impl<T: Send + 'static> Call<T> {
    pub(super) fn begin(idle: &Arc<Idle<T>>, budget: &Budget) -> Self {
        Self {
            held: idle.swap(None),
            idle: idle.clone(),
            budget: budget.clone(),
        }
    }
}

impl<T: Send + 'static> Drop for Call<T> {
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
