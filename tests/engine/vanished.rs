//! A call that vanished, neither polled again nor dropped, takes nobody's memory for ever: those who come
//! after it are answered.

use crate::support::{
    engine::keys,
    stage::{self, Stage},
};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field};
use futures_util::future::{join, join_all};
use lakeshore::{Db, Options, Table, TransactionOptions, data::schema::TableSchema};
use std::{sync::Arc, time::Duration};

const KIB: usize = 1024;

fn options() -> Options {
    Options {
        memory_bytes: 8 * KIB * KIB,
        detached_tasks: false,
        ..Options::default()
    }
}

fn schema() -> TableSchema {
    let fields = vec![
        Arc::new(Field::new("id", DataType::Int64, false)),
        Arc::new(Field::new("value", DataType::Binary, true)),
    ];
    TableSchema::new(fields, &["id"]).unwrap()
}

/// Rows of `bytes` bytes that do not compress.
fn rows(from: i64, rows: i64, bytes: usize) -> RecordBatch {
    let mut state = from as u64 * 2 + 1;
    let mut value = || -> Vec<u8> {
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..bytes).map(next).collect()
    };
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..rows).map(|_| value())));
    RecordBatch::try_from_iter([("id", ids), ("value", values)]).unwrap()
}

/// A table of four files of ten rows of 100 KB.
fn begin(stage: &Arc<Stage>) -> (Db, Table) {
    stage::run(stage, async {
        let db = Db::open(stage.env(), options()).await.unwrap();
        let table = db.create_table("t", schema()).await.unwrap();
        for from in 0..4 {
            let part = rows(from * 10, 10, 100_000);
            for row in 0..10 {
                table.ingest(&[part.slice(row, 1)]).await.unwrap();
            }
            db.flush().await.unwrap();
        }
        (db, table)
    })
}

/// Begins a call whose requests for sstables are not answered, and lets it vanish.
fn vanish<T>(stage: &Arc<Stage>, call: impl Future<Output = T> + 'static) {
    stage.gate.close("data/");
    let mut call = Box::pin(call);
    for _ in 0..100 {
        assert!(
            stage::poll(&mut call).is_pending(),
            "it had no time to vanish"
        );
    }
    std::mem::forget(call);
    stage.gate.open();
}

async fn get(table: Table, id: i64) {
    let row = table.get(&keys(&[id]), None).await.unwrap().unwrap();
    assert_eq!(row.num_rows(), 1);
}

async fn count(table: Table) -> usize {
    let mut scan = table.scan().stream().unwrap();
    let mut rows = 0;
    while let Some(batch) = scan.next().await.unwrap() {
        rows += batch.num_rows();
    }
    rows
}

#[test]
fn gets_are_answered_after_others_vanished() {
    let stage = Stage::new(1);
    let (_db, table) = begin(&stage);
    for id in 0..30 {
        vanish(&stage, get(table.clone(), id));
    }
    for id in 0..40 {
        stage::run(&stage, get(table.clone(), id));
    }
}

#[test]
fn scans_are_answered_after_others_vanished_and_take_no_more_requests() {
    let stage = Stage::new(2);
    let (db, table) = begin(&stage);
    let requests = || {
        let before = db.stats().data.get;
        assert_eq!(stage::run(&stage, count(table.clone())), 40);
        db.stats().data.get - before
    };
    requests();
    let alone = requests();
    for _ in 0..200 {
        vanish(&stage, count(table.clone()));
    }
    requests();
    stage.pass(Duration::from_secs(60));
    assert_eq!(requests(), alone, "those that vanished count as running");
}

#[test]
fn flushes_and_commits_are_answered_after_others_vanished() {
    let stage = Stage::new(3);
    let (db, table) = begin(&stage);
    for round in 0..6 {
        let from = 1000 + round * 100;
        for id in 0..3 {
            let row = rows(from + id, 1, 10_000);
            stage::run(&stage, table.ingest(&[row])).unwrap();
        }
        let flushed = db.clone();
        vanish(&stage, async move { flushed.flush().await });
        // It is too large for the record, and is written as an sstable.
        let large = rows(from + 10, 7, 100_000);
        vanish(&stage, table.ingest(&[large]));
    }
    for round in 0..3 {
        let large = rows(3000 + round * 10, 7, 100_000);
        stage::run(&stage, table.ingest(&[large])).unwrap();
        let small = rows(4000 + round, 1, 1000);
        stage::run(&stage, table.ingest(&[small])).unwrap();
        stage::run(&stage, db.flush()).unwrap();
    }
    let there = stage::run(&stage, count(table));
    assert!(there >= 40 + 18 + 24, "{there} rows");
}

#[test]
fn commits_are_answered_after_transactions_vanished() {
    let stage = Stage::new(4);
    let (db, table) = begin(&stage);
    for round in 0..12 {
        let open = db.begin(TransactionOptions::default()).unwrap();
        let written = rows(1000 + round * 10, 7, 100_000);
        if open.table("t").unwrap().ingest(&[written]).is_err() {
            // Nobody waits within a transaction; but time goes on.
            stage.pass(Duration::from_secs(30));
        }
        std::mem::forget(open);
    }
    for round in 0..3 {
        let large = rows(3000 + round * 10, 7, 100_000);
        stage::run(&stage, table.ingest(&[large])).unwrap();
    }
    let open = db.begin(TransactionOptions::default()).unwrap();
    let written = rows(5000, 7, 100_000);
    open.table("t").unwrap().ingest(&[written]).unwrap();
    stage::run(&stage, open.commit()).unwrap();
    assert_eq!(stage::run(&stage, count(table)), 40 + 28);
}

#[test]
fn a_commit_lets_a_transaction_go_first_that_is_committed_by_the_same_call() {
    let stage = Stage::new(5);
    let (db, table) = begin(&stage);
    let other = stage::run(&stage, db.create_table("u", schema())).unwrap();
    let open = db.begin(TransactionOptions::default()).unwrap();
    for from in [0, 10] {
        let written = rows(from, 5, 100_000);
        open.table("u").unwrap().ingest(&[written]).unwrap();
    }
    let ingest = table.ingest(&[rows(1000, 7, 100_000)]);
    let (ingest, commit) = stage::run(&stage, join(ingest, open.commit()));
    ingest.unwrap();
    commit.unwrap();
    assert_eq!(stage::run(&stage, count(table)), 47);
    assert_eq!(stage::run(&stage, count(other)), 10);
}

#[test]
fn calls_that_wait_for_memory_are_served_in_turn_for_as_long_as_it_takes() {
    let stage = Stage::new(6);
    let (_db, table) = begin(&stage);
    // Each takes a part of what there is, and its time to do its work.
    let slow = |_| {
        let table = table.clone();
        async move {
            let mut scan = table.scan().stream().unwrap();
            let mut rows = 0;
            while let Some(batch) = scan.next().await.unwrap() {
                rows += batch.num_rows();
                for _ in 0..400 {
                    tokio::task::yield_now().await;
                }
            }
            rows
        }
    };
    let counts = stage::run(&stage, join_all((0..40).map(slow)));
    assert_eq!(counts, [40; 40]);
}

#[test]
fn a_commit_that_waits_for_memory_is_not_refused_because_another_call_has_queued_one() {
    let stage = Stage::new(7);
    let (db, table) = begin(&stage);
    let other = stage::run(&stage, db.create_table("u", schema())).unwrap();
    let open = db.begin(TransactionOptions::default()).unwrap();
    for from in [0, 10] {
        let written = rows(from, 5, 100_000);
        open.table("u").unwrap().ingest(&[written]).unwrap();
    }
    let mut waits = Box::pin(table.ingest(&[rows(1000, 7, 100_000)]));
    assert!(stage::poll(&mut waits).is_pending(), "there was memory");
    // It is that call's to commit, which is not polled yet.
    let call = open.commit();
    for _ in 0..40 {
        assert!(stage::poll(&mut waits).is_pending(), "it was given up");
    }
    stage::run(&stage, call).unwrap();
    stage::run(&stage, waits).unwrap();
    assert_eq!(stage::run(&stage, count(table)), 47);
    assert_eq!(stage::run(&stage, count(other)), 10);
}
