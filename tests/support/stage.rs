//! A stage for many calls at once without an executor: futures are polled one by one in a seeded
//! order, storage requests stall for a seeded number of polls before and after their effect, and a
//! call may vanish: never polled again, and not dropped either, as in a Worker whose client is gone.
//! The clocks are set by hand. Within tokio it runs on tokio, for tests that only want its clocks and
//! gates.

use super::random::Random;
use bytes::Bytes;
use futures_util::task::noop_waker;
use lakeshore::{
    Env, Error, ErrorKind, Result,
    env::{
        AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Runtime, Storage,
        StoreClock,
    },
    platform::memory::Memory,
};
use std::{
    fmt,
    future::poll_fn,
    ops::Range,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

/// Clocks in microseconds, and a seed for everything random.
pub struct Stage {
    pub wall: AtomicI64,
    pub monotonic: AtomicU64,
    /// The store's `Date`, if it has one, and when it was heard (monotonic).
    pub store: Mutex<Option<StoreClock>>,
    /// What the store's clock truly says, if it has one: each of its answers tells.
    pub truth: Mutex<Option<Arc<AtomicI64>>>,
    /// Whether no request of this device reaches the store.
    pub cut: AtomicBool,
    /// Most polls that a request takes before its effect, and after it.
    pub stall: AtomicU64,
    /// Closed, no request takes effect until it is opened.
    pub gate: Gate,
    /// Closed, no reply comes until it is opened. The effect has happened.
    pub hold: Gate,
    /// The next listing leaves this key out, as one of several pages may while gc runs.
    pub hide: Mutex<Option<String>>,
    pub spawned: Mutex<Vec<BoxFuture<'static, ()>>>,
    pub memory: Memory,
    random: Mutex<Random>,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stage")
    }
}

/// Stops requests whose key begins with a prefix.
#[derive(Default)]
pub struct Gate(Mutex<Option<&'static str>>);

impl Gate {
    pub fn close(&self, prefix: &'static str) {
        *self.0.lock().unwrap() = Some(prefix);
    }

    pub fn open(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn stops(&self, key: &str) -> bool {
        self.0
            .lock()
            .unwrap()
            .is_some_and(|prefix| key.starts_with(prefix))
    }
}

pub const START: i64 = 1_700_000_000_000_000;

impl Stage {
    #[allow(clippy::new_ret_no_self)]
    pub fn new(seed: u64) -> Arc<Self> {
        Self::over(seed, Memory::clone(&Memory::new()))
    }

    pub fn over(seed: u64, memory: Memory) -> Arc<Self> {
        Arc::new(Self {
            wall: START.into(),
            monotonic: 1_000_000.into(),
            store: Mutex::new(None),
            truth: Mutex::default(),
            cut: false.into(),
            stall: 0.into(),
            gate: Gate::default(),
            hold: Gate::default(),
            hide: Mutex::default(),
            spawned: Mutex::default(),
            memory,
            random: Mutex::new(Random::new(seed)),
        })
    }

    pub fn env(self: &Arc<Self>) -> Env {
        Env {
            data: Arc::new(OnStage(self.clone())),
            wal: None,
            runtime: Arc::new(OnStage(self.clone())),
        }
    }

    /// Lets all clocks go on.
    pub fn pass(&self, time: Duration) {
        self.wall.fetch_add(time.as_micros() as i64, SeqCst);
        self.monotonic.fetch_add(time.as_micros() as u64, SeqCst);
        if let Some(clock) = self.store.lock().unwrap().as_mut() {
            clock.date += time.as_micros() as i64;
            clock.heard += time;
        }
    }

    fn below(&self, most: u64) -> u64 {
        self.random.lock().unwrap().below(most as usize + 1) as u64
    }

    async fn turns(&self, mut turns: u64) {
        poll_fn(|cx: &mut Context<'_>| {
            if turns == 0 {
                return Poll::Ready(());
            }
            turns -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    async fn stalled<T>(&self, key: &str, effect: impl Future<Output = Result<T>>) -> Result<T> {
        let most = self.stall.load(SeqCst);
        self.turns(self.below(most)).await;
        if self.cut.load(SeqCst) {
            return Err(network(key));
        }
        while self.gate.stops(key) {
            self.turns(1).await;
        }
        let done = effect.await;
        self.turns(self.below(most)).await;
        while self.hold.stops(key) {
            self.turns(1).await;
        }
        if self.cut.load(SeqCst) {
            return Err(network(key));
        }
        if let Some(truth) = &*self.truth.lock().unwrap() {
            *self.store.lock().unwrap() = Some(StoreClock {
                date: truth.load(SeqCst),
                heard: Duration::from_micros(self.monotonic.load(SeqCst)),
            });
        }
        done
    }
}

fn network(key: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{key}: no network"))
}

/// Polls to the end, with all that was spawned.
pub fn run<T>(stage: &Stage, future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    for _ in 0..2_000_000 {
        if let Poll::Ready(done) = poll(&mut future) {
            return done;
        }
        poll_spawned(stage);
    }
    panic!("it does not end");
}

pub fn poll<T>(future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Poll<T> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(&noop_waker()))
}

fn poll_spawned(stage: &Stage) {
    let mut tasks = std::mem::take(&mut *stage.spawned.lock().unwrap());
    tasks.retain_mut(|task| poll(task).is_pending());
    stage.spawned.lock().unwrap().extend(tasks);
}

/// The store and the runtime of a [`Stage`].
#[derive(Debug)]
struct OnStage(Arc<Stage>);

impl Runtime for OnStage {
    fn now_micros(&self) -> i64 {
        self.0.wall.load(SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.monotonic.load(SeqCst))
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut random = self.0.random.lock().unwrap();
        bytes.fill_with(|| random.next() as u8);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let stage = self.0.clone();
        // The deadline of an open: whoever stalls here goes on at last.
        if duration == Duration::from_secs(5) {
            return Box::pin(std::future::pending());
        }
        Box::pin(async move {
            stage.turns(3).await;
            // Time goes on slowly enough that nobody calls another dead who is only stalled.
            stage.pass(duration / 20);
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        match tokio::runtime::Handle::try_current() {
            Ok(tokio) => drop(tokio.spawn(task)),
            Err(_) => self.0.spawned.lock().unwrap().push(task),
        }
    }
}

impl Storage for OnStage {
    fn describe(&self) -> String {
        "stage".to_owned()
    }

    fn clock(&self) -> Option<StoreClock> {
        *self.0.store.lock().unwrap()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.0.stalled(key, self.0.memory.get(key)))
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.0.stalled(key, self.0.memory.get_range(key, range)))
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(self.0.stalled(key, self.0.memory.get_suffix(key, length)))
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.stalled(key, self.0.memory.put(key, body)))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(self.0.stalled(key, self.0.memory.put_if_absent(key, body)))
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(self.0.stalled(key, self.0.memory.create(key)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(async move {
            let listed = self.0.memory.list(prefix, start_after);
            let mut listed = self.0.stalled(prefix, listed).await?;
            if let Some(hidden) = self
                .0
                .hide
                .lock()
                .unwrap()
                .take_if(|k| k.starts_with(prefix))
            {
                listed.retain(|object| object.key != hidden);
            }
            Ok(listed)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.stalled(key, self.0.memory.delete(key)))
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(self.0.stalled(key, self.0.memory.append(key)))
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        Box::pin(self.0.stalled(name, self.0.memory.lock(name)))
    }
}
