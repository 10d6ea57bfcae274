//! Bounds of what is put together, in rows and in bytes, and what rows weigh. Invariants: bytes are those
//! of the rows themselves, not of the buffers they are a slice of; a row larger than a bound fits into it
//! alone, so that whoever cuts by bounds always comes forward.

use super::convert::slice_bytes;
use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::DataType;

/// Most bytes of a bound: the offsets of a column (32 bits, signed) reach twice as far.
const MOST_BYTES: usize = 1 << 30;

/// Most rows and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Most rows; at least 1.
    pub rows: usize,
    /// Most bytes, but for a row that is larger.
    pub bytes: usize,
}

impl Bound {
    /// Rows and bytes, brought to what fits into one batch.
    pub fn new(rows: usize, bytes: usize) -> Self {
        Self {
            rows: rows.max(1),
            bytes: bytes.clamp(1, MOST_BYTES),
        }
    }

    /// Rows alone.
    pub fn rows(rows: usize) -> Self {
        Self::new(rows, usize::MAX)
    }

    /// Everything, whatever it is. Not for what becomes one array.
    pub const NONE: Self = Self {
        rows: usize::MAX,
        bytes: usize::MAX,
    };

    /// The same rows in at most this many bytes.
    pub fn within(self, bytes: usize) -> Self {
        Self::new(self.rows, self.bytes.min(bytes))
    }
}

/// What the rows of a batch weigh: asked often, so what is the same for all rows is known beforehand.
#[derive(Debug)]
pub struct Weights {
    /// Eighths of a byte that each row takes.
    bits: usize,
    /// What a batch takes beside its rows: the last offset of each list, the rest of a byte of marks.
    beside: usize,
    /// Columns whose values differ in length.
    others: Vec<ArrayRef>,
}

impl Weights {
    /// Of a batch.
    pub fn of(batch: &RecordBatch) -> Self {
        let mut weights = Self {
            bits: 0,
            beside: 0,
            others: Vec::new(),
        };
        for column in batch.columns() {
            weights.bits += usize::from(column.nulls().is_some());
            weights.beside += beside(column.data_type());
            match fixed_bits(column.data_type()) {
                Some(bits) => weights.bits = weights.bits.saturating_add(bits),
                None => weights.others.push(column.clone()),
            }
        }
        weights
    }

    /// Bytes of `rows` rows from `start` as a batch of their own.
    pub fn batch(&self, start: usize, rows: usize) -> usize {
        self.bytes(start, rows).saturating_add(self.beside)
    }

    /// What `rows` rows from `start` add to a batch.
    pub fn bytes(&self, start: usize, rows: usize) -> usize {
        let fixed = self.bits.saturating_mul(rows).div_ceil(8);
        (self.others.iter())
            .map(|column| usize::try_from(array_bytes(column, start, rows)).unwrap_or(usize::MAX))
            .fold(fixed, usize::saturating_add)
    }

    /// How many of the `rows` rows from `start` fit, at least 1; those at the end if `from_end`.
    pub fn fitting(&self, start: usize, rows: usize, from_end: bool, bound: Bound) -> usize {
        let most = rows.min(bound.rows);
        let bytes = |n: usize| match from_end {
            false => self.batch(start, n),
            true => self.batch(start + rows - n, n),
        };
        if most <= 1 || bytes(most) <= bound.bytes {
            return most;
        }
        if self.others.is_empty() {
            let room = bound.bytes.saturating_sub(self.beside);
            let fit = room.saturating_mul(8) / self.bits.max(1);
            return fit.clamp(1, most);
        }
        // `low` rows fit, or are one; `high` rows do not.
        let (mut low, mut high) = (1, most);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            match bytes(middle) <= bound.bytes {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    }
}

/// Bytes of the rows of a batch.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    Weights::of(batch).batch(0, batch.num_rows())
}

/// Eighths of a byte of a value, where all take the same.
fn fixed_bits(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Null => Some(0),
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(n) => Some((*n).max(0) as usize * 8),
        DataType::Dictionary(_, _) => None,
        other => other.primitive_width().map(|width| width * 8),
    }
}

/// Bytes that an array takes beside its rows.
fn beside(data_type: &DataType) -> usize {
    use DataType::*;
    let children = match data_type {
        List(f) | LargeList(f) | Map(f, _) | FixedSizeList(f, _) => beside(f.data_type()),
        Struct(fields) => fields.iter().map(|f| beside(f.data_type())).sum(),
        Dictionary(_, value) => beside(value),
        _ => 0,
    };
    // An offset, and two bits of marks.
    children + 8 + 2
}

/// A dictionary weighs what its values would, on average: which of them a row has is not looked at.
fn array_bytes(array: &ArrayRef, start: usize, rows: usize) -> u64 {
    let own = slice_bytes(array, start, rows);
    let DataType::Dictionary(_, _) = array.data_type() else {
        // Marks of nulls at every level: an element is a byte or more.
        let nested = array.data_type().is_nested();
        return own.saturating_add(if nested { own / 8 } else { 0 });
    };
    let values = array.as_any_dictionary_opt().map(|d| d.values());
    let value = values.map_or(0, |v| {
        slice_bytes(v, 0, v.len()).div_ceil(v.len().max(1) as u64)
    });
    own.saturating_add(value.saturating_mul(rows as u64))
}
