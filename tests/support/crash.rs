//! A deterministic store in memory that can fail or stop at any operation, and says what is left
//! after a power cut.
//!
//! What it keeps apart: the *live* names and bytes, which the process sees, from the *durable* ones.
//! - `put`, `put_if_absent`, `ObjectWriter::finish`: durable, atomically, when they return `Ok`.
//! - An append file: its bytes up to the last `sync`; its name from the first one on.
//! - A deletion: from the next durable write in the same directory on.
//!
//! [`CrashStorage::crash`] cuts the power: of what is not durable the seed decides. Unsynced bytes of
//! a file survive whole, torn at a byte, with their tail zeroed, or not at all; a name that was never
//! synced may vanish; a deletion may be undone. [`CrashStorage::kill`] ends only the process: the page
//! cache survives. Both give a new world; the old one stays as it is, for another crash.

use super::random::Random;
use bytes::Bytes;
use lakeshore::{
    Error, ErrorKind, Result,
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

/// Where an operation breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It does not happen.
    Before,
    /// It happens in part, by seed: an object is there or not, a prefix of a write is.
    Within,
    /// It happens; only the reply is lost.
    After,
}

/// Bytes of one object or append file.
#[derive(Clone, Debug)]
struct File {
    bytes: Vec<u8>,
    /// This many survive a power cut, if the name does.
    synced: usize,
}

type Shared = Arc<Mutex<File>>;

#[derive(Default)]
struct World {
    live: BTreeMap<String, Shared>,
    durable: BTreeMap<String, Shared>,
    /// Durable names whose deletion is not durable.
    deleted: BTreeSet<String>,
    locks: BTreeSet<String>,
    operations: u64,
    stop_at: Option<(u64, When)>,
    fail_at: BTreeMap<u64, When>,
    stopped: bool,
    ignore_sync: bool,
    /// So many questions whether a lock is held are answered; then one fails.
    confirms: Option<usize>,
    trace: Vec<String>,
    random: Option<Random>,
}

/// A handle on the world, or on the part of it below a prefix. Clones share.
#[derive(Clone)]
pub struct CrashStorage {
    world: Arc<Mutex<World>>,
    prefix: String,
}

/// How one operation goes.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Fine,
    Breaks(When),
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "stopped")
}

fn directory(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn whole(bytes: &[u8]) -> Shared {
    Arc::new(Mutex::new(File {
        bytes: bytes.to_vec(),
        synced: bytes.len(),
    }))
}

fn of(file: &Shared) -> MutexGuard<'_, File> {
    file.lock().unwrap()
}

impl World {
    fn random(&mut self) -> &mut Random {
        self.random.get_or_insert_with(|| Random::new(0))
    }

    /// Counts an operation and says how it goes.
    fn begin(&mut self, what: fmt::Arguments<'_>) -> Result<Fate> {
        if self.stopped {
            return Err(stopped());
        }
        let number = self.operations;
        self.operations += 1;
        let mut fate = Fate::Fine;
        if let Some(when) = self.fail_at.remove(&number) {
            fate = Fate::Breaks(when);
        }
        if let Some((at, when)) = self.stop_at
            && at == number
        {
            self.stopped = true;
            fate = Fate::Breaks(when);
        }
        let mark = match fate {
            Fate::Fine => String::new(),
            Fate::Breaks(when) if self.stopped => format!("  STOP {when:?}"),
            Fate::Breaks(when) => format!("  FAIL {when:?}"),
        };
        self.trace.push(format!("{number:5} {what}{mark}"));
        Ok(fate)
    }

    /// Whether an atomic effect happens.
    fn happens(&mut self, fate: Fate) -> bool {
        match fate {
            Fate::Fine | Fate::Breaks(When::After) => true,
            Fate::Breaks(When::Before) => false,
            Fate::Breaks(When::Within) => self.random().chance(0.5),
        }
    }

    /// Makes `key` a durable name of `file`, and the deletions in its directory durable.
    fn name(&mut self, key: &str, file: Shared) {
        let settled: Vec<String> = self
            .deleted
            .iter()
            .filter(|deleted| directory(deleted) == directory(key))
            .cloned()
            .collect();
        for deleted in settled {
            self.deleted.remove(&deleted);
            self.durable.remove(&deleted);
        }
        self.deleted.remove(key);
        self.durable.insert(key.to_owned(), file.clone());
        self.live.insert(key.to_owned(), file);
    }
}

fn reply<T>(fate: Fate, value: T) -> Result<T> {
    match fate {
        Fate::Fine => Ok(value),
        Fate::Breaks(when) => Err(Error::new(
            ErrorKind::Unavailable,
            format!("broken off: {when:?}"),
        )),
    }
}

impl CrashStorage {
    /// An empty world; `seed` decides what happens to operations that break off within.
    pub fn new(seed: u64) -> Self {
        let world = World {
            random: Some(Random::new(seed)),
            ..World::default()
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            prefix: String::new(),
        }
    }

    /// The same world below `name/`: several stores whose operations are counted together.
    pub fn at(&self, name: &str) -> Arc<Self> {
        Arc::new(Self {
            world: self.world.clone(),
            prefix: format!("{name}/"),
        })
    }

    /// Operation `n` (from 0) and all after it break off.
    pub fn stop_at(&self, n: u64, when: When) {
        self.world().stop_at = Some((n, when));
    }

    /// Operation `n` (from 0) fails, once.
    pub fn fail_at(&self, n: u64, when: When) {
        self.world().fail_at.insert(n, when);
    }

    /// Every operation from now on breaks off before.
    pub fn stop(&self) {
        self.world().stopped = true;
    }

    /// After `n` more questions whether a lock is held, one cannot be answered.
    pub fn fail_confirm(&self, n: usize) {
        self.world().confirms = Some(n);
    }

    /// The planted mutant: syncs of append files do nothing and say `Ok`.
    pub fn ignore_sync(&self, yes: bool) {
        self.world().ignore_sync = yes;
    }

    /// How many operations there were: reads, writes, opens, syncs, locks; not `close` or `release`.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Whether the stop was reached.
    pub fn is_stopped(&self) -> bool {
        self.world().stopped
    }

    /// One line an operation.
    pub fn trace(&self) -> Vec<String> {
        self.world().trace.clone()
    }

    /// Every live object, outside of the count.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.world();
        let mine = world.live.iter().filter_map(|(key, file)| {
            let key = key.strip_prefix(&self.prefix)?;
            Some((key.to_owned(), of(file).bytes.clone()))
        });
        mine.collect()
    }

    /// Replaces an object, outside of the count: to plant damage.
    pub fn set(&self, key: &str, bytes: &[u8]) {
        let key = self.key(key);
        self.world().name(&key, whole(bytes));
    }

    /// The world after a power cut; of what was not durable, `seed` decides.
    pub fn crash(&self, seed: u64) -> Arc<Self> {
        let random = &mut Random::new(seed);
        let world = self.world();
        let mut names = world.durable.clone();
        for key in &world.deleted {
            if random.chance(0.5) {
                names.remove(key);
            }
        }
        for (key, file) in &world.live {
            if !world.durable.contains_key(key) && random.chance(0.5) {
                names.insert(key.clone(), file.clone());
            }
        }
        let left = names.into_iter().map(|(key, file)| {
            let bytes = survivors(&of(&file), random);
            (key, whole(&bytes))
        });
        let left: BTreeMap<String, Shared> = left.collect();
        self.successor(World {
            live: left.clone(),
            durable: left,
            random: Some(Random::new(seed ^ 0xC0FFEE)),
            ignore_sync: world.ignore_sync,
            ..World::default()
        })
    }

    /// The world after the process was killed: nothing is lost, nothing more is durable.
    pub fn kill(&self) -> Arc<Self> {
        let world = self.world();
        let mut copies: BTreeMap<*const Mutex<File>, Shared> = BTreeMap::new();
        let mut copy = |files: &BTreeMap<String, Shared>| {
            let copied = files.iter().map(|(key, file)| {
                let fresh = || Arc::new(Mutex::new(of(file).clone()));
                let file = copies.entry(Arc::as_ptr(file)).or_insert_with(fresh);
                (key.clone(), file.clone())
            });
            copied.collect::<BTreeMap<String, Shared>>()
        };
        self.successor(World {
            live: copy(&world.live),
            durable: copy(&world.durable),
            deleted: world.deleted.clone(),
            random: Some(Random::new(world.operations)),
            ignore_sync: world.ignore_sync,
            ..World::default()
        })
    }

    fn successor(&self, world: World) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::new(Mutex::new(world)),
            prefix: self.prefix.clone(),
        })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn read(
        &self,
        what: fmt::Arguments<'_>,
        key: &str,
        pick: impl FnOnce(u64) -> Range<u64>,
    ) -> Result<Option<(Bytes, u64)>> {
        check(key)?;
        let key = self.key(key);
        let mut world = self.world();
        let fate = world.begin(what)?;
        reply(fate, ())?;
        let Some(file) = world.live.get(&key) else {
            return Ok(None);
        };
        let file = of(file);
        let size = file.bytes.len() as u64;
        let range = pick(size);
        if range.start > range.end || range.end > size {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("object {key}: expected bytes {range:?}, but it ends at {size}"),
            ));
        }
        let bytes = &file.bytes[range.start as usize..range.end as usize];
        Ok(Some((Bytes::copy_from_slice(bytes), size)))
    }

    fn replace(&self, what: fmt::Arguments<'_>, key: &str, body: &[u8]) -> Result<()> {
        let key = self.key(key);
        let mut world = self.world();
        let fate = world.begin(what)?;
        if world.happens(fate) {
            world.name(&key, whole(body));
        }
        reply(fate, ())
    }
}

/// What a power cut leaves of a file.
fn survivors(file: &File, random: &mut Random) -> Vec<u8> {
    let (synced, unsynced) = file.bytes.split_at(file.synced);
    let mut bytes = synced.to_vec();
    let torn = random.below(unsynced.len() + 1);
    match random.below(4) {
        0 => bytes.extend_from_slice(unsynced),
        1 => bytes.extend_from_slice(&unsynced[..torn]),
        2 => {
            // The length came before the blocks.
            bytes.extend_from_slice(&unsynced[..torn]);
            bytes.resize(file.bytes.len(), 0);
        }
        _ => {}
    }
    bytes
}

fn check(key: &str) -> Result<()> {
    let good = |s: &str| {
        !s.is_empty()
            && s.len() <= 250
            && s != "."
            && s != ".."
            && !s.starts_with(".tmp-")
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if key.len() <= 1024 && key.split('/').all(good) && !key.ends_with(".lock") {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{key:?} is not a key"),
    ))
}

impl fmt::Debug for CrashStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrashStorage({})", self.prefix)
    }
}

impl Storage for CrashStorage {
    fn describe(&self) -> String {
        format!("crash storage {}", self.prefix)
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let read = self.read(format_args!("get {}{key}", self.prefix), key, |size| {
                0..size
            })?;
            Ok(read.map(|(bytes, _)| bytes))
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let what = format!("get {}{key} {range:?}", self.prefix);
            let read = self.read(format_args!("{what}"), key, |_| range)?;
            Ok(read.map(|(bytes, _)| bytes))
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(async move {
            let pick = |size: u64| size.saturating_sub(length)..size;
            self.read(
                format_args!("get {}{key} -{length}", self.prefix),
                key,
                pick,
            )
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check(key)?;
            let what = format!("put {}{key} {} B", self.prefix, body.len());
            self.replace(format_args!("{what}"), key, &body)
        })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            check(key)?;
            let key = self.key(key);
            let mut world = self.world();
            let fate = world.begin(format_args!("put_if_absent {key} {} B", body.len()))?;
            if world.live.contains_key(&key) {
                return reply(fate, PutOutcome::Exists);
            }
            if world.happens(fate) {
                world.name(&key, whole(&body));
            }
            reply(fate, PutOutcome::Created)
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(async move {
            check(key)?;
            let fate = self
                .world()
                .begin(format_args!("create {}{key}", self.prefix))?;
            let writer = Writer {
                store: self.clone(),
                key: key.to_owned(),
                body: Vec::new(),
            };
            reply(fate, Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(async move {
            if let Some((directory, _)) = prefix.rsplit_once('/') {
                check(directory)?;
            }
            if !prefix.is_empty() && !prefix.ends_with('/') {
                check(prefix)?;
            }
            let mut world = self.world();
            let fate = world.begin(format_args!("list {}{prefix} {start_after:?}", self.prefix))?;
            let found = world.live.iter().filter_map(|(key, file)| {
                let key = key.strip_prefix(&self.prefix)?;
                let wanted = key.starts_with(prefix) && start_after.is_none_or(|a| key > a);
                wanted.then(|| ObjectMeta {
                    key: key.to_owned(),
                    size: of(file).bytes.len() as u64,
                    modified: None,
                })
            });
            let found = found.collect();
            reply(fate, found)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check(key)?;
            let key = self.key(key);
            let mut world = self.world();
            let fate = world.begin(format_args!("delete {key}"))?;
            let gone = world.happens(fate) && world.live.remove(&key).is_some();
            if gone && world.durable.contains_key(&key) {
                world.deleted.insert(key);
            }
            reply(fate, ())
        })
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(async move {
            check(key)?;
            let key = self.key(key);
            let mut world = self.world();
            let fate = world.begin(format_args!("append {key}"))?;
            if !world.happens(fate) {
                return Err(reply(fate, ()).err().unwrap_or_else(stopped));
            }
            let file = world
                .live
                .entry(key.clone())
                .or_insert_with(|| whole(&[]))
                .clone();
            let length = of(&file).bytes.len() as u64;
            let appender = Appender {
                store: self.clone(),
                key,
                file,
                length,
            };
            reply(fate, Box::new(appender) as Box<dyn AppendFile>)
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        Box::pin(async move {
            check(name)?;
            let name = self.key(name);
            let mut world = self.world();
            let fate = world.begin(format_args!("lock {name}"))?;
            reply(fate, ())?;
            if !world.locks.insert(name.clone()) {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("lock {name} is held by another handle of this test"),
                ));
            }
            let store = self.clone();
            Ok(Box::new(Guard { store, name }) as Box<dyn LockGuard>)
        })
    }
}

struct Writer {
    store: CrashStorage,
    key: String,
    body: Vec<u8>,
}

impl ObjectWriter for Writer {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (prefix, key) = (&self.store.prefix, &self.key);
            let what = format!("write {prefix}{key} {} B", chunk.len());
            let fate = self.store.world().begin(format_args!("{what}"))?;
            self.body.extend_from_slice(&chunk);
            reply(fate, ())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let (prefix, key) = (&self.store.prefix, &self.key);
            let what = format!("finish {prefix}{key} {} B", self.body.len());
            self.store.replace(format_args!("{what}"), key, &self.body)
        })
    }
}

struct Appender {
    store: CrashStorage,
    /// With the prefix.
    key: String,
    file: Shared,
    length: u64,
}

impl AppendFile for Appender {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut world = self.store.world();
            let what = format!("write {} {} B", self.key, chunk.len());
            let fate = world.begin(format_args!("{what}"))?;
            let written = match fate {
                Fate::Breaks(When::Before) => 0,
                Fate::Breaks(When::Within) => world.random().below(chunk.len() + 1),
                _ => chunk.len(),
            };
            of(&self.file).bytes.extend_from_slice(&chunk[..written]);
            self.length += written as u64;
            reply(fate, ())
        })
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut world = self.store.world();
            let fate = world.begin(format_args!("sync {}", self.key))?;
            if world.ignore_sync {
                return reply(fate, ());
            }
            let within = fate == Fate::Breaks(When::Within);
            {
                let mut file = of(&self.file);
                let unsynced = file.bytes.len() - file.synced;
                file.synced += match fate {
                    Fate::Breaks(When::Before) => 0,
                    Fate::Breaks(When::Within) => world.random().below(unsynced + 1),
                    _ => unsynced,
                };
            }
            // The name comes last; a file deleted or replaced meanwhile has none.
            let named = world.live.get(&self.key);
            let named = named.is_some_and(|file| Arc::ptr_eq(file, &self.file));
            if named
                && (!within || world.random().chance(0.5))
                && fate != Fate::Breaks(When::Before)
            {
                let (key, file) = (self.key.clone(), self.file.clone());
                world.name(&key, file);
            }
            reply(fate, ())
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
    store: CrashStorage,
    name: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.store.world().locks.remove(&self.name);
    }
}

impl LockGuard for Guard {
    fn confirm(&self) -> Result<()> {
        let mut world = self.store.world();
        world.confirms = match world.confirms {
            Some(0) => {
                world.confirms = None;
                let why = "too many open files";
                return Err(Error::new(ErrorKind::Unavailable, why));
            }
            left => left.map(|left| left - 1),
        };
        Ok(())
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}
