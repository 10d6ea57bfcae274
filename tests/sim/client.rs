//! The object store as one process sees it.

use super::{
    store::{Answer, Op, Part, unavailable},
    world::{Pid, Sim},
};
use bytes::Bytes;
use futures_channel::oneshot;
use lakeshore::{
    Result,
    env::{
        AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage, StoreClock,
    },
};
use std::{ops::Range, sync::Mutex};

/// The store as one process sees it.
#[derive(Debug)]
pub struct SimStore {
    pub sim: Sim,
    pub pid: Pid,
    clock: Mutex<Option<StoreClock>>,
}

impl SimStore {
    pub fn new(sim: &Sim, pid: Pid) -> Self {
        Self {
            sim: sim.clone(),
            pid,
            clock: Mutex::default(),
        }
    }

    async fn ask(&self, op: Op) -> Result<Answer> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut world = self.sim.world();
            if !world.is_alive(self.pid) {
                return Err(unavailable("the process is gone"));
            }
            world.issue(self.pid, op, sender);
        }
        let Ok((answer, date)) = receiver.await else {
            return Err(unavailable("the request was lost"));
        };
        let heard = self.sim.world().monotonic(self.pid);
        let mut clock = self.clock.lock().unwrap();
        if clock.is_none_or(|c| c.date <= date) {
            *clock = Some(StoreClock { date, heard });
        }
        answer
    }

    async fn read(&self, key: &str, part: Part) -> Result<Option<(Bytes, u64)>> {
        match self.ask(Op::Get(key.to_owned(), part)).await? {
            Answer::Object(found) => Ok(found),
            other => unreachable!("{other:?}"),
        }
    }
}

impl Storage for SimStore {
    fn describe(&self) -> String {
        "simulated store".to_owned()
    }

    fn clock(&self) -> Option<StoreClock> {
        *self.clock.lock().unwrap()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { Ok(self.read(key, Part::Whole).await?.map(|(bytes, _)| bytes)) })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let found = self.read(key, Part::Range(range)).await?;
            Ok(found.map(|(bytes, _)| bytes))
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(self.read(key, Part::Suffix(length)))
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.ask(Op::Put(key.to_owned(), body)).await.map(drop) })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            match self.ask(Op::PutIfAbsent(key.to_owned(), body)).await? {
                Answer::Put(outcome) => Ok(outcome),
                other => unreachable!("{other:?}"),
            }
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        let store = Self {
            clock: Mutex::new(*self.clock.lock().unwrap()),
            ..Self::new(&self.sim, self.pid)
        };
        let (key, body) = (key.to_owned(), Vec::new());
        Box::pin(async move { Ok(Box::new(Writer { store, key, body }) as Box<dyn ObjectWriter>) })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(async move {
            let after = start_after.unwrap_or_default().to_owned();
            match self.ask(Op::List(prefix.to_owned(), after)).await? {
                Answer::Listed(found) => Ok(found),
                other => unreachable!("{other:?}"),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.ask(Op::Delete(key.to_owned())).await.map(drop) })
    }

    fn append<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        unreachable!("a WAL has a store of its own")
    }

    fn lock<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        unreachable!("a WAL has a store of its own")
    }
}

struct Writer {
    store: SimStore,
    key: String,
    body: Vec<u8>,
}

impl ObjectWriter for Writer {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        self.body.extend_from_slice(&chunk);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let Self { store, key, body } = *self;
            store.put(&key, body.into()).await
        })
    }
}
