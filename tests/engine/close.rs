//! What a closed handle may still do: nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use lakeshore::{
    Db, Env, Options, SyncPolicy,
    platform::{memory::Memory, native::TokioRuntime},
};
use support::{crash::CrashStorage, engine, late::Late, stage::poll};

/// A flush in the background that begins only after `close` would upload rows that the next handle
/// has replayed from the WAL, with a newer timestamp than that handle's own rows.
#[tokio::test]
async fn a_flush_never_begins_after_close() {
    let (data, wal) = (Memory::new(), Memory::new());
    let env = |seed| Env {
        data: data.clone(),
        wal: Some(wal.clone()),
        runtime: Late::new(seed, 12),
    };
    let mut in_wal = 0;
    for round in 0..40i32 {
        let db = Db::open(env(round as u64), engine::tiny()).await.unwrap();
        let table = engine::table(&db, "t").await;
        for rows in engine::rows(0, 300, round).chunks(300) {
            table.ingest(&[engine::batch(rows)]).await.unwrap();
        }
        let puts = || (data.counters().put, data.counters().put_if_absent);
        db.close().await.unwrap();
        in_wal += u32::from(db.stats().backlog_rows > 0);
        let written = puts();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(written, puts(), "round {round}: written after close");
        let db = Db::open(env(round as u64), engine::tiny()).await.unwrap();
        let table = db.table("t").unwrap();
        let expected: engine::Model = engine::rows(0, 300, round).into_iter().collect();
        assert_eq!(
            engine::content(&table).await.unwrap(),
            expected,
            "round {round}"
        );
        db.close().await.unwrap();
    }
    assert!(in_wal > 3, "no flush was late: the test shows nothing");
}

/// Whoever loses patience with a close may close again: the WAL is synced then, whatever was left undone.
#[tokio::test]
async fn a_close_after_one_that_was_given_up_syncs_the_wal() {
    let storage = CrashStorage::new(1);
    let env = |storage: &CrashStorage| Env {
        data: storage.at("data"),
        wal: Some(storage.at("wal")),
        runtime: TokioRuntime::current().unwrap(),
    };
    let options = || Options {
        sync: SyncPolicy::Never,
        ..Options::default()
    };
    let db = Db::open(env(&storage), options()).await.unwrap();
    let table = engine::table(&db, "t").await;
    table
        .ingest(&[engine::batch(&engine::rows(0, 10, 1))])
        .await
        .unwrap();
    let mut close = Box::pin(db.close());
    assert!(poll(&mut close).is_pending());
    drop(close);
    db.close().await.unwrap();
    for seed in 0..10 {
        let after = storage.crash(seed);
        let db = Db::open(env(&after), options()).await.unwrap();
        let content = engine::content(&db.table("t").unwrap()).await.unwrap();
        assert_eq!(content.len(), 10, "seed {seed}");
        db.close().await.unwrap();
    }
}
