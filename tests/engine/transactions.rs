//! Transactions through the public door: what they see, what they conflict with, and that nothing of one
//! that was not committed is ever seen. Over one handle, over several, with a WAL and without.

use crate::support;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use lakeshore::{
    Db, Env, ErrorKind, Isolation, Options, Result, SettingsChange, Transaction,
    TransactionOptions,
    data::{intake::write_ipc, schema::TableSchema},
    env::Storage,
    platform::{memory::Memory, native::TokioRuntime},
};
use std::{
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use support::{
    engine::{self, Model, Row},
    random::{Random, seconds, seed},
    stage::Stage,
};

const SERIALIZABLE: TransactionOptions = TransactionOptions {
    isolation: Isolation::Serializable,
    attempts: 16,
};

fn snapshot() -> TransactionOptions {
    TransactionOptions::default()
}

async fn open(data: &Arc<Memory>, wal: Option<&Arc<Memory>>, options: Options) -> Db {
    let env = Env {
        data: data.clone(),
        wal: wal.map(|w| w.clone() as _),
        runtime: TokioRuntime::current().unwrap(),
    };
    let db = Db::open(env, options).await.unwrap();
    for name in ["a", "b"] {
        engine::table(&db, name).await;
    }
    db
}

/// One handle over a WAL, and one without.
async fn both() -> [(Db, Arc<Memory>, Option<Arc<Memory>>); 2] {
    let (one, two, wal) = (Memory::new(), Memory::new(), Memory::new());
    let local = open(&one, Some(&wal), Options::default()).await;
    let remote = open(&two, None, Options::default()).await;
    [(local, one, Some(wal)), (remote, two, None)]
}

fn write(tx: &Transaction, table: &str, ids: &[i64], mark: i32) {
    let rows: Vec<(i64, Row)> = (ids.iter())
        .flat_map(|id| engine::rows(*id, id + 1, mark))
        .collect();
    let table = tx.table(table).unwrap();
    assert_eq!(
        table.ingest(&[engine::batch(&rows)]).unwrap(),
        rows.len() as u64
    );
}

async fn put(db: &Db, table: &str, ids: std::ops::Range<i64>, mark: i32) {
    let rows = engine::rows(ids.start, ids.end, mark);
    let table = db.table(table).unwrap();
    table.ingest(&[engine::batch(&rows)]).await.unwrap();
}

async fn seen(tx: &Transaction, table: &str) -> Model {
    engine::scanned(tx.table(table).unwrap().scan())
        .await
        .unwrap()
}

async fn content(db: &Db, table: &str) -> Model {
    engine::content(&db.table(table).unwrap()).await.unwrap()
}

async fn read(tx: &Transaction, table: &str, id: i64) -> Option<i32> {
    let table = tx.table(table).unwrap();
    let found = table.get(&engine::keys(&[id]), None).await.unwrap()?;
    Some(engine::unpack(&found)[0].1.n)
}

async fn read_range(tx: &Transaction, table: &str, from: i64, to: i64) -> usize {
    let scan = tx.table(table).unwrap().scan();
    let scan = scan.from(Bound::Included(engine::keys(&[from])));
    let scan = scan.to(Bound::Excluded(engine::keys(&[to])));
    engine::scanned(scan).await.unwrap().len()
}

fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

#[tokio::test]
async fn reads_see_the_snapshot_and_own_writes_and_others_see_all_of_it_at_once() {
    for (db, ..) in both().await {
        put(&db, "a", 0..5, 1).await;
        let tx = db.begin(snapshot()).unwrap();
        put(&db, "a", 3..8, 2).await;
        let mut expected: Model = engine::rows(0, 5, 1).into_iter().collect();
        assert_eq!(
            seen(&tx, "a").await,
            expected,
            "not what was committed since"
        );
        write(&tx, "a", &[1, 100], 7);
        write(&tx, "b", &[1], 7);
        let gone = tx.table("a").unwrap();
        gone.delete(&[engine::keys(&[0, 100, 999])]).unwrap();
        write(&tx, "a", &[100], 8);
        expected.remove(&0);
        expected.extend(engine::rows(1, 2, 7));
        expected.extend(engine::rows(100, 101, 8));
        assert_eq!(seen(&tx, "a").await, expected);
        assert_eq!(read(&tx, "a", 100).await, Some(8));
        assert_eq!(read(&tx, "a", 0).await, None);
        assert_eq!(content(&db, "b").await.len(), 0, "nobody else sees it");
        assert_eq!(content(&db, "a").await.len(), 8);
        let done = tx.commit().await.unwrap();
        assert_eq!(
            done.rows,
            4 + 1,
            "of equal keys the last: 0, 1, 100, 999 in a and 1 in b"
        );
        let mut after: Model = engine::rows(0, 3, 1).into_iter().collect();
        after.extend(engine::rows(3, 8, 2));
        after.remove(&0);
        after.extend(engine::rows(1, 2, 7));
        after.extend(engine::rows(100, 101, 8));
        assert_eq!(content(&db, "a").await, after);
        assert_eq!(
            content(&db, "b").await,
            engine::rows(1, 2, 7).into_iter().collect()
        );
    }
}

#[tokio::test]
async fn a_transaction_outlives_a_restart_whole_and_one_without_commit_leaves_nothing() {
    for (db, data, wal) in both().await {
        put(&db, "a", 0..3, 1).await;
        let tx = db.begin(snapshot()).unwrap();
        write(&tx, "a", &[2, 3], 5);
        tx.table("a")
            .unwrap()
            .delete(&[engine::keys(&[0])])
            .unwrap();
        write(&tx, "a", &[2], 6);
        write(&tx, "b", &[9], 5);
        tx.commit().await.unwrap();
        let before = db.stats();
        let lost = db.begin(snapshot()).unwrap();
        write(&lost, "a", &[1], 99);
        drop(lost);
        let undone = db.begin(snapshot()).unwrap();
        write(&undone, "b", &[1], 99);
        undone.clone().rollback();
        assert_eq!(kind(undone.commit().await), ErrorKind::Invalid);
        let empty = db.begin(SERIALIZABLE).unwrap();
        assert_eq!(read(&empty, "a", 1).await, Some(1));
        assert_eq!(empty.commit().await.unwrap().rows, 0);
        let after = db.stats();
        assert_eq!(
            (after.data, after.wal),
            (before.data, before.wal),
            "no request"
        );
        let mut expected: Model = engine::rows(1, 2, 1).into_iter().collect();
        expected.extend(engine::rows(2, 3, 6));
        expected.extend(engine::rows(3, 4, 5));
        for _ in 0..2 {
            let again = match &wal {
                Some(wal) => {
                    db.close().await.unwrap();
                    open(&data, Some(wal), Options::default()).await
                }
                None => open(&data, None, Options::default()).await,
            };
            assert_eq!(content(&again, "a").await, expected);
            assert_eq!(
                content(&again, "b").await,
                engine::rows(9, 10, 5).into_iter().collect()
            );
            again.flush().await.unwrap();
            assert_eq!(content(&again, "a").await, expected);
            again.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn of_two_that_write_one_row_the_later_conflicts() {
    for (db, ..) in both().await {
        let (one, two) = (db.begin(snapshot()).unwrap(), db.begin(snapshot()).unwrap());
        write(&one, "a", &[1, 2], 1);
        write(&two, "a", &[2, 3], 2);
        let other_table = db.begin(snapshot()).unwrap();
        write(&other_table, "b", &[2], 3);
        // One group: nothing is awaited in between (PROTOCOL C1).
        let (one, two, other) =
            futures_util::join!(one.commit(), two.commit(), other_table.commit());
        one.unwrap();
        other.unwrap();
        let refused = two.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(
            refused.kind().retryable() && refused.message().contains("\"a\""),
            "{refused}"
        );
        assert_eq!(
            content(&db, "a").await,
            engine::rows(1, 3, 1).into_iter().collect()
        );
        // A commit without a transaction counts, too, before it in the queue or long before.
        let tx = db.begin(snapshot()).unwrap();
        write(&tx, "a", &[7], 1);
        let plain = db.table("a").unwrap();
        let rows = engine::batch(&engine::rows(7, 8, 2));
        let (plain, tx) = futures_util::join!(plain.ingest(&[rows]), tx.commit());
        plain.unwrap();
        assert_eq!(kind(tx), ErrorKind::Conflict);
        let tx = db.begin(snapshot()).unwrap();
        write(&tx, "a", &[7], 1);
        let deleted = db.table("a").unwrap();
        deleted.delete(&[engine::keys(&[7])]).await.unwrap();
        db.flush().await.unwrap();
        assert_eq!(kind(tx.commit().await), ErrorKind::Conflict);
        // A flush only moves rows.
        let tx = db.begin(snapshot()).unwrap();
        write(&tx, "a", &[1], 5);
        db.flush().await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn serializable_ones_conflict_with_what_they_read() {
    for (db, ..) in both().await {
        put(&db, "a", 0..10, 1).await;
        // Write skew: each reads what the other writes. Allowed by default.
        for (options, allowed) in [(snapshot(), true), (SERIALIZABLE, false)] {
            let (one, two) = (db.begin(options).unwrap(), db.begin(options).unwrap());
            read(&one, "a", 1).await;
            read(&two, "a", 2).await;
            write(&one, "a", &[2], 5);
            write(&two, "a", &[1], 5);
            one.commit().await.unwrap();
            assert_eq!(two.commit().await.is_ok(), allowed);
        }
        // A row that appears in a range that was empty.
        let tx = db.begin(SERIALIZABLE).unwrap();
        assert_eq!(read_range(&tx, "a", 100, 200).await, 0);
        write(&tx, "b", &[1], 1);
        put(&db, "a", 150..151, 1).await;
        assert_eq!(kind(tx.commit().await), ErrorKind::Conflict);
        // A key that was not there.
        let tx = db.begin(SERIALIZABLE).unwrap();
        assert_eq!(read(&tx, "b", 77).await, None);
        write(&tx, "b", &[2], 1);
        put(&db, "b", 77..78, 1).await;
        assert_eq!(kind(tx.commit().await), ErrorKind::Conflict);
        // What it did not read is no matter.
        let tx = db.begin(SERIALIZABLE).unwrap();
        assert_eq!(read_range(&tx, "a", 0, 5).await, 5);
        write(&tx, "b", &[3], 1);
        put(&db, "a", 5..6, 3).await;
        put(&db, "b", 4..5, 3).await;
        tx.commit().await.unwrap();
    }
}

/// PROTOCOL C4 for commits that are sstables: by key range, then by looking into them.
#[tokio::test]
async fn large_foreign_commits_are_looked_into() {
    let data = Memory::new();
    let options = Options {
        inline_commit_bytes: 2048,
        ..Options::default()
    };
    let ours = open(&data, None, options.clone()).await;
    let theirs = open(&data, None, options).await;
    let even: Vec<(i64, Row)> = (0..500)
        .flat_map(|i| engine::rows(2 * i, 2 * i + 1, 1))
        .collect();
    let large = engine::batch(&even);
    let cases: [(&[i64], bool); 4] = [
        (&[1, 501], false),
        (&[2000], false),
        (&[4], true),
        (&[501, 998], true),
    ];
    for (keys, conflicts) in cases {
        for options in [snapshot(), SERIALIZABLE] {
            ours.refresh().await.unwrap();
            let tx = ours.begin(options).unwrap();
            match options.isolation {
                Isolation::Snapshot => write(&tx, "a", keys, 2),
                Isolation::Serializable => {
                    for key in keys {
                        read(&tx, "a", *key).await;
                    }
                    write(&tx, "b", &[1], 2);
                }
            }
            let table = theirs.table("a").unwrap();
            let done = table.ingest(std::slice::from_ref(&large)).await.unwrap();
            assert!(done.uploaded);
            let outcome = tx.commit().await;
            assert_eq!(outcome.is_err(), conflicts, "{keys:?} {outcome:?}");
        }
    }
    let tx = ours.begin(SERIALIZABLE).unwrap();
    read_range(&tx, "a", 501, 502).await;
    let wide = ours.begin(SERIALIZABLE).unwrap();
    read_range(&wide, "a", 501, 503).await;
    write(&tx, "b", &[5], 1);
    write(&wide, "b", &[6], 1);
    theirs.table("a").unwrap().ingest(&[large]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(kind(wide.commit().await), ErrorKind::Conflict);
    // A large transaction of one's own: sstables, and all or nothing.
    let tx = ours.begin(snapshot()).unwrap();
    let ids: Vec<i64> = (5000..5500).collect();
    write(&tx, "a", &ids, 9);
    write(&tx, "b", &ids, 9);
    let loser = ours.begin(snapshot()).unwrap();
    write(&loser, "a", &ids, 10);
    tx.commit().await.unwrap();
    assert_eq!(kind(loser.commit().await), ErrorKind::Conflict);
    theirs.refresh().await.unwrap();
    let b = content(&theirs, "b").await;
    assert_eq!(
        b.range(5000..).map(|(_, row)| row.n).collect::<Vec<_>>(),
        vec![9; 500]
    );
}

/// PROTOCOL C1, C5: a group that was to go inline meets a smaller bound while an sstable of another handle
/// is looked into. What is in an sstable cannot be taken out again: it would hold the refused rows, too.
#[tokio::test]
async fn rows_of_a_refused_transaction_are_not_committed_with_its_group() {
    let stage = Stage::new(1);
    let options = Options {
        inline_commit_bytes: 8192,
        ..Options::default()
    };
    let ours = Db::open(stage.env(), options.clone()).await.unwrap();
    for name in ["a", "b"] {
        engine::table(&ours, name).await;
    }
    let data = Arc::new(stage.memory.clone());
    let theirs = open(&data, None, options).await;
    let tx = ours.begin(snapshot()).unwrap();
    write(&tx, "a", &[4], 7);
    put(&theirs, "a", 0..500, 1).await;
    let smaller = SettingsChange {
        inline_commit_bytes: Some(64),
        ..SettingsChange::default()
    };
    theirs.configure(smaller).await.unwrap();
    stage.gate.close("data/");
    let table = ours.table("b").unwrap();
    let group = tokio::spawn(async move {
        let plain = table.ingest(&[engine::batch(&engine::rows(1, 2, 8))]);
        futures_util::join!(tx.commit(), plain)
    });
    while ours.settings().inline_commit_bytes != 64 {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        ours.refresh().await.unwrap();
    }
    stage.gate.open();
    let (tx, plain) = group.await.unwrap();
    plain.unwrap();
    assert_eq!(kind(tx), ErrorKind::Conflict);
    let a = content(&ours, "a").await;
    assert_eq!(a[&4].n, 1, "the refused row was committed");
    assert_eq!(a.len(), 500);
    assert_eq!(content(&ours, "b").await.len(), 1);
}

/// Nobody can look into an sstable of a table that is gone: whoever read the table conflicts.
#[tokio::test]
async fn one_that_read_a_table_that_was_written_and_then_dropped_conflicts() {
    let options = Options {
        inline_commit_bytes: 64,
        ..Options::default()
    };
    let db = open(&Memory::new(), None, options).await;
    let tx = db.begin(SERIALIZABLE).unwrap();
    assert_eq!(read_range(&tx, "a", 0, 100).await, 0);
    put(&db, "a", 10..20, 1).await;
    write(&tx, "b", &[1], 2);
    assert!(db.drop_table("a").await.unwrap());
    assert_eq!(kind(tx.commit().await), ErrorKind::Conflict);
    assert_eq!(content(&db, "b").await, Model::new());
    // Nor does it matter whether anything was written to it.
    engine::table(&db, "c").await;
    let tx = db.begin(SERIALIZABLE).unwrap();
    assert_eq!(read_range(&tx, "c", 0, 100).await, 0);
    write(&tx, "b", &[1], 2);
    assert!(db.drop_table("c").await.unwrap());
    assert_eq!(kind(tx.commit().await), ErrorKind::Conflict);
    // One that read nothing of it does not.
    let tx = db.begin(snapshot()).unwrap();
    write(&tx, "b", &[1], 3);
    tx.commit().await.unwrap();
}

/// PROTOCOL C4: records that were not seen, because the handle leapt to a checkpoint.
#[tokio::test]
async fn what_a_leap_passed_over_conflicts() {
    let stage = Stage::new(1);
    let ours = Db::open(stage.env(), Options::default()).await.unwrap();
    for name in ["a", "b"] {
        engine::table(&ours, name).await;
    }
    let tx = ours.begin(snapshot()).unwrap();
    write(&tx, "a", &[1], 1);
    let data = Arc::new(stage.memory.clone());
    let theirs = open(&data, None, Options::default()).await;
    put(&theirs, "b", 0..1, 1).await;
    put(&theirs, "b", 1..2, 1).await;
    theirs.checkpoint().await.unwrap();
    // What gc does, once the checkpoint is old enough: all records before its own go.
    let mut records = data.list("log/", None).await.unwrap();
    records.pop();
    for record in records {
        data.delete(&record.key).await.unwrap();
    }
    stage.pass(Duration::from_secs(3600));
    assert_eq!(kind(tx.commit().await), ErrorKind::Conflict);
    let tx = ours.begin(snapshot()).unwrap();
    write(&tx, "a", &[1], 1);
    tx.commit().await.unwrap();
    assert_eq!(content(&ours, "b").await.len(), 2);
}

#[tokio::test]
async fn bounds_and_ends_say_what_they_are() {
    let (data, wal) = (Memory::new(), Memory::new());
    let options = Options {
        commit_bytes: 4096,
        conflict_bytes: 200,
        ..Options::default()
    };
    let db = open(&data, Some(&wal), options).await;
    let tx = db.begin(snapshot()).unwrap();
    write(&tx, "a", &(0..20).collect::<Vec<_>>(), 1);
    let more = engine::batch(&engine::rows(20, 900, 1));
    let refused = tx.table("a").unwrap().ingest(&[more]).unwrap_err();
    assert!(refused.message().contains("commit_bytes"), "{refused}");
    assert_eq!(
        seen(&tx, "a").await.len(),
        20,
        "a refused write changes nothing"
    );
    assert_eq!(kind(tx.table("c")), ErrorKind::Invalid);
    // What is kept for the check is bounded: a transaction that is older conflicts.
    for i in 0..10 {
        put(&db, "b", i..i + 1, 1).await;
    }
    assert_eq!(kind(tx.commit().await), ErrorKind::Conflict);
    let tx = db.begin(snapshot()).unwrap();
    let table = tx.table("a").unwrap();
    tx.commit().await.unwrap();
    let ended = table
        .ingest(&[engine::batch(&engine::rows(0, 1, 1))])
        .unwrap_err();
    assert!(ended.message().contains("ended"), "{ended}");
    let tx = db.begin(snapshot()).unwrap();
    write(&tx, "a", &[1], 1);
    db.close().await.unwrap();
    assert_eq!(kind(tx.commit().await), ErrorKind::Closed);
    assert_eq!(kind(db.begin(snapshot())), ErrorKind::Closed);
}

#[tokio::test]
async fn a_small_transaction_over_two_tables_costs_one_put() {
    let data = Memory::new();
    let db = open(&data, None, Options::default()).await;
    let before = db.stats().data;
    let tx = db.begin(SERIALIZABLE).unwrap();
    read(&tx, "a", 1).await;
    write(&tx, "a", &[1], 1);
    write(&tx, "b", &[1], 1);
    tx.commit().await.unwrap();
    let after = db.stats().data;
    assert_eq!(after.put_if_absent - before.put_if_absent, 1);
    assert_eq!(
        (after.get, after.list, after.put),
        (before.get, before.list, before.put)
    );
}

/// The bank: transfers by many handles at once; the sum stays, and so does what each account's history
/// adds up to.
#[tokio::test]
async fn money_is_neither_made_nor_lost() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let box_ = seconds(3);
    let mut rounds = 0;
    while rounds == 0 || box_.left() {
        round(&mut random, rounds % 2 == 0, rounds % 3 == 0).await;
        rounds += 1;
    }
    println!("{rounds} rounds");
}

const ACCOUNTS: i64 = 6;

/// Three writers, of one handle over a WAL or of three without. Each moves 1 from one account to another,
/// through a row of each table; a pair of accounts must never both fall below zero, which only
/// serializable transactions keep.
async fn round(random: &mut Random, local: bool, large: bool) {
    let (data, wal) = (Memory::new(), Memory::new());
    let options = Options {
        inline_commit_bytes: if large { 64 } else { 1 << 18 },
        ..engine::tiny()
    };
    let mut handles = Vec::new();
    let first = open(&data, local.then_some(&wal), options.clone()).await;
    put(&first, "a", 0..ACCOUNTS, 10).await;
    put(&first, "b", 0..ACCOUNTS, 10).await;
    for _ in 0..3 {
        handles.push(match local {
            true => first.clone(),
            false => open(&data, None, options.clone()).await,
        });
    }
    let mut writers = Vec::new();
    for db in &handles {
        let mut random = Random::new(random.next());
        let db = db.clone();
        writers.push(tokio::spawn(async move {
            for _ in 0..8 {
                let (from, to) = (random.below(6) as i64, random.below(6) as i64);
                let flush = random.chance(0.2);
                let run = |tx: Transaction| async move { transfer(&tx, from, to).await };
                let options = TransactionOptions {
                    attempts: 1000,
                    ..SERIALIZABLE
                };
                db.transaction(options, run).await.unwrap();
                if flush {
                    db.flush().await.unwrap();
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let last = match local {
        true => first.clone(),
        false => open(&data, None, options).await,
    };
    let (a, b) = (content(&last, "a").await, content(&last, "b").await);
    let sum = |table: &Model| table.values().map(|row| row.n).sum::<i32>();
    assert_eq!((sum(&a), sum(&b)), (60, 60));
    assert_eq!(a, b, "both tables got every transfer");
}

async fn transfer(tx: &Transaction, from: i64, to: i64) -> Result<()> {
    for name in ["a", "b"] {
        let all = seen(tx, name).await;
        assert_eq!(
            all.values().map(|row| row.n).sum::<i32>(),
            60,
            "a torn read"
        );
        if from == to || all[&from].n == 0 {
            continue;
        }
        let table = tx.table(name)?;
        for (id, more) in [(from, -1), (to, 1)] {
            let row = engine::rows(id, id + 1, all[&id].n + more);
            table.ingest(&[engine::batch(&row)])?;
        }
    }
    Ok(())
}

/// Bytes of commits that somebody still holds.
struct Held(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), SeqCst);
    }
}

/// DESIGN promise 8: option conflict_bytes bounds what is kept for the check. That is keys, and not the
/// commits they came in.
#[tokio::test]
async fn what_is_kept_for_the_check_are_keys_and_not_whole_commits() {
    let (data, wal) = (Memory::new(), Memory::new());
    let db = open(&data, Some(&wal), Options::default()).await;
    let columns = [("k", DataType::Utf8), ("v", DataType::Utf8)];
    let columns = columns.map(|(name, of)| Arc::new(Field::new(name, of, false)));
    let schema = TableSchema::new(columns.to_vec(), &["k"]).unwrap();
    let table = db.create_table("t", schema).await.unwrap();
    let tx = db.begin(snapshot()).unwrap();
    let held = Arc::new(AtomicUsize::new(0));
    for i in 0..50 {
        let (k, v) = (format!("key {i}"), "v".repeat(64 << 10));
        let column = |text: String| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("k", column(k)), ("v", column(v))]).unwrap();
        let ipc = write_ipc(&batch.schema(), &[batch]).unwrap();
        held.fetch_add(ipc.len(), SeqCst);
        let ipc = Bytes::from_owner(Held(ipc, held.clone()));
        table.ingest_ipc(ipc).await.unwrap();
    }
    db.flush().await.unwrap();
    assert_eq!(db.stats().memtable_bytes, 0);
    assert_eq!(held.load(SeqCst), 0, "bytes of commits are held");
    write(&tx, "a", &[1], 1);
    tx.commit().await.unwrap();
}
