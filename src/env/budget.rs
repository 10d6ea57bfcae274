//! Memory, in bytes, reserved before it is used (DESIGN promise 15).
//!
//! One bound, `Options::memory_bytes`, is split into three shares, so that nobody waits in a circle:
//! *writes* (queued commits, memtables, what waits for upload) wait for memory that flushes free; *jobs*
//! (a flush with all its column writers, a checkpoint) wait for jobs alone; *reads* (scans, sources of a
//! merge, feeds, caches) wait for reads alone. A job never waits for a write or a read, a read never for a
//! write.
//!
//! Invariants of a share: `used` is the sum of its reservations; who waits is served in the order of
//! asking; a request that exceeds the share is refused at once; nobody is asked to wait while it holds
//! what it could give back ([`Yields`]).

use super::Runtime;
use crate::error::{Error, ErrorKind, Result};
use futures_channel::oneshot;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

/// Where callers may not wait for each other they look again after this time, …
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// … so many times.
const LOOKS: u32 = 4_000;

/// The memory of one database, in shares.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Queued commits, memtables, rows that wait for upload.
    pub writes: Budget,
    /// Flushes and other upkeep.
    pub jobs: Budget,
    /// Scans, point reads, feeds, caches of open files.
    pub reads: Budget,
}

impl Memory {
    /// Shares of `bytes`, without what the module itself takes of them: three eighths for writes, two for jobs,
    /// two for reads. The last eighth is what nobody reserves: small objects, and the gaps of the allocator.
    pub fn new(bytes: usize) -> Self {
        let eighth = bytes.saturating_sub(crate::platform::MODULE_BYTES) / 8;
        Self {
            writes: Budget::new("writes", eighth.saturating_mul(3)),
            jobs: Budget::new("upkeep", eighth.saturating_mul(2)),
            reads: Budget::new("reads", eighth.saturating_mul(2)),
        }
    }

    /// The same where no call may be woken by another (`Options::detached_tasks` off): who finds no room
    /// looks again by a timer of its own, and gets `Unavailable` after 20 seconds.
    pub fn without_waiting(bytes: usize, runtime: &Arc<dyn Runtime>) -> Self {
        let mut memory = Self::new(bytes);
        for share in [&mut memory.writes, &mut memory.jobs, &mut memory.reads] {
            share.timer = Some(runtime.clone());
        }
        memory
    }

    /// Bytes reserved now, in all shares.
    pub fn used(&self) -> usize {
        self.shares().map(Budget::used).sum()
    }

    /// The most that was ever reserved in each share, summed.
    pub fn peak(&self) -> usize {
        self.shares().map(Budget::peak).sum()
    }

    fn shares(&self) -> impl Iterator<Item = &Budget> {
        [&self.writes, &self.jobs, &self.reads].into_iter()
    }
}

/// A holder that can give memory back while nobody is asking it for anything: a scan between two batches.
pub trait Yields: Send + Sync {
    /// Gives back what it can without waiting: somebody waits for it. May be called at any time, from
    /// any task, and while the holder is busy: then it does nothing.
    fn give_back(&self);
}

/// A number of bytes that callers share.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
    /// Set where callers may not wake each other.
    timer: Option<Arc<dyn Runtime>>,
}

struct Shared {
    name: &'static str,
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    peak: usize,
    waiting: VecDeque<Waiter>,
    holders: Vec<Weak<dyn Yields>>,
}

struct Waiter {
    bytes: usize,
    grant: oneshot::Sender<Reservation>,
}

impl Budget {
    /// `total` bytes, none in use.
    pub fn new(name: &'static str, total: usize) -> Self {
        let state = Mutex::default();
        Self {
            shared: Arc::new(Shared { name, total, state }),
            timer: None,
        }
    }

    /// How much there is.
    pub fn total(&self) -> usize {
        self.shared.total
    }

    /// How much of it is reserved. It may exceed the total by what was [taken](Budget::take).
    pub fn used(&self) -> usize {
        self.shared.lock().used
    }

    /// The most that was ever reserved.
    pub fn peak(&self) -> usize {
        self.shared.lock().peak
    }

    /// Whether somebody waits.
    pub fn contended(&self) -> bool {
        (self.shared.lock().waiting.iter()).any(|waiter| !waiter.grant.is_canceled())
    }

    /// Whether `bytes` can ever be had; else `Unavailable`, naming the bound.
    pub fn admits(&self, what: &str, bytes: usize) -> Result<()> {
        match bytes <= self.shared.total {
            true => Ok(()),
            false => Err(self.too_much(what, bytes)),
        }
    }

    /// Reserves `bytes`, after those who asked before. Dropping the future gives up the place in line.
    /// `Unavailable` if it is more than there is.
    pub async fn reserve(&self, what: &str, bytes: usize) -> Result<Reservation> {
        self.admits(what, bytes)?;
        if let Some(runtime) = &self.timer {
            return self.poll_for(what, bytes, runtime.as_ref()).await;
        }
        let receiver = {
            let mut state = self.shared.lock();
            state.waiting.retain(|waiter| !waiter.grant.is_canceled());
            if state.waiting.is_empty() && state.fits(bytes, self.shared.total) {
                return Ok(self.granted(&mut state, bytes));
            }
            let (grant, receiver) = oneshot::channel();
            state.waiting.push_back(Waiter { bytes, grant });
            receiver
        };
        let place = Place(self, Some(receiver));
        self.ask_holders();
        place.granted().await
    }

    async fn poll_for(
        &self,
        what: &str,
        bytes: usize,
        runtime: &dyn Runtime,
    ) -> Result<Reservation> {
        for _ in 0..LOOKS {
            if let Some(reservation) = self.try_reserve(bytes) {
                return Ok(reservation);
            }
            self.ask_all_holders(bytes);
            if let Some(reservation) = self.try_reserve(bytes) {
                return Ok(reservation);
            }
            runtime.sleep(LOOK_AGAIN).await;
        }
        let message = format!(
            "{what} waited {} s for {bytes} bytes of memory that other calls hold: raise memory_bytes, \
             or do less at once",
            (LOOK_AGAIN * LOOKS).as_secs()
        );
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Reserves `bytes` if they are to be had now and nobody waits.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let mut state = self.shared.lock();
        state.waiting.retain(|waiter| !waiter.grant.is_canceled());
        let free = state.waiting.is_empty() && state.fits(bytes, self.shared.total);
        free.then(|| self.granted(&mut state, bytes))
    }

    /// Counts `bytes` that are in memory already, whether there is room or not: others wait for it.
    pub fn take(&self, bytes: usize) -> Reservation {
        let mut state = self.shared.lock();
        self.granted(&mut state, bytes)
    }

    /// From now on `holder` is asked to give back what it can when somebody waits.
    pub fn register(&self, holder: Weak<dyn Yields>) {
        let mut state = self.shared.lock();
        if state.holders.len() >= 64 && state.holders.len().is_power_of_two() {
            state.holders.retain(|holder| holder.strong_count() > 0);
        }
        state.holders.push(holder);
    }

    fn granted(&self, state: &mut State, bytes: usize) -> Reservation {
        state.used = state.used.saturating_add(bytes);
        state.peak = state.peak.max(state.used);
        Reservation {
            budget: self.clone(),
            bytes,
        }
    }

    /// Until nobody waits any more.
    fn ask_holders(&self) {
        for holder in self.holders() {
            if !self.contended() {
                return;
            }
            holder.give_back();
        }
    }

    /// Until there is room for `bytes`.
    fn ask_all_holders(&self, bytes: usize) {
        for holder in self.holders() {
            if self.shared.lock().fits(bytes, self.total()) {
                return;
            }
            holder.give_back();
        }
    }

    fn holders(&self) -> Vec<Arc<dyn Yields>> {
        let mut state = self.shared.lock();
        state.holders.retain(|holder| holder.strong_count() > 0);
        state.holders.iter().filter_map(Weak::upgrade).collect()
    }

    fn give_back(&self, bytes: usize) {
        self.shared.lock().used -= bytes;
        self.admit();
    }

    /// Lets in who waits and fits.
    fn admit(&self) {
        while let Some((grant, reservation)) = self.next_grant() {
            // Whoever is gone gives it back by dropping it here.
            drop(grant.send(reservation));
        }
    }

    /// The next in line, if there is room for it.
    fn next_grant(&self) -> Option<(oneshot::Sender<Reservation>, Reservation)> {
        let mut state = self.shared.lock();
        state.waiting.retain(|waiter| !waiter.grant.is_canceled());
        let bytes = state.waiting.front()?.bytes;
        if !state.fits(bytes, self.shared.total) {
            return None;
        }
        let waiter = state.waiting.pop_front()?;
        let reservation = self.granted(&mut state, bytes);
        Some((waiter.grant, reservation))
    }

    fn too_much(&self, what: &str, bytes: usize) -> Error {
        let Shared { name, total, .. } = &*self.shared;
        let message = format!(
            "{what} needs {bytes} bytes of memory, and {name} have {total}: raise memory_bytes, or do \
             it in smaller parts"
        );
        Error::new(ErrorKind::Unavailable, message)
    }
}

/// A place in line. Who gives it up may have kept others from what there is room for.
struct Place<'a>(&'a Budget, Option<oneshot::Receiver<Reservation>>);

impl Place<'_> {
    async fn granted(mut self) -> Result<Reservation> {
        let granted = match &mut self.1 {
            Some(receiver) => receiver.await.ok(),
            None => None,
        };
        // The sender lives in the queue of a budget that is borrowed here.
        granted.ok_or_else(|| Error::internal("a reservation of memory was dropped"))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        drop(self.1.take());
        self.0.admit();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What was taken beyond the total must not keep out for ever who asks for little: with nothing else
    /// in use everybody fits.
    fn fits(&self, bytes: usize, total: usize) -> bool {
        self.used == 0 || self.used.saturating_add(bytes) <= total
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { name, total, .. } = &*self.shared;
        let used = self.used();
        write!(f, "Budget({name}: {used} of {total})")
    }
}

/// Reserved bytes. Dropping it gives them back.
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps `bytes` and gives the rest back; never takes more.
    pub fn shrink_to(&mut self, bytes: usize) {
        let rest = self.bytes.saturating_sub(bytes);
        self.bytes -= rest;
        if rest > 0 {
            self.budget.give_back(rest);
        }
    }

    /// Whether `more` bytes could be added without waiting.
    pub fn try_grow(&mut self, more: usize) -> bool {
        match self.budget.try_reserve(more) {
            Some(reservation) => {
                self.merge(reservation);
                true
            }
            None => false,
        }
    }

    /// Adds bytes that are in memory already (see [`Budget::take`]).
    pub fn take(&mut self, more: usize) {
        let reservation = self.budget.take(more);
        self.merge(reservation);
    }

    /// Becomes `bytes`, whether there is room or not.
    pub fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.take(more),
            None => self.shrink_to(bytes),
        }
    }

    /// Splits `bytes` off (all there are, if it has fewer).
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: self.budget.clone(),
            bytes,
        }
    }

    /// Takes over another's bytes, of the same budget.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget.shared, &other.budget.shared));
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.bytes);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({} of {:?})", self.bytes, self.budget)
    }
}
