//! `local` durability with the network cut: what is acknowledged stays and is uploaded once, in its own
//! order; the device opens and reads by what it has; foreign commits meanwhile are met (PROTOCOL W1 to
//! W5, T1, T2).
#![cfg(not(target_arch = "wasm32"))]

mod support;

use lakeshore::{
    Db, Env, Options, Table,
    env::Storage,
    log::version::{Head, Version},
    platform::memory::Memory,
    state::State,
};
use std::{
    sync::{Arc, atomic::AtomicI64, atomic::Ordering::SeqCst},
    time::Duration,
};
use support::{
    engine::{self, Model},
    stage::{START, Stage},
};

const HOUR: Duration = Duration::from_secs(3600);

/// A device: clocks of its own, a network that can be cut, a WAL.
struct Device {
    stage: Arc<Stage>,
    wal: Arc<Memory>,
}

impl Device {
    fn env(&self) -> Env {
        Env {
            wal: Some(self.wal.clone()),
            ..self.stage.env()
        }
    }

    async fn open(&self) -> (Db, Table) {
        self.open_with(Options::default()).await
    }

    async fn open_with(&self, options: Options) -> (Db, Table) {
        let db = Db::open(self.env(), options).await.unwrap();
        let table = match db.table("t") {
            Ok(table) => table,
            Err(_) => engine::table(&db, "t").await,
        };
        (db, table)
    }

    fn cut(&self, cut: bool) {
        self.stage.cut.store(cut, SeqCst);
    }
}

/// One store with a clock, and devices.
struct World {
    data: Memory,
    truth: Arc<AtomicI64>,
    stages: Vec<Arc<Stage>>,
}

impl World {
    fn new() -> Self {
        Self {
            data: Memory::clone(&Memory::new()),
            truth: Arc::new(START.into()),
            stages: Vec::new(),
        }
    }

    fn device(&mut self) -> Device {
        self.device_on(Memory::new())
    }

    fn device_on(&mut self, wal: Arc<Memory>) -> Device {
        let stage = Stage::over(self.stages.len() as u64 + 1, self.data.clone());
        stage.wall.store(self.truth.load(SeqCst), SeqCst);
        *stage.truth.lock().unwrap() = Some(self.truth.clone());
        self.stages.push(stage.clone());
        Device { stage, wal }
    }

    /// Time goes on, everywhere.
    fn pass(&self, time: Duration) {
        self.truth.fetch_add(time.as_micros() as i64, SeqCst);
        for stage in &self.stages {
            stage.pass(time);
        }
    }

    /// What a device without a past reads.
    async fn content(&mut self) -> Model {
        let fresh = self.device();
        let env = Env {
            wal: None,
            ..fresh.env()
        };
        let db = Db::open(env, Options::default()).await.unwrap();
        engine::content(&db.table("t").unwrap()).await.unwrap()
    }
}

async fn ingest(table: &Table, from: i64, to: i64, mark: i32) -> lakeshore::Committed {
    let rows = engine::rows(from, to, mark);
    table.ingest(&[engine::batch(&rows)]).await.unwrap()
}

fn model(parts: &[(i64, i64, i32)]) -> Model {
    let rows = |(from, to, mark): &(i64, i64, i32)| engine::rows(*from, *to, *mark);
    parts.iter().flat_map(rows).collect()
}

/// Every object of a store in another: a copied directory, or what a power cut leaves.
async fn copy(from: &Memory) -> Arc<Memory> {
    let to = Memory::new();
    for object in from.list("", None).await.unwrap() {
        let bytes = from.get(&object.key).await.unwrap().unwrap();
        to.put(&object.key, bytes).await.unwrap();
    }
    to
}

/// Lets everything go on that can.
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

/// The floor falls within what the next process replayed as one memtable.
#[tokio::test]
async fn a_late_put_of_the_process_before_is_not_uploaded_a_second_time() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open().await;
    for i in 0..3 {
        ingest(&table, i, i + 3, 1).await;
    }
    device.stage.gate.close("log/");
    let flush = tokio::spawn({
        let db = db.clone();
        async move { db.flush().await }
    });
    settle().await;
    assert!(!flush.is_finished(), "its PUT is on the way");
    ingest(&table, 4, 7, 2).await;
    // The process dies here; its PUT arrives later.
    let next = world.device_on(copy(&device.wal).await);
    let (after, rows) = next.open().await;
    assert_eq!(after.stats().backlog_commits, 4);
    ingest(&rows, 6, 8, 3).await;
    device.stage.gate.open();
    flush.await.unwrap().unwrap();
    let foreign = world.device();
    let (other, theirs) = foreign.open().await;
    ingest(&theirs, 0, 3, 9).await;
    other.flush().await.unwrap();

    let own = [(0, 5, 1), (0, 3, 9), (4, 7, 2), (6, 8, 3)];
    after.refresh().await.unwrap();
    assert_eq!(
        after.stats().backlog_commits,
        2,
        "the log has three of five"
    );
    assert_eq!(engine::content(&rows).await.unwrap(), model(&own));
    after.flush().await.unwrap();
    assert_eq!(after.stats().backlog_commits, 0);
    assert_eq!(engine::content(&rows).await.unwrap(), model(&own));
    assert_eq!(world.content().await, model(&own));
    let uploaded: u64 = after.stats().tables[0].file_rows;
    assert_eq!(uploaded, 5 + 3 + 4, "each row once");
}

#[tokio::test]
async fn stamps_do_not_run_ahead_of_the_clock_however_long_the_device_was_idle() {
    let mut world = World::new();
    let (device, foreign) = (world.device(), world.device());
    let (db, table) = device.open().await;
    let (_, theirs) = foreign.open().await;
    for hours in 0..5 {
        ingest(&table, hours, hours + 3, hours as i32).await;
        world.pass(HOUR);
    }
    let before = db.stats().last_timestamp;
    ingest(&theirs, 0, 1, 9).await;
    let other = Db::open(
        Env {
            wal: None,
            ..foreign.stage.env()
        },
        Options::default(),
    )
    .await
    .unwrap();
    ingest(&other.table("t").unwrap(), 100, 101, 9).await;
    db.refresh().await.unwrap();
    let (now, stats) = (world.truth.load(SeqCst), db.stats());
    assert!(stats.last_timestamp > before);
    assert!(
        stats.last_timestamp < now + 1_000,
        "{} µs ahead",
        stats.last_timestamp - now
    );
    let mut expected = model(&[(100, 101, 9)]);
    expected.extend((0..5).flat_map(|h| engine::rows(h, h + 3, h as i32)));
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}

/// Two commits with a gap between them, whose rows are in one run: each row keeps its commit's place.
#[test]
fn a_record_moves_only_the_stamps_it_overtook() {
    let mut state = State::new(Arc::new(Version::default()));
    let version = |ts| Version {
        head: Head {
            seq: ts as u64,
            ts,
            digest: [0; 32],
        },
        ..Version::default()
    };
    let stamps = [10, 20, 1_000, 2_000];
    for (frame, stamp) in (1..).zip(stamps) {
        state = state.with_pending(Vec::new(), [1; 16], frame, stamp);
    }
    let of = |state: &State| state.pending.iter().map(|c| c.stamp).collect::<Vec<_>>();
    let next = state.with_record(Arc::new(version(5)), Vec::new());
    assert_eq!(of(&next), stamps);
    let next = next.with_record(Arc::new(version(15)), Vec::new());
    assert_eq!(of(&next), [16, 20, 1_000, 2_000]);
    let next = next.with_record(Arc::new(version(999)), Vec::new());
    assert_eq!(of(&next), [1_000, 1_001, 1_002, 2_000]);
    assert_eq!(next.last_stamp, 2_000);
    let next = next.with_record(Arc::new(version(5_000)), Vec::new());
    assert_eq!(of(&next), [5_001, 5_002, 5_003, 5_004]);
    assert_eq!(next.last_stamp, 5_004);
}
