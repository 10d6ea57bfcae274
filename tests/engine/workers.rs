//! One handle in a Worker's global serves many requests at once, and any of them may vanish at any
//! await: its futures are never polled again and never dropped. With `detached_tasks` off no other
//! call waits for it, what was acknowledged is there exactly once, the rest whole or absent.

use crate::support;

use futures_util::future::join_all;
use lakeshore::{Db, Env, ErrorKind, Options, Table, platform::memory::Memory};
use std::{collections::BTreeMap, sync::Arc, task::Poll};
use support::{
    engine,
    random::{Random, seconds, seed},
    stage::{self, Stage},
};

const REQUESTS: usize = 50;

fn options(detached_tasks: bool) -> Options {
    Options {
        detached_tasks,
        inline_commit_bytes: 8 * 1024,
        checkpoint_bytes: 64 * 1024,
        ..engine::tiny()
    }
}

/// One call's rows, and whether it was told that they are in.
type Told = Arc<std::sync::Mutex<BTreeMap<i64, (i64, bool)>>>;

/// What one request does: one to three ingests in one turn, some large, then other things.
async fn request(db: Db, table: Table, number: i64, mut random: Random, told: Told) {
    let mut calls = Vec::new();
    for call in 0..1 + random.below(3) as i64 {
        let first = (number * 10 + call) * 1000;
        let rows = if random.chance(0.2) { 300 } else { 3 };
        told.lock().unwrap().insert(first, (rows, false));
        calls.push((first, rows));
    }
    let ingests = calls.iter().map(|(first, rows)| {
        let rows = engine::rows(*first, first + rows, number as i32);
        let ingest = table.ingest(&[engine::batch(&rows)]);
        let (told, first) = (told.clone(), *first);
        async move {
            ingest
                .await
                .unwrap_or_else(|e| panic!("request {number}: {e}"));
            told.lock().unwrap().get_mut(&first).unwrap().1 = true;
        }
    });
    join_all(ingests.collect::<Vec<_>>()).await;
    for (first, rows) in &calls {
        let last = engine::get(&table, first + rows - 1).await.unwrap();
        assert!(
            last.is_some(),
            "request {number} does not read its own write"
        );
    }
    match random.below(8) {
        0 => db.flush().await.unwrap(),
        1 => db.checkpoint().await.unwrap(),
        2 => drop(db.refresh().await.unwrap()),
        3 => drop(engine::table(&db, &format!("t{}", random.below(3))).await),
        _ => {}
    }
}

/// The numbers of the requests that never ended though nobody let them vanish.
fn run(seed: u64, detached: bool) -> Vec<usize> {
    let stage = Stage::new(seed);
    let mut random = Random::new(seed ^ 1);
    let db = stage::run(&stage, Db::open(stage.env(), options(detached))).unwrap();
    let table = stage::run(&stage, engine::table(&db, "t"));
    stage.stall.store(6, std::sync::atomic::Ordering::SeqCst);
    let told = Told::default();
    let mut live: Vec<(usize, usize, _)> = (0..REQUESTS)
        .map(|number| {
            let random_of = Random::new(seed.wrapping_mul(1009) + number as u64);
            let request = request(
                db.clone(),
                table.clone(),
                number as i64,
                random_of,
                told.clone(),
            );
            let polls = match random.below(3) {
                0 => 1 + random.below(60),
                _ => usize::MAX,
            };
            (number, polls, Box::pin(request))
        })
        .collect();
    // A task belongs to the request that began it, and vanishes with it.
    let mut tasks: Vec<(usize, _)> = Vec::new();
    let mut begun = 1;
    for _ in 0..400_000 {
        if live.is_empty() {
            break;
        }
        let at = random.below(live.len().min(begun));
        begun = (begun + random.below(2)).min(REQUESTS);
        let (number, polls, future) = &mut live[at];
        let number = *number;
        *polls = polls.saturating_sub(1);
        let over = stage::poll(future) == Poll::Ready(());
        let vanished = *polls == 0;
        let spawned = std::mem::take(&mut *stage.spawned.lock().unwrap());
        tasks.extend(spawned.into_iter().map(|task| (number, task)));
        if over {
            drop(live.swap_remove(at));
        } else if vanished {
            std::mem::forget(live.swap_remove(at));
            let (gone, kept) = tasks.into_iter().partition(|(of, _)| *of == number);
            std::mem::forget::<Vec<_>>(gone);
            tasks = kept;
        }
        tasks.retain_mut(|(_, task)| stage::poll(task).is_pending());
        if !detached {
            assert!(tasks.is_empty(), "seed {seed}: a task was spawned");
        }
    }
    let hung = live.iter().map(|(number, ..)| *number).collect();
    std::mem::forget((live, tasks));
    check(seed, &stage, &told);
    if !detached {
        // Those that vanished are in flight for ever.
        stage::run(&stage, db.close()).unwrap();
    }
    std::mem::forget((db, table));
    hung
}

fn check(seed: u64, stage: &Arc<Stage>, told: &Told) {
    stage.stall.store(0, std::sync::atomic::Ordering::SeqCst);
    let env = Env {
        data: Arc::new(stage.memory.clone()),
        ..stage.env()
    };
    let fresh = stage::run(stage, Db::open(env, Options::default())).unwrap();
    let content = stage::run(stage, engine::content(&fresh.table("t").unwrap())).unwrap();
    let mut seen = 0;
    for (first, (rows, acknowledged)) in told.lock().unwrap().iter() {
        let found = content.range(first..&(first + 1000)).count() as i64;
        seen += found;
        assert!(
            found == *rows || (found == 0 && !acknowledged),
            "seed {seed}: of {rows} rows from {first} on (acknowledged: {acknowledged}) {found} are there"
        );
    }
    assert_eq!(seen, content.len() as i64, "seed {seed}");
}

#[test]
fn calls_of_one_handle_never_wait_for_those_that_vanished() {
    let (seed, time) = (seed(), seconds(4));
    let mut runs = 0;
    while runs < 20 || time.left() {
        let seed = seed + runs;
        let hung = run(seed, false);
        assert_eq!(hung, [0; 0], "seed {seed}: these requests hang");
        runs += 1;
    }
    println!("{runs} runs from seed {seed} on");
}

/// The checker must be able to fail: with detached tasks a vanished call takes others with it.
#[test]
fn with_detached_tasks_the_same_run_hangs() {
    let seed = seed();
    let hung = (0..10).filter(|i| !run(seed + i, true).is_empty()).count();
    assert!(hung > 0, "seed {seed}: the test cannot fail");
}

#[test]
fn calls_of_one_turn_are_one_record_in_call_order() {
    let stage = Stage::new(1);
    stage::run(&stage, async {
        let db = Db::open(stage.env(), options(false)).await.unwrap();
        let table = engine::table(&db, "t").await;
        let before = db.stats();
        let calls: Vec<_> = (0..5)
            .map(|mark| table.ingest(&[engine::batch(&engine::rows(0, 3, mark))]))
            .collect();
        // Polled in another order.
        for done in join_all(calls.into_iter().rev()).await {
            done.unwrap();
        }
        let after = db.stats();
        assert_eq!(after.head, before.head + 1);
        assert_eq!(after.data.put_if_absent, before.data.put_if_absent + 1);
        let content = engine::content(&table).await.unwrap();
        assert_eq!(content, engine::rows(0, 3, 4).into_iter().collect());
    });
}

/// Fifty requests at once on one handle: they take their slots one after the other, so that hardly
/// any pays for a lost race.
#[test]
fn many_requests_on_one_handle_do_not_race_each_other() {
    let stage = Stage::new(2);
    stage::run(&stage, async {
        let db = Db::open(
            stage.env(),
            Options {
                detached_tasks: false,
                ..Options::default()
            },
        )
        .await
        .unwrap();
        let table = engine::table(&db, "t").await;
        stage.stall.store(6, std::sync::atomic::Ordering::SeqCst);
        let before = db.stats();
        let calls = (0..50).map(|n| {
            let table = table.clone();
            // Called and polled at once: each in a turn of its own.
            async move {
                table
                    .ingest(&[engine::batch(&engine::rows(n, n + 1, 0))])
                    .await
            }
        });
        for done in join_all(calls).await {
            done.unwrap();
        }
        let after = db.stats();
        assert_eq!(after.head, before.head + 50);
        let puts = after.data.put_if_absent - before.data.put_if_absent;
        assert!(puts <= 60, "50 commits took {puts} conditional PUTs");
    });
}

#[test]
fn a_wal_is_refused_without_detached_tasks() {
    let stage = Stage::new(3);
    let env = Env {
        wal: Some(Memory::new()),
        ..stage.env()
    };
    let error = stage::run(&stage, Db::open(env, options(false))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.message().contains("WAL") && error.message().contains("detached_tasks"),
        "{error}"
    );
}
