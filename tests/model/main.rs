//! One device against a plain map: random operations, and after each what a reader sees has to be what the
//! map says. A failing list of operations is shrunk, one by one, to those that it takes, and printed.
#![cfg(not(target_arch = "wasm32"))]

mod support;

use lakeshore::{Db, Env, Options, Table};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use support::{
    crash::CrashStorage,
    engine::{self, Model, Row},
    random::{self, Random},
    stage::{Stage, run},
};

const TABLES: [&str; 2] = ["a", "b"];
const KEYS: i64 = 24;

/// One operation. Any list of them makes sense, so that any may be left out.
#[derive(Clone, Debug, PartialEq)]
enum Op {
    /// Rows `from..from + n` of a table; all carry the place in the list.
    Ingest(usize, i64, i64),
    /// The same key twice in one commit: the last counts.
    Twice(usize, i64),
    Delete(usize, Vec<i64>),
    /// Several commits under way at once, in this order.
    Group(usize, Vec<i64>),
    Flush,
    Checkpoint,
    /// Starts a scan, which goes on after the next operation.
    Hold(usize),
    Close,
    Kill,
    PowerCut,
}

fn op(random: &mut Random) -> Op {
    let table = random.below(TABLES.len());
    let key = |random: &mut Random| random.below(KEYS as usize) as i64;
    match random.below(20) {
        0..8 => Op::Ingest(table, key(random), 1 + random.below(6) as i64),
        8 => Op::Twice(table, key(random)),
        9..12 => Op::Delete(
            table,
            (0..1 + random.below(4)).map(|_| key(random)).collect(),
        ),
        12..14 => Op::Group(
            table,
            (0..2 + random.below(3)).map(|_| key(random)).collect(),
        ),
        14..16 => Op::Flush,
        16 => Op::Checkpoint,
        17 => Op::Hold(table),
        18 => Op::Close,
        _ => [Op::Kill, Op::PowerCut][random.below(2)].clone(),
    }
}

/// A case: how the device is set up, and what it does.
#[derive(Clone, Debug)]
struct Case {
    local: bool,
    inline_commit_bytes: usize,
    detached: bool,
    ops: Vec<Op>,
}

fn case(seed: u64) -> Case {
    let random = &mut Random::new(seed);
    let local = random.chance(0.5);
    Case {
        local,
        inline_commit_bytes: *random.pick(&[64, 1200, 256 * 1024]),
        detached: local || random.chance(0.5),
        ops: (0..4 + random.below(40)).map(|_| op(random)).collect(),
    }
}

struct World {
    stage: Arc<Stage>,
    wal: Option<Arc<CrashStorage>>,
    options: Options,
    db: Db,
    tables: Vec<Table>,
    model: Vec<Model>,
}

impl World {
    async fn open(case: &Case, stage: Arc<Stage>) -> Self {
        let wal = case.local.then(|| CrashStorage::new(7).at("wal"));
        let options = Options {
            inline_commit_bytes: case.inline_commit_bytes,
            detached_tasks: case.detached,
            ..engine::tiny()
        };
        let (db, tables) = open(&stage, wal.as_ref(), &options).await;
        let model = vec![Model::new(); TABLES.len()];
        Self {
            stage,
            wal,
            options,
            db,
            tables,
            model,
        }
    }

    /// Another process on what this one leaves.
    async fn reopen(&mut self, wal: impl FnOnce(Arc<CrashStorage>) -> Arc<CrashStorage>) {
        self.wal = self.wal.take().map(wal);
        (self.db, self.tables) = open(&self.stage, self.wal.as_ref(), &self.options).await;
    }

    fn put(&mut self, table: usize, rows: &[(i64, Row)]) {
        self.model[table].extend(rows.iter().cloned());
    }
}

async fn open(
    stage: &Arc<Stage>,
    wal: Option<&Arc<CrashStorage>>,
    options: &Options,
) -> (Db, Vec<Table>) {
    let env = Env {
        wal: wal.map(|wal| wal.clone() as _),
        ..stage.env()
    };
    let db = Db::open(env, options.clone()).await.unwrap();
    let mut tables = Vec::new();
    for name in TABLES {
        tables.push(engine::table(&db, name).await);
    }
    (db, tables)
}

fn row(key: i64, mark: i32) -> (i64, Row) {
    engine::rows(key, key + 1, mark).remove(0)
}

/// Does all operations; panics where the engine and the map differ.
async fn perform(case: &Case, stage: Arc<Stage>) {
    let mut world = World::open(case, stage).await;
    let mut held: Option<(lakeshore::Scan, Model)> = None;
    for (place, op) in case.ops.iter().enumerate() {
        let mark = place as i32;
        let mut hold = None;
        match op {
            Op::Ingest(table, from, n) => {
                let rows = engine::rows(*from, from + n, mark);
                world.tables[*table]
                    .ingest(&[engine::batch(&rows)])
                    .await
                    .unwrap();
                world.put(*table, &rows);
            }
            Op::Twice(table, key) => {
                let rows = [row(*key, -1), row(*key, mark)];
                world.tables[*table]
                    .ingest(&[engine::batch(&rows)])
                    .await
                    .unwrap();
                world.put(*table, &rows);
            }
            Op::Delete(table, keys) => {
                world.tables[*table]
                    .delete(&[engine::keys(keys)])
                    .await
                    .unwrap();
                keys.iter()
                    .for_each(|key| _ = world.model[*table].remove(key));
            }
            Op::Group(table, keys) => {
                let rows: Vec<_> = (keys.iter().zip(0..))
                    .map(|(k, n)| row(*k, mark + 1000 * n))
                    .collect();
                let calls = rows.iter().map(|row| {
                    world.tables[*table].ingest(&[engine::batch(std::slice::from_ref(row))])
                });
                let calls: Vec<_> = calls.collect();
                for outcome in futures_util::future::join_all(calls).await {
                    outcome.unwrap();
                }
                world.put(*table, &rows);
            }
            Op::Flush => world.db.flush().await.unwrap(),
            Op::Checkpoint => world.db.checkpoint().await.unwrap(),
            Op::Hold(table) => {
                let scan = world.tables[*table].scan().stream().unwrap();
                hold = Some((scan, world.model[*table].clone()));
            }
            Op::Close => {
                world.db.close().await.unwrap();
                world.reopen(|wal| wal).await;
            }
            Op::Kill => world.reopen(|wal| wal.kill()).await,
            Op::PowerCut => world.reopen(|wal| wal.crash(place as u64)).await,
        }
        let gone = matches!(op, Op::Close | Op::Kill | Op::PowerCut);
        if let Some((scan, expected)) = held.take().filter(|_| !gone) {
            let got: Model = (scan.collect().await.unwrap().iter())
                .flat_map(engine::unpack)
                .collect();
            assert_eq!(got, expected, "a held scan, after {op:?}");
        }
        held = hold;
        for (table, expected) in world.tables.iter().zip(&world.model) {
            assert_eq!(
                &engine::content(table).await.unwrap(),
                expected,
                "after {place}: {op:?}"
            );
        }
        let key = place as i64 % KEYS;
        let got = engine::get(&world.tables[0], key).await.unwrap();
        assert_eq!(
            got.as_ref(),
            world.model[0].get(&key),
            "get, after {place}: {op:?}"
        );
    }
}

fn fails(case: &Case) -> Option<String> {
    let stage = Stage::new(7);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run(&stage, perform(case, stage.clone()))
    }));
    let panic = outcome.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .or(Some(String::new()))
}

/// Leaves out operations while it still fails.
fn shrink(mut case: Case) -> (Case, String) {
    let mut why = fails(&case).unwrap_or_default();
    let mut size = case.ops.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < case.ops.len() {
            let mut smaller = case.clone();
            smaller.ops.drain(at..(at + size).min(case.ops.len()));
            match fails(&smaller) {
                Some(reason) => (case, why) = (smaller, reason),
                None => at += size,
            }
        }
        size /= 2;
    }
    (case, why)
}

#[test]
fn random_operations_give_what_a_plain_map_gives() {
    let time = random::seconds(4);
    let first = random::seed();
    let replay = std::env::var("SEED").is_ok();
    let mut cases = BTreeMap::new();
    for seed in first.. {
        let case = case(seed);
        *cases.entry(case.local).or_insert(0) += 1;
        if fails(&case).is_some() {
            let (small, why) = shrink(case);
            panic!("SEED={seed}: {why}\n{small:#?}");
        }
        if replay || !time.left() {
            break;
        }
    }
    println!("from seed {first}: cases by whether they are local: {cases:?}");
}

/// The shrinking is worth something only if it finds the operations that matter.
#[test]
fn shrinking_leaves_what_it_takes() {
    let ops = (0..30)
        .map(|n| Op::Ingest(0, n % KEYS, 2))
        .chain([Op::Delete(9, vec![1]), Op::Flush]);
    let case = Case {
        local: false,
        inline_commit_bytes: 1200,
        detached: true,
        ops: ops.collect(),
    };
    let (small, _) = shrink(case);
    assert_eq!(small.ops, [Op::Delete(9, vec![1])], "table 9 is not there");
}
