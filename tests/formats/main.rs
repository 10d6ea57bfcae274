//! Every byte that is kept: log records, WAL segments, sstables, whole, damaged and as others read them.
#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs, unreachable_pub)]
// Tests may, in their own functions, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod corruption;
mod log;
mod python;
mod sizes;
mod sstable;
mod sstable_damage;
#[path = "../support/mod.rs"]
mod support;
mod wal;
mod wal_damage;
