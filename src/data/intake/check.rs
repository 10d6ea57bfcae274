//! Holds converted columns against the table: nulls, sizes of values and keys, digits of decimals.
//! The converter left nothing under nulls, so what is looked at here is there.

use super::Limits;
use crate::{
    data::{
        convert::slice_bytes,
        key::{MAX_KEY_BYTES, encode_keys},
    },
    error::{Error, Result},
};
use arrow_array::{Array, ArrayRef, OffsetSizeTrait, cast::AsArray, types::*};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field};

/// Refuses the first null; `key` says that the column is part of the key.
pub(super) fn no_nulls(array: &ArrayRef, name: &str, key: bool) -> Result<()> {
    let Some(nulls) = array.logical_nulls().filter(|n| n.null_count() > 0) else {
        return Ok(());
    };
    let row = (0..nulls.len()).find(|&i| nulls.is_null(i)).unwrap_or(0);
    let what = match key {
        true => "key column",
        false => "column",
    };
    Err(Error::invalid(format!(
        "{what} {name:?}, row {row} is null: it may not be, give it a value"
    )))
}

/// Refuses a null in a nested part that was declared not null, unless a part around it is null.
pub(super) fn parts(array: &ArrayRef, declared: &Field) -> Result<()> {
    let Some((row, path)) = missing(array, declared.data_type()) else {
        return Ok(());
    };
    let path = format!("{}.{path}", declared.name());
    Err(Error::invalid(format!(
        "column {:?}, row {row}: {path:?} is null: it may not be, give it a value",
        declared.name()
    )))
}

/// The first value that lacks a part, and the part's path.
fn missing(array: &ArrayRef, declared: &DataType) -> Option<(usize, String)> {
    use DataType::*;
    match declared {
        Struct(fields) => {
            let columns = array.as_struct_opt()?.columns();
            (fields.iter().zip(columns)).find_map(|(f, c)| part(c, f, array.nulls()))
        }
        List(f) => {
            let list = array.as_list_opt::<i32>()?;
            part(list.values(), f, None).map(|found| in_row(list.offsets(), found))
        }
        LargeList(f) => {
            let list = array.as_list_opt::<i64>()?;
            part(list.values(), f, None).map(|found| in_row(list.offsets(), found))
        }
        FixedSizeList(f, n) => {
            let size = usize::try_from(*n).ok().filter(|n| *n > 0)?;
            let nulls = array.nulls().map(|n| n.expand(size));
            let list = array.as_fixed_size_list_opt()?;
            part(list.values(), f, nulls.as_ref()).map(|(at, path)| (at / size, path))
        }
        Map(entries, _) => {
            let map = array.as_map_opt()?;
            let Struct(fields) = entries.data_type() else {
                return None;
            };
            let found =
                (fields.iter().zip(map.entries().columns())).find_map(|(f, c)| part(c, f, None))?;
            Some(in_row(map.offsets(), found))
        }
        _ => None,
    }
}

fn part(
    array: &ArrayRef,
    declared: &Field,
    around: Option<&NullBuffer>,
) -> Option<(usize, String)> {
    let name = declared.name();
    if let Some(nulls) = array.nulls().filter(|_| !declared.is_nullable()) {
        let around = |i: usize| around.is_some_and(|n| n.is_null(i));
        let alone = |i: &usize| nulls.is_null(*i) && !around(*i);
        if nulls.null_count() > 0
            && let Some(at) = (0..nulls.len()).find(alone)
        {
            return Some((at, name.clone()));
        }
    }
    missing(array, declared.data_type()).map(|(at, path)| (at, format!("{name}.{path}")))
}

/// The row that holds an element.
fn in_row<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    (element, path): (usize, String),
) -> (usize, String) {
    let row = offsets.partition_point(|o| o.as_usize() <= element);
    (row.saturating_sub(1), path)
}

/// Refuses values that are too long, or decimals with more digits than declared, at any depth.
pub(super) fn values(array: &ArrayRef, name: &str, limits: &Limits) -> Result<()> {
    digits(array).map_err(|what| Error::invalid(format!("column {name:?}: {what}")))?;
    let nulls = array.nulls();
    let long = match array.data_type() {
        DataType::Utf8 => longest(array.as_string::<i32>().offsets(), nulls),
        DataType::Binary => longest(array.as_binary::<i32>().offsets(), nulls),
        DataType::LargeUtf8 => longest(array.as_string::<i64>().offsets(), nulls),
        DataType::LargeBinary => longest(array.as_binary::<i64>().offsets(), nulls),
        DataType::FixedSizeBinary(n) if !array.is_empty() => ((*n).max(0) as u64, 0),
        t if t.is_nested() => (0..array.len())
            .filter(|&i| array.is_valid(i))
            .map(|i| (slice_bytes(array, i, 1), i))
            .max_by_key(|(bytes, _)| *bytes)
            .unwrap_or_default(),
        _ => return Ok(()),
    };
    match long {
        (bytes, row) if bytes > limits.value_bytes as u64 => Err(Error::invalid(format!(
            "column {name:?}, row {row}: a value of {bytes} bytes is too large: \
             values take at most {}",
            limits.value_bytes
        ))),
        _ => Ok(()),
    }
}

/// The longest value and its row.
fn longest<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    nulls: Option<&NullBuffer>,
) -> (u64, usize) {
    offsets
        .windows(2)
        .enumerate()
        .filter(|(row, _)| nulls.is_none_or(|n| n.is_valid(*row)))
        .map(|(row, w)| ((w[1] - w[0]).as_usize() as u64, row))
        .max_by_key(|(bytes, _)| *bytes)
        .unwrap_or_default()
}

fn digits(array: &ArrayRef) -> Result<(), String> {
    macro_rules! check {
        ($t:ty, $p:expr) => {
            array
                .as_primitive::<$t>()
                .validate_decimal_precision($p)
                .map_err(|e| e.to_string())
        };
    }
    match array.data_type() {
        DataType::Decimal32(p, _) => check!(Decimal32Type, *p),
        DataType::Decimal64(p, _) => check!(Decimal64Type, *p),
        DataType::Decimal128(p, _) => check!(Decimal128Type, *p),
        DataType::Decimal256(p, _) => check!(Decimal256Type, *p),
        DataType::List(_) => digits(array.as_list::<i32>().values()),
        DataType::LargeList(_) => digits(array.as_list::<i64>().values()),
        DataType::FixedSizeList(_, _) => digits(array.as_fixed_size_list().values()),
        DataType::Map(_, _) => {
            digits(array.as_map().keys()).and_then(|()| digits(array.as_map().values()))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(digits),
        _ => Ok(()),
    }
}

/// Refuses keys that are too long, given their columns, which are null-free by now.
pub(super) fn keys(key: &[ArrayRef]) -> Result<()> {
    // Escaping at most doubles a value and adds two bytes.
    let most: u64 = key
        .iter()
        .map(|c| match c.data_type() {
            DataType::Utf8 => longest(c.as_string::<i32>().offsets(), None).0 * 2 + 2,
            DataType::Binary => longest(c.as_binary::<i32>().offsets(), None).0 * 2 + 2,
            DataType::LargeUtf8 => longest(c.as_string::<i64>().offsets(), None).0 * 2 + 2,
            DataType::LargeBinary => longest(c.as_binary::<i64>().offsets(), None).0 * 2 + 2,
            other => crate::data::key::fixed_width(other).unwrap_or(0) as u64,
        })
        .sum();
    match most > MAX_KEY_BYTES as u64 {
        true => encode_keys(key).map(|_| ()),
        false => Ok(()),
    }
}
