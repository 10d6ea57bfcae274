//! Rows in memory count for as long as somebody holds them: a flush frees nothing that a reader still sees.

use super::measure::*;
use crate::reads::noise;
use arrow_array::{ArrayRef, BinaryArray};
use arrow_schema::DataType;
use lakeshore::{ChangesOptions, Db, Error, ErrorKind, Table, TransactionOptions};
use std::{sync::Arc, time::Duration};

const MEMORY: usize = 64 * MIB;

/// The rows of a call: 3 MiB.
fn rows(call: i64) -> arrow_array::RecordBatch {
    let values = (0..3).map(|row| noise(call * 3 + row, 0, MIB));
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(values));
    batch(call * 3, &[("v", values)])
}

async fn begin(place: &std::path::Path) -> (Db, Table) {
    let db = open(place, true, small(MEMORY)).await;
    let schema = schema(vec![field("v", DataType::Binary)]);
    let table = db.create_table("t", schema).await.unwrap();
    (db, table)
}

fn refused(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    for word in [
        "snapshots",
        "scans",
        "transactions",
        "feeds",
        "memory_bytes",
    ] {
        assert!(error.message().contains(word), "{error}");
    }
}

/// Thirty times 3 MiB, each pinned by what `pin` gives; then without the pins.
fn pinned<T>(what: &str, pin: impl AsyncFn(&Db, &Table) -> T) {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let (db, table) = begin(place.path()).await;
        let counting = Count::begin();
        let mut pins = Vec::new();
        let mut error = None;
        for call in 0..30 {
            if let Err(e) = table.ingest(&[rows(call)]).await {
                error = Some(e);
                break;
            }
            pins.push(pin(&db, &table).await);
            db.flush().await.unwrap();
        }
        counting.holds(what, MEMORY);
        refused(&error.expect("they hold 90 MiB"));
        assert!(pins.len() >= 4, "only {} fit", pins.len());
        // A flush needs none of it, and once they are gone there is room.
        db.flush().await.unwrap();
        drop(pins);
        table.ingest(&[rows(30)]).await.unwrap();
        db.flush().await.unwrap();
        assert!(
            db.stats().memory_used < MEMORY as u64 / 8,
            "{:?}",
            db.stats()
        );
        db.close().await.unwrap();
    });
}

#[test]
fn snapshots_hold_rows_that_count_until_they_go() {
    pinned("30 snapshots of 3 MiB", async |db, _| {
        db.snapshot().unwrap()
    });
}

#[test]
fn scans_that_began_hold_rows_that_count_until_they_go() {
    pinned("30 scans of 3 MiB", async |_, table| {
        table.scan().stream().unwrap()
    });
}

#[test]
fn transactions_hold_rows_that_count_until_they_go() {
    pinned("30 transactions of 3 MiB", async |db, _| {
        db.begin(TransactionOptions::default()).unwrap()
    });
}

#[test]
fn feeds_within_what_is_pending_hold_rows_that_count_until_they_go() {
    pinned("30 feeds of 3 MiB", async |db, _| {
        // Only who resumes is shown what is pending.
        let since = db.changes(ChangesOptions::default()).unwrap().cursor();
        let mut feed = (db.changes(ChangesOptions {
            since: Some(since),
            ..ChangesOptions::default()
        }))
        .unwrap();
        let part = feed.next().await.unwrap().unwrap();
        assert!(part.more && !part.uploaded, "it comes in parts");
        feed
    });
}

#[test]
fn a_scan_at_its_end_holds_nothing() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let (db, table) = begin(place.path()).await;
        let counting = Count::begin();
        let mut scans = Vec::new();
        for call in 0..30 {
            table.ingest(&[rows(call)]).await.unwrap();
            let mut scan = table.scan().stream().unwrap();
            while scan.next().await.unwrap().is_some() {}
            scans.push(scan);
            db.flush().await.unwrap();
        }
        counting.holds("30 scans at their end", MEMORY);
        assert!(
            scans
                .iter_mut()
                .all(|scan| scan.schema().fields().len() == 2)
        );
        db.close().await.unwrap();
    });
}

#[test]
fn an_ended_transaction_holds_nothing_and_a_scan_of_it_what_it_sees() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let (db, table) = begin(place.path()).await;
        let counting = Count::begin();
        let mut ended = Vec::new();
        for call in 0..30 {
            let open = db.begin(TransactionOptions::default()).unwrap();
            let within = open.table("t").unwrap();
            within.ingest(&[rows(call)]).unwrap();
            match call % 2 {
                0 => open.rollback(),
                _ => drop(open.commit().await.unwrap()),
            }
            db.flush().await.unwrap();
            ended.push(within);
        }
        counting.holds("30 ended transactions", MEMORY);
        let live = counting.now();
        assert!(live < 8 * MIB, "they keep {:.1} MiB", mib(live));
        let used = db.stats().memory_used;
        assert!(used < 6 * MIB as u64, "{used} are counted");
        // What a scan of a transaction holds counts when that has ended.
        let open = db.begin(TransactionOptions::default()).unwrap();
        let within = open.table("t").unwrap();
        within.ingest(&[rows(100)]).unwrap();
        let scan = within.scan().stream().unwrap();
        open.rollback();
        assert!(db.stats().memory_used >= used + 3 * MIB as u64);
        drop(scan);
        assert_eq!(db.stats().memory_used, used);
        drop((ended, table));
        db.close().await.unwrap();
    });
}

#[test]
fn a_commit_waits_for_a_reader_that_ends_soon() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let (db, table) = begin(place.path()).await;
        let mut pins = Vec::new();
        while pins.len() < 5 {
            table.ingest(&[rows(pins.len() as i64)]).await.unwrap();
            pins.push(db.snapshot().unwrap());
            db.flush().await.unwrap();
        }
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(pins);
        });
        table.ingest(&[rows(10)]).await.unwrap();
        db.close().await.unwrap();
    });
}
