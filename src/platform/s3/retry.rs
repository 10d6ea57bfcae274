//! What to do after an answer, or after none: a pure decision. Invariants: attempts are bounded; a
//! conditional PUT is repeated only where the store says that it did nothing, because for every other
//! failure its caller must read the slot first (PROTOCOL C2).

use super::answer::{Op, Verdict};
use crate::error::{Error, ErrorKind};
use std::time::Duration;

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries {
    /// Failed attempts that another followed.
    pub(super) failed: u32,
    /// What they and the pauses between took, without …
    spent: Duration,
    /// … the time that was allowed for bytes.
    moved: Duration,
    /// Whether it was signed again with the store's time.
    reset_clock: bool,
    /// Whether the store was asked for its time, and answered.
    asked_time: bool,
    /// Whether other credentials were taken.
    renewed: bool,
}

impl Tries {
    /// Notes what an attempt took of which its bytes might take so much, or a pause.
    pub(super) fn took(&mut self, all: Duration, bytes: Duration) {
        let moving = all.min(self.for_bytes(bytes));
        self.moved = self.moved.saturating_add(moving);
        self.spent = self.spent.saturating_add(all.saturating_sub(moving));
    }

    /// Of the time that the bytes of a call may take, what the next attempt has: they may move twice.
    pub(super) fn for_bytes(&self, bytes: Duration) -> Duration {
        bytes.min(bytes.saturating_mul(2).saturating_sub(self.moved))
    }

    /// Whether the store may be asked for its time: until it said it.
    pub(super) fn may_ask_time(&self) -> bool {
        !self.asked_time
    }

    /// It did.
    pub(super) fn told_time(&mut self) {
        self.asked_time = true;
    }
}

/// What is next.
#[derive(Debug)]
pub(super) enum Next {
    Done(Verdict),
    Fail(Error),
    /// Again, after this and a random part of that.
    After(Duration, Duration),
    /// Again at once, signed for the store's time.
    SetClock(Option<i64>),
    /// Again at once, with other credentials.
    Renew,
}

/// What bounds a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// So often a failed attempt is repeated.
    pub(super) retries: u32,
    /// So long an attempt may take, and twice as long all of them with the pauses, without the time that bytes
    /// may take.
    pub(super) timeout: Duration,
    /// Whether there may be other credentials.
    pub(super) renewable: bool,
}

impl Bounds {
    /// How long the next attempt may take.
    pub(super) fn attempt(&self, tries: &Tries) -> Duration {
        self.timeout.min(self.left(tries))
    }

    fn left(&self, tries: &Tries) -> Duration {
        self.timeout.saturating_mul(2).saturating_sub(tries.spent)
    }
}

/// Decides.
pub(super) fn next(op: &Op, verdict: Verdict, tries: &mut Tries, bounds: Bounds) -> Next {
    let repeated = *op == Op::PutIfAbsent && tries.failed > 0;
    match step(op, verdict, tries, bounds) {
        // The store said that it had done nothing; should that have been wrong, the slot decides (PROTOCOL C2).
        Next::Fail(error) if repeated && error.kind() != ErrorKind::Unavailable => {
            let message = format!("an earlier attempt may have had an effect; this one: {error}");
            Next::Fail(Error::new(ErrorKind::Unknown, message))
        }
        next => next,
    }
}

fn step(op: &Op, verdict: Verdict, tries: &mut Tries, bounds: Bounds) -> Next {
    match verdict {
        Verdict::Again { error, early, wait } => {
            if tries.failed >= bounds.retries || (*op == Op::PutIfAbsent && !early) {
                return Next::Fail(error);
            }
            let least = wait.unwrap_or_default();
            let left = bounds.left(tries).saturating_sub(least);
            if left.is_zero() {
                return Next::Fail(no_time(error, wait));
            }
            let first = if early { 400 } else { 100 };
            let bound = Duration::from_millis((first << tries.failed.min(6)).min(5_000));
            tries.failed += 1;
            // Most of the time is for the attempt.
            Next::After(least, bound.min(left / 4))
        }
        Verdict::Skewed { error, server } => {
            if std::mem::replace(&mut tries.reset_clock, true) {
                return Next::Fail(error);
            }
            Next::SetClock(server)
        }
        Verdict::Stale(error) => {
            if !bounds.renewable || std::mem::replace(&mut tries.renewed, true) {
                return Next::Fail(error);
            }
            Next::Renew
        }
        Verdict::Fail(error) => Next::Fail(error),
        done => Next::Done(done),
    }
}

/// It would have been tried again, had there been time.
fn no_time(error: Error, wait: Option<Duration>) -> Error {
    match wait {
        Some(wait) => {
            let seconds = wait.as_secs();
            let message = format!(
                "{}; it asks for {seconds} s to be let pass",
                error.message()
            );
            Error::new(error.kind(), message)
        }
        None => error,
    }
}
