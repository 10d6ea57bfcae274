//! A put whose caller is gone still happens, as a thread's does that waits for the disk.

use super::{
    settle,
    support::{
        devices::{World, copy, ingest, model},
        engine,
    },
};
use bytes::Bytes;
use lakeshore::{
    Db, Env, Options, Result,
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    platform::memory::Memory,
};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use tokio::sync::Semaphore;

/// A disk.
#[derive(Debug)]
struct Disk {
    memory: Arc<Memory>,
    /// The next put of the version waits here.
    hold: Arc<AtomicU64>,
    held: Arc<Semaphore>,
}

impl Storage for Disk {
    fn describe(&self) -> String {
        "disk".to_owned()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.memory.get(key)
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.memory.get_range(key, range)
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        self.memory.get_suffix(key, length)
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        let holds = key == "version" && self.hold.swap(0, SeqCst) > 0;
        let (memory, held, key) = (self.memory.clone(), self.held.clone(), key.to_owned());
        Box::pin(async move {
            let put = tokio::spawn(async move {
                if holds {
                    held.acquire().await.unwrap().forget();
                }
                memory.put(&key, body).await
            });
            put.await.unwrap()
        })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        self.memory.put_if_absent(key, body)
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        self.memory.create(key)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        self.memory.list(prefix, start_after)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.memory.delete(key)
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        self.memory.append(key)
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        self.memory.lock(name)
    }
}

#[tokio::test]
async fn a_version_whose_keeping_was_broken_off_does_not_replace_a_newer_one() {
    let mut world = World::new();
    let device = world.device();
    let disk = Arc::new(Disk {
        memory: device.wal.clone(),
        hold: Arc::default(),
        held: Arc::new(Semaphore::new(0)),
    });
    let env = Env {
        wal: Some(disk.clone()),
        ..device.env()
    };
    let db = Db::open(env, Options::default()).await.unwrap();
    let table = engine::table(&db, "t").await;
    settle().await;
    ingest(&table, 0, 50, 1).await;
    db.flush().await.unwrap();
    disk.hold.store(1, SeqCst);
    let broken_off = tokio::spawn({
        let db = db.clone();
        async move { db.checkpoint().await }
    });
    settle().await;
    broken_off.abort();
    let _ = broken_off.await;
    let next = tokio::spawn({
        let (db, table) = (db.clone(), table.clone());
        async move {
            ingest(&table, 100, 150, 1).await;
            db.flush().await.unwrap();
            db.checkpoint().await.unwrap();
        }
    });
    settle().await;
    disk.held.add_permits(1);
    next.await.unwrap();
    settle().await;
    ingest(&table, 200, 250, 1).await;
    // The process dies.
    let next = world.device_on(copy(&device.wal).await);
    next.cut(true);
    let (_, table) = next.open().await;
    match engine::content(&table).await {
        Ok(content) => assert_eq!(content, model(&[(0, 50, 1), (100, 150, 1), (200, 250, 1)])),
        Err(e) => assert!(e.message().contains("is not on this device"), "{e}"),
    }
    let row = engine::get(&table, 120).await;
    assert!(!matches!(row, Ok(None)), "an acknowledged row is gone");
}
