//! `local` durability with the network cut: what is acknowledged stays and is uploaded once, in its own
//! order; the device opens and reads by what it has; foreign commits meanwhile are met (PROTOCOL W1 to
//! W5, T1, T2).
#![cfg(not(target_arch = "wasm32"))]

mod support;

use bytes::Bytes;
use lakeshore::{
    Db, Env, ErrorKind, KeepUploaded, OfflineOpen, Options, UploadOptions,
    env::Storage,
    log::{
        checkpoint::{decode_checkpoint, encode_checkpoint},
        record::{Record, decode_object, encode_object, record_key},
        version::{Head, Version},
    },
    platform::{memory::Memory, native::TokioRuntime},
    state::State,
};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use support::{
    crash::{CrashStorage, When},
    devices::{Device, World, copy, ingest, model},
    engine::{self, Model},
    random::{Random, seconds, seed},
    stage::Stage,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Lets everything go on that can.
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

/// The floor falls within what the next process replayed as one memtable.
#[tokio::test]
async fn a_late_put_of_the_process_before_is_not_uploaded_a_second_time() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open().await;
    for i in 0..3 {
        ingest(&table, i, i + 3, 1).await;
    }
    device.stage.gate.close("log/");
    let flush = tokio::spawn({
        let db = db.clone();
        async move { db.flush().await }
    });
    settle().await;
    assert!(!flush.is_finished(), "its PUT is on the way");
    ingest(&table, 4, 7, 2).await;
    // The process dies here; its PUT arrives later.
    let next = world.device_on(copy(&device.wal).await);
    let (after, rows) = next.open().await;
    assert_eq!(after.stats().backlog_commits, 4);
    ingest(&rows, 6, 8, 3).await;
    device.stage.gate.open();
    flush.await.unwrap().unwrap();
    let foreign = world.device();
    let (other, theirs) = foreign.open().await;
    ingest(&theirs, 0, 3, 9).await;
    other.flush().await.unwrap();

    let own = [(0, 5, 1), (0, 3, 9), (4, 7, 2), (6, 8, 3)];
    after.refresh().await.unwrap();
    assert_eq!(
        after.stats().backlog_commits,
        2,
        "the log has three of five"
    );
    assert_eq!(engine::content(&rows).await.unwrap(), model(&own));
    after.flush().await.unwrap();
    assert_eq!(after.stats().backlog_commits, 0);
    assert_eq!(engine::content(&rows).await.unwrap(), model(&own));
    assert_eq!(world.content().await, model(&own));
    let uploaded: u64 = after.stats().tables[0].file_rows;
    assert_eq!(uploaded, 5 + 3 + 4, "each row once");
}

#[tokio::test]
async fn stamps_do_not_run_ahead_of_the_clock_however_long_the_device_was_idle() {
    let mut world = World::new();
    let (device, foreign) = (world.device(), world.device());
    let (db, table) = device.open().await;
    let (_, theirs) = foreign.open().await;
    for hours in 0..5 {
        ingest(&table, hours, hours + 3, hours as i32).await;
        world.pass(HOUR);
    }
    let before = db.stats().last_timestamp;
    ingest(&theirs, 0, 1, 9).await;
    let other = Db::open(
        Env {
            wal: None,
            ..foreign.stage.env()
        },
        Options::default(),
    )
    .await
    .unwrap();
    ingest(&other.table("t").unwrap(), 100, 101, 9).await;
    db.refresh().await.unwrap();
    let (now, stats) = (world.truth.load(SeqCst), db.stats());
    assert!(stats.last_timestamp > before);
    assert!(
        stats.last_timestamp < now + 1_000,
        "{} µs ahead",
        stats.last_timestamp - now
    );
    let mut expected = model(&[(100, 101, 9)]);
    expected.extend((0..5).flat_map(|h| engine::rows(h, h + 3, h as i32)));
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}

/// Two commits with a gap between them, whose rows are in one run: each row keeps its commit's place.
#[test]
fn a_record_moves_only_the_stamps_it_overtook() {
    let mut state = State::new(Arc::new(Version::default()));
    let version = |ts| Version {
        head: Head {
            seq: ts as u64,
            ts,
            digest: [0; 32],
        },
        ..Version::default()
    };
    let stamps = [10, 20, 1_000, 2_000];
    for (frame, stamp) in (1..).zip(stamps) {
        state = state.with_pending(Vec::new(), [1; 16], frame, stamp);
    }
    let of = |state: &State| state.pending.iter().map(|c| c.stamp).collect::<Vec<_>>();
    let next = state.with_record(Arc::new(version(5)), Vec::new());
    assert_eq!(of(&next), stamps);
    let next = next.with_record(Arc::new(version(15)), Vec::new());
    assert_eq!(of(&next), [16, 20, 1_000, 2_000]);
    let next = next.with_record(Arc::new(version(999)), Vec::new());
    assert_eq!(of(&next), [1_000, 1_001, 1_002, 2_000]);
    assert_eq!(next.last_stamp, 2_000);
    let next = next.with_record(Arc::new(version(5_000)), Vec::new());
    assert_eq!(of(&next), [5_001, 5_002, 5_003, 5_004]);
    assert_eq!(next.last_stamp, 5_004);
}

fn kind<T: std::fmt::Debug>(outcome: lakeshore::Result<T>) -> (ErrorKind, String) {
    let error = outcome.unwrap_err();
    (error.kind(), error.message().to_owned())
}

/// Rows 0 to 9 are in an sstable, 10 to 14 in the WAL; the handle is closed and the network cut.
async fn prepared(world: &mut World) -> Device {
    let device = world.device();
    let (db, table) = device.open().await;
    ingest(&table, 0, 10, 1).await;
    db.flush().await.unwrap();
    ingest(&table, 10, 15, 2).await;
    db.close().await.unwrap();
    device.cut(true);
    device
}

#[tokio::test]
async fn a_device_opens_offline_reads_what_it_has_and_commits() {
    let mut world = World::new();
    let mut device = prepared(&mut world).await;
    world.pass(HOUR);
    for i in 0..3 {
        let (db, table) = device.open().await;
        let stats = db.stats();
        assert!(!stats.online);
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

#[tokio::test]
async fn an_upload_goes_in_steps_of_whole_commits_while_others_are_made() {
    let mut world = World::new();
    let device = world.device();
    let options = Options {
        seal_batches: 5,
        ..Options::default()
    };
    let (db, table) = device.open_with(options.clone()).await;
    device.cut(true);
    // Each commit writes the same ten keys: what is read must be one commit.
    for i in 1..=23 {
        ingest(&table, 0, 10, i).await;
        world.pass(HOUR / 60);
    }
    settle().await;
    let stats = db.stats();
    assert_eq!((stats.backlog_commits, stats.online), (23, false));
    assert!(stats.upload_error.unwrap().contains("no network"));
    let since = world.truth.load(SeqCst) - stats.backlog_since.unwrap();
    assert_eq!((since + 1_000) / 60_000_000, 23);
    let one = UploadOptions {
        max_bytes: Some(0),
        ..UploadOptions::default()
    };
    assert_eq!(kind(db.upload(one).await).0, ErrorKind::Unavailable);
    device.cut(false);
    let mut marks = Vec::new();
    let mut last = u64::MAX;
    for i in 24.. {
        let up = db.upload(one).await.unwrap();
        if up.commits == 0 {
            break;
        }
        assert!(up.rows == 10 && up.bytes > 0 && up.remaining_rows < last);
        last = up.remaining_rows + 10;
        let content = world.content().await;
        let mark = content[&0].n;
        assert!(content.len() == 10 && content.values().all(|row| row.n == mark));
        marks.push(mark);
        if i < 26 {
            ingest(&table, 0, 10, i).await;
        }
    }
    assert_eq!(marks, [5, 10, 15, 20, 23, 24, 25], "a seal a step");
    assert!(db.stats().online && db.stats().upload_error.is_none());
    let more = UploadOptions {
        max_bytes: Some(u64::MAX),
        max_millis: Some(60_000),
    };
    for i in 30..47 {
        device.cut(i < 46);
        ingest(&table, i.into(), 60, i).await;
        settle().await;
    }
    db.upload(more).await.unwrap();
    assert_eq!(db.stats().backlog_commits, 0);
    let without = Env {
        wal: None,
        ..device.env()
    };
    let remote = Db::open(without, options).await.unwrap();
    assert_eq!(remote.upload(more).await.unwrap(), Default::default());
}

#[tokio::test]
async fn at_its_bound_the_backlog_takes_no_more_and_nothing_is_written() {
    let mut world = World::new();
    let device = world.device();
    let options = Options {
        backlog_bytes: 20_000,
        ..Options::default()
    };
    let (db, table) = device.open_with(options).await;
    ingest(&table, 0, 10, 1).await;
    device.cut(true);
    let mut acknowledged = 10;
    let (error, message) = loop {
        let rows = engine::rows(acknowledged, acknowledged + 10, 1);
        match table.ingest(&[engine::batch(&rows)]).await {
            Ok(_) => acknowledged += 10,
            refused => break kind(refused),
        }
        assert!(acknowledged < 10_000);
    };
    assert_eq!(error, ErrorKind::Unavailable);
    for part in [
        "backlog_bytes",
        "20000",
        "nothing was written",
        "no network",
        "commits with",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let before = db.stats();
    assert!((20_000..30_000).contains(&before.backlog_bytes));
    let asked = before.data.get;
    for _ in 0..20 {
        let rows = engine::batch(&engine::rows(acknowledged, acknowledged + 10, 1));
        assert!(table.ingest(&[rows]).await.is_err());
    }
    let after = db.stats();
    assert_eq!(after.data.get, asked, "the store is not asked each time");
    assert_eq!(
        (after.wal_bytes, after.backlog_rows),
        (before.wal_bytes, before.backlog_rows)
    );
    device.cut(false);
    world.pass(Duration::from_secs(6));
    ingest(&table, acknowledged, acknowledged + 10, 2).await;
    assert_eq!(
        db.stats().backlog_rows,
        10,
        "the writer waited for an upload"
    );
    let expected = model(&[(0, acknowledged, 1), (acknowledged, acknowledged + 10, 2)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}

#[tokio::test]
async fn a_commit_says_when_it_is_uploaded_and_keeps_its_name() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open().await;
    let first = ingest(&table, 0, 1, 1).await;
    let waiting = tokio::spawn(db.uploaded(&first));
    settle().await;
    assert!(!first.uploaded && !db.is_uploaded(&first) && !waiting.is_finished());
    db.flush().await.unwrap();
    let second = ingest(&table, 0, 1, 1).await;
    waiting.await.unwrap().unwrap();
    assert!(db.is_uploaded(&first) && !db.is_uploaded(&second));
    let (one, two) = (first.position.unwrap(), second.position.unwrap());
    assert!(one.session == two.session && one.frame < two.frame);
    let closing = tokio::spawn(db.uploaded(&second));
    settle().await;
    db.close().await.unwrap();
    assert_eq!(kind(closing.await.unwrap()).0, ErrorKind::Closed);
    let (db, _) = device.open().await;
    assert!(
        db.is_uploaded(&first) && !db.is_uploaded(&second),
        "also after a reopen"
    );
    db.flush().await.unwrap();
    db.uploaded(&second).await.unwrap();
}

#[tokio::test]
async fn a_loop_keeps_a_device_uploaded_and_backs_off_while_it_is_offline() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open().await;
    let every = Duration::from_secs(10);
    let options = KeepUploaded {
        every,
        longest_pause: every * 32,
    };
    let kept = tokio::spawn(db.keep_uploaded(options));
    for i in 0..4 {
        let committed = ingest(&table, i, i + 1, 1).await;
        db.uploaded(&committed).await.unwrap();
    }
    device.cut(true);
    ingest(&table, 10, 11, 1).await;
    let (asked, from) = (db.stats().data.get, device.stage.monotonic.load(SeqCst));
    // The stage's sleepers let a twentieth of their time pass.
    let an_hour = || device.stage.monotonic.load(SeqCst) - from > 3_600_000_000 / 20;
    while !an_hour() {
        tokio::task::yield_now().await;
    }
    let asked = db.stats().data.get - asked;
    assert!((10..60).contains(&asked), "asked {asked} times in an hour");
    device.cut(false);
    let last = ingest(&table, 12, 13, 1).await;
    db.uploaded(&last).await.unwrap();
    assert_eq!(db.stats().backlog_rows, 0);
    db.close().await.unwrap();
    kept.await.unwrap().unwrap();
    // It holds no handle: the WAL is free once the last clone is gone.
    let (db, table) = device.open().await;
    let kept = tokio::spawn(db.keep_uploaded(options));
    ingest(&table, 0, 1, 2).await;
    drop((db, table));
    kept.await.unwrap().unwrap();
    device.open().await;
}

/// The second copy meets what the first has uploaded of their common past.
#[tokio::test]
async fn two_copies_of_a_wal_upload_their_common_commits_once() {
    let mut world = World::new();
    let device = prepared(&mut world).await;
    device.cut(false);
    let twin = world.device_on(copy(&device.wal).await);
    let (one, first) = device.open().await;
    let (two, second) = twin.open().await;
    ingest(&first, 30, 32, 3).await;
    ingest(&second, 31, 33, 4).await;
    one.flush().await.unwrap();
    ingest(&first, 33, 34, 5).await;
    two.flush().await.unwrap();
    one.flush().await.unwrap();
    two.refresh().await.unwrap();
    let expected = model(&[
        (0, 10, 1),
        (10, 15, 2),
        (30, 32, 3),
        (31, 33, 4),
        (33, 34, 5),
    ]);
    assert_eq!(engine::content(&first).await.unwrap(), expected);
    assert_eq!(engine::content(&second).await.unwrap(), expected);
    assert_eq!(one.stats().tables[0].file_rows, 10 + 5 + 2 + 2 + 1);
}

/// The caller gave up, more was committed, then the record arrives after all.
#[tokio::test]
async fn a_late_put_of_an_earlier_attempt_is_found_before_the_next_upload() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open().await;
    ingest(&table, 0, 3, 1).await;
    device.stage.hold.close("log/");
    let call = tokio::spawn({
        let db = db.clone();
        async move { db.flush().await }
    });
    settle().await;
    let key = record_key(db.stats().head + 1);
    let record = world.data.get(&key).await.unwrap().unwrap();
    world.data.delete(&key).await.unwrap();
    call.abort();
    assert!(call.await.is_err());
    device.stage.hold.open();
    ingest(&table, 2, 5, 2).await;
    world.data.put(&key, record).await.unwrap();
    let foreign = world.device();
    let (other, theirs) = foreign.open().await;
    ingest(&theirs, 0, 1, 9).await;
    other.flush().await.unwrap();
    db.flush().await.unwrap();
    let expected = model(&[(0, 3, 1), (0, 1, 9), (2, 5, 2)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
    assert_eq!(world.content().await, expected);
    assert_eq!(db.stats().tables[0].file_rows, 3 + 1 + 3);
}

const YEAR: i64 = 365 * 24 * 3600 * 1_000_000;

enum Change {
    Rows(i64, i64, i32),
    Delete(i64),
}

/// What the log should hold, and what each of two devices has not uploaded.
struct Expected {
    log: Model,
    pending: [VecDeque<Change>; 2],
}

impl Expected {
    /// The last to upload wins; each device's commits stay in their order.
    fn uploaded(&mut self, device: usize, left: u64) {
        while self.pending[device].len() as u64 > left {
            apply(&mut self.log, &self.pending[device].pop_front().unwrap());
        }
    }

    fn seen_by(&self, device: usize) -> Model {
        let mut content = self.log.clone();
        self.pending[device]
            .iter()
            .for_each(|c| apply(&mut content, c));
        content
    }
}

fn apply(model: &mut Model, change: &Change) {
    match change {
        Change::Rows(from, to, mark) => model.extend(engine::rows(*from, *to, *mark)),
        Change::Delete(id) => _ = model.remove(id),
    }
}

async fn check_log_clock(world: &World, seed: u64) {
    let newest = world
        .data
        .list("log/", None)
        .await
        .unwrap()
        .pop()
        .unwrap()
        .key;
    let bytes: Bytes = world.data.get(&newest).await.unwrap().unwrap();
    let (body, _) = decode_object(&newest, &bytes).unwrap();
    let ahead = Record::decode(&newest, &body).unwrap().ts - world.truth.load(SeqCst);
    assert!(
        ahead <= 300_000_000 + 1_000,
        "{newest} is {ahead} µs ahead of the store; SEED={seed}"
    );
}

/// One device's clock is a year ahead. Both are cut off and come back, at random, for days.
async fn two_devices(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new();
    let mut devices = [world.device(), world.device()];
    devices[1].stage.wall.fetch_add(YEAR, SeqCst);
    let options = Options {
        seal_batches: 4,
        wal_segment_bytes: 2048,
        checkpoint_records: 4,
        ..Options::default()
    };
    let mut open = Vec::new();
    for device in &devices {
        open.push(device.open_with(options.clone()).await);
    }
    // The copies of the catalog are written in the background.
    settle().await;
    let mut expected = Expected {
        log: Model::new(),
        pending: Default::default(),
    };
    for step in 0..120 {
        let who = random.below(2);
        let cut = devices[who].stage.cut.load(SeqCst);
        match random.below(12) {
            0 => world.pass(Duration::from_secs(random.below(4 * 3600) as u64)),
            1 => devices[who].cut(!cut),
            2 => {
                // The process ends, or dies.
                if random.chance(0.5) {
                    open[who].0.close().await.unwrap();
                    devices[who].cut(true);
                } else {
                    let (wall, wal) = (&devices[who].stage.wall, copy(&devices[who].wal).await);
                    let next = world.device_on(wal);
                    next.stage.wall.store(wall.load(SeqCst), SeqCst);
                    next.cut(cut);
                    devices[who].cut(true);
                    devices[who] = next;
                }
                let db = Db::open(devices[who].env(), options.clone()).await;
                let db = db.unwrap_or_else(|e| panic!("step {step}: {e}; SEED={seed}"));
                let table = db.table("t").unwrap();
                open[who] = (db, table);
            }
            3 | 4 => {
                let one = UploadOptions {
                    max_bytes: Some(0),
                    max_millis: None,
                };
                let up = open[who].0.upload(one).await;
                assert!(up.is_ok() || cut, "{up:?}; SEED={seed}");
            }
            5 => drop(open[who].0.refresh().await),
            n => {
                let from = random.below(30) as i64;
                let change = match n {
                    6 => Change::Delete(from),
                    _ => Change::Rows(from, from + 1 + random.below(4) as i64, step),
                };
                let table = &open[who].1;
                let done = match change {
                    Change::Rows(from, to, mark) => {
                        let rows = engine::rows(from, to, mark);
                        table.ingest(&[engine::batch(&rows)]).await
                    }
                    Change::Delete(id) => table.delete(&[engine::keys(&[id])]).await,
                };
                done.unwrap_or_else(|e| panic!("step {step}: {e}; SEED={seed}"));
                expected.pending[who].push_back(change);
            }
        }
        settle().await;
        let (db, table) = &open[who];
        // A handle that opened offline may not know yet what it had uploaded.
        if db.stats().online && !devices[who].stage.cut.load(SeqCst) {
            db.refresh().await.unwrap();
            expected.uploaded(who, db.stats().backlog_commits);
            let content = engine::content(table).await.unwrap();
            assert_eq!(
                content,
                expected.seen_by(who),
                "step {step} of {who}; SEED={seed}"
            );
        }
        check_log_clock(&world, seed).await;
    }
    let first = random.below(2);
    for who in [first, 1 - first] {
        devices[who].cut(false);
        let (db, _) = &open[who];
        db.refresh()
            .await
            .unwrap_or_else(|e| panic!("{e}; SEED={seed}"));
        expected.uploaded(who, db.stats().backlog_commits);
        db.flush()
            .await
            .unwrap_or_else(|e| panic!("{e}; SEED={seed}"));
        expected.uploaded(who, 0);
        check_log_clock(&world, seed).await;
    }
    assert_eq!(world.content().await, expected.log, "SEED={seed}");
    for (db, table) in &open {
        db.refresh().await.unwrap();
        assert_eq!(
            engine::content(table).await.unwrap(),
            expected.log,
            "SEED={seed}"
        );
        let ahead = db.stats().last_timestamp - world.truth.load(SeqCst);
        assert!(ahead <= 300_001_000, "{ahead}; SEED={seed}");
    }
}

#[tokio::test]
async fn two_devices_that_come_and_go_end_with_what_was_uploaded_last() {
    let (seed, time) = (seed(), seconds(4));
    let mut runs = 0;
    while runs < 5 || time.left() {
        two_devices(seed + runs).await;
        runs += 1;
    }
    println!("{runs} runs from SEED={seed} on");
}

/// A record was sent, nothing heard of it, and the log has forgotten the floors of that time.
async fn forgotten(world: &mut World, landed: bool) -> Device {
    let device = world.device();
    let (db, table) = device.open().await;
    ingest(&table, 0, 3, 1).await;
    ingest(&table, 1, 2, 2).await;
    device.stage.hold.close("log/");
    let call = tokio::spawn({
        let db = db.clone();
        async move { db.flush().await }
    });
    settle().await;
    if !landed {
        world
            .data
            .delete(&record_key(db.stats().head + 1))
            .await
            .unwrap();
    }
    call.abort();
    let after = world.device_on(copy(&device.wal).await);
    world.pass(HOUR * 25);
    let foreign = world.device();
    let (other, theirs) = foreign.open().await;
    ingest(&theirs, 0, 1, 9).await;
    other.flush().await.unwrap();
    other.checkpoint().await.unwrap();
    other.close().await.unwrap();
    let key = &world
        .data
        .list("checkpoint/", None)
        .await
        .unwrap()
        .pop()
        .unwrap()
        .key;
    let bytes = world.data.get(key).await.unwrap().unwrap();
    let mut version = decode_checkpoint(key, &bytes).unwrap();
    version.wal_floors.clear();
    world
        .data
        .put(key, encode_checkpoint(&version).into())
        .await
        .unwrap();
    world.data.delete("CURRENT").await.unwrap();
    for record in world.data.list("log/", None).await.unwrap() {
        if record.key[4..] < key["checkpoint/".len()..] {
            world.data.delete(&record.key).await.unwrap();
        }
    }
    after
}

#[tokio::test]
async fn commits_that_may_be_in_the_log_are_parked_not_uploaded_again() {
    for landed in [true, false] {
        let mut world = World::new();
        let device = forgotten(&mut world, landed).await;
        let there = match landed {
            true => vec![(0, 3, 1), (1, 2, 2), (0, 1, 9)],
            false => vec![(0, 1, 9)],
        };
        let (db, table) = device.open().await;
        assert_eq!(
            (db.stats().parked_commits, db.stats().backlog_commits),
            (2, 0)
        );
        ingest(&table, 7, 8, 3).await;
        db.flush().await.unwrap();
        let mut expected = model(&there);
        expected.extend(model(&[(7, 8, 3)]));
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let (db, table) = device.open().await;
        let parked = db.parked();
        assert_eq!(parked.len(), 2, "still there after a truncation");
        assert!(
            parked
                .iter()
                .all(|p| p.table.as_deref() == Some("t") && !p.delete)
        );
        assert!(parked[0].made < parked[1].made);
        match landed {
            // The user takes it out and commits it anew, or drops it.
            true => {
                assert_eq!(db.discard_parked().await.unwrap(), 2);
            }
            false => {
                table.ingest_ipc(parked[0].ipc.clone()).await.unwrap();
                assert_eq!(db.restore_parked().await.unwrap(), 2);
                expected.extend(model(&[(0, 3, 1), (1, 2, 2)]));
            }
        }
        assert_eq!(db.stats().parked_commits, 0);
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        let again = world.device_on(copy(&device.wal).await);
        let (db, table) = again.open().await;
        assert_eq!(db.stats().parked_commits, 0, "the decision lasts");
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        db.flush().await.unwrap();
        assert_eq!(world.content().await, expected);
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let (db, _) = again.open().await;
        assert_eq!(
            (db.stats().parked_commits, db.stats().backlog_commits),
            (0, 0)
        );
    }
}

#[tokio::test]
async fn a_device_that_opened_offline_uploads_nothing_it_is_not_sure_of() {
    let mut world = World::new();
    let device = forgotten(&mut world, true).await;
    device.cut(true);
    let (db, table) = device.open().await;
    assert_eq!(db.stats().backlog_commits, 2, "offline nobody can say");
    ingest(&table, 7, 8, 3).await;
    device.cut(false);
    let (error, message) = kind(db.flush().await);
    assert!(
        error == ErrorKind::Expired && message.contains("parked()"),
        "{message}"
    );
    ingest(&table, 8, 9, 3).await;
    db.close().await.unwrap();
    let (db, table) = device.open().await;
    assert_eq!(
        (db.stats().parked_commits, db.stats().backlog_commits),
        (2, 2)
    );
    db.flush().await.unwrap();
    let expected = model(&[(0, 3, 1), (1, 2, 2), (0, 1, 9), (7, 9, 3)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}

#[tokio::test]
async fn what_was_never_sent_is_uploaded_however_late() {
    for noted in [true, false] {
        let mut world = World::new();
        let device = prepared(&mut world).await;
        let (db, table) = device.open().await;
        ingest(&table, 20, 25, 3).await;
        assert!(db.flush().await.is_err());
        db.close().await.unwrap();
        world.pass(HOUR * 24 * 9);
        device.cut(false);
        if !noted {
            // What is noted beside the WAL is gone: nobody can say whether it was sent.
            device.wal.delete("uploads").await.unwrap();
        }
        let (db, table) = device.open().await;
        assert_eq!(db.stats().parked_commits, if noted { 0 } else { 1 });
        db.flush().await.unwrap();
        let mut expected = model(&[(0, 10, 1), (10, 15, 2)]);
        if noted {
            expected.extend(engine::rows(20, 25, 3));
        }
        assert_eq!(engine::content(&table).await.unwrap(), expected);
    }
}

fn crash_env(world: &CrashStorage) -> Env {
    Env {
        data: world.at("data"),
        wal: Some(world.at("wal")),
        runtime: TokioRuntime::current().unwrap(),
    }
}

fn crash_options() -> Options {
    Options {
        wal_segment_bytes: 1500,
        retries: 0,
        ..Options::default()
    }
}

/// Commits of keys of their own, uploads in steps, checkpoints, closes. Counts what was acknowledged.
async fn script(world: &CrashStorage, acknowledged: &mut i64) -> lakeshore::Result<()> {
    for round in 0..3 {
        let db = Db::open(crash_env(world), crash_options()).await?;
        let table = db.create_table("t", engine::schema()).await?;
        for part in 0..3 {
            for _ in 0..3 {
                let (from, to) = (*acknowledged * 3, *acknowledged * 3 + 3);
                table
                    .ingest(&[engine::batch(&engine::rows(from, to, round))])
                    .await?;
                *acknowledged += 1;
            }
            if part != round {
                db.upload(UploadOptions::default()).await?;
            }
        }
        if round != 1 {
            db.checkpoint().await?;
            db.close().await?;
        }
    }
    Ok(())
}

async fn check_crash(left: &CrashStorage, acknowledged: i64, place: &str) {
    // First without the store: all is there, or it says that there is no catalog.
    let cut = Stage::new(1);
    cut.cut.store(true, SeqCst);
    let offline = Env {
        data: cut.env().data,
        ..crash_env(left)
    };
    let rows = |db: &Db| -> u64 {
        let stats = db.stats();
        stats
            .tables
            .iter()
            .map(|t| t.file_rows + t.memtable_rows)
            .sum()
    };
    match Db::open(offline, crash_options()).await {
        Ok(db) => {
            assert!(
                rows(&db) as i64 >= acknowledged * 3,
                "{place}: offline it has {}",
                rows(&db)
            );
            db.close().await.unwrap();
        }
        Err(e) => assert!(
            e.message().contains("no copy of the catalog"),
            "{place}: {e}"
        ),
    }
    let db = Db::open(crash_env(left), crash_options()).await;
    let db = db.unwrap_or_else(|e| panic!("{place}: {e}"));
    if acknowledged == 0 {
        return;
    }
    let table = db.table("t").unwrap();
    let content = engine::content(&table).await.unwrap();
    let ids: Vec<i64> = content.keys().copied().collect();
    let most = (acknowledged + 1) * 3;
    let whole =
        ids.len() as i64 % 3 == 0 && (acknowledged * 3..=most).contains(&(ids.len() as i64));
    assert!(
        whole && ids == (0..ids.len() as i64).collect::<Vec<_>>(),
        "{place}: {ids:?}"
    );
    db.flush().await.unwrap_or_else(|e| panic!("{place}: {e}"));
    assert_eq!(engine::content(&table).await.unwrap(), content, "{place}");
    assert_eq!(
        rows(&db),
        ids.len() as u64,
        "{place}: a row is in the log twice"
    );
    db.close().await.unwrap();
}

#[test]
fn a_crash_at_any_operation_of_uploads_loses_nothing_and_uploads_nothing_twice() {
    let seed = seed();
    let mut swept = 0;
    for n in 0.. {
        let mut reached = false;
        for when in [When::Before, When::Within, When::After] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            reached = runtime.block_on(async {
                let world = CrashStorage::new(seed);
                world.stop_at(n, when);
                let mut acknowledged = 0;
                let outcome = script(&world, &mut acknowledged).await;
                if !world.is_stopped() {
                    outcome.unwrap();
                    return false;
                }
                let left = world.crash(seed.wrapping_add(n));
                check_crash(
                    &left,
                    acknowledged,
                    &format!("operation {n} {when:?}, SEED={seed}"),
                )
                .await;
                true
            });
        }
        if !reached {
            break;
        }
        swept += 1;
    }
    assert!(swept > 120, "the script has only {swept} operations");
    println!("{swept} operations, each stopped before, within, after; SEED={seed}");
}

/// A version is kept once a minute at most: what was uploaded since is in no version that the device has,
/// and is shown from the WAL, also when the device noted meanwhile that it is uploaded.
#[tokio::test]
async fn what_was_uploaded_since_the_kept_version_is_still_there_offline() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open().await;
    for from in [0, 10] {
        ingest(&table, from, from + 5, 1).await;
        db.flush().await.unwrap();
    }
    ingest(&table, 30, 35, 1).await;
    device.stage.gate.close("log/");
    let flush = tokio::spawn(async move { db.flush().await });
    settle().await;
    assert!(!flush.is_finished(), "its PUT never arrives");
    // The process dies.
    let next = world.device_on(copy(&device.wal).await);
    next.cut(true);
    let (db, table) = next.open().await;
    assert!(!db.stats().online);
    let row = engine::get(&table, 12).await.unwrap();
    assert_eq!(row.map(|row| row.n), Some(1), "acknowledged rows stay");
    ingest(&table, 20, 25, 2).await;
    next.cut(false);
    db.refresh().await.unwrap();
    assert_eq!(db.stats().backlog_commits, 2, "the log has the others");
    db.flush().await.unwrap();
    let expected = model(&[(0, 5, 1), (10, 15, 1), (30, 35, 1), (20, 25, 2)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
    assert_eq!(world.content().await, expected);
}

/// Found by the simulation: a version that was on its way to the disk while a table came into being did not know
/// it, and rows of that table then kept the device from opening offline (PROTOCOL W4).
#[tokio::test]
async fn rows_of_a_new_table_wait_for_a_kept_version_that_knows_it() {
    let mut world = World::new();
    let (device, disk) = (world.device(), Stage::new(9));
    let env = Env {
        wal: Some(disk.env().data),
        ..device.env()
    };
    let db = Db::open(env, Options::default()).await.unwrap();
    disk.gate.close("version");
    engine::table(&db, "t").await;
    settle().await;
    let new = engine::table(&db, "new").await;
    let commit = tokio::spawn(async move { ingest(&new, 0, 5, 1).await });
    settle().await;
    disk.gate.open();
    commit.await.unwrap();
    settle().await;
    // The process dies.
    let next = world.device_on(copy(&disk.memory).await);
    next.cut(true);
    let (db, _) = next.open().await;
    assert!(!db.stats().online);
    let new = db.table("new").unwrap();
    assert_eq!(engine::content(&new).await.unwrap(), model(&[(0, 5, 1)]));
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
