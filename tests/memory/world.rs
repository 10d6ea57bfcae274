//! Databases with options as on wasm, over a store whose answers are copies: what is read is allocated.

use bytes::Bytes;
use lakeshore::{
    Db, Env, Options, Result,
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    platform::{memory::Memory, native::TokioRuntime},
};
use std::{ops::Range, sync::Arc};

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// The defaults of a small memory.
pub fn small(memory_bytes: usize) -> Options {
    Options {
        memory_bytes,
        wal_segment_bytes: 4 * MIB as u64,
        seal_bytes: 6 * MIB,
        memtable_limit_bytes: 12 * MIB,
        backlog_bytes: 12 * MIB,
        sstable_bytes: 16 * MIB,
        row_group_rows: 65_536,
        batch_rows: 16_384,
        concurrency: 6,
        commit_bytes: 64 * MIB,
        conflict_bytes: 2 * MIB,
        ..Options::default()
    }
}

/// The same files, written with plenty of memory: what is measured is something else.
pub fn plenty() -> Options {
    small(1024 * MIB)
}

/// Opens the database of a store, without a WAL.
pub async fn open(store: &Arc<Memory>, options: Options) -> Db {
    let env = Env {
        data: Arc::new(Copies(store.clone())),
        wal: None,
        runtime: TokioRuntime::current().unwrap(),
    };
    Db::open(env, options).await.unwrap()
}

/// Gives out copies, and yields before: as if the bytes came from elsewhere.
#[derive(Debug)]
pub struct Copies(pub Arc<Memory>);

async fn copied<T>(
    answer: BoxFuture<'_, Result<Option<T>>>,
    copy: fn(T) -> T,
) -> Result<Option<T>> {
    tokio::task::yield_now().await;
    Ok(answer.await?.map(copy))
}

fn copy(bytes: Bytes) -> Bytes {
    Bytes::from(bytes.to_vec())
}

impl Storage for Copies {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(copied(self.0.get(key), copy))
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(copied(self.0.get_range(key, range), copy))
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        let answer = self.0.get_suffix(key, length);
        Box::pin(copied(answer, |(bytes, size)| (copy(bytes), size)))
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        self.0.put(key, body)
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        self.0.put_if_absent(key, body)
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        self.0.create(key)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        self.0.list(prefix, start_after)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.0.delete(key)
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        self.0.append(key)
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        self.0.lock(name)
    }
}
