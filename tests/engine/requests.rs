//! Request counts are exact (DESIGN section 7), so they are tests.

use crate::support;

use lakeshore::{
    Db, Env, Options, Requests, Table,
    platform::{memory::Memory, native::TokioRuntime},
};
use std::sync::Arc;
use support::engine;

fn env(data: &Arc<Memory>, wal: Option<&Arc<Memory>>) -> Env {
    Env {
        data: data.clone(),
        wal: wal.map(|w| w.clone() as _),
        runtime: TokioRuntime::current().unwrap(),
    }
}

async fn open(data: &Arc<Memory>) -> Db {
    Db::open(env(data, None), Options::default()).await.unwrap()
}

/// Requests since `before`, without bytes.
fn since(db: &Db, before: Requests) -> [(&'static str, u64); 5] {
    let now = db.stats().data;
    [
        ("get", now.get - before.get),
        ("put", now.put - before.put),
        ("put_if_absent", now.put_if_absent - before.put_if_absent),
        ("list", now.list - before.list),
        ("delete", now.delete - before.delete),
    ]
}

fn total(requests: [(&'static str, u64); 5]) -> u64 {
    requests.iter().map(|r| r.1).sum()
}

async fn ingest(table: &Table, from: i64, to: i64) {
    table
        .ingest(&[engine::batch(&engine::rows(from, to, 1))])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_small_commit_is_one_conditional_put() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    for i in 0..5 {
        let before = db.stats().data;
        ingest(&table, i, i + 1).await;
        assert_eq!(
            since(&db, before),
            [
                ("get", 0),
                ("put", 0),
                ("put_if_absent", 1),
                ("list", 0),
                ("delete", 0)
            ]
        );
    }
}

#[tokio::test]
async fn a_small_commit_that_lost_one_race_is_two_conditional_puts_and_a_get() {
    for detached_tasks in [true, false] {
        let data = Memory::new();
        let options = Options {
            detached_tasks,
            ..Options::default()
        };
        let first = open(&data).await;
        let table = engine::table(&first, "t").await;
        let second = Db::open(env(&data, None), options).await.unwrap();
        ingest(&table, 0, 1).await;
        let before = second.stats().data;
        ingest(&second.table("t").unwrap(), 1, 2).await;
        assert_eq!(
            since(&second, before),
            [
                ("get", 1),
                ("put", 0),
                ("put_if_absent", 2),
                ("list", 0),
                ("delete", 0)
            ]
        );
    }
}

#[tokio::test]
async fn a_refresh_that_finds_nothing_is_one_get() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 1).await;
    let before = db.stats().data;
    assert!(!db.refresh().await.unwrap());
    assert_eq!(since(&db, before)[0], ("get", 1));
    assert_eq!(total(since(&db, before)), 1);
    let other = open(&data).await;
    ingest(&other.table("t").unwrap(), 1, 2).await;
    let before = db.stats().data;
    assert!(db.refresh().await.unwrap());
    assert_eq!(
        total(since(&db, before)),
        2,
        "the record, and that there is no next"
    );
}

#[tokio::test]
async fn a_checkpoint_is_two_puts_and_none_if_there_is_nothing_to_cover() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 1).await;
    for expected in [2, 0] {
        let before = db.stats().data;
        db.checkpoint().await.unwrap();
        assert_eq!(since(&db, before)[1], ("put", expected));
        assert_eq!(total(since(&db, before)), expected);
    }
}

/// What one request of a Worker does, on a database that is new, and on one that is not.
#[tokio::test]
async fn opening_writing_flushing_and_reading_back_is_at_most_ten_requests_and_four_more_for_a_new_database()
 {
    let data = Memory::new();
    for expected in [8 + 4, 7, 7] {
        let options = Options {
            detached_tasks: false,
            ..Options::default()
        };
        let db = Db::open(env(&data, None), options).await.unwrap();
        let table = engine::table(&db, "t").await;
        ingest(&table, 0, 1000).await;
        db.flush().await.unwrap();
        assert!(engine::get(&table, 500).await.unwrap().is_some());
        let took = total(since(&db, Requests::default()));
        assert!(took <= expected, "it took {took} requests");
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
    }
}

#[tokio::test]
async fn sixty_four_commits_cost_one_checkpoint_of_two_puts() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    let before = db.stats().data;
    for i in 0..64 {
        ingest(&table, i, i + 1).await;
    }
    // The checkpoint follows the acknowledgement that made it due.
    db.close().await.unwrap();
    assert_eq!(
        since(&db, before),
        [
            ("get", 0),
            ("put", 2),
            ("put_if_absent", 64),
            ("list", 0),
            ("delete", 0)
        ]
    );
}

#[tokio::test]
async fn an_open_with_nothing_after_the_checkpoint_is_two_requests() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 100).await;
    db.flush().await.unwrap();
    db.checkpoint().await.unwrap();
    let db = open(&data).await;
    assert_eq!(total(since(&db, Requests::default())), 2);
}

/// The bound on the tail (PROTOCOL N3) and the copies in records make it so: DESIGN's two, and at most
/// four more.
#[tokio::test]
async fn an_open_with_63_or_64_small_commits_outstanding_is_six_requests() {
    for (commits, checkpoint_records) in [(63, 64), (64, 1000)] {
        let data = Memory::new();
        let options = Options {
            checkpoint_records,
            ..Options::default()
        };
        let db = Db::open(env(&data, None), options).await.unwrap();
        let table = engine::table(&db, "t").await;
        db.checkpoint().await.unwrap();
        for i in 0..commits {
            ingest(&table, i, i + 1).await;
        }
        db.close().await.unwrap();
        assert_eq!(db.stats().checkpoints, 1, "none came in between");
        let db = open(&data).await;
        let requests = since(&db, Requests::default());
        assert_eq!(
            requests,
            [
                ("get", 1 + 4),
                ("put", 0),
                ("put_if_absent", 0),
                ("list", 1),
                ("delete", 0)
            ],
            "{commits} commits"
        );
        let rows = engine::content(&db.table("t").unwrap()).await.unwrap();
        assert_eq!(rows.len(), commits as usize);
    }
}

#[tokio::test]
async fn a_cold_open_with_a_point_read_is_at_most_four_requests_and_a_warm_read_one() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 50_000).await;
    db.flush().await.unwrap();
    db.checkpoint().await.unwrap();
    let db = open(&data).await;
    let table = db.table("t").unwrap();
    assert!(engine::get(&table, 31_415).await.unwrap().is_some());
    let cold = total(since(&db, Requests::default()));
    assert!(cold <= 4, "cold open and point read took {cold} requests");
    let before = db.stats().data;
    assert!(engine::get(&table, 2_718).await.unwrap().is_some());
    assert_eq!(total(since(&db, before)), 1, "a warm point read");
    let before = db.stats().data;
    assert!(engine::get(&table, 60_000).await.unwrap().is_none());
    assert_eq!(
        total(since(&db, before)),
        0,
        "a key outside every file's range"
    );
}

#[tokio::test]
async fn a_flush_of_t_tables_is_t_plus_one_puts() {
    for tables in 1..4 {
        let (data, wal) = (Memory::new(), Memory::new());
        let db = Db::open(env(&data, Some(&wal)), Options::default())
            .await
            .unwrap();
        for t in 0..tables {
            let table = engine::table(&db, &format!("t{t}")).await;
            ingest(&table, 0, 10).await;
        }
        let before = db.stats().data;
        db.flush().await.unwrap();
        let requests = since(&db, before);
        assert_eq!(
            requests,
            [
                ("get", 0),
                ("put", tables),
                ("put_if_absent", 1),
                ("list", 0),
                ("delete", 0)
            ]
        );
    }
}

#[tokio::test]
async fn a_full_scan_is_one_request_a_file_and_one_per_eight_mebibytes() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    for i in 0..4 {
        ingest(&table, i * 20_000, (i + 1) * 20_000).await;
        db.flush().await.unwrap();
    }
    let db = open(&data).await;
    let table = db.table("t").unwrap();
    let stats = db.stats();
    let (files, bytes) = (stats.tables[0].files, stats.tables[0].file_bytes);
    let before = stats.data;
    let rows: usize = table
        .scan()
        .stream()
        .unwrap()
        .collect()
        .await
        .unwrap()
        .iter()
        .map(|b| b.num_rows())
        .sum();
    assert_eq!(rows, 80_000);
    let most = files + bytes.div_ceil(8 << 20).max(files);
    let took = total(since(&db, before));
    assert!(
        took <= most,
        "{files} files of {bytes} bytes took {took} requests, at most {most}"
    );
}

#[tokio::test]
async fn counting_whole_files_reads_nothing() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 20_000).await;
    db.flush().await.unwrap();
    let before = db.stats().data;
    assert_eq!(table.scan().count().await.unwrap(), 20_000);
    assert_eq!(total(since(&db, before)), 0);
}

#[tokio::test]
async fn opening_and_reading_write_nothing() {
    let data = Memory::new();
    let db = open(&data).await;
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 100).await;
    db.flush().await.unwrap();
    let db = open(&data).await;
    engine::content(&db.table("t").unwrap()).await.unwrap();
    db.close().await.unwrap();
    let requests = db.stats().data;
    assert_eq!(requests.put + requests.put_if_absent + requests.delete, 0);
    let empty = open(&Memory::new()).await;
    empty.close().await.unwrap();
    let requests = empty.stats().data;
    assert_eq!(requests.put + requests.put_if_absent + requests.delete, 0);
}
