//! Code shared by the test files. Each uses a part of it.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

pub mod aging;
pub mod altering;
pub mod arrays;
pub mod cells;
pub mod conformance;
pub mod contention;
pub mod crash;
pub mod data;
pub mod devices;
pub mod engine;
pub mod far;
pub mod late;
pub mod query;
pub mod random;
#[cfg(not(target_arch = "wasm32"))]
pub mod s3;
pub mod sstable;
pub mod stage;
pub mod wal;
