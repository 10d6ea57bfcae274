//! What tests of writes share: one test at a time, what it may take at most, and data that is there before
//! the counting begins.

use super::allocator::{Mark, Turn, turn};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef};
use bytes::Bytes;
use lakeshore::{
    Db, Options,
    data::{intake::write_ipc, schema::TableSchema},
    platform::native::env,
};
use std::{cell::RefCell, path::Path, sync::Arc};

pub const MIB: usize = 1 << 20;

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// Runs one test, alone in the process.
pub fn alone<T>(test: impl Future<Output = T>) -> T {
    let turn = turn();
    TURN.set(Some(turn));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(test);
    TURN.set(None);
    outcome
}

/// Counts from now on.
pub struct Count(Mark);

impl Count {
    pub fn begin() -> Self {
        TURN.with_borrow(|turn| Self(turn.as_ref().expect("within `alone`").mark()))
    }

    /// The most that was allocated beyond what was there.
    pub fn peak(&self) -> usize {
        self.0.peak()
    }

    /// What is allocated now beyond what was there.
    pub fn now(&self) -> usize {
        self.0.live()
    }

    /// The peak is within `bound`; `what` was done.
    #[track_caller]
    pub fn holds(&self, what: &str, bound: usize) {
        let peak = self.peak();
        println!("{what}: peak {:.1} of {:.1} MiB", mib(peak), mib(bound));
        assert!(
            peak <= bound,
            "{what}: {:.1} MiB, which is beyond {:.1}",
            mib(peak),
            mib(bound)
        );
    }
}

pub fn mib(bytes: usize) -> f64 {
    bytes as f64 / MIB as f64
}

/// Options as they are on wasm, of a database that may use so much.
pub fn small(memory_bytes: usize) -> Options {
    Options {
        memory_bytes,
        row_group_rows: 65_536,
        batch_rows: 16_384,
        concurrency: 6,
        ..Options::default()
    }
}

/// A database on a disk, so that what is stored is not in memory.
pub async fn open(place: &Path, wal: bool, options: Options) -> Db {
    let wal = wal.then(|| place.join("wal"));
    let env = env(place.join("data"), wal.as_deref()).unwrap();
    Db::open(env, options).await.unwrap()
}

/// The schema `(id int64, …)` by `id`.
pub fn schema(columns: Vec<FieldRef>) -> TableSchema {
    let mut all = vec![Arc::new(Field::new("id", DataType::Int64, false))];
    all.extend(columns);
    TableSchema::new(all, &["id"]).unwrap()
}

pub fn field(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

pub fn ids(from: i64, rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(from..from + rows as i64))
}

/// Columns with ids from `from` on.
pub fn batch(from: i64, columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let rows = columns.first().map_or(1, |(_, column)| column.len());
    let mut all = vec![("id", ids(from, rows))];
    all.extend(columns.iter().cloned());
    RecordBatch::try_from_iter(all).unwrap()
}

/// Keys for a delete.
pub fn keys(from: i64, rows: usize) -> RecordBatch {
    RecordBatch::try_from_iter([("id", ids(from, rows))]).unwrap()
}

/// An IPC stream that stays for ever: the caller's memory, not the engine's.
pub fn given(batch: &RecordBatch) -> Bytes {
    let ipc = write_ipc(&batch.schema(), std::slice::from_ref(batch)).unwrap();
    Bytes::from_static(Box::leak(ipc.into_boxed_slice()))
}
