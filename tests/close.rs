//! What a closed handle may still do: nothing.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use lakeshore::{
    Db, Env, ErrorKind,
    platform::{memory::Memory, native::TokioRuntime},
};
use support::engine;

/// A flush in the background that begins only after `close` would upload rows that the next handle
/// has replayed from the WAL, with a newer timestamp than that handle's own rows. On one thread the
/// task that `ingest` spawns runs after `close` has taken its lock.
#[tokio::test]
async fn a_flush_never_begins_after_close() {
    let (data, wal) = (Memory::new(), Memory::new());
    let env = || Env {
        data: data.clone(),
        wal: Some(wal.clone()),
        runtime: TokioRuntime::current().unwrap(),
    };
    for round in 0..20i32 {
        let db = Db::open(env(), engine::tiny()).await.unwrap();
        let table = engine::table(&db, "t").await;
        let rows = engine::rows(0, 300, round);
        let (last, batches) = rows.split_last().unwrap();
        for rows in batches.chunks(100) {
            table.ingest(&[engine::batch(rows)]).await.unwrap();
        }
        table
            .ingest(&[engine::batch(std::slice::from_ref(last))])
            .await
            .unwrap();
        let flush = tokio::spawn({
            let db = db.clone();
            async move { db.flush().await }
        });
        db.close().await.unwrap();
        let puts = data.counters();
        let written = (puts.put, puts.put_if_absent);
        if let Err(error) = flush.await.unwrap() {
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let puts = data.counters();
        assert_eq!(
            written,
            (puts.put, puts.put_if_absent),
            "round {round}: written after close"
        );
        let db = Db::open(env(), engine::tiny()).await.unwrap();
        let table = db.table("t").unwrap();
        let expected: engine::Model = engine::rows(0, 300, round).into_iter().collect();
        assert_eq!(
            engine::content(&table).await.unwrap(),
            expected,
            "round {round}"
        );
        db.close().await.unwrap();
    }
}
