//! The memory of one database (DESIGN promise 15).
//!
//! One bound, `Options::memory_bytes`, is split into three shares, so that nobody waits in a circle:
//! *writes* (queued commits, memtables, what waits for upload) wait for memory that flushes free; *jobs*
//! (a flush with all its column writers, a checkpoint) wait for jobs alone; *reads* (scans, sources of a
//! merge, feeds, caches) wait for reads alone. A job never waits for a write or a read, a read never for a
//! write.

use super::{Budget, Reservation, Runtime};
use std::sync::Arc;

/// The memory of one database, in shares.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Queued commits, memtables, rows that wait for upload.
    pub writes: Budget,
    /// Flushes and other upkeep.
    pub jobs: Budget,
    /// Scans, point reads, feeds, caches of open files.
    pub reads: Budget,
    /// Of what writes have used, the rows in memtables, whoever holds them. Without a bound of its own.
    pub rows: Budget,
}

impl Memory {
    /// Shares of `bytes`, without what the module itself takes of them: three eighths for writes, two for jobs,
    /// two for reads. The last eighth is what nobody reserves: small objects, and the gaps of the allocator.
    pub fn new(bytes: usize) -> Self {
        let eighth = bytes.saturating_sub(crate::platform::MODULE_BYTES) / 8;
        Self {
            writes: Budget::new("writes", eighth.saturating_mul(3)),
            jobs: Budget::new("upkeep", eighth.saturating_mul(2)),
            reads: Budget::new("reads", eighth.saturating_mul(2)),
            rows: Budget::new("rows", usize::MAX),
        }
    }

    /// The same where no call may be woken by another (`Options::detached_tasks` off): who finds no room
    /// looks again by a timer of its own, and gets `Unavailable` when for 20 seconds nobody got any. What a call holds that was
    /// not heard of for five of them is written off.
    pub fn without_waiting(bytes: usize, runtime: &Arc<dyn Runtime>) -> Self {
        let Self {
            writes,
            jobs,
            reads,
            rows,
        } = Self::new(bytes);
        Self {
            writes: writes.looking_again(runtime),
            jobs: jobs.looking_again(runtime),
            reads: reads.looking_again(runtime),
            rows,
        }
    }

    /// Counts rows in a memtable, of so many bytes.
    pub fn hold_rows(&self, bytes: usize) -> HeldRows {
        self.held_rows(self.writes.take(bytes))
    }

    /// The same for memory that was reserved before.
    pub fn held_rows(&self, memory: Reservation) -> HeldRows {
        HeldRows {
            rows: self.rows.take(memory.bytes()),
            memory,
        }
    }

    /// Bytes reserved now, in all shares.
    pub fn used(&self) -> usize {
        self.shares().map(Budget::used).sum()
    }

    /// The most that was ever reserved in each share, summed.
    pub fn peak(&self) -> usize {
        self.shares().map(Budget::peak).sum()
    }

    fn shares(&self) -> impl Iterator<Item = &Budget> {
        [&self.writes, &self.jobs, &self.reads].into_iter()
    }
}

/// The memory of rows in memtables. Dropping it gives it back.
#[derive(Debug)]
pub struct HeldRows {
    memory: Reservation,
    rows: Reservation,
}

impl HeldRows {
    /// They are so many bytes now.
    pub fn set(&mut self, bytes: usize) {
        self.memory.set(bytes);
        self.rows.set(bytes);
    }
}
