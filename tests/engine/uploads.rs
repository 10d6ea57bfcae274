//! What several devices, or several processes of one, upload from one WAL is in the log once (PROTOCOL
//! W1, W3): a WAL may be copied with the profile it is in, and a record that an earlier process put may
//! arrive when the next has long replayed the same frames.

use crate::support;

use lakeshore::{
    Db, Env, ErrorKind, Options, Table,
    platform::{memory::Memory, native::TokioRuntime},
};
use std::sync::Arc;
use support::{
    crash::{CrashStorage, When},
    engine::{self, Model},
};

async fn open(data: &Arc<Memory>, wal: Option<&Arc<CrashStorage>>) -> (Db, Table) {
    let env = Env {
        data: data.clone(),
        wal: wal.map(|wal| wal.clone() as _),
        runtime: TokioRuntime::current().unwrap(),
    };
    let db = Db::open(env, Options::default()).await.unwrap();
    let table = engine::table(&db, "t").await;
    (db, table)
}

async fn ingest(table: &Table, from: i64, to: i64, mark: i32) {
    let rows = engine::rows(from, to, mark);
    table.ingest(&[engine::batch(&rows)]).await.unwrap();
}

fn model(parts: &[(i64, i64, i32)]) -> Model {
    let rows = |(from, to, mark): &(i64, i64, i32)| engine::rows(*from, *to, *mark);
    parts.iter().flat_map(rows).collect()
}

/// Found by the simulation (its seed 4 of then): what the copy had uploaded was uploaded again, over newer rows.
#[tokio::test]
async fn an_upload_from_a_copied_wal_ends_within_what_is_pending_here() {
    for sealed in [false, true] {
        let data = Memory::new();
        let wal = CrashStorage::new(1).at("wal");
        let device = open(&data, Some(&wal)).await;
        ingest(&device.1, 0, 10, 1).await;
        let copied = wal.kill();
        // Later commits of the same session, which the copy does not have.
        ingest(&device.1, 20, 30, 1).await;
        let copy = open(&data, Some(&copied)).await;
        copy.0.flush().await.unwrap();
        let other = open(&data, None).await;
        ingest(&other.1, 0, 10, 2).await;
        if !sealed {
            device.0.refresh().await.unwrap();
        }
        let expected = model(&[(0, 10, 2), (20, 30, 1)]);
        device.0.flush().await.unwrap();
        assert_eq!(engine::content(&device.1).await.unwrap(), expected);
        let fresh = open(&data, None).await;
        assert_eq!(engine::content(&fresh.1).await.unwrap(), expected);
    }
}

/// Found by the simulation: the store deleted a segment and did not say so, and the next commit wanted to
/// sync that segment.
#[tokio::test]
async fn a_segment_whose_deletion_was_not_answered_is_not_missed() {
    let mut deletions = 0;
    for (n, when) in (0..24).flat_map(|n| [(n, When::Before), (n, When::After)]) {
        let data = Memory::new();
        let before = CrashStorage::new(1).at("wal");
        let device = open(&data, Some(&before)).await;
        ingest(&device.1, 0, 10, 1).await;
        device.0.flush().await.unwrap();
        let wal = before.kill();
        let device = open(&data, Some(&wal)).await;
        let broken = wal.operations() + n;
        wal.fail_at(broken, when);
        let _ = device.0.checkpoint().await;
        let line = wal.trace().get(broken as usize).cloned();
        deletions += u32::from(line.is_some_and(|line| line.contains("delete")));
        let rows = engine::batch(&engine::rows(10, 20, 1));
        let mut outcome = device.1.ingest(std::slice::from_ref(&rows)).await;
        if let Err(error) = &outcome {
            let kind = error.kind();
            let broke = matches!(kind, ErrorKind::Unavailable | ErrorKind::Unknown);
            assert!(broke, "operation {n} {when:?}: {error}");
            outcome = device.1.ingest(std::slice::from_ref(&rows)).await;
        }
        if outcome.is_ok() {
            let device = open(&data, Some(&wal.crash(n))).await;
            let expected = model(&[(0, 20, 1)]);
            assert_eq!(
                engine::content(&device.1).await.unwrap(),
                expected,
                "{n} {when:?}"
            );
        }
    }
    assert!(deletions > 0, "no operation deleted a segment");
}
