//! What a device keeps and frees, in which order, whatever broke off in between (PROTOCOL W3, W4).

use super::{
    settle,
    support::{
        crash::CrashStorage,
        devices::{Device, World, copy, ingest, model},
        engine,
        stage::poll,
    },
};
use lakeshore::{Db, Env, Options, SyncPolicy, env::Storage};
use std::sync::Arc;

/// Every commit has a segment of its own.
fn segments() -> Options {
    Options {
        wal_segment_bytes: 3000,
        ..Options::default()
    }
}

/// The same device with its WAL on another store.
fn env_on(device: &Device, wal: Arc<dyn Storage>) -> Env {
    Env {
        wal: Some(wal),
        ..device.env()
    }
}

/// The device knew of an upload that the version it kept lacked, and freed its segments offline.
#[tokio::test]
async fn a_checkpoint_offline_frees_no_row_that_the_kept_version_lacks() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open_with(segments()).await;
    settle().await;
    for from in [0, 100] {
        ingest(&table, from, from + 50, 1).await;
        db.flush().await.unwrap();
    }
    let expected = model(&[(0, 50, 1), (100, 150, 1)]);
    // The process dies.
    let next = world.device_on(copy(&device.wal).await);
    next.cut(true);
    let (db, table) = next.open_with(segments()).await;
    assert_eq!(engine::content(&table).await.unwrap(), expected);
    let _ = db.checkpoint().await;
    db.close().await.unwrap();
    let (_, table) = next.open_with(segments()).await;
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}

#[tokio::test]
async fn a_close_that_was_broken_off_is_made_good_by_the_next() {
    for seed in 0..16 {
        let mut world = World::new();
        let device = world.device();
        let wal = CrashStorage::new(seed).at("wal");
        let options = Options {
            sync: SyncPolicy::Never,
            ..Options::default()
        };
        let db = Db::open(env_on(&device, wal.clone()), options)
            .await
            .unwrap();
        let table = engine::table(&db, "t").await;
        ingest(&table, 0, 5, 1).await;
        device.stage.gate.close("data/");
        let flush = tokio::spawn({
            let db = db.clone();
            async move { db.flush().await }
        });
        settle().await;
        let mut close = Box::pin(db.close());
        for _ in 0..10 {
            assert!(poll(&mut close).is_pending());
            settle().await;
        }
        drop(close);
        flush.abort();
        let _ = flush.await;
        db.close().await.unwrap();
        device.stage.gate.open();
        let next = Db::open(env_on(&device, wal.crash(seed)), Options::default());
        let table = next.await.unwrap().table("t").unwrap();
        let content = engine::content(&table).await.unwrap();
        assert_eq!(content, model(&[(0, 5, 1)]), "{seed}");
    }
}

/// Not synced by the process that made it, nor by the one that found it and closed.
#[tokio::test]
async fn a_close_makes_durable_what_its_open_found() {
    for seed in 0..16 {
        let mut world = World::new();
        let device = world.device();
        let wal = CrashStorage::new(seed).at("wal");
        let options = || Options {
            sync: SyncPolicy::Never,
            ..Options::default()
        };
        let db = Db::open(env_on(&device, wal.clone()), options())
            .await
            .unwrap();
        let table = engine::table(&db, "t").await;
        ingest(&table, 0, 5, 1).await;
        let killed = wal.kill();
        let db = Db::open(env_on(&device, killed.clone()), options())
            .await
            .unwrap();
        db.close().await.unwrap();
        let next = Db::open(env_on(&device, killed.crash(seed)), options());
        let table = next.await.unwrap().table("t").unwrap();
        let content = engine::content(&table).await.unwrap();
        assert_eq!(content, model(&[(0, 5, 1)]), "{seed}");
    }
}

/// `SyncPolicy::Never` syncs at a flush: else the version that is kept and the WAL may both lack what it
/// uploaded.
#[tokio::test]
async fn what_was_flushed_is_there_offline_after_a_power_cut() {
    for seed in 0..16 {
        let mut world = World::new();
        let device = world.device();
        let wal = CrashStorage::new(seed).at("wal");
        let options = || Options {
            sync: SyncPolicy::Never,
            ..Options::default()
        };
        let db = Db::open(env_on(&device, wal.clone()), options())
            .await
            .unwrap();
        let table = engine::table(&db, "t").await;
        settle().await;
        ingest(&table, 0, 5, 1).await;
        db.flush().await.unwrap();
        device.cut(true);
        let db = Db::open(env_on(&device, wal.crash(seed)), options())
            .await
            .unwrap();
        let table = db.table("t").unwrap();
        match engine::content(&table).await {
            Ok(content) => assert_eq!(content, model(&[(0, 5, 1)]), "{seed}"),
            Err(e) => assert!(e.message().contains("is not on this device"), "{e}"),
        }
    }
}
