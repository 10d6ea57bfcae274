//! Gathers picked stretches of rows and builds batches of them: a slice where one stretch suffices, a
//! concatenation of long stretches, an interleave of short ones. Invariants: a batch keeps within its bound;
//! a piece is let go once its source has passed it and no stretch refers to it; a few rows of a batch never
//! keep all of it.

use crate::{
    data::{
        bound::{Bound, Weights},
        key::Keys,
        rows::{Rows, Stamps, Tombstones},
    },
    error::{Error, Result},
};
use arrow_array::{
    Array, ArrayRef, Int64Array, NullArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use arrow_select::{concat::concat, interleave::interleave};
use std::{collections::VecDeque, sync::Arc};

/// Rows `start..start + len` of a piece; given out backwards in a reverse merge.
#[derive(Clone, Copy)]
struct Stretch {
    piece: usize,
    start: usize,
    len: usize,
}

/// Below this mean length an interleave beats a concatenation of slices.
const LONG_STRETCH: usize = 24;

struct Piece {
    rows: Rows,
    weights: Weights,
    bytes: usize,
    /// Rows that wait to be given out.
    waiting: usize,
    /// Its source may still give rows of it.
    open: bool,
}

pub(super) struct Gather {
    /// Places of pieces that were let go are used again.
    pieces: Vec<Option<Piece>>,
    free: Vec<usize>,
    stretches: VecDeque<Stretch>,
    len: usize,
    bytes: usize,
    retained: usize,
    keys: bool,
    reverse: bool,
    /// The key of the last row that was taken.
    last_key: Vec<u8>,
}

impl Gather {
    pub(super) fn new(keys: bool, reverse: bool) -> Self {
        Self {
            pieces: Vec::new(),
            free: Vec::new(),
            stretches: VecDeque::new(),
            len: 0,
            bytes: 0,
            retained: 0,
            keys,
            reverse,
            last_key: Vec::new(),
        }
    }

    pub(super) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Rows that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the pieces that are kept for the rows that wait, and for nothing else.
    pub(super) fn retained(&self) -> usize {
        self.retained
    }

    pub(super) fn add_piece(&mut self, rows: &Rows) -> usize {
        let weights = Weights::of(&rows.batch);
        let piece = Piece {
            bytes: weights.bytes(0, rows.len()) + rows.keys.memory_bytes(),
            rows: rows.clone(),
            weights,
            waiting: 0,
            open: true,
        };
        match self.free.pop() {
            Some(place) => {
                self.pieces[place] = Some(piece);
                place
            }
            None => {
                self.pieces.push(Some(piece));
                self.pieces.len() - 1
            }
        }
    }

    /// The source of a piece has passed all its rows.
    pub(super) fn passed(&mut self, piece: usize) {
        if let Some(Some(found)) = self.pieces.get_mut(piece) {
            found.open = false;
            match found.waiting {
                0 => self.let_go(piece),
                _ => self.retained += found.bytes,
            }
        }
    }

    fn let_go(&mut self, piece: usize) {
        self.pieces[piece] = None;
        self.free.push(piece);
    }

    /// How many of `len` rows a batch of this bound still takes, at least 1: the first, in reverse the last.
    pub(super) fn room(&self, piece: usize, start: usize, len: usize, bound: Bound) -> usize {
        let left = Bound {
            rows: bound.rows.saturating_sub(self.len).max(1),
            bytes: bound.bytes.saturating_sub(self.bytes),
        };
        match &self.pieces[piece] {
            Some(piece) => piece.weights.fitting(start, len, self.reverse, left),
            None => 1,
        }
    }

    pub(super) fn push(&mut self, piece: usize, start: usize, len: usize) {
        let bytes = self.weigh(piece, start, len);
        self.bytes = self.bytes.saturating_add(bytes);
        self.len += len;
        if let Some(found) = &mut self.pieces[piece] {
            found.waiting += len;
        }
        if let Some(last) = self.stretches.back_mut().filter(|l| l.piece == piece) {
            if !self.reverse && last.start + last.len == start {
                last.len += len;
                return;
            }
            if self.reverse && start + len == last.start {
                last.start = start;
                last.len += len;
                return;
            }
        }
        self.stretches.push_back(Stretch { piece, start, len });
    }

    fn weigh(&self, piece: usize, start: usize, len: usize) -> usize {
        let Some(piece) = &self.pieces[piece] else {
            return 0;
        };
        let keys = match (self.keys, &piece.rows.keys) {
            (false, _) => 0,
            (true, Keys::Fixed { width, .. }) => len * (width + 8),
            (true, Keys::Variable { offsets, .. }) => {
                (offsets[start + len] - offsets[start]) as usize + len * 12
            }
        };
        piece.weights.bytes(start, len).saturating_add(keys)
    }

    /// The rows that waited longest, as many as a batch of this bound takes.
    pub(super) fn take(&mut self, bound: Bound) -> Result<Rows> {
        let taken = self.cut(bound);
        let rows = self.build(&taken)?;
        if let Some(last) = taken.last()
            && let Some(piece) = &self.pieces[last.piece]
        {
            let row = match self.reverse {
                false => last.start + last.len - 1,
                true => last.start,
            };
            self.last_key.clear();
            self.last_key.extend_from_slice(piece.rows.keys.get(row));
        }
        for stretch in taken {
            let Some(piece) = &mut self.pieces[stretch.piece] else {
                continue;
            };
            piece.waiting -= stretch.len;
            if piece.waiting == 0 && !piece.open {
                self.retained -= piece.bytes;
                self.let_go(stretch.piece);
            }
        }
        Ok(rows)
    }

    /// Takes the stretches of one batch off the queue.
    fn cut(&mut self, bound: Bound) -> Vec<Stretch> {
        if self.len <= bound.rows && self.bytes <= bound.bytes {
            (self.len, self.bytes) = (0, 0);
            return std::mem::take(&mut self.stretches).into();
        }
        let mut taken = Vec::new();
        let (mut len, mut bytes) = (0, 0);
        while let Some(first) = self.stretches.front().copied() {
            let left = Bound {
                rows: bound.rows.saturating_sub(len),
                bytes: bound.bytes.saturating_sub(bytes),
            };
            let fits = |n: usize| {
                let start = match self.reverse {
                    false => first.start,
                    true => first.start + first.len - n,
                };
                (start, self.weigh(first.piece, start, n))
            };
            // The largest number of rows that fits.
            let (mut low, mut high) = (0, first.len.min(left.rows));
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                match fits(middle).1 <= left.bytes {
                    true => low = middle,
                    false => high = middle - 1,
                }
            }
            if low == 0 && len == 0 {
                low = 1;
            }
            if low == 0 {
                break;
            }
            let (start, weight) = fits(low);
            taken.push(Stretch {
                start,
                len: low,
                ..first
            });
            (len, bytes) = (len + low, bytes.saturating_add(weight));
            self.stretches.pop_front();
            if low < first.len {
                let start = match self.reverse {
                    false => first.start + low,
                    true => first.start,
                };
                self.stretches.push_front(Stretch {
                    start,
                    len: first.len - low,
                    ..first
                });
                break;
            }
        }
        self.len -= len;
        self.bytes = self.bytes.saturating_sub(bytes);
        taken
    }

    fn build(&self, stretches: &[Stretch]) -> Result<Rows> {
        let picked = Picked::of(self, stretches)?;
        if let ([only], false) = (stretches, self.reverse)
            && let Some(rows) = picked.pieces.first()
            && only.len >= rows.len() / 2
        {
            return Ok(rows.slice(only.start, only.len));
        }
        picked.build(self.keys)
    }
}

/// What becomes one batch.
struct Picked<'a> {
    pieces: Vec<&'a Rows>,
    /// Their pieces are numbers of `pieces`.
    stretches: Vec<Stretch>,
    len: usize,
    reverse: bool,
}

impl<'a> Picked<'a> {
    fn of(gather: &'a Gather, stretches: &[Stretch]) -> Result<Self> {
        let mut numbers: Vec<Option<usize>> = vec![None; gather.pieces.len()];
        let mut picked = Self {
            pieces: Vec::new(),
            stretches: Vec::with_capacity(stretches.len()),
            len: stretches.iter().map(|s| s.len).sum(),
            reverse: gather.reverse,
        };
        for stretch in stretches {
            let piece = match numbers[stretch.piece] {
                Some(number) => number,
                None => {
                    let found = gather.pieces[stretch.piece].as_ref();
                    let found = found
                        .ok_or_else(|| Error::internal("the merge let go of rows it needs"))?;
                    picked.pieces.push(&found.rows);
                    *numbers[stretch.piece].insert(picked.pieces.len() - 1)
                }
            };
            picked.stretches.push(Stretch { piece, ..*stretch });
        }
        Ok(picked)
    }

    fn build(&self, keys: bool) -> Result<Rows> {
        // Bare tombstones do not say what the columns are that they lack.
        let full = self.pieces.iter().find(|rows| !rows.is_bare());
        let Some(first) = full.or(self.pieces.first()) else {
            return Err(Error::internal("the merge gathered rows without a source"));
        };
        let schema = first.batch.schema();
        let batch = self.columns(&schema).map_err(gather_error)?;
        if !keys {
            // A scan reads only the columns; the rest stays cheap.
            let keys = Keys::Fixed {
                width: 1,
                bytes: Buffer::from(vec![0u8; self.len]),
            };
            let (stamps, tombstones) = (Stamps::All(0), Tombstones::None);
            return Ok(Rows {
                batch,
                keys,
                stamps,
                tombstones,
            });
        }
        Ok(Rows {
            batch,
            keys: self.gather_keys()?,
            stamps: self.gather_stamps(),
            tombstones: self.gather_tombstones(),
        })
    }

    fn columns(&self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        // One stretch alone would be a slice, and keep all that it is a small part of.
        let by_slices = !self.reverse
            && self.stretches.len() > 1
            && self.len >= self.stretches.len() * LONG_STRETCH;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        let indices: Vec<(usize, usize)> = match by_slices || schema.fields().is_empty() {
            true => Vec::new(),
            false => self.rows().collect(),
        };
        for (column, field) in schema.fields().iter().enumerate() {
            let of = |piece: usize| self.pieces[piece].batch.column(column);
            columns.push(if *field.data_type() == DataType::Null {
                Arc::new(NullArray::new(self.len))
            } else if by_slices {
                let slices: Vec<ArrayRef> = (self.stretches.iter())
                    .map(|s| match lacks(of(s.piece), field) {
                        true => new_null_array(field.data_type(), s.len),
                        false => of(s.piece).slice(s.start, s.len),
                    })
                    .collect();
                let slices: Vec<&dyn Array> = slices.iter().map(|a| a.as_ref()).collect();
                concat(&slices)?
            } else {
                // One null stands for all that bare rows lack.
                let null = new_null_array(field.data_type(), 1);
                let bare: Vec<bool> = (0..self.pieces.len())
                    .map(|p| lacks(of(p), field))
                    .collect();
                let arrays: Vec<&dyn Array> = (bare.iter().enumerate())
                    .map(|(piece, bare)| {
                        if *bare {
                            null.as_ref()
                        } else {
                            of(piece).as_ref()
                        }
                    })
                    .collect();
                match bare.contains(&true) {
                    false => interleave(&arrays, &indices)?,
                    true => {
                        let at = |&(piece, row)| (piece, if bare[piece] { 0 } else { row });
                        interleave(&arrays, &indices.iter().map(at).collect::<Vec<_>>())?
                    }
                }
            });
        }
        RecordBatch::try_new_with_options(schema.clone(), columns, &options)
    }

    /// (piece, row) in the order they are given out.
    fn rows(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let reverse = self.reverse;
        self.stretches.iter().flat_map(move |s| {
            (0..s.len).map(move |i| match reverse {
                false => (s.piece, s.start + i),
                true => (s.piece, s.start + s.len - 1 - i),
            })
        })
    }

    fn gather_keys(&self) -> Result<Keys> {
        if let Some(Keys::Fixed { width, .. }) = self.pieces.first().map(|p| &p.keys) {
            let mut bytes = Vec::with_capacity(self.len * width);
            for (piece, row) in self.rows() {
                bytes.extend_from_slice(self.pieces[piece].keys.get(row));
            }
            return Ok(Keys::Fixed {
                width: *width,
                bytes: Buffer::from_vec(bytes),
            });
        }
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(self.len + 1);
        offsets.push(0i32);
        for (piece, row) in self.rows() {
            bytes.extend_from_slice(self.pieces[piece].keys.get(row));
            offsets.push(
                i32::try_from(bytes.len())
                    .map_err(|_| Error::internal("the keys of one merged batch exceed 2 GiB"))?,
            );
        }
        Ok(Keys::Variable {
            offsets: OffsetBuffer::new(ScalarBuffer::from(offsets)),
            bytes: Buffer::from_vec(bytes),
        })
    }

    fn gather_stamps(&self) -> Stamps {
        let mut used = self.stretches.iter().map(|s| &self.pieces[s.piece].stamps);
        if let Some(Stamps::All(first)) = used.next()
            && used.all(|s| matches!(s, Stamps::All(ts) if ts == first))
        {
            return Stamps::All(*first);
        }
        let values: Vec<i64> = self
            .rows()
            .map(|(piece, row)| self.pieces[piece].stamps.get(row))
            .collect();
        Stamps::Each(Int64Array::from(values))
    }

    fn gather_tombstones(&self) -> Tombstones {
        let none = |s: &Stretch| matches!(self.pieces[s.piece].tombstones, Tombstones::None);
        if self.stretches.iter().all(none) {
            return Tombstones::None;
        }
        let mut bits = BooleanBufferBuilder::new(self.len);
        for (piece, row) in self.rows() {
            bits.append(self.pieces[piece].tombstones.get(row));
        }
        Tombstones::from_bits(bits.finish())
    }
}

/// Whether a column is one that bare tombstones do not carry.
fn lacks(column: &ArrayRef, field: &Field) -> bool {
    *column.data_type() == DataType::Null && *field.data_type() != DataType::Null
}

/// Several batches of one source as one, in the order given.
pub fn concat_rows(parts: &[Rows]) -> Result<Rows> {
    if let [only] = parts {
        return Ok(only.clone());
    }
    let mut gather = Gather::new(true, false);
    for rows in parts {
        let piece = gather.add_piece(rows);
        gather.push(piece, 0, rows.len());
    }
    gather.take(Bound::NONE)
}

/// The rows of one batch whose bits are set.
pub fn pick_rows(rows: &Rows, picked: &BooleanBuffer) -> Result<Rows> {
    let count = picked.count_set_bits();
    if count == rows.len() {
        return Ok(rows.clone());
    }
    if count == 0 {
        return Ok(rows.slice(0, 0));
    }
    let mut gather = Gather::new(true, false);
    let piece = gather.add_piece(rows);
    for (from, to) in picked.set_slices() {
        gather.push(piece, from, to - from);
    }
    gather.take(Bound::NONE)
}

fn gather_error(error: ArrowError) -> Error {
    Error::unsupported(format!(
        "rows could not be put into one batch ({error}): if a dictionary column overflows, give \
         it wider keys or ask for smaller batches"
    ))
}
