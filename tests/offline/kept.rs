//! What a device keeps beside its WAL: it opens offline with every acknowledged row, whatever became of the
//! keeping, or says that it has no catalog (PROTOCOL W4).

use super::{
    settle,
    support::{
        crash::{CrashStorage, When},
        devices::{World, copy, ingest, model},
        engine::{self, Model},
        random::seed,
        stage::Stage,
    },
};
use lakeshore::{Db, Env, Options, platform::native::TokioRuntime};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::SeqCst},
};

/// A version is kept once a minute at most: what was uploaded since is in no version that the device has,
/// and is shown from the WAL, also when the device noted meanwhile that it is uploaded.
#[tokio::test]
async fn what_was_uploaded_since_the_kept_version_is_still_there_offline() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open().await;
    for from in [0, 10] {
        ingest(&table, from, from + 5, 1).await;
        db.flush().await.unwrap();
    }
    ingest(&table, 30, 35, 1).await;
    device.stage.gate.close("log/");
    let flush = tokio::spawn(async move { db.flush().await });
    settle().await;
    assert!(!flush.is_finished(), "its PUT never arrives");
    // The process dies.
    let next = world.device_on(copy(&device.wal).await);
    next.cut(true);
    let (db, table) = next.open().await;
    assert!(!db.stats().online);
    let row = engine::get(&table, 12).await.unwrap();
    assert_eq!(row.map(|row| row.n), Some(1), "acknowledged rows stay");
    ingest(&table, 20, 25, 2).await;
    next.cut(false);
    db.refresh().await.unwrap();
    assert_eq!(db.stats().backlog_commits, 2, "the log has the others");
    db.flush().await.unwrap();
    let expected = model(&[(0, 5, 1), (10, 15, 1), (30, 35, 1), (20, 25, 2)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
    assert_eq!(world.content().await, expected);
}

/// Found by the simulation: a version that was on its way to the disk while a table came into being did not know
/// it, and rows of that table then kept the device from opening offline (PROTOCOL W4).
#[tokio::test]
async fn rows_of_a_new_table_wait_for_a_kept_version_that_knows_it() {
    let mut world = World::new();
    let (device, disk) = (world.device(), Stage::new(9));
    let env = Env {
        wal: Some(disk.env().data),
        ..device.env()
    };
    let db = Db::open(env, Options::default()).await.unwrap();
    disk.gate.close("version");
    engine::table(&db, "t").await;
    settle().await;
    let new = engine::table(&db, "new").await;
    let commit = tokio::spawn(async move { ingest(&new, 0, 5, 1).await });
    settle().await;
    disk.gate.open();
    commit.await.unwrap();
    settle().await;
    // The process dies.
    let next = world.device_on(copy(&disk.memory).await);
    next.cut(true);
    let (db, _) = next.open().await;
    assert!(!db.stats().online);
    let new = db.table("new").unwrap();
    assert_eq!(engine::content(&new).await.unwrap(), model(&[(0, 5, 1)]));
}

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
        let content = match engine::content(&table).await {
            Ok(content) => content,
            Err(e) if e.message().contains("is not on this device") => continue,
            Err(e) => panic!("{place}: {e}"),
        };
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

/// Commits and uploads by turns, so that segments are freed, and says what was acknowledged. `None` if the
/// device stopped before there was a table.
async fn uploads(world: &CrashStorage) -> Option<Model> {
    let options = Options {
        wal_segment_bytes: 1024,
        ..options()
    };
    let db = Db::open(env(world), options).await.ok()?;
    let table = db.create_table("one", engine::schema()).await.ok()?;
    let mut acknowledged = Model::default();
    for round in 0..2 {
        let rows = engine::rows(round * 3, round * 3 + 3, round as i32);
        if table.ingest(&[engine::batch(&rows)]).await.is_ok() {
            acknowledged.extend(rows);
        }
        let _ = db.flush().await;
        let _ = db.checkpoint().await;
    }
    Some(acknowledged)
}

/// Found by the simulation: there was no room for a newer version, so the kept one was deleted, then segments
/// that it lacks. A power cut undid the first deletion only (PROTOCOL W4).
#[test]
fn a_version_that_had_to_go_does_not_come_back_after_a_power_cut() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let seed = seed();
    let mut cuts = 0;
    let mut run = |fails: u64, stops: u64| {
        runtime.block_on(async {
            let world: Arc<CrashStorage> = CrashStorage::new(seed).into();
            world.fail_at(fails, When::Before);
            world.stop_at(stops, When::After);
            let acknowledged = uploads(&world).await;
            settle().await;
            for cut in acknowledged.iter().flat_map(|_| 0..8) {
                let place = format!("{fails} fails, the power after {stops} ({cut}), SEED={seed}");
                let left = world.crash(seed ^ (cut << 40));
                let acknowledged = acknowledged.iter().map(|rows| ("one", rows.clone()));
                opens_offline(&left, &acknowledged.collect(), &place).await;
                cuts += 1;
            }
            world.operations()
        })
    };
    let operations = run(u64::MAX, u64::MAX);
    for fails in 0..operations {
        (fails + 1..fails + 12).for_each(|stops| {
            run(fails, stops);
        });
    }
    assert!(cuts > 500, "only {cuts} power cuts");
    println!("{operations} operations, {cuts} power cuts");
}
