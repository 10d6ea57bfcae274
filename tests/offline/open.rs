//! Opening without the data store, and meeting it again.

use super::{
    HOUR, kind, prepared, settle,
    support::{
        devices::{World, copy, ingest, model},
        engine,
    },
};
use lakeshore::{
    Db, ErrorKind, OfflineOpen, Options, UploadOptions,
    env::Storage,
    log::record::{Record, decode_object, encode_object},
    platform::memory::Memory,
};
use std::sync::atomic::Ordering::SeqCst;

#[tokio::test]
async fn a_device_opens_offline_reads_what_it_has_and_commits() {
    let mut world = World::new();
    let mut device = prepared(&mut world).await;
    world.pass(HOUR);
    for i in 0..3 {
        let (db, table) = device.open().await;
        let stats = db.stats();
        assert!(!stats.online);
        let why = stats.unreachable.unwrap();
        assert!(why.contains("no network"), "{why}");
        let ago = world.truth.load(SeqCst) - stats.proved_at;
        assert!((HOUR.as_micros() as i64..2 * HOUR.as_micros() as i64).contains(&ago));
        assert_eq!(stats.backlog_commits, 1 + i as u64);
        let row = engine::get(&table, 12).await.unwrap().unwrap();
        assert_eq!(row.n, 2);
        let (error, message) = kind(engine::content(&table).await);
        assert_eq!(error, ErrorKind::Unavailable);
        assert!(
            message.contains("sstable data/1/") && message.contains("read again when"),
            "{message}"
        );
        assert_eq!(kind(engine::get(&table, 3).await).0, ErrorKind::Unavailable);
        let committed = ingest(&table, 15 + i, 16 + i, 3).await;
        assert!(!db.is_uploaded(&committed));
        for outcome in [db.flush().await, db.refresh().await.map(drop)] {
            assert_eq!(kind(outcome).0, ErrorKind::Unavailable);
        }
        let create = db.create_table("new", engine::schema()).await;
        assert_eq!(kind(create).0, ErrorKind::Unavailable);
        // The process dies.
        device = world.device_on(copy(&device.wal).await);
        device.cut(true);
    }
    let (db, table) = device.open().await;
    device.cut(false);
    assert!(!db.refresh().await.unwrap(), "the log is where it was");
    assert!(db.stats().online && db.stats().upload_error.is_none());
    let expected = model(&[(0, 10, 1), (10, 15, 2), (15, 18, 3)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
    db.flush().await.unwrap();
    assert_eq!(world.content().await, expected);
}

#[tokio::test]
async fn without_a_copy_of_the_catalog_the_error_says_what_is_missing() {
    let mut world = World::new();
    let device = prepared(&mut world).await;
    let refuse = Options {
        offline: OfflineOpen::Refuse,
        ..Options::default()
    };
    let (error, message) = kind(Db::open(device.env(), refuse).await);
    assert!(
        error == ErrorKind::Unavailable && message.contains("option offline"),
        "{message}"
    );
    // Damaged: any byte.
    let good = device.wal.get("version").await.unwrap().unwrap();
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x10;
        device.wal.put("version", bytes.into()).await.unwrap();
        let (error, message) = kind(Db::open(device.env(), Options::default()).await);
        assert_eq!(error, ErrorKind::Corrupt, "{message}");
        assert!(
            message.contains("version in memory") && message.contains("no network"),
            "{message}"
        );
    }
    device.cut(false);
    let (db, table) = device.open().await;
    assert_eq!(
        engine::content(&table).await.unwrap().len(),
        15,
        "online it is not needed"
    );
    db.close().await.unwrap();
    device.cut(true);
    device.wal.delete("version").await.unwrap();
    let (error, message) = kind(Db::open(device.env(), Options::default()).await);
    assert_eq!(error, ErrorKind::Unavailable);
    assert!(
        message.contains("no copy of the catalog") && message.contains("opened online once"),
        "{message}"
    );
    let never = world.device();
    never.cut(true);
    assert_eq!(
        kind(Db::open(never.env(), Options::default()).await).0,
        ErrorKind::Unavailable
    );
}

/// It read, and committed nothing; its process died.
#[tokio::test]
async fn a_device_that_only_read_online_opens_offline() {
    let mut world = World::new();
    let first = world.device();
    first.open().await.0.close().await.unwrap();
    let device = world.device();
    let db = Db::open(device.env(), Options::default()).await.unwrap();
    let table = db.table("t").unwrap();
    engine::content(&table).await.unwrap();
    settle().await;
    let next = world.device_on(copy(&device.wal).await);
    next.cut(true);
    let (db, table) = next.open().await;
    let committed = ingest(&table, 0, 3, 1).await;
    assert!(!db.is_uploaded(&committed));
}

/// Its position is below what gc freed.
#[tokio::test]
async fn a_device_that_was_away_for_long_finds_the_log_again() {
    for reopen_online in [false, true] {
        let mut world = World::new();
        let device = prepared(&mut world).await;
        let (db, table) = device.open().await;
        ingest(&table, 4, 6, 5).await;
        world.pass(HOUR * 30);
        let foreign = world.device();
        let (other, theirs) = foreign.open().await;
        for i in 0..6 {
            ingest(&theirs, i, i + 2, 7).await;
            other.flush().await.unwrap();
        }
        other.checkpoint().await.unwrap();
        ingest(&theirs, 20, 22, 8).await;
        other.flush().await.unwrap();
        free_records(&world.data).await;
        device.cut(false);
        let (db, table) = match reopen_online {
            false => (db, table),
            true => {
                db.close().await.unwrap();
                device.open().await
            }
        };
        let up = db.upload(UploadOptions::default()).await.unwrap();
        assert_eq!((up.commits, up.rows, up.remaining_rows), (2, 7, 0));
        let expected = model(&[(0, 10, 1), (0, 7, 7), (20, 22, 8), (10, 15, 2), (4, 6, 5)]);
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        assert_eq!(world.content().await, expected);
    }
}

/// What gc does once a checkpoint is older than the grace time: records below it go.
async fn free_records(memory: &Memory) {
    let checkpoints = memory.list("checkpoint/", None).await.unwrap();
    let newest = checkpoints.last().unwrap().key.clone();
    for record in memory.list("log/", None).await.unwrap() {
        if record.key["log/".len()..] < newest["checkpoint/".len()..] {
            memory.delete(&record.key).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_wal_is_never_uploaded_into_another_database_or_an_older_copy() {
    for other in ["empty", "another", "older", "other end"] {
        let mut world = World::new();
        let device = prepared(&mut world).await;
        let (db, table) = device.open().await;
        ingest(&table, 20, 21, 3).await;
        let store = world.data.clone();
        let last = store.list("log/", None).await.unwrap().pop().unwrap().key;
        let record = store.get(&last).await.unwrap().unwrap();
        match other {
            "older" => store.delete(&last).await.unwrap(),
            "other end" => {
                let (body, copies) = decode_object(&last, &record).unwrap();
                let mut changed = Record::decode(&last, &body).unwrap();
                changed.nonce += 1;
                let record = encode_object(&changed.encode(), &copies);
                store.put(&last, record).await.unwrap();
            }
            _ => {
                for object in store.list("", None).await.unwrap() {
                    store.delete(&object.key).await.unwrap();
                }
            }
        }
        if other == "another" {
            let stranger = world.device();
            let (db, rows) = stranger.open().await;
            for i in 0..9 {
                ingest(&rows, i, i + 1, 0).await;
                db.flush().await.unwrap();
            }
        }
        let before = store.list("", None).await.unwrap();
        device.cut(false);
        for _ in 0..2 {
            let (error, message) = kind(db.flush().await);
            let expected = match other {
                "empty" | "another" => ErrorKind::Invalid,
                _ => ErrorKind::Corrupt,
            };
            assert_eq!(error, expected, "{other}: {message}");
        }
        assert_eq!(store.list("", None).await.unwrap(), before, "{other}");
        db.close().await.unwrap();
        let reopened = Db::open(device.env(), Options::default()).await;
        assert!(reopened.is_err(), "{other}");
        // It can still be read and exported.
        device.cut(true);
        let (_, table) = device.open().await;
        assert!(engine::get(&table, 20).await.unwrap().is_some());
    }
}

/// Found by the simulation: two calls met the store again at once, the one that had seen less was first, and what
/// the other had seen was thrown away, though it said that it had refreshed.
#[tokio::test]
async fn a_refresh_beside_another_that_connects_sees_what_was_there_when_it_was_called() {
    let mut world = World::new();
    let (device, other) = (world.device(), world.device());
    let (db, table) = device.open().await;
    ingest(&table, 0, 5, 1).await;
    db.flush().await.unwrap();
    db.close().await.unwrap();
    let (foreign, rows) = other.open().await;
    ingest(&rows, 10, 15, 2).await;
    foreign.flush().await.unwrap();
    device.cut(true);
    let (db, table) = device.open().await;
    assert!(!db.stats().online);
    device.cut(false);
    device.stage.hold.close("log/");
    let refresh = |db: &Db| {
        let db = db.clone();
        tokio::spawn(async move { db.refresh().await.map(drop) })
    };
    let first = refresh(&db);
    settle().await;
    ingest(&rows, 20, 25, 2).await;
    foreign.flush().await.unwrap();
    let second = refresh(&db);
    settle().await;
    device.stage.hold.open();
    for call in [first, second] {
        call.await.unwrap().unwrap();
    }
    assert_eq!(db.stats().head, foreign.stats().head);
    let expected = model(&[(0, 5, 1), (10, 15, 2), (20, 25, 2)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}
