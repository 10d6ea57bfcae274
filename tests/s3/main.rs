//! The S3 store over HTTP, against a real server: what every store must do, what it costs, what a
//! database over it survives, what refusals mean, and that no message tells a secret. Faults come from a
//! proxy between.
#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs, unreachable_pub)]
// Tests may, in their own functions, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../support/mod.rs"]
mod support;

mod conformance;
mod durability;
mod faults;
mod liars;
mod refusals;
mod requests;
mod writers;
