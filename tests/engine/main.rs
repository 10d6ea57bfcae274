//! The engine through its public door, natively, in one process or in several; what a device without a
//! network does is in tests/offline.
#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs, unreachable_pub)]
// Tests may, in their own functions, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod bad_input;
mod budget;
mod changes;
mod close;
mod contention;
mod copies;
mod crash;
mod dropped;
mod durability;
mod freshness;
mod gc;
mod handles;
mod kill;
mod outcomes;
mod point_reads;
mod requests;
mod schema;
mod schema_truth;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
mod tags;
mod transactions;
mod truth;
mod uploads;
mod vanished;
mod workers;
mod wrong_clock;
