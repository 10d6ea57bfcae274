//! What a device keeps and frees, in which order, whatever broke off in between (PROTOCOL W3, W4).

use super::{
    HOUR,
    doubt::forgotten,
    prepared, settle,
    support::{
        crash::{CrashStorage, When},
        devices::{Device, World, copy, ingest, model},
        engine,
        late::Late,
        stage::{Stage, poll},
    },
};
use lakeshore::{Db, Env, Options, SyncPolicy, env::Storage, platform::memory::Memory};
use std::sync::{Arc, atomic::Ordering::SeqCst};

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

/// What is in `from`, in a store that fails on demand.
async fn breakable(from: &Memory) -> Arc<CrashStorage> {
    let to = CrashStorage::new(1).at("wal");
    for object in from.list("", None).await.unwrap() {
        to.set(&object.key, &from.get(&object.key).await.unwrap().unwrap());
    }
    to
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

#[tokio::test]
async fn an_upload_beside_a_decision_about_parked_commits_does_not_undo_it() {
    let mut world = World::new();
    let device = forgotten(&mut world, true).await;
    let disk = Stage::over(9, Memory::clone(&device.wal));
    let env = env_on(&device, disk.env().data);
    let db = Db::open(env, Options::default()).await.unwrap();
    let table = engine::table(&db, "t").await;
    settle().await;
    ingest(&table, 7, 8, 3).await;
    disk.gate.close("uploads");
    let calls = [true, false].map(|discards| {
        let db = db.clone();
        tokio::spawn(async move {
            match discards {
                true => db.discard_parked().await.map(drop),
                false => db.flush().await,
            }
        })
    });
    settle().await;
    disk.gate.open();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // The process dies.
    let next = world.device_on(copy(&device.wal).await);
    let (db, table) = next.open().await;
    assert_eq!(db.stats().parked_commits, 0, "the decision lasts");
    let expected = model(&[(0, 3, 1), (1, 2, 2), (0, 1, 9), (7, 8, 3)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}

/// A segment with commits that were given up could not be deleted, and what was known of them was forgotten
/// before it was gone: the next process took them for new.
#[tokio::test]
async fn what_was_given_up_is_not_uploaded_after_a_deletion_that_failed() {
    let mut deletions = 0;
    for n in 0.. {
        let mut world = World::new();
        let device = forgotten(&mut world, true).await;
        let wal = breakable(&device.wal).await;
        let env = |wal: &Arc<CrashStorage>| env_on(&device, wal.clone());
        let db = Db::open(env(&wal), Options::default()).await.unwrap();
        let table = engine::table(&db, "t").await;
        settle().await;
        ingest(&table, 7, 8, 3).await;
        assert_eq!(db.discard_parked().await.unwrap(), 2);
        db.flush().await.unwrap();
        let broken = wal.operations() + n;
        wal.fail_at(broken, When::Before);
        let _ = db.checkpoint().await;
        let Some(line) = wal.trace().get(broken as usize).cloned() else {
            break;
        };
        deletions += u32::from(line.contains("delete"));
        ingest(&table, 8, 9, 3).await;
        db.flush().await.unwrap();
        let db = Db::open(env(&wal.kill()), Options::default())
            .await
            .unwrap();
        let stats = db.stats();
        assert_eq!((stats.parked_commits, stats.backlog_commits), (0, 0), "{n}");
        let expected = model(&[(0, 3, 1), (1, 2, 2), (0, 1, 9), (7, 9, 3)]);
        let table = db.table("t").unwrap();
        assert_eq!(engine::content(&table).await.unwrap(), expected, "{n}");
    }
    assert!(deletions > 0, "no operation deleted a segment");
}

#[tokio::test]
async fn commits_that_were_given_up_stay_so_or_the_call_fails() {
    for (n, when) in (0..6).flat_map(|n| [(n, When::Before), (n, When::After)]) {
        let mut world = World::new();
        let device = forgotten(&mut world, true).await;
        let wal = breakable(&device.wal).await;
        let env = |wal: &Arc<CrashStorage>| env_on(&device, wal.clone());
        let db = Db::open(env(&wal), Options::default()).await.unwrap();
        engine::table(&db, "t").await;
        settle().await;
        wal.fail_at(wal.operations() + n, when);
        let left = match db.discard_parked().await {
            Ok(_) => 0,
            Err(_) => db.parked().len(),
        };
        let next = Db::open(env(&wal.kill()), Options::default())
            .await
            .unwrap();
        let found = next.parked().len();
        assert!(found <= left, "{n} {when:?}: {found} are parked again");
        assert!(left == 0 || db.discard_parked().await.is_ok());
    }
}

/// A version that was to be kept in the background, after a close whose own was not, replaced the one of the
/// next handle, which had freed segments by it.
#[tokio::test]
async fn nothing_is_kept_after_a_close() {
    let mut late = 0;
    for seed in 0..24 {
        let mut world = World::new();
        let (device, disk) = (world.device(), Stage::new(9));
        let env = |stage: &Arc<Stage>| Env {
            runtime: Late::new(seed, 40),
            ..env_on(&device, stage.env().data)
        };
        let db = Db::open(env(&disk), segments()).await.unwrap();
        let table = engine::table(&db, "t").await;
        ingest(&table, 0, 50, 1).await;
        disk.cut.store(true, SeqCst);
        late += u32::from(disk.memory.get("version").await.unwrap().is_none());
        db.close().await.unwrap();
        disk.cut.store(false, SeqCst);
        disk.gate.close("version");
        settle().await;
        let next = Stage::over(9, disk.memory.clone());
        let db = Db::open(env(&next), segments()).await.unwrap();
        let table = db.table("t").unwrap();
        ingest(&table, 100, 150, 1).await;
        db.flush().await.unwrap();
        db.checkpoint().await.unwrap();
        let kept = next.memory.get("version").await.unwrap();
        disk.gate.open();
        settle().await;
        let found = next.memory.get("version").await.unwrap();
        assert!(found == kept, "{seed}");
    }
    assert!(late > 0, "every version was kept before the close");
}

#[tokio::test]
async fn what_was_given_up_is_not_shown_offline() {
    let mut world = World::new();
    let device = forgotten(&mut world, false).await;
    let (db, table) = device.open().await;
    assert_eq!(db.discard_parked().await.unwrap(), 2);
    assert_eq!(engine::get(&table, 1).await.unwrap(), None);
    db.close().await.unwrap();
    device.cut(true);
    let (db, table) = device.open().await;
    assert!(!db.stats().online);
    assert_eq!(engine::get(&table, 1).await.unwrap(), None);
    ingest(&table, 7, 8, 3).await;
    device.cut(false);
    db.flush().await.unwrap();
    assert_eq!(world.content().await, model(&[(0, 1, 9), (7, 8, 3)]));
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

/// The segment of what was given up is gone, the one that follows it is not and names it: what was known of its
/// session was forgotten with it, and it counted as lost.
#[tokio::test]
async fn a_segment_of_what_was_given_up_is_not_missed() {
    let mut world = World::new();
    let device = forgotten(&mut world, true).await;
    let (db, table) = device.open().await;
    settle().await;
    ingest(&table, 7, 8, 3).await;
    assert_eq!(db.discard_parked().await.unwrap(), 2);
    db.flush().await.unwrap();
    ingest(&table, 8, 9, 3).await;
    db.checkpoint().await.unwrap();
    let expected = model(&[(0, 3, 1), (1, 2, 2), (0, 1, 9), (7, 10, 3)]);
    ingest(&table, 9, 10, 3).await;
    db.flush().await.unwrap();
    // The process dies, and the next one, too.
    let mut wal = device.wal.clone();
    for process in 0..2 {
        let next = world.device_on(copy(&wal).await);
        wal = next.wal.clone();
        let db = Db::open(next.env(), Options::default()).await;
        let db = db.unwrap_or_else(|e| panic!("{process}: {e}"));
        let table = engine::table(&db, "t").await;
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        ingest(&table, 9, 10, 3).await;
        db.flush().await.unwrap();
    }
}

/// Without room for what is known of uploads all of it was given up, the user's decision, too.
#[tokio::test]
async fn an_upload_that_cannot_note_itself_keeps_what_the_user_decided() {
    for n in 0..6 {
        let mut world = World::new();
        let device = forgotten(&mut world, true).await;
        let wal = breakable(&device.wal).await;
        let env = |wal: &Arc<CrashStorage>| env_on(&device, wal.clone());
        let db = Db::open(env(&wal), Options::default()).await.unwrap();
        let table = engine::table(&db, "t").await;
        settle().await;
        assert_eq!(db.discard_parked().await.unwrap(), 2);
        ingest(&table, 7, 8, 3).await;
        wal.fail_at(wal.operations() + n, When::Before);
        let _ = db.flush().await;
        let db = Db::open(env(&wal.kill()), Options::default())
            .await
            .unwrap();
        assert_eq!(db.stats().parked_commits, 0, "{n}");
        let expected = model(&[(0, 3, 1), (1, 2, 2), (0, 1, 9), (7, 8, 3)]);
        let table = db.table("t").unwrap();
        assert_eq!(engine::content(&table).await.unwrap(), expected, "{n}");
    }
}

/// What is known of uploads was taken for lost when it could not be read, and then put away for good: rows that
/// were never sent were parked.
#[tokio::test]
async fn what_is_known_of_uploads_is_not_forgotten_for_a_read_that_failed() {
    let mut world = World::new();
    let device = prepared(&mut world).await;
    // A session of its own, of which the log knows nothing.
    let (db, table) = device.open().await;
    ingest(&table, 20, 25, 3).await;
    db.close().await.unwrap();
    device.cut(false);
    world.pass(HOUR * 24 * 9);
    let mut refused = 0;
    for n in 0..20 {
        let wal = breakable(&device.wal).await;
        wal.fail_at(n, When::Before);
        let mut opened = Db::open(env_on(&device, wal.clone()), Options::default()).await;
        if opened.is_err() {
            refused += 1;
            opened = Db::open(env_on(&device, wal.clone()), Options::default()).await;
        }
        let stats = opened.unwrap().stats();
        assert_eq!((stats.parked_commits, stats.backlog_commits), (0, 2), "{n}");
    }
    assert!(refused > 2, "only {refused} opens failed");
}
