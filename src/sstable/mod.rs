//! sstables: Parquet objects, sorted by key and descending timestamp.

pub mod meta;
