//! Writers that all commit to one log, one small commit after another, in virtual time: what it costs.

use super::{
    engine,
    far::{Device, Faults, World},
};
use lakeshore::{Db, Env, Options, Requests, platform::memory::Memory};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Who writes, how.
#[derive(Clone, Debug)]
pub struct Race {
    pub seed: u64,
    pub writers: usize,
    /// How long a request takes, and how much longer or shorter (percent).
    pub latency: Duration,
    pub spread: u64,
    /// What befalls requests, in percent.
    pub faults: Faults,
    /// How long a writer thinks between two commits, at most.
    pub think: Duration,
    /// How long they go on.
    pub time: Duration,
    /// Clocks stand still.
    pub stopped: bool,
    /// How long each device sleeps during its first request, before the race.
    pub nap: Duration,
    pub detached_tasks: bool,
}

impl Race {
    /// 20 ms a request, as in the issue.
    pub fn of(writers: usize, seed: u64) -> Self {
        Self {
            seed,
            writers,
            latency: Duration::from_millis(20),
            spread: 20,
            faults: Faults::default(),
            think: Duration::ZERO,
            time: Duration::from_secs(30),
            stopped: false,
            nap: Duration::ZERO,
            detached_tasks: true,
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Acknowledged commits of each writer.
    pub commits: Vec<u64>,
    /// Requests of all, without those of checkpoints.
    pub requests: u64,
    /// … by kind.
    pub puts: u64,
    pub gets: u64,
    pub lists: u64,
    /// PUTs of checkpoints.
    pub checkpoints: u64,
    /// What each commit took, ascending.
    pub latencies: Vec<Duration>,
    /// Errors.
    pub errors: Vec<String>,
    /// Requests that were refused, or answered in vain.
    pub faults: u64,
    pub time: Duration,
}

impl Outcome {
    pub fn total(&self) -> u64 {
        self.commits.iter().sum()
    }

    pub fn requests_a_commit(&self) -> f64 {
        self.requests as f64 / self.total() as f64
    }

    pub fn all_requests_a_commit(&self) -> f64 {
        (self.requests + self.checkpoints) as f64 / self.total() as f64
    }

    pub fn commits_a_second(&self) -> f64 {
        self.total() as f64 / self.time.as_secs_f64()
    }

    /// The latency that `percent` of the commits did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len() - 1;
        self.latencies[last * percent / 100]
    }
}

/// Runs it, and checks that what was acknowledged is there, once.
pub fn run(race: &Race) -> Outcome {
    let world = World::new(race.seed);
    let (inner, race) = (world.clone(), race.clone());
    world.run(race_in(inner, race))
}

fn device(world: &Arc<World>, race: &Race, memory: &Memory) -> Env {
    let device = Arc::new(Device {
        world: world.clone(),
        memory: memory.clone(),
        latency: race.latency,
        spread: race.spread,
        faults: race.faults,
        skew: world.below(2_000_000) as i64 - 1_000_000,
        stopped: race.stopped,
        nap: (race.nap.as_micros() as u64).into(),
    });
    Env {
        data: device.clone(),
        wal: None,
        runtime: device,
    }
}

async fn race_in(world: Arc<World>, race: Race) -> Outcome {
    let memory = Memory::clone(&Memory::new());
    let options = Options {
        detached_tasks: race.detached_tasks,
        ..Options::default()
    };
    let first = Db::open(device(&world, &race, &memory), options.clone())
        .await
        .unwrap();
    engine::table(&first, "t").await;
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let mut handles = vec![first];
    while handles.len() < race.writers {
        let env = device(&world, &race, &memory);
        handles.push(Db::open(env, options.clone()).await.unwrap());
    }
    for (n, db) in handles.iter().enumerate() {
        if race.nap > Duration::ZERO {
            let row = engine::rows(-1 - n as i64, -(n as i64), 0);
            let table = db.table("t").unwrap();
            table.ingest(&[engine::batch(&row)]).await.unwrap();
        }
    }
    let before: Vec<Requests> = handles.iter().map(|db| db.stats().data).collect();
    let begun = world.now();
    let left = Arc::new(Mutex::new(race.writers));
    for (w, db) in handles.iter().enumerate() {
        let (world, db, race) = (world.clone(), db.clone(), race.clone());
        let (outcome, left) = (outcome.clone(), left.clone());
        let task = world.clone();
        task.start(async move {
            world
                .sleep(Duration::from_micros(world.below(20_000)))
                .await;
            let table = db.table("t").unwrap();
            let mut done = 0;
            while world.now() - begun < race.time {
                let row = engine::rows((w as i64) << 32 | done, ((w as i64) << 32 | done) + 1, 0);
                let start = world.now();
                match table.ingest(&[engine::batch(&row)]).await {
                    Ok(_) => done += 1,
                    Err(e) => outcome.lock().unwrap().errors.push(e.to_string()),
                }
                outcome.lock().unwrap().latencies.push(world.now() - start);
                let think = world.below(race.think.as_micros() as u64 + 1);
                world.sleep(Duration::from_micros(think)).await;
            }
            outcome.lock().unwrap().commits.push(done as u64);
            *left.lock().unwrap() -= 1;
        });
    }
    while *left.lock().unwrap() > 0 {
        world.sleep(Duration::from_millis(50)).await;
    }
    let mut outcome = std::mem::take(&mut *outcome.lock().unwrap());
    outcome.time = world.now() - begun;
    outcome.latencies.sort();
    for (db, before) in handles.iter().zip(before) {
        db.close().await.unwrap();
        let now = db.stats().data;
        outcome.puts += now.put_if_absent - before.put_if_absent;
        outcome.gets += now.get - before.get;
        outcome.lists += now.list - before.list;
        outcome.checkpoints += now.put - before.put;
        // The first table proves its store, and cleans up behind, through faults if need be.
        assert!(now.delete <= 4 && now.retries == 0, "{now:?}");
    }
    outcome.faults = world.faults();
    outcome.requests = outcome.puts + outcome.gets + outcome.lists;
    let env = device(&world, &race, &memory);
    let db = Db::open(env, Options::default()).await.unwrap();
    let rows = db.table("t").unwrap().scan().count().await.unwrap();
    let before = if race.nap > Duration::ZERO {
        race.writers as u64
    } else {
        0
    };
    assert_eq!(
        rows,
        before + outcome.total(),
        "acknowledged, and there once"
    );
    outcome
}
