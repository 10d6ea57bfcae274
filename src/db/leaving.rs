//! Closes under way in this process: who opens the same WAL meanwhile waits for them instead of being told
//! that it is busy. Invariant: a close that was given up is not under way any more.

use crate::env::Runtime;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// So long an open waits: a close that nobody polls goes on for ever.
const PATIENCE: Duration = Duration::from_secs(10);

struct Close {
    place: String,
    number: u64,
    waiting: Vec<oneshot::Sender<()>>,
}

static CLOSES: Mutex<(u64, Vec<Close>)> = Mutex::new((0, Vec::new()));

fn closes<T>(look: impl FnOnce(&mut u64, &mut Vec<Close>) -> T) -> T {
    let mut closes = CLOSES.lock().unwrap_or_else(PoisonError::into_inner);
    let (next, all) = &mut *closes;
    look(next, all)
}

/// A close under way, until it is dropped.
pub(super) struct Leaving(u64);

impl Leaving {
    /// Of the WAL in `place`: `Storage::identity`.
    pub(super) fn new(place: String) -> Self {
        closes(|next, all| {
            *next += 1;
            all.push(Close {
                place,
                number: *next,
                waiting: Vec::new(),
            });
            Self(*next)
        })
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // Those who wait are woken by what they wait for being gone.
        closes(|_, all| all.retain(|close| close.number != self.0));
    }
}

/// Waits for the closes of the WAL in `place`.
pub(super) async fn wait(place: &str, runtime: &dyn Runtime) {
    loop {
        let left = closes(|_, all| {
            let close = all.iter_mut().find(|close| close.place == place)?;
            let (waiting, left) = oneshot::channel::<()>();
            close.waiting.push(waiting);
            Some(left)
        });
        let Some(left) = left else { return };
        if let Either::Right(_) = select(left, runtime.sleep(PATIENCE)).await {
            return;
        }
    }
}
