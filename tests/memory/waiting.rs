//! Commits that wait for memory: in what order they are made, and for how long they wait.

use super::measure::*;
use crate::reads::noise;
use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use arrow_schema::DataType;
use futures_util::future::{join, join_all};
use lakeshore::{Db, ErrorKind, Snapshot, Table, TransactionOptions};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A row for each value, of so many bytes.
fn rows(from: i64, count: i64, bytes: usize) -> RecordBatch {
    let values = (from..from + count).map(|row| noise(row, 0, bytes));
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(values));
    batch(from, &[("v", values)])
}

/// Seven rows of a MiB: a commit of them needs more than is left beside the pins.
fn large(from: i64) -> RecordBatch {
    rows(from, 7, MIB)
}

/// Half of the memory for writes is held by snapshots.
async fn scarce(place: &std::path::Path) -> (Db, Table, Vec<Snapshot>) {
    let db = open(place, true, small(64 * MIB)).await;
    let columns = || vec![field("v", DataType::Binary)];
    let table = db.create_table("t", schema(columns())).await.unwrap();
    db.create_table("u", schema(columns())).await.unwrap();
    let mut pins = Vec::new();
    for call in 0..4 {
        table.ingest(&[rows(call * 3, 3, MIB)]).await.unwrap();
        pins.push(db.snapshot().unwrap());
        db.flush().await.unwrap();
    }
    (db, table, pins)
}

#[test]
fn a_transaction_is_not_committed_before_rows_that_were_given_to_its_table_earlier() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let (db, table, pins) = scarce(place.path()).await;
        let transaction = db.begin(TransactionOptions::default()).unwrap();
        let within = transaction.table("t").unwrap();
        within.delete(&[keys(100, 1)]).unwrap();
        let ingest = table.ingest(&[large(100)]);
        let commit = transaction.commit();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(pins);
        });
        let (ingest, commit) = join(ingest, commit).await;
        ingest.unwrap();
        let error = commit.expect_err("the row was written since it began");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        let row = table.get(&keys(100, 1), None).await.unwrap();
        assert!(row.is_some());
        db.close().await.unwrap();
    });
}

#[test]
fn a_transaction_of_other_tables_goes_before_rows_that_wait_for_its_memory() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let (db, table, mut pins) = scarce(place.path()).await;
        pins.truncate(1);
        let transaction = db.begin(TransactionOptions::default()).unwrap();
        let within = transaction.table("u").unwrap();
        for part in 0..5 {
            within.ingest(&[rows(part, 1, MIB)]).unwrap();
        }
        let ingest = table.ingest(&[large(100)]);
        let begun = Instant::now();
        let (ingest, commit) = join(ingest, transaction.commit()).await;
        commit.unwrap();
        ingest.unwrap();
        assert!(begun.elapsed() < Duration::from_millis(1500));
        db.close().await.unwrap();
    });
}

#[test]
fn a_commit_that_finds_no_memory_is_told_so_however_often_others_go_first() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let (db, table, pins) = scarce(place.path()).await;
        let others = db.clone();
        let others = tokio::spawn(async move {
            for id in 0.. {
                let transaction = others.begin(TransactionOptions::default()).unwrap();
                let within = transaction.table("u").unwrap();
                within.ingest(&[rows(id, 1, 1000)]).unwrap();
                transaction.commit().await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let ingest = tokio::time::timeout(Duration::from_secs(10), table.ingest(&[large(100)]));
        let error = ingest
            .await
            .expect("it is answered")
            .expect_err("no memory");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        others.abort();
        drop(pins);
        table.ingest(&[large(100)]).await.unwrap();
        db.close().await.unwrap();
    });
}

#[test]
fn commits_that_wait_for_the_same_memory_wait_together() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let (db, table, pins) = scarce(place.path()).await;
        let begun = Instant::now();
        let calls = join_all((0..20).map(|call| table.ingest(&[large(100 + call * 7)])));
        let (answers, closed) = join(calls, db.close()).await;
        closed.unwrap();
        for answer in answers {
            let error = answer.expect_err("no memory");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        drop(pins);
    });
}
