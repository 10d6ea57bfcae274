//! Failed and unknown outcomes of storage requests: the slot decides (PROTOCOL C2), nothing is lost,
//! nothing is applied twice (W3), and the same handle goes on.

use crate::support;

use lakeshore::{Db, Env, ErrorKind, Options, env::Storage, platform::native::TokioRuntime};
use support::{
    crash::{CrashStorage, When},
    engine,
};

fn env(world: &CrashStorage, wal: bool) -> Env {
    Env {
        data: world.at("data"),
        wal: wal.then(|| world.at("wal") as _),
        runtime: TokioRuntime::current().unwrap(),
    }
}

fn options(retries: u32) -> Options {
    Options {
        retries,
        ..Options::default()
    }
}

/// Fails operation `n` of a flush and, if asked, the one after it (the read back); gives whether the
/// flush still had an operation `n`.
async fn flush_failing_at(n: u64, when: When, also_next: bool) -> bool {
    let world = CrashStorage::new(n);
    let db = Db::open(env(&world, true), options(0)).await.unwrap();
    let table = engine::table(&db, "t").await;
    let rows = engine::rows(0, 10, 1);
    table.ingest(&[engine::batch(&rows)]).await.unwrap();
    let start = world.operations();
    world.fail_at(start + n, when);
    if also_next {
        world.fail_at(start + n + 1, when);
    }
    let outcome = db.flush().await;
    let reached = world.operations() > start + n;
    let place = format!("operation {n} {when:?}, next too: {also_next}: {outcome:?}");
    let expected: engine::Model = rows.into_iter().collect();
    // What was to fail and lay beyond the flush fails here.
    while world.operations() < start + n + 2 {
        let _ = world.at("data").list("x", None).await;
    }
    assert_eq!(engine::content(&table).await.unwrap(), expected, "{place}");
    db.flush()
        .await
        .unwrap_or_else(|e| panic!("{place}: the next flush failed: {e}"));
    assert_eq!(engine::content(&table).await.unwrap(), expected, "{place}");
    let stats = db.stats();
    assert_eq!(
        stats.tables[0].file_rows, 10,
        "{place}: rows went up twice or not at all"
    );
    assert_eq!(stats.backlog_rows, 0, "{place}");
    db.close().await.unwrap();
    let db = Db::open(env(&world, true), options(0)).await.unwrap();
    assert_eq!(
        engine::content(&db.table("t").unwrap()).await.unwrap(),
        expected,
        "{place}"
    );
    assert_eq!(db.stats().backlog_rows, 0, "{place}");
    reached
}

#[tokio::test]
async fn a_flush_that_fails_anywhere_is_made_good_by_the_next() {
    for when in [When::Before, When::Within, When::After] {
        for also_next in [false, true] {
            let mut n = 0;
            while flush_failing_at(n, when, also_next).await {
                n += 1;
            }
            assert!(
                n >= 3,
                "a flush has at least three operations, this had {n}"
            );
        }
    }
}

#[tokio::test]
async fn a_lost_reply_to_a_commit_is_found_out_by_reading_back() {
    for n in 0..3 {
        let world = CrashStorage::new(n);
        let db = Db::open(env(&world, false), options(3)).await.unwrap();
        let table = engine::table(&db, "t").await;
        world.fail_at(world.operations() + n, When::After);
        let head = db.stats().head;
        for i in 0..3 {
            table
                .ingest(&[engine::batch(&engine::rows(i, i + 1, i as i32))])
                .await
                .unwrap();
        }
        assert_eq!(db.stats().head, head + 3, "a commit was applied twice");
        assert_eq!(engine::content(&table).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_says_so_and_the_handle_goes_on() {
    let world = CrashStorage::new(1);
    let db = Db::open(env(&world, false), options(0)).await.unwrap();
    let table = engine::table(&db, "t").await;
    let next = world.operations();
    world.fail_at(next, When::After);
    world.fail_at(next + 1, When::Before);
    let error = table
        .ingest(&[engine::batch(&engine::rows(0, 1, 1))])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert!(!error.kind().retryable() && error.message().contains("read before you retry"));
    table
        .ingest(&[engine::batch(&engine::rows(1, 2, 2))])
        .await
        .unwrap();
    let content = engine::content(&table).await.unwrap();
    assert_eq!(
        content.keys().copied().collect::<Vec<_>>(),
        [0, 1],
        "it had happened"
    );
}

#[tokio::test]
async fn a_full_device_refuses_the_commit_and_the_next_one_goes_in() {
    for when in [When::Before, When::Within] {
        let world = CrashStorage::new(5);
        let db = Db::open(env(&world, true), options(0)).await.unwrap();
        let table = engine::table(&db, "t").await;
        table
            .ingest(&[engine::batch(&engine::rows(0, 5, 1))])
            .await
            .unwrap();
        world.fail_at(world.operations(), when);
        let error = table
            .ingest(&[engine::batch(&engine::rows(5, 10, 2))])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        table
            .ingest(&[engine::batch(&engine::rows(10, 15, 3))])
            .await
            .unwrap();
        let mut expected: engine::Model = engine::rows(0, 5, 1).into_iter().collect();
        expected.extend(engine::rows(10, 15, 3));
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        drop((db, table));
        let world = world.crash(9);
        let db = Db::open(env(&world, true), options(0)).await.unwrap();
        assert_eq!(
            engine::content(&db.table("t").unwrap()).await.unwrap(),
            expected
        );
    }
}

#[test]
fn a_runtime_that_shuts_down_answers_the_commits_that_wait() {
    let world = CrashStorage::new(3);
    let start = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = start();
    let (db, table) = first.block_on(async {
        let db = Db::open(env(&world, true), options(0)).await.unwrap();
        let table = engine::table(&db, "t").await;
        (db, table)
    });
    // Queued, its task spawned, never polled.
    let waiting = table.ingest(&[engine::batch(&engine::rows(0, 1, 1))]);
    drop(first);
    let error = start().block_on(waiting).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("nothing was written"), "{error}");
    drop(db);
}

/// The rows are in the WAL and not in the handle: what it acknowledged next would stand for them.
#[tokio::test]
async fn after_a_write_whose_lock_cannot_be_asked_only_a_reopen_decides() {
    let world = CrashStorage::new(1);
    let db = Db::open(env(&world, true), options(0)).await.unwrap();
    let table = engine::table(&db, "t").await;
    let ingest = |from, to| table.ingest(&[engine::batch(&engine::rows(from, to, 1))]);
    ingest(0, 5).await.unwrap();
    // Asked before the write it answers, after it not.
    world.fail_confirm(1);
    let unknown = ingest(5, 10).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unknown, "{unknown}");
    let refused = ingest(10, 15).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.message().contains("reopen"), "{refused}");
    let _ = db.flush().await;
    drop((table, db.close().await));
    for _ in 0..2 {
        let db = Db::open(env(&world, true), options(0)).await.unwrap();
        let content = engine::content(&db.table("t").unwrap()).await.unwrap();
        let expected: engine::Model = engine::rows(0, 10, 1).into_iter().collect();
        assert_eq!(content, expected);
        db.flush().await.unwrap();
        db.close().await.unwrap();
    }
}
