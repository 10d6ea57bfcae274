//! Bounds of columns as they are written. Invariants: tombstones and NaN count for no bound; a
//! minimum is never above, a maximum never below any live value, also when shortened to 64 bytes.

use super::meta::ColumnStats;
use crate::{
    data::{
        key,
        rows::Tombstones,
        schema::{TableSchema, is_key_type},
    },
    error::Result,
};
use arrow_array::{Array, RecordBatch, cast::AsArray, types::*};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, TimeUnit};

const MAX_COLUMNS: usize = 32;
const MAX_BOUND_BYTES: usize = 64;

/// Gathers the bounds of the first 32 columns that have a key type.
pub(super) struct StatsBuilder {
    columns: Vec<(usize, ColumnStats)>,
}

impl StatsBuilder {
    pub(super) fn new(schema: &TableSchema) -> Self {
        let fields = schema.storage().fields().iter().zip(schema.column_ids());
        let columns = fields
            .enumerate()
            .take(MAX_COLUMNS)
            .filter(|(_, (field, _))| is_key_type(field.data_type()))
            .map(|(index, (_, &column_id))| {
                let stats = ColumnStats {
                    column_id,
                    min: None,
                    max: None,
                    nulls: 0,
                    nans: 0,
                };
                (index, stats)
            })
            .collect();
        Self { columns }
    }

    pub(super) fn add(&mut self, batch: &RecordBatch, tombstones: &Tombstones) -> Result<()> {
        let live = match tombstones {
            Tombstones::None => None,
            Tombstones::All => return Ok(()),
            Tombstones::Some(bits) => Some(!bits),
        };
        for (index, stats) in &mut self.columns {
            let column = batch.column(*index).as_ref();
            let found = extremes(column, live.as_ref());
            stats.nulls += found.nulls;
            stats.nans += found.nans;
            let encode = |row: Option<usize>| match row {
                Some(row) => key::encode_value(column, row),
                None => Ok(None),
            };
            if let Some(min) = encode(found.min)?
                && stats.min.as_ref().is_none_or(|m| min < *m)
            {
                stats.min = Some(min);
            }
            if let Some(max) = encode(found.max)?
                && stats.max.as_ref().is_none_or(|m| max > *m)
            {
                stats.max = Some(max);
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<ColumnStats> {
        let shorten = |(_, mut stats): (usize, ColumnStats)| {
            if let Some(min) = &mut stats.min {
                min.truncate(MAX_BOUND_BYTES);
            }
            stats.max = stats.max.take().and_then(round_up);
            stats
        };
        self.columns.into_iter().map(shorten).collect()
    }
}

/// The shortest bound of at most 64 bytes that is not below `max`, if there is one.
fn round_up(mut max: Vec<u8>) -> Option<Vec<u8>> {
    if max.len() <= MAX_BOUND_BYTES {
        return Some(max);
    }
    max.truncate(MAX_BOUND_BYTES);
    while let Some(last) = max.pop() {
        if last != u8::MAX {
            max.push(last + 1);
            return Some(max);
        }
    }
    None
}

/// Rows of the least and greatest live values.
#[derive(Default)]
struct Extremes {
    min: Option<usize>,
    max: Option<usize>,
    nulls: u64,
    nans: u64,
}

fn extremes(column: &dyn Array, live: Option<&BooleanBuffer>) -> Extremes {
    use DataType::*;
    let nulls = column.nulls().filter(|n| n.null_count() > 0);
    let rows = Rows {
        len: column.len(),
        nulls,
        live,
    };
    macro_rules! primitive {
        ($t:ty) => {{
            let values = column.as_primitive::<$t>().values();
            rows.extremes(|row| Some(values[row]))
        }};
    }
    macro_rules! float {
        ($t:ty) => {{
            let values = column.as_primitive::<$t>().values();
            rows.extremes(|row| Some(values[row]).filter(|v| !v.is_nan()))
        }};
    }
    match column.data_type() {
        Boolean => {
            let values = column.as_boolean();
            rows.extremes(|row| Some(values.value(row)))
        }
        Int8 => primitive!(Int8Type),
        Int16 => primitive!(Int16Type),
        Int32 => primitive!(Int32Type),
        Int64 => primitive!(Int64Type),
        UInt8 => primitive!(UInt8Type),
        UInt16 => primitive!(UInt16Type),
        UInt32 => primitive!(UInt32Type),
        UInt64 => primitive!(UInt64Type),
        Float16 => float!(Float16Type),
        Float32 => float!(Float32Type),
        Float64 => float!(Float64Type),
        Decimal32(..) => primitive!(Decimal32Type),
        Decimal64(..) => primitive!(Decimal64Type),
        Decimal128(..) => primitive!(Decimal128Type),
        Decimal256(..) => primitive!(Decimal256Type),
        Date32 => primitive!(Date32Type),
        Date64 => primitive!(Date64Type),
        Time32(TimeUnit::Second) => primitive!(Time32SecondType),
        Time32(_) => primitive!(Time32MillisecondType),
        Time64(TimeUnit::Microsecond) => primitive!(Time64MicrosecondType),
        Time64(_) => primitive!(Time64NanosecondType),
        Timestamp(TimeUnit::Second, _) => primitive!(TimestampSecondType),
        Timestamp(TimeUnit::Millisecond, _) => primitive!(TimestampMillisecondType),
        Timestamp(TimeUnit::Microsecond, _) => primitive!(TimestampMicrosecondType),
        Timestamp(TimeUnit::Nanosecond, _) => primitive!(TimestampNanosecondType),
        Duration(TimeUnit::Second) => primitive!(DurationSecondType),
        Duration(TimeUnit::Millisecond) => primitive!(DurationMillisecondType),
        Duration(TimeUnit::Microsecond) => primitive!(DurationMicrosecondType),
        Duration(TimeUnit::Nanosecond) => primitive!(DurationNanosecondType),
        Utf8 => {
            let values = column.as_string::<i32>();
            rows.extremes(|row| Some(values.value(row).as_bytes()))
        }
        LargeUtf8 => {
            let values = column.as_string::<i64>();
            rows.extremes(|row| Some(values.value(row).as_bytes()))
        }
        Binary => {
            let values = column.as_binary::<i32>();
            rows.extremes(|row| Some(values.value(row)))
        }
        LargeBinary => {
            let values = column.as_binary::<i64>();
            rows.extremes(|row| Some(values.value(row)))
        }
        FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            rows.extremes(|row| Some(values.value(row)))
        }
        _ => Extremes::default(),
    }
}

struct Rows<'a> {
    len: usize,
    nulls: Option<&'a NullBuffer>,
    live: Option<&'a BooleanBuffer>,
}

impl Rows<'_> {
    /// `value` gives `None` for NaN.
    fn extremes<T: PartialOrd + Copy>(&self, value: impl Fn(usize) -> Option<T>) -> Extremes {
        let mut found = Extremes::default();
        let (mut least, mut greatest) = (None, None);
        for row in 0..self.len {
            if self.live.is_some_and(|live| !live.value(row)) {
                continue;
            }
            if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
                found.nulls += 1;
                continue;
            }
            let Some(v) = value(row) else {
                found.nans += 1;
                continue;
            };
            if least.is_none_or(|l| v < l) {
                (least, found.min) = (Some(v), Some(row));
            }
            if greatest.is_none_or(|g| v > g) {
                (greatest, found.max) = (Some(v), Some(row));
            }
        }
        found
    }
}
