//! [`Runtime`] over tokio. Invariant: works from any thread, also outside of the runtime, because it
//! holds the runtime's handle.

use crate::{
    env::{BoxFuture, Runtime},
    error::{Error, ErrorKind, Result},
};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Handle;

/// Clock, randomness, timers and tasks of a tokio runtime, which must have its timer enabled
/// (`enable_time` or `enable_all`; `#[tokio::main]` does).
#[derive(Debug)]
pub struct TokioRuntime {
    handle: Handle,
}

/// Where `monotonic` counts from: the same in all runtimes of the process, so that a store and the
/// engine may each have one.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

impl TokioRuntime {
    /// The runtime this is called in. `Invalid` outside of one.
    pub fn current() -> Result<Arc<Self>> {
        let handle = Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::Invalid,
                "no tokio runtime is running here: call this within one, or use \
                 TokioRuntime::new(handle)",
            )
            .with_source(error)
        })?;
        Ok(Self::new(handle))
    }

    /// The runtime of `handle`.
    pub fn new(handle: Handle) -> Arc<Self> {
        Arc::new(Self { handle })
    }
}

impl Runtime for TokioRuntime {
    #[allow(clippy::disallowed_methods)] // this is the seam
    fn now_micros(&self) -> i64 {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        }
    }

    #[allow(clippy::disallowed_methods)] // this is the seam
    fn monotonic(&self) -> Duration {
        ORIGIN.get_or_init(Instant::now).elapsed()
    }

    fn random(&self, bytes: &mut [u8]) {
        fill_random(bytes);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let timer = {
                let _entered = handle.enter();
                #[allow(clippy::disallowed_methods)] // this is the seam
                tokio::time::sleep(duration)
            };
            timer.await;
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.handle.spawn(task));
    }
}

/// Fills `bytes` from the operating system, or, should that fail, from std's hasher keys (which
/// came from there at the process's start).
pub(super) fn fill_random(bytes: &mut [u8]) {
    if getrandom::fill(bytes).is_err() {
        let state = RandomState::new();
        for (i, chunk) in bytes.chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&state.hash_one(i).to_le_bytes()[..chunk.len()]);
        }
    }
}
