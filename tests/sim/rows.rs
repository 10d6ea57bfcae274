//! Rows: keys and values small enough to compare at every step, and their two forms at rest. Key `MARK +
//! n` is written by commit `n` alone, so that every commit can be recognised wherever its rows are.

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, cast::AsArray, types::Int64Type,
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use lakeshore::data::schema::TableSchema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{collections::BTreeMap, io::Cursor, sync::Arc};

/// Keys from here on name the commit that wrote them.
pub const MARK: i64 = 1_000_000;
/// Ordinary keys are below this.
pub const KEYS: i64 = 6;

/// The rows of a table.
pub type Content = BTreeMap<i64, i64>;

/// `(k int64, v int64)` by `k`.
pub fn schema() -> TableSchema {
    let columns = vec![
        Arc::new(Field::new("k", DataType::Int64, false)),
        Arc::new(Field::new("v", DataType::Int64, true)),
    ];
    TableSchema::new(columns, &["k"]).unwrap()
}

pub fn batch(rows: &[(i64, i64)]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1)));
    RecordBatch::try_from_iter([("k", keys), ("v", values)]).unwrap()
}

pub fn keys(keys: &[i64]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys.iter().copied()));
    RecordBatch::try_from_iter([("k", keys)]).unwrap()
}

/// The rows of a batch of all columns.
pub fn unpack(batch: &RecordBatch) -> Vec<(i64, i64)> {
    let (keys, values) = (ints(batch, "k").unwrap(), ints(batch, "v").unwrap());
    (0..batch.num_rows())
        .map(|i| (keys.value(i), values.value(i)))
        .collect()
}

fn ints<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a Int64Array> {
    batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()
}

/// The rows of inline IPC bytes, in order; no value: a deletion.
pub fn of_ipc(ipc: &Bytes) -> Result<Vec<(i64, Option<i64>)>, String> {
    let reader =
        StreamReader::try_new(Cursor::new(ipc.clone()), None).map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| e.to_string())?;
        let keys = ints(&batch, "k").ok_or("no column k")?;
        let values = ints(&batch, "v");
        rows.extend((0..batch.num_rows()).map(|i| (keys.value(i), values.map(|v| v.value(i)))));
    }
    Ok(rows)
}

/// A row of an sstable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub key: i64,
    /// Its own timestamp; none in a fresh file.
    pub ts: Option<i64>,
    pub value: Option<i64>,
}

/// The rows of an sstable, read by parquet-rs alone.
pub fn of_parquet(file: &Bytes) -> Result<Vec<Stored>, String> {
    let text = |e: parquet::errors::ParquetError| e.to_string();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(text)?;
    let mut rows = Vec::new();
    for batch in reader.build().map_err(text)? {
        let batch = batch.map_err(|e| e.to_string())?;
        let (keys, values) = (ints(&batch, "k"), ints(&batch, "v"));
        let (keys, values) = keys.zip(values).ok_or("no columns k and v")?;
        let stamps = ints(&batch, "_ts");
        let gone: Option<&BooleanArray> =
            batch.column_by_name("_op").and_then(|c| c.as_boolean_opt());
        let gone = gone.ok_or("no column _op")?;
        rows.extend((0..batch.num_rows()).map(|i| Stored {
            key: keys.value(i),
            ts: stamps.map(|s| s.value(i)),
            value: (!gone.value(i) && !values.is_null(i)).then(|| values.value(i)),
        }));
    }
    Ok(rows)
}
