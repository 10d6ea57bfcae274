//! Memory for writes and for upkeep (DESIGN promise 15). Writers wait for what flushes free; a flush waits
//! for other upkeep alone, so that nobody waits in a circle. What memtables take is counted with each
//! change of them, and for as long as anybody holds their rows: a flush frees nothing that a snapshot, a scan,
//! a transaction or a feed still sees.

use super::{Inner, prepare::cost};
use crate::{
    env::Reservation,
    error::{Error, ErrorKind, Result},
    state::State,
};
use futures_util::future::{Either, select};
use std::{
    pin::pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// How often memtables are flushed for one commit, should others fill them meanwhile.
const FLUSHES: usize = 8;
/// A commit waits so long for what other calls hold.
const OTHERS_END: Duration = Duration::from_secs(2);
/// So often it looks meanwhile for commits that may go first.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What upkeep takes beside what its rows do: open columns, buffers of the store.
const JOB_BYTES: usize = 2 << 20;

impl Inner {
    /// Counts what the memtables take now. Where calls may vanish with all they hold, rows that are no longer in
    /// the state are not counted: they would be for ever.
    pub(super) fn count_rows(&self, before: &State, now: &State) {
        if self.options.detached_tasks {
            return now.count(Some(before), &self.memory);
        }
        let memtables = self.memtables.lock();
        let mut memtables = memtables.unwrap_or_else(PoisonError::into_inner);
        memtables.set(now.memory_bytes());
    }

    /// Counts rows that only a reader has.
    pub(super) fn count_held(&self, state: &State) {
        if self.options.detached_tasks {
            state.count(None, &self.memory);
        }
    }

    /// What is to be said of rows that were flushed and are held all the same; nothing if there are none.
    fn held_by_readers(&self) -> String {
        let rows = self.memory.rows.used();
        match rows.saturating_sub(self.state().memory_bytes()) {
            0 => String::new(),
            held => format!(
                ", {held} of them for rows that only open snapshots, scans, transactions or feeds still \
                 see (end those)"
            ),
        }
    }

    /// Until when a commit waits for what others hold, if it finds no memory now. Where calls may not wake each
    /// other that is what memory itself says ([`Budget`](crate::env::Budget)).
    pub(super) fn patience(&self) -> Duration {
        match self.options.detached_tasks {
            true => self.runtime.monotonic() + OTHERS_END,
            false => Duration::MAX,
        }
    }

    pub(super) fn is_patience_over(&self, until: Duration) -> bool {
        until <= self.runtime.monotonic()
    }

    /// Memory for a commit whose turn it is: memtables are flushed for it if need be. `until` when it waits for
    /// others; whether one of them `goes_first`, which may hold it.
    pub(super) async fn memory_for(
        self: &Arc<Self>,
        bytes: usize,
        until: Duration,
        goes_first: &(dyn Fn() -> bool + Sync),
    ) -> Result<Reservation> {
        for _ in 0..FLUSHES {
            if let Some(memory) = self.memory.writes.reclaim(bytes) {
                return Ok(memory);
            }
            if self.state().memory_bytes() == 0 {
                break;
            }
            self.shrink(bytes).await?;
        }
        // What is left is held by others: calls under way end soon, snapshots may stay for ever.
        let writes = &self.memory.writes;
        let reserved = writes.reserve("a commit", bytes);
        let reserved = self.patiently(reserved, until, goes_first).await;
        reserved.ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "nothing was written: the commit needs {bytes} bytes of memory, and of the {} that \
                     writes have (three eighths of option memory_bytes) {} are in use by transactions \
                     and calls under way{}: commit again later, or raise the option",
                    writes.total(),
                    writes.used(),
                    self.held_by_readers(),
                ),
            )
        })
    }

    /// Waits for others, but not while one that is to go first has come: to be committed is what frees its memory.
    async fn patiently(
        &self,
        reserved: impl Future<Output = Result<Reservation>>,
        until: Duration,
        goes_first: &(dyn Fn() -> bool + Sync),
    ) -> Option<Reservation> {
        let mut reserved = pin!(reserved);
        while !self.is_patience_over(until) {
            let pause = self.runtime.sleep(LOOK_EVERY);
            match select(&mut reserved, pause).await {
                Either::Left((reserved, _)) => return reserved.ok(),
                Either::Right(_) if goes_first() => return None,
                Either::Right(_) => {}
            }
        }
        None
    }

    /// Memory for a write of `bytes` within a transaction, which cannot wait: it may hold what others wait
    /// for. It may go a little beyond the bound.
    pub(super) fn memory_of_transaction(self: &Arc<Self>, bytes: usize) -> Result<Reservation> {
        let (writes, cost) = (&self.memory.writes, cost(bytes));
        if let Some(memory) = writes.reclaim(cost) {
            return Ok(memory);
        }
        let beyond = writes.used().saturating_add(cost);
        if beyond <= writes.total().saturating_add(writes.total() / 3) {
            return Ok(writes.take_for_call(cost));
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "a write of {bytes} bytes within a transaction found no memory: writes have {} (three \
                 eighths of option memory_bytes), and {} are in use{}; flush or split it, commit or roll \
                 back other transactions, or raise the option",
                writes.total(),
                writes.used(),
                self.held_by_readers(),
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
