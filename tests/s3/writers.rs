//! Many processes, one log: eight of them commit to one prefix at once, each by a handle of its own, through
//! a proxy that is late, refuses with 503, breaks connections and loses replies of what was applied. Every
//! fifth commit is a transaction: a transfer between accounts that also counts itself. A fresh handle then
//! reads rows and log: what was acknowledged is there once, nothing else is, and the sums are right after
//! every single commit. Half of the writers do not retry, so that their callers must: what is `Unknown` is
//! read back first.

use crate::support::{
    engine::{self, Row},
    s3::{Proxy, Server, fresh_prefix, server},
};
use lakeshore::{
    Change, ChangesOptions, Cursor, Db, Env, ErrorKind, Options, Requests, Result,
    TransactionOptions,
    merge::Kind,
    platform::native::{self, TokioRuntime},
};
use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const TASK: &str = "LAKESHORE_S3_WRITER";
const WRITERS: i64 = 8;
const ACCOUNTS: i64 = 8;
const BALANCE: i32 = 1000;

/// The key of a writer's commit number `serial`.
fn key(writer: i64, serial: i64) -> i64 {
    writer << 32 | serial
}

fn is_transfer(serial: i64) -> bool {
    serial % 5 == 4
}

fn one(id: i64, name: String, n: i32) -> [arrow_array::RecordBatch; 1] {
    [engine::batch(&[(id, Row { name, n })])]
}

async fn open(server: &Server, prefix: &str, patient: bool) -> Result<Db> {
    let (mut store, mut options) = (server.options(prefix), Options::default());
    if !patient {
        (store.retries, options.retries) = (0, 0);
    }
    let env = Env {
        data: native::s3(store).unwrap(),
        wal: None,
        runtime: TokioRuntime::current().unwrap(),
    };
    Db::open(env, options).await
}

/// What a caller met on the way.
#[derive(Debug, Default)]
struct Met {
    /// Runs of transactions that conflicted.
    conflicts: u64,
    /// Calls that failed with `Unavailable`, and were made again.
    unavailable: u64,
    /// Commits that were `Unknown`, and those of them that were there.
    unknown: u64,
    applied: u64,
}

struct Writer {
    db: Db,
    id: i64,
    met: Met,
}

impl Writer {
    /// Makes commit `serial`, as a user would. Its timestamp, if that was told.
    async fn commit(&mut self, serial: i64) -> Option<i64> {
        let name = format!("{} of {}", serial, self.id);
        for attempt in 1.. {
            let outcome = match is_transfer(serial) {
                true => self.transfer(serial, &name, attempt).await,
                false => self.ingest(serial, &name, attempt).await.map(Some),
            };
            match outcome {
                Ok(ts) => return ts,
                Err(e) if e.kind() == ErrorKind::Unavailable => self.met.unavailable += 1,
                Err(e) if e.kind() == ErrorKind::Unknown => {
                    self.met.unknown += 1;
                    if self.read_back(serial).await {
                        self.met.applied += 1;
                        return None;
                    }
                }
                Err(e) => panic!("commit {serial} of writer {}: {e:?}", self.id),
            }
        }
        None
    }

    async fn ingest(&self, serial: i64, name: &str, attempt: i32) -> Result<i64> {
        let row = one(key(self.id, serial), name.to_owned(), attempt);
        Ok(self.db.table("rows")?.ingest(&row).await?.ts)
    }

    /// From one account to another, and one more in the counter.
    async fn transfer(&mut self, serial: i64, name: &str, attempt: i32) -> Result<Option<i64>> {
        let mine = key(self.id, serial);
        let from = (self.id + serial) % ACCOUNTS;
        let to = (from + 1 + serial % (ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + (serial % 10) as i32;
        let mut runs = 0;
        let options = TransactionOptions {
            attempts: 1000,
            ..TransactionOptions::default()
        };
        let run = |tx: lakeshore::Transaction| {
            runs += 1;
            async move {
                let add = async |table: &str, id: i64, n: i32| {
                    let table = tx.table(table)?;
                    let found = table.get(&engine::keys(&[id]), None).await?.unwrap();
                    let (_, row) = engine::unpack(&found).remove(0);
                    table.ingest(&one(id, row.name, row.n + n))
                };
                add("accounts", from, -amount).await?;
                add("accounts", to, amount).await?;
                add("counters", 0, 1).await?;
                tx.table("rows")?
                    .ingest(&one(mine, name.to_owned(), attempt))
            }
        };
        let outcome = self.db.transaction(options, run).await;
        self.met.conflicts += runs - 1;
        outcome.map(|_| None)
    }

    /// Whether it is there, after all.
    async fn read_back(&mut self, serial: i64) -> bool {
        loop {
            let found = async {
                self.db.refresh().await?;
                engine::get(&self.db.table("rows")?, key(self.id, serial)).await
            };
            match found.await {
                Ok(found) => return found.is_some(),
                Err(e) if e.kind() == ErrorKind::Unavailable => self.met.unavailable += 1,
                Err(e) => panic!("reading back: {e:?}"),
            }
        }
    }
}

fn sum(r: &Requests) -> u64 {
    r.get + r.put + r.put_if_absent + r.list + r.delete
}

/// The child: commits until it has done so many, or the time is over.
#[tokio::test]
async fn child() {
    let (Ok(task), Some(mut server)) = (std::env::var(TASK), server("child")) else {
        return;
    };
    let words: Vec<&str> = task.split('|').collect();
    let number = |at: usize| words[at].parse::<i64>().unwrap();
    server.endpoint = words[0].to_owned();
    let (prefix, id, commits) = (words[1], number(2), number(3));
    let end = Instant::now() + Duration::from_secs(number(4) as u64);
    let mut opened = open(&server, prefix, id % 2 == 0).await;
    let mut opens = 1;
    while matches!(&opened, Err(e) if e.kind() == ErrorKind::Unavailable) {
        opened = open(&server, prefix, id % 2 == 0).await;
        opens += 1;
    }
    let db = opened.unwrap();
    let met = Met::default();
    let mut writer = Writer { db, id, met };
    let before = sum(&writer.db.stats().data);
    for serial in 0..commits {
        if Instant::now() > end {
            break;
        }
        let start = Instant::now();
        let ts = writer.commit(serial).await.unwrap_or(0);
        println!("\nack {serial} {ts} {}", start.elapsed().as_millis());
    }
    writer.db.close().await.unwrap();
    let requests = writer.db.stats().data;
    let Met {
        conflicts,
        unavailable,
        unknown,
        applied,
    } = writer.met;
    let (used, retries) = (sum(&requests) - before, requests.retries);
    println!("\ndid {used} {retries} {conflicts} {unavailable} {unknown} {applied} {opens}");
    std::process::exit(0);
}

/// What the children said.
#[derive(Default)]
struct Said {
    /// By key, the timestamp of what was acknowledged; 0 if it was not told.
    acks: BTreeMap<i64, i64>,
    /// How long the slowest commit took, in milliseconds.
    slowest: i64,
    /// The numbers after "did", summed up.
    did: [u64; 7],
}

fn start(endpoint: &str, prefix: &str, writer: i64, commits: i64, seconds: u64) -> Child {
    let task = format!("{endpoint}|{prefix}|{writer}|{commits}|{seconds}");
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writers::child", "--nocapture"])
        .env(TASK, task)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Said {
    /// Waits for a child and takes what it said.
    fn take(&mut self, writer: i64, child: Child) {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut ended = false;
        for line in text.lines() {
            let numbers = |rest: &str| -> Vec<i64> {
                rest.split(' ').map(|word| word.parse().unwrap()).collect()
            };
            if let Some(rest) = line.strip_prefix("ack ") {
                let ack = numbers(rest);
                let before = self.acks.insert(key(writer, ack[0]), ack[1]);
                assert_eq!(before, None, "{line} of writer {writer}");
                self.slowest = self.slowest.max(ack[2]);
            } else if let Some(rest) = line.strip_prefix("did ") {
                ended = true;
                for (sum, n) in self.did.iter_mut().zip(numbers(rest)) {
                    *sum += n as u64;
                }
            }
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(ended, "writer {writer} failed: {text}\n{errors}");
    }
}

/// The database as the change feed tells it, checked after each commit.
#[derive(Default)]
struct Replay {
    /// By key, the timestamp of its commit.
    rows: BTreeMap<i64, i64>,
    accounts: BTreeMap<i64, i32>,
    counter: i32,
    last: i64,
    /// The last serial of each writer.
    serials: BTreeMap<i64, i64>,
}

impl Replay {
    fn take(&mut self, change: &Change) {
        assert!(change.uploaded && !change.more);
        assert!(
            change.ts > self.last,
            "{} is not above {}",
            change.ts,
            self.last
        );
        self.last = change.ts;
        let mut own = None;
        let mut moved = 0;
        let mut counted = 0;
        for part in &change.tables {
            assert_eq!(part.kind, Kind::Upsert);
            for (id, row) in engine::unpack(&part.batch) {
                match part.table.as_str() {
                    "rows" => assert_eq!(own.replace(id), None, "two commits in one record"),
                    "accounts" => {
                        self.accounts.insert(id, row.n);
                        moved += 1;
                    }
                    _ => {
                        counted += 1;
                        assert_eq!(row.n, self.counter + i32::from(own_commit(change)));
                        self.counter = row.n;
                    }
                }
            }
        }
        let total: i32 = self.accounts.values().sum();
        assert_eq!(total, ACCOUNTS as i32 * BALANCE, "after {}", change.ts);
        let Some(id) = own else {
            assert!(
                self.rows.is_empty(),
                "only what was there before has no row"
            );
            return;
        };
        let twice = self.rows.insert(id, change.ts);
        assert_eq!(twice, None, "commit {id:x} is in the log twice");
        let (writer, serial) = (id >> 32, id & 0xffff_ffff);
        let before = self.serials.insert(writer, serial);
        assert_eq!(serial, before.map_or(0, |last| last + 1), "writer {writer}");
        let expected = if is_transfer(serial) { (2, 1) } else { (0, 0) };
        assert_eq!((moved, counted), expected, "commit {id:x} is torn");
    }
}

/// Whether it is one of a writer, not of the preparation.
fn own_commit(change: &Change) -> bool {
    change.tables.iter().any(|part| part.table == "rows")
}

async fn prepare(db: &Db) {
    for name in ["rows", "accounts", "counters"] {
        engine::table(db, name).await;
    }
    let row = |id| {
        let name = format!("account {id}");
        (id, Row { name, n: BALANCE })
    };
    let all: Vec<(i64, Row)> = (0..ACCOUNTS).map(row).collect();
    let tx = db.begin(TransactionOptions::default()).unwrap();
    let table = |name: &str| tx.table(name).unwrap();
    table("accounts").ingest(&[engine::batch(&all)]).unwrap();
    table("counters")
        .ingest(&one(0, "transfers".into(), 0))
        .unwrap();
    tx.commit().await.unwrap();
}

fn make_faults(proxy: &Proxy) {
    proxy.latency(10);
    for rule in [
        r#"{"kind":"putIfAbsent","path":"/log/","nth":3,"every":11,"times":0,"action":{"lost":true}}"#,
        r#"{"kind":"putIfAbsent","path":"/log/","nth":5,"every":17,"times":0,"action":{"lost":503}}"#,
        r#"{"kind":"putIfAbsent","path":"/log/","nth":7,"every":23,"times":0,"action":{"reset":true}}"#,
        r#"{"nth":11,"every":19,"times":0,"action":{"status":503}}"#,
        r#"{"kind":"get","nth":4,"every":13,"times":0,"action":{"reset":true}}"#,
        r#"{"nth":2,"every":29,"times":0,"action":{"delayMs":100}}"#,
    ] {
        proxy.fault(rule);
    }
}

#[tokio::test]
async fn eight_processes_commit_at_once_and_nothing_is_lost_or_there_twice() {
    let test = "eight_processes_commit_at_once_and_nothing_is_lost_or_there_twice";
    let (Some(server), Some(proxy)) = (server(test), Proxy::start(test)) else {
        return;
    };
    let (total, seconds) = match std::env::var_os("LAKESHORE_TEST_LONG") {
        Some(_) => (1000, 600),
        None => (200, 30),
    };
    let prefix = fresh_prefix();
    let db = open(&server, &prefix, true).await.unwrap();
    prepare(&db).await;
    db.close().await.unwrap();

    make_faults(&proxy);
    let begun = Instant::now();
    let children = (0..WRITERS)
        .map(|writer| start(&proxy.endpoint, &prefix, writer, total / WRITERS, seconds));
    let mut said = Said::default();
    for (writer, child) in children.collect::<Vec<_>>().into_iter().enumerate() {
        said.take(writer as i64, child);
    }
    let took = begun.elapsed().as_secs_f64();
    let faults = proxy.log().matches("\"fault\":").count();
    let seen = proxy.counts();

    let commits = said.acks.len();
    let [used, retries, conflicts, unavailable, unknown, applied, _] = said.did;
    let each = |n: u64| n as f64 / commits as f64;
    println!(
        "8 processes: {commits} of {total} commits in {took:.1} s, {:.1} commits/s, {:.2} requests a commit; \
         {faults} faults in {} requests, {retries} retries by the stores, {unavailable} calls made again, \
         {conflicts} conflicts, {unknown} unknown of which {applied} were there; the slowest took {:.1} s",
        commits as f64 / took,
        each(used),
        seen.total,
        said.slowest as f64 / 1000.0,
    );
    check(&server, &prefix, &said).await;
    assert!(faults as u64 > seen.total / 20, "{faults} faults");
    assert!(used <= seen.total, "we count {used}: {seen:?}");
}

/// Reads rows and log by a fresh handle, without the proxy.
async fn check(server: &Server, prefix: &str, said: &Said) {
    let db = open(server, prefix, true).await.unwrap();
    let table = |name: &str| db.table(name).unwrap();
    let rows = engine::content(&table("rows")).await.unwrap();
    assert!(
        rows.keys().eq(said.acks.keys()),
        "rows are not what was acknowledged"
    );
    for (id, row) in &rows {
        let (writer, serial) = (id >> 32, id & 0xffff_ffff);
        assert_eq!(row.name, format!("{serial} of {writer}"));
    }
    let options = ChangesOptions {
        since: Some(Cursor::START),
        end_at_head: true,
        ..ChangesOptions::default()
    };
    let mut feed = db.changes(options).unwrap();
    let mut replay = Replay::default();
    while let Some(change) = feed.next().await.unwrap() {
        replay.take(&change);
    }
    assert!(
        replay.rows.keys().eq(said.acks.keys()),
        "the log is not what was acknowledged"
    );
    for (id, ts) in said.acks.iter().filter(|(_, ts)| **ts != 0) {
        assert_eq!(replay.rows[id], *ts, "the timestamp of {id:x}");
    }
    let transfers = said
        .acks
        .keys()
        .filter(|id| is_transfer(**id & 0xffff_ffff))
        .count();
    assert!(
        transfers > 0,
        "no transfer was made: {} commits",
        said.acks.len()
    );
    assert_eq!(replay.counter, transfers as i32);
    let counters = engine::content(&table("counters")).await.unwrap();
    assert_eq!(counters[&0].n, transfers as i32);
    let accounts = engine::content(&table("accounts")).await.unwrap();
    let balances = accounts.iter().map(|(id, row)| (*id, row.n));
    assert!(
        balances.eq(replay.accounts),
        "accounts are not what the log says"
    );
}
