//! Memory is bounded by `memory_bytes`, whatever is done at once: shown by an allocator that counts.
#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

#[path = "../support/mod.rs"]
mod support;

mod allocator;
mod feeds;
mod held;
mod measure;
mod options;
mod reads;
mod waiting;
mod wide;
mod world;
mod writes;
