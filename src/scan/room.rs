//! The memory of reads: how much one may use, and how it comes by it. Invariants: who waits holds nothing
//! that another waits for; who holds and is not asked for anything gives back (`env::Yields`).

use crate::{
    data::bound::Bound,
    env::{Budget, Reservation},
    error::{Error, ErrorKind, Result},
};

/// This part of the share is the cache's: open files.
const CACHE_PART: usize = 4;
/// So many scans divide what is left and run at once. More take turns, each with a larger part: a turn has to
/// begin anew where the last one ended, and should be worth it.
const MOST_AT_ONCE: usize = 16;
const PART_OF_A_TURN: usize = 4;

/// The memory that reads share.
#[derive(Debug)]
pub(super) struct Room {
    budget: Budget,
    /// Scans that hold memory or wait for it.
    scans: Budget,
    /// What the cache may use, whether it does or not.
    _cache: Reservation,
}

impl Room {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            scans: budget.to_count("scans"),
            _cache: budget.take(budget.total() / CACHE_PART),
            budget,
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Bytes of open files that are kept.
    pub(super) fn cache_bytes(&self) -> usize {
        self.budget.total() / CACHE_PART
    }

    /// What one read may use at most.
    pub(super) fn most(&self) -> usize {
        self.budget.total() - self.cache_bytes()
    }

    /// Waits for `bytes`.
    pub(super) async fn reserve(&self, what: &str, bytes: usize) -> Result<Reservation> {
        if bytes > self.most() {
            return Err(too_much(what, bytes, self.most()));
        }
        self.budget.reserve(what, bytes).await
    }

    /// Memory for a scan: what it wants, or what there is for each if there are many, but enough to be `worth` its
    /// while, if half of what there is will do; at least `least`.
    pub(super) async fn enter(&self, want: usize, worth: usize, least: usize) -> Result<Allowed> {
        // Those that vanished do not run.
        self.scans.forget_the_gone();
        let count = self.scans.take_for_call(1);
        let scans = self.scans.used().max(1);
        let alone = scans == 1;
        let each = match scans <= MOST_AT_ONCE {
            true => self.most() / scans,
            false => self.most() / PART_OF_A_TURN,
        };
        let each = each.max(worth.min(self.most() / 2));
        let bytes = want.min(each).max(least);
        let reservation = match self.budget.try_reserve(bytes) {
            Some(reservation) if bytes <= self.most() => reservation,
            _ => self.reserve("a scan", bytes).await?,
        };
        Ok(Allowed {
            reservation,
            alone,
            count,
        })
    }
}

pub(super) fn too_much(what: &str, bytes: usize, most: usize) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "{what} needs {bytes} bytes of memory at once, and reads have {most}: raise memory_bytes, or \
             select fewer columns"
        ),
    )
}

/// The memory of a running scan, and how it is divided.
pub(super) struct Allowed {
    reservation: Reservation,
    alone: bool,
    count: Reservation,
}

impl Allowed {
    pub(super) fn bytes(&self) -> usize {
        self.reservation.bytes()
    }

    /// Does `work` with it; what moves has not vanished.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        self.count.during(self.reservation.during(work)).await
    }

    /// Whether no other scan held memory or waited for it: else what is read ahead may be for nothing.
    pub(super) fn alone(&self) -> bool {
        self.alone
    }

    /// Of a batch that is given out. It may be held three times: as it was read, put together with others,
    /// and as the caller's bytes.
    pub(super) fn batch(&self, wanted: Bound) -> Bound {
        wanted.within(self.bytes() / 8)
    }

    /// For the one file that is read: three requests of this.
    pub(super) fn read_bytes(&self) -> u64 {
        (self.bytes() / 6) as u64
    }

    /// For the files of a merge, all together.
    pub(super) fn sources(&self) -> usize {
        self.bytes() / 2
    }
}
