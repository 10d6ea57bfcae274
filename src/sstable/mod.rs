//! sstables: Parquet objects, sorted by key and descending timestamp.
//!
//! ```text
//! "PAR1" | row group … row group | bloom filter | index | page indexes | Parquet footer | length | "PAR1"
//!         `------ read by range, every page with a crc32c ------'  `-------- footer_bytes --------------'
//! ```
//!
//! Columns are the table's (storage schema, in table order, Parquet field id = column id), then
//! `_ts` (int64; absent in a fresh file) and `_op` (bool, always there). The `index` ([`index`])
//! holds the checksum of every page and a sparse list of encoded keys; the log holds length and
//! checksum of the suffix (`footer_bytes`), which also takes in a bloom filter of at most 64 KiB.

pub mod bloom;
mod columns;
mod fetch;
pub mod index;
pub mod meta;
pub mod prune;
pub mod read;
mod stats;
pub mod write;
