//! Clock, randomness, sleep and spawn: tokio natively, single-threaded shims on wasm32.

use super::BoxFuture;
use std::{fmt, time::Duration};

/// What the engine needs of an executor.
pub trait Runtime: Send + Sync + fmt::Debug {
    /// Wall clock: microseconds since the Unix epoch. May jump.
    fn now_micros(&self) -> i64;

    /// A clock that never goes back, from an arbitrary origin. It may stand still (Workers).
    fn monotonic(&self) -> Duration;

    /// Fills `bytes` with unpredictable bytes.
    fn random(&self, bytes: &mut [u8]);

    /// Resolves after at least `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs `task` to its end, independent of the caller.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}
