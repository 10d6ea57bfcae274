//! Memory for writes and for upkeep (DESIGN promise 15). Writers wait for what flushes free; a flush waits
//! for other upkeep alone, so that nobody waits in a circle. What memtables take is counted after each
//! change of them.

use super::{Inner, prepare::cost};
use crate::{
    env::Reservation,
    error::{Error, ErrorKind, Result},
};
use std::sync::{Arc, PoisonError};

/// How often memtables are flushed for one commit, should others fill them meanwhile.
const FLUSHES: usize = 8;
/// What upkeep takes beside what its rows do: open columns, buffers of the store.
const JOB_BYTES: usize = 2 << 20;

impl Inner {
    /// Counts what the memtables take now.
    pub(super) fn account(&self) {
        let bytes = self.state().memory_bytes();
        let mut memtables = self
            .memtables
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        memtables.set(bytes);
    }

    /// Memory for a commit whose turn it is: memtables are flushed for it if need be.
    pub(super) async fn memory_for(self: &Arc<Self>, bytes: usize) -> Result<Reservation> {
        for _ in 0..FLUSHES {
            self.account();
            if let Some(memory) = self.memory.writes.try_reserve(bytes) {
                return Ok(memory);
            }
            if self.state().memory_bytes() == 0 {
                break;
            }
            self.shrink(bytes).await?;
        }
        self.account();
        let writes = &self.memory.writes;
        writes.try_reserve(bytes).ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "nothing was written: the commit needs {bytes} bytes of memory, and of the {} that \
                     writes have (three eighths of option memory_bytes) {} are in use by transactions \
                     and calls under way: commit again later, or raise the option",
                    writes.total(),
                    writes.used(),
                ),
            )
        })
    }

    /// Memory for a write of `bytes` within a transaction, which cannot wait: it may hold what others wait
    /// for. It may go a little beyond the bound.
    pub(super) fn memory_of_transaction(self: &Arc<Self>, bytes: usize) -> Result<Reservation> {
        let (writes, cost) = (&self.memory.writes, cost(bytes));
        self.account();
        if let Some(memory) = writes.try_reserve(cost) {
            return Ok(memory);
        }
        let beyond = writes.used().saturating_add(cost);
        if beyond <= writes.total().saturating_add(writes.total() / 3) {
            return Ok(writes.take(cost));
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "a write of {bytes} bytes within a transaction found no memory: writes have {} (three \
                 eighths of option memory_bytes), and {} are in use; flush or split it, commit or roll \
                 back other transactions, or raise the option",
                writes.total(),
                writes.used(),
            ),
        ))
    }

    /// Moves what the memtables hold into the object store.
    async fn shrink(self: &Arc<Self>, bytes: usize) -> Result<()> {
        let refused = |why: String| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "nothing was written: the commit needs {bytes} bytes of memory, and the memtables \
                     hold {} of the {} that writes have (three eighths of option memory_bytes) and \
                     cannot be flushed now ({why}); commit again once the data store answers, or raise \
                     the option",
                    self.state().memory_bytes(),
                    self.memory.writes.total(),
                ),
            )
        };
        if let Some(why) = self.unreachable_lately() {
            return Err(refused(why));
        }
        self.flush_all().await.map_err(|e| refused(e.to_string()))
    }

    /// Memory for writing sstables of rows that take `bytes` in memtables.
    pub(super) async fn job_memory(&self, what: &str, bytes: usize) -> Result<Reservation> {
        let jobs = &self.memory.jobs;
        // A writer keeps within its own bound, whatever it writes.
        let most = self.options.writer_bytes() + JOB_BYTES;
        let bytes = bytes.saturating_mul(3).saturating_add(JOB_BYTES);
        jobs.reserve(what, bytes.min(most).min(jobs.total())).await
    }
}
