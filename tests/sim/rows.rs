//! Rows: keys and values small enough to compare at every step, and their two forms at rest. Key `MARK +
//! n` is written by commit `n` alone, so that every commit can be recognised wherever its rows are. In all
//! its rows `v` is `n`, and the added column with id `c` is `64 n + c` or null: a value that is of another
//! commit or another column is told.

use super::shape::{Column, Shape};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch,
    cast::AsArray,
    types::{Int32Type, Int64Type},
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, FieldRef, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{collections::BTreeMap, io::Cursor, sync::Arc};

/// Keys from here on name the commit that wrote them.
pub const MARK: i64 = 1_000_000;
/// Ordinary keys are below this.
pub const KEYS: i64 = 6;

/// A row without its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The commit that wrote it.
    pub commit: i64,
    /// The added columns that are not null: a bit for each id.
    pub columns: u64,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.columns {
            0 => write!(f, "{}", self.commit),
            columns => write!(f, "{}/{columns:x}", self.commit),
        }
    }
}

impl Row {
    /// With no other columns than these.
    pub fn only(self, mask: u64) -> Self {
        let columns = self.columns & mask;
        Self { columns, ..self }
    }
}

/// The rows of a table.
pub type Content = BTreeMap<i64, Row>;

pub fn batch(shape: &Shape, rows: &[(i64, Row)]) -> RecordBatch {
    let columns = shape.columns.iter().map(|column| -> ArrayRef {
        let values = rows.iter().map(|(key, row)| match column.id {
            1 => Some(*key),
            2 => Some(row.commit),
            id => (row.columns >> id & 1 == 1).then(|| row.commit * 64 + i64::from(id)),
        });
        match column.wide {
            true => Arc::new(values.collect::<Int64Array>()),
            false => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        }
    });
    let fields: Vec<_> = shape.columns.iter().map(|c| c.field()).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect()).unwrap()
}

pub fn keys(shape: &Shape, keys: &[i64]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys.iter().copied()));
    RecordBatch::try_from_iter([(&shape.columns[0].name, keys)]).unwrap()
}

/// The rows of a batch that has all columns, and says so.
pub fn unpack(shape: &Shape, batch: &RecordBatch) -> Result<Vec<(i64, Row)>, String> {
    let schema = batch.schema();
    let same = |(field, column): (&FieldRef, &Column)| column.is(field);
    if schema.fields().len() != shape.columns.len()
        || !schema.fields().iter().zip(&shape.columns).all(same)
    {
        return Err(format!(
            "columns {:?}, not {:?}",
            schema.fields(),
            shape.columns
        ));
    }
    let rows = values(shape, batch)?;
    rows.into_iter()
        .map(|(key, row)| Ok((key, row.ok_or("no value in v")?)))
        .collect()
}

/// The keys of a batch of deletions.
pub fn unpack_keys(shape: &Shape, batch: &RecordBatch) -> Result<Vec<i64>, String> {
    let name = &shape.columns[0].name;
    let keys = Ints::of(batch, name).ok_or_else(|| format!("no column {name:?}"))?;
    match batch.num_columns() {
        1 => Ok((0..batch.num_rows()).filter_map(|i| keys.get(i)).collect()),
        n => Err(format!("{n} columns where keys are deleted")),
    }
}

enum Ints<'a> {
    Wide(&'a Int64Array),
    Narrow(&'a Int32Array),
}

impl<'a> Ints<'a> {
    fn of(batch: &'a RecordBatch, name: &str) -> Option<Self> {
        let column = batch.column_by_name(name)?;
        match column.data_type() {
            DataType::Int64 => column.as_primitive_opt::<Int64Type>().map(Self::Wide),
            _ => column.as_primitive_opt::<Int32Type>().map(Self::Narrow),
        }
    }

    fn get(&self, row: usize) -> Option<i64> {
        match self {
            Self::Wide(a) => (!a.is_null(row)).then(|| a.value(row)),
            Self::Narrow(a) => (!a.is_null(row)).then(|| a.value(row).into()),
        }
    }
}

/// Keys and rows by the columns' names; no row where `v` is null.
fn values(shape: &Shape, batch: &RecordBatch) -> Result<Vec<(i64, Option<Row>)>, String> {
    let columns = shape.columns.iter().map(|column| {
        let found = Ints::of(batch, &column.name);
        found
            .map(|ints| (column, ints))
            .ok_or_else(|| format!("no column {:?}", column.name))
    });
    let columns: Vec<_> = columns.collect::<Result<_, _>>()?;
    let (keys, commits) = (&columns[0].1, &columns[1].1);
    let mut rows = Vec::with_capacity(batch.num_rows());
    for i in 0..batch.num_rows() {
        let key = keys.get(i).ok_or("a key that is null")?;
        let Some(commit) = commits.get(i) else {
            rows.push((key, None));
            continue;
        };
        let mut row = Row { commit, columns: 0 };
        for (column, ints) in &columns[2..] {
            let Some(value) = ints.get(i) else { continue };
            if value != commit * 64 + i64::from(column.id) {
                return Err(format!(
                    "row {key} of commit {commit} has {value} in column {:?}",
                    column.name
                ));
            }
            row.columns |= 1 << column.id;
        }
        rows.push((key, Some(row)));
    }
    Ok(rows)
}

fn batches(ipc: &Bytes) -> Result<Vec<RecordBatch>, String> {
    let reader = StreamReader::try_new(Cursor::new(ipc.clone()), None);
    let reader = reader.map_err(|e| e.to_string())?;
    reader.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// The rows of inline IPC bytes, in order; none: deletions.
pub fn of_ipc(shape: &Shape, ipc: &Bytes, delete: bool) -> Result<Vec<(i64, Option<Row>)>, String> {
    let mut rows = Vec::new();
    for batch in batches(ipc)? {
        match delete {
            true => rows.extend(
                unpack_keys(shape, &batch)?
                    .into_iter()
                    .map(|key| (key, None)),
            ),
            false => rows.extend(values(shape, &batch)?),
        }
    }
    Ok(rows)
}

/// The keys of inline IPC bytes, whatever their schema.
pub fn keys_of_ipc(ipc: &Bytes) -> Result<Vec<i64>, String> {
    let mut all = Vec::new();
    for batch in batches(ipc)? {
        let schema = batch.schema();
        let key = schema.fields().first().ok_or("no column")?;
        let keys = Ints::of(&batch, key.name()).ok_or("no key")?;
        all.extend((0..batch.num_rows()).filter_map(|i| keys.get(i)));
    }
    Ok(all)
}

/// A row of an sstable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub key: i64,
    /// Its own timestamp; none in a fresh file.
    pub ts: Option<i64>,
    pub value: Option<Row>,
}

/// The rows of an sstable, read by parquet-rs alone.
pub fn of_parquet(shape: &Shape, file: &Bytes) -> Result<Vec<Stored>, String> {
    let text = |e: parquet::errors::ParquetError| e.to_string();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(text)?;
    let mut rows = Vec::new();
    for batch in reader.build().map_err(text)? {
        let batch = batch.map_err(|e| e.to_string())?;
        let stamps = Ints::of(&batch, "_ts");
        let gone: Option<&BooleanArray> =
            batch.column_by_name("_op").and_then(|c| c.as_boolean_opt());
        let gone = gone.ok_or("no column _op")?;
        for (i, (key, value)) in values(shape, &batch)?.into_iter().enumerate() {
            rows.push(Stored {
                key,
                ts: stamps.as_ref().and_then(|s| s.get(i)),
                value: value.filter(|_| !gone.value(i)),
            });
        }
    }
    Ok(rows)
}
