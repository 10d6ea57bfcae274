//! Where a row group is cut: into pieces that are fetched together, and these into cuts that are decoded
//! together. Pure. What rows weigh is told by the page index; within a page all are taken for equal.
//! Invariants: every row comes once, in the order of reading; nothing is cut below a page (fetching) or a
//! row (decoding), so that a bound is kept but for what is larger than it.

use crate::{
    data::bound::Bound,
    sstable::{index::GroupRows, prune},
};
use parquet::{
    arrow::ProjectionMask,
    basic::{ConvertedType, LogicalType, Type},
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData},
        page_index::offset_index::{OffsetIndexMetaData, PageLocation},
    },
};
use std::ops::Range;

/// Rows over which no page ends, and what each weighs.
#[derive(Clone, Debug)]
struct Cell {
    rows: Range<usize>,
    fetched: f64,
    decoded: f64,
}

impl Cell {
    fn clipped(&self, to: &Range<usize>) -> Option<Self> {
        let rows = self.rows.start.max(to.start)..self.rows.end.min(to.end);
        (!rows.is_empty()).then(|| Self {
            rows,
            ..self.clone()
        })
    }
}

/// Rows that are decoded together.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) rows: GroupRows,
    /// Of a batch.
    pub(super) batch_rows: usize,
}

/// What the pages of a file tell about its rows.
pub(super) struct Cutter<'a> {
    pub(super) file: &'a ParquetMetaData,
    pub(super) mask: &'a ProjectionMask,
    /// Bytes that a decoded row takes at least, whatever the file says.
    pub(super) least: u64,
    pub(super) reverse: bool,
}

impl Cutter<'_> {
    /// Bytes that a row of a group takes, fetched and decoded, on average.
    pub(super) fn row_bytes(&self, row_group: usize) -> (f64, f64) {
        let Some(group) = self.file.row_groups().get(row_group) else {
            return (0.0, 0.0);
        };
        let rows = group.num_rows().max(1) as f64;
        let chunks = group.columns().iter().enumerate();
        let chunks = chunks.filter(|(leaf, _)| self.mask.leaf_included(*leaf));
        let (fetched, decoded) = chunks.fold((0.0, 0.0), |(fetched, decoded), (_, chunk)| {
            let size = chunk.compressed_size().max(0) as f64;
            (fetched + size, decoded + decoded_bytes(chunk))
        });
        (fetched / rows, (decoded / rows).max(self.least as f64))
    }

    /// Bytes of the pages that some rows lie in, fetched and decoded: of all of them, and of the largest of
    /// each column.
    pub(super) fn page_bytes(&self, group: &GroupRows) -> (f64, f64) {
        let Some(file) = self.file.row_groups().get(group.row_group) else {
            return (0.0, 0.0);
        };
        let index = self.file.page_index_for_row_group(group.row_group);
        let total = file.num_rows().max(0) as usize;
        let touches = |page: &Range<usize>| {
            let meets = |rows: &Range<usize>| rows.start < page.end && page.start < rows.end;
            group.rows.iter().any(meets)
        };
        let (mut all, mut largest) = (0.0, 0.0);
        let chunks = file.columns().iter().enumerate();
        for (leaf, chunk) in chunks.filter(|(leaf, _)| self.mask.leaf_included(*leaf)) {
            let (size, decoded) = (chunk.compressed_size().max(1) as f64, decoded_bytes(chunk));
            let Some(pages) = index.offset_index(leaf) else {
                all += size + decoded;
                largest += size + decoded;
                continue;
            };
            let mut most = 0.0;
            let mut rest = size;
            for page in pages_of(pages, total) {
                rest -= page.fetched;
                if touches(&page.rows) {
                    let bytes = page.fetched + page.decoded(chunk, total);
                    all += bytes;
                    most = f64::max(most, bytes);
                }
            }
            // A dictionary is read with any of its pages.
            let rest = rest.max(0.0);
            let dictionary = rest + decoded * rest / size;
            all += dictionary;
            largest += most + dictionary;
        }
        (all, largest)
    }

    /// Cuts rows into pieces whose bytes are at most what `most` says, anew for each; in the order of reading.
    pub(super) fn pieces(&self, group: GroupRows, most: &mut dyn FnMut() -> u64) -> Vec<GroupRows> {
        let mut room = most() as f64;
        let (fetched, _) = self.row_bytes(group.row_group);
        if fetched * rows_of(&group) as f64 <= room {
            return vec![group];
        }
        let mut out: Vec<Range<usize>> = Vec::new();
        let mut weight = 0.0;
        for cell in self.parts(&group) {
            let more = cell.fetched * cell.rows.len() as f64;
            let fits = weight + more <= room;
            if fits && out.last_mut().is_some_and(|last| joins(last, &cell.rows)) {
                weight += more;
                continue;
            }
            if !out.is_empty() {
                room = most() as f64;
            }
            out.push(cell.rows);
            weight = more;
        }
        let row_group = group.row_group;
        let alone = |rows: Range<usize>| GroupRows {
            row_group,
            rows: vec![rows],
        };
        out.into_iter().map(alone).collect()
    }

    /// Cuts rows into what is decoded at once, within `bound`; in the order of reading. In reverse all of a
    /// cut is decoded before its last batch is given out, so that it is one batch.
    pub(super) fn cuts(&self, group: &GroupRows, bound: Bound) -> Vec<Cut> {
        if !self.reverse {
            return self.cuts_of(group, bound);
        }
        let pieces = prune::pieces(vec![group.clone()], bound.rows);
        let pieces = pieces.iter().rev();
        pieces
            .flat_map(|piece| self.cuts_of(piece, bound))
            .collect()
    }

    fn cuts_of(&self, group: &GroupRows, bound: Bound) -> Vec<Cut> {
        let (_, decoded) = self.row_bytes(group.row_group);
        let rows = rows_of(group);
        if decoded * rows as f64 <= bound.bytes as f64 {
            return vec![Cut {
                rows: group.clone(),
                batch_rows: bound.rows.min(rows).max(1),
            }];
        }
        let mut out: Vec<(Range<usize>, usize)> = Vec::new();
        let (mut weight, room) = (0.0, bound.bytes as f64);
        for cell in self.parts(group) {
            let more = cell.decoded * cell.rows.len() as f64;
            if more > room {
                let fit = ((room / cell.decoded) as usize).clamp(1, cell.rows.len());
                self.heavy(cell.rows, fit, &mut out);
                // Whatever comes next does not join it.
                weight = f64::INFINITY;
                continue;
            }
            let fits = weight + more <= room;
            if fits
                && out
                    .last_mut()
                    .is_some_and(|(last, _)| joins(last, &cell.rows))
            {
                weight += more;
                continue;
            }
            out.push((cell.rows, usize::MAX));
            weight = more;
        }
        let cut = |(rows, batch_rows): (Range<usize>, usize)| Cut {
            batch_rows: batch_rows.min(bound.rows).min(rows.len()).max(1),
            rows: GroupRows {
                row_group: group.row_group,
                rows: vec![rows],
            },
        };
        out.into_iter().map(cut).collect()
    }

    /// A cell of which only `fit` rows fit at once. Forward they come out of one decoder, batch by batch.
    fn heavy(&self, rows: Range<usize>, fit: usize, out: &mut Vec<(Range<usize>, usize)>) {
        if !self.reverse {
            out.push((rows, fit));
            return;
        }
        let mut end = rows.end;
        while end > rows.start {
            let start = end.saturating_sub(fit).max(rows.start);
            out.push((start..end, fit));
            end = start;
        }
    }

    /// The cells of some rows, in the order of reading.
    fn parts(&self, group: &GroupRows) -> Vec<Cell> {
        let cells = self.cells(group.row_group);
        let mut parts = Vec::new();
        for rows in &group.rows {
            let first = cells.partition_point(|c| c.rows.end <= rows.start);
            let within = cells[first..].iter().map_while(|c| c.clipped(rows));
            parts.extend(within);
        }
        if self.reverse {
            parts.reverse();
        }
        parts
    }

    fn cells(&self, row_group: usize) -> Vec<Cell> {
        let Some(group) = self.file.row_groups().get(row_group) else {
            return Vec::new();
        };
        let index = self.file.page_index_for_row_group(row_group);
        let total = group.num_rows().max(0) as usize;
        // Where the density changes, and by how much.
        let mut changes: Vec<(usize, f64, f64)> = Vec::new();
        for (leaf, chunk) in group.columns().iter().enumerate() {
            if !self.mask.leaf_included(leaf) {
                continue;
            }
            let (size, decoded) = (chunk.compressed_size().max(1) as f64, decoded_bytes(chunk));
            let mut add = |rows: Range<usize>, fetched: f64, decoded: f64| {
                let len = rows.len().max(1) as f64;
                changes.push((rows.start, fetched / len, decoded / len));
                changes.push((rows.end, -fetched / len, -decoded / len));
            };
            let Some(pages) = index.offset_index(leaf) else {
                add(0..total, size, decoded);
                continue;
            };
            for page in pages_of(pages, total) {
                let bytes = page.decoded(chunk, total);
                add(page.rows, page.fetched, bytes);
            }
        }
        changes.sort_by_key(|(row, ..)| *row);
        let mut cells = Vec::new();
        let (mut start, mut fetched, mut decoded) = (0, 0.0, 0.0);
        for (row, more_fetched, more_decoded) in changes {
            if row > start {
                cells.push(Cell {
                    rows: start..row,
                    fetched: f64::max(fetched, 0.0),
                    decoded: f64::max(decoded, self.least as f64),
                });
                start = row;
            }
            fetched += more_fetched;
            decoded += more_decoded;
        }
        if start < total {
            cells.push(Cell {
                rows: start..total,
                fetched: 0.0,
                decoded: self.least as f64,
            });
        }
        cells
    }
}

/// A page of a column, as the index tells of it.
struct Page {
    rows: Range<usize>,
    fetched: f64,
    /// Bytes of its values, if they are of varying length.
    plain: f64,
}

impl Page {
    /// Bytes that its values take in memory, about.
    fn decoded(&self, chunk: &ColumnChunkMetaData, total: usize) -> f64 {
        let (size, decoded) = (chunk.compressed_size().max(1) as f64, decoded_bytes(chunk));
        let even = decoded * (self.fetched / size).min(1.0);
        match self.plain > 0.0 {
            true => self.plain + 4.0 * self.rows.len() as f64,
            false => even.max(decoded * self.rows.len() as f64 / total.max(1) as f64),
        }
    }
}

/// The pages of a column that have rows, of `total` in the group.
fn pages_of(index: &OffsetIndexMetaData, total: usize) -> impl Iterator<Item = Page> {
    let plain = index.unencoded_byte_array_data_bytes();
    let pages = index.page_locations();
    let first_row = move |page: usize| {
        let row = pages
            .get(page)
            .map_or(total, |p| p.first_row_index.max(0) as usize);
        row.min(total)
    };
    let page = move |(at, page): (usize, &PageLocation)| Page {
        rows: first_row(at)..first_row(at + 1),
        fetched: f64::from(page.compressed_page_size.max(0)),
        plain: plain.and_then(|p| p.get(at)).map_or(0, |p| *p).max(0) as f64,
    };
    let pages = pages.iter().enumerate().map(page);
    pages.filter(|page| !page.rows.is_empty())
}

/// Bytes that the values of a column chunk take in memory, about; not less, but for nested rows.
fn decoded_bytes(chunk: &ColumnChunkMetaData) -> f64 {
    let values = chunk.num_values().max(0) as f64;
    let plain = chunk.unencoded_byte_array_data_bytes().unwrap_or(0).max(0) as f64;
    let column = chunk.column_descr();
    let decimal = column.converted_type() == ConvertedType::DECIMAL
        || matches!(column.logical_type_ref(), Some(LogicalType::Decimal { .. }));
    let width = match (column.physical_type(), decimal) {
        (Type::FIXED_LEN_BYTE_ARRAY, false) => f64::from(column.type_length().max(1)),
        (Type::BOOLEAN, _) => 0.25,
        (Type::BYTE_ARRAY, false) => 4.0,
        (_, true) => 32.0,
        (Type::INT32 | Type::FLOAT, _) => 4.0,
        (Type::INT64 | Type::DOUBLE, _) => 8.0,
        _ => 16.0,
    };
    (chunk.uncompressed_size().max(0) as f64).max(values * width + plain)
}

fn rows_of(group: &GroupRows) -> usize {
    group.rows.iter().map(ExactSizeIterator::len).sum()
}

/// Makes `last` take in `next`, if one follows the other.
fn joins(last: &mut Range<usize>, next: &Range<usize>) -> bool {
    if last.end == next.start {
        last.end = next.end;
        return true;
    }
    if next.end == last.start {
        last.start = next.start;
        return true;
    }
    false
}
