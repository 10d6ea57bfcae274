//! A WAL directory in memory that can fail and crash: what was not synced is lost on `power_cut`.
//! Only what the WAL uses of `Storage` is there; everything resolves at once, see `now`.

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{pending, ready},
};
use lakeshore::{
    Error, ErrorKind, Result,
    env::{
        AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Runtime, Storage,
    },
};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The result of a future that never waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the test store never waits")
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// How much of it is durable; `None` if not even its name is.
    synced: Option<usize>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<String, File>,
    /// Bytes that can still be written; a write beyond writes what fits and fails.
    space: Option<usize>,
    failing_syncs: usize,
    /// Writes write half and never return.
    stalled: bool,
    syncs: usize,
    writes: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct WalStore(Arc<Mutex<Inner>>);

impl WalStore {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// A second store with the same files, all of them durable.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        for (key, bytes) in self.files() {
            copy.set(&key, bytes);
        }
        copy
    }

    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.with(|i| {
            let files = i.files.iter();
            files.map(|(k, f)| (k.clone(), f.bytes.clone())).collect()
        })
    }

    pub(crate) fn set(&self, key: &str, bytes: Vec<u8>) {
        let synced = Some(bytes.len());
        self.with(|i| i.files.insert(key.to_owned(), File { bytes, synced }));
    }

    pub(crate) fn remove(&self, key: &str) {
        self.with(|i| i.files.remove(key));
    }

    pub(crate) fn space(&self, space: Option<usize>) {
        self.with(|i| i.space = space);
    }

    pub(crate) fn fail_syncs(&self, count: usize) {
        self.with(|i| i.failing_syncs = count);
    }

    pub(crate) fn stall(&self, stalled: bool) {
        self.with(|i| i.stalled = stalled);
    }

    pub(crate) fn syncs(&self) -> usize {
        self.with(|i| i.syncs)
    }

    pub(crate) fn writes(&self) -> usize {
        self.with(|i| i.writes)
    }

    /// Of each file's unsynced bytes, `keep` decides how many survive, and whether zeros follow.
    pub(crate) fn power_cut(&self, mut keep: impl FnMut(usize) -> (usize, usize)) {
        self.with(|i| {
            i.files.retain(|_, file| {
                let synced = file.synced.unwrap_or(0);
                let (kept, zeros) = keep(file.bytes.len() - synced);
                file.bytes.truncate(synced + kept);
                file.bytes.resize(synced + kept + zeros, 0);
                let exists = file.synced.is_some() || kept + zeros > 0;
                file.synced = Some(file.bytes.len());
                exists
            });
            i.space = None;
        });
    }
}

struct Append {
    store: WalStore,
    key: String,
}

fn gone(key: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{key} was deleted"))
}

impl AppendFile for Append {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        if self.store.with(|i| i.stalled) {
            self.store.with(|i| {
                let file = i.files.entry(self.key.clone()).or_default();
                file.bytes.extend(&chunk[..chunk.len() / 2]);
            });
            return pending().boxed();
        }
        let result = self.store.with(|i| {
            i.writes += 1;
            let fits = i.space.map_or(chunk.len(), |space| space.min(chunk.len()));
            i.space = i.space.map(|space| space - fits);
            let file = i.files.get_mut(&self.key).ok_or_else(|| gone(&self.key))?;
            file.bytes.extend_from_slice(&chunk[..fits]);
            if fits < chunk.len() {
                return Err(Error::new(ErrorKind::Unavailable, "no space left"));
            }
            Ok(())
        });
        ready(result).boxed()
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        let result = self.store.with(|i| {
            i.syncs += 1;
            if i.failing_syncs > 0 {
                i.failing_syncs -= 1;
                return Err(Error::new(ErrorKind::Unavailable, "input/output error"));
            }
            let file = i.files.get_mut(&self.key).ok_or_else(|| gone(&self.key))?;
            file.synced = Some(file.bytes.len());
            Ok(())
        });
        ready(result).boxed()
    }

    fn len(&self) -> u64 {
        let file = |i: &mut Inner| i.files.get(&self.key).map_or(0, |f| f.bytes.len());
        self.store.with(file) as u64
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        ready(Ok(())).boxed()
    }
}

impl Storage for WalStore {
    fn describe(&self) -> String {
        "test memory".to_owned()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        let bytes = self.with(|i| i.files.get(key).map(|f| Bytes::from(f.bytes.clone())));
        ready(Ok(bytes)).boxed()
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        let range = range.start as usize..range.end as usize;
        let found = self.with(|i| {
            let file = i.files.get(key)?;
            Some(file.bytes.get(range).map(Bytes::copy_from_slice))
        });
        let short = || Error::new(ErrorKind::Corrupt, format!("{key} is too short"));
        ready(found.map(|bytes| bytes.ok_or_else(short)).transpose()).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        let metas = self.with(|i| {
            let wanted = |key: &str| key.starts_with(prefix) && Some(key) > start_after;
            let files = i.files.iter().filter(|(key, _)| wanted(key));
            let meta = |(key, file): (&String, &File)| ObjectMeta {
                key: key.clone(),
                size: file.bytes.len() as u64,
                modified: None,
            };
            files.map(meta).collect()
        });
        ready(Ok(metas)).boxed()
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.remove(key);
        ready(Ok(())).boxed()
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        self.with(|i| i.files.entry(key.to_owned()).or_default().bytes.len());
        let (store, key) = (self.clone(), key.to_owned());
        ready(Ok(Box::new(Append { store, key }) as Box<dyn AppendFile>)).boxed()
    }

    fn get_suffix<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        panic!("the WAL must not ask for this")
    }

    fn put<'a>(&'a self, _: &'a str, _: Bytes) -> BoxFuture<'a, Result<()>> {
        panic!("the WAL must not ask for this")
    }

    fn put_if_absent<'a>(&'a self, _: &'a str, _: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        panic!("the WAL must not ask for this")
    }

    fn create<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        panic!("the WAL must not ask for this")
    }

    fn lock<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        panic!("the WAL must not ask for this")
    }
}

/// A clock that a test moves, and a generator with a seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct TestRuntime {
    pub(crate) clock: Mutex<Duration>,
    seed: Mutex<u64>,
}

impl TestRuntime {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            clock: Mutex::default(),
            seed: Mutex::new(seed | 1),
        })
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        let mut seed = self.seed.lock().unwrap();
        *seed ^= *seed >> 12;
        *seed ^= *seed << 25;
        *seed ^= *seed >> 27;
        (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

impl Runtime for TestRuntime {
    fn now_micros(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        *self.clock.lock().unwrap()
    }

    fn random(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.below(256) as u8);
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn spawn(&self, _: BoxFuture<'static, ()>) {
        panic!("the WAL must not ask for this")
    }
}
