//! What to do after an answer, or after none: a pure decision. Invariants: attempts are bounded; a
//! conditional PUT is repeated only where the store says that it did nothing, because for every other
//! failure its caller must read the slot first (PROTOCOL C2).

use super::answer::{Op, Verdict};
use crate::error::{Error, ErrorKind};
use std::time::Duration;

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Failed attempts that another followed.
    pub(super) failed: u32,
    /// Whether it was signed again with the store's time.
    reset_clock: bool,
    /// Whether the store was asked for its time.
    asked_time: bool,
    /// Whether other credentials were taken.
    renewed: bool,
}

impl Tries {
    /// Whether the store may be asked for its time: once.
    pub(super) fn may_ask_time(&mut self) -> bool {
        !std::mem::replace(&mut self.asked_time, true)
    }
}

/// What is next.
#[derive(Debug)]
pub(super) enum Next {
    Done(Verdict),
    Fail(Error),
    /// Again, after a random part of this.
    After(Duration),
    /// Again at once, signed for the store's time.
    SetClock(Option<i64>),
    /// Again at once, with other credentials.
    Renew,
}

/// Decides.
pub(super) fn next(
    op: &Op,
    verdict: Verdict,
    tries: &mut Tries,
    retries: u32,
    renewable: bool,
) -> Next {
    let repeated = *op == Op::PutIfAbsent && tries.failed > 0;
    match step(op, verdict, tries, retries, renewable) {
        // The store said that it had done nothing; should that have been wrong, the slot decides (PROTOCOL C2).
        Next::Fail(error) if repeated && error.kind() != ErrorKind::Unavailable => {
            let message = format!("an earlier attempt may have had an effect; this one: {error}");
            Next::Fail(Error::new(ErrorKind::Unknown, message))
        }
        next => next,
    }
}

fn step(op: &Op, verdict: Verdict, tries: &mut Tries, retries: u32, renewable: bool) -> Next {
    match verdict {
        Verdict::Again { error, early } => {
            if tries.failed >= retries || (*op == Op::PutIfAbsent && !early) {
                return Next::Fail(error);
            }
            let first = if early { 400 } else { 100 };
            let bound = (first << tries.failed.min(6)).min(5_000);
            tries.failed += 1;
            Next::After(Duration::from_millis(bound))
        }
        Verdict::Skewed { error, server } => {
            if std::mem::replace(&mut tries.reset_clock, true) {
                return Next::Fail(error);
            }
            Next::SetClock(server)
        }
        Verdict::Stale(error) => {
            if !renewable || std::mem::replace(&mut tries.renewed, true) {
                return Next::Fail(error);
            }
            Next::Renew
        }
        Verdict::Fail(error) => Next::Fail(error),
        done => Next::Done(done),
    }
}
