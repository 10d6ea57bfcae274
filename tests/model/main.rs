//! One device against a plain map of versions: random operations (commits, transactions, alterations, snapshots,
//! flushes, restarts …), and after each what a reader sees, now and of the past, has to be what the map says.
//! A failing list of operations is shrunk to those that it takes, and printed as a test for found.rs.
//! `SEED=…` replays, `TEST_SECONDS=…` makes a long run.
#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs, unreachable_pub)]
// Tests may, in their own functions, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

// `ops` says what may happen, `history` is the model, `world` the engine and the model side by side; `alter`,
// `past`, `transaction` and `uploads` are what it does, `read` what it looks with; `shrink` makes failures small,
// `found` keeps them.
mod alter;
mod found;
mod history;
mod ops;
mod past;
mod read;
mod shrink;
#[path = "../support/mod.rs"]
mod support;
mod transaction;
mod uploads;
mod world;

use ops::{Case, KEYS, Op, Step};
use shrink::{outcome, shrink};
use support::random;
use world::Counts;

fn check(seed: u64, counts: &mut Counts) {
    let case = Case::random(seed);
    match outcome(&case) {
        Ok(counted) => {
            for (what, n) in counted {
                *counts.entry(what).or_insert(0) += n;
            }
        }
        Err(_) => {
            let (small, why) = shrink(case);
            panic!("SEED={seed}: {why}\n{}", small.code());
        }
    }
}

#[test]
fn random_operations_give_what_a_plain_map_of_versions_gives() {
    let time = random::seconds(6);
    let first = random::seed();
    println!("SEED={first}");
    let replay = std::env::var("SEED").is_ok();
    let mut counts = Counts::new();
    for seed in first.. {
        check(seed, &mut counts);
        *counts.entry("cases").or_insert(0) += 1;
        if replay || !time.left() {
            break;
        }
    }
    println!("from seed {first}: {counts:#?}");
}

/// What is never met is not tested.
#[test]
fn cases_meet_all_that_they_are_there_for() {
    let mut counts = Counts::new();
    for seed in 0..120 {
        check(seed, &mut counts);
    }
    println!("{counts:#?}");
    for what in [
        "alterations",
        "as of a tag",
        "as of a time",
        "as of a time without a table",
        "as of an expired time",
        "beyond the head",
        "conflicts by what was read",
        "conflicts by what was written",
        "files freed",
        "foreign commits",
        "foreign commits beside a WAL",
        "looks at held snapshots",
        "reads beside own writes",
        "records freed",
        "reopened",
        "rollbacks",
        "scans across an operation",
        "snapshots of now",
        "tables dropped and created again",
        "tags",
        "transactions in a group",
        "transactions of one table",
        "transactions of two tables",
        "uploads",
    ] {
        assert!(counts.contains_key(what), "{what}: {counts:#?}");
    }
}

/// The shrinking is worth something only if it finds the operations that matter.
#[test]
fn shrinking_leaves_what_it_takes_and_prints_it_as_a_test() {
    let ops = (0..30)
        .map(|n| Op::Ingest(0, n % KEYS, 2))
        .chain([Op::Delete(9, vec![1, 2]), Op::Flush]);
    let mut case = Case::of(false, ops.collect());
    (case.stall, case.inline_commit_bytes) = (3, 1200);
    let (small, _) = shrink(case);
    let expected = Case::of(false, vec![Op::Delete(9, vec![1])]);
    assert_eq!(small, expected, "table 9 is not there");
    assert!(
        small
            .code()
            .contains("holds(Case::of(false, vec![Delete(9, vec![1])]));")
    );
    let ops = vec![Op::Begin(0, true), Op::Within(0, Step::Get(1, 2))];
    let case = Case {
        detached: false,
        ..Case::of(true, ops)
    };
    let code = "holds(Case { inline_commit_bytes: 262144, detached: false, stall: 0, \
                ..Case::of(true, vec![Begin(0, true), Within(0, Get(1, 2))]) });";
    assert!(case.code().contains(code), "{}", case.code());
}
