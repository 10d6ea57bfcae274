//! A WAL under test: a writer over a store in memory, and what was appended with success.
#![allow(dead_code)] // Each test file uses its part.

#[path = "wal_store.rs"]
mod store;

use bytes::Bytes;
use lakeshore::{
    Options, Result, SyncPolicy,
    wal::{Commit, DatabaseId, FrameBody, FrameKind, Position, Replayed, Tail, WalWriter, replay},
};
use std::sync::Arc;
pub(crate) use store::{TestRuntime, WalStore, now};

pub(crate) const DB: DatabaseId = *b"a test database!";
pub(crate) const HEADER: usize = 112;

pub(crate) fn body(table: u32, payload: impl Into<Bytes>) -> FrameBody {
    FrameBody {
        table,
        kind: FrameKind::Upsert,
        schema_version: 3,
        payload: payload.into(),
    }
}

/// A commit of one frame.
pub(crate) fn one(stamp: i64, payload: impl Into<Bytes>) -> (i64, Vec<FrameBody>) {
    (stamp, vec![body(1, payload)])
}

/// A payload without a sector of zeros, as Arrow IPC mostly is.
pub(crate) fn noise(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i * 31 + seed * 17 + 1) as u8 | 1)
        .collect()
}

pub(crate) fn options(sync: SyncPolicy, wal_segment_bytes: u64) -> Options {
    Options {
        sync,
        wal_segment_bytes,
        ..Options::default()
    }
}

pub(crate) struct Wal {
    pub(crate) store: WalStore,
    pub(crate) runtime: Arc<TestRuntime>,
    pub(crate) options: Options,
    pub(crate) writer: WalWriter,
    /// What was appended successfully.
    pub(crate) written: Vec<Commit>,
}

impl Wal {
    pub(crate) fn new(sync: SyncPolicy, segment_bytes: u64) -> Self {
        let (store, runtime) = (WalStore::default(), TestRuntime::new(7));
        let options = options(sync, segment_bytes);
        let writer = writer(&store, &runtime, &options, Tail::default());
        Self {
            store,
            runtime,
            options,
            writer,
            written: Vec::new(),
        }
    }

    pub(crate) fn append(&mut self, commits: &[(i64, Vec<FrameBody>)]) -> Result<Vec<Position>> {
        let positions = now(self.writer.append(DB, commits))?;
        assert_eq!(positions.len(), commits.len());
        for ((stamp, frames), position) in commits.iter().zip(&positions) {
            self.written.push(Commit {
                session: position.session,
                first: position.frame + 1 - frames.len() as u64,
                last: position.frame,
                stamp: *stamp,
                frames: frames.clone(),
            });
        }
        Ok(positions)
    }

    /// Opens the WAL anew without closing it, as after a kill.
    pub(crate) fn reopen(&mut self) -> Vec<Commit> {
        let Replayed { commits, tail, .. } = now(replay(&self.store)).unwrap();
        self.writer = writer(&self.store, &self.runtime, &self.options, tail);
        commits
    }

    pub(crate) fn replayed(&self) -> Vec<Commit> {
        now(replay(&self.store)).unwrap().commits
    }

    pub(crate) fn check(&self) {
        assert_eq!(self.replayed(), self.written);
    }

    /// Whether a segment holds one commit only.
    pub(crate) fn large(&self, key: &str) -> bool {
        let alone = WalStore::default();
        let (_, bytes) = self.store.files().into_iter().find(|f| f.0 == key).unwrap();
        alone.set(key, bytes);
        now(replay(&alone)).unwrap().commits.len() == 1
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.store.files().into_iter().map(|(key, _)| key).collect()
    }
}

pub(crate) fn writer(
    store: &WalStore,
    runtime: &Arc<TestRuntime>,
    options: &Options,
    tail: Tail,
) -> WalWriter {
    WalWriter::new(Arc::new(store.clone()), runtime.clone(), options, tail)
}

pub(crate) fn key(number: u64) -> String {
    format!("{number:020}.wal")
}
