//! A share of the memory: bytes that are reserved before they are used (DESIGN promise 15).
//!
//! Invariants of a share: `used` is the sum of its reservations; who waits is served in the order of
//! asking; a request that exceeds the share is refused at once; nobody is asked to wait while it holds
//! what it could give back ([`Yields`]). Where a call may vanish with what it holds, neither polled nor dropped,
//! that is written off: a holder of whom nothing was heard for as long as another waited is gone. Should it
//! come back, it counts again. Who waits there looks again by a timer of its own, and keeps its place in line for as
//! long as it does.

use super::{Reservation, Runtime, leases::Leases, line::Line};
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
/// … so many times, …
const LOOKS: u32 = 4_000;
/// … and whoever was not heard of during so many looks is gone.
const PATIENCE: u32 = 1_000;
/// After so many looks of who is first in line a turn of those who hold memory is over, …
const TURN: u32 = 200;
/// … and after so few if they did not use it meanwhile.
const UNUSED: u32 = 5;
/// Who is in line and does not look itself during so many has left it.
const PATIENCE_IN_LINE: u32 = 400;
/// Gone, too, is who was not heard of for so long, without a look.
const LONG_AGO: Duration = Duration::from_secs(20);

/// A holder that can give memory back while nobody is asking it for anything: a scan between two batches.
pub trait Yields: Send + Sync {
    /// Gives back what it can without waiting: somebody waits for it. May be called at any time, from
    /// any task, and while the holder is busy: then it does nothing.
    fn give_back(&self);

    /// The same, of a holder that nobody used since it was asked so last.
    fn give_back_unused(&self) {
        self.give_back();
    }

    /// The same, also of one that is busy, as soon as it is not: its turn was long enough.
    fn end_turn(&self) {
        self.give_back();
    }
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
    leases: Leases,
    line: Line,
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

    /// The same where no caller may be woken by another, and any may vanish.
    pub(super) fn looking_again(self, runtime: &Arc<dyn Runtime>) -> Self {
        Self {
            timer: Some(runtime.clone()),
            ..self
        }
    }

    /// Without a bound, to count holders who may vanish as those of this one may.
    pub fn to_count(&self, name: &'static str) -> Self {
        Self {
            timer: self.timer.clone(),
            ..Self::new(name, usize::MAX)
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

    /// Gives up when nobody in line got anything for long.
    async fn poll_for(
        &self,
        what: &str,
        bytes: usize,
        runtime: &dyn Runtime,
    ) -> Result<Reservation> {
        let place = PlaceInLine::new(self);
        let (mut since, mut granted) = (runtime.monotonic(), place.look());
        let mut line_since = place.looks();
        let (mut looks, mut first) = (0, 0);
        while looks < LOOKS {
            if let Some(reservation) = self.try_at(bytes, Some(place.number)) {
                return Ok(reservation);
            }
            if self.is_first(Some(place.number)) {
                first += 1;
                self.ask(first);
            }
            runtime.sleep(LOOK_AGAIN).await;
            looks += 1;
            if looks % PATIENCE == 0 {
                self.write_off(since);
                since = runtime.monotonic();
            }
            if looks % PATIENCE_IN_LINE == 0 {
                line_since = place.forget_the_gone(line_since);
            }
            let now_granted = place.look();
            if now_granted != granted {
                (looks, granted) = (0, now_granted);
            }
        }
        if let Some(reservation) = self.reclaim_at(bytes, Some(place.number)) {
            return Ok(reservation);
        }
        let message = format!(
            "{what} waited {} s for {bytes} bytes of memory that other calls hold: raise memory_bytes, \
             or do less at once",
            (LOOK_AGAIN * LOOKS).as_secs()
        );
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Reserves `bytes` if they are to be had now; where calls may not wait for each other also of what others
    /// can give back, or vanished with.
    pub fn reclaim(&self, bytes: usize) -> Option<Reservation> {
        self.reclaim_at(bytes, None)
    }

    fn reclaim_at(&self, bytes: usize, place: Option<u64>) -> Option<Reservation> {
        let there = self.try_at(bytes, place);
        if there.is_some() || self.timer.is_none() || !self.is_first(place) {
            return there;
        }
        self.ask_all_holders(bytes);
        self.try_at(bytes, place).or_else(|| {
            self.forget_the_gone();
            self.try_at(bytes, place)
        })
    }

    /// Whether nobody in line is before it, or before who is not in line.
    fn is_first(&self, place: Option<u64>) -> bool {
        let first = self.shared.lock().line.first(self.now());
        first.is_none() || first == place
    }

    /// Writes off what those hold who were not heard of for long.
    pub fn forget_the_gone(&self) {
        if let Some(since) = self.now().checked_sub(LONG_AGO) {
            self.write_off(since);
        }
    }

    /// Writes off what those hold who were not heard of since.
    fn write_off(&self, since: Duration) {
        if self.timer.is_some() {
            let mut state = self.shared.lock();
            let gone = state.leases.write_off(since);
            state.used = state.used.saturating_sub(gone);
        }
    }

    /// The runtime's monotonic time, where holders may vanish.
    fn now(&self) -> Duration {
        let timer = self.timer.as_ref();
        timer.map_or(Duration::ZERO, |runtime| runtime.monotonic())
    }

    /// Reserves `bytes` if they are to be had now and nobody waits.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        self.try_at(bytes, None)
    }

    /// The same for who has a place in line.
    fn try_at(&self, bytes: usize, place: Option<u64>) -> Option<Reservation> {
        let now = self.now();
        let mut state = self.shared.lock();
        state.waiting.retain(|waiter| !waiter.grant.is_canceled());
        let first = state.line.first(now);
        let turn = state.waiting.is_empty() && (first.is_none() || first == place);
        if !turn || !state.fits(bytes, self.shared.total) {
            return None;
        }
        state.line.granted(place);
        Some(self.granted(&mut state, bytes))
    }

    /// Counts `bytes` that are in memory already, whether there is room or not: others wait for it. They are
    /// no call's: they are there until this is dropped.
    pub fn take(&self, bytes: usize) -> Reservation {
        self.shared.lock().add(bytes);
        Reservation {
            budget: self.clone(),
            bytes,
            lease: None,
        }
    }

    /// The same for a call, which may vanish.
    pub fn take_for_call(&self, bytes: usize) -> Reservation {
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
        state.add(bytes);
        let leased = self.timer.is_some();
        Reservation {
            budget: self.clone(),
            bytes,
            lease: leased.then(|| state.leases.begin(bytes, self.now())),
        }
    }

    pub(super) fn resize(&self, held: &mut Reservation, bytes: usize) {
        let less = bytes < held.bytes;
        self.resize_in(&mut self.shared.lock(), held, bytes);
        if less {
            self.admit();
        }
    }

    fn resize_in(&self, state: &mut State, held: &mut Reservation, bytes: usize) {
        let before = match held.lease {
            Some(lease) => state.leases.set(lease, bytes, self.now()),
            None => held.bytes,
        };
        state.used = state.used.saturating_sub(before);
        state.add(bytes);
        held.bytes = bytes;
    }

    pub(super) fn split(&self, held: &mut Reservation, bytes: usize) -> Reservation {
        let mut state = self.shared.lock();
        let left = held.bytes.saturating_sub(bytes);
        self.resize_in(&mut state, held, left);
        let mut split = Reservation {
            budget: self.clone(),
            bytes: 0,
            lease: held.lease.map(|_| state.leases.begin(0, self.now())),
        };
        self.resize_in(&mut state, &mut split, bytes);
        split
    }

    pub(super) fn merge(&self, held: &mut Reservation, mut other: Reservation) {
        debug_assert!(Arc::ptr_eq(&self.shared, &other.budget.shared));
        let mut state = self.shared.lock();
        let all = held.bytes.saturating_add(other.bytes);
        state.end(&other);
        (other.bytes, other.lease) = (0, None);
        self.resize_in(&mut state, held, all);
    }

    pub(super) fn touch(&self, held: &Reservation) {
        let mut state = self.shared.lock();
        if let Some(lease) = held.lease {
            let before = state.leases.set(lease, held.bytes, self.now());
            state.add(held.bytes.saturating_sub(before));
        }
    }

    pub(super) fn end(&self, held: &Reservation) {
        self.shared.lock().end(held);
        self.admit();
    }

    /// What the first in line asks of holders at its look of that number: whoever is reading is not to be interrupted
    /// again and again, for it begins anew where it was.
    fn ask(&self, look: u32) {
        let holders = || self.holders().into_iter();
        if look.is_multiple_of(TURN) {
            holders().for_each(|holder| holder.end_turn());
        } else if look % UNUSED == 1 {
            holders().for_each(|holder| holder.give_back_unused());
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

/// A place among those who look again.
struct PlaceInLine<'a> {
    budget: &'a Budget,
    number: u64,
}

impl<'a> PlaceInLine<'a> {
    fn new(budget: &'a Budget) -> Self {
        let number = budget.shared.lock().line.next_place();
        Self { budget, number }
    }

    /// It is there; how many got what they asked for so far.
    fn look(&self) -> u64 {
        let now = self.budget.now();
        let line = &mut self.budget.shared.lock().line;
        line.look(self.number, now)
    }
}

impl PlaceInLine<'_> {
    fn looks(&self) -> u64 {
        self.budget.shared.lock().line.looks()
    }

    /// Those who did not look since then; from when on the next are counted.
    fn forget_the_gone(&self, since: u64) -> u64 {
        let line = &mut self.budget.shared.lock().line;
        line.forget_the_gone(since);
        line.looks()
    }
}

impl Drop for PlaceInLine<'_> {
    fn drop(&mut self) {
        self.budget.shared.lock().line.leave(self.number);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
        self.peak = self.peak.max(self.used);
    }

    /// Whether it counted or not, it does no longer.
    fn end(&mut self, held: &Reservation) {
        let bytes = match held.lease {
            Some(lease) => self.leases.end(lease),
            None => held.bytes,
        };
        self.used = self.used.saturating_sub(bytes);
    }

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
