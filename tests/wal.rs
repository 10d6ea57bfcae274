//! The device WAL through its public door: what is written, what replay makes of it, and of damage.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/wal_store.rs"]
mod wal_store;

use bytes::Bytes;
use lakeshore::{
    ErrorKind, Options, Result, SyncPolicy,
    wal::{
        Commit, DatabaseId, FrameBody, FrameKind, Position, Replayed, SessionId, Tail, WalWriter,
        replay, replay_with,
    },
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use wal_store::{TestRuntime, WalStore, now};

const DB: DatabaseId = *b"a test database!";
const HEADER: usize = 112;

fn body(table: u32, payload: impl Into<Bytes>) -> FrameBody {
    FrameBody {
        table,
        kind: FrameKind::Upsert,
        schema_version: 3,
        payload: payload.into(),
    }
}

/// A commit of one frame.
fn one(stamp: i64, payload: impl Into<Bytes>) -> (i64, Vec<FrameBody>) {
    (stamp, vec![body(1, payload)])
}

/// A payload without a sector of zeros, as Arrow IPC mostly is.
fn noise(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i * 31 + seed * 17 + 1) as u8 | 1)
        .collect()
}

fn options(sync: SyncPolicy, wal_segment_bytes: u64) -> Options {
    Options {
        sync,
        wal_segment_bytes,
        ..Options::default()
    }
}

struct Wal {
    store: WalStore,
    runtime: Arc<TestRuntime>,
    options: Options,
    writer: WalWriter,
    /// What was appended successfully.
    written: Vec<Commit>,
}

impl Wal {
    fn new(sync: SyncPolicy, segment_bytes: u64) -> Self {
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

    fn append(&mut self, commits: &[(i64, Vec<FrameBody>)]) -> Result<Vec<Position>> {
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
    fn reopen(&mut self) -> Vec<Commit> {
        let Replayed { commits, tail, .. } = now(replay(&self.store)).unwrap();
        self.writer = writer(&self.store, &self.runtime, &self.options, tail);
        commits
    }

    fn replayed(&self) -> Vec<Commit> {
        now(replay(&self.store)).unwrap().commits
    }

    fn check(&self) {
        assert_eq!(self.replayed(), self.written);
    }

    fn keys(&self) -> Vec<String> {
        self.store.files().into_iter().map(|(key, _)| key).collect()
    }
}

fn writer(
    store: &WalStore,
    runtime: &Arc<TestRuntime>,
    options: &Options,
    tail: Tail,
) -> WalWriter {
    WalWriter::new(Arc::new(store.clone()), runtime.clone(), options, tail)
}

fn key(number: u64) -> String {
    format!("{number:020}.wal")
}

#[test]
fn commits_come_back_as_they_were_appended() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    let empty = now(replay(&wal.store)).unwrap();
    assert!(empty.commits.is_empty() && empty.database.is_none() && empty.last_stamp.is_none());
    assert_eq!(wal.store.files(), [], "opening writes nothing");

    wal.append(&[one(10, "first"), one(12, "")]).unwrap();
    let mut delete = body(9, noise(100_000, 3));
    delete.kind = FrameKind::Delete;
    wal.append(&[(11, vec![body(1, "a"), delete, body(2, noise(33, 1))])])
        .unwrap();
    wal.append(&[]).unwrap();
    wal.check();
    let replayed = now(replay(&wal.store)).unwrap();
    assert_eq!(replayed.database, Some(DB));
    assert_eq!(replayed.last_stamp, Some(12));
    assert_eq!(replayed.bytes, wal.writer.bytes());
    assert_eq!(wal.keys(), [key(1)]);
    let commit = &replayed.commits[2];
    assert_eq!(
        (commit.first, commit.last, commit.session),
        (3, 5, wal.writer.session())
    );
    for frame in &commit.frames {
        assert_eq!(frame.payload.as_ptr() as usize % 16, 0, "aligned for Arrow");
    }
}
