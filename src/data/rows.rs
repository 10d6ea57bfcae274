//! Rows of one table in key order: what memtables hold, sstables are read into, and the merge takes.
//! Invariants: `keys` and `batch` have the same length; keys ascend, and rows of one key descend by
//! timestamp; a tombstone's non-key columns mean nothing.

use super::key::Keys;
use arrow_array::{BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Schema;
use std::sync::Arc;

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

    /// Bytes of memory held, for bounds: columns, keys and stamps.
    pub fn memory_bytes(&self) -> usize {
        let stamps = match &self.stamps {
            Stamps::All(_) => 0,
            Stamps::Each(v) => v.len() * 8,
        };
        let columns: usize = self
            .batch
            .columns()
            .iter()
            .map(|c| {
                c.to_data()
                    .get_slice_memory_size()
                    .unwrap_or_else(|_| c.get_array_memory_size())
            })
            .sum();
        columns + self.keys.memory_bytes() + stamps
    }
}
