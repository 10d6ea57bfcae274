//! Numbers about an open database.

use super::Inner;
use crate::{env::Requests, error::Result, wal::WalWriter};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// What is in a database and what this handle did.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// `local` with a WAL, else `remote`.
    pub durability: &'static str,
    /// Whether the store answered when this handle last asked it. False until then where the database was
    /// opened offline.
    pub online: bool,
    /// Why not, if it is not online.
    pub unreachable: Option<String>,
    /// When the position in the log was last proved to be its head, by this device's clock: microseconds
    /// since the Unix epoch.
    pub proved_at: i64,
    /// Number of the newest log record; 0 in an empty database.
    pub head: u64,
    /// The greatest timestamp given out or read: microseconds since the Unix epoch.
    pub last_timestamp: i64,
    /// Commits this handle acknowledged.
    pub commits: u64,
    /// Rows they wrote.
    pub rows_committed: u64,
    /// Commits acknowledged that are not in the object store yet.
    pub backlog_commits: u64,
    /// Their rows; superseded ones may count.
    pub backlog_rows: u64,
    /// Their bytes in memory.
    pub backlog_bytes: u64,
    /// Rows this device had acknowledged that were not in the object store when their table was
    /// dropped there: nobody will read them. Those this handle met.
    pub dropped_rows: u64,
    /// When the oldest of them was made, by this device's clock: microseconds since the Unix epoch.
    pub backlog_since: Option<i64>,
    /// Why the last upload (or other flush) failed, if it did; until one succeeds.
    pub upload_error: Option<String>,
    /// When that was: microseconds since the Unix epoch.
    pub upload_error_at: Option<i64>,
    /// Commits that are parked: see `Db::parked`.
    pub parked_commits: u64,
    /// `Options::memory_bytes`: the bound of the next two.
    pub memory_bytes: u64,
    /// Bytes reserved now, for writes, upkeep and reads.
    pub memory_used: u64,
    /// The most that each of these ever reserved, together.
    pub memory_peak: u64,
    /// Bytes of memtable rows, all of them: what they keep, not what they show.
    pub memtable_bytes: u64,
    /// Bytes of WAL segments.
    pub wal_bytes: u64,
    /// Flushes done by this handle.
    pub flushes: u64,
    /// Flushes under way.
    pub flushing: u64,
    /// Checkpoints written by this handle.
    pub checkpoints: u64,
    /// Why the last flush or checkpoint in the background failed, if it did.
    pub maintenance_error: Option<String>,
    /// Requests to the data store since the open.
    pub data: Requests,
    /// Where the data is.
    pub data_place: String,
    /// Requests to the WAL since the open.
    pub wal: Option<Requests>,
    /// Where the WAL is.
    pub wal_place: Option<String>,
    /// Each table.
    pub tables: Vec<TableStats>,
}

/// One table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableStats {
    /// Its name.
    pub name: String,
    /// Live sstables.
    pub files: u64,
    /// Rows in them, superseded versions and tombstones included.
    pub file_rows: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Rows in memtables, superseded versions and tombstones included.
    pub memtable_rows: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) flush_started: AtomicBool,
    pub(super) flushing: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    commits: AtomicU64,
    rows: AtomicU64,
    flushes: AtomicU64,
    maintenance_error: Mutex<Option<String>>,
    upload_error: Mutex<Option<(i64, String)>>,
    /// Since when (monotonic) the store does not answer, as far as it was asked; and what it said.
    unreachable: Mutex<Option<(Duration, String)>>,
    /// When the active memtables got their first batch.
    active_since: Mutex<Option<Duration>>,
}

impl Counts {
    pub(super) fn committed(&self, rows: u64) {
        self.commits.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
    }

    pub(super) fn flushed(&self, _rows: u64) {
        self.flushes.fetch_add(1, Relaxed);
    }

    /// Background work has no caller to tell: its last failure stays visible until it succeeds.
    pub(super) fn maintenance(&self, outcome: Result<()>) {
        let mut error = self
            .maintenance_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *error = outcome.err().map(|e| e.to_string());
    }

    /// What became of an upload, at `now`.
    pub(super) fn upload<T>(&self, outcome: &Result<T>, now: i64) {
        let error = outcome.as_ref().err().map(|e| (now, e.to_string()));
        *lock(&self.upload_error) = error;
    }

    /// The store did not answer.
    pub(super) fn unreachable_since(&self, at: Duration, why: &str) {
        *lock(&self.unreachable) = Some((at, why.to_owned()));
    }

    /// It did.
    pub(super) fn reached(&self) {
        *lock(&self.unreachable) = None;
    }

    /// When the store did not answer, if it has not since.
    pub(super) fn unreachable(&self) -> Option<(Duration, String)> {
        lock(&self.unreachable).clone()
    }

    /// Age of the active memtables' first batch, seen from `now`.
    pub(super) fn active_age(&self, batches: usize, now: Duration) -> Duration {
        let mut since = self
            .active_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if batches <= 1 {
            *since = Some(now);
        }
        now.saturating_sub(since.unwrap_or(now))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn collect(inner: &Inner) -> Stats {
    let current = inner.current();
    let state = &current.state;
    let upload_error = lock(&inner.counts.upload_error).clone();
    let counts = &inner.counts;
    let (backlog_rows, backlog_bytes) = state.backlog();
    let tables = state.tables.values().map(|t| TableStats {
        name: t.entry.name.clone(),
        files: t.files.len() as u64,
        file_rows: t.files.iter().map(|f| f.meta.rows).sum(),
        file_bytes: t.files.iter().map(|f| f.meta.bytes).sum(),
        memtable_rows: (t.memories())
            .map(|m| (m.pending.rows() + m.inline.rows()) as u64)
            .sum(),
    });
    Stats {
        durability: if inner.wal.is_some() {
            "local"
        } else {
            "remote"
        },
        online: !inner.is_offline(),
        unreachable: counts.unreachable().map(|(_, why)| why),
        proved_at: current.offline.unwrap_or(current.proof.wall),
        head: state.version.head.seq,
        last_timestamp: state.last_stamp,
        commits: counts.commits.load(Relaxed),
        rows_committed: counts.rows.load(Relaxed),
        backlog_commits: state.pending.len() as u64,
        backlog_rows: backlog_rows as u64,
        backlog_bytes: backlog_bytes as u64,
        dropped_rows: state.dropped_rows,
        backlog_since: state.pending.iter().map(|c| c.made).next(),
        upload_error_at: upload_error.as_ref().map(|(at, _)| *at),
        upload_error: upload_error.map(|(_, error)| error),
        parked_commits: inner.parked_commits().len() as u64,
        memory_bytes: inner.options.memory_bytes as u64,
        memory_used: inner.memory.used() as u64,
        memory_peak: inner.memory.peak() as u64,
        memtable_bytes: state.memory_bytes() as u64,
        wal_bytes: inner
            .wal
            .as_ref()
            .and_then(|w| w.peek(WalWriter::bytes))
            .unwrap_or(0),
        flushes: counts.flushes.load(Relaxed),
        flushing: counts.flushing.load(Relaxed),
        checkpoints: counts.checkpoints.load(Relaxed),
        maintenance_error: (counts.maintenance_error.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
        data: inner.data_counted.requests(),
        data_place: inner.data.describe(),
        wal: inner.wal_counted.as_ref().map(|w| w.requests()),
        wal_place: inner
            .wal_counted
            .as_ref()
            .map(|w| crate::env::Storage::describe(w.as_ref())),
        tables: tables.collect(),
    }
}
