//! Lists, structs and maps: their parts are converted, struct fields by name.

use super::{Converter, downcast, hidden};
use crate::error::{Error, Result};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, GenericListViewArray, MapArray,
    OffsetSizeTrait, StructArray, UInt32Array, cast::AsArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef, Fields};
use std::sync::Arc;

/// Row `i` holds `values[offsets[i]..offsets[i + 1]]`.
struct Lists {
    offsets: Vec<i64>,
    values: ArrayRef,
}

impl Converter<'_> {
    pub(super) fn list(&mut self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let (DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)) = to
        else {
            return Err(self.mismatch(array.data_type(), to));
        };
        if let (DataType::FixedSizeList(_, n), DataType::FixedSizeList(_, m)) =
            (array.data_type(), to)
        {
            if n != m {
                return Err(self.mismatch(array.data_type(), to));
            }
            let values = self.items(array, *n)?;
            let values = self.convert(&values, field.data_type())?;
            return self.fixed_list(array, field, *m, values);
        }
        let whole = match (array.data_type(), to) {
            (DataType::List(_), DataType::List(_)) => self.whole_list::<i32>(array, field)?,
            (DataType::LargeList(_), DataType::LargeList(_)) => {
                self.whole_list::<i64>(array, field)?
            }
            _ => None,
        };
        if let Some(list) = whole {
            return Ok(list);
        }
        let Lists { offsets, values } = self.lists(array)?;
        let values = self.convert(&values, field.data_type())?;
        match to {
            DataType::List(_) => self.make_list::<i32>(array, field, offsets, values),
            DataType::LargeList(_) => self.make_list::<i64>(array, field, offsets, values),
            DataType::FixedSizeList(_, n) => {
                let indices = self.pad(array, &offsets, *n, to)?;
                let values = self.gather(&values, &indices)?;
                self.fixed_list(array, field, *n, values)
            }
            _ => Err(self.mismatch(array.data_type(), to)),
        }
    }

    /// The same offsets over converted elements; `None` where some belong to no row.
    fn whole_list<O: OffsetSizeTrait>(
        &mut self,
        array: &ArrayRef,
        field: &FieldRef,
    ) -> Result<Option<ArrayRef>> {
        let list = array.as_list::<O>();
        let (offsets, nulls) = (list.offsets(), list.nulls());
        if !hidden::reached(offsets, list.values().len()) || offsets.has_non_empty_nulls(nulls) {
            return Ok(None);
        }
        let values = self.convert(list.values(), field.data_type())?;
        let nulls = nulls.cloned();
        let made = GenericListArray::<O>::try_new(field.clone(), offsets.clone(), values, nulls);
        Ok(Some(Arc::new(made.map_err(|e| self.refused(e))?)))
    }

    /// The items of a fixed-size list, nulls under nulls.
    fn items(&mut self, array: &ArrayRef, size: i32) -> Result<ArrayRef> {
        let list = array.as_fixed_size_list();
        let size = size.max(0) as usize;
        let Some(nulls) = list.nulls().filter(|n| n.null_count() > 0) else {
            return Ok(list.values().clone());
        };
        self.spend((array.len() as u64).saturating_mul(size as u64) / 8)?;
        self.below(list.values(), Some(&nulls.expand(size)))
    }

    /// Elements that rows hold, not converted.
    fn lists(&mut self, array: &ArrayRef) -> Result<Lists> {
        use DataType::*;
        self.spend(array.len() as u64 * 8)?;
        let (offsets, values): (Vec<i64>, &ArrayRef) = match array.data_type() {
            List(_) => {
                let list = array.as_list::<i32>();
                let wide = list.offsets().iter().map(|&o| i64::from(o)).collect();
                (wide, list.values())
            }
            LargeList(_) => {
                let list = array.as_list::<i64>();
                (list.offsets().to_vec(), list.values())
            }
            FixedSizeList(_, n) => {
                let n = i64::from((*n).max(0));
                let offsets = (0..=array.len() as i64).map(|i| i * n).collect();
                (offsets, array.as_fixed_size_list().values())
            }
            ListView(_) => return self.views::<i32>(array),
            LargeListView(_) => return self.views::<i64>(array),
            other => return Err(self.mismatch(other, other)),
        };
        let (offsets, values) = self.cut(offsets, array.nulls(), values)?;
        Ok(Lists { offsets, values })
    }

    fn views<O: OffsetSizeTrait>(&mut self, array: &ArrayRef) -> Result<Lists> {
        let list: &GenericListViewArray<O> = downcast(array)?;
        let rows = list.offsets().iter().zip(list.sizes().iter());
        let rows = rows
            .enumerate()
            .map(|(row, (o, s))| match list.is_null(row) {
                true => (0, 0),
                false => (o.as_usize(), s.as_usize()),
            });
        let total = rows
            .clone()
            .fold(0u64, |sum, (_, s)| sum.saturating_add(s as u64));
        if total > i32::MAX as u64 {
            return Err(self.too_big(array.data_type()));
        }
        self.spend(total * 4)?;
        let mut offsets = vec![0i64];
        let mut indices: Vec<u32> = Vec::with_capacity(total as usize);
        for (start, size) in rows {
            if start + size > u32::MAX as usize {
                return Err(self.too_big(array.data_type()));
            }
            indices.extend(start as u32..(start + size) as u32);
            offsets.push(indices.len() as i64);
        }
        let values = self.gather(list.values(), &UInt32Array::from(indices))?;
        Ok(Lists { offsets, values })
    }

    fn make_list<O: OffsetSizeTrait>(
        &self,
        array: &ArrayRef,
        field: &FieldRef,
        offsets: Vec<i64>,
        values: ArrayRef,
    ) -> Result<ArrayRef> {
        let narrow: Option<Vec<O>> = offsets.iter().map(|&o| O::from_usize(o as usize)).collect();
        let narrow = narrow.ok_or_else(|| self.too_big(array.data_type()))?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(narrow));
        let nulls = array.nulls().cloned();
        let made = GenericListArray::<O>::try_new(field.clone(), offsets, values, nulls);
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    fn fixed_list(
        &self,
        array: &ArrayRef,
        field: &FieldRef,
        size: i32,
        values: ArrayRef,
    ) -> Result<ArrayRef> {
        let nulls = array.nulls().cloned();
        let made = FixedSizeListArray::try_new_with_length(
            field.clone(),
            size,
            values,
            nulls,
            array.len(),
        );
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    /// The elements of rows of `size` each; a null row gets nulls.
    fn pad(
        &mut self,
        array: &ArrayRef,
        offsets: &[i64],
        size: i32,
        to: &DataType,
    ) -> Result<UInt32Array> {
        let size = size.max(0) as usize;
        let total = (array.len() as u64).saturating_mul(size as u64);
        self.spend(total.saturating_mul(8))?;
        let mut indices: Vec<Option<u32>> = Vec::with_capacity(total as usize);
        for (row, pair) in offsets.windows(2).enumerate() {
            let (start, end) = (pair[0] as usize, pair[1] as usize);
            if array.is_null(row) {
                indices.resize(indices.len() + size, None);
            } else if end - start == size && end <= u32::MAX as usize {
                indices.extend((start as u32..end as u32).map(Some));
            } else {
                let found = format!("a list of {} elements", end - start);
                return Err(self.misfit(row, found, to));
            }
        }
        Ok(UInt32Array::from(indices))
    }

    pub(super) fn structure(&mut self, array: &ArrayRef, fields: &Fields) -> Result<ArrayRef> {
        let source = array.as_struct();
        let known = |name: &str| fields.iter().any(|f| f.name() == name);
        if let Some(f) = source.fields().iter().find(|f| !known(f.name())) {
            return Err(self.field_error(f.name(), "is not in the table: leave it out"));
        }
        let mut children = Vec::with_capacity(fields.len());
        for field in fields {
            let mut found = source
                .fields()
                .iter()
                .zip(source.columns())
                .filter(|(f, _)| f.name() == field.name());
            let child = match (found.next(), found.next()) {
                (Some((_, child)), None) => {
                    let child = self.below(child, source.nulls())?;
                    self.convert(&child, field.data_type())?
                }
                (Some(_), Some(_)) => return Err(self.field_error(field.name(), "appears twice")),
                (None, _) if field.is_nullable() => self.nulls(field.data_type(), array.len())?,
                (None, _) => {
                    return Err(self.field_error(field.name(), "is missing and may not be null"));
                }
            };
            children.push(child);
        }
        let nulls = array.nulls().cloned();
        let made = StructArray::try_new_with_length(fields.clone(), children, nulls, array.len());
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }

    fn field_error(&self, field: &str, what: &str) -> Error {
        Error::invalid(format!("column {:?}: field {field:?} {what}", self.column))
    }

    /// Keys and values by position: writers name them differently.
    pub(super) fn map(
        &mut self,
        array: &ArrayRef,
        entries: &FieldRef,
        sorted: bool,
    ) -> Result<ArrayRef> {
        let map = array.as_map();
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(self.mismatch(array.data_type(), entries.data_type()));
        };
        let (offsets, pairs) = match hidden::reached(map.offsets(), map.entries().len())
            && !map.offsets().has_non_empty_nulls(map.nulls())
        {
            true => (map.offsets().clone(), map.entries().clone()),
            false => {
                self.spend(array.len() as u64 * 8)?;
                let offsets = map.offsets().iter().map(|&o| i64::from(o)).collect();
                let pairs: ArrayRef = Arc::new(map.entries().clone());
                let (offsets, pairs) = self.cut(offsets, map.nulls(), &pairs)?;
                // They were 32 bits wide and have not grown.
                let offsets: Vec<i32> = offsets.iter().map(|&o| o as i32).collect();
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                (offsets, pairs.as_struct().clone())
            }
        };
        let parts = pairs.columns();
        if fields.len() != 2 || parts.len() != 2 {
            return Err(self.mismatch(array.data_type(), entries.data_type()));
        }
        let children = vec![
            self.convert(&parts[0], fields[0].data_type())?,
            self.convert(&parts[1], fields[1].data_type())?,
        ];
        let made = StructArray::try_new(fields.clone(), children, pairs.nulls().cloned()).and_then(
            |pairs| {
                let nulls = array.nulls().cloned();
                MapArray::try_new(entries.clone(), offsets, pairs, nulls, sorted)
            },
        );
        Ok(Arc::new(made.map_err(|e| self.refused(e))?))
    }
}
