//! sstables: Parquet objects, sorted by key and descending timestamp.

pub mod meta;
// Until the reader and the writer land: the engine compiles against their signatures.
#[path = "pending_read.rs"]
pub mod read;
#[path = "pending_write.rs"]
pub mod write;
