//! Uploads: in steps, in a loop, twice, late; and what they do to the stamps of what waits.

use super::{
    HOUR, kind, prepared, settle,
    support::{
        devices::{World, copy, ingest, model},
        engine,
    },
};
use lakeshore::{
    Db, Env, ErrorKind, KeepUploaded, Options, UploadOptions,
    env::Storage,
    log::{
        record::record_key,
        version::{Head, Version},
    },
    state::State,
};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

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
