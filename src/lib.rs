//! Lakeshore: an embedded, Arrow-native database for the edge. See README.md and ARCHITECTURE.md.

#[cfg(all(target_arch = "wasm32", feature = "js"))]
pub mod bindings;
pub mod data;
pub mod db;
pub mod env;
mod error;
pub mod flush;
pub mod log;
pub mod memtable;
pub mod merge;
mod options;
pub mod platform;
pub mod scan;
pub mod sstable;
pub mod state;
pub mod wal;

pub use db::{Committed, Db, Scan, ScanBuilder, Stats, Table, TableStats};
pub use env::{Env, Requests};
pub use error::{Error, ErrorKind, Result};
pub use options::{Options, SyncPolicy};
