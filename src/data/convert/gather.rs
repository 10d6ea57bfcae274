//! Copying chosen rows, and what a copy costs before it is made. The costs are upper bounds of the
//! bytes of plain arrays; they keep a few hostile bytes from becoming gigabytes.

use super::Converter;
use crate::error::Result;
use arrow_array::{Array, ArrayRef, UInt32Array, cast::AsArray};
use arrow_schema::DataType;

/// Bytes of `length` rows of `array` from `start`, with at least one for each element.
pub(crate) fn slice_bytes(array: &dyn Array, start: usize, length: usize) -> u64 {
    use DataType::*;
    let rows = length as u64;
    let span = |first: usize, last: usize| (last - first) as u64;
    match array.data_type() {
        Utf8 => {
            let o = array.as_string::<i32>().offsets();
            rows * 4 + span(o[start] as usize, o[start + length] as usize)
        }
        Binary => {
            let o = array.as_binary::<i32>().offsets();
            rows * 4 + span(o[start] as usize, o[start + length] as usize)
        }
        LargeUtf8 => {
            let o = array.as_string::<i64>().offsets();
            rows * 8 + span(o[start] as usize, o[start + length] as usize)
        }
        LargeBinary => {
            let o = array.as_binary::<i64>().offsets();
            rows * 8 + span(o[start] as usize, o[start + length] as usize)
        }
        List(_) => {
            let list = array.as_list::<i32>();
            let o = list.offsets();
            let (first, last) = (o[start] as usize, o[start + length] as usize);
            rows * 4 + slice_bytes(list.values(), first, last - first)
        }
        LargeList(_) => {
            let list = array.as_list::<i64>();
            let o = list.offsets();
            let (first, last) = (o[start] as usize, o[start + length] as usize);
            rows * 8 + slice_bytes(list.values(), first, last - first)
        }
        Map(_, _) => {
            let map = array.as_map();
            let o = map.offsets();
            let (first, last) = (o[start] as usize, o[start + length] as usize);
            rows * 4 + slice_bytes(map.entries(), first, last - first)
        }
        FixedSizeList(_, n) => {
            let n = (*n).max(0) as usize;
            rows + slice_bytes(array.as_fixed_size_list().values(), start * n, length * n)
        }
        Struct(_) => {
            let children = array.as_struct().columns().iter();
            rows + children.map(|c| slice_bytes(c, start, length)).sum::<u64>()
        }
        other => rows.saturating_mul(row_width(other)),
    }
}

/// Bytes of `rows` nulls of a type.
pub(crate) fn null_bytes(data_type: &DataType, rows: usize) -> u64 {
    use DataType::*;
    match data_type {
        FixedSizeList(f, n) => null_bytes(f.data_type(), rows).saturating_mul((*n).max(1) as u64),
        Struct(fields) => fields
            .iter()
            .map(|f| null_bytes(f.data_type(), rows))
            .fold(rows as u64, u64::saturating_add),
        other => (rows as u64).saturating_mul(row_width(other)),
    }
}

fn row_width(data_type: &DataType) -> u64 {
    use DataType::*;
    match data_type {
        Boolean | Null => 1,
        FixedSizeBinary(n) => (*n).max(1) as u64,
        Dictionary(key, _) => row_width(key),
        Utf8View | BinaryView => 16,
        other => other.primitive_width().unwrap_or(8) as u64,
    }
}

impl Converter<'_> {
    /// The rows of `values` that `indices` name; null where the index is.
    pub(super) fn gather(&mut self, values: &ArrayRef, indices: &UInt32Array) -> Result<ArrayRef> {
        let mut cost = 0u64;
        match values.data_type() {
            t if t.primitive_width().is_some() || *t == DataType::Boolean => {
                cost = (indices.len() as u64).saturating_mul(row_width(t));
            }
            _ => {
                for index in indices.iter() {
                    let bytes = index.map_or(8, |i| slice_bytes(values, i as usize, 1));
                    cost = cost.saturating_add(bytes);
                }
                if cost > i32::MAX as u64 {
                    return Err(self.too_big(values.data_type()));
                }
            }
        }
        self.spend(cost)?;
        arrow_select::take::take(values.as_ref(), indices, None).map_err(|e| self.refused(e))
    }
}
