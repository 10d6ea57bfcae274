//! Stores that are far away, in virtual time: an executor whose clock jumps to the next thing that is
//! due, and a store whose requests take a while to arrive, take effect, and take a while to be answered; or are
//! refused, or answered in vain. The same seed gives the same schedule, and a minute takes no longer than its work.

use super::random::Random;
use bytes::Bytes;
use lakeshore::{
    Error, ErrorKind, Result,
    env::{
        AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Runtime, Storage,
    },
    platform::memory::Memory,
};
use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

/// Where the wall clocks begin: microseconds since the Unix epoch.
const START: u64 = 1_700_000_000_000_000;

/// Time, and who waits for it.
pub struct World(Mutex<Inner>);

struct Inner {
    now: u64,
    sleepers: BTreeMap<(u64, u64), Option<Waker>>,
    next: u64,
    spawned: Vec<BoxFuture<'static, ()>>,
    random: Random,
    faults: u64,
}

struct Task {
    future: BoxFuture<'static, ()>,
    ready: Arc<Ready>,
}

struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    #[allow(clippy::new_ret_no_self)]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            now: 0,
            sleepers: BTreeMap::new(),
            next: 0,
            spawned: Vec::new(),
            random: Random::new(seed),
            faults: 0,
        })))
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.0.lock().unwrap().now)
    }

    /// A number below `n`.
    pub fn below(&self, n: u64) -> u64 {
        self.0.lock().unwrap().random.below(n as usize) as u64
    }

    /// Whether something befalls, in so many percent of the cases.
    fn befalls(&self, percent: u64) -> bool {
        let befalls = percent > 0 && self.below(100) < percent;
        self.0.lock().unwrap().faults += u64::from(befalls);
        befalls
    }

    /// How many requests were refused, or answered in vain.
    pub fn faults(&self) -> u64 {
        self.0.lock().unwrap().faults
    }

    /// Runs `main`, and what was started beside it, until `main` is done.
    pub fn run<T>(self: &Arc<Self>, main: impl Future<Output = T>) -> T {
        let mut main = std::pin::pin!(main);
        let main_ready = Arc::new(Ready(true.into()));
        let mut tasks: Vec<Task> = Vec::new();
        loop {
            for future in std::mem::take(&mut self.0.lock().unwrap().spawned) {
                let ready = Arc::new(Ready(true.into()));
                tasks.push(Task { future, ready });
            }
            let mut ready: Vec<Option<usize>> = (0..tasks.len())
                .filter(|t| tasks[*t].ready.0.load(SeqCst))
                .map(Some)
                .collect();
            if main_ready.0.load(SeqCst) {
                ready.push(None);
            }
            if ready.is_empty() {
                self.advance();
                continue;
            }
            match ready[self.below(ready.len() as u64) as usize] {
                None => {
                    if let Poll::Ready(done) = poll(main.as_mut(), &main_ready) {
                        return done;
                    }
                }
                Some(at) => {
                    let task = &mut tasks[at];
                    if poll(task.future.as_mut(), &task.ready).is_ready() {
                        drop(tasks.swap_remove(at));
                    }
                }
            }
        }
    }

    /// Runs a task beside the others.
    pub fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().unwrap().spawned.push(Box::pin(task));
    }

    fn advance(&self) {
        let mut inner = self.0.lock().unwrap();
        let ((due, _), waker) = inner.sleepers.pop_first().expect("nobody will ever go on");
        inner.now = inner.now.max(due);
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits.
    pub fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let mut inner = self.0.lock().unwrap();
        inner.next += 1;
        let key = (inner.now + duration.as_micros() as u64, inner.next);
        inner.sleepers.insert(key, None);
        drop(inner);
        Sleep {
            world: self.clone(),
            key,
        }
    }
}

pub struct Sleep {
    world: Arc<World>,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.world.0.lock().unwrap();
        match inner.sleepers.get_mut(&self.key) {
            None => Poll::Ready(()),
            Some(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.world.0.lock().unwrap().sleepers.remove(&self.key);
    }
}

fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>, ready: &Arc<Ready>) -> Poll<T> {
    ready.0.store(false, SeqCst);
    let waker = Waker::from(ready.clone());
    future.poll(&mut Context::from_waker(&waker))
}

/// What befalls requests, in percent of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// 503, before the effect.
    pub refused: u64,
    /// The reply is lost, after the effect.
    pub lost: u64,
}

/// One device: its view of the store, its clock and its dice.
pub struct Device {
    pub world: Arc<World>,
    pub memory: Memory,
    /// How long a request takes.
    pub latency: Duration,
    /// How much longer or shorter, in percent.
    pub spread: u64,
    /// What befalls its requests.
    pub faults: Faults,
    /// What its wall clock is off by, in microseconds.
    pub skew: i64,
    /// The monotonic clock stands still, as in a Worker that awaits no I/O.
    pub stopped: bool,
    /// It sleeps so long (microseconds) while its next record is on the way.
    pub nap: AtomicU64,
}

/// How often a client tries again.
const RETRIES: u32 = 4;

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Device")
    }
}

impl Device {
    async fn way(&self) {
        let half = self.latency.as_micros() as u64 / 2;
        let least = half * (100 - self.spread) / 100;
        let more = self.world.below(2 * half * self.spread / 100 + 1);
        self.world.sleep(Duration::from_micros(least + more)).await;
    }

    /// A request as `platform/s3` makes it: one that was refused is made again after a pause, and one whose reply
    /// was lost, too, unless that may do something `twice`.
    async fn far<T, F>(&self, twice: bool, mut effect: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut failed = 0;
        loop {
            self.way().await;
            let refused = self.world.befalls(self.faults.refused);
            let done = match refused {
                true => Err(Error::new(ErrorKind::Unavailable, "503")),
                false => effect().await,
            };
            self.way().await;
            let lost = !refused && self.world.befalls(self.faults.lost);
            if !refused && !lost {
                return done;
            }
            if failed == RETRIES || lost && twice {
                return Err(Error::new(ErrorKind::Unavailable, "no reply"));
            }
            let first = if refused { 400 } else { 100 };
            let most = Duration::from_millis(first << failed).as_micros() as u64;
            failed += 1;
            self.world
                .sleep(Duration::from_micros(self.world.below(most)))
                .await;
        }
    }
}

impl Runtime for Device {
    fn now_micros(&self) -> i64 {
        START as i64 + self.skew + self.world.now().as_micros() as i64
    }

    fn monotonic(&self) -> Duration {
        match self.stopped {
            true => Duration::from_secs(1),
            false => self.world.now(),
        }
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut inner = self.world.0.lock().unwrap();
        bytes.fill_with(|| inner.random.next() as u8);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.world.sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world.start(task);
    }
}

impl Storage for Device {
    fn describe(&self) -> String {
        "far".to_owned()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.far(false, move || self.memory.get(key)))
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.far(false, move || self.memory.get_range(key, range.clone())))
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(self.far(false, move || self.memory.get_suffix(key, length)))
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.far(false, move || self.memory.put(key, body.clone())))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            let put = move || self.memory.put_if_absent(key, body.clone());
            let done = self.far(true, put).await;
            let nap = Duration::from_micros(self.nap.swap(0, SeqCst));
            self.world.sleep(nap).await;
            done
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(self.far(false, move || self.memory.create(key)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(self.far(false, move || self.memory.list(prefix, start_after)))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.far(false, move || self.memory.delete(key)))
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(self.far(false, move || self.memory.append(key)))
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        Box::pin(self.far(false, move || self.memory.lock(name)))
    }
}
