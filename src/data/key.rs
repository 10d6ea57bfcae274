//! The order-preserving encoding of keys and of column bounds: comparing the bytes compares the
//! values. It is written to the log (key ranges, column statistics), so it is a format (FORMAT.md).
//!
//! | type | bytes |
//! |---|---|
//! | bool | 1: 0 or 1 |
//! | signed integer, decimal, date, time, timestamp, duration | its width, big-endian, sign bit flipped |
//! | unsigned integer | its width, big-endian |
//! | float | its width, big-endian; -0 is +0, every NaN is one and last; negative: all bits flipped, else sign bit flipped |
//! | fixed-size binary | as it is |
//! | utf8, binary, last in the key | as it is |
//! | utf8, binary, before the last | 00 becomes 00 FF; then 00 00 ends it |

use super::held::{Held, copied_buffer};
use crate::error::{Error, Result};
use arrow_array::{Array, ArrayRef, cast::AsArray, types::*};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};
use std::ops::Bound;

/// Longest encoded key, in bytes.
pub const MAX_KEY_BYTES: usize = 16 * 1024;

/// The encoded keys of some rows. Cheap to clone and slice.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Every key has the same width.
    Fixed {
        /// Bytes of one key; at least 1.
        width: usize,
        /// `rows * width` bytes.
        bytes: Buffer,
    },
    /// Key `i` is `bytes[offsets[i]..offsets[i + 1]]`.
    Variable {
        /// One more than there are rows.
        offsets: OffsetBuffer<i32>,
        /// All keys, one after the other.
        bytes: Buffer,
    },
}

impl Keys {
    /// Number of keys.
    pub fn len(&self) -> usize {
        match self {
            Self::Fixed { width, bytes } => bytes.len() / width,
            Self::Variable { offsets, .. } => offsets.len() - 1,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoded key of a row.
    #[inline]
    pub fn get(&self, row: usize) -> &[u8] {
        match self {
            Self::Fixed { width, bytes } => &bytes.as_slice()[row * width..(row + 1) * width],
            Self::Variable { offsets, bytes } => {
                &bytes.as_slice()[offsets[row] as usize..offsets[row + 1] as usize]
            }
        }
    }

    /// `length` keys from `offset`; no copy.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        match self {
            Self::Fixed { width, bytes } => Self::Fixed {
                width: *width,
                bytes: bytes.slice_with_length(offset * width, length * width),
            },
            Self::Variable { offsets, bytes } => Self::Variable {
                offsets: offsets.slice(offset, length),
                bytes: bytes.clone(),
            },
        }
    }

    /// The same keys, without the bytes that they may be a small part of: those of a whole commit, say.
    pub fn by_themselves(&self) -> Self {
        match self {
            Self::Variable { bytes, .. } if bytes.capacity() / 2 > self.memory_bytes() => {
                self.copied()
            }
            Self::Fixed { bytes, .. } if bytes.capacity() / 2 > bytes.len() + 64 => self.copied(),
            _ => self.clone(),
        }
    }

    /// Bytes of memory that the keys themselves take.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Fixed { bytes, .. } => bytes.len(),
            Self::Variable { offsets, .. } => {
                offsets.len() * 4 + (offsets[offsets.len() - 1] - offsets[0]) as usize
            }
        }
    }

    /// Counts what they keep.
    pub fn held(&self, held: &mut Held) {
        match self {
            Self::Fixed { bytes, .. } => held.buffer(bytes),
            Self::Variable { offsets, bytes } => {
                held.buffer(offsets.inner().inner());
                held.buffer(bytes);
            }
        }
    }

    /// The same keys in buffers of their own.
    pub fn copied(&self) -> Self {
        match self {
            Self::Fixed { width, bytes } => Self::Fixed {
                width: *width,
                bytes: copied_buffer(bytes),
            },
            Self::Variable { offsets, bytes } => {
                let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
                let from_zero: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
                Self::Variable {
                    offsets: OffsetBuffer::new(ScalarBuffer::from(from_zero)),
                    bytes: Buffer::from(&bytes.as_slice()[first as usize..last as usize]),
                }
            }
        }
    }

    /// The first row from `from` whose key is not less than `key` (rows ascend).
    pub fn lower_bound(&self, from: usize, key: &[u8]) -> usize {
        self.partition(from, |k| k < key)
    }

    /// The first row from `from` whose key is greater than `key` (rows ascend).
    pub fn upper_bound(&self, from: usize, key: &[u8]) -> usize {
        self.partition(from, |k| k <= key)
    }

    /// The first row whose key is not less than `key`, anywhere (rows ascend).
    pub fn search(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle) < key {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low
    }

    /// Gallops, then bisects: cheap when the answer is near `from`.
    fn partition(&self, from: usize, before: impl Fn(&[u8]) -> bool) -> usize {
        let len = self.len();
        let (mut low, mut step) = (from, 1);
        while low < len && before(self.get(low)) {
            let next = (low + step).min(len);
            if next == len || !before(self.get(next)) {
                let (mut a, mut b) = (low + 1, next);
                while a < b {
                    let middle = a + (b - a) / 2;
                    if before(self.get(middle)) {
                        a = middle + 1
                    } else {
                        b = middle
                    }
                }
                return a;
            }
            low = next;
            step *= 2;
        }
        low
    }
}

/// Encodes the key columns (in key order, canonical key types, no nulls) of a batch.
pub fn encode_keys(columns: &[ArrayRef]) -> Result<Keys> {
    if let Some(c) = columns.iter().find(|c| c.null_count() > 0) {
        return Err(Error::invalid(format!(
            "a key column of type {} has a null",
            c.data_type()
        )));
    }
    if let [only] = columns
        && let Some(keys) = borrow_variable(only)?
    {
        return Ok(keys);
    }
    let widths: Option<Vec<usize>> = columns.iter().map(|c| fixed_width(c.data_type())).collect();
    match widths {
        Some(widths) => encode_fixed(columns, &widths),
        None => encode_variable(columns),
    }
}

/// Encodes one value (row `row`) of a key-typed column, as the last of a key; `None` for null.
pub fn encode_value(column: &dyn Array, row: usize) -> Result<Option<Vec<u8>>> {
    if column.is_null(row) {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(16);
    append_value(column, row, true, &mut out)?;
    Ok(Some(out))
}

/// The same, but no more than its first `most` bytes, and no copy of the rest.
pub fn encode_prefix(column: &dyn Array, row: usize, most: usize) -> Result<Option<Vec<u8>>> {
    if column.is_null(row) || fixed_width(column.data_type()).is_some() {
        let mut value = encode_value(column, row)?;
        if let Some(value) = value.as_mut().filter(|value| value.len() > most) {
            value.truncate(most);
            value.shrink_to_fit();
        }
        return Ok(value);
    }
    let value = variable_value(column, row)?;
    Ok(value.get(..most.min(value.len())).map(<[u8]>::to_vec))
}

/// Appends the encoding of one non-null value; `last` says whether it ends the key.
pub fn append_value(column: &dyn Array, row: usize, last: bool, out: &mut Vec<u8>) -> Result<()> {
    if let Some(width) = fixed_width(column.data_type()) {
        let start = out.len();
        out.resize(start + width, 0);
        write_fixed(column, row, 1, width, &mut out[start..], width, 0)?;
        return Ok(());
    }
    append_bytes(variable_value(column, row)?, last, out);
    Ok(())
}

/// Bytes of an encoded value of fixed width; `None` for utf8 and binary.
pub fn fixed_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(n) => Some((*n).max(0) as usize).filter(|n| *n > 0),
        DataType::Float16 => Some(2),
        other => other.primitive_width(),
    }
}

fn borrow_variable(column: &ArrayRef) -> Result<Option<Keys>> {
    let (offsets, bytes) = match column.data_type() {
        DataType::Utf8 => {
            let a = column.as_string::<i32>();
            (a.offsets().clone(), a.values().clone())
        }
        DataType::Binary => {
            let a = column.as_binary::<i32>();
            (a.offsets().clone(), a.values().clone())
        }
        _ => return Ok(None),
    };
    if let Some(w) = offsets
        .windows(2)
        .find(|w| (w[1] - w[0]) as usize > MAX_KEY_BYTES)
    {
        return Err(too_long((w[1] - w[0]) as usize));
    }
    Ok(Some(Keys::Variable { offsets, bytes }))
}

fn too_long(bytes: usize) -> Error {
    Error::invalid(format!(
        "a key has {bytes} bytes: keys take at most {MAX_KEY_BYTES}"
    ))
}

fn encode_fixed(columns: &[ArrayRef], widths: &[usize]) -> Result<Keys> {
    let rows = columns.first().map_or(0, |c| c.len());
    let stride: usize = widths.iter().sum();
    if stride > MAX_KEY_BYTES {
        return Err(too_long(stride));
    }
    let mut bytes = vec![0u8; rows * stride];
    let mut at = 0;
    for (column, width) in columns.iter().zip(widths) {
        write_fixed(column, 0, rows, *width, &mut bytes, stride, at)?;
        at += width;
    }
    Ok(Keys::Fixed {
        width: stride,
        bytes: bytes.into(),
    })
}

fn encode_variable(columns: &[ArrayRef]) -> Result<Keys> {
    let rows = columns.first().map_or(0, |c| c.len());
    let mut bytes = Vec::with_capacity(rows * 16);
    let mut offsets: Vec<i32> = Vec::with_capacity(rows + 1);
    offsets.push(0);
    for row in 0..rows {
        let start = bytes.len();
        for (i, column) in columns.iter().enumerate() {
            append_value(column, row, i + 1 == columns.len(), &mut bytes)?;
        }
        if bytes.len() - start > MAX_KEY_BYTES {
            return Err(too_long(bytes.len() - start));
        }
        let end = i32::try_from(bytes.len())
            .map_err(|_| Error::invalid("the keys of one batch exceed 2 GiB: split it"))?;
        offsets.push(end);
    }
    Ok(Keys::Variable {
        offsets: OffsetBuffer::new(ScalarBuffer::from(offsets)),
        bytes: Buffer::from_vec(bytes),
    })
}

fn variable_value(column: &dyn Array, row: usize) -> Result<&[u8]> {
    Ok(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).as_bytes(),
        DataType::Binary => column.as_binary::<i32>().value(row),
        DataType::LargeBinary => column.as_binary::<i64>().value(row),
        // The empty fixed-size binary: no bytes, no order.
        DataType::FixedSizeBinary(0) => &[],
        other => return Err(Error::internal(format!("{other} has no key encoding"))),
    })
}

pub(crate) fn append_bytes(value: &[u8], last: bool, out: &mut Vec<u8>) {
    if last {
        out.extend_from_slice(value);
        return;
    }
    for &byte in value {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// Writes `rows` values from row `first` into `out`, one every `stride` bytes from `at`.
fn write_fixed(
    column: &dyn Array,
    first: usize,
    rows: usize,
    width: usize,
    out: &mut [u8],
    stride: usize,
    at: usize,
) -> Result<()> {
    macro_rules! primitive {
        ($t:ty, $encode:expr) => {{
            let values = column.as_primitive::<$t>().values();
            for (i, value) in values[first..first + rows].iter().enumerate() {
                let start = i * stride + at;
                out[start..start + width].copy_from_slice(&$encode(*value));
            }
        }};
    }
    macro_rules! signed {
        ($t:ty) => {
            primitive!($t, |v: <$t as ArrowPrimitiveType>::Native| (v
                ^ <$t as ArrowPrimitiveType>::Native::MIN)
                .to_be_bytes())
        };
    }
    use DataType::*;
    match column.data_type() {
        Boolean => {
            let values = column.as_boolean();
            for i in 0..rows {
                out[i * stride + at] = u8::from(values.value(first + i));
            }
        }
        FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            for i in 0..rows {
                let start = i * stride + at;
                out[start..start + width].copy_from_slice(values.value(first + i));
            }
        }
        Int8 => signed!(Int8Type),
        Int16 => signed!(Int16Type),
        Int32 => signed!(Int32Type),
        Int64 => signed!(Int64Type),
        UInt8 => primitive!(UInt8Type, u8::to_be_bytes),
        UInt16 => primitive!(UInt16Type, u16::to_be_bytes),
        UInt32 => primitive!(UInt32Type, u32::to_be_bytes),
        UInt64 => primitive!(UInt64Type, u64::to_be_bytes),
        Float16 => primitive!(Float16Type, |v: half::f16| float16(v).to_be_bytes()),
        Float32 => primitive!(Float32Type, |v: f32| float32(v).to_be_bytes()),
        Float64 => primitive!(Float64Type, |v: f64| float64(v).to_be_bytes()),
        Decimal32(..) => signed!(Decimal32Type),
        Decimal64(..) => signed!(Decimal64Type),
        Decimal128(..) => signed!(Decimal128Type),
        Decimal256(..) => primitive!(Decimal256Type, |v: arrow_buffer::i256| {
            let mut b = v.to_be_bytes();
            b[0] ^= 0x80;
            b
        }),
        Date32 => signed!(Date32Type),
        Date64 => signed!(Date64Type),
        Time32(TimeUnit::Second) => signed!(Time32SecondType),
        Time32(_) => signed!(Time32MillisecondType),
        Time64(TimeUnit::Microsecond) => signed!(Time64MicrosecondType),
        Time64(_) => signed!(Time64NanosecondType),
        Timestamp(TimeUnit::Second, _) => signed!(TimestampSecondType),
        Timestamp(TimeUnit::Millisecond, _) => signed!(TimestampMillisecondType),
        Timestamp(TimeUnit::Microsecond, _) => signed!(TimestampMicrosecondType),
        Timestamp(TimeUnit::Nanosecond, _) => signed!(TimestampNanosecondType),
        Duration(TimeUnit::Second) => signed!(DurationSecondType),
        Duration(TimeUnit::Millisecond) => signed!(DurationMillisecondType),
        Duration(TimeUnit::Microsecond) => signed!(DurationMicrosecondType),
        Duration(TimeUnit::Nanosecond) => signed!(DurationNanosecondType),
        other => return Err(Error::internal(format!("{other} has no key encoding"))),
    }
    Ok(())
}

pub(crate) fn float16(v: half::f16) -> u16 {
    if v.is_nan() {
        return u16::MAX;
    }
    let bits = if v == half::f16::ZERO { 0 } else { v.to_bits() };
    if bits >> 15 == 1 {
        !bits
    } else {
        bits | 1 << 15
    }
}

pub(crate) fn float32(v: f32) -> u32 {
    if v.is_nan() {
        return u32::MAX;
    }
    let bits = if v == 0.0 { 0 } else { v.to_bits() };
    if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

pub(crate) fn float64(v: f64) -> u64 {
    if v.is_nan() {
        return u64::MAX;
    }
    let bits = if v == 0.0 { 0 } else { v.to_bits() };
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// A range of encoded keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self {
            start: Bound::Unbounded,
            end: Bound::Unbounded,
        }
    }

    /// Exactly one key.
    pub fn only(key: Vec<u8>) -> Self {
        Self {
            start: Bound::Included(key.clone()),
            end: Bound::Included(key),
        }
    }

    /// The key, if the range is that one.
    pub fn single(&self) -> Option<&[u8]> {
        match (&self.start, &self.end) {
            (Bound::Included(start), Bound::Included(end)) if start == end => Some(start),
            _ => None,
        }
    }

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.after_start(key) && self.before_end(key)
    }

    /// Whether any key of `min..=max` may lie in it.
    pub fn overlaps(&self, min: &[u8], max: &[u8]) -> bool {
        self.after_start(max) && self.before_end(min)
    }

    fn after_start(&self, key: &[u8]) -> bool {
        match &self.start {
            Bound::Unbounded => true,
            Bound::Included(k) => key >= k.as_slice(),
            Bound::Excluded(k) => key > k.as_slice(),
        }
    }

    fn before_end(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Unbounded => true,
            Bound::Included(k) => key <= k.as_slice(),
            Bound::Excluded(k) => key < k.as_slice(),
        }
    }

    /// The rows of ascending `keys` that lie in it.
    pub fn rows_of(&self, keys: &Keys) -> std::ops::Range<usize> {
        let start = match &self.start {
            Bound::Unbounded => 0,
            Bound::Included(k) => keys.lower_bound(0, k),
            Bound::Excluded(k) => keys.upper_bound(0, k),
        };
        let end = match &self.end {
            Bound::Unbounded => keys.len(),
            Bound::Included(k) => keys.upper_bound(start.min(keys.len()), k),
            Bound::Excluded(k) => keys.lower_bound(start.min(keys.len()), k),
        };
        start..end.max(start)
    }

    /// The keys that lie in both.
    pub fn intersect(&self, other: &KeyRange) -> KeyRange {
        let start = tighter(&self.start, &other.start, true);
        let end = tighter(&self.end, &other.end, false);
        KeyRange { start, end }
    }
}

fn tighter(a: &Bound<Vec<u8>>, b: &Bound<Vec<u8>>, start: bool) -> Bound<Vec<u8>> {
    use Bound::*;
    match (a, b) {
        (Unbounded, x) | (x, Unbounded) => x.clone(),
        (Included(x) | Excluded(x), Included(y) | Excluded(y)) => match x.cmp(y) {
            std::cmp::Ordering::Equal if matches!(a, Excluded(_)) => a.clone(),
            std::cmp::Ordering::Equal => b.clone(),
            order if (order == std::cmp::Ordering::Greater) == start => a.clone(),
            _ => b.clone(),
        },
    }
}
