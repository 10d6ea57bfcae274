//! gc (PROTOCOL G1, G3): what nobody can need any more goes, after the grace time by the store's clock and
//! not before; nothing else ever does, whoever sleeps, crashes or has a wrong clock.

use crate::support;

use bytes::Bytes;
use lakeshore::{
    AsOf, Db, Env, Error, ErrorKind, GcOptions, GcReport, Options, Result, TransactionOptions,
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    log::{
        edit::Edit,
        record::{Record, digest, encode_object},
        store::{Fence, LogStore, Slot},
    },
    platform::memory::Memory,
};
use std::{ops::Range, sync::Arc, time::Duration};
use support::{
    aging::{Aging, HOUR, MINUTE, Told, ingest, model},
    crash::{CrashStorage, When},
    engine,
    random::{Random, seconds, seed},
    stage::Stage,
};

const ALL: [Told; 3] = [Told::Clock, Told::Ages, Told::Nothing];

async fn gc(db: &Db) -> GcReport {
    db.gc(GcOptions::default()).await.unwrap()
}

fn small() -> Options {
    Options {
        checkpoint_records: 4,
        ..Options::default()
    }
}

async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Commits `edits` as one record, as the engine's own door to the log does.
async fn commit(stage: &Arc<Stage>, edits: Vec<Edit>) {
    let env = stage.env();
    let log = LogStore::new(env.data, env.runtime, 0, 4);
    let version = log.load().await.unwrap().version;
    let record = Record {
        database: version.database.unwrap(),
        seq: version.head.seq + 1,
        prev: version.head.digest,
        ts: version.head.ts + 1,
        writer: [9; 16],
        nonce: 9,
        edits,
    };
    let fence = Fence {
        proof: log.moment(),
        counts_for: HOUR,
    };
    let body = record.encode();
    let (own, bytes) = ((record.seq, digest(&body)), encode_object(&body, &[]));
    let slot = log.put_record(own, &bytes, &fence).await.unwrap();
    assert!(matches!(slot, Slot::Won(_)));
}

#[tokio::test]
async fn orphans_go_after_the_grace_time_and_not_before() {
    for told in ALL {
        let world = Aging::new(told);
        let (_, db, table) = world.open(Options::default()).await;
        ingest(&table, 0, 100).await;
        db.flush().await.unwrap();
        db.checkpoint().await.unwrap();
        let live = world.keys("data/").await;
        world.pass(10 * MINUTE);
        let orphan = world.orphan(1).await;
        // Old enough is C, but not the orphan.
        world.pass(55 * MINUTE);
        assert_eq!(gc(&db).await.files, 0, "{told:?}");
        world.pass(11 * MINUTE);
        let report = gc(&db).await;
        let expected = (1, 100, 0, 0);
        let got = (
            report.files,
            report.bytes,
            report.records,
            report.checkpoints,
        );
        assert_eq!(got, expected, "{told:?}");
        assert!(report.committed.is_some());
        assert_eq!(world.keys("data/").await, live, "{told:?} and not {orphan}");
        assert_eq!(world.content().await, model(0, 100));
        // Once more: nothing is left to do, and no record is written.
        let head = db.stats().head;
        let again = gc(&db).await;
        assert_eq!((again.files, again.committed), (0, None));
        assert_eq!(db.stats().head, head);
    }
}

/// PROTOCOL G3, C3: the sstable of a flush lies finished while its writer sleeps; gc takes it for an
/// orphan. The writer's commit must not name it.
#[tokio::test]
async fn a_slow_writer_whose_sstable_gc_took_writes_it_again() {
    for told in ALL {
        let world = Aging::new(told);
        let (_, other, theirs) = world.open(Options::default()).await;
        ingest(&theirs, 0, 100).await;
        other.checkpoint().await.unwrap();
        let (slow, db, _table) = world.open(Options::default()).await;
        slow.gate.close("log/0000");
        let flush = tokio::spawn({
            let db = db.clone();
            async move { db.flush().await }
        });
        settle().await;
        assert_eq!(world.keys("data/").await.len(), 1, "the sstable is there");
        world.pass(2 * HOUR);
        let report = gc(&other).await;
        assert_eq!(report.files, 1, "{told:?}");
        slow.gate.open();
        flush.await.unwrap().unwrap();
        assert_eq!(world.keys("data/").await.len(), 1, "another one");
        assert_eq!(world.content().await, model(0, 100), "{told:?}");
    }
}

/// The same for a large commit, which is told to try again.
#[tokio::test]
async fn a_slow_large_commit_is_refused_and_succeeds_when_retried() {
    let world = Aging::new(Told::Clock);
    let (_, other, theirs) = world.open(Options::default()).await;
    ingest(&theirs, 0, 10).await;
    other
        .configure(lakeshore::SettingsChange {
            inline_commit_bytes: Some(1),
            ..Default::default()
        })
        .await
        .unwrap();
    other.checkpoint().await.unwrap();
    let (slow, _db, table) = world.open(Options::default()).await;
    slow.gate.close("log/0000");
    let rows = engine::batch(&engine::rows(10, 20, 0));
    let call = tokio::spawn({
        let (table, rows) = (table.clone(), rows.clone());
        async move { table.ingest(&[rows]).await }
    });
    settle().await;
    world.pass(2 * HOUR);
    assert_eq!(gc(&other).await.files, 1);
    slow.gate.open();
    let error = call.await.unwrap().unwrap_err();
    assert!(error.kind().retryable(), "{error}");
    table.ingest(&[rows]).await.unwrap();
    assert_eq!(world.content().await, model(0, 20));
}

/// Days of commits, each followed by gc: what stays is bounded, the newest checkpoint and its record are
/// never taken, and every row is there.
#[tokio::test]
async fn records_and_checkpoints_go_once_covered_and_old_and_the_last_never() {
    for told in ALL {
        let world = Aging::new(told);
        let (_, db, table) = world.open(small()).await;
        let mut gone = (0, 0);
        for hour in 0..80 {
            for i in 0..5 {
                let id = hour * 5 + i;
                ingest(&table, id, id + 1).await;
            }
            world.pass(HOUR);
            let report = gc(&db).await;
            gone = (gone.0 + report.records, gone.1 + report.checkpoints);
            if hour < 23 {
                assert_eq!(gone.0, 0, "{told:?}: a record went within a day");
            }
        }
        let (records, checkpoints) = (world.keys("log/").await, world.keys("checkpoint/").await);
        println!(
            "{told:?}: gone {gone:?}, left {} records, {checkpoints:?}",
            records.len()
        );
        assert!(gone.0 > 200 && gone.1 > 80, "{told:?}: {gone:?}");
        assert!(checkpoints.len() < 16, "{told:?}: {checkpoints:?}");
        // 24 hours, an eighth of that, and what is not old enough; gc's own records count, too.
        assert!(records.len() < 30 * 7, "{told:?}: {}", records.len());
        assert_eq!(world.content().await, model(0, 400));

        // Then nobody writes any more, for ever.
        for _ in 0..5 {
            world.pass(200 * HOUR);
            gc(&db).await;
        }
        let checkpoints = world.keys("checkpoint/").await;
        let last = checkpoints.last().unwrap().replace("checkpoint/", "log/");
        assert_eq!(checkpoints.len(), 1, "{told:?}");
        let records = world.keys("log/").await;
        assert_eq!(records[0], last, "{told:?}: its record and all after it");
        assert_eq!(world.content().await, model(0, 400));
        ingest(&table, 400, 401).await;
        assert_eq!(world.content().await, model(0, 401));
    }
}

/// PROTOCOL G3 ●: by the store's clock. A device that is a year ahead deletes nothing early.
#[tokio::test]
async fn a_wrong_clock_deletes_nothing_early() {
    let year = 365 * 24 * 3_600_000_000i64;
    for told in [Told::Clock, Told::Ages] {
        for off in [year, -year] {
            let world = Aging::new(told);
            let (_, db, table) = world.open(small()).await;
            for i in 0..20 {
                ingest(&table, i, i + 1).await;
            }
            db.flush().await.unwrap();
            world.orphan(1).await;
            world.pass(30 * MINUTE);
            let before = [
                world.keys("checkpoint/").await,
                world.keys("data/").await,
                world.keys("log/").await,
            ];
            let wrong = Db::open(world.device_off(off).env(), Options::default());
            let report = gc(&wrong.await.unwrap()).await;
            let told = format!("{told:?}, {off}: {report:?}");
            let sums = (report.records, report.checkpoints, report.files);
            assert_eq!(sums, (0, 0, 0), "{told}");
            assert_eq!(world.keys("checkpoint/").await, before[0], "{told}");
            assert_eq!(world.keys("data/").await, before[1], "{told}");
            assert!(world.keys("log/").await.starts_with(&before[2]), "{told}");
            assert_eq!(world.content().await, model(0, 20), "{told}");
            // Whoever writes next is not locked out by a floor in the future.
            ingest(&table, 20, 21).await;
            db.flush().await.unwrap();
            assert_eq!(world.content().await, model(0, 21), "{told}");
        }
    }
}

/// PROTOCOL F1 with the real gc: a writer asleep at its PUT wins a number that gc freed.
#[tokio::test]
async fn a_number_that_gc_freed_is_not_won_twice() {
    let world = Aging::new(Told::Clock);
    let (_, other, theirs) = world.open(small()).await;
    ingest(&theirs, 0, 10).await;
    let (asleep, sleeper, table) = world.open(small()).await;
    asleep.gate.close("log/");
    let rows = engine::batch(&engine::rows(100, 101, 0));
    let call = tokio::spawn({
        let table = table.clone();
        async move { table.ingest(&[rows]).await }
    });
    settle().await;
    for id in 10..20 {
        ingest(&theirs, id, id + 1).await;
    }
    other.checkpoint().await.unwrap();
    world.pass(25 * HOUR);
    assert!(gc(&other).await.records > 5);
    asleep.gate.open();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert_eq!(world.content().await, model(0, 20));
    assert_eq!(engine::content(&table).await.unwrap(), model(0, 20));
    // And gc itself wakes on a freed number: it goes on from the log's head.
    gc(&sleeper).await;
    assert_eq!(world.content().await, model(0, 20));
}

/// A gc asleep before its record's reply, or before the fence, while others go on and gc frees its record.
#[tokio::test]
async fn a_gc_that_slept_goes_on_from_the_head_or_deletes_nothing() {
    for before_fence in [false, true] {
        let world = Aging::new(Told::Clock);
        let (_, other, theirs) = world.open(small()).await;
        ingest(&theirs, 0, 10).await;
        other.flush().await.unwrap();
        other.checkpoint().await.unwrap();
        world.orphan(1).await;
        world.pass(2 * HOUR);
        let (asleep, sleeper, _) = world.open(small()).await;
        asleep.hold.close("log/0000");
        let call = tokio::spawn({
            let db = sleeper.clone();
            async move { db.gc(GcOptions::default()).await }
        });
        settle().await;
        let there = world.keys("data/").await.len();
        assert_eq!(there, 2, "its record is in, nothing is deleted");
        if before_fence {
            asleep.gate.close("checkpoint/");
            asleep.hold.open();
            settle().await;
        }
        for id in 10..30 {
            ingest(&theirs, id, id + 1).await;
        }
        other.checkpoint().await.unwrap();
        world.pass(26 * HOUR);
        gc(&other).await;
        let orphan = world.orphan(2).await;
        let deleted = world.memory.counters().delete;
        asleep.hold.open();
        asleep.gate.open();
        let outcome = call.await.unwrap();
        let deleted = world.memory.counters().delete - deleted;
        match outcome {
            Ok(report) if !before_fence => {
                let told = report.records + report.checkpoints + report.files;
                assert_eq!(told, deleted);
            }
            outcome => {
                let error = outcome.unwrap_err();
                assert_eq!(
                    (error.kind(), deleted),
                    (ErrorKind::Unavailable, 0),
                    "{error}"
                );
            }
        }
        assert!(world.keys("data/").await.contains(&orphan));
        assert_eq!(world.content().await, model(0, 30));
    }
}

/// G3: neither in C nor added after it. A reader may still have the version in between.
#[tokio::test]
async fn a_file_added_and_removed_after_the_checkpoint_stays_until_it_is_covered() {
    let world = Aging::new(Told::Clock);
    let (stage, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    db.checkpoint().await.unwrap();
    db.flush().await.unwrap();
    let log = LogStore::new(stage.env().data, stage.env().runtime, 0, 4);
    let id = log.load().await.unwrap().version.files_of(1)[0].meta.id;
    world.pass(3 * HOUR);
    commit(&stage, vec![Edit::RemoveSstable { table: 1, id }]).await;
    assert_eq!(gc(&db).await.files, 0);
    db.checkpoint().await.unwrap();
    world.pass(61 * MINUTE);
    assert_eq!(gc(&db).await.files, 1);
    assert_eq!(world.content().await, model(0, 0));
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_says_what_the_real_one_does() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(small()).await;
    for i in 0..30 {
        ingest(&table, i, i + 1).await;
        world.pass(HOUR);
    }
    db.flush().await.unwrap();
    world.orphan(1).await;
    world.pass(26 * HOUR);
    let before = world.memory.counters();
    let dry = db.gc(GcOptions { dry_run: true }).await.unwrap();
    let after = world.memory.counters();
    assert_eq!(
        (before.put, before.put_if_absent, before.delete),
        (after.put, after.put_if_absent, after.delete)
    );
    assert!(
        dry.records > 0 && dry.checkpoints > 0 && dry.files == 1,
        "{dry:?}"
    );
    assert_eq!(dry.committed, None);
    let real = gc(&db).await;
    assert_eq!(real.committed, Some(db.stats().head));
    let expected = GcReport {
        committed: real.committed,
        ..dry
    };
    assert_eq!(real, expected);
    assert_eq!(world.content().await, model(0, 30));
}

#[tokio::test]
async fn the_watermark_follows_the_retention_never_falls_and_stops_at_tags() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    assert_eq!(
        gc(&db).await.committed,
        None,
        "no row is older than the retention"
    );
    world.pass(30 * HOUR);
    ingest(&table, 10, 20).await;
    let head = db.stats().last_timestamp;
    let first = gc(&db).await;
    assert_eq!(first.watermark, world.now() - 24 * HOUR.as_micros() as i64);
    assert!(first.watermark < head && first.committed.is_some());

    let pinned = db.tag("release", None).await.unwrap();
    for _ in 0..3 {
        world.pass(30 * HOUR);
        ingest(&table, 10, 20).await;
        let mark = gc(&db).await.watermark;
        assert!(mark > first.watermark && mark <= pinned, "{mark} {pinned}");
    }
    assert_eq!(gc(&db).await.watermark, pinned);
    assert!(db.untag("release").await.unwrap());
    world.pass(HOUR);
    let high = gc(&db).await.watermark;
    assert!(high > pinned);
    // A longer retention brings nothing back.
    let longer = lakeshore::SettingsChange {
        retention: Some(1000 * HOUR),
        ..Default::default()
    };
    db.configure(longer).await.unwrap();
    world.pass(2 * HOUR);
    assert_eq!(gc(&db).await.watermark, high);
}

/// PROTOCOL C3: a tag that comes after gc's plan and before its record.
#[tokio::test]
async fn a_tag_that_came_meanwhile_holds_the_watermark() {
    let world = Aging::new(Told::Clock);
    let (_, other, theirs) = world.open(Options::default()).await;
    ingest(&theirs, 0, 10).await;
    let rows = world.now();
    world.pass(30 * HOUR);
    ingest(&theirs, 10, 20).await;
    let (stage, db, _) = world.open(Options::default()).await;
    stage.gate.close("log/0000");
    let call = tokio::spawn(async move { db.gc(GcOptions::default()).await });
    settle().await;
    let at = AsOf::Timestamp(rows + HOUR.as_micros() as i64);
    let pinned = other.tag("then", Some(at)).await.unwrap();
    stage.gate.open();
    let report = call.await.unwrap().unwrap();
    assert_eq!(report.watermark, pinned);
}

/// DESIGN promise 18: reads as of a time before the drop see the table for as long as the retention.
#[tokio::test]
async fn files_of_a_dropped_table_go_only_when_no_read_as_of_the_past_needs_them() {
    let world = Aging::new(Told::Clock);
    let (stage, db, table) = world.open(Options::default()).await;
    let gone = engine::table(&db, "gone").await;
    ingest(&table, 0, 10).await;
    ingest(&gone, 0, 10).await;
    db.flush().await.unwrap();
    db.checkpoint().await.unwrap();
    let before = AsOf::Timestamp(db.stats().last_timestamp);
    let mut held = gone.scan().stream().unwrap();
    commit(&stage, vec![Edit::DropTable { table: 2 }]).await;
    assert!(db.refresh().await.unwrap());
    db.checkpoint().await.unwrap();
    world.pass(23 * HOUR);
    assert_eq!(gc(&db).await.files, 0, "within the retention");
    assert!(held.next().await.unwrap().is_some(), "a scan goes on");
    let past = db.snapshot_at(before.clone()).await.unwrap();
    let past = past.table("gone").unwrap();
    assert_eq!(engine::scanned(past.scan()).await.unwrap(), model(0, 10));
    world.pass(2 * HOUR);
    let report = gc(&db).await;
    assert!(report.watermark > 0, "it lets go of the past: {report:?}");
    let error = db.snapshot_at(before).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
    assert_eq!(gc(&db).await.files, 0, "C has the table");
    db.checkpoint().await.unwrap();
    world.pass(30 * MINUTE);
    assert_eq!(gc(&db).await.files, 0, "not for the grace time");
    world.pass(31 * MINUTE);
    assert_eq!(gc(&db).await.files, 1);
    assert_eq!(world.keys("data/2/").await.len(), 0);
    assert_eq!(world.content().await, model(0, 10));
}

/// PROTOCOL G4: the files a reader has are removed, and gc takes them. It goes on with the newer version,
/// or says that it took too long.
#[tokio::test]
async fn a_reader_older_than_the_grace_time_goes_on_or_is_told() {
    let world = Aging::new(Told::Clock);
    let options = || Options {
        batch_rows: 16,
        row_group_rows: 64,
        page_rows: 16,
        read_bytes: 4096,
        coalesce_gap: 0,
        ..Options::default()
    };
    let (stage, db, table) = world.open(options()).await;
    ingest(&table, 0, 2000).await;
    db.flush().await.unwrap();
    let (_, _reader, theirs) = world.open(options()).await;
    let (_, _fresh, fresh) = world.open(options()).await;
    let mut held = theirs.scan().stream().unwrap();
    assert!(held.next().await.unwrap().is_some());
    let log = LogStore::new(stage.env().data, stage.env().runtime, 0, 4);
    let version = log.load().await.unwrap().version;
    let files = version.files_of(1);
    let removed = files.iter().map(|f| Edit::RemoveSstable {
        table: 1,
        id: f.meta.id,
    });
    commit(&stage, removed.collect()).await;
    db.refresh().await.unwrap();
    ingest(&table, 5000, 5010).await;
    db.checkpoint().await.unwrap();
    world.pass(61 * MINUTE);
    assert_eq!(gc(&db).await.files, 1);
    assert_eq!(engine::content(&fresh).await.unwrap(), model(5000, 5010));
    let error = held.collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
}

/// PROTOCOL G4. The table was dropped, and so its files are nobody's: a snapshot that is too old says so,
/// and not that the table has to be created again.
#[tokio::test]
async fn a_held_snapshot_of_a_table_that_was_dropped_expires_with_its_files() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    db.flush().await.unwrap();
    let (now, past) = (
        db.snapshot().unwrap(),
        db.snapshot_at(AsOf::Timestamp(i64::MAX)).await.unwrap(),
    );
    let transaction = db.begin(TransactionOptions::default()).unwrap();
    assert!(db.drop_table("t").await.unwrap());
    world.pass(25 * HOUR);
    assert_eq!(gc(&db).await.files, 0);
    db.checkpoint().await.unwrap();
    world.pass(61 * MINUTE);
    assert_eq!(gc(&db).await.files, 1);
    let key = engine::keys(&[3]);
    for snapshot in [now, past] {
        let table = snapshot.table("t").unwrap();
        let error = engine::scanned(table.scan()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
        let error = table.get(&key, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
    }
    let table = transaction.table("t").unwrap();
    let error = table.get(&key, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
}

#[tokio::test]
async fn what_is_not_ours_is_never_touched() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    db.checkpoint().await.unwrap();
    let orphan = world.orphan(1).await;
    let strange = [
        orphan.replace("data/1/", "data/7/"),
        orphan.replace("data/1/", "data/01/"),
        orphan.replace("data/1/", "data/1/x/"),
        orphan.replace(".parquet", ".parquet2"),
        orphan
            .to_uppercase()
            .replace("DATA", "data")
            .replace("PARQUET", "parquet"),
        orphan.replace("data/1/0", "data/1/9"),
        "data/readme".into(),
        "checkpoint/0".into(),
        "log/0".into(),
        "mine/x".into(),
    ];
    for key in &strange {
        world.memory.put(key, vec![1].into()).await.unwrap();
    }
    world.pass(100 * HOUR);
    assert_eq!(gc(&db).await.files, 1);
    for key in &strange {
        assert!(world.memory.get(key).await.unwrap().is_some(), "{key}");
    }
    assert!(world.memory.get(&orphan).await.unwrap().is_none());
}

/// A store whose credentials may only read.
#[derive(Debug)]
struct ReadOnly(Memory);

fn denied<'a, T>() -> BoxFuture<'a, Result<T>> {
    let error = || Error::new(ErrorKind::Denied, "the credentials may only read");
    Box::pin(async move { Err(error()) })
}

impl Storage for ReadOnly {
    fn describe(&self) -> String {
        "read only".to_owned()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.0.get(key)
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.0.get_range(key, range)
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        self.0.get_suffix(key, length)
    }

    fn put<'a>(&'a self, _: &'a str, _: Bytes) -> BoxFuture<'a, Result<()>> {
        denied()
    }

    fn put_if_absent<'a>(&'a self, _: &'a str, _: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        denied()
    }

    fn create<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        denied()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        self.0.list(prefix, start_after)
    }

    fn delete<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        panic!("nothing is deleted before the record is in")
    }

    fn append<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        denied()
    }

    fn lock<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        denied()
    }
}

#[tokio::test]
async fn who_may_only_read_is_denied_and_deletes_nothing() {
    let world = Aging::new(Told::Ages);
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    db.checkpoint().await.unwrap();
    world.orphan(1).await;
    world.pass(2 * HOUR);
    let env = Env {
        data: Arc::new(ReadOnly(world.memory.clone())),
        ..world.device().env()
    };
    let reader = Db::open(env, Options::default()).await.unwrap();
    let dry = reader.gc(GcOptions { dry_run: true }).await.unwrap();
    assert_eq!(dry.files, 1);
    let error = reader.gc(GcOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let table = reader.table("t").unwrap();
    assert_eq!(engine::content(&table).await.unwrap(), model(0, 10));
}

#[tokio::test]
async fn thousands_of_orphans_go_in_one_run() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    db.checkpoint().await.unwrap();
    for number in 0..2500 {
        world.orphan(number).await;
    }
    world.pass(2 * HOUR);
    let report = gc(&db).await;
    assert_eq!((report.files, report.bytes), (2500, 250_000));
    assert_eq!(world.keys("data/").await.len(), 0);
}

/// Where more records follow C than gc reads: files go once C has the floor that covers them.
#[tokio::test]
async fn a_long_log_after_the_checkpoint_takes_two_runs() {
    let world = Aging::new(Told::Clock);
    let many = Options {
        checkpoint_records: 1_000_000,
        checkpoint_bytes: 1 << 40,
        ..Options::default()
    };
    let (_, db, table) = world.open(many).await;
    ingest(&table, 0, 1).await;
    db.checkpoint().await.unwrap();
    world.orphan(1).await;
    for id in 1..1100 {
        ingest(&table, id, id + 1).await;
    }
    db.flush().await.unwrap();
    world.pass(2 * HOUR);
    let before = world.memory.counters().get;
    let first = gc(&db).await;
    assert!(first.committed.is_some(), "the floor is raised");
    assert_eq!(first.files, 0);
    assert!(
        world.memory.counters().get - before < 10,
        "the log was not read"
    );
    assert_eq!(gc(&db).await.committed, None, "until a checkpoint has it");
    db.checkpoint().await.unwrap();
    world.pass(2 * HOUR);
    assert_eq!(gc(&db).await.files, 1);
    assert_eq!(world.content().await, model(0, 1100));
}

#[tokio::test]
async fn without_detached_tasks_it_works_too_and_in_an_empty_database_it_does_nothing() {
    let world = Aging::new(Told::Clock);
    let options = Options {
        detached_tasks: false,
        ..Options::default()
    };
    let empty = Db::open(world.device().env(), options.clone())
        .await
        .unwrap();
    assert_eq!(gc(&empty).await, GcReport::default());
    let (_, db, table) = world.open(options).await;
    ingest(&table, 0, 10).await;
    db.flush().await.unwrap();
    db.checkpoint().await.unwrap();
    world.orphan(1).await;
    world.pass(2 * HOUR);
    assert_eq!(gc(&db).await.files, 1);
    db.close().await.unwrap();
    let error = db.gc(GcOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

/// Two gcs and a writer at once, polled in a seeded order.
#[tokio::test]
async fn two_gcs_at_once_are_harmless() {
    let seed = seed();
    let time = seconds(2);
    let mut rounds = 0;
    while rounds < 20 || time.left() {
        let mut random = Random::new(seed + rounds);
        let world = Aging::new(ALL[random.below(3)]);
        let (_, db, table) = world.open(small()).await;
        let mut others = Vec::new();
        for _ in 0..2 {
            others.push(world.open(small()).await);
        }
        let mut rows = 0;
        for _ in 0..4 {
            for _ in 0..random.below(8) {
                ingest(&table, rows, rows + 1).await;
                rows += 1;
            }
            if random.chance(0.5) {
                db.flush().await.unwrap();
            }
            world.orphan(rounds as u16).await;
            world.pass(MINUTE * random.below(20 * 60) as u32);
            for (stage, ..) in &others {
                stage
                    .stall
                    .store(random.below(20) as u64, std::sync::atomic::Ordering::SeqCst);
            }
            let gcs = others.iter().map(|(_, db, _)| db.gc(GcOptions::default()));
            let writes = async {
                ingest(&table, rows, rows + 1).await;
                db.flush().await
            };
            let (gcs, wrote) = futures_util::join!(futures_util::future::join_all(gcs), writes);
            wrote.unwrap();
            rows += 1;
            for outcome in gcs {
                if let Err(error) = outcome {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}; SEED={seed}");
                }
            }
            assert_eq!(
                world.content().await,
                model(0, rows),
                "round {rounds}; SEED={seed}"
            );
        }
        rounds += 1;
    }
    println!("{rounds} rounds; SEED={seed}");
}

/// A store with checkpoints, records and orphans of all ages; the clocks of its device.
async fn aged(world: &CrashStorage, stage: &Arc<Stage>) -> lakeshore::Result<Db> {
    let db = reopen(world, stage).await?;
    let table = db.create_table("t", engine::schema()).await?;
    for i in 0..24 {
        let rows = engine::rows(i, i + 1, 0);
        table.ingest(&[engine::batch(&rows)]).await?;
        if i % 5 == 4 {
            db.flush().await?;
            // An orphan beside each.
            let objects = world.objects();
            let live = objects.keys().rfind(|k| k.contains("data/1/")).unwrap();
            let orphan = live.replace("data/data/1/", "data/1/");
            let (head, tail) = orphan.split_at(orphan.len() - ".parquet".len() - 2);
            let twin = format!("{head}00{}", &tail[2..]);
            world.at("data").put(&twin, vec![7; 9].into()).await?;
        }
        stage.pass(3 * HOUR);
    }
    Ok(db)
}

async fn reopen(world: &CrashStorage, stage: &Arc<Stage>) -> lakeshore::Result<Db> {
    let env = Env {
        data: world.at("data"),
        wal: None,
        runtime: stage.env().runtime,
    };
    let options = Options {
        retries: 0,
        checkpoint_records: 4,
        ..Options::default()
    };
    Db::open(env, options).await
}

/// gc stopped at every request, before, within and after its effect: every row is there, and the next gc
/// leaves what an undisturbed one leaves.
#[tokio::test]
async fn a_gc_stopped_anywhere_leaves_a_whole_database_and_the_next_goes_on() {
    let seed = seed();
    let data = |world: &CrashStorage| -> Vec<String> {
        let objects = world.objects().into_keys();
        objects.filter(|k| k.contains("data/data/")).collect()
    };
    let calm = CrashStorage::new(seed);
    let stage = Stage::new(seed);
    let db = aged(&calm, &stage).await.unwrap();
    let report = gc(&db).await;
    assert!(
        report.records > 5 && report.checkpoints > 1 && report.files > 2,
        "{report:?}"
    );
    let expected = data(&calm);
    let mut stops = 0;
    'all: for n in 0.. {
        for when in [When::Before, When::Within, When::After] {
            let world = CrashStorage::new(seed);
            let stage = Stage::new(seed);
            let db = aged(&world, &stage).await.unwrap();
            world.stop_at(world.operations() + n, when);
            let outcome = db.gc(GcOptions::default()).await;
            if !world.is_stopped() {
                outcome.unwrap();
                break 'all;
            }
            stops += 1;
            let left = world.crash(seed + n);
            let place = format!("stopped at request {n}, {when:?}; SEED={seed}");
            let db = reopen(&left, &stage)
                .await
                .unwrap_or_else(|e| panic!("{place}: {e}"));
            let table = db.table("t").unwrap();
            assert_eq!(
                engine::content(&table).await.unwrap(),
                model(0, 24),
                "{place}"
            );
            gc(&db).await;
            assert_eq!(data(&left).len(), expected.len(), "{place}");
            let db = reopen(&left, &stage).await.unwrap();
            let table = db.table("t").unwrap();
            assert_eq!(
                engine::content(&table).await.unwrap(),
                model(0, 24),
                "{place}"
            );
        }
    }
    println!("{stops} stops; SEED={seed}");
    assert!(stops > 60, "{stops}");
}

#[tokio::test]
async fn every_handle_uses_the_settings_of_the_catalog() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    let own = Options {
        inline_commit_bytes: 1,
        checkpoint_records: 1,
        grace: 5 * HOUR,
        ..Options::default()
    };
    let (_, other, theirs) = world.open(own).await;
    assert_eq!(other.settings(), db.settings());
    ingest(&theirs, 0, 10).await;
    assert_eq!(world.keys("data/").await.len(), 0, "it went inline");
    assert_eq!(world.keys("checkpoint/").await.len(), 0);

    let change = lakeshore::SettingsChange {
        inline_commit_bytes: Some(1),
        checkpoint_records: Some(2),
        grace: Some(2 * HOUR),
        retention: Some(48 * HOUR),
        checkpoint_bytes: Some(1 << 30),
    };
    let now = db.configure(change).await.unwrap();
    assert_eq!(now.retention, 48 * 3_600_000_000);
    let head = db.stats().head;
    assert_eq!(db.configure(change).await.unwrap(), now);
    assert_eq!(db.stats().head, head, "nothing changed, nothing written");
    ingest(&theirs, 10, 20).await;
    ingest(&theirs, 20, 30).await;
    assert_eq!(other.settings(), now);
    assert_eq!(
        world.keys("data/").await.len(),
        1,
        "the second one as a file"
    );
    assert!(!world.keys("checkpoint/").await.is_empty());
    for wrong in [
        lakeshore::SettingsChange {
            grace: Some(HOUR),
            ..Default::default()
        },
        lakeshore::SettingsChange {
            checkpoint_records: Some(0),
            ..Default::default()
        },
    ] {
        let error = db.configure(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    db.refresh().await.unwrap();
    assert_eq!(engine::content(&table).await.unwrap(), model(0, 30));
    // gc goes by them.
    db.checkpoint().await.unwrap();
    world.orphan(1).await;
    world.pass(Duration::from_secs(90 * 60));
    assert_eq!(gc(&other).await.files, 0);
    world.pass(31 * MINUTE);
    assert_eq!(gc(&other).await.files, 1);
}
