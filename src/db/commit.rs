//! The commit queue. A call validates and sorts its rows, then queues them; one task at a time takes
//! what waits, in call order, as one group: one WAL write (or log record), one swap of the state.
//! The task outlives its callers, so a caller that stops waiting cancels nothing (PROTOCOL C2).
//!
//! Without detached tasks (`Options::detached_tasks`) there is no such task. The calls of one turn,
//! made before any of them is polled, are a group; the first that is polled takes it and commits it,
//! within its own future. The others of that turn wait for it: they belong to the same request, and
//! vanish with it. A call of a later turn finds the queue empty and waits for nobody.

use super::{Inner, log::IfFreed};
use crate::{
    data::rows::Rows,
    error::{Error, ErrorKind, Result},
    flush::{Target, is_orphan, write_commit},
    log::edit::{Edit, TableId},
    memtable::merge_all,
    merge::{Keep, Kind},
    state::State,
    wal::{FrameBody, FrameKind},
};
use bytes::Bytes;
use futures_channel::oneshot;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, PoisonError},
};

/// Most commits of one group: bounds the wait of the first.
const GROUP_COMMITS: usize = 256;

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its timestamp in microseconds since the Unix epoch; provisional until it is in the log.
    pub ts: i64,
    /// Rows it wrote; of equal keys the last counts.
    pub rows: u64,
    /// Whether it is in the object store (always, without a WAL).
    pub uploaded: bool,
}

/// Rows of one commit to one table, ready to go.
pub(super) struct Prepared {
    pub(super) table: TableId,
    pub(super) schema_version: u32,
    pub(super) kind: Kind,
    pub(super) rows: Rows,
    pub(super) ipc: Bytes,
}

/// Commits that wait, and whether a task works them off.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Job>,
    running: bool,
}

enum Job {
    Commit(Prepared, oneshot::Sender<Result<Committed>>),
    /// Answers when everything before it is done.
    Barrier(oneshot::Sender<()>),
}

type Waiting = (Prepared, oneshot::Sender<Result<Committed>>);

impl Inner {
    /// Queues a commit now, in call order; resolves when it is acknowledged or refused.
    pub(super) fn commit(
        self: &Arc<Self>,
        prepared: Prepared,
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(Job::Commit(prepared, sender));
        let own = (!self.options.detached_tasks).then(|| self.clone());
        async move {
            if let Some(inner) = own {
                inner.work_off_turn().await;
            }
            receiver.await.unwrap_or_else(|_| {
                Err(Error::internal(
                    "the commit task ended without an answer: read before you retry",
                ))
            })
        }
    }

    /// Waits for the commits queued so far, if there is a task that works them off.
    pub(super) async fn drain_queue(self: &Arc<Self>) {
        if !self.options.detached_tasks {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        self.enqueue(Job::Barrier(sender));
        let _ = receiver.await;
    }

    fn enqueue(self: &Arc<Self>, job: Job) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push_back(job);
        if !self.options.detached_tasks {
            return;
        }
        let start = !std::mem::replace(&mut queue.running, true);
        // A runtime that is shutting down drops the task at once, and the task locks the queue.
        drop(queue);
        if start {
            let worker = Worker {
                inner: self.clone(),
                ended: false,
            };
            self.runtime.spawn(Box::pin(worker.work_off()));
        }
    }

    /// Takes all that waits, at once, and commits it: what is queued later is not this call's.
    async fn work_off_turn(self: &Arc<Self>) {
        let mut turn = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut queue.waiting)
        };
        while let Some(group) = next_group(&mut turn, self.options.inline_commit_bytes) {
            self.commit_group(group).await;
        }
    }

    /// The commits at the front of the queue; `None` ends the task.
    fn next_group(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let group = next_group(&mut queue.waiting, self.options.inline_commit_bytes);
        queue.running = group.is_some();
        group
    }

    async fn commit_group(self: &Arc<Self>, group: Vec<Waiting>) {
        let (prepared, senders): (Vec<Prepared>, Vec<_>) = group.into_iter().unzip();
        let outcome = match self.make_room().await {
            Err(full) => Err(full),
            Ok(()) if self.wal.is_some() => self.commit_local(prepared).await,
            Ok(()) => self.commit_remote(prepared).await,
        };
        match outcome {
            Ok(committed) => {
                for (sender, committed) in senders.into_iter().zip(committed) {
                    self.counts.committed(committed.rows);
                    let _ = sender.send(Ok(committed));
                }
                self.after_commit().await;
            }
            Err(error) => {
                for sender in senders {
                    let _ = sender.send(Err(error.duplicate()));
                }
            }
        }
    }

    /// At the memory bound a writer waits for a flush (DESIGN promise 8).
    async fn make_room(self: &Arc<Self>) -> Result<()> {
        if self.state().memory_bytes() <= self.options.memtable_limit_bytes {
            return Ok(());
        }
        self.flush_all().await.map_err(|e| {
            Error::new(
                ErrorKind::Unavailable,
                format!("the memtables are full and cannot be flushed: {e}"),
            )
        })
    }

    /// `local`: acknowledged when the frames are in the WAL by the sync policy (PROTOCOL W2).
    async fn commit_local(&self, group: Vec<Prepared>) -> Result<Vec<Committed>> {
        let Some(wal) = &self.wal else {
            return Err(Error::internal("there is no WAL"));
        };
        let state = self.state();
        let Some(database) = state.version.database else {
            return Err(Error::internal("rows for a database without a record"));
        };
        let now = self.runtime.now_micros();
        let mut stamp = state.last_stamp;
        let mut frames = Vec::with_capacity(group.len());
        for prepared in &group {
            stamp = now.max(stamp + 1);
            let kind = match prepared.kind {
                Kind::Upsert => FrameKind::Upsert,
                Kind::Delete => FrameKind::Delete,
            };
            let (table, schema_version) = (prepared.table, prepared.schema_version);
            let payload = prepared.ipc.clone();
            frames.push((
                stamp,
                vec![FrameBody {
                    table,
                    kind,
                    schema_version,
                    payload,
                }],
            ));
        }
        let positions = wal.lock().await.append(database, &frames).await?;
        let mut committed = Vec::with_capacity(group.len());
        self.change_state(|state| {
            let mut next = state.clone();
            for ((prepared, (stamp, _)), position) in group.into_iter().zip(&frames).zip(&positions)
            {
                // A record that was applied meanwhile may have passed the stamp: stay above it.
                let stamp = (*stamp).max(next.last_stamp + 1);
                let rows = with_stamp(prepared.rows, stamp);
                committed.push(Committed {
                    ts: stamp,
                    rows: rows.len() as u64,
                    uploaded: false,
                });
                let rows = vec![(prepared.table, rows)];
                next = next.with_pending(rows, position.session, position.frame, stamp);
            }
            next
        });
        Ok(committed)
    }

    /// `remote`: acknowledged when the record is in the store; small ones inline, large ones as
    /// sstables (PROTOCOL C1, C5).
    async fn commit_remote(&self, group: Vec<Prepared>) -> Result<Vec<Committed>> {
        let counts: Vec<u64> = group.iter().map(|p| p.rows.len() as u64).collect();
        let bytes: usize = group.iter().map(|p| p.ipc.len()).sum();
        let edits = match bytes <= self.options.inline_commit_bytes {
            true => inline_edits(&group),
            false => self.sstable_edits(group).await?,
        };
        let mut plan = |state: &State| {
            let floor = state.version.orphan_floor;
            match edits.iter().any(|edit| is_orphan(edit, floor)) {
                true => Err(Error::new(
                    ErrorKind::Unavailable,
                    "the commit took longer than the grace time, and gc counts its sstables as \
                     orphans: retry",
                )),
                false => Ok(edits.clone()),
            }
        };
        let ts = self.commit_record(IfFreed::Unknown, &mut plan).await?.ts;
        Ok(counts
            .into_iter()
            .map(|rows| Committed {
                ts,
                rows,
                uploaded: true,
            })
            .collect())
    }

    async fn sstable_edits(&self, group: Vec<Prepared>) -> Result<Vec<Edit>> {
        let mut tables: BTreeMap<TableId, (u32, Vec<Rows>)> = BTreeMap::new();
        for (order, prepared) in group.into_iter().enumerate() {
            let (_, rows) = tables
                .entry(prepared.table)
                .or_insert((prepared.schema_version, Vec::new()));
            // Stamps only order the rows here: the last commit of the group wins.
            rows.push(with_stamp(prepared.rows, order as i64));
        }
        let state = self.state();
        let target = Target {
            storage: &self.data,
            runtime: &self.runtime,
            options: &self.options,
        };
        let mut edits = Vec::new();
        for (table, (schema_version, rows)) in tables {
            let Some(found) = state.tables.get(&table) else {
                continue;
            };
            let Some(rows) = merge_all(rows, Keep::Newest)? else {
                continue;
            };
            let schema = &found.entry.schema;
            edits.extend(write_commit(target, table, schema, schema_version, vec![rows]).await?);
        }
        Ok(edits)
    }
}

/// The task that works off the queue. If it is torn down (a panic, a runtime that shuts down), those
/// who wait get `Internal` instead of waiting for ever, and the next commit starts a new one.
struct Worker {
    inner: Arc<Inner>,
    ended: bool,
}

impl Worker {
    async fn work_off(mut self) {
        while let Some(group) = self.inner.next_group() {
            self.inner.commit_group(group).await;
        }
        self.ended = true;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ended {
            let mut queue = self
                .inner
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            queue.waiting.clear();
            queue.running = false;
        }
    }
}

/// The next commits of `waiting` that fit into one record; answers barriers before them. `None` at the
/// end.
fn next_group(waiting: &mut VecDeque<Job>, bound: usize) -> Option<Vec<Waiting>> {
    let mut group = Vec::new();
    let mut bytes = 0;
    while group.is_empty() || (group.len() < GROUP_COMMITS && bytes < bound) {
        match waiting.pop_front() {
            Some(Job::Commit(prepared, sender)) => {
                bytes += prepared.ipc.len();
                group.push((prepared, sender));
            }
            Some(Job::Barrier(sender)) if group.is_empty() => {
                let _ = sender.send(());
            }
            Some(barrier) => {
                waiting.push_front(barrier);
                break;
            }
            None if group.is_empty() => return None,
            None => break,
        }
    }
    Some(group)
}

fn with_stamp(rows: Rows, stamp: i64) -> Rows {
    Rows {
        stamps: crate::data::rows::Stamps::All(stamp),
        ..rows
    }
}

fn inline_edits(group: &[Prepared]) -> Vec<Edit> {
    let edit = |p: &Prepared| Edit::Rows {
        table: p.table,
        schema_version: p.schema_version,
        kind: p.kind,
        ipc: p.ipc.clone(),
    };
    group.iter().map(edit).collect()
}
