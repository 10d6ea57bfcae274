//! What a device keeps beside its WAL, when the keeping fails: whatever became of one operation, the device
//! opens offline with every acknowledged row, or says that it has no catalog (PROTOCOL W4).
#![cfg(not(target_arch = "wasm32"))]

mod support;

use lakeshore::{Db, Env, Options, platform::native::TokioRuntime};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::SeqCst},
};
use support::{
    crash::{CrashStorage, When},
    engine::{self, Model},
    random::seed,
    stage::Stage,
};

fn env(world: &CrashStorage) -> Env {
    Env {
        data: world.at("data"),
        wal: Some(world.at("wal")),
        runtime: TokioRuntime::current().unwrap(),
    }
}

fn options() -> Options {
    Options {
        retries: 0,
        ..Options::default()
    }
}

/// Lets everything go on that can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Calls that fail are made again, commits are not. What was acknowledged, by table.
async fn script(world: &CrashStorage, rounds: i32) -> BTreeMap<&'static str, Model> {
    let mut acknowledged: BTreeMap<&str, Model> = BTreeMap::new();
    let mut next = 0;
    for round in 0..rounds {
        let mut opened = None;
        while opened.is_none() {
            opened = Db::open(env(world), options()).await.ok();
        }
        let db = opened.unwrap();
        for name in ["one", "two", "three"] {
            let mut table = db.create_table(name, engine::schema()).await;
            while table.is_err() {
                table = db.create_table(name, engine::schema()).await;
            }
            let table = table.unwrap();
            settle().await;
            let rows = engine::rows(next, next + 3, round);
            next += 3;
            if table.ingest(&[engine::batch(&rows)]).await.is_ok() {
                acknowledged.entry(name).or_default().extend(rows);
            }
            settle().await;
        }
        if round + 1 < rounds {
            let _ = db.close().await;
        }
    }
    acknowledged
}

async fn opens_offline(left: &CrashStorage, acknowledged: &BTreeMap<&str, Model>, place: &str) {
    let cut = Stage::new(1);
    cut.cut.store(true, SeqCst);
    let offline = Env {
        data: cut.env().data,
        ..env(left)
    };
    let db = match Db::open(offline, options()).await {
        Ok(db) => db,
        Err(e) if e.message().contains("no copy of the catalog") => return,
        Err(e) => panic!("{place}: {e}"),
    };
    for (name, expected) in acknowledged {
        let table = db.table(name).unwrap_or_else(|e| panic!("{place}: {e}"));
        let content = engine::content(&table).await.unwrap();
        let there = |(id, row): (&i64, _)| content.get(id) == Some(row);
        assert!(expected.iter().all(there), "{place}: {name} lost rows");
    }
}

/// Runs the script with operation `n` failing, `None` if it does not come so far.
fn with_failure(seed: u64, n: u64, (when, rounds): (When, i32)) -> Option<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world: Arc<CrashStorage> = CrashStorage::new(seed.wrapping_add(n)).into();
        world.fail_at(n, when);
        let acknowledged = script(&world, rounds).await;
        let place = format!("operation {n} {when:?} of {rounds} rounds, SEED={seed}");
        opens_offline(&world.crash(seed), &acknowledged, &place).await;
        (world.operations() > n).then_some(())
    })
}

#[test]
fn whatever_operation_fails_the_device_opens_offline_with_all_it_acknowledged() {
    let seed = seed();
    let mut swept = 0;
    // With one round, nothing is put right by a close or by the next open.
    for rounds in [1, 2] {
        for n in 0.. {
            let whens = [When::Before, When::Within, When::After].map(|when| (when, rounds));
            if whens.map(|how| with_failure(seed, n, how)).contains(&None) {
                break;
            }
            swept += 1;
        }
    }
    assert!(swept > 50, "the script has only {swept} operations");
    println!("{swept} operations, each failed before, within, after its effect; SEED={seed}");
}
