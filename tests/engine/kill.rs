//! Kill for real: a child ingests without pause and is SIGKILLed, 20 times over one directory; this
//! process recorded the acknowledgements as they came. Nothing acknowledged may be lost, and a batch
//! is there whole or not at all. At least five kills fall inside a flush or a rotation: the child's
//! storage says when one begins and ends.

use crate::support;

use bytes::Bytes;
use lakeshore::{
    Db, Options, Result,
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    platform::native,
};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};
use support::{
    engine,
    random::{Random, seed},
};

const TASK: &str = "LAKESHORE_TASK";
const KILLS: usize = 20;
const ROWS: i64 = 60;

fn options() -> Options {
    Options {
        wal_segment_bytes: 16 * 1024,
        ..engine::tiny()
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Says when a flush or a rotation begins and ends.
#[derive(Debug)]
struct Marking {
    inner: Arc<dyn Storage>,
}

impl Storage for Marking {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.inner.get(key)
    }
    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: std::ops::Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.inner.get_range(key, range)
    }
    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        self.inner.get_suffix(key, length)
    }
    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        self.inner.put(key, body)
    }
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            let outcome = self.inner.put_if_absent(key, body).await;
            say("end flush");
            outcome
        })
    }
    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        say("begin flush");
        self.inner.create(key)
    }
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        self.inner.list(prefix, start_after)
    }
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.delete(key)
    }
    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(async move {
            say("begin rotation");
            let file = self.inner.append(key).await;
            say("end rotation");
            file
        })
    }
    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        self.inner.lock(name)
    }
}

/// The child: ingests batches `from`, `from + 1`, … for ever, saying each acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    say("");
    let (directory, from) = task.split_once('|').unwrap();
    let root = Path::new(directory);
    let mut env = native::env(root.join("data"), Some(&root.join("wal"))).unwrap();
    env.data = Arc::new(Marking { inner: env.data });
    env.wal = env
        .wal
        .map(|inner| Arc::new(Marking { inner }) as Arc<dyn Storage>);
    let db = Db::open(env, options()).await.unwrap();
    let table = engine::table(&db, "t").await;
    for i in from.parse::<i64>().unwrap().. {
        let batch = engine::batch(&engine::rows(i * ROWS, (i + 1) * ROWS, i as i32));
        table.ingest(&[batch]).await.unwrap();
        say(&format!("ack {i}"));
    }
}

/// Runs the child until it is killed: after some acknowledgements, or at a marker. Gives the
/// acknowledged batches and whether the kill fell inside a flush or rotation.
fn run_and_kill(directory: &Path, from: i64, random: &mut Random) -> (Vec<i64>, bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture"])
        .env(TASK, format!("{}|{from}", directory.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let at_marker = random.chance(0.6);
    let mut patience = 2 + random.below(60);
    let (mut acked, mut open) = (Vec::new(), [false; 2]);
    let mut killed = false;
    while let Some(Ok(line)) = lines.next() {
        if let Some(i) = line.strip_prefix("ack ") {
            acked.push(i.parse().unwrap());
        }
        match line.as_str() {
            "begin flush" => open[0] = true,
            "end flush" => open[0] = false,
            "begin rotation" => open[1] = true,
            "end rotation" => open[1] = false,
            _ => {}
        }
        patience = patience.saturating_sub(1);
        let now = patience == 0 && (!at_marker || open.contains(&true)) && !acked.is_empty();
        if now && !killed {
            // Goes on reading: what the child said before it died is acknowledged, too.
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself");
    (acked, open.contains(&true))
}

#[test]
fn a_process_killed_twenty_times_loses_nothing_acknowledged() {
    let seed = seed();
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut acked, mut inside, mut next) = (BTreeSet::new(), 0, 0);
    for kill in 0..KILLS {
        let (new, within) = run_and_kill(directory.path(), next, &mut random);
        acked.extend(new);
        inside += usize::from(within);
        let present = runtime.block_on(check(directory.path(), &acked, seed, kill));
        next = present.iter().next_back().map_or(0, |last| last + 1);
    }
    println!(
        "{KILLS} kills, {inside} inside a flush or rotation, {} batches, SEED={seed}",
        acked.len()
    );
    assert!(
        inside >= 5,
        "only {inside} kills fell inside a flush or rotation, SEED={seed}"
    );
}

/// Reopens and checks: every acknowledged batch, and each batch whole or absent.
async fn check(directory: &Path, acked: &BTreeSet<i64>, seed: u64, kill: usize) -> BTreeSet<i64> {
    let env = native::env(directory.join("data"), Some(&directory.join("wal"))).unwrap();
    let db = Db::open(env, options()).await.unwrap();
    let content = match db.table("t") {
        Ok(table) => engine::content(&table).await.unwrap(),
        Err(_) => Default::default(),
    };
    let mut present = BTreeSet::new();
    for id in content.keys() {
        present.insert(id.div_euclid(ROWS));
    }
    for i in acked {
        assert!(
            present.contains(i),
            "kill {kill}: acknowledged batch {i} is lost, SEED={seed}"
        );
    }
    for i in &present {
        let found = content.range(i * ROWS..(i + 1) * ROWS);
        let wanted = engine::rows(i * ROWS, (i + 1) * ROWS, *i as i32);
        let whole = found.map(|(k, v)| (*k, v.clone())).eq(wanted);
        assert!(whole, "kill {kill}: batch {i} is not whole, SEED={seed}");
    }
    db.close().await.unwrap();
    present
}
