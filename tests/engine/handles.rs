//! Two handles on one store, writing in turn and refreshing: each sees the other's commits, and what one
//! flushes leaves the other's memory, not twice, not too early.

use crate::support;

use lakeshore::{
    Db, Env, ErrorKind, Options, Table,
    env::Storage,
    log::{
        checkpoint::{
            CURRENT_KEY, decode_checkpoint, decode_current, encode_checkpoint, encode_current,
        },
        record::{Record, encode_object, record_key},
        version::Version,
    },
    platform::{memory::Memory, native::TokioRuntime},
};
use std::sync::Arc;
use support::{
    engine::{self, Model},
    random::{Random, seconds, seed},
};

async fn open(data: &Arc<Memory>, wal: Option<&Arc<Memory>>, options: Options) -> (Db, Table) {
    let env = Env {
        data: data.clone(),
        wal: wal.map(|w| w.clone() as _),
        runtime: TokioRuntime::current().unwrap(),
    };
    let db = Db::open(env, options).await.unwrap();
    let table = engine::table(&db, "t").await;
    (db, table)
}

async fn ingest(table: &Table, from: i64, to: i64, mark: i32) {
    let rows = engine::rows(from, to, mark);
    table.ingest(&[engine::batch(&rows)]).await.unwrap();
}

fn memtable_rows(db: &Db) -> u64 {
    db.stats().tables.iter().map(|t| t.memtable_rows).sum()
}

#[tokio::test]
async fn two_writers_in_turn_see_each_others_rows_after_a_refresh_or_a_commit() {
    let data = Memory::new();
    let a = open(&data, None, Options::default()).await;
    let b = open(&data, None, Options::default()).await;
    let mut expected = Model::new();
    for i in 0..20 {
        let (writer, reader) = if i % 2 == 0 { (&a, &b) } else { (&b, &a) };
        ingest(&writer.1, i, i + 3, i as i32).await;
        expected.extend(engine::rows(i, i + 3, i as i32));
        assert_eq!(engine::content(&writer.1).await.unwrap(), expected);
        if i % 3 == 0 {
            assert!(reader.0.refresh().await.unwrap());
            assert!(!reader.0.refresh().await.unwrap());
            assert_eq!(engine::content(&reader.1).await.unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn what_another_handle_flushed_leaves_our_memory_and_is_not_flushed_again() {
    let data = Memory::new();
    let a = open(&data, None, Options::default()).await;
    let b = open(&data, None, Options::default()).await;
    ingest(&a.1, 0, 10, 1).await;
    ingest(&b.1, 5, 15, 2).await;
    a.0.refresh().await.unwrap();
    a.0.flush().await.unwrap();
    assert_eq!(memtable_rows(&a.0), 0);
    ingest(&a.1, 12, 20, 3).await;
    assert_eq!(memtable_rows(&b.0), 20);
    b.0.refresh().await.unwrap();
    assert_eq!(memtable_rows(&b.0), 8, "only what came after the flush");
    let mut expected: Model = engine::rows(0, 10, 1).into_iter().collect();
    expected.extend(engine::rows(5, 15, 2));
    expected.extend(engine::rows(12, 20, 3));
    assert_eq!(engine::content(&b.1).await.unwrap(), expected);
    b.0.flush().await.unwrap();
    let stats = b.0.stats();
    assert_eq!(
        (stats.tables[0].files, stats.tables[0].file_rows),
        (2, 20 + 8)
    );
    a.0.refresh().await.unwrap();
    let puts = a.0.stats().data.put;
    a.0.flush().await.unwrap();
    assert_eq!(
        a.0.stats().data.put,
        puts,
        "there was nothing left to flush"
    );
    assert_eq!(engine::content(&a.1).await.unwrap(), expected);
}

/// A sealed memtable whose rows another handle moves while ours is being written.
#[tokio::test]
async fn two_flushes_of_the_same_rows_put_them_into_the_version_once() {
    let data = Memory::new();
    let a = open(&data, None, Options::default()).await;
    ingest(&a.1, 0, 100, 1).await;
    let b = open(&data, None, Options::default()).await;
    let (one, two) = futures_util::join!(a.0.flush(), b.0.flush());
    one.unwrap();
    two.unwrap();
    a.0.refresh().await.unwrap();
    b.0.refresh().await.unwrap();
    for handle in [&a, &b] {
        let stats = handle.0.stats();
        assert_eq!((stats.tables[0].files, stats.tables[0].file_rows), (1, 100));
        assert_eq!(memtable_rows(&handle.0), 0);
        assert_eq!(engine::content(&handle.1).await.unwrap().len(), 100);
    }
}

#[tokio::test]
async fn pending_rows_stay_above_foreign_commits_and_flushes_until_they_are_uploaded() {
    let (data, wal) = (Memory::new(), Memory::new());
    let remote = open(&data, None, Options::default()).await;
    let local = open(&data, Some(&wal), Options::default()).await;
    ingest(&remote.1, 0, 10, 1).await;
    ingest(&local.1, 5, 15, 2).await;
    ingest(&remote.1, 0, 8, 3).await;
    local.0.refresh().await.unwrap();
    let mut expected: Model = engine::rows(0, 10, 1).into_iter().collect();
    expected.extend(engine::rows(0, 8, 3));
    expected.extend(engine::rows(5, 15, 2));
    assert_eq!(engine::content(&local.1).await.unwrap(), expected);
    remote.0.flush().await.unwrap();
    local.0.refresh().await.unwrap();
    assert_eq!(memtable_rows(&local.0), 10, "its own pending rows");
    assert_eq!(engine::content(&local.1).await.unwrap(), expected);
    local.0.flush().await.unwrap();
    assert_eq!(memtable_rows(&local.0), 0);
    remote.0.refresh().await.unwrap();
    assert_eq!(engine::content(&remote.1).await.unwrap(), expected);
    assert_eq!(engine::content(&local.1).await.unwrap(), expected);
}

/// Random writers with small bounds: what all read in the end is what the log's order says.
#[tokio::test]
async fn many_handles_end_with_the_same_rows() {
    let (seed, time) = (seed(), seconds(3));
    let mut runs = 0;
    while runs < 3 || time.left() {
        converge(seed + runs).await;
        runs += 1;
    }
    println!("{runs} runs from seed {seed} on");
}

async fn converge(seed: u64) {
    let mut random = Random::new(seed);
    let data = Memory::new();
    let wals = [Memory::new(), Memory::new()];
    let detached = random.chance(0.5);
    let remote = Options {
        detached_tasks: detached,
        ..engine::tiny()
    };
    let mut handles = vec![
        open(&data, None, remote.clone()).await,
        open(&data, None, remote.clone()).await,
        open(&data, Some(&wals[0]), engine::tiny()).await,
    ];
    // Each writer has keys of its own: what they hold does not depend on the order.
    let mut expected = Model::new();
    for i in 0..60i64 {
        let at = random.below(handles.len());
        let (db, table) = &handles[at];
        match random.below(10) {
            0 => db
                .flush()
                .await
                .unwrap_or_else(|e| panic!("seed {seed}: {e}")),
            1 => db.checkpoint().await.unwrap(),
            2 | 3 => drop(db.refresh().await.unwrap()),
            4 => handles.push(open(&data, None, remote.clone()).await),
            _ => {
                let from = at as i64 * 1000 + random.below(40) as i64;
                let to = from + 1 + random.below(30) as i64;
                ingest(table, from, to, i as i32).await;
                expected.extend(engine::rows(from, to, i as i32));
            }
        }
    }
    for (db, _) in &handles {
        db.flush()
            .await
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    let (fresh, table) = open(&data, None, Options::default()).await;
    assert_eq!(
        engine::content(&table).await.unwrap(),
        expected,
        "seed {seed}"
    );
    for (db, table) in &handles {
        db.refresh().await.unwrap();
        let content = engine::content(table).await.unwrap();
        assert_eq!(content, expected, "seed {seed}");
        db.flush().await.unwrap();
        assert_eq!(memtable_rows(db), 0, "seed {seed}");
    }
    drop(fresh);
}

/// DESIGN promises 6 and 9: numbers that no writer comes to are refused before anything is added to them.
#[tokio::test]
async fn a_log_at_the_end_of_all_numbers_is_corrupt() {
    let changes: [fn(&mut Version); 4] = [
        |version| version.head.seq = u64::MAX,
        |version| version.head.ts = i64::MAX,
        |version| version.head.ts = i64::MIN,
        |version| version.next_table = u32::MAX,
    ];
    for (at, change) in changes.iter().enumerate() {
        let data = Memory::new();
        open(&data, None, Options::default())
            .await
            .0
            .checkpoint()
            .await
            .unwrap();
        let current = data.get(CURRENT_KEY).await.unwrap().unwrap();
        let bytes = decode_current(&current).unwrap().1.unwrap();
        let mut version = decode_checkpoint(CURRENT_KEY, &bytes).unwrap();
        change(&mut version);
        let current = encode_current(version.head.seq, &encode_checkpoint(&version));
        data.put(CURRENT_KEY, current.into()).await.unwrap();
        assert_eq!(used(&data).await, ErrorKind::Corrupt, "change {at}");
    }
    let data = Memory::new();
    let (db, _) = open(&data, None, Options::default()).await;
    db.checkpoint().await.unwrap();
    let current = data.get(CURRENT_KEY).await.unwrap().unwrap();
    let bytes = decode_current(&current).unwrap().1.unwrap();
    let version = decode_checkpoint(CURRENT_KEY, &bytes).unwrap();
    let record = Record {
        database: version.database.unwrap(),
        seq: version.head.seq + 1,
        prev: version.head.digest,
        ts: i64::MAX,
        writer: [9; 16],
        nonce: 9,
        edits: Vec::new(),
    };
    let object = encode_object(&record.encode(), &[]);
    data.put_if_absent(&record_key(record.seq), object)
        .await
        .unwrap();
    assert_eq!(used(&data).await, ErrorKind::Corrupt);
}

/// How a new handle, or what it does, fails.
async fn used(data: &Arc<Memory>) -> ErrorKind {
    let env = Env {
        data: data.clone(),
        wal: None,
        runtime: TokioRuntime::current().unwrap(),
    };
    let outcome = async {
        let db = Db::open(env, Options::default()).await?;
        db.refresh().await?;
        db.create_table("u", engine::schema()).await?;
        let table = db.table("t")?;
        let rows = engine::rows(0, 1, 1);
        table.ingest(&[engine::batch(&rows)]).await
    };
    outcome.await.unwrap_err().kind()
}
