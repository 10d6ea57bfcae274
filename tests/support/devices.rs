//! Devices with clocks and networks of their own on one store that has a clock, too.

use super::{
    engine::{self, Model},
    stage::{START, Stage},
};
use lakeshore::{Db, Env, Options, Table, env::Storage, platform::memory::Memory};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

/// A device: clocks of its own, a network that can be cut, a WAL.
pub struct Device {
    pub stage: Arc<Stage>,
    pub wal: Arc<Memory>,
}

impl Device {
    pub fn env(&self) -> Env {
        Env {
            wal: Some(self.wal.clone()),
            ..self.stage.env()
        }
    }

    pub async fn open(&self) -> (Db, Table) {
        self.open_with(Options::default()).await
    }

    pub async fn open_with(&self, options: Options) -> (Db, Table) {
        let db = Db::open(self.env(), options).await.unwrap();
        let table = engine::table(&db, "t").await;
        (db, table)
    }

    pub fn cut(&self, cut: bool) {
        self.stage.cut.store(cut, SeqCst);
    }
}

/// One store with a clock, and devices.
pub struct World {
    pub data: Memory,
    pub truth: Arc<AtomicI64>,
    pub stages: Vec<Arc<Stage>>,
}

impl World {
    pub fn new() -> Self {
        Self {
            data: Memory::clone(&Memory::new()),
            truth: Arc::new(START.into()),
            stages: Vec::new(),
        }
    }

    pub fn device(&mut self) -> Device {
        self.device_on(Memory::new())
    }

    pub fn device_on(&mut self, wal: Arc<Memory>) -> Device {
        let stage = Stage::over(self.stages.len() as u64 + 1, self.data.clone());
        stage.wall.store(self.truth.load(SeqCst), SeqCst);
        *stage.truth.lock().unwrap() = Some(self.truth.clone());
        self.stages.push(stage.clone());
        Device { stage, wal }
    }

    /// Time goes on, everywhere.
    pub fn pass(&self, time: Duration) {
        self.truth.fetch_add(time.as_micros() as i64, SeqCst);
        for stage in &self.stages {
            stage.pass(time);
        }
    }

    /// What a device without a past reads.
    pub async fn content(&mut self) -> Model {
        let fresh = self.device();
        let env = Env {
            wal: None,
            ..fresh.env()
        };
        let db = Db::open(env, Options::default()).await.unwrap();
        engine::content(&db.table("t").unwrap()).await.unwrap()
    }
}

pub async fn ingest(table: &Table, from: i64, to: i64, mark: i32) -> lakeshore::Committed {
    let rows = engine::rows(from, to, mark);
    table.ingest(&[engine::batch(&rows)]).await.unwrap()
}

pub fn model(parts: &[(i64, i64, i32)]) -> Model {
    let rows = |(from, to, mark): &(i64, i64, i32)| engine::rows(*from, *to, *mark);
    parts.iter().flat_map(rows).collect()
}

/// Every object of a store in another: a copied directory, or what a power cut leaves.
pub async fn copy(from: &Memory) -> Arc<Memory> {
    let to = Memory::new();
    for object in from.list("", None).await.unwrap() {
        let bytes = from.get(&object.key).await.unwrap().unwrap();
        to.put(&object.key, bytes).await.unwrap();
    }
    to
}
