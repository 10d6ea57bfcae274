//! A seeded simulation of the whole engine: 2 to 8 devices, `remote` and `local`, on one object store,
//! in virtual time and a seeded order of tasks, with everything going wrong that PROTOCOL allows for:
//! lost replies, late PUTs, a stale CURRENT, crashes, copied WALs, clocks that lie, sleepers past the
//! grace time while gc runs. A checker that reads the log by itself says whether the promises hold.
//! `SEED=…` replays one seed, `TRACE=1` prints it, `TEST_SECONDS=…` and `SEEDS=…` make a long run.
#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs, unreachable_pub)]
// Tests may, in their own functions, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

// `world` holds everything that is, `executor` makes it go on; `store` (each process sees it as a `client`) and
// `wal` are the storage of a device, `clock` its runtime, `boot` switches it on. `device` and `work` are what its
// user does, with `reading`, `transaction`, `upload`, `alter` (the catalog), `feed` (the changes), `past`
// (snapshots, as-of, tags) and `gc`. `record` reads what comes into the log, with `catalog` and `isolation`, and
// `log` is what it says; `view` is what a reader should see, `follow` what a feed should give, `rows` and `shape`
// the rows and columns of both.
mod alter;
mod boot;
mod catalog;
mod client;
mod clock;
mod device;
mod executor;
mod feed;
mod follow;
mod gc;
mod isolation;
mod log;
mod past;
mod reading;
mod record;
mod rows;
mod run;
mod shape;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod transaction;
mod upload;
mod view;
mod wal;
mod work;
mod world;

use run::{Report, run};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use support::random;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One seed; what went wrong, if anything did.
fn check(seed: u64, trace: bool) -> Result<Report, String> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, trace))) {
        Ok(report) => match &report.violation {
            None => Ok(report),
            Some(violation) => Err(violation.clone()),
        },
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

#[test]
fn random_schedules_keep_every_promise() {
    if let Some(seed) = number("SEED") {
        let report = check(seed, number("TRACE") == Some(1));
        println!("{report:?}");
        return assert!(report.is_ok(), "seed {seed}: {}", report.unwrap_err());
    }
    let first = number("FIRST").unwrap_or_else(|| random::seed() % 1_000_000_000);
    let seeds = number("SEEDS");
    let time = random::seconds(4);
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Report::default());
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let more = |seed: u64| seeds.map_or_else(|| time.left(), |n| seed < first + n);
    let work = || {
        loop {
            let seed = next.fetch_add(1, SeqCst);
            if !more(seed) || failed.lock().unwrap().is_some() {
                return;
            }
            match check(seed, false) {
                Ok(report) => totals.lock().unwrap().add(&report),
                Err(what) => {
                    let mut failed = failed.lock().unwrap();
                    let earlier = failed.as_ref().is_none_or(|(other, _)| seed < *other);
                    if earlier {
                        *failed = Some((seed, what));
                    }
                    return;
                }
            }
        }
    };
    let threads = number("THREADS").unwrap_or(2);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    println!("from seed {first}: {}", totals.lock().unwrap());
    if let Some((seed, what)) = failed.lock().unwrap().take() {
        panic!(
            "SEED={seed} (number {} of this run): {what}",
            seed - first + 1
        );
    }
}

#[test]
fn the_same_seed_twice_is_identical() {
    for seed in 0..6 {
        let (one, two) = (run(seed, false), run(seed, false));
        assert!(one.events > 100, "seed {seed} does nothing: {one:?}");
        assert_eq!(one, two, "seed {seed}");
    }
}
