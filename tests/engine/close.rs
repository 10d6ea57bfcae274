//! What a closed handle may still do: nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use lakeshore::{
    Db, Env, ErrorKind, Options, SyncPolicy,
    env::Storage,
    platform::{
        memory::Memory,
        native::{self, Directory, TokioRuntime},
    },
};
use std::{fs, path::Path, sync::Arc};
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

/// The remount of a component: `close` is under way, and was not awaited.
#[tokio::test]
async fn an_open_while_the_last_handle_closes_waits_for_it() {
    let root = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    for round in 0..10 {
        let data = Memory::new();
        let wal: Arc<dyn Storage> = match round % 2 {
            0 => Directory::open(root.path()),
            _ => memory.clone(),
        };
        let env = || Env {
            data: data.clone(),
            wal: Some(wal.clone()),
            runtime: TokioRuntime::current().unwrap(),
        };
        let db = Db::open(env(), Options::default()).await.unwrap();
        let closing = tokio::spawn({
            let db = db.clone();
            async move { db.close().await }
        });
        while db.table("t").unwrap_err().kind() != ErrorKind::Closed {
            tokio::task::yield_now().await;
        }
        let next = Db::open(env(), Options::default()).await.unwrap();
        closing.await.unwrap().unwrap();
        let busy = Db::open(env(), Options::default()).await.unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
        next.close().await.unwrap();
    }
}

/// DESIGN promise 13. Whoever took the WAL has read what was acknowledged until then, and nothing more is.
#[tokio::test]
async fn a_handle_whose_wal_was_taken_or_removed_acknowledges_nothing_more_and_says_why() {
    type Harm = fn(&Path);
    let taken: Harm = |wal| {
        let other = wal.join("other");
        fs::write(&other, "9 8 node 0b another-kernel pid:[1] socket\n").unwrap();
        fs::rename(other, wal.join("wal.lock")).unwrap();
    };
    let segments: Harm = |wal| {
        for entry in fs::read_dir(wal).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "wal") {
                fs::remove_file(path).unwrap();
            }
        }
    };
    let unlocked: Harm = |wal| fs::remove_file(wal.join("wal.lock")).unwrap();
    // The holder's beat may come between.
    let removed: Harm = |wal| while fs::remove_dir_all(wal).is_err() {};
    let cases = [
        (taken, "process 9 (node) on another machine took it over"),
        (unlocked, "was removed"),
        (segments, "was removed"),
        (removed, "was removed"),
    ];
    for (harm, why) in cases {
        for sync in [SyncPolicy::Always, SyncPolicy::Never] {
            let root = tempfile::tempdir().unwrap();
            let (data, wal) = (root.path().join("data"), root.path().join("wal"));
            let options = || Options {
                sync,
                ..Options::default()
            };
            let env = native::env(&data, Some(&wal)).unwrap();
            let db = Db::open(env, options()).await.unwrap();
            let table = engine::table(&db, "t").await;
            let put = async |from: i64| {
                let rows = engine::batch(&engine::rows(from, from + 5, 1));
                table.ingest(&[rows]).await
            };
            put(0).await.unwrap();
            harm(&wal);
            for from in [10, 20] {
                let error = put(from).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                assert!(error.message().contains(why), "{error}");
            }
            let error = table.scan().stream().map(drop).unwrap_err();
            assert!(error.message().contains(why), "{error}");
            let error = db.flush().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
            assert!(db.close().await.is_ok() || sync == SyncPolicy::Never);
            drop((table, db));
            let _ = fs::remove_file(wal.join("wal.lock"));
            let env = native::env(&data, Some(&wal)).unwrap();
            let db = Db::open(env, options()).await.unwrap();
            let found = engine::content(&db.table("t").unwrap()).await.unwrap();
            let kept = wal.join("00000000000000000001.wal").exists();
            let wanted: engine::Model = engine::rows(0, 5, 1).into_iter().collect();
            assert_eq!(
                found,
                if kept { wanted } else { engine::Model::new() },
                "{why}"
            );
        }
    }
}

/// A table that another handle made is looked for in the log, once.
#[tokio::test]
async fn a_name_that_this_handle_does_not_know_is_looked_up() {
    let data = Memory::new();
    let env = || Env {
        data: data.clone(),
        wal: None,
        runtime: TokioRuntime::current().unwrap(),
    };
    let ours = Db::open(env(), Options::default()).await.unwrap();
    let theirs = Db::open(env(), Options::default()).await.unwrap();
    engine::table(&theirs, "t").await;
    let error = ours.table("t").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let table = ours.look_up_table("t").await.unwrap();
    assert_eq!(table.name().unwrap(), "t");
    let before = data.counters();
    ours.look_up_table("t").await.unwrap();
    assert_eq!(
        data.counters(),
        before,
        "a name that is known costs nothing"
    );
    let error = ours.look_up_table("none").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("there are t"), "{error}");
}
