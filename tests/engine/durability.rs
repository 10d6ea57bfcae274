//! The five durability stories, natively on disk. A restart is a new process: the test runs itself
//! again with a task in the environment. Each story also with 512-byte segments and, where it
//! flushes, with a flush after each batch.

use crate::support;

use lakeshore::{Db, Options, platform::native};
use std::{collections::BTreeMap, path::Path, process::Command};
use support::engine::{self, Model};

const TASK: &str = "LAKESHORE_TASK";

/// What a process of a story does with the database.
#[derive(Clone, Copy)]
struct Variant {
    segment_bytes: u64,
    flush_each: bool,
}

/// Batch `i` of a story: new rows, updates of older ones, and some deletions.
async fn write_batches(db: &Db, range: std::ops::Range<i64>, flush: bool) {
    let table = engine::table(db, "t").await;
    for i in range {
        table
            .ingest(&[engine::batch(&engine::rows(i * 40, i * 40 + 50, i as i32))])
            .await
            .unwrap();
        table
            .delete(&[engine::keys(&[i * 40 + 3, i * 40 - 7])])
            .await
            .unwrap();
        if flush {
            db.flush().await.unwrap();
        }
    }
}

/// What `write_batches` of the same ranges leaves.
fn model(batches: std::ops::Range<i64>) -> Model {
    let mut model = Model::new();
    for i in batches {
        model.extend(engine::rows(i * 40, i * 40 + 50, i as i32));
        model.remove(&(i * 40 + 3));
        model.remove(&(i * 40 - 7));
    }
    model
}

/// The child: does the task and ends without closing anything.
#[tokio::test]
async fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let mut words = task.split('|');
    let mut word = || words.next().unwrap();
    let (directory, what) = (word().to_owned(), word().to_owned());
    let (segment_bytes, from, to) = (
        word().parse().unwrap(),
        word().parse().unwrap(),
        word().parse().unwrap(),
    );
    let options = Options {
        wal_segment_bytes: segment_bytes,
        ..Options::default()
    };
    let root = Path::new(&directory);
    let env = native::env(root.join("data"), Some(&root.join("wal"))).unwrap();
    let db = Db::open(env, options).await.unwrap();
    match what.as_str() {
        "write" => write_batches(&db, from..to, false).await,
        "write-flush-each" => write_batches(&db, from..to, true).await,
        "write-flush" => {
            write_batches(&db, from..to, false).await;
            db.flush().await.unwrap();
        }
        "check" => {
            let table = db.table("t").unwrap();
            let before = db.stats().last_timestamp;
            assert_eq!(engine::content(&table).await.unwrap(), model(from..to));
            for id in [from * 40, to * 40 - 1, from * 40 + 3, -1] {
                let expected = model(from..to).get(&id).cloned();
                assert_eq!(engine::get(&table, id).await.unwrap(), expected, "key {id}");
            }
            println!("\nts {before}");
        }
        "probe" => {
            // A commit that changes nothing visible: its timestamp must be above all before.
            let table = db.table("t").unwrap();
            let committed = table.delete(&[engine::keys(&[-1])]).await.unwrap();
            println!("\nts {}", committed.ts);
        }
        other => panic!("no task {other}"),
    }
    println!("\ndone {}", db.stats().wal_bytes);
    std::process::exit(0);
}

/// Runs a child and gives what it said after "ts", or 0.
fn run(directory: &Path, what: &str, segment_bytes: u64, range: std::ops::Range<i64>) -> i64 {
    let task = [
        directory.display().to_string(),
        what.to_owned(),
        segment_bytes.to_string(),
        range.start.to_string(),
        range.end.to_string(),
    ]
    .join("|");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::child", "--nocapture"])
        .env(TASK, task)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines().any(|l| l.starts_with("done")),
        "{what} failed: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let ts = text.lines().find_map(|l| l.strip_prefix("ts "));
    ts.map_or(0, |ts| ts.parse().unwrap())
}

fn variants(flushes: bool) -> Vec<Variant> {
    let mut variants = Vec::new();
    for segment_bytes in [512, Options::default().wal_segment_bytes] {
        variants.push(Variant {
            segment_bytes,
            flush_each: false,
        });
        if flushes {
            variants.push(Variant {
                segment_bytes,
                flush_each: true,
            });
        }
    }
    variants
}

impl Variant {
    fn flushing(&self) -> &'static str {
        if self.flush_each {
            "write-flush-each"
        } else {
            "write-flush"
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn flushed_data_survives_a_restart() {
    for variant in variants(true) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        run(path, variant.flushing(), variant.segment_bytes, 0..12);
        run(path, "check", variant.segment_bytes, 0..12);
    }
}

#[test]
fn data_in_the_wal_alone_survives_a_restart() {
    for variant in variants(false) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        run(path, "write", variant.segment_bytes, 0..12);
        assert!(!path.join("data/data").exists(), "nothing was flushed");
        run(path, "check", variant.segment_bytes, 0..12);
    }
}

#[test]
fn a_mix_of_flushed_data_and_wal_survives_a_restart() {
    for variant in variants(true) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        run(path, variant.flushing(), variant.segment_bytes, 0..7);
        run(path, "write", variant.segment_bytes, 7..12);
        run(path, "check", variant.segment_bytes, 0..12);
        run(path, variant.flushing(), variant.segment_bytes, 12..15);
        run(path, "check", variant.segment_bytes, 0..15);
    }
}

#[test]
fn three_restarts_in_a_row_are_idempotent_and_timestamps_only_grow() {
    for variant in variants(true) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        run(path, variant.flushing(), variant.segment_bytes, 0..5);
        run(path, "write", variant.segment_bytes, 5..9);
        let mut last = 0;
        let mut seen = BTreeMap::new();
        for restart in 0..3 {
            let ts = run(path, "check", variant.segment_bytes, 0..9);
            assert!(ts >= last, "restart {restart}: timestamp {ts} after {last}");
            let names = names(&path.join("wal"));
            let own: Vec<_> = names
                .into_iter()
                .filter(|name| !name.ends_with(".lock"))
                .collect();
            seen.insert(restart, own);
            last = ts;
        }
        assert_eq!(seen[&0], seen[&2], "opening wrote to the WAL");
        for _ in 0..3 {
            let ts = run(path, "probe", variant.segment_bytes, 0..9);
            assert!(
                ts > last,
                "a new commit has timestamp {ts}, not above {last}"
            );
            last = ts;
            run(path, "check", variant.segment_bytes, 0..9);
        }
    }
}

#[test]
fn a_wal_directory_with_nothing_but_segments_is_enough() {
    for variant in variants(true) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        run(path, variant.flushing(), variant.segment_bytes, 0..5);
        run(path, "write", variant.segment_bytes, 5..9);
        let wal = path.join("wal");
        for name in names(&wal) {
            if !name.ends_with(".wal") {
                std::fs::remove_file(wal.join(&name)).unwrap();
            }
        }
        assert!(!names(&wal).is_empty());
        run(path, "check", variant.segment_bytes, 0..9);
        let allowed = |n: &String| n.ends_with(".wal") || n.ends_with(".lock");
        assert!(names(&wal).iter().all(allowed), "{:?}", names(&wal));
    }
}
