//! What arrays keep in memory, and copies that keep no more than they show. A slice keeps the whole of
//! what it was cut from: bounds that count what is shown are blind to it. Invariant: a copy has the same rows, and shares no buffer with what it was made of.

use super::convert::slice_bytes;
use arrow_array::{Array, ArrayRef, cast::AsArray, make_array};
use arrow_buffer::Buffer;
use arrow_data::{ArrayData, transform::MutableArrayData};
use arrow_schema::{ArrowError, DataType};

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

/// About how many bytes a copy of some rows would take.
pub fn shown_bytes(array: &dyn Array, start: usize, length: usize) -> usize {
    let nulls = if array.nulls().is_some() {
        length / 8
    } else {
        0
    };
    slice_bytes(array, start, length) as usize + nulls
}

/// A copy of its own.
pub fn copied(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let data = array.to_data();
    let mut copy = MutableArrayData::new(vec![&data], false, data.len());
    copy.try_extend(0, 0, data.len())?;
    Ok(make_array(copy.freeze()))
}

/// A little-endian number of at most eight bytes.
fn number(key: &[u8]) -> usize {
    let bytes = key.iter().rev().take(8);
    bytes.fold(0, |number, byte| (number << 8) | usize::from(*byte))
}

/// A copy of a buffer, as large as what it shows.
pub fn copied_buffer(buffer: &Buffer) -> Buffer {
    Buffer::from(buffer.as_slice())
}

/// About how many bytes an array has as tables hold it: values of a dictionary once a row.
pub fn plain_bytes(array: &ArrayRef) -> usize {
    let shown = shown_bytes(array, 0, array.len());
    let DataType::Dictionary(..) = array.data_type() else {
        return shown;
    };
    let dictionary = array.as_any_dictionary();
    let values = dictionary.values();
    let all = slice_bytes(values, 0, values.len()) as usize;
    if values.is_empty() || all <= 16 * values.len() {
        return shown + 16 * array.len();
    }
    let part = dictionary.keys().to_data();
    let width = dictionary.keys().data_type().primitive_width().unwrap_or(8);
    let of = |key: usize| match key < values.len() {
        true => slice_bytes(values, key, 1) as usize,
        false => 0,
    };
    let keys = part.buffers().first().map_or(&[][..], |b| b.as_slice());
    let keys = keys
        .chunks_exact(width)
        .skip(part.offset())
        .take(array.len());
    shown + keys.map(|key| of(number(key))).sum::<usize>()
}
