//! A seeded generator and a time box for randomised tests. `SEED=…` replays, `TEST_SECONDS=…` makes
//! a long run.

use std::time::{Duration, Instant};

/// xorshift64*: small, seeded, the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed ^ 0x9E37_79B9_7F4A_7C15);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    pub fn next(&mut self) -> u64 {
        if self.0 == 0 {
            self.0 = 1;
        }
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `n` (0 if `n` is 0).
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n.max(1)
    }

    pub fn chance(&mut self, p: f64) -> bool {
        ((self.next() >> 11) as f64 / (1u64 << 53) as f64) < p
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// `SEED`, or one from the clock; print it with every failure.
#[allow(clippy::disallowed_methods)]
pub fn seed() -> u64 {
    std::env::var("SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map(|d| d.as_nanos() as u64 % 1_000_000_007)
                .unwrap_or(1)
        })
}

/// A time box of `default` seconds, or of `TEST_SECONDS`.
pub fn seconds(default: u64) -> Box_ {
    let seconds = std::env::var("TEST_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    #[allow(clippy::disallowed_methods)]
    Box_ {
        end: Instant::now() + Duration::from_secs(seconds.unwrap_or(default)),
    }
}

pub struct Box_ {
    end: Instant,
}

impl Box_ {
    pub fn left(&self) -> bool {
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        now < self.end
    }
}
