//! What a reader holds between two calls: anybody who waits for memory may take it away, and the next call
//! begins anew where the last one ended. Invariant: a call that ends, in whatever way, leaves what it holds
//! where it can be taken.
//!
//! Rows that are ready and few are no matter: they may stay, so that a turn is worth its while.

use crate::env::{Budget, Yields};
use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// What can be taken away.
pub(super) trait Held: Send + Sized + 'static {
    /// What stays of it, which is small, and what goes.
    fn taken(self) -> (Option<Self>, Option<Self>);
}

/// The place where it is left.
pub(super) struct Idle<T> {
    held: Mutex<Option<T>>,
    /// Whether it was taken up since it was last asked for.
    used: AtomicBool,
    /// Whether its turn is over: it goes when the call under way ends.
    ended: AtomicBool,
}

impl<T: Held> Idle<T> {
    /// Nothing there yet; asked for by `budget` when somebody waits.
    pub(super) fn of(budget: &Budget) -> Arc<Self> {
        let idle = Arc::new(Self {
            held: Mutex::new(None),
            used: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let holder: Weak<dyn Yields> = Arc::<Self>::downgrade(&idle);
        budget.register(holder);
        idle
    }

    fn swap(&self, held: Option<T>) -> Option<T> {
        std::mem::replace(
            &mut self.held.lock().unwrap_or_else(PoisonError::into_inner),
            held,
        )
    }
}

impl<T: Held> Yields for Idle<T> {
    fn give_back(&self) {
        let goes = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let (stays, goes) = held.take().map_or((None, None), T::taken);
            *held = stays;
            goes
        };
        // Whoever waited for it is woken here.
        drop(goes);
    }

    fn give_back_unused(&self) {
        if !self.used.swap(false, Relaxed) {
            self.give_back();
        }
    }

    fn end_turn(&self) {
        let is_here = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.is_some()
        };
        self.ended.store(!is_here, Relaxed);
        self.give_back();
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
        idle.used.store(true, Relaxed);
        Self {
            held: idle.swap(None),
            idle: idle.clone(),
            budget: budget.clone(),
        }
    }

    /// A new turn, with what was waited for.
    pub(super) fn begin_turn(&mut self, held: T) -> &mut T {
        self.idle.ended.store(false, Relaxed);
        self.held.insert(held)
    }
}

impl<T: Held> Drop for Call<T> {
    fn drop(&mut self) {
        if self.held.is_some() {
            drop(self.idle.swap(self.held.take()));
            // Who began to wait meanwhile found nothing to take.
            if self.budget.contended() || self.idle.ended.swap(false, Relaxed) {
                self.idle.give_back();
            }
        }
    }
}
