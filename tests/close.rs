//! What a closed handle may still do: nothing.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use lakeshore::{Db, Env, platform::memory::Memory};
use support::{engine, late::Late};

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
