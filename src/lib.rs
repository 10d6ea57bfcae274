//! Lakeshore: an embedded, Arrow-native database for the edge. See README.md and ARCHITECTURE.md.
//!
//! ```
//! use arrow_array::{Int64Array, RecordBatch, StringArray};
//! use arrow_schema::{DataType, Field};
//! use lakeshore::data::predicate::{CompareOp, Predicate, Value};
//! use lakeshore::{Db, Options, data::schema::TableSchema, platform::native};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path();
//! let env = native::env(path.join("data"), Some(&path.join("wal")))?;
//! let db = Db::open(env, Options::default()).await?;
//! let columns = vec![
//!     Arc::new(Field::new("id", DataType::Int64, false)),
//!     Arc::new(Field::new("origin", DataType::Utf8, true)),
//! ];
//! let flights = db.create_table("flights", TableSchema::new(columns, &["id"])?).await?;
//!
//! let batch = RecordBatch::try_from_iter([
//!     ("id", Arc::new(Int64Array::from(vec![7, 8, 9])) as _),
//!     ("origin", Arc::new(StringArray::from(vec!["SFO", "JFK", "SFO"])) as _),
//! ])?;
//! flights.ingest(&[batch]).await?; // acknowledged: synced in the WAL
//!
//! let from_sfo = Predicate::Compare("origin".into(), CompareOp::Equal, Value::Text("SFO".into()));
//! let mut scan = flights.scan().filter(from_sfo).select(&["id"]).stream()?;
//! while let Some(batch) = scan.next().await? {
//!     assert_eq!(batch.num_rows(), 2);
//! }
//! db.flush().await?; // the barrier: in the object store, as Parquet
//! db.close().await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "js")]
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

pub use data::alter::Alteration;
pub use db::{
    Change, Changes, ChangesOptions, Committed, Cursor, Db, GcOptions, GcReport, Isolation,
    KeepUploaded, LogVersion, Parked, ProbeCheck, ProbeReport, Scan, ScanBuilder, SettingsChange,
    Snapshot, SnapshotTable, Stats, Table, TableChange, TableStats, Transaction,
    TransactionOptions, TransactionTable, UploadOptions, Uploaded, probe,
};
pub use env::{Env, Requests};
pub use error::{Error, ErrorKind, Result};
pub use log::{edit::Settings, history::AsOf};
pub use options::{OfflineOpen, Options, SyncPolicy};

/// So that README.md's Rust is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
