//! What arrays keep in memory, and copies that keep no more than they show. A slice keeps the whole of
//! what it was cut from, and a row of a dictionary all its values: bounds that count what is shown are
//! blind to it. Invariant: a copy has the same rows, and shares no buffer with what it was made of.

use super::convert::slice_bytes;
use arrow_array::{Array, ArrayRef, cast::AsArray, make_array};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_data::{ArrayData, transform::MutableArrayData};
use arrow_schema::{ArrowError, DataType};
use std::ops::Range;

/// What an array costs beside its buffers, and a buffer beside its bytes.
const ARRAY_BYTES: usize = 160;
const BUFFER_BYTES: usize = 96;

/// Counts what arrays keep: each allocation once and whole, whatever part of it is used.
#[derive(Debug, Default)]
pub struct Held {
    /// Address and size of each allocation met.
    allocations: Vec<(usize, usize)>,
    objects: usize,
}

impl Held {
    /// Counts an array.
    pub fn array(&mut self, array: &ArrayRef) {
        self.data(&array.to_data());
    }

    fn data(&mut self, data: &ArrayData) {
        self.objects += ARRAY_BYTES;
        data.buffers().iter().for_each(|buffer| self.buffer(buffer));
        if let Some(nulls) = data.nulls() {
            self.buffer(nulls.buffer());
        }
        data.child_data().iter().for_each(|child| self.data(child));
    }

    /// Counts a buffer.
    pub fn buffer(&mut self, buffer: &Buffer) {
        let size = buffer.capacity().max(buffer.len());
        if size > 0 {
            (self.allocations).push((buffer.data_ptr().as_ptr() as usize, size));
        }
    }

    /// Bytes of all that was counted.
    pub fn bytes(mut self) -> usize {
        self.allocations.sort_unstable();
        // Of one address the largest counts: they are views of one allocation.
        self.allocations.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 = if same { kept.1.max(next.1) } else { kept.1 };
            same
        });
        let bytes: usize = self.allocations.iter().map(|(_, size)| size).sum();
        bytes + self.objects + self.allocations.len() * BUFFER_BYTES
    }
}

/// About how many bytes a copy of some rows would take: of a dictionary its part of the values.
pub fn shown_bytes(array: &dyn Array, start: usize, length: usize) -> usize {
    let nulls = if array.nulls().is_some() {
        length / 8
    } else {
        0
    };
    let dictionaries = match has_dictionary(array.data_type()) {
        true => dictionary_bytes(&array.to_data(), length),
        false => 0,
    };
    slice_bytes(array, start, length) as usize + nulls + dictionaries
}

/// No more values of a dictionary are used than there are keys.
fn dictionary_bytes(data: &ArrayData, length: usize) -> usize {
    match (data.data_type(), data.child_data()) {
        (DataType::Dictionary(..), [values]) if !values.is_empty() => {
            let all = slice_bytes(&make_array(values.clone()), 0, values.len()) as usize;
            match length < values.len() {
                true => (all / values.len() + 1) * length,
                false => all,
            }
        }
        (_, children) => {
            let of = |child: &ArrayData| dictionary_bytes(child, child.len());
            children.iter().map(of).sum()
        }
    }
}

fn has_dictionary(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Dictionary(..) => true,
        List(f) | LargeList(f) | FixedSizeList(f, _) | Map(f, _) => has_dictionary(f.data_type()),
        Struct(fields) => fields.iter().any(|f| has_dictionary(f.data_type())),
        _ => false,
    }
}

/// A copy of its own, without values of dictionaries that no row has.
pub fn copied(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let own = copied_rows(&array.to_data(), &[(0, array.len())])?;
    let own = match has_dictionary(array.data_type()) {
        true => without_unused(own)?,
        false => own,
    };
    Ok(make_array(own))
}

/// Some stretches `from..to` of an array, one after the other.
fn copied_rows(data: &ArrayData, rows: &[(usize, usize)]) -> Result<ArrayData, ArrowError> {
    let length = rows.iter().map(|(from, to)| to - from).sum();
    let mut copy = MutableArrayData::new(vec![data], false, length);
    for (from, to) in rows {
        copy.try_extend(0, *from, *to)?;
    }
    Ok(copy.freeze())
}

fn without_unused(data: ArrayData) -> Result<ArrayData, ArrowError> {
    if let DataType::Dictionary(key, _) = data.data_type()
        && let Some(width) = key.primitive_width()
    {
        return smaller_dictionary(&data, width);
    }
    if !has_dictionary(data.data_type()) {
        return Ok(data);
    }
    let children = data.child_data().iter().cloned();
    let children = children.map(without_unused).collect::<Result<_, _>>()?;
    data.into_builder().child_data(children).build()
}

/// A little-endian number of at most eight bytes.
fn number(key: &[u8]) -> usize {
    let bytes = key.iter().rev().take(8);
    bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The same rows over the values that they have, in their old order. Keys are little-endian.
fn smaller_dictionary(data: &ArrayData, width: usize) -> Result<ArrayData, ArrowError> {
    let (Some(keys), [values]) = (data.buffers().first(), data.child_data()) else {
        return Ok(data.clone());
    };
    let keys = keys.as_slice().chunks_exact(width).skip(data.offset());
    let valid = |row: usize| data.nulls().is_none_or(|nulls| nulls.is_valid(row));
    let mut place: Vec<Option<u64>> = vec![None; values.len()];
    let rows = || keys.clone().take(data.len()).enumerate();
    for (_, key) in rows().filter(|(row, _)| valid(*row)) {
        if let Some(used) = place.get_mut(number(key)) {
            *used = Some(0);
        }
    }
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    let used = (place.iter_mut().enumerate()).filter(|(_, used)| used.is_some());
    for (new, (at, used)) in used.enumerate() {
        *used = Some(new as u64);
        match stretches.last_mut().filter(|last| last.1 == at) {
            Some(last) => last.1 = at + 1,
            None => stretches.push((at, at + 1)),
        }
    }
    let mut renamed = MutableBuffer::new(data.len() * width);
    for (row, key) in rows() {
        let new = if valid(row) {
            place.get(number(key)).copied().flatten()
        } else {
            None
        };
        renamed.extend_from_slice(&new.unwrap_or(0).to_le_bytes()[..width]);
    }
    ArrayData::builder(data.data_type().clone())
        .len(data.len())
        .nulls(data.nulls().cloned())
        .add_buffer(renamed.into())
        .add_child_data(copied_rows(values, &stretches)?)
        .build()
}

/// A copy of a buffer, as large as what it shows.
pub fn copied_buffer(buffer: &Buffer) -> Buffer {
    Buffer::from(buffer.as_slice())
}

/// About how many bytes some rows have once each stands for itself: values of a dictionary once a row.
pub fn plain_bytes(array: &ArrayRef, rows: &Range<usize>) -> usize {
    let shown = slice_bytes(array, rows.start, rows.len()) as usize;
    let DataType::Dictionary(..) = array.data_type() else {
        return shown;
    };
    let dictionary = array.as_any_dictionary();
    let values = dictionary.values();
    let all = slice_bytes(values, 0, values.len()) as usize;
    if values.is_empty() || all <= 16 * values.len() {
        return shown + 16 * rows.len();
    }
    let part = dictionary.keys().slice(rows.start, rows.len()).to_data();
    let width = dictionary.keys().data_type().primitive_width().unwrap_or(8);
    let of = |key: usize| match key < values.len() {
        true => slice_bytes(values, key, 1) as usize,
        false => 0,
    };
    let keys = part.buffers().first().map_or(&[][..], |b| b.as_slice());
    let keys = keys
        .chunks_exact(width)
        .skip(part.offset())
        .take(rows.len());
    shown + keys.map(|key| of(number(key))).sum::<usize>()
}
