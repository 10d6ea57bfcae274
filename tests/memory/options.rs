//! No option at its largest or smallest makes the engine panic, answer wrongly, or take more memory.

use super::measure::*;
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array};
use arrow_schema::DataType;
use lakeshore::{Db, ErrorKind, Options, Result};
use std::{path::Path, sync::Arc, time::Duration};

type Set = fn(&mut Options, u64);

/// Every option that is a number.
const NUMBERS: &[(&str, Set)] = &[
    ("wal_segment_bytes", |o, n| o.wal_segment_bytes = n),
    ("seal_bytes", |o, n| o.seal_bytes = n as usize),
    ("seal_rows", |o, n| o.seal_rows = n as usize),
    ("seal_batches", |o, n| o.seal_batches = n as usize),
    ("seal_age", |o, n| o.seal_age = Duration::from_secs(n)),
    ("memtable_limit_bytes", |o, n| {
        o.memtable_limit_bytes = n as usize
    }),
    ("backlog_bytes", |o, n| o.backlog_bytes = n as usize),
    ("inline_commit_bytes", |o, n| {
        o.inline_commit_bytes = n as usize
    }),
    ("checkpoint_records", |o, n| o.checkpoint_records = n),
    ("checkpoint_bytes", |o, n| o.checkpoint_bytes = n),
    ("grace", |o, n| o.grace = Duration::from_secs(n)),
    ("retention", |o, n| o.retention = Duration::from_secs(n)),
    ("sstable_bytes", |o, n| o.sstable_bytes = n as usize),
    ("row_group_rows", |o, n| o.row_group_rows = n as usize),
    ("page_rows", |o, n| o.page_rows = n as usize),
    ("batch_rows", |o, n| o.batch_rows = n as usize),
    ("batch_bytes", |o, n| o.batch_bytes = n as usize),
    ("concurrency", |o, n| o.concurrency = n as usize),
    ("coalesce_gap", |o, n| o.coalesce_gap = n),
    ("read_bytes", |o, n| o.read_bytes = n),
    ("commit_bytes", |o, n| o.commit_bytes = n as usize),
    ("conflict_bytes", |o, n| o.conflict_bytes = n as usize),
    ("retries", |o, n| o.retries = n as u32),
    ("memory_bytes", |o, n| o.memory_bytes = n as usize),
];

#[test]
fn an_option_at_its_extremes_works_or_is_refused_by_name() {
    alone(async {
        for (name, set) in NUMBERS {
            for number in [0, 1, 1 << 31, u64::MAX] {
                for wal in [true, false] {
                    // Printed so that one that stands still is known.
                    println!("{name} of {number} (WAL: {wal})");
                    let mut options = small(64 * MIB);
                    set(&mut options, number);
                    let place = tempfile::tempdir().unwrap();
                    let work = work(place.path(), wal, options);
                    let work = tokio::time::timeout(Duration::from_secs(60), work).await;
                    match work.expect("it stands still") {
                        Ok(()) => {}
                        Err(e) if e.kind() == ErrorKind::Invalid && e.message().contains(name) => {}
                        Err(e) => panic!("{name} of {number} (WAL: {wal}): {e}"),
                    }
                }
            }
        }
    });
}

#[test]
fn all_options_at_their_largest_at_once_work() {
    alone(async {
        for wal in [true, false] {
            let mut options = small(64 * MIB);
            for (_, set) in NUMBERS.iter().filter(|(name, _)| *name != "memory_bytes") {
                set(&mut options, u64::MAX);
            }
            let place = tempfile::tempdir().unwrap();
            let counting = Count::begin();
            work(place.path(), wal, options).await.unwrap();
            counting.holds("all options at their largest", 64 * MIB);
        }
    });
}

/// Commits, deletes, flushes, reads, and opens again.
async fn work(place: &Path, wal: bool, options: Options) -> Result<()> {
    let wal = wal.then(|| place.join("wal"));
    let open = || {
        let env = lakeshore::platform::native::env(place.join("data"), wal.as_deref()).unwrap();
        Db::open(env, options.clone())
    };
    let db = open().await?;
    let columns = vec![field("n", DataType::Int32)];
    let table = db.create_table("t", schema(columns)).await?;
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..300));
    let mut kept = 0;
    for call in 0..3 {
        let rows = batch(call * 200, &[("n", numbers.clone())]);
        match table.ingest(&[rows]).await {
            Ok(_) => kept = 300 + call * 200,
            Err(e) if e.message().contains("commit_bytes") => return Err(e),
            Err(e) => return Err(e),
        }
        if call == 1 {
            db.flush().await?;
        }
    }
    table.delete(&[keys(10, 5)]).await?;
    kept -= 5;
    db.flush().await?;
    db.checkpoint().await?;
    check(&db, kept).await?;
    db.close().await?;
    let db = open().await?;
    check(&db, kept).await?;
    db.close().await
}

async fn check(db: &Db, kept: i64) -> Result<()> {
    let table = db.table("t")?;
    assert_eq!(table.scan().stream()?.count().await?, kept as u64);
    let mut seen = 0;
    for batch in table.scan().stream()?.collect().await? {
        let ids = batch.column(0).as_any().downcast_ref::<Int64Array>();
        seen += ids.unwrap().len() as i64;
    }
    assert_eq!(seen, kept);
    let row = table.get(&keys(20, 1), None).await?;
    assert!(row.is_some());
    assert!(table.get(&keys(12, 1), None).await?.is_none());
    Ok(())
}
