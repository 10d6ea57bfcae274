//! A store in memory: for tests, caches and databases that need not last. Durable as long as the
//! process. Invariants: as in `env/storage.rs`; a clone is another handle on the same objects; an
//! append file deleted while open swallows what is written to it, as a file system does.

use super::{
    fusio_store::fusio_store,
    key::{check_key, check_lock_name, check_prefix, ends_early},
};
use crate::{
    env::{
        AppendFile, BoxFuture, Env, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Runtime,
        Storage,
    },
    error::{Error, ErrorKind, Result},
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    ops::{Bound, Range},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How often each request was made since the store was created. Requests refused as `Invalid` do
/// not count; ranged and suffix reads count as `get`, `ObjectWriter::finish` as `put`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads of an object or a part of it, also of one that is not there.
    pub get: u64,
    /// Unconditional writes of a whole object.
    pub put: u64,
    /// Conditional writes, won or lost.
    pub put_if_absent: u64,
    /// Listings.
    pub list: u64,
    /// Deletions.
    pub delete: u64,
    /// Writes to append files.
    pub append_write: u64,
    /// Syncs of append files.
    pub sync: u64,
    /// Bytes written, by every kind of write.
    pub bytes_in: u64,
    /// Bytes read.
    pub bytes_out: u64,
}

#[derive(Default)]
struct Counts {
    get: AtomicU64,
    put: AtomicU64,
    put_if_absent: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
    append_write: AtomicU64,
    sync: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

struct Object {
    body: Body,
    /// When it was written, if the store has a clock; an append file: when it was created.
    modified: Option<i64>,
}

enum Body {
    Whole(Bytes),
    /// An append file; its open handles share the buffer.
    Growing(Arc<Mutex<BytesMut>>),
}

impl Body {
    fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Growing(buffer) => held(buffer).len() as u64,
        }
    }

    /// The bytes of `range`, which lies within the object.
    fn read(&self, range: Range<usize>) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes.slice(range),
            Self::Growing(buffer) => Bytes::copy_from_slice(&held(buffer)[range]),
        }
    }
}

#[derive(Default)]
struct Shared {
    objects: Mutex<BTreeMap<String, Object>>,
    locks: Mutex<BTreeSet<String>>,
    clock: Mutex<Option<Clock>>,
    counts: Counts,
}

/// Microseconds since the Unix epoch.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Objects in memory. See the module's documentation.
#[derive(Clone, Default)]
pub struct Memory {
    shared: Arc<Shared>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Memory {
    /// An empty store.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// From now on objects are written at the time that `clock` says, in microseconds since the Unix
    /// epoch; without a clock their age is not known.
    pub fn set_clock(&self, clock: impl Fn() -> i64 + Send + Sync + 'static) {
        *held(&self.shared.clock) = Some(Arc::new(clock));
    }

    fn now(&self) -> Option<i64> {
        let clock = held(&self.shared.clock).clone();
        clock.map(|clock| clock())
    }

    fn whole(&self, body: Bytes) -> Object {
        Object {
            body: Body::Whole(body),
            modified: self.now(),
        }
    }

    /// How often each request was made so far.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.shared.counts;
        Counters {
            get: read(&counts.get),
            put: read(&counts.put),
            put_if_absent: read(&counts.put_if_absent),
            list: read(&counts.list),
            delete: read(&counts.delete),
            append_write: read(&counts.append_write),
            sync: read(&counts.sync),
            bytes_in: read(&counts.bytes_in),
            bytes_out: read(&counts.bytes_out),
        }
    }

    /// Reads the range that `pick` chooses, given the size.
    fn read(
        &self,
        key: &str,
        pick: impl FnOnce(u64) -> Result<Range<u64>>,
    ) -> Result<Option<(Bytes, u64)>> {
        check_key(key)?;
        add(&self.shared.counts.get, 1);
        let objects = held(&self.shared.objects);
        let Some(object) = objects.get(key) else {
            return Ok(None);
        };
        let size = object.body.len();
        let range = pick(size)?;
        let bytes = object.body.read(range.start as usize..range.end as usize);
        add(&self.shared.counts.bytes_out, bytes.len() as u64);
        Ok(Some((bytes, size)))
    }

    fn insert(&self, key: &str, body: Bytes) {
        add(&self.shared.counts.put, 1);
        add(&self.shared.counts.bytes_in, body.len() as u64);
        let object = self.whole(body);
        held(&self.shared.objects).insert(key.to_owned(), object);
    }

    fn insert_if_absent(&self, key: &str, body: Bytes) -> PutOutcome {
        add(&self.shared.counts.put_if_absent, 1);
        let length = body.len() as u64;
        let object = self.whole(body);
        match held(&self.shared.objects).entry(key.to_owned()) {
            Entry::Occupied(_) => PutOutcome::Exists,
            Entry::Vacant(slot) => {
                slot.insert(object);
                add(&self.shared.counts.bytes_in, length);
                PutOutcome::Created
            }
        }
    }

    fn growing(&self, key: &str) -> Arc<Mutex<BytesMut>> {
        let new = self.whole(Bytes::new());
        let mut objects = held(&self.shared.objects);
        let body = &mut objects.entry(key.to_owned()).or_insert(new).body;
        match body {
            Body::Growing(buffer) => buffer.clone(),
            Body::Whole(bytes) => {
                let buffer = Arc::new(Mutex::new(BytesMut::from(bytes.as_ref())));
                *body = Body::Growing(buffer.clone());
                buffer
            }
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Env {
    /// A database in memory: objects in a new store, no WAL.
    pub fn memory(runtime: Arc<dyn Runtime>) -> Self {
        let data = Memory::new();
        let clock = runtime.clone();
        data.set_clock(move || clock.now_micros());
        Self {
            data,
            wal: None,
            runtime,
        }
    }
}

fusio_store!(Memory, Memory);

impl Storage for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn identity(&self) -> Option<String> {
        Some(format!("memory {:p}", Arc::as_ptr(&self.shared)))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { Ok(self.read(key, |size| Ok(0..size))?.map(|(bytes, _)| bytes)) })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let pick = |size| {
                if range.start <= range.end && range.end <= size {
                    Ok(range)
                } else {
                    Err(ends_early(key, &range, size))
                }
            };
            Ok(self.read(key, pick)?.map(|(bytes, _)| bytes))
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(async move { self.read(key, |size| Ok(size.saturating_sub(length)..size)) })
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_key(key)?;
            self.insert(key, body);
            Ok(())
        })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            check_key(key)?;
            Ok(self.insert_if_absent(key, body))
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(async move {
            check_key(key)?;
            let writer = Writer {
                store: self.clone(),
                key: key.to_owned(),
                body: BytesMut::new(),
            };
            Ok(Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(async move {
            check_prefix(prefix)?;
            add(&self.shared.counts.list, 1);
            let from = match start_after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            let objects = held(&self.shared.objects);
            let entries = objects.range::<str, _>((from, Bound::Unbounded));
            Ok(entries
                .take_while(|(key, _)| key.starts_with(prefix))
                .map(|(key, object)| ObjectMeta {
                    key: key.clone(),
                    size: object.body.len(),
                    modified: object.modified,
                })
                .collect())
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_key(key)?;
            add(&self.shared.counts.delete, 1);
            held(&self.shared.objects).remove(key);
            Ok(())
        })
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(async move {
            check_key(key)?;
            let buffer = self.growing(key);
            let length = held(&buffer).len() as u64;
            let file = Appender {
                store: self.clone(),
                buffer,
                length,
            };
            Ok(Box::new(file) as Box<dyn AppendFile>)
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        Box::pin(async move {
            check_lock_name(name)?;
            if !held(&self.shared.locks).insert(name.to_owned()) {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "lock {name} of memory is held by another handle of this process: \
                         close that one first"
                    ),
                ));
            }
            let guard = Guard {
                store: self.clone(),
                name: name.to_owned(),
            };
            Ok(Box::new(guard) as Box<dyn LockGuard>)
        })
    }
}

struct Writer {
    store: Memory,
    key: String,
    body: BytesMut,
}

impl ObjectWriter for Writer {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.body.extend_from_slice(&chunk);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            self.store.insert(&self.key, self.body.freeze());
            Ok(())
        })
    }
}

struct Appender {
    store: Memory,
    buffer: Arc<Mutex<BytesMut>>,
    length: u64,
}

impl AppendFile for Appender {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let counts = &self.store.shared.counts;
            add(&counts.append_write, 1);
            add(&counts.bytes_in, chunk.len() as u64);
            held(&self.buffer).extend_from_slice(&chunk);
            self.length += chunk.len() as u64;
            Ok(())
        })
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            add(&self.store.shared.counts.sync, 1);
            Ok(())
        })
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

struct Guard {
    store: Memory,
    name: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        held(&self.store.shared.locks).remove(&self.name);
    }
}

impl LockGuard for Guard {
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}
