//! Counts requests and bytes of any store, by kind: cost is a promise (DESIGN section 7), so it is
//! visible in `stats()` and asserted by tests.

use super::{
    AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage, StoreClock,
};
use crate::error::Result;
use bytes::Bytes;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Requests made to a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Whole, ranged and suffix reads.
    pub get: u64,
    /// Unconditional writes, those in pieces counted once.
    pub put: u64,
    /// Conditional writes.
    pub put_if_absent: u64,
    /// Listings.
    pub list: u64,
    /// Deletions.
    pub delete: u64,
    /// Writes to append files.
    pub append: u64,
    /// Syncs of append files.
    pub sync: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// How many of the requests above repeated one that had failed.
    pub retries: u64,
}

impl Requests {
    /// What was added since `before`.
    fn since(self, before: Self) -> Self {
        Self {
            get: self.get.saturating_sub(before.get),
            put: self.put.saturating_sub(before.put),
            put_if_absent: self.put_if_absent.saturating_sub(before.put_if_absent),
            list: self.list.saturating_sub(before.list),
            delete: self.delete.saturating_sub(before.delete),
            append: self.append.saturating_sub(before.append),
            sync: self.sync.saturating_sub(before.sync),
            bytes_read: self.bytes_read.saturating_sub(before.bytes_read),
            bytes_written: self.bytes_written.saturating_sub(before.bytes_written),
            retries: self.retries.saturating_sub(before.retries),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    get: AtomicU64,
    put: AtomicU64,
    put_if_absent: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
    append: AtomicU64,
    sync: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

/// A store that counts.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Storage>,
    counters: Arc<Counters>,
    /// What `inner` had counted itself by the time it came here.
    before: Requests,
}

impl Counted {
    /// Counts what goes to `inner` from now on.
    pub fn new(inner: Arc<dyn Storage>) -> Arc<Self> {
        let before = inner.requests().unwrap_or_default();
        Arc::new(Self {
            inner,
            counters: Arc::default(),
            before,
        })
    }

    /// The counts so far.
    pub fn requests(&self) -> Requests {
        if let Some(own) = self.inner.requests() {
            return own.since(self.before);
        }
        let c = &self.counters;
        Requests {
            get: c.get.load(Relaxed),
            put: c.put.load(Relaxed),
            put_if_absent: c.put_if_absent.load(Relaxed),
            list: c.list.load(Relaxed),
            delete: c.delete.load(Relaxed),
            append: c.append.load(Relaxed),
            sync: c.sync.load(Relaxed),
            bytes_read: c.bytes_read.load(Relaxed),
            bytes_written: c.bytes_written.load(Relaxed),
            retries: 0,
        }
    }

    fn read(&self, bytes: usize) {
        self.counters.bytes_read.fetch_add(bytes as u64, Relaxed);
    }
}

impl Storage for Counted {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    fn clock(&self) -> Option<StoreClock> {
        self.inner.clock()
    }

    fn requests(&self) -> Option<Requests> {
        Some(Counted::requests(self))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.counters.get.fetch_add(1, Relaxed);
        Box::pin(async move {
            let found = self.inner.get(key).await?;
            self.read(found.as_ref().map_or(0, Bytes::len));
            Ok(found)
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.counters.get.fetch_add(1, Relaxed);
        Box::pin(async move {
            let found = self.inner.get_range(key, range).await?;
            self.read(found.as_ref().map_or(0, Bytes::len));
            Ok(found)
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        self.counters.get.fetch_add(1, Relaxed);
        Box::pin(async move {
            let found = self.inner.get_suffix(key, length).await?;
            self.read(found.as_ref().map_or(0, |(bytes, _)| bytes.len()));
            Ok(found)
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        self.counters.put.fetch_add(1, Relaxed);
        self.counters
            .bytes_written
            .fetch_add(body.len() as u64, Relaxed);
        self.inner.put(key, body)
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        self.counters.put_if_absent.fetch_add(1, Relaxed);
        self.counters
            .bytes_written
            .fetch_add(body.len() as u64, Relaxed);
        self.inner.put_if_absent(key, body)
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(async move {
            let inner = self.inner.create(key).await?;
            let counters = self.counters.clone();
            Ok(Box::new(CountedWriter { inner, counters }) as Box<dyn ObjectWriter>)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        self.counters.list.fetch_add(1, Relaxed);
        self.inner.list(prefix, start_after)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.counters.delete.fetch_add(1, Relaxed);
        self.inner.delete(key)
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(async move {
            let inner = self.inner.append(key).await?;
            let counters = self.counters.clone();
            Ok(Box::new(CountedAppend { inner, counters }) as Box<dyn AppendFile>)
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        self.inner.lock(name)
    }
}

struct CountedWriter {
    inner: Box<dyn ObjectWriter>,
    counters: Arc<Counters>,
}

impl ObjectWriter for CountedWriter {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        self.counters
            .bytes_written
            .fetch_add(chunk.len() as u64, Relaxed);
        self.inner.write(chunk)
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.counters.put.fetch_add(1, Relaxed);
        self.inner.finish()
    }
}

struct CountedAppend {
    inner: Box<dyn AppendFile>,
    counters: Arc<Counters>,
}

impl AppendFile for CountedAppend {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        self.counters.append.fetch_add(1, Relaxed);
        self.counters
            .bytes_written
            .fetch_add(chunk.len() as u64, Relaxed);
        self.inner.write(chunk)
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        self.counters.sync.fetch_add(1, Relaxed);
        self.inner.sync()
    }

    fn confirm<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        self.inner.confirm()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.inner.close()
    }
}
