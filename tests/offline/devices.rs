//! Two devices with overlapping keys that come and go for days, one with a clock a year ahead.

use super::{
    YEAR, settle,
    support::{
        devices::{World, copy},
        engine::{self, Model},
        random::{Random, seconds, seed},
    },
};
use bytes::Bytes;
use lakeshore::{
    Db, Options, UploadOptions,
    env::Storage,
    log::record::{Record, decode_object},
};
use std::{collections::VecDeque, sync::atomic::Ordering::SeqCst, time::Duration};

enum Change {
    Rows(i64, i64, i32),
    Delete(i64),
}

/// What the log should hold, and what each of two devices has not uploaded.
struct Expected {
    log: Model,
    pending: [VecDeque<Change>; 2],
}

impl Expected {
    /// The last to upload wins; each device's commits stay in their order.
    fn uploaded(&mut self, device: usize, left: u64) {
        while self.pending[device].len() as u64 > left {
            apply(&mut self.log, &self.pending[device].pop_front().unwrap());
        }
    }

    fn seen_by(&self, device: usize) -> Model {
        let mut content = self.log.clone();
        self.pending[device]
            .iter()
            .for_each(|c| apply(&mut content, c));
        content
    }
}

fn apply(model: &mut Model, change: &Change) {
    match change {
        Change::Rows(from, to, mark) => model.extend(engine::rows(*from, *to, *mark)),
        Change::Delete(id) => _ = model.remove(id),
    }
}

async fn check_log_clock(world: &World, seed: u64) {
    let newest = world
        .data
        .list("log/", None)
        .await
        .unwrap()
        .pop()
        .unwrap()
        .key;
    let bytes: Bytes = world.data.get(&newest).await.unwrap().unwrap();
    let (body, _) = decode_object(&newest, &bytes).unwrap();
    let ahead = Record::decode(&newest, &body).unwrap().ts - world.truth.load(SeqCst);
    assert!(
        ahead <= 300_000_000 + 1_000,
        "{newest} is {ahead} µs ahead of the store; SEED={seed}"
    );
}

/// One device's clock is a year ahead. Both are cut off and come back, at random, for days.
async fn two_devices(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new();
    let mut devices = [world.device(), world.device()];
    devices[1].stage.wall.fetch_add(YEAR, SeqCst);
    let options = Options {
        seal_batches: 4,
        wal_segment_bytes: 2048,
        checkpoint_records: 4,
        ..Options::default()
    };
    let mut open = Vec::new();
    for device in &devices {
        open.push(device.open_with(options.clone()).await);
    }
    // The copies of the catalog are written in the background.
    settle().await;
    let mut expected = Expected {
        log: Model::new(),
        pending: Default::default(),
    };
    for step in 0..120 {
        let who = random.below(2);
        let cut = devices[who].stage.cut.load(SeqCst);
        match random.below(12) {
            0 => world.pass(Duration::from_secs(random.below(4 * 3600) as u64)),
            1 => devices[who].cut(!cut),
            2 => {
                // The process ends, or dies.
                if random.chance(0.5) {
                    open[who].0.close().await.unwrap();
                    devices[who].cut(true);
                } else {
                    let (wall, wal) = (&devices[who].stage.wall, copy(&devices[who].wal).await);
                    let next = world.device_on(wal);
                    next.stage.wall.store(wall.load(SeqCst), SeqCst);
                    next.cut(cut);
                    devices[who].cut(true);
                    devices[who] = next;
                }
                let db = Db::open(devices[who].env(), options.clone()).await;
                let db = db.unwrap_or_else(|e| panic!("step {step}: {e}; SEED={seed}"));
                let table = db.table("t").unwrap();
                open[who] = (db, table);
            }
            3 | 4 => {
                let one = UploadOptions {
                    max_bytes: Some(0),
                    max_millis: None,
                };
                let up = open[who].0.upload(one).await;
                assert!(up.is_ok() || cut, "{up:?}; SEED={seed}");
            }
            5 => drop(open[who].0.refresh().await),
            n => {
                let from = random.below(30) as i64;
                let change = match n {
                    6 => Change::Delete(from),
                    _ => Change::Rows(from, from + 1 + random.below(4) as i64, step),
                };
                let table = &open[who].1;
                let done = match change {
                    Change::Rows(from, to, mark) => {
                        let rows = engine::rows(from, to, mark);
                        table.ingest(&[engine::batch(&rows)]).await
                    }
                    Change::Delete(id) => table.delete(&[engine::keys(&[id])]).await,
                };
                done.unwrap_or_else(|e| panic!("step {step}: {e}; SEED={seed}"));
                expected.pending[who].push_back(change);
            }
        }
        settle().await;
        let (db, table) = &open[who];
        // A handle that opened offline may not know yet what it had uploaded.
        if db.stats().online && !devices[who].stage.cut.load(SeqCst) {
            db.refresh().await.unwrap();
            expected.uploaded(who, db.stats().backlog_commits);
            let content = engine::content(table).await.unwrap();
            assert_eq!(
                content,
                expected.seen_by(who),
                "step {step} of {who}; SEED={seed}"
            );
        }
        check_log_clock(&world, seed).await;
    }
    let first = random.below(2);
    for who in [first, 1 - first] {
        devices[who].cut(false);
        let (db, _) = &open[who];
        db.refresh()
            .await
            .unwrap_or_else(|e| panic!("{e}; SEED={seed}"));
        expected.uploaded(who, db.stats().backlog_commits);
        db.flush()
            .await
            .unwrap_or_else(|e| panic!("{e}; SEED={seed}"));
        expected.uploaded(who, 0);
        check_log_clock(&world, seed).await;
    }
    assert_eq!(world.content().await, expected.log, "SEED={seed}");
    for (db, table) in &open {
        db.refresh().await.unwrap();
        assert_eq!(
            engine::content(table).await.unwrap(),
            expected.log,
            "SEED={seed}"
        );
        let ahead = db.stats().last_timestamp - world.truth.load(SeqCst);
        assert!(ahead <= 300_001_000, "{ahead}; SEED={seed}");
    }
}

#[tokio::test]
async fn two_devices_that_come_and_go_end_with_what_was_uploaded_last() {
    let (seed, time) = (seed(), seconds(4));
    let mut runs = 0;
    while runs < 5 || time.left() {
        two_devices(seed + runs).await;
        runs += 1;
    }
    println!("{runs} runs from SEED={seed} on");
}
