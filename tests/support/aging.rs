//! One store that ages, and devices on it: for tests of what may go once it is old. The store stamps what
//! is written with its own time; [`Aging::pass`] lets all clocks go on.

use super::{
    engine,
    stage::{START, Stage},
};
use lakeshore::{
    Db, Options, Table,
    env::{Storage, StoreClock},
    platform::memory::Memory,
    sstable::meta::{Ulid, object_key},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);

/// What devices get to know of the store's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Told {
    /// Its clock, and when objects were written: S3.
    Clock,
    /// When objects were written: a directory, R2.
    Ages,
    /// Nothing.
    Nothing,
}

pub struct Aging {
    pub memory: Memory,
    told: Told,
    time: Arc<AtomicI64>,
    stages: Mutex<Vec<Arc<Stage>>>,
}

impl Aging {
    pub fn new(told: Told) -> Self {
        let memory = Memory::clone(&Memory::new());
        let time = Arc::new(AtomicI64::new(START));
        if told != Told::Nothing {
            let time = time.clone();
            memory.set_clock(move || time.load(SeqCst));
        }
        Self {
            memory,
            told,
            time,
            stages: Mutex::default(),
        }
    }

    /// A device whose wall clock is `off` from the store's, in microseconds.
    pub fn device_off(&self, off: i64) -> Arc<Stage> {
        let mut stages = self.stages.lock().unwrap();
        let stage = Stage::over(stages.len() as u64 + 1, self.memory.clone());
        let now = self.time.load(SeqCst);
        stage.wall.store(now + off, SeqCst);
        if self.told == Told::Clock {
            *stage.store.lock().unwrap() = Some(StoreClock {
                date: now,
                heard: Duration::from_micros(stage.monotonic.load(SeqCst)),
            });
        }
        stages.push(stage.clone());
        stage
    }

    pub fn device(&self) -> Arc<Stage> {
        self.device_off(0)
    }

    pub fn now(&self) -> i64 {
        self.time.load(SeqCst)
    }

    /// Lets all clocks go on.
    pub fn pass(&self, time: Duration) {
        self.time.fetch_add(time.as_micros() as i64, SeqCst);
        for stage in self.stages.lock().unwrap().iter() {
            stage.pass(time);
        }
    }

    /// A handle on a new device, with table `t`.
    pub async fn open(&self, options: Options) -> (Arc<Stage>, Db, Table) {
        let stage = self.device();
        let db = Db::open(stage.env(), options).await.unwrap();
        let table = engine::table(&db, "t").await;
        (stage, db, table)
    }

    /// What a new handle reads.
    pub async fn content(&self) -> engine::Model {
        let env = self.device().env();
        let db = Db::open(env, Options::default()).await.unwrap();
        engine::content(&db.table("t").unwrap()).await.unwrap()
    }

    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.memory.list(prefix, None).await.unwrap();
        listed.into_iter().map(|object| object.key).collect()
    }

    /// An sstable that a crashed flush left, named at the store's time.
    pub async fn orphan(&self, number: u16) -> String {
        let mut id = [0u8; 16];
        let millis = self.now() / 1000;
        id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        id[14..].copy_from_slice(&number.to_be_bytes());
        let key = object_key(1, Ulid(id));
        self.memory.put(&key, vec![7; 100].into()).await.unwrap();
        key
    }
}

pub async fn ingest(table: &Table, from: i64, to: i64) {
    let rows = engine::rows(from, to, 0);
    table.ingest(&[engine::batch(&rows)]).await.unwrap();
}

pub fn model(from: i64, to: i64) -> engine::Model {
    engine::rows(from, to, 0).into_iter().collect()
}
