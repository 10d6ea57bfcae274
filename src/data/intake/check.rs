//! Holds converted columns against the table: nulls, sizes of values and keys, digits of decimals.

use super::Limits;
use crate::{
    data::{
        convert::slice_bytes,
        key::{MAX_KEY_BYTES, encode_keys},
    },
    error::{Error, Result},
};
use arrow_array::{Array, ArrayRef, OffsetSizeTrait, cast::AsArray, types::*};
use arrow_buffer::OffsetBuffer;
use arrow_schema::DataType;

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

/// Refuses values that are too long, or decimals with more digits than declared, at any depth.
pub(super) fn values(array: &ArrayRef, name: &str, limits: &Limits) -> Result<()> {
    digits(array).map_err(|what| Error::invalid(format!("column {name:?}: {what}")))?;
    let long = match array.data_type() {
        DataType::Utf8 => longest(array.as_string::<i32>().offsets()),
        DataType::Binary => longest(array.as_binary::<i32>().offsets()),
        DataType::LargeUtf8 => longest(array.as_string::<i64>().offsets()),
        DataType::LargeBinary => longest(array.as_binary::<i64>().offsets()),
        DataType::FixedSizeBinary(n) if !array.is_empty() => ((*n).max(0) as u64, 0),
        t if t.is_nested() => (0..array.len())
            .map(|i| (slice_bytes(array, i, 1), i))
            .max_by_key(|(bytes, _)| *bytes)
            .unwrap_or_default(),
        DataType::Dictionary(_, _) => {
            let inner = array.as_any_dictionary().values();
            return values(inner, name, limits);
        }
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
fn longest<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (u64, usize) {
    offsets
        .windows(2)
        .enumerate()
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
        DataType::Dictionary(_, _) => digits(array.as_any_dictionary().values()),
        _ => Ok(()),
    }
}

/// Refuses keys that are too long, given their columns, which are null-free by now.
pub(super) fn keys(key: &[ArrayRef]) -> Result<()> {
    // Escaping at most doubles a value and adds two bytes.
    let most: u64 = key
        .iter()
        .map(|c| match c.data_type() {
            DataType::Utf8 => longest(c.as_string::<i32>().offsets()).0 * 2 + 2,
            DataType::Binary => longest(c.as_binary::<i32>().offsets()).0 * 2 + 2,
            DataType::LargeUtf8 => longest(c.as_string::<i64>().offsets()).0 * 2 + 2,
            DataType::LargeBinary => longest(c.as_binary::<i64>().offsets()).0 * 2 + 2,
            other => crate::data::key::fixed_width(other).unwrap_or(0) as u64,
        })
        .sum();
    match most > MAX_KEY_BYTES as u64 {
        true => encode_keys(key).map(|_| ()),
        false => Ok(()),
    }
}
