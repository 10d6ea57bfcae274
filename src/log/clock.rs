//! Time, as far as it takes two clocks. One wrong clock must not drag the log into the future, so `now`
//! is the device's clock kept near the store's (PROTOCOL T1); and no single clock is trusted with how
//! long ago something was (F1): a monotonic one may stand still in suspend, a wall clock may jump.

use crate::env::{BoxFuture, Runtime, Storage, StoreClock};
use std::{fmt, sync::Arc, time::Duration};

/// How far `now` may be from the store's clock: 5 minutes, in microseconds.
pub const MAX_SKEW: i64 = 5 * 60 * 1_000_000;

/// What the store's clock says by now.
pub fn store_now(clock: StoreClock, monotonic: Duration) -> i64 {
    let since = monotonic.saturating_sub(clock.heard).as_micros();
    clock
        .date
        .saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
}

/// PROTOCOL T1: the device's clock, clamped to the store's ± 5 minutes, if that is known.
pub fn clamped_now(device: i64, store: Option<i64>) -> i64 {
    match store {
        None => device,
        Some(store) => device.clamp(
            store.saturating_sub(MAX_SKEW),
            store.saturating_add(MAX_SKEW),
        ),
    }
}

/// One moment on all clocks there are.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The device's monotonic clock.
    pub monotonic: Duration,
    /// The device's wall clock, in microseconds.
    pub wall: i64,
    /// The store's, in microseconds, if it is known.
    pub store: Option<i64>,
}

impl Moment {
    /// This moment.
    pub fn now(runtime: &dyn Runtime, storage: &dyn Storage) -> Self {
        let monotonic = runtime.monotonic();
        Self {
            monotonic,
            wall: runtime.now_micros(),
            store: storage.clock().map(|c| store_now(c, monotonic)),
        }
    }

    /// Before all others: a proof of it never counts.
    pub fn never() -> Self {
        Self {
            monotonic: Duration::ZERO,
            wall: i64::MIN,
            store: None,
        }
    }

    /// How long before `now` it was: the most that any clock says.
    pub fn age(&self, now: &Self) -> Duration {
        let micros = |from: i64, to: i64| {
            Duration::from_micros(to.saturating_sub(from).max(0).unsigned_abs())
        };
        let store = match (self.store, now.store) {
            (Some(from), Some(to)) => micros(from, to),
            _ => Duration::ZERO,
        };
        (now.monotonic.saturating_sub(self.monotonic))
            .max(micros(self.wall, now.wall))
            .max(store)
    }
}

/// A runtime whose wall clock is `now` as PROTOCOL T1 has it: what stamps records, WAL frames and
/// names of sstables.
pub struct StoreTime {
    runtime: Arc<dyn Runtime>,
    storage: Arc<dyn Storage>,
}

impl StoreTime {
    /// `runtime` with its wall clock kept near that of `storage`.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(runtime: Arc<dyn Runtime>, storage: Arc<dyn Storage>) -> Arc<dyn Runtime> {
        Arc::new(Self { runtime, storage })
    }
}

impl fmt::Debug for StoreTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreTime").field(&self.runtime).finish()
    }
}

impl Runtime for StoreTime {
    fn now_micros(&self) -> i64 {
        let store = (self.storage.clock()).map(|c| store_now(c, self.runtime.monotonic()));
        clamped_now(self.runtime.now_micros(), store)
    }

    fn monotonic(&self) -> Duration {
        self.runtime.monotonic()
    }

    fn random(&self, bytes: &mut [u8]) {
        self.runtime.random(bytes);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.runtime.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }
}
