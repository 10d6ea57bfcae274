//! The WAL storage of a device: a `CrashStorage` that takes virtual time and fails by the weather. What a
//! power cut leaves of it, and what a copy has, `CrashStorage` says.

use super::world::{Pid, Sim};
use crate::support::crash::{CrashStorage, When};
use bytes::Bytes;
use lakeshore::{
    Result,
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
};
use std::{ops::Range, sync::Arc};

#[derive(Clone, Debug)]
pub struct SimWal {
    pub sim: Sim,
    pub pid: Pid,
    pub inner: Arc<CrashStorage>,
}

impl SimWal {
    async fn step(&self) {
        let micros = {
            let mut world = self.sim.world();
            match world.random.below(4) {
                0 => world.random.below(20_000) as u64,
                _ => 0,
            }
        };
        if micros > 0 {
            self.sim.pause(micros).await;
        }
    }

    /// Takes time, and decides whether the next operation breaks off.
    async fn begin(&self, what: &str) {
        self.step().await;
        let mut world = self.sim.world();
        if !world.is_alive(self.pid) {
            self.inner.stop();
        }
        let rate = world.weather.wal;
        if world.chance(rate) {
            let when = *world
                .random
                .pick(&[When::Before, When::Within, When::Within, When::After]);
            self.inner.fail_at(self.inner.operations(), when);
            let name = world.name(self.pid);
            world.note(format_args!("{name}  wal {what} breaks off {when:?}"));
            world.report.faults += 1;
        }
    }

    async fn timed<T>(&self, what: &str, operation: impl Future<Output = T>) -> T {
        self.begin(what).await;
        let done = operation.await;
        self.step().await;
        done
    }
}

impl Storage for SimWal {
    fn describe(&self) -> String {
        "simulated WAL".to_owned()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.timed("get", self.inner.get(key)))
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.timed("get", self.inner.get_range(key, range)))
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(self.timed("get", self.inner.get_suffix(key, length)))
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.timed("put", self.inner.put(key, body)))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(self.timed("put", self.inner.put_if_absent(key, body)))
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(self.timed("create", self.inner.create(key)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(self.timed("list", self.inner.list(prefix, start_after)))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.timed("delete", self.inner.delete(key)))
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(async move {
            let inner = self.timed("append", self.inner.append(key)).await?;
            let wal = self.clone();
            Ok(Box::new(Appending { wal, inner }) as Box<dyn AppendFile>)
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        Box::pin(self.timed("lock", self.inner.lock(name)))
    }
}

struct Appending {
    wal: SimWal,
    inner: Box<dyn AppendFile>,
}

impl AppendFile for Appending {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.wal.timed("write", self.inner.write(chunk)))
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.wal.timed("sync", self.inner.sync()))
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.inner.close()
    }
}
