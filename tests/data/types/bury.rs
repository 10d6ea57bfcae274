//! Nulls over what is there: every level of an array that may be null is, here and there, with its
//! values, elements and parts left below.

use crate::support::random::Random;
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, LargeListArray, ListArray, MapArray,
    StructArray, cast::AsArray,
};
use arrow_schema::{DataType, Field};
use arrow_select::nullif::nullif;
use std::sync::Arc;

pub(super) fn bury(array: &ArrayRef, declared: &Field, random: &mut Random) -> ArrayRef {
    use DataType::*;
    let made: ArrayRef = match array.data_type() {
        Struct(fields) => {
            let whole = array.as_struct();
            let parts = fields.iter().zip(whole.columns());
            let parts = parts.map(|(f, c)| bury(c, f, random)).collect();
            let nulls = whole.nulls().cloned();
            Arc::new(StructArray::try_new(fields.clone(), parts, nulls).unwrap())
        }
        List(f) => {
            let list = array.as_list::<i32>();
            let values = bury(list.values(), f, random);
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(f.clone(), offsets, values, nulls).unwrap())
        }
        LargeList(f) => {
            let list = array.as_list::<i64>();
            let values = bury(list.values(), f, random);
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(LargeListArray::try_new(f.clone(), offsets, values, nulls).unwrap())
        }
        FixedSizeList(f, n) => {
            let list = array.as_fixed_size_list();
            let values = bury(list.values(), f, random);
            let nulls = list.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new(f.clone(), *n, values, nulls).unwrap())
        }
        Map(entries, sorted) => {
            let map = array.as_map();
            let Struct(parts) = entries.data_type() else {
                panic!("{entries}")
            };
            let values = bury(map.values(), &parts[1], random);
            let pairs = vec![map.keys().clone(), values];
            let pairs = StructArray::try_new(parts.clone(), pairs, None).unwrap();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, nulls, *sorted).unwrap())
        }
        // No bitmap of its own.
        RunEndEncoded(_, _) => return array.clone(),
        _ => array.clone(),
    };
    if !declared.is_nullable() {
        return made;
    }
    let gone: BooleanArray = (0..made.len()).map(|_| Some(random.chance(0.2))).collect();
    nullif(&made, &gone).unwrap()
}
