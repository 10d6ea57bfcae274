//! Drives flushes and checkpoints. Neither is needed for correctness (DESIGN promise 7): they bound
//! memory, the WAL and the log's tail, and each is a step that some caller's commit runs or starts.

use super::Inner;
use crate::{
    error::Result,
    flush::{Flushed, Target, write_seals},
    log::{edit::Edit, version::Version},
    state::State,
};
use std::sync::{Arc, atomic::Ordering};

impl Inner {
    /// After a commit: seal at the bounds. Without a WAL each commit is a record, so the log's tail
    /// is kept short here, too (PROTOCOL N3); with one, only flushes make records, and a commit must
    /// not wait for the object store.
    pub(super) async fn after_commit(self: &Arc<Self>) {
        if self.seal_due() {
            let sealed = self.change_state(|state| Ok(state.sealed()));
            if sealed.is_ok_and(|s| !s.seals.is_empty()) {
                self.start_flush();
            }
        }
        if self.wal.is_none() && self.checkpoint_due().await {
            let outcome = self.checkpoint_now().await;
            self.counts.maintenance(outcome);
        }
    }

    fn seal_due(&self) -> bool {
        let (bytes, rows, batches) = self.state().active_size();
        let now = self.runtime.monotonic();
        let age = self.counts.active_age(batches, now);
        batches > 0
            && (bytes >= self.options.seal_bytes
                || rows >= self.options.seal_rows
                || batches >= self.options.seal_batches
                || age >= self.options.seal_age)
    }

    fn start_flush(self: &Arc<Self>) {
        if self.counts.flush_started.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = self.clone();
        self.runtime.spawn(Box::pin(async move {
            inner.counts.flush_started.store(false, Ordering::Release);
            let outcome = inner.flush_seals().await;
            inner.counts.maintenance(outcome);
        }));
    }

    /// Seals what is active and flushes all seals.
    pub(super) async fn flush_all(&self) -> Result<()> {
        self.change_state(|state| Ok(state.sealed()))?;
        self.flush_seals().await
    }

    /// Flushes all seals: sstables, then the record, then the swap (DESIGN promise 4).
    async fn flush_seals(&self) -> Result<()> {
        let _one = self.maintenance.lock().await;
        self.check_not_ended()?;
        let state = self.state();
        let target = Target {
            storage: &self.data,
            runtime: &self.runtime,
            options: &self.options,
        };
        self.counts.flushing.fetch_add(1, Ordering::AcqRel);
        let written = write_seals(target, &state).await;
        let outcome = match written {
            Ok(Some(flushed)) => self.publish(flushed).await,
            Ok(None) => Ok(()),
            Err(e) => Err(e),
        };
        self.counts.flushing.fetch_sub(1, Ordering::AcqRel);
        outcome?;
        if self.checkpoint_due().await || self.dead_wal_is_large().await {
            self.checkpoint_locked().await?;
        }
        Ok(())
    }

    /// Commits the record of a flush and drops its seals in the same swap. A record of an earlier
    /// attempt may have landed late: then the floors say so and nothing is uploaded twice
    /// (PROTOCOL W3).
    async fn publish(&self, flushed: Flushed) -> Result<()> {
        let Flushed {
            generation,
            edits,
            rows,
        } = flushed;
        let plan = |version: &Version| match already_in(version, &edits) {
            true => Ok(Vec::new()),
            false => Ok(edits.clone()),
        };
        let swap = |state: &State, version, _| state.flushed(generation, version);
        let state = self.commit_record_with(plan, swap).await?;
        if state.seals.iter().any(|s| s.generation <= generation) {
            self.change_state(|state| state.flushed(generation, state.version.clone()))?;
        }
        self.counts.flushed(rows);
        Ok(())
    }

    async fn checkpoint_due(&self) -> bool {
        let tail = self.log.lock().await.tail;
        tail.records >= self.options.checkpoint_records
            || tail.bytes >= self.options.checkpoint_bytes
    }

    async fn dead_wal_is_large(&self) -> bool {
        let Some(wal) = &self.wal else { return false };
        let floors = self.state().version.floors();
        let dead = wal.lock().await.dead_bytes(&floors);
        dead >= 2 * self.options.wal_segment_bytes
    }

    /// Writes a checkpoint; inline rows beyond four times its bound are flushed first, so that
    /// checkpoints stay small.
    pub(super) async fn checkpoint_now(&self) -> Result<()> {
        let inline = self.state().version.inline_bytes() as u64;
        if inline > 4 * self.options.checkpoint_bytes {
            self.flush_all().await?;
        }
        let _one = self.maintenance.lock().await;
        self.check_not_ended()?;
        self.checkpoint_locked().await
    }

    /// Checkpoint, then free the WAL segments it covers (PROTOCOL L2, W4).
    async fn checkpoint_locked(&self) -> Result<()> {
        let mut log = self.log.lock().await;
        let state = self.state();
        if state.version.head.seq == 0 {
            return Ok(());
        }
        if log.tail.records > 0 {
            log.store.put_checkpoint(&state.version).await?;
            log.tail = Default::default();
            self.counts.checkpoints.fetch_add(1, Ordering::Relaxed);
        }
        drop(log);
        if let Some(wal) = &self.wal {
            wal.lock().await.truncate(&state.version.floors()).await?;
        }
        Ok(())
    }
}

/// Whether every floor a flush would raise is there already.
fn already_in(version: &Version, edits: &[Edit]) -> bool {
    let mut floors = 0;
    let all = edits.iter().all(|edit| match edit {
        Edit::InlineFloor { to, .. } => {
            floors += 1;
            *to <= version.inline_floor
        }
        Edit::WalFloor { session, frame } => {
            floors += 1;
            *frame <= version.wal_floor(session)
        }
        _ => true,
    });
    all && floors > 0
}
