//! Lakeshore: an embedded, Arrow-native database for the edge. See README.md and ARCHITECTURE.md.

pub mod data;
pub mod db;
pub mod env;
mod error;
pub mod log;
pub mod memtable;
pub mod merge;
mod options;
pub mod platform;
pub mod scan;
pub mod sstable;
pub mod wal;

pub use error::{Error, ErrorKind, Result};
pub use options::{Options, SyncPolicy};
