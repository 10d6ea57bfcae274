//! Every byte that is kept: log records, WAL segments, sstables, whole, damaged and as others read them.
#![cfg(not(target_arch = "wasm32"))]

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
