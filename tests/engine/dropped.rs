//! Calls that are given up half-way, or met an outage, and are then made again: what comes is whole.

use crate::support;

use lakeshore::{
    Changes, ChangesOptions, Cursor, Db, ErrorKind, Options, Result, Scan, ScanBuilder,
    TransactionOptions, env::Storage,
};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Poll,
};
use support::{
    engine::{self, Model},
    stage::{Stage, poll, run},
};

fn options() -> Options {
    Options {
        inline_commit_bytes: 64,
        retries: 0,
        ..engine::tiny()
    }
}

/// Three sstables: two that overlap, and one by itself.
fn database() -> (Arc<Stage>, Model) {
    let stage = Stage::new(1);
    let mut all = Model::new();
    let db = run(&stage, Db::open(stage.env(), options())).unwrap();
    let table = run(&stage, engine::table(&db, "t"));
    for (from, to) in [(0, 100), (50, 150), (1000, 1100)] {
        let rows = engine::rows(from, to, from as i32);
        all.extend(rows.iter().cloned());
        run(&stage, table.ingest(&[engine::batch(&rows)])).unwrap();
    }
    stage.stall.store(2, SeqCst);
    (stage, all)
}

/// What a scan gives if its first call for a batch goes as `first` says.
fn scanned(
    stage: &Arc<Stage>,
    describe: fn(ScanBuilder) -> ScanBuilder,
    first: &dyn Fn(&mut Scan) -> Option<arrow_array::RecordBatch>,
) -> Model {
    let db = run(stage, Db::open(stage.env(), options())).unwrap();
    let table = db.table("t").unwrap();
    let mut scan = describe(table.scan()).stream().unwrap();
    let mut found = Model::new();
    found.extend(first(&mut scan).iter().flat_map(engine::unpack));
    let rest = run(stage, scan.collect()).unwrap();
    found.extend(rest.iter().flat_map(engine::unpack));
    found
}

const SCANS: [fn(ScanBuilder) -> ScanBuilder; 2] = [|scan| scan, |scan| scan.reverse(true)];

#[test]
fn a_scan_whose_call_for_a_batch_was_dropped_gives_all_rows() {
    let (stage, all) = database();
    for describe in SCANS {
        for polls in 1..60 {
            let dropped = |scan: &mut Scan| {
                let mut next = Box::pin(scan.next());
                let done = (0..polls).map(|_| poll(&mut next)).find(Poll::is_ready);
                match done {
                    Some(Poll::Ready(batch)) => batch.unwrap(),
                    _ => None,
                }
            };
            let found = scanned(&stage, describe, &dropped);
            assert!(
                found == all,
                "dropped after {polls} polls: {} rows",
                found.len()
            );
        }
    }
}

#[test]
fn a_scan_that_met_an_outage_gives_all_rows_once_it_is_over() {
    let (stage, all) = database();
    for describe in SCANS {
        let cut = |scan: &mut Scan| {
            stage.cut.store(true, SeqCst);
            let refused: Result<_> = run(&stage, scan.next());
            refused.unwrap_err();
            stage.cut.store(false, SeqCst);
            None
        };
        let found = scanned(&stage, describe, &cut);
        assert!(found == all, "{} rows", found.len());
    }
}

#[test]
fn a_feed_whose_call_for_a_change_was_dropped_gives_all_changes() {
    let (stage, all) = database();
    let fed = |changes: &mut Changes, polls: usize| {
        let mut found = Model::new();
        let mut take = |change: lakeshore::Change| {
            for part in &change.tables {
                found.extend(engine::unpack(&part.batch));
            }
        };
        loop {
            let mut next = Box::pin(changes.next());
            match (0..polls).map(|_| poll(&mut next)).find(Poll::is_ready) {
                Some(Poll::Ready(Ok(Some(change)))) => take(change),
                Some(Poll::Ready(Ok(None))) => return found,
                Some(Poll::Ready(Err(error))) => panic!("{error}"),
                _ => {}
            }
        }
    };
    for polls in 20..60 {
        let db = run(&stage, Db::open(stage.env(), options())).unwrap();
        let since = ChangesOptions {
            since: Some(Cursor::START),
            end_at_head: true,
            ..ChangesOptions::default()
        };
        let mut changes = db.changes(since).unwrap();
        let found = fed(&mut changes, polls);
        assert!(
            found == all,
            "dropped after {polls} polls: {} rows",
            found.len()
        );
    }
}

#[test]
fn a_flush_that_was_dropped_does_not_count_as_running() {
    let stage = Stage::new(1);
    let db = run(&stage, Db::open(stage.env(), Options::default())).unwrap();
    let table = run(&stage, engine::table(&db, "t"));
    let rows = engine::rows(0, 10, 1);
    run(&stage, table.ingest(&[engine::batch(&rows)])).unwrap();
    stage.gate.close("data/");
    let mut flush = Box::pin(db.flush());
    assert!(poll(&mut flush).is_pending());
    assert_eq!(db.stats().flushing, 1);
    drop(flush);
    assert_eq!(db.stats().flushing, 0);
    stage.gate.open();
    run(&stage, db.flush()).unwrap();
    assert_eq!(db.stats().flushing, 0);
}

/// DESIGN promise 6: who asks again does not get what lies behind the damage, as if nothing were missing.
#[test]
fn what_met_damage_goes_on_saying_so() {
    let (stage, _) = database();
    for object in run(&stage, stage.memory.list("data/", None)).unwrap() {
        let bytes = run(&stage, stage.memory.get(&object.key)).unwrap().unwrap();
        let mut bytes = bytes.to_vec();
        bytes[40] ^= 1;
        run(&stage, stage.memory.put(&object.key, bytes.into())).unwrap();
    }
    let db = run(&stage, Db::open(stage.env(), options())).unwrap();
    let check = |next: &mut dyn FnMut() -> Result<bool>| {
        let outcomes: Vec<_> = (0..20).map(|_| next().map_err(|e| e.kind())).collect();
        let first = outcomes.iter().position(Result::is_err).unwrap();
        let corrupt = |outcome: &_| *outcome == Err(ErrorKind::Corrupt);
        assert!(outcomes[first..].iter().all(corrupt), "{outcomes:?}");
    };
    for describe in SCANS {
        let mut scan = describe(db.table("t").unwrap().scan()).stream().unwrap();
        check(&mut || Ok(run(&stage, scan.next())?.is_some()));
    }
    let since = ChangesOptions {
        since: Some(Cursor::START),
        end_at_head: true,
        ..ChangesOptions::default()
    };
    let mut changes = db.changes(since).unwrap();
    check(&mut || Ok(run(&stage, changes.next())?.is_some()));
}

#[test]
fn a_commit_that_is_dropped_or_vanishes_while_it_waits_for_memory_is_waited_for_by_nobody() {
    for vanishes in [false, true] {
        let stage = Stage::new(1);
        let options = Options {
            memory_bytes: 16 << 20,
            detached_tasks: false,
            ..Options::default()
        };
        let db = run(&stage, Db::open(stage.env(), options)).unwrap();
        let table = run(&stage, engine::table(&db, "t"));
        let large = |id| {
            let row = engine::Row {
                name: "x".repeat(1_900_000),
                n: 1,
            };
            engine::batch(&[(id, row)])
        };
        let small = |id: i64| engine::batch(&engine::rows(id, id + 1, 1));
        // Something that a flush would free, and a transaction that has much of what writes may take.
        run(&stage, table.ingest(&[small(0)])).unwrap();
        let holds = db.begin(TransactionOptions::default()).unwrap();
        holds.table("t").unwrap().ingest(&[large(1)]).unwrap();
        stage.gate.close("data/");
        let mut late = Box::pin(table.ingest(&[large(2)]));
        let mut companion = Box::pin(table.ingest(&[small(3)]));
        assert!(poll(&mut late).is_pending());
        assert_eq!(db.stats().flushing, 1, "it does not wait for memory");
        if vanishes {
            std::mem::forget(late);
        } else {
            drop(late);
            let Poll::Ready(told) = poll(&mut companion) else {
                panic!("its companion waits");
            };
            let refused = told.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
            assert!(
                refused.message().contains("nothing was written"),
                "{refused}"
            );
        }
        let before = db.stats().memory_used;
        let next = table.ingest(&[small(4)]);
        let prepared = db.stats().memory_used - before;
        assert!(
            prepared > 0,
            "it waits for memory, of which there is enough"
        );
        stage.gate.open();
        run(&stage, next).unwrap();
        drop(holds);
        let content = run(&stage, engine::content(&table)).unwrap();
        assert_eq!(content.into_keys().collect::<Vec<_>>(), [0, 4]);
    }
}
