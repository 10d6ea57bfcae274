//! Rows of one table in key order: what memtables hold, sstables are read into, and the merge takes.
//! Invariants: `keys` and `batch` have the same length; keys ascend, and rows of one key descend by
//! timestamp; a tombstone's non-key columns mean nothing: where all rows are tombstones they may be of the
//! type null (*bare*), so that a delete costs its keys.

use super::{
    held::{Held, copied, shown_bytes},
    key::Keys,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{ArrowError, DataType, FieldRef, Schema, SchemaRef};
use std::sync::Arc;

/// Rows are copied once they keep more than twice what they show and this much for each column and in all:
/// below it a copy frees nothing worth its price.
const SMALL_BYTES: usize = 256;
const SLACK_BYTES: usize = 1024;

/// Commit timestamps of rows: one for all, or one each. Microseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub enum Stamps {
    /// All rows carry this one.
    All(i64),
    /// Row `i` carries `values[i]`; no nulls.
    Each(Int64Array),
}

impl Stamps {
    /// The timestamp of a row.
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Self::All(ts) => *ts,
            Self::Each(values) => values.value(row),
        }
    }

    /// Each by `stamp`.
    pub fn map(&self, stamp: &dyn Fn(i64) -> i64) -> Self {
        match self {
            Self::All(ts) => Self::All(stamp(*ts)),
            Self::Each(values) => Self::Each(values.unary(stamp)),
        }
    }

    /// The same for `length` rows from `offset`; no copy.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        match self {
            Self::All(ts) => Self::All(*ts),
            Self::Each(values) => Self::Each(values.slice(offset, length)),
        }
    }
}

/// Which rows are tombstones.
#[derive(Clone, Debug)]
pub enum Tombstones {
    /// No row is.
    None,
    /// Every row is.
    All,
    /// Row `i` is if the bit is set.
    Some(BooleanBuffer),
}

impl Tombstones {
    /// Whether a row is a tombstone.
    pub fn get(&self, row: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(bits) => bits.value(row),
        }
    }

    /// The same for `length` rows from `offset`; no copy.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        match self {
            Self::Some(bits) => Self::Some(bits.slice(offset, length)),
            other => other.clone(),
        }
    }

    /// From marks, in the cheapest form.
    pub fn from_bits(bits: BooleanBuffer) -> Self {
        match bits.count_set_bits() {
            0 => Self::None,
            n if n == bits.len() => Self::All,
            _ => Self::Some(bits),
        }
    }

    /// How many of `rows` rows are tombstones.
    pub fn count(&self, rows: usize) -> usize {
        match self {
            Self::None => 0,
            Self::All => rows,
            Self::Some(bits) => bits.count_set_bits(),
        }
    }

    /// As the `_op` column.
    pub fn to_array(&self, rows: usize) -> BooleanArray {
        match self {
            Self::None => BooleanArray::new(BooleanBuffer::new_unset(rows), None),
            Self::All => BooleanArray::new(BooleanBuffer::new_set(rows), None),
            Self::Some(bits) => BooleanArray::new(bits.clone(), None),
        }
    }
}

/// Sorted rows.
#[derive(Clone, Debug)]
pub struct Rows {
    /// User columns in storage types: all of them, or the projection the reader asked for.
    pub batch: RecordBatch,
    /// The encoded primary key of each row.
    pub keys: Keys,
    /// The commit timestamp of each row.
    pub stamps: Stamps,
    /// Which rows are tombstones.
    pub tombstones: Tombstones,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `length` rows from `offset`; no copy.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Self {
            batch: self.batch.slice(offset, length),
            keys: self.keys.slice(offset, length),
            stamps: self.stamps.slice(offset, length),
            tombstones: self.tombstones.slice(offset, length),
        }
    }

    /// The same keys, stamps and tombstones with a batch of no columns.
    pub fn without_columns(&self) -> Self {
        let options = RecordBatchOptions::new().with_row_count(Some(self.len()));
        let none = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(none.clone(), Vec::new(), &options);
        Self {
            batch: batch.unwrap_or_else(|_| RecordBatch::new_empty(none)),
            ..self.clone()
        }
    }

    /// Whether these are tombstones that carry no columns but the key: those are of the type null, which
    /// no table's column has.
    pub fn is_bare(&self) -> bool {
        let bare = |c: &ArrayRef| *c.data_type() == DataType::Null;
        matches!(self.tombstones, Tombstones::All) && self.batch.columns().iter().any(bare)
    }

    /// Bytes of memory that these rows keep, whatever part of it they are: what bounds must count.
    pub fn memory_bytes(&self) -> usize {
        let mut held = Held::default();
        self.held(&mut held);
        held.bytes()
    }

    /// Counts what they keep.
    pub fn held(&self, held: &mut Held) {
        self.batch.columns().iter().for_each(|c| held.array(c));
        self.keys.held(held);
        if let Stamps::Each(stamps) = &self.stamps {
            held.buffer(stamps.values().inner());
        }
        if let Tombstones::Some(bits) = &self.tombstones {
            held.buffer(bits.inner());
        }
    }

    /// About the bytes that a copy of these rows would take.
    pub fn shown_bytes(&self) -> usize {
        let columns = self.batch.columns().iter();
        let columns: usize = columns.map(|c| shown_bytes(c, 0, c.len())).sum();
        columns + self.keys.memory_bytes()
    }

    /// The same rows, copied if they keep much more memory than they show. It cannot fail: what cannot be
    /// copied is kept as it is, and counted so.
    pub fn compacted(self) -> Self {
        let shown = self.shown_bytes() + self.batch.num_columns() * SMALL_BYTES + SLACK_BYTES;
        if self.memory_bytes() / 2 <= shown {
            return self;
        }
        let columns: Result<Vec<ArrayRef>, _> = self.batch.columns().iter().map(copied).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.len()));
        let batch = columns.and_then(|columns| {
            RecordBatch::try_new_with_options(self.batch.schema(), columns, &options)
        });
        match batch {
            Ok(batch) => Self {
                batch,
                keys: self.keys.copied(),
                stamps: self.stamps.clone(),
                tombstones: self.tombstones.clone(),
            },
            Err(_) => self,
        }
    }
}

/// Columns with those that a bare tombstone lacks as nulls of their types.
pub fn widened(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let widened = |(column, field): (&ArrayRef, &FieldRef)| match column.data_type() {
        DataType::Null => new_null_array(field.data_type(), column.len()),
        _ => column.clone(),
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(widened);
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &options)
}
