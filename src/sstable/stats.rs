//! Bounds of columns as they are written. Invariants: tombstones and NaN count for no bound; a
//! minimum is never above, a maximum never below any live value, also when shortened to 64 bytes.

use super::{index::GroupStats, meta::ColumnStats};
use crate::{
    data::{
        key,
        rows::{Rows, Tombstones},
        schema::{TableSchema, is_key_type},
    },
    error::Result,
};
use arrow_array::{Array, cast::AsArray, types::*};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, TimeUnit};
use std::ops::Range;

const MAX_COLUMNS: usize = 32;
/// Longest bound in the log, and longest in the index of a file.
const BOUND_BYTES: usize = 64;
const GROUP_BOUND_BYTES: usize = 32;

/// Gathers the bounds of the first 32 columns that have a key type, for each row group and for all.
pub(super) struct StatsBuilder {
    /// Indices of the columns.
    columns: Vec<usize>,
    group: GroupStats,
    all: Vec<ColumnStats>,
}

impl StatsBuilder {
    pub(super) fn new(schema: &TableSchema) -> Self {
        let fields = schema.storage().fields();
        let columns: Vec<usize> = (0..fields.len().min(MAX_COLUMNS))
            .filter(|i| is_key_type(fields[*i].data_type()))
            .collect();
        let ids = columns.iter().map(|i| schema.column_ids()[*i]);
        let all: Vec<ColumnStats> = ids.map(nothing).collect();
        Self {
            columns,
            group: GroupStats {
                live: 0,
                columns: all.clone(),
            },
            all,
        }
    }

    /// Adds rows of the row group being written.
    pub(super) fn add(&mut self, rows: &Rows, part: Range<usize>) -> Result<()> {
        let length = part.len();
        let tombstones = rows.tombstones.slice(part.start, length);
        let live = match &tombstones {
            Tombstones::None => None,
            Tombstones::All => return Ok(()),
            Tombstones::Some(bits) => Some(!bits),
        };
        self.group.live += (length - tombstones.count(length)) as u64;
        for (index, stats) in self.columns.iter().zip(&mut self.group.columns) {
            let column = rows.batch.column(*index).slice(part.start, length);
            let column = column.as_ref();
            let found = extremes(column, live.as_ref());
            let encode = |row: Option<usize>| match row {
                // One byte more than a bound has says that it is one of a longer value.
                Some(row) => key::encode_prefix(column, row, BOUND_BYTES + 1),
                None => Ok(None),
            };
            let found = ColumnStats {
                column_id: stats.column_id,
                min: encode(found.min)?,
                max: encode(found.max)?,
                nulls: found.nulls,
                nans: found.nans,
            };
            merge(stats, &found);
        }
        Ok(())
    }

    /// Ends the row group being written.
    pub(super) fn end_group(&mut self) -> GroupStats {
        let mut next = Vec::with_capacity(self.all.len());
        for (all, group) in self.all.iter_mut().zip(&self.group.columns) {
            merge(all, group);
            next.push(nothing(group.column_id));
        }
        let next = GroupStats {
            live: 0,
            columns: next,
        };
        let mut group = std::mem::replace(&mut self.group, next);
        group
            .columns
            .iter_mut()
            .for_each(|c| shorten(c, GROUP_BOUND_BYTES));
        group
    }

    /// The bounds over all row groups.
    pub(super) fn finish(mut self) -> Vec<ColumnStats> {
        self.all.iter_mut().for_each(|c| shorten(c, BOUND_BYTES));
        self.all
    }
}

fn nothing(column_id: u32) -> ColumnStats {
    ColumnStats {
        column_id,
        min: None,
        max: None,
        nulls: 0,
        nans: 0,
    }
}

/// Takes `more` into `stats`; bounds that are not there are of no values.
fn merge(stats: &mut ColumnStats, more: &ColumnStats) {
    stats.nulls += more.nulls;
    stats.nans += more.nans;
    if let Some(min) = &more.min
        && stats.min.as_ref().is_none_or(|m| min < m)
    {
        stats.min = Some(min.clone());
    }
    if let Some(max) = &more.max
        && stats.max.as_ref().is_none_or(|m| max > m)
    {
        stats.max = Some(max.clone());
    }
}

fn shorten(stats: &mut ColumnStats, most: usize) {
    if let Some(min) = &mut stats.min {
        min.truncate(most);
    }
    stats.max = stats.max.take().and_then(|max| round_up(max, most));
}

/// The shortest bound of at most `most` bytes that is not below `max`, if there is one.
fn round_up(mut max: Vec<u8>, most: usize) -> Option<Vec<u8>> {
    if max.len() <= most {
        return Some(max);
    }
    max.truncate(most);
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
    let rows = Live {
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

struct Live<'a> {
    len: usize,
    nulls: Option<&'a NullBuffer>,
    live: Option<&'a BooleanBuffer>,
}

impl Live<'_> {
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
