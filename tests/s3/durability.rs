//! The five durability stories with data in S3: with a WAL in a directory (`local`), and without one
//! (`remote`), where the log's inline records stand for it. A restart is a new process: the test runs
//! itself again with a task in the environment.

use crate::support::{
    engine::{self, Model},
    s3::{fresh_prefix, server},
};
use lakeshore::{
    Db, Env, Options,
    platform::native::{Directory, TokioRuntime},
};
use std::{ops::Range, path::Path, process::Command};

const TASK: &str = "LAKESHORE_S3_TASK";

async fn write_batches(db: &Db, range: Range<i64>, flush_each: bool) {
    let table = engine::table(db, "t").await;
    for i in range {
        let rows = engine::rows(i * 40, i * 40 + 50, i as i32);
        table.ingest(&[engine::batch(&rows)]).await.unwrap();
        let gone = engine::keys(&[i * 40 + 3, i * 40 - 7]);
        table.delete(&[gone]).await.unwrap();
        if flush_each {
            db.flush().await.unwrap();
        }
    }
}

/// What `write_batches` of the same ranges leaves.
fn model(batches: Range<i64>) -> Model {
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
    let (Ok(task), Some(server)) = (std::env::var(TASK), server("child")) else {
        return;
    };
    let mut words = task.split('|');
    let mut word = || words.next().unwrap();
    let (prefix, wal, what) = (word(), word(), word());
    let (segment, from, to): (u64, i64, i64) = (
        word().parse().unwrap(),
        word().parse().unwrap(),
        word().parse().unwrap(),
    );
    let env = Env {
        data: server.store(prefix),
        wal: (!wal.is_empty()).then(|| Directory::open(Path::new(wal).join("wal")) as _),
        runtime: TokioRuntime::current().unwrap(),
    };
    let options = Options {
        wal_segment_bytes: segment,
        ..Options::default()
    };
    let db = Db::open(env, options).await.unwrap();
    match what {
        "write" => write_batches(&db, from..to, false).await,
        "write-flush-each" => write_batches(&db, from..to, true).await,
        "write-flush" => {
            write_batches(&db, from..to, false).await;
            db.flush().await.unwrap();
        }
        "check" => {
            let table = db.table("t").unwrap();
            println!("\nts {}", db.stats().last_timestamp);
            assert_eq!(engine::content(&table).await.unwrap(), model(from..to));
            for id in [from * 40, to * 40 - 1, from * 40 + 3, -1] {
                let expected = model(from..to).get(&id).cloned();
                assert_eq!(engine::get(&table, id).await.unwrap(), expected, "key {id}");
            }
        }
        "probe" => {
            let table = db.table("t").unwrap();
            let committed = table.delete(&[engine::keys(&[-1])]).await.unwrap();
            println!("\nts {}", committed.ts);
        }
        other => panic!("no task {other}"),
    }
    println!("\ndone");
    std::process::exit(0);
}

/// One database of one story.
struct Story {
    prefix: String,
    /// `None` for `remote`.
    wal: Option<tempfile::TempDir>,
    segment: u64,
    flushing: &'static str,
}

impl Story {
    /// Runs a child and gives what it said after "ts", or 0.
    fn run(&self, what: &str, range: Range<i64>) -> i64 {
        let wal = self.wal.as_ref();
        let task = [
            self.prefix.clone(),
            wal.map_or(String::new(), |wal| wal.path().display().to_string()),
            what.to_owned(),
            self.segment.to_string(),
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
            text.lines().any(|line| line == "done"),
            "{what} failed: {text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let ts = text.lines().find_map(|line| line.strip_prefix("ts "));
        ts.map_or(0, |ts| ts.parse().unwrap())
    }
}

/// Each variant: local with small and large segments, and remote; flushed at the end or each time.
fn stories(test: &str) -> Vec<Story> {
    if server(test).is_none() {
        return Vec::new();
    }
    let mut stories = Vec::new();
    for (local, segment) in [
        (true, 512),
        (true, Options::default().wal_segment_bytes),
        (false, Options::default().wal_segment_bytes),
    ] {
        for flushing in ["write-flush", "write-flush-each"] {
            stories.push(Story {
                prefix: fresh_prefix(),
                wal: local.then(|| tempfile::tempdir().unwrap()),
                segment,
                flushing,
            });
        }
    }
    stories
}

#[test]
fn flushed_data_survives_a_restart() {
    for story in stories("flushed_data_survives_a_restart") {
        story.run(story.flushing, 0..6);
        story.run("check", 0..6);
    }
}

#[test]
fn data_in_the_wal_or_the_log_alone_survives_a_restart() {
    for story in stories("data_in_the_wal_or_the_log_alone_survives_a_restart") {
        story.run("write", 0..6);
        story.run("check", 0..6);
    }
}

#[test]
fn a_mix_survives_a_restart() {
    for story in stories("a_mix_survives_a_restart") {
        story.run(story.flushing, 0..4);
        story.run("write", 4..7);
        story.run("check", 0..7);
        story.run(story.flushing, 7..9);
        story.run("check", 0..9);
    }
}

#[test]
fn three_restarts_in_a_row_are_idempotent_and_timestamps_only_grow() {
    for story in stories("three_restarts_in_a_row_are_idempotent_and_timestamps_only_grow") {
        story.run(story.flushing, 0..3);
        story.run("write", 3..5);
        let mut last = 0;
        for restart in 0..3 {
            let ts = story.run("check", 0..5);
            assert!(ts >= last, "restart {restart}: timestamp {ts} after {last}");
            last = ts;
        }
        for _ in 0..3 {
            let ts = story.run("probe", 0..5);
            assert!(ts > last, "a commit has timestamp {ts}, not above {last}");
            last = ts;
            story.run("check", 0..5);
        }
    }
}

#[test]
fn nothing_but_segments_and_the_bucket_are_enough() {
    for story in stories("nothing_but_segments_and_the_bucket_are_enough") {
        story.run(story.flushing, 0..3);
        story.run("write", 3..5);
        if let Some(wal) = &story.wal {
            for entry in std::fs::read_dir(wal.path().join("wal")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|e| e != "wal") {
                    std::fs::remove_file(path).unwrap();
                }
            }
        }
        story.run("check", 0..5);
    }
}
