//! What no value shows: parts below a null, elements that no row reaches. It is arbitrary, and Arrow
//! lets it be anything of its type: before anything is judged it is nulled or left out.

use super::Converter;
use crate::error::Result;
use arrow_array::{Array, ArrayRef, BooleanArray, OffsetSizeTrait, UInt32Array, cast::AsArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use arrow_select::nullif::nullif;

/// Whether something may be hidden in an array: one of its nested levels has nulls, or elements
/// beside those that its rows hold.
pub(super) fn possible(array: &ArrayRef) -> bool {
    use DataType::*;
    let nulls = array.null_count() > 0;
    match array.data_type() {
        Struct(_) => nulls || array.as_struct().columns().iter().any(possible),
        List(_) => {
            let list = array.as_list::<i32>();
            nulls || !reached(list.offsets(), list.values().len()) || possible(list.values())
        }
        LargeList(_) => {
            let list = array.as_list::<i64>();
            nulls || !reached(list.offsets(), list.values().len()) || possible(list.values())
        }
        FixedSizeList(_, _) => nulls || possible(array.as_fixed_size_list().values()),
        Map(_, _) => {
            let map = array.as_map();
            let columns = map.entries().columns();
            let all = reached(map.offsets(), map.entries().len());
            nulls || !all || columns.iter().any(possible)
        }
        _ => false,
    }
}

/// Whether rows hold all elements.
pub(super) fn reached<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, elements: usize) -> bool {
    offsets.first().as_usize() == 0 && offsets.last().as_usize() == elements
}

impl Converter<'_> {
    /// `part` with a null in every row where `whole` has one.
    pub(super) fn below(
        &mut self,
        part: &ArrayRef,
        whole: Option<&NullBuffer>,
    ) -> Result<ArrayRef> {
        let Some(nulls) = whole.filter(|n| n.null_count() > 0) else {
            return Ok(part.clone());
        };
        match part.data_type() {
            DataType::Null | DataType::Union(_, _) => return Ok(part.clone()),
            // Runs have no nulls of their own.
            DataType::RunEndEncoded(_, _) => {
                let plain = self.expand_runs(part)?;
                return self.below(&plain, whole);
            }
            _ => {}
        }
        if part.nulls().is_some_and(|own| own.contains(nulls)) {
            return Ok(part.clone());
        }
        self.spend(part.len() as u64 / 8 + 1)?;
        let gone = BooleanArray::new(!nulls.inner(), None);
        nullif(part, &gone).map_err(|e| self.refused(e))
    }

    /// The elements that rows which are not null hold, and where each row's are among them.
    pub(super) fn cut(
        &mut self,
        mut offsets: Vec<i64>,
        nulls: Option<&NullBuffer>,
        elements: &ArrayRef,
    ) -> Result<(Vec<i64>, ArrayRef)> {
        let null = |row: usize| nulls.is_some_and(|n| n.is_null(row));
        let mut pairs = offsets.windows(2).enumerate();
        if !pairs.any(|(row, pair)| pair[0] != pair[1] && null(row)) {
            let (first, last) = (offsets[0], offsets.last().copied().unwrap_or_default());
            offsets.iter_mut().for_each(|o| *o -= first);
            return Ok((
                offsets,
                elements.slice(first as usize, (last - first) as usize),
            ));
        }
        if elements.len() > u32::MAX as usize {
            return Err(self.too_big(elements.data_type()));
        }
        self.spend(elements.len() as u64 * 4)?;
        let mut kept: Vec<u32> = Vec::new();
        let mut ends = Vec::with_capacity(offsets.len());
        ends.push(0);
        for (row, pair) in offsets.windows(2).enumerate() {
            if !null(row) {
                kept.extend(pair[0] as u32..pair[1] as u32);
            }
            ends.push(kept.len() as i64);
        }
        let elements = self.gather(elements, &UInt32Array::from(kept))?;
        Ok((ends, elements))
    }
}
