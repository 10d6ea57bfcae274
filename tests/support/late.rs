//! A runtime whose tasks begin late: each waits for a few turns of the others first. Schedules that
//! an idle machine never shows.

use super::random::Random;
use lakeshore::{
    env::{BoxFuture, Runtime},
    platform::native::TokioRuntime,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Debug)]
pub struct Late {
    tokio: Arc<TokioRuntime>,
    random: Mutex<Seeded>,
    most: usize,
}

struct Seeded(Random);

impl std::fmt::Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seeded")
    }
}

impl Late {
    /// Tasks begin up to `most` turns late.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(seed: u64, most: usize) -> Arc<dyn Runtime> {
        Arc::new(Self {
            tokio: TokioRuntime::current().unwrap(),
            random: Mutex::new(Seeded(Random::new(seed))),
            most,
        })
    }
}

impl Runtime for Late {
    fn now_micros(&self) -> i64 {
        self.tokio.now_micros()
    }

    fn monotonic(&self) -> Duration {
        self.tokio.monotonic()
    }

    fn random(&self, bytes: &mut [u8]) {
        self.tokio.random(bytes);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.tokio.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let turns = self.random.lock().unwrap().0.below(self.most + 1);
        self.tokio.spawn(Box::pin(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            task.await;
        }));
    }
}
