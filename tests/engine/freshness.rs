//! A number once won stays won (PROTOCOL F1 to F3, G4): two handles on one store, one of which sleeps
//! while the other commits, writes a checkpoint, and gc (played by the test) frees what it covers.

use crate::support;

use arrow_schema::{DataType, Field};
use lakeshore::{
    Alteration, Db, Env, ErrorKind, Options, Table,
    data::{
        intake::{self, Limits, Mode},
        predicate::Predicate,
    },
    env::{Storage, StoreClock},
    log::{
        clock::Moment,
        edit::Edit,
        record::{Record, digest, encode_object, record_key},
        store::{Fence, LogStore, Slot},
    },
    merge::Kind,
    platform::memory::Memory,
};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use support::{
    engine::{self, Model},
    stage::{Gate, START, Stage},
};

/// More than half the default grace time.
const LONG: Duration = Duration::from_secs(31 * 60);

/// Both rules of durability's remote half: with the queue's task, and without.
const BOTH: [bool; 2] = [true, false];

async fn open(stage: &Arc<Stage>, detached_tasks: bool) -> (Db, Table) {
    let options = Options {
        detached_tasks,
        ..Options::default()
    };
    let db = Db::open(stage.env(), options).await.unwrap();
    let table = engine::table(&db, "t").await;
    (db, table)
}

async fn ingest(table: &Table, from: i64, to: i64) {
    let rows = engine::rows(from, to, 0);
    table.ingest(&[engine::batch(&rows)]).await.unwrap();
}

fn model(from: i64, to: i64) -> Model {
    engine::rows(from, to, 0).into_iter().collect()
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

/// The other handle goes on from row `from`, far enough that a sleeper's next number is freed.
async fn go_on(other: &(Db, Table), from: i64, memory: &Memory) {
    go_on_without_gc(other, from).await;
    free_records(memory).await;
}

async fn go_on_without_gc(other: &(Db, Table), from: i64) {
    for i in from..from + 5 {
        ingest(&other.1, i, i + 1).await;
    }
    other.0.checkpoint().await.unwrap();
    ingest(&other.1, from + 5, from + 6).await;
}

async fn fresh_content(stage: &Arc<Stage>) -> Model {
    let env = Env {
        data: Arc::new(stage.memory.clone()),
        ..stage.env()
    };
    let db = Db::open(env, Options::default()).await.unwrap();
    engine::content(&db.table("t").unwrap()).await.unwrap()
}

/// Ways in which a device may notice that time went by.
const CLOCKS: [fn(&Stage); 3] = [
    |stage| _ = stage.monotonic.fetch_add(LONG.as_micros() as u64, SeqCst),
    |stage| _ = stage.wall.fetch_add(LONG.as_micros() as i64, SeqCst),
    |stage| {
        let mut clock = stage.store.lock().unwrap();
        clock.as_mut().unwrap().date += LONG.as_micros() as i64;
    },
];

/// A world with one awake handle and one that will sleep, both at the head: rows 0 to 9 are in.
async fn two(seed: u64, detached: bool) -> (Arc<Stage>, (Db, Table), Arc<Stage>, (Db, Table)) {
    let awake = Stage::new(seed);
    let other = open(&awake, true).await;
    ingest(&other.1, 0, 10).await;
    let asleep = Stage::over(seed + 1, awake.memory.clone());
    *asleep.store.lock().unwrap() = Some(StoreClock {
        date: START,
        heard: Duration::from_micros(asleep.monotonic.load(SeqCst)),
    });
    let sleeper = open(&asleep, detached).await;
    (awake, other, asleep, sleeper)
}

/// Lets everything go on that can.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Starts `call` and lets it come to its record's `gate` (no effect yet) or `hold` (no reply yet).
async fn start<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
    at: &Gate,
) -> tokio::task::JoinHandle<T> {
    at.close("log/");
    let call = tokio::spawn(call);
    settle().await;
    call
}

#[tokio::test]
async fn a_writer_that_slept_lists_before_it_takes_a_number() {
    for (detached, pass) in BOTH.into_iter().flat_map(|d| CLOCKS.map(|c| (d, c))) {
        let (awake, other, asleep, sleeper) = two(1, detached).await;
        go_on(&other, 10, &awake.memory).await;
        pass(&asleep);
        ingest(&sleeper.1, 100, 101).await;
        let mut expected = model(0, 16);
        expected.extend(model(100, 101));
        assert_eq!(engine::content(&sleeper.1).await.unwrap(), expected);
        assert_eq!(fresh_content(&awake).await, expected);
    }
}

/// The PUT leaves while the proof is fresh, and takes effect on a name that gc has freed meanwhile.
#[tokio::test]
async fn a_freed_name_won_a_second_time_is_not_acknowledged() {
    for (detached, pass) in BOTH.into_iter().flat_map(|d| CLOCKS.map(|c| (d, c))) {
        let (awake, other, asleep, sleeper) = two(2, detached).await;
        let rows = engine::batch(&engine::rows(100, 101, 0));
        let table = sleeper.1.clone();
        let call = start(async move { table.ingest(&[rows]).await }, &asleep.gate).await;
        go_on(&other, 10, &awake.memory).await;
        pass(&asleep);
        asleep.gate.open();
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        // The number after the table and the first commit.
        let ghost = awake.memory.get(&record_key(3)).await.unwrap();
        assert!(ghost.is_some(), "the PUT took effect");
        assert_eq!(engine::content(&sleeper.1).await.unwrap(), model(0, 16));
        // The handle is where the log is: it goes on.
        ingest(&sleeper.1, 100, 101).await;
        let mut expected = model(0, 16);
        expected.extend(model(100, 101));
        assert_eq!(fresh_content(&awake).await, expected);
        assert!(other.0.refresh().await.unwrap());
        assert_eq!(engine::content(&other.1).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_number_truly_won_is_acknowledged_however_late_the_reply() {
    for (passed_by, pass) in [false, true]
        .into_iter()
        .flat_map(|p| CLOCKS.map(|c| (p, c)))
    {
        let (_awake, other, asleep, sleeper) = two(3, true).await;
        let rows = engine::batch(&engine::rows(100, 101, 0));
        let table = sleeper.1.clone();
        let call = start(async move { table.ingest(&[rows]).await }, &asleep.hold).await;
        if passed_by {
            ingest(&other.1, 10, 12).await;
            other.0.checkpoint().await.unwrap();
            ingest(&other.1, 12, 13).await;
        }
        pass(&asleep);
        asleep.hold.open();
        call.await.unwrap().unwrap();
        let lists = sleeper.0.stats().data.list;
        assert_eq!(
            lists,
            2 + u64::from(passed_by),
            "open, fence, and the way to the checkpoint"
        );
        sleeper.0.refresh().await.unwrap();
        assert_eq!(
            engine::content(&sleeper.1).await.unwrap().len(),
            11 + 3 * usize::from(passed_by)
        );
    }
}

/// Found by the simulation: that it was truly won, long ago, says nothing about the number after it, which gc may
/// free at any time: a checkpoint has passed it.
#[tokio::test]
async fn a_number_won_long_ago_is_no_proof_that_the_next_one_was_never_used() {
    for (detached, pass) in BOTH.into_iter().flat_map(|d| CLOCKS.map(|c| (d, c))) {
        let (awake, other, asleep, sleeper) = two(15, detached).await;
        let rows = engine::batch(&engine::rows(100, 101, 0));
        let table = sleeper.1.clone();
        let call = start(async move { table.ingest(&[rows]).await }, &asleep.hold).await;
        go_on_without_gc(&other, 10).await;
        pass(&asleep);
        asleep.hold.open();
        call.await.unwrap().unwrap();
        free_records(&awake.memory).await;
        ingest(&sleeper.1, 200, 201).await;
        let content = fresh_content(&awake).await;
        assert!(
            content.contains_key(&200),
            "acknowledged, and nobody reads it"
        );
        assert_eq!(engine::content(&sleeper.1).await.unwrap(), content);
    }
}

/// Found by the simulation: a table came into being, and was gone before its creator heard of it; that said `Invalid`.
#[tokio::test]
async fn a_table_that_was_dropped_before_its_creator_knew_of_it_is_created_again() {
    for pass in CLOCKS {
        let (awake, other, asleep, sleeper) = two(16, true).await;
        let db = sleeper.0.clone();
        asleep.hold.close("log/00000000000000000003");
        let create = async move { db.create_table("u", engine::schema()).await };
        let call = tokio::spawn(create);
        settle().await;
        other.0.refresh().await.unwrap();
        assert!(other.0.drop_table("u").await.unwrap());
        go_on_without_gc(&other, 10).await;
        pass(&asleep);
        // Another call of the handle reads on meanwhile.
        assert!(sleeper.0.refresh().await.unwrap());
        asleep.hold.open();
        let table = call.await.unwrap().unwrap();
        ingest(&table, 0, 3).await;
        other.0.refresh().await.unwrap();
        let u = other.0.table("u").unwrap();
        assert_eq!(engine::content(&u).await.unwrap(), model(0, 3));
        assert_eq!(fresh_content(&awake).await, model(0, 16));
    }
}

/// Its flush knows by the floors whether it happened: it is not an error, and nothing is there twice.
#[tokio::test]
async fn a_flush_on_a_freed_name_is_planned_anew() {
    for pass in CLOCKS {
        let (awake, other, asleep, sleeper) = two(4, true).await;
        let db = sleeper.0.clone();
        let call = start(async move { db.flush().await }, &asleep.gate).await;
        let sstables = awake.memory.list("data/", None).await.unwrap();
        assert_eq!(sstables.len(), 1, "its record is on the way");
        go_on(&other, 10, &awake.memory).await;
        pass(&asleep);
        asleep.gate.open();
        call.await.unwrap().unwrap();
        let table = &sleeper.0.stats().tables[0];
        assert_eq!((table.file_rows, table.memtable_rows), (16, 0));
        assert_eq!(engine::content(&sleeper.1).await.unwrap(), model(0, 16));
        assert_eq!(fresh_content(&awake).await, model(0, 16));
    }
}

#[tokio::test]
async fn a_reader_that_slept_does_not_take_a_freed_number_for_the_head() {
    for pass in CLOCKS {
        // Asleep before it asks.
        let (awake, other, asleep, sleeper) = two(5, true).await;
        go_on(&other, 10, &awake.memory).await;
        pass(&asleep);
        assert!(sleeper.0.refresh().await.unwrap());
        assert_eq!(engine::content(&sleeper.1).await.unwrap(), model(0, 16));
        assert!(!sleeper.0.refresh().await.unwrap());
        // Asleep between asking and the reply: judged when the reply is here.
        let (awake, other, asleep, sleeper) = two(6, true).await;
        let db = sleeper.0.clone();
        let call = start(async move { db.refresh().await }, &asleep.gate).await;
        go_on(&other, 10, &awake.memory).await;
        pass(&asleep);
        asleep.gate.open();
        assert!(call.await.unwrap().unwrap());
        assert_eq!(engine::content(&sleeper.1).await.unwrap(), model(0, 16));
    }
}

#[tokio::test]
async fn a_refresh_costs_one_request_and_reads_a_long_tail_in_parallel() {
    let (_awake, other, _asleep, sleeper) = two(7, true).await;
    let before = sleeper.0.stats().data;
    assert!(!sleeper.0.refresh().await.unwrap());
    let now = sleeper.0.stats().data;
    assert_eq!((now.get - before.get, now.list), (1, before.list));
    for i in 0..30 {
        ingest(&other.1, 10 + i, 11 + i).await;
    }
    assert!(sleeper.0.refresh().await.unwrap());
    let now = sleeper.0.stats().data;
    assert_eq!(now.list - before.list, 1);
    // That nothing was there, the two found one by one, and 28 more in two objects.
    assert_eq!(now.get - before.get, 1 + 2 + 2);
    assert_eq!(engine::content(&sleeper.1).await.unwrap(), model(0, 40));
}

/// Reading a record, or copies of it, says nothing about whether the position is on the live log: only a
/// LIST, a 404 or a slot that was won does. A writer that loses a slot now and then and vanishes before
/// it wins one must not take the number that gc freed meanwhile.
#[tokio::test]
async fn records_that_were_read_are_no_proof_of_freshness() {
    let (awake, other, asleep, sleeper) = two(14, false).await;
    go_on_without_gc(&other, 10).await;
    for round in 0..2 {
        asleep.pass(Duration::from_secs(25 * 60));
        // Its PUT of the next number is refused, it reads the slot, and gets no further.
        let next: &'static str = record_key(4 + round).leak();
        asleep.gate.close(next);
        let table = sleeper.1.clone();
        let rows = engine::batch(&engine::rows(100, 101, 0));
        let call = tokio::spawn(async move { table.ingest(&[rows]).await });
        settle().await;
        call.abort();
        asleep.gate.open();
    }
    free_records(&awake.memory).await;
    asleep.pass(Duration::from_secs(25 * 60));
    ingest(&sleeper.1, 200, 201).await;
    let content = fresh_content(&awake).await;
    assert!(
        content.contains_key(&200),
        "acknowledged, and nobody reads it"
    );
    assert_eq!(engine::content(&sleeper.1).await.unwrap(), content);
}

/// PROTOCOL F2, with a CURRENT that is stale and a ghost record where it leads.
#[tokio::test]
async fn an_open_goes_past_a_gap_and_a_ghost_to_the_newest_checkpoint() {
    let (awake, other, asleep, sleeper) = two(8, true).await;
    other.0.checkpoint().await.unwrap();
    let stale = awake.memory.get("CURRENT").await.unwrap().unwrap();
    sleeper.0.refresh().await.unwrap();
    let rows = engine::batch(&engine::rows(100, 101, 0));
    let table = sleeper.1.clone();
    let call = start(async move { table.ingest(&[rows]).await }, &asleep.gate).await;
    go_on(&other, 10, &awake.memory).await;
    CLOCKS[0](&asleep);
    asleep.gate.open();
    call.await.unwrap().unwrap_err();
    awake.memory.put("CURRENT", stale).await.unwrap();
    assert_eq!(fresh_content(&awake).await, model(0, 16));
}

#[tokio::test]
async fn a_gap_between_pages_of_a_listing_is_looked_at_again() {
    let (awake, other, ..) = two(9, true).await;
    for i in 0..5 {
        ingest(&other.1, 10 + i, 11 + i).await;
    }
    *awake.hide.lock().unwrap() = Some(record_key(4));
    let before = awake.memory.counters().list;
    let (db, table) = open(&awake, true).await;
    assert_eq!(engine::content(&table).await.unwrap(), model(0, 15));
    assert_eq!(
        awake.memory.counters().list - before,
        2,
        "no checkpoint was looked for"
    );
    drop(db);
    awake.memory.delete(&record_key(4)).await.unwrap();
    let error = Db::open(awake.env(), Options::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&record_key(4)), "{error}");
}

/// Takes a table's sstables away as a compaction does (there is none yet): their rows come back inline
/// in the record that removes them, and the objects are deleted.
async fn compact(stage: &Arc<Stage>, rows: &[(i64, engine::Row)]) {
    let runtime = stage.env().runtime;
    let log = LogStore::new(Arc::new(stage.memory.clone()), runtime, 0, 4);
    let version = log.load().await.unwrap().version;
    let (table, entry) = version.table("t").unwrap();
    let limits = Limits::default();
    let schema = entry.schema_at(1).unwrap();
    let batch = intake::read_batch(&engine::batch(rows), &schema, Mode::Upsert, &limits);
    let ipc = intake::write_ipc(schema.storage(), &[batch.unwrap()]);
    let files = version.files_of(table);
    let mut edits = vec![Edit::Rows {
        table,
        schema_version: 1,
        kind: Kind::Upsert,
        ipc: ipc.unwrap().into(),
    }];
    edits.extend(files.iter().map(|f| Edit::RemoveSstable {
        table,
        id: f.meta.id,
    }));
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
        counts_for: LONG,
    };
    let body = record.encode();
    let own = (record.seq, digest(&body));
    let slot = log
        .put_record(own, &encode_object(&body, &[]), &fence)
        .await;
    assert!(matches!(slot.unwrap(), Slot::Won(_)));
    for object in stage.memory.list("data/", None).await.unwrap() {
        stage.memory.delete(&object.key).await.unwrap();
    }
}

/// PROTOCOL G4.
#[tokio::test]
async fn a_read_that_meets_a_missing_file_goes_on_with_the_newer_version() {
    let stage = Stage::new(10);
    let small = Options {
        row_group_rows: 64,
        page_rows: 16,
        batch_rows: 64,
        read_bytes: 4096,
        coalesce_gap: 0,
        ..Options::default()
    };
    let db = Db::open(stage.env(), small.clone()).await.unwrap();
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 2000).await;
    db.flush().await.unwrap();
    let mut tables = Vec::new();
    for _ in 0..4 {
        let reader = Db::open(stage.env(), small.clone()).await.unwrap();
        tables.push(reader.table("t").unwrap());
    }
    let mut held = tables[3].scan().stream().unwrap();
    assert!(held.next().await.unwrap().is_some());
    compact(&stage, &engine::rows(0, 2000, 0)).await;
    assert!(engine::get(&tables[0], 7).await.unwrap().is_some());
    assert_eq!(engine::content(&tables[1]).await.unwrap(), model(0, 2000));
    let some = Predicate::Not(Box::new(Predicate::IsNull("name".into())));
    let counted = tables[2].scan().filter(some).count().await;
    assert_eq!(counted.unwrap(), 2000);
    let error = held.collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
}

/// Its columns are counted under the old schema: it must not go on under the new one.
#[tokio::test]
async fn a_read_that_meets_a_missing_file_of_an_altered_table_is_expired_and_right_when_repeated() {
    let stage = Stage::new(10);
    let (db, table) = open(&stage, true).await;
    ingest(&table, 0, 100).await;
    db.flush().await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(open(&stage, true).await);
    }
    let changes = [
        Alteration::RenameColumn {
            from: "name".into(),
            to: "m".into(),
        },
        Alteration::DropColumn("n".into()),
        Alteration::AddColumn(Arc::new(Field::new("n", DataType::Utf8, true))),
    ];
    db.alter_table("t", &changes).await.unwrap();
    compact(&stage, &engine::rows(0, 100, 0)).await;
    let some = Predicate::Not(Box::new(Predicate::IsNull("n".into())));
    let errors = [
        engine::get(&readers[0].1, 7).await.map(drop).unwrap_err(),
        engine::content(&readers[1].1).await.map(drop).unwrap_err(),
        (readers[2].1.scan().filter(some.clone()).count().await)
            .map(drop)
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
        assert!(error.message().contains("altered"), "{error}");
    }
    for (_, table) in &readers {
        assert_eq!(table.scan().count().await.unwrap(), 100);
        assert_eq!(table.scan().filter(some.clone()).count().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_live_file_that_is_missing_is_corruption() {
    let stage = Stage::new(11);
    let (db, table) = open(&stage, true).await;
    ingest(&table, 0, 100).await;
    db.flush().await.unwrap();
    for object in stage.memory.list("data/", None).await.unwrap() {
        stage.memory.delete(&object.key).await.unwrap();
    }
    let error = engine::content(&table).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains("data/"), "{error}");
}

/// PROTOCOL T1: the device's clock is wrong by a year, the store's is right.
#[tokio::test]
async fn a_wrong_clock_does_not_move_the_log() {
    let year = 365 * 24 * 3_600_000_000i64;
    for (off, expected) in [
        (year, 300_000_000),
        (-year, -300_000_000),
        (1_000_000, 1_000_000),
    ] {
        for wal in [false, true] {
            let stage = Stage::new(12);
            stage.wall.store(START + off, SeqCst);
            *stage.store.lock().unwrap() = Some(StoreClock {
                date: START - 10_000_000,
                heard: Duration::from_micros(stage.monotonic.load(SeqCst)),
            });
            // Ten seconds later, without an answer in between.
            stage.monotonic.fetch_add(10_000_000, SeqCst);
            let env = Env {
                wal: wal.then(|| Memory::new() as _),
                ..stage.env()
            };
            let db = Db::open(env, Options::default()).await.unwrap();
            let table = engine::table(&db, "t").await;
            let created = db.stats().last_timestamp - START;
            assert!(
                (expected..expected + 2).contains(&created),
                "{off}: {created}"
            );
            let batch = engine::batch(&engine::rows(0, 1, 0));
            let ts = table.ingest(&[batch]).await.unwrap().ts - START;
            assert!(
                (expected..expected + 4).contains(&ts),
                "{off}, WAL {wal}: {ts}"
            );
        }
    }
}

/// Pending rows move above a foreign record, and no further: time does not run ahead.
#[tokio::test]
async fn a_foreign_record_moves_pending_rows_just_above_itself() {
    let stage = Stage::new(13);
    let (other, table) = open(&stage, true).await;
    let env = Env {
        wal: Some(Memory::new()),
        ..stage.env()
    };
    let local = Db::open(env, Options::default()).await.unwrap();
    let theirs = local.table("t").unwrap();
    ingest(&theirs, 0, 3).await;
    for from in 1..5 {
        stage.pass(Duration::from_secs(600));
        ingest(&table, from, 10).await;
        local.refresh().await.unwrap();
        let ahead = local.stats().last_timestamp - other.stats().last_timestamp;
        assert!((1..10).contains(&ahead), "{ahead} µs above the head");
        ingest(&theirs, 0, 3).await;
    }
    let content = engine::content(&theirs).await.unwrap();
    assert_eq!(content, model(0, 10));
}

#[test]
fn the_age_of_a_proof_is_the_most_that_any_clock_says() {
    let at = |monotonic, wall, store| Moment {
        monotonic: Duration::from_micros(monotonic),
        wall,
        store,
    };
    let age = |from: Moment, to: Moment| from.age(&to).as_micros();
    assert_eq!(age(at(1, 1, Some(1)), at(9, 5, Some(3))), 8);
    assert_eq!(age(at(1, 1, Some(1)), at(2, 9, Some(3))), 8);
    assert_eq!(age(at(1, 1, Some(1)), at(2, 5, Some(9))), 8);
    assert_eq!(age(at(1, 9, None), at(2, 5, Some(9))), 1);
    assert_eq!(age(at(9, 9, Some(9)), at(1, 1, Some(1))), 0);
}
