//! Result rows that were read and not yet given out, and the place that a scan has come to. Invariants: a
//! batch keeps within its bound, or is one row; small pieces are put together, large ones are passed on as
//! they are; from its place a scan can go on with nothing held, for the state it reads never changes.

use crate::{
    data::bound::{Bound, Weights, batch_bytes},
    error::{Error, Result},
};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use std::collections::VecDeque;

/// Everything before it was given out.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The group of the plan.
    pub(super) group: usize,
    /// The last key of it that is done with; `None` at its beginning.
    pub(super) after: Option<Vec<u8>>,
    /// So many rows of the result behind that were given out, too.
    pub(super) given: u64,
}

/// Rows that were read together.
struct Piece {
    batch: RecordBatch,
    bytes: usize,
    /// Where the scan is once all of it is given out.
    group: usize,
    after: Option<Vec<u8>>,
}

/// Pieces in order.
#[derive(Default)]
pub(super) struct Held {
    pieces: VecDeque<Piece>,
    rows: usize,
    bytes: usize,
    /// So many rows that come next were given out before.
    skip: u64,
}

impl Held {
    /// Nothing yet, at `place`.
    pub(super) fn at(place: &Place) -> Self {
        Self {
            skip: place.given,
            ..Self::default()
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is enough for a batch of this bound to be worth its while.
    pub(super) fn is_enough(&self, bound: Bound) -> bool {
        self.rows >= (bound.rows / 4).max(1) || self.bytes >= (bound.bytes / 4).max(1)
    }

    /// The rows up to a key of a group (or, without one, to the group's beginning), which may be none.
    pub(super) fn push(
        &mut self,
        place: &mut Place,
        batch: RecordBatch,
        group: usize,
        after: Option<Vec<u8>>,
    ) {
        let skipped = self.skip.min(batch.num_rows() as u64) as usize;
        self.skip -= skipped as u64;
        let batch = batch.slice(skipped, batch.num_rows() - skipped);
        if batch.num_rows() > 0 {
            let bytes = batch_bytes(&batch);
            self.rows += batch.num_rows();
            self.bytes += bytes;
            self.pieces.push_back(Piece {
                batch,
                bytes,
                group,
                after,
            });
            return;
        }
        match self.pieces.back_mut() {
            Some(last) => (last.group, last.after) = (group, after),
            None => {
                *place = Place {
                    group,
                    after,
                    given: self.skip,
                };
            }
        }
    }

    /// The next batch, if there is any row.
    pub(super) fn give(
        &mut self,
        place: &mut Place,
        schema: &SchemaRef,
        bound: Bound,
    ) -> Result<Option<RecordBatch>> {
        let mut parts: Vec<RecordBatch> = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(piece) = self.pieces.front() {
            let (more_rows, more_bytes) = (piece.batch.num_rows(), piece.bytes);
            let large = more_rows >= bound.rows / 4 || more_bytes >= bound.bytes / 4;
            let fits = rows + more_rows <= bound.rows && bytes + more_bytes <= bound.bytes;
            if !parts.is_empty() && (large || !fits) {
                break;
            }
            if !fits && let Some(part) = self.cut(place, bound) {
                parts.push(part);
                break;
            }
            let Some(piece) = self.pieces.pop_front() else {
                break;
            };
            (rows, bytes) = (rows + more_rows, bytes + more_bytes);
            (self.rows, self.bytes) = (self.rows - more_rows, self.bytes - more_bytes);
            *place = Place {
                group: piece.group,
                after: piece.after,
                given: 0,
            };
            parts.push(piece.batch);
            if large || !fits {
                break;
            }
        }
        match parts.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.clone())),
            many => concat_batches(schema, many).map(Some).map_err(|e| {
                Error::unsupported(format!("batches of the result do not fit into one: {e}"))
            }),
        }
    }

    /// The first rows of the first piece; `None` if that is one row, however large.
    fn cut(&mut self, place: &mut Place, bound: Bound) -> Option<RecordBatch> {
        let piece = self.pieces.front_mut()?;
        let (weights, all) = (Weights::of(&piece.batch), piece.batch.num_rows());
        let rows = weights.fitting(0, all, false, bound);
        if rows == all {
            return None;
        }
        let given = piece.batch.slice(0, rows);
        piece.batch = piece.batch.slice(rows, all - rows);
        let left = weights.batch(rows, all - rows);
        self.bytes = self.bytes - piece.bytes + left;
        self.rows -= rows;
        piece.bytes = left;
        place.given += rows as u64;
        Some(given)
    }
}
