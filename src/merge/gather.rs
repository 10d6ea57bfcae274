//! Gathers picked stretches of rows into one batch: a slice where one stretch suffices, a
//! concatenation of long stretches, an interleave of short ones.

use crate::{
    data::{
        key::Keys,
        rows::{Rows, Stamps, Tombstones},
    },
    error::{Error, Result},
};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_buffer::{BooleanBufferBuilder, Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::{concat::concat, interleave::interleave};

/// Rows `start..start + len` of a piece; given out backwards in a reverse merge.
#[derive(Clone, Copy)]
struct Stretch {
    piece: usize,
    start: usize,
    len: usize,
}

/// Below this mean length an interleave beats a concatenation of slices.
const LONG_STRETCH: usize = 24;

pub(super) struct Gather {
    pieces: Vec<Rows>,
    stretches: Vec<Stretch>,
    len: usize,
    keys: bool,
    reverse: bool,
}

impl Gather {
    pub(super) fn new(keys: bool, reverse: bool) -> Self {
        Self {
            pieces: Vec::new(),
            stretches: Vec::new(),
            len: 0,
            keys,
            reverse,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn add_piece(&mut self, rows: &Rows) -> usize {
        self.pieces.push(rows.clone());
        self.pieces.len() - 1
    }

    pub(super) fn push(&mut self, piece: usize, start: usize, len: usize) {
        self.len += len;
        if let Some(last) = self.stretches.last_mut().filter(|l| l.piece == piece) {
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
        self.stretches.push(Stretch { piece, start, len });
    }

    /// Builds the rows gathered so far and forgets pieces that are not `live`; returns the new
    /// numbers of the live ones, in the order given.
    pub(super) fn take(&mut self, live: &[usize]) -> Result<(Rows, Vec<usize>)> {
        let rows = self.build()?;
        self.stretches.clear();
        self.len = 0;
        let kept = live.iter().map(|&p| self.pieces[p].clone()).collect();
        self.pieces = kept;
        Ok((rows, (0..live.len()).collect()))
    }

    fn build(&self) -> Result<Rows> {
        if let ([only], false) = (self.stretches.as_slice(), self.reverse) {
            return Ok(self.pieces[only.piece].slice(only.start, only.len));
        }
        let Some(first) = self.pieces.first() else {
            return Err(Error::internal("the merge gathered rows without a source"));
        };
        let schema = first.batch.schema();
        let batch = self.columns(&schema).map_err(gather_error)?;
        if !self.keys {
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
        let by_slices = !self.reverse && self.len >= self.stretches.len() * LONG_STRETCH;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        let indices: Vec<(usize, usize)> = match by_slices || schema.fields().is_empty() {
            true => Vec::new(),
            false => self.rows().collect(),
        };
        for column in 0..schema.fields().len() {
            columns.push(if by_slices {
                let slices: Vec<ArrayRef> = (self.stretches.iter())
                    .map(|s| {
                        self.pieces[s.piece]
                            .batch
                            .column(column)
                            .slice(s.start, s.len)
                    })
                    .collect();
                let slices: Vec<&dyn Array> = slices.iter().map(|a| a.as_ref()).collect();
                concat(&slices)?
            } else {
                let arrays: Vec<&dyn Array> = self
                    .pieces
                    .iter()
                    .map(|p| p.batch.column(column).as_ref())
                    .collect();
                interleave(&arrays, &indices)?
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
    gather.build()
}

fn gather_error(error: ArrowError) -> Error {
    Error::unsupported(format!(
        "rows could not be put into one batch ({error}): if a dictionary column overflows, give \
         it wider keys or ask for smaller batches"
    ))
}
