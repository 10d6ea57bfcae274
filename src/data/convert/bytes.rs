//! Strings and bytes: small, large and view offsets, fixed sizes. Text stays text and bytes bytes.

use super::{Converter, downcast};
use crate::error::Result;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, FixedSizeBinaryArray, LargeBinaryArray,
    LargeStringArray, StringArray, StringViewArray, cast::AsArray,
};
use arrow_buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use std::sync::Arc;

/// Values one after the other: row `i` is `values[offsets[i]..offsets[i + 1]]`.
struct Flat {
    offsets: Vec<i64>,
    values: Buffer,
    nulls: Option<NullBuffer>,
}

fn is_text(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(data_type, Utf8 | LargeUtf8 | Utf8View)
}

impl Converter<'_> {
    pub(super) fn bytes(&mut self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        if is_text(array.data_type()) != is_text(to) {
            return Err(self.mismatch(array.data_type(), to));
        }
        let flat = self.flatten(array)?;
        let Flat {
            offsets,
            values,
            nulls,
        } = match to {
            DataType::Utf8 | DataType::Binary => self.rebase(flat, to)?,
            _ => flat,
        };
        let small = || {
            // `rebase` saw to it that they fit.
            let narrow: Vec<i32> = offsets.iter().map(|&o| o as i32).collect();
            OffsetBuffer::new(ScalarBuffer::from(narrow))
        };
        let large = || OffsetBuffer::new(ScalarBuffer::from(offsets.clone()));
        let made: Result<ArrayRef, _> = match to {
            DataType::Utf8 => {
                StringArray::try_new(small(), values, nulls).map(|a| Arc::new(a) as _)
            }
            DataType::Binary => {
                BinaryArray::try_new(small(), values, nulls).map(|a| Arc::new(a) as _)
            }
            DataType::LargeUtf8 => {
                LargeStringArray::try_new(large(), values, nulls).map(|a| Arc::new(a) as _)
            }
            DataType::LargeBinary => {
                LargeBinaryArray::try_new(large(), values, nulls).map(|a| Arc::new(a) as _)
            }
            DataType::FixedSizeBinary(n) => {
                return self.fixed(
                    &Flat {
                        offsets,
                        values,
                        nulls,
                    },
                    *n,
                    to,
                );
            }
            _ => return Err(self.mismatch(array.data_type(), to)),
        };
        made.map_err(|e| self.refused(e))
    }

    fn flatten(&mut self, array: &ArrayRef) -> Result<Flat> {
        use DataType::*;
        self.spend(array.len() as u64 * 8)?;
        let wide = |o: &OffsetBuffer<i32>| o.iter().map(|&v| i64::from(v)).collect();
        let (offsets, values): (Vec<i64>, Buffer) = match array.data_type() {
            Utf8 => {
                let a = array.as_string::<i32>();
                (wide(a.offsets()), a.values().clone())
            }
            Binary => {
                let a = array.as_binary::<i32>();
                (wide(a.offsets()), a.values().clone())
            }
            LargeUtf8 => {
                let a = array.as_string::<i64>();
                (a.offsets().to_vec(), a.values().clone())
            }
            LargeBinary => {
                let a = array.as_binary::<i64>();
                (a.offsets().to_vec(), a.values().clone())
            }
            Utf8View => {
                let a: &StringViewArray = downcast(array)?;
                let lengths = a.iter().flatten().map(|v| v.len() as u64).sum();
                self.append(a.iter().map(|v| v.map(str::as_bytes)), lengths)?
            }
            BinaryView => {
                let a: &BinaryViewArray = downcast(array)?;
                let lengths = a.iter().flatten().map(|v| v.len() as u64).sum();
                self.append(a.iter(), lengths)?
            }
            FixedSizeBinary(n) => {
                let a: &FixedSizeBinaryArray = downcast(array)?;
                let n = i64::from((*n).max(0));
                let offsets = (0..=a.len() as i64).map(|i| i * n).collect();
                (offsets, Buffer::from(a.value_data()))
            }
            other => return Err(self.mismatch(other, &Binary)),
        };
        Ok(Flat {
            offsets,
            values,
            nulls: array.nulls().cloned(),
        })
    }

    fn append<'v>(
        &mut self,
        rows: impl Iterator<Item = Option<&'v [u8]>>,
        bytes: u64,
    ) -> Result<(Vec<i64>, Buffer)> {
        self.spend(bytes)?;
        let mut values = MutableBuffer::new(bytes as usize);
        let mut offsets = Vec::with_capacity(rows.size_hint().0 + 1);
        offsets.push(0);
        for row in rows {
            values.extend_from_slice(row.unwrap_or_default());
            offsets.push(values.len() as i64);
        }
        Ok((offsets, values.into()))
    }

    /// Makes offsets fit 32 bits: cuts what lies before the first value.
    fn rebase(&self, mut flat: Flat, to: &DataType) -> Result<Flat> {
        let (first, last) = (
            flat.offsets[0],
            flat.offsets.last().copied().unwrap_or_default(),
        );
        if last <= i64::from(i32::MAX) {
            return Ok(flat);
        }
        if last - first > i64::from(i32::MAX) {
            return Err(self.too_big(to));
        }
        flat.offsets.iter_mut().for_each(|o| *o -= first);
        flat.values = flat
            .values
            .slice_with_length(first as usize, (last - first) as usize);
        Ok(flat)
    }

    fn fixed(&mut self, flat: &Flat, width: i32, to: &DataType) -> Result<ArrayRef> {
        let rows = flat.offsets.len() - 1;
        let size = width.max(0) as usize;
        self.spend(rows as u64 * size as u64)?;
        let mut out = MutableBuffer::new(rows * size);
        for (row, pair) in flat.offsets.windows(2).enumerate() {
            let value = &flat.values[pair[0] as usize..pair[1] as usize];
            if flat.nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                out.extend_zeros(size);
            } else if value.len() == size {
                out.extend_from_slice(value);
            } else {
                let found = format!("a value of {} bytes", value.len());
                return Err(self.misfit(row, found, to));
            }
        }
        let made = FixedSizeBinaryArray::try_new(width, out.into(), flat.nulls.clone());
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }
}
