//! The change feed through the public door: every commit once, in log order, resumable after each; local
//! commits at once and again when they are in the log.

use crate::support;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, cast::AsArray, types::Int32Type};
use arrow_schema::{DataType, Field};
use lakeshore::{
    Alteration, Change, ChangesOptions, Cursor, Db, Env, ErrorKind, Options,
    data::schema::TableSchema,
    env::Storage,
    merge::Kind,
    platform::{memory::Memory, native::TokioRuntime},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{
    crash::{CrashStorage, When},
    engine,
    random::{Random, seconds, seed},
};

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

async fn put(db: &Db, table: &str, from: i64, to: i64, mark: i32) {
    let rows = engine::batch(&engine::rows(from, to, mark));
    db.table(table).unwrap().ingest(&[rows]).await.unwrap();
}

fn to_head(since: Option<Cursor>) -> ChangesOptions {
    ChangesOptions {
        since,
        end_at_head: true,
        ..ChangesOptions::default()
    }
}

async fn all(db: &Db, options: ChangesOptions) -> Vec<Change> {
    let mut feed = db.changes(options).unwrap();
    let mut changes = Vec::new();
    while let Some(change) = feed.next().await.unwrap() {
        assert!(!change.tables.is_empty());
        changes.push(change);
    }
    changes
}

/// What a change says, as plain rows: `None` is a deletion.
type Said = BTreeMap<(String, i64), Option<i32>>;

fn said(change: &Change) -> Said {
    let mut said = Said::new();
    for part in &change.tables {
        match part.kind {
            Kind::Upsert => {
                for (id, row) in engine::unpack(&part.batch) {
                    said.insert((part.table.clone(), id), Some(row.n));
                }
            }
            Kind::Delete => {
                assert_eq!(part.batch.num_columns(), 1);
                for id in engine::ids(&part.batch) {
                    said.insert((part.table.clone(), id), None);
                }
            }
        }
    }
    said
}

#[tokio::test]
async fn every_commit_comes_once_in_order_and_the_feed_resumes_after_each() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let time = seconds(3);
    let mut rounds = 0;
    while rounds == 0 || time.left() {
        let data = Memory::new();
        let options = Options {
            inline_commit_bytes: *random.pick(&[1200, 1 << 18]),
            ..engine::tiny()
        };
        let writers = [
            open(&data, None, options.clone()).await,
            open(&data, None, options.clone()).await,
        ];
        let mut expected: Vec<(i64, Said)> = Vec::new();
        for step in 0..40 {
            let db = random.pick(&writers);
            let name = *random.pick(&["a", "b"]);
            let table = db.table(name).unwrap();
            let from = random.below(10) as i64;
            let to = from + 1 + random.below(50) as i64;
            let said = |row: fn(i32) -> Option<i32>| {
                let key = |id| ((name.to_owned(), id), row(step));
                (from..to).map(key).collect::<Said>()
            };
            let done = match random.below(10) {
                0 => {
                    db.flush().await.unwrap();
                    continue;
                }
                1 => {
                    let keys: Vec<i64> = (from..to).collect();
                    (
                        table.delete(&[engine::keys(&keys)]).await.unwrap(),
                        said(|_| None),
                    )
                }
                _ => {
                    let rows = engine::batch(&engine::rows(from, to, step));
                    (table.ingest(&[rows]).await.unwrap(), said(Some))
                }
            };
            expected.push((done.0.ts, done.1));
        }
        let reader = match random.chance(0.5) {
            true => &writers[0],
            false => &open(&data, None, options).await,
        };
        let changes = all(reader, to_head(Some(Cursor::START))).await;
        let mut records: Vec<(i64, Said)> = Vec::new();
        for change in &changes {
            assert!(change.uploaded);
            match records.last_mut() {
                Some((ts, rows)) if *ts == change.ts => rows.extend(said(change)),
                _ => records.push((change.ts, said(change))),
            }
        }
        assert_eq!(records, expected);
        // Resume after any: what follows, from the beginning of the record a part was of.
        let at = random.below(changes.len());
        let cursor: Cursor = changes[at].cursor.to_string().parse().unwrap();
        let first = changes[at..]
            .iter()
            .position(|c| !c.more)
            .map(|last| at + last + 1);
        let begin = match changes[at].more {
            false => first.unwrap(),
            true => changes.iter().position(|c| c.ts == changes[at].ts).unwrap(),
        };
        let rest = all(reader, to_head(Some(cursor))).await;
        let stamps =
            |changes: &[Change]| changes.iter().map(|c| (c.ts, said(c))).collect::<Vec<_>>();
        assert_eq!(stamps(&rest), stamps(&changes[begin..]));
        let only = ChangesOptions {
            tables: Some(vec!["b".to_owned()]),
            ..to_head(Some(Cursor::START))
        };
        let only = all(reader, only).await;
        assert!(only.iter().all(|c| c.tables.iter().all(|t| t.table == "b")));
        let of_b = expected
            .iter()
            .filter(|(_, said)| said.keys().all(|(t, _)| t == "b"));
        let stamps: std::collections::BTreeSet<i64> = only.iter().map(|c| c.ts).collect();
        assert_eq!(stamps.len(), of_b.count());
        rounds += 1;
    }
    println!("{rounds} rounds");
}

#[tokio::test]
async fn a_feed_waits_for_commits_of_its_handle_and_looks_for_those_of_others() {
    let data = Memory::new();
    let ours = open(&data, None, Options::default()).await;
    let theirs = open(&data, None, Options::default()).await;
    put(&ours, "a", 0, 1, 0).await;
    let mut feed = ours.changes(ChangesOptions::default()).unwrap();
    let requests = ours.stats().data;
    let waiting = tokio::spawn(async move {
        let change = feed.next().await.unwrap().unwrap();
        (feed, change)
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished(), "what was there before is no news");
    put(&ours, "b", 5, 6, 1).await;
    let (mut feed, change) = waiting.await.unwrap();
    assert_eq!(said(&change), Said::from([(("b".into(), 5), Some(1))]));
    let after = ours.stats().data;
    assert_eq!(
        (after.get, after.list),
        (requests.get, requests.list),
        "from memory"
    );
    put(&theirs, "a", 9, 10, 2).await;
    ours.refresh().await.unwrap();
    let change = feed.next().await.unwrap().unwrap();
    assert_eq!(said(&change), Said::from([(("a".into(), 9), Some(2))]));
    let polling = ChangesOptions {
        poll: Some(Duration::from_millis(5)),
        ..ChangesOptions::default()
    };
    let mut polling = ours.changes(polling).unwrap();
    let polled = tokio::spawn(async move { polling.next().await.unwrap().unwrap() });
    put(&theirs, "a", 10, 11, 3).await;
    assert_eq!(
        said(&polled.await.unwrap()),
        Said::from([(("a".into(), 10), Some(3))])
    );
    feed.next().await.unwrap();
    let ended = tokio::spawn(async move { feed.next().await.unwrap_err().kind() });
    tokio::task::yield_now().await;
    ours.close().await.unwrap();
    assert_eq!(ended.await.unwrap(), ErrorKind::Closed);
}

/// PROTOCOL T5, W2.
#[tokio::test]
async fn local_commits_come_at_once_and_again_with_their_record() {
    let (data, wal) = (Memory::new(), Memory::new());
    let ours = open(&data, Some(&wal), Options::default()).await;
    let theirs = open(&data, None, Options::default()).await;
    put(&ours, "a", 0, 1, 0).await;
    let mut feed = ours.changes(ChangesOptions::default()).unwrap();
    put(&ours, "a", 1, 3, 1).await;
    let db = ours.table("a").unwrap();
    db.delete(&[engine::keys(&[0, 2])]).await.unwrap();
    let first = feed.next().await.unwrap().unwrap();
    assert!(!first.uploaded);
    assert_eq!(said(&first).len(), 2);
    let second = feed.next().await.unwrap().unwrap();
    let gone = Said::from([(("a".into(), 0), None), (("a".into(), 2), None)]);
    assert_eq!((said(&second), second.cursor), (gone, first.cursor));
    put(&theirs, "a", 2, 3, 9).await;
    ours.flush().await.unwrap();
    let foreign = feed.next().await.unwrap().unwrap();
    assert!(foreign.uploaded, "the device is told what it goes over");
    assert_eq!(said(&foreign), Said::from([(("a".into(), 2), Some(9))]));
    let uploaded = feed.next().await.unwrap().unwrap();
    let mut expected = Said::from([(("a".into(), 0), None), (("a".into(), 1), Some(1))]);
    expected.insert(("a".into(), 2), None);
    assert_eq!((said(&uploaded), uploaded.uploaded), (expected, true));
    assert!(uploaded.ts > foreign.ts);
    // Who resumes gets what is pending by then, whole.
    put(&ours, "b", 1, 3, 4).await;
    put(&ours, "b", 2, 3, 5).await;
    ours.close().await.unwrap();
    let again = open(&data, Some(&wal), Options::default()).await;
    let pending = all(&again, to_head(Some(uploaded.cursor))).await;
    assert_eq!(pending.len(), 1);
    let rows = Said::from([(("b".into(), 1), Some(4)), (("b".into(), 2), Some(5))]);
    assert_eq!(said(&pending[0]), rows);
    // More than is kept for a feed: all of it at once.
    let mut slow = again.changes(ChangesOptions::default()).unwrap();
    for mark in 0..30 {
        put(&again, "a", 0, 2000, mark).await;
    }
    let caught_up = slow.next().await.unwrap().unwrap();
    let rows = said(&caught_up);
    assert_eq!(rows.get(&("a".into(), 1999)), Some(&Some(29)));
    assert_eq!(rows.len(), 2000 + 2, "what else is pending comes along");
}

#[tokio::test]
async fn what_is_not_kept_and_what_is_no_cursor_is_told() {
    let data = Memory::new();
    let db = open(&data, None, Options::default()).await;
    let options = Options {
        inline_commit_bytes: 16,
        ..Options::default()
    };
    let large = open(&data, None, options).await;
    // More than the last record has copies of.
    for mark in 0..25 {
        put(&large, "a", 0, 600, mark).await;
    }
    let changes = all(&large, to_head(Some(Cursor::START))).await;
    large.checkpoint().await.unwrap();
    let records = data.list("log/", None).await.unwrap();
    for record in &records[..records.len() - 1] {
        data.delete(&record.key).await.unwrap();
    }
    let fresh = open(&data, None, Options::default()).await;
    let mut feed = fresh.changes(to_head(Some(Cursor::START))).unwrap();
    let error = feed.next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
    let last = all(&fresh, to_head(Some(changes[changes.len() - 2].cursor))).await;
    assert_eq!(last.len(), 1);
    for text in ["", "1", "x-00", "1-zz", &format!("1-{}", "é".repeat(32))] {
        assert_eq!(
            text.parse::<Cursor>().unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    let beyond: Cursor = format!("99-{}", "0".repeat(64)).parse().unwrap();
    let error = fresh
        .changes(to_head(Some(beyond)))
        .unwrap()
        .next()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let other: Cursor = format!("5-{}", "0".repeat(64)).parse().unwrap();
    let error = fresh
        .changes(to_head(Some(other)))
        .unwrap()
        .next()
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Expired,
        "a cursor of another database: {error}"
    );
    let unknown = ChangesOptions {
        tables: Some(vec!["c".into()]),
        ..ChangesOptions::default()
    };
    assert_eq!(db.changes(unknown).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Found by the simulation: after one failed read of an sstable, no further call gave anything but `Internal`.
#[tokio::test]
async fn a_feed_goes_on_after_any_read_that_failed() {
    let data = CrashStorage::new(1).at("data");
    let open = async || {
        let env = Env {
            data: data.clone(),
            wal: None,
            runtime: TokioRuntime::current().unwrap(),
        };
        let options = Options {
            inline_commit_bytes: 16,
            batch_rows: 20,
            ..Options::default()
        };
        let db = Db::open(env, options).await.unwrap();
        engine::table(&db, "a").await;
        db
    };
    let db = open().await;
    for mark in 0..3 {
        put(&db, "a", 0, 50, mark).await;
    }
    let stamps = |changes: &[Change]| changes.iter().map(|c| (c.ts, said(c))).collect::<Vec<_>>();
    let expected = stamps(&all(&db, to_head(Some(Cursor::START))).await);
    assert_eq!(expected.len(), 9);
    let reader = open().await;
    let before = data.operations();
    all(&reader, to_head(Some(Cursor::START))).await;
    let operations = data.operations() - before;
    let mut failures = 0;
    for n in 0..operations {
        let reader = open().await;
        data.fail_at(data.operations() + n, When::Before);
        let mut feed = reader.changes(to_head(Some(Cursor::START))).unwrap();
        let mut changes = Vec::new();
        loop {
            match feed.next().await {
                Ok(Some(change)) => changes.push(change),
                Ok(None) => break,
                Err(error) => {
                    failures += 1;
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{n}: {error}");
                }
            }
        }
        assert_eq!(stamps(&changes), expected, "{n}");
    }
    assert_eq!(failures, operations);
}

fn small(columns: [&str; 3]) -> Vec<Arc<Field>> {
    let field = |(at, name): (usize, &&str)| match at {
        0 => Arc::new(Field::new(*name, DataType::Int64, false)),
        _ => Arc::new(Field::new(*name, DataType::Int32, true)),
    };
    columns.iter().enumerate().map(field).collect()
}

/// Found by the simulation (PROTOCOL C6): rows that a feed had read were given out under the names of columns
/// that they were not read as, or not at all, if the table was altered before they were.
#[tokio::test]
async fn rows_that_wait_in_a_feed_while_the_table_is_altered_come_as_the_table_is_then() {
    let rows = |columns: [&str; 3], from: i64, to: i64| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
        let column = |n: i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(
                (from..to).map(|i| n * 1000 + i as i32),
            ))
        };
        RecordBatch::try_from_iter(columns.into_iter().zip([ids, column(1), column(2)])).unwrap()
    };
    for local in [false, true] {
        let (data, wal) = (Memory::new(), local.then(Memory::new));
        let options = Options {
            inline_commit_bytes: 16,
            batch_rows: 20,
            ..Options::default()
        };
        let db = open(&data, wal.as_ref(), options).await;
        let columns = ["id", "x", "y"];
        let schema = TableSchema::new(small(columns), &["id"]).unwrap();
        let table = db.create_table("c", schema).await.unwrap();
        let mut feed = db.changes(ChangesOptions::default()).unwrap();
        table.ingest(&[rows(columns, 0, 60)]).await.unwrap();
        let first = match local {
            // The preview waits.
            true => 0,
            false => feed.next().await.unwrap().unwrap().tables[0]
                .batch
                .num_rows(),
        };
        let changes = [
            Alteration::DropColumn("x".into()),
            Alteration::AddColumn(Arc::new(Field::new("z", DataType::Int32, true))),
        ];
        db.alter_table("c", &changes).await.unwrap();
        let mut came = first;
        while came < 60 {
            let change = feed.next().await.unwrap().unwrap();
            let batch = &change.tables[0].batch;
            let names: Vec<_> = batch
                .schema()
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .collect();
            assert_eq!(names, ["id", "y", "z"], "local {local}");
            let ints = |name| {
                batch
                    .column_by_name(name)
                    .unwrap()
                    .as_primitive::<Int32Type>()
            };
            let y: Vec<i32> = ints("y").iter().flatten().collect();
            let expected: Vec<i32> = (came..came + y.len()).map(|i| 2000 + i as i32).collect();
            assert_eq!(y, expected, "local {local}");
            assert_eq!(ints("z").iter().flatten().count(), 0, "local {local}");
            came += y.len();
        }
    }
}

/// It went silent, while its cursor moved on.
#[tokio::test]
async fn a_feed_of_a_table_follows_it_when_it_is_renamed() {
    let data = Memory::new();
    let db = open(&data, None, Options::default()).await;
    let since = db.changes(to_head(None)).unwrap().cursor();
    let options = ChangesOptions {
        tables: Some(vec!["a".to_owned()]),
        ..to_head(Some(since))
    };
    let mut feed = db.changes(options).unwrap();
    put(&db, "a", 0, 1, 1).await;
    let rename = [Alteration::RenameTable("c".to_owned())];
    db.alter_table("a", &rename).await.unwrap();
    put(&db, "c", 1, 2, 1).await;
    put(&db, "b", 2, 3, 1).await;
    engine::table(&db, "a").await;
    put(&db, "a", 3, 4, 1).await;
    let mut rows = Vec::new();
    while let Some(change) = feed.next().await.unwrap() {
        rows.extend(said(&change).into_keys());
    }
    let expected = [("c", 0), ("c", 1), ("a", 3)].map(|(t, id)| (t.to_owned(), id));
    assert_eq!(rows, expected);
}
