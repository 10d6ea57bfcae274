//! Dictionaries and run ends: to plain values, and plain values to a dictionary.

use super::{Converter, downcast};
use crate::error::Result;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, RunArray, UInt32Array, cast::AsArray, downcast_integer,
    types::*,
};
use arrow_schema::DataType;
use std::{collections::HashMap, sync::Arc};

impl Converter<'_> {
    /// The values that rows name: what no row does is not looked at.
    pub(super) fn expand_dictionary(&mut self, array: &ArrayRef) -> Result<ArrayRef> {
        let (keys, values) = self.split(array)?;
        self.gather(&values, &keys)
    }

    pub(super) fn make_dictionary(
        &mut self,
        array: &ArrayRef,
        key: &DataType,
        value: &DataType,
    ) -> Result<ArrayRef> {
        let plain = self.convert(array, value)?;
        let data = plain.to_data();
        self.spend(plain.len() as u64 * 8)?;
        let mut seen: HashMap<&[u8], u32> = HashMap::new();
        let mut firsts: Vec<u32> = Vec::new();
        let mut keys: Vec<Option<u32>> = Vec::with_capacity(plain.len());
        for row in 0..plain.len() {
            if plain.is_null(row) {
                keys.push(None);
                continue;
            }
            let bytes = match plain.data_type() {
                DataType::Utf8 => plain.as_string::<i32>().value(row).as_bytes(),
                DataType::LargeUtf8 => plain.as_string::<i64>().value(row).as_bytes(),
                DataType::Binary => plain.as_binary::<i32>().value(row),
                DataType::LargeBinary => plain.as_binary::<i64>().value(row),
                DataType::FixedSizeBinary(_) => plain.as_fixed_size_binary().value(row),
                DataType::Boolean => match plain.as_boolean().value(row) {
                    true => b"1",
                    false => b"0",
                },
                other => match other.primitive_width() {
                    Some(w) => {
                        let at = (data.offset() + row) * w;
                        &data.buffers()[0].as_slice()[at..at + w]
                    }
                    None => return Err(self.mismatch(array.data_type(), other)),
                },
            };
            let next = firsts.len() as u32;
            let index = *seen.entry(bytes).or_insert(next);
            if index == next {
                firsts.push(row as u32);
            }
            keys.push(Some(index));
        }
        let values = self.gather(&plain, &UInt32Array::from(firsts))?;
        let keys: ArrayRef = Arc::new(UInt32Array::from(keys));
        let keys = self.convert(&keys, key)?;
        self.join(&keys, values)
    }

    /// The keys as row numbers of the values.
    fn split(&mut self, array: &ArrayRef) -> Result<(UInt32Array, ArrayRef)> {
        let DataType::Dictionary(key, _) = array.data_type() else {
            return Err(self.mismatch(array.data_type(), array.data_type()));
        };
        macro_rules! split {
            ($t:ty) => {{
                let dictionary: &DictionaryArray<$t> = downcast(array)?;
                let keys: ArrayRef = Arc::new(dictionary.keys().clone());
                (keys, dictionary.values().clone())
            }};
        }
        let (keys, values) = downcast_integer! {
            key.as_ref() => (split),
            other => return Err(self.mismatch(array.data_type(), other)),
        };
        let keys = self.convert(&keys, &DataType::UInt32)?;
        Ok((keys.as_primitive::<UInt32Type>().clone(), values))
    }

    fn join(&self, keys: &ArrayRef, values: ArrayRef) -> Result<ArrayRef> {
        macro_rules! join {
            ($t:ty) => {{
                let keys = keys.as_primitive::<$t>().clone();
                let made = DictionaryArray::<$t>::try_new(keys, values);
                Ok(Arc::new(made.map_err(|e| self.refused(e))?) as ArrayRef)
            }};
        }
        downcast_integer! {
            keys.data_type() => (join),
            other => Err(self.mismatch(other, &DataType::Int32)),
        }
    }

    /// The value of each row.
    pub(super) fn expand_runs(&mut self, array: &ArrayRef) -> Result<ArrayRef> {
        let DataType::RunEndEncoded(ends, _) = array.data_type() else {
            return Err(self.mismatch(array.data_type(), array.data_type()));
        };
        self.spend(array.len() as u64 * 4)?;
        macro_rules! expand {
            ($t:ty) => {{
                let runs: &RunArray<$t> = downcast(array)?;
                let ends = runs.run_ends();
                let mut indices = Vec::with_capacity(array.len());
                let (first, last) = (ends.offset(), ends.offset() + ends.len());
                let mut from = first;
                for (run, end) in ends.values().iter().enumerate() {
                    let end = (*end as usize).min(last);
                    if end > from {
                        indices.resize(indices.len() + (end - from), run as u32);
                        from = end;
                    }
                }
                (indices, runs.values().clone())
            }};
        }
        let (indices, values) = match ends.data_type() {
            DataType::Int16 => expand!(Int16Type),
            DataType::Int32 => expand!(Int32Type),
            DataType::Int64 => expand!(Int64Type),
            other => return Err(self.mismatch(array.data_type(), other)),
        };
        self.gather(&values, &UInt32Array::from(indices))
    }
}
