//! Drives flushes and checkpoints. Neither is needed for correctness (DESIGN promise 7): they bound
//! memory, the WAL and the log's tail, and each is a step that some caller's commit runs or starts.

use super::{Inner, log::IfFreed};
use crate::{
    error::{Error, ErrorKind, Result},
    flush::{Flushed, Publish, Target, write_seals},
    log::store::Tail,
    state::State,
};
use std::sync::{Arc, atomic::Ordering};

/// How often a flush writes its sstables anew because other flushes were quicker.
const REWRITES: usize = 8;

impl Inner {
    /// After a commit: seal at the bounds. Without a WAL each commit is a record, so the log's tail
    /// is kept short here, too (PROTOCOL N3); with one, only flushes make records, and a commit must
    /// not wait for the object store.
    pub(super) async fn after_commit(self: &Arc<Self>) {
        if self.seal_due() {
            let sealed = self.change_state(State::sealed);
            if !sealed.seals.is_empty() {
                match self.options.detached_tasks {
                    true => self.start_flush(),
                    false => self.counts.maintenance(self.flush_seals().await),
                }
            }
        }
        if self.wal.is_none() && self.claim_checkpoint() {
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
        self.change_state(State::sealed);
        self.flush_seals().await
    }

    /// Flushes all seals: sstables, then the record, then the swap (DESIGN promise 4).
    async fn flush_seals(&self) -> Result<()> {
        let _one = self.alone(&self.maintenance).await;
        self.check_not_ended()?;
        self.counts.flushing.fetch_add(1, Ordering::AcqRel);
        let outcome = self.write_and_publish().await;
        self.counts.flushing.fetch_sub(1, Ordering::AcqRel);
        outcome?;
        if self.claim_checkpoint() || self.dead_wal_is_large().await {
            self.checkpoint_alone().await?;
        }
        Ok(())
    }

    async fn write_and_publish(&self) -> Result<()> {
        for _ in 0..REWRITES {
            let state = self.state();
            let target = Target {
                storage: &self.data,
                runtime: &self.runtime,
                options: &self.options,
                floor: state.version.orphan_floor,
            };
            let Some(flushed) = write_seals(target, &state).await? else {
                return Ok(());
            };
            if self.publish(&flushed).await? {
                return Ok(());
            }
            // Where the log was read anew, sealed rows are active again.
            self.change_state(State::sealed);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("other flushes were quicker {REWRITES} times in a row: retry later"),
        ))
    }

    /// Commits the record of a flush; its rows leave memory when the record is applied. False if the
    /// sstables no longer fit.
    async fn publish(&self, flushed: &Flushed) -> Result<bool> {
        let mut fits = true;
        let mut plan = |state: &State| match flushed.publish(state) {
            Publish::Edits(edits) => Ok(edits),
            Publish::Rewrite => {
                fits = false;
                Ok(Vec::new())
            }
        };
        self.commit_record(IfFreed::Replan, &mut plan).await?;
        if fits {
            self.counts.flushed(flushed.rows());
        }
        Ok(fits)
    }

    /// Whether a checkpoint is due that nobody is writing; then it is this call's to write. Should the
    /// call vanish, the next is due as many records later.
    fn claim_checkpoint(&self) -> bool {
        self.change(|current| {
            let open = current.tail.without(current.claimed);
            let bounds = self.settings_of(&current.state.version);
            let due =
                open.records >= bounds.checkpoint_records || open.bytes >= bounds.checkpoint_bytes;
            if due {
                current.claimed = current.tail;
            }
            due
        })
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
        if inline > self.settings().checkpoint_bytes.saturating_mul(4) {
            self.flush_all().await?;
        }
        let _one = self.alone(&self.maintenance).await;
        self.check_not_ended()?;
        self.checkpoint_alone().await
    }

    /// Checkpoint, then free the WAL segments it covers (PROTOCOL L2, W4).
    async fn checkpoint_alone(&self) -> Result<()> {
        let at = self.current();
        let version = &at.state.version;
        if version.head.seq == 0 {
            return Ok(());
        }
        if at.tail.records > 0 {
            let written = self.log.put_checkpoint(version).await;
            self.change(|current| {
                current.claimed = Tail::default();
                if written.is_ok() {
                    current.tail = current.tail.without(at.tail);
                }
            });
            written?;
            self.counts.checkpoints.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(wal) = &self.wal {
            wal.lock().await.truncate(&version.floors()).await?;
        }
        Ok(())
    }
}
