//! Databases on disk, so that what is read is allocated, with options as on wasm.

use lakeshore::{Db, Options, platform::native};
use std::path::Path;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// The defaults of a small memory.
pub fn small(memory_bytes: usize) -> Options {
    Options {
        memory_bytes,
        wal_segment_bytes: 4 * MIB as u64,
        seal_bytes: 6 * MIB,
        memtable_limit_bytes: 12 * MIB,
        backlog_bytes: 12 * MIB,
        sstable_bytes: 16 * MIB,
        row_group_rows: 65_536,
        batch_rows: 16_384,
        concurrency: 6,
        commit_bytes: 64 * MIB,
        conflict_bytes: 2 * MIB,
        ..Options::default()
    }
}

/// The same files, written with plenty of memory: what is measured is something else.
pub fn plenty() -> Options {
    small(1024 * MIB)
}

/// Opens the database of a directory, without a WAL.
pub async fn open(path: &Path, options: Options) -> Db {
    let env = native::env(path.join("data"), None).unwrap();
    Db::open(env, options).await.unwrap()
}
