//! Drives flushes and checkpoints. Neither is needed for correctness (DESIGN promise 7): they bound
//! memory, the WAL and the log's tail, and each is a step that some caller's commit runs or starts.

use super::{Inner, log::IfFreed};
use crate::{
    error::{Error, ErrorKind, Result},
    flush::{Flushed, Publish, Target, oldest_seals, write_seals},
    log::store::Tail,
    state::{State, pending::PendingCommit},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How often a flush writes its sstables anew because other flushes were quicker.
const REWRITES: usize = 8;

/// What one record of a flush may hold: the oldest seals, at least one.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    /// None after this generation.
    pub(super) until: u64,
    /// No more bytes of memory than this.
    pub(super) bytes: usize,
}

/// Everything.
const ALL: Limit = Limit {
    until: u64::MAX,
    bytes: usize::MAX,
};

/// What one record of a flush took up.
#[derive(Default)]
pub(super) struct Step {
    /// Bytes that it took in memory.
    pub(super) memory_bytes: usize,
    /// Pending commits, their rows and the bytes of their sstables.
    pub(super) commits: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Counts what runs, until it ends or its call is dropped.
struct Running<'a>(&'a AtomicU64);

impl<'a> Running<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

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
                    false => self
                        .counts
                        .maintenance(self.flush_step(ALL).await.map(drop)),
                }
            }
        }
        self.keep_version_soon();
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
            let outcome = inner.flush_step(ALL).await;
            inner.counts.maintenance(outcome.map(drop));
            inner.keep_version_soon();
        }));
    }

    /// Seals what is active and flushes all seals.
    pub(super) async fn flush_all(&self) -> Result<()> {
        self.change_state(State::sealed);
        self.flush_step(ALL).await.map(drop)
    }

    /// Flushes the oldest seals: sstables, then the record, then the swap (DESIGN promise 4). `None` if
    /// there are none.
    pub(super) async fn flush_step(&self, limit: Limit) -> Result<Option<Step>> {
        let _one = self.alone(&self.maintenance).await;
        self.check_not_ended()?;
        let running = Running::new(&self.counts.flushing);
        let outcome = self.heard(self.write_and_publish(limit).await);
        drop(running);
        self.counts.upload(&outcome, self.runtime.now_micros());
        let step = outcome?;
        if self.claim_checkpoint() || self.dead_wal_is_large().await {
            self.checkpoint_alone().await?;
        }
        Ok(step)
    }

    async fn write_and_publish(&self, limit: Limit) -> Result<Option<Step>> {
        if self.state().seals.is_empty() {
            return Ok(None);
        }
        self.confirm_wal().await?;
        if self.is_offline() {
            // One request tells whether it is worth while to write sstables; and their names need the
            // store's clock (PROTOCOL T1), or gc's orphan floor would not reach them (G3).
            self.refresh().await?;
        }
        for _ in 0..REWRITES {
            let state = self.state();
            let target = Target {
                storage: &self.data,
                runtime: &self.runtime,
                options: &self.options,
                floor: state.version.orphan_floor,
            };
            let Some((last, memory_bytes)) = oldest_seals(&state, limit.until, limit.bytes) else {
                return Ok(None);
            };
            let memory = self.job_memory("a flush", memory_bytes).await?;
            let flushed = memory.during(write_seals(target, &state, last)).await?;
            drop(memory);
            if let Some(commits) = self.publish(&flushed).await? {
                let (bytes, rows) = flushed.uploaded();
                return Ok(Some(Step {
                    memory_bytes,
                    commits,
                    rows: rows * u64::from(commits > 0),
                    bytes: bytes * u64::from(commits > 0),
                }));
            }
            // Where the log was read anew, sealed rows are active again.
            self.change_state(State::sealed);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("other flushes were quicker {REWRITES} times in a row: retry later"),
        ))
    }

    /// Commits the record of a flush; its rows leave memory when the record is applied. The pending
    /// commits that went up by it; `None` if the sstables no longer fit.
    async fn publish(&self, flushed: &Flushed) -> Result<Option<u64>> {
        let floors = flushed.wal_floors();
        if !floors.is_empty() {
            self.note_tried(&floors).await?;
            if let Some(wal) = &self.wal {
                // The version that is kept may lack what goes up here, and after a power cut the WAL, too.
                // Not to upload for that would be worse.
                let _ = wal.lock().await.sync().await;
            }
        }
        let mut uploads = Some(0);
        let mut plan = |state: &State| match flushed.publish(state) {
            Publish::Edits(edits) => {
                let of = |c: &PendingCommit| (c.position.session, c.position.frame);
                let up =
                    |(session, frame)| floors.iter().any(|(s, to)| *s == session && frame <= *to);
                uploads = Some(state.pending.iter().filter(|c| up(of(c))).count() as u64);
                Ok(edits)
            }
            Publish::Rewrite => {
                uploads = None;
                Ok(Vec::new())
            }
        };
        self.commit_record(IfFreed::Replan, &mut plan).await?;
        if uploads.is_some() {
            self.counts.flushed(flushed.rows());
        }
        Ok(uploads)
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
        let (Some(wal), Some(device)) = (&self.wal, &self.device) else {
            return false;
        };
        let floors = device.floors(&self.state().version);
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
        self.truncate_wal(version).await
    }
}
