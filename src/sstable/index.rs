//! Our own index of an sstable, written between the bloom filter and Parquet's page indexes:
//! a checksum for every byte before it and a sparse list of keys. Invariants: the regions follow one
//! another from offset 0; a separator is greater than every key of the block before it (equal, if
//! versions of one key lie on both sides) and not greater than any key of its own block.
//!
//! All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `LKSX` |
//! | 4 | version, 1 |
//! | 4 | P: number of regions (the magic, dictionary pages, data pages, the bloom filter) |
//! | 8 P | each: length u32, crc32c u32 |
//! | 4 | B: rows of a block |
//! | 4 | G: number of row groups |
//! | … | each: rows u32; ⌈rows / B⌉ separators, each: length u16, bytes; statistics: |
//! | 4 | live rows (no tombstones) |
//! | 2 | number of columns with statistics |
//! | … | each: column id u32; nulls u32; NaN u32; flags u8 (1: a minimum, 2: a maximum follows); these, each: length u8, bytes |

use super::meta::ColumnStats;
use crate::{
    data::key::KeyRange,
    error::{Error, Result},
};
use std::ops::{Bound, Range};

const MAGIC: &[u8; 4] = b"LKSX";
const VERSION: u32 = 1;

/// Rows of one row group, as far as they may hold what is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRows {
    /// Index of the row group.
    pub row_group: usize,
    /// Rows within it; ascending, disjoint, not empty.
    pub rows: Vec<Range<usize>>,
}

/// Statistics of one row group; bounds have at most 255 bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupStats {
    /// Rows that are no tombstones.
    pub live: u64,
    /// Bounds over these.
    pub columns: Vec<ColumnStats>,
}

/// Checksums, separators and statistics of one sstable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SstableIndex {
    /// Where region `i` begins; one more at the end.
    offsets: Vec<u64>,
    crcs: Vec<u32>,
    block_rows: usize,
    /// Rows of each row group.
    groups: Vec<usize>,
    /// The first block of each row group; one more at the end.
    group_blocks: Vec<usize>,
    /// Separator `i` is `bytes[ends[i - 1]..ends[i]]`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
    stats: Vec<GroupStats>,
}

impl SstableIndex {
    /// An empty one, to be filled by a writer.
    pub fn new(block_rows: usize) -> Self {
        Self {
            offsets: vec![0],
            group_blocks: vec![0],
            block_rows: block_rows.max(1),
            ..Self::default()
        }
    }

    /// Adds the region that follows the last one.
    pub fn push_region(&mut self, bytes: &[u8]) {
        self.offsets.push(self.data_end() + bytes.len() as u64);
        self.crcs.push(crc32c::crc32c(bytes));
    }

    /// Adds the separator of the next block of the row group being written: the shortest prefix of
    /// its `first` key that is greater than the key `before` it.
    pub fn push_block(&mut self, before: Option<&[u8]>, first: &[u8]) {
        let common = before.map_or(0, |b| {
            b.iter().zip(first).take_while(|(a, b)| a == b).count() + 1
        });
        self.bytes
            .extend_from_slice(&first[..common.min(first.len())]);
        self.ends.push(self.bytes.len());
    }

    /// Ends the row group being written.
    pub fn end_group(&mut self, rows: usize, stats: GroupStats) {
        self.groups.push(rows);
        self.stats.push(stats);
        self.group_blocks.push(self.ends.len());
    }

    /// Rows of a block.
    pub fn block_rows(&self) -> usize {
        self.block_rows
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        let bounds = |c: &ColumnStats| c.min.iter().chain(&c.max).map(Vec::len).sum::<usize>();
        let stats = self.stats.iter().flat_map(|s| &s.columns);
        let stats: usize = stats.map(|c| size_of::<ColumnStats>() + bounds(c)).sum();
        self.crcs.len() * 12 + self.ends.len() * 8 + self.bytes.len() + stats
    }

    /// Where the covered bytes end.
    pub fn data_end(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Rows of each row group.
    pub fn groups(&self) -> &[usize] {
        &self.groups
    }

    /// Statistics of each row group.
    pub fn stats(&self) -> &[GroupStats] {
        &self.stats
    }

    /// Checks `bytes`, which begin at `start` of `object`; both ends must be ends of regions.
    pub fn check(&self, object: &str, start: u64, bytes: &[u8]) -> Result<()> {
        let bad_place = |at: u64| {
            Error::corrupt(format!(
                "{object} at offset {at}: a page of the footer does not fit the checksums there"
            ))
        };
        let mut region = self
            .offsets
            .binary_search(&start)
            .map_err(|_| bad_place(start))?;
        let (mut at, mut rest) = (start, bytes);
        while !rest.is_empty() {
            let (Some(end), Some(crc)) = (self.offsets.get(region + 1), self.crcs.get(region))
            else {
                return Err(bad_place(at));
            };
            let Some((page, tail)) = rest.split_at_checked((end - at) as usize) else {
                return Err(bad_place(at));
            };
            let found = crc32c::crc32c(page);
            if found != *crc {
                return Err(Error::corrupt(format!(
                    "{object} at offset {at}, {} bytes: crc32c is {found:08x}, expected {crc:08x}",
                    page.len()
                )));
            }
            (at, rest, region) = (*end, tail, region + 1);
        }
        Ok(())
    }

    /// The rows that may hold keys of `range`. `multi_version`: versions of one key may lie on both
    /// sides of a block's beginning.
    pub fn select(&self, range: &KeyRange, multi_version: bool) -> Vec<GroupRows> {
        let blocks = self.ends.len();
        let low = match &range.start {
            Bound::Unbounded => 0,
            Bound::Included(key) | Bound::Excluded(key) => {
                let at = self.partition(|s| s < key.as_slice());
                match at < blocks && self.separator(at) == key.as_slice() && !multi_version {
                    true => at,
                    false => at.saturating_sub(1),
                }
            }
        };
        let high = match &range.end {
            Bound::Unbounded => blocks,
            Bound::Included(key) => self.partition(|s| s <= key.as_slice()),
            Bound::Excluded(key) => self.partition(|s| s < key.as_slice()),
        };
        self.rows_of_blocks(low..high.max(low))
    }

    fn rows_of_blocks(&self, blocks: Range<usize>) -> Vec<GroupRows> {
        let mut out = Vec::new();
        for (row_group, &rows) in self.groups.iter().enumerate() {
            let (first, end) = (
                self.group_blocks[row_group],
                self.group_blocks[row_group + 1],
            );
            let (low, high) = (blocks.start.max(first), blocks.end.min(end));
            if low < high {
                let from = (low - first) * self.block_rows;
                let to = ((high - first) * self.block_rows).min(rows);
                out.push(GroupRows {
                    row_group,
                    rows: std::iter::once(from..to).collect(),
                });
            }
        }
        out
    }

    fn separator(&self, block: usize) -> &[u8] {
        let start = block.checked_sub(1).map_or(0, |b| self.ends[b]);
        &self.bytes[start..self.ends[block]]
    }

    fn partition(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match before(self.separator(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.crcs.len() * 8 + self.bytes.len() * 2);
        let number = |out: &mut Vec<u8>, n: usize| out.extend_from_slice(&(n as u32).to_le_bytes());
        out.extend_from_slice(MAGIC);
        number(&mut out, VERSION as usize);
        number(&mut out, self.crcs.len());
        for (crc, ends) in self.crcs.iter().zip(self.offsets.windows(2)) {
            number(&mut out, (ends[1] - ends[0]) as usize);
            number(&mut out, *crc as usize);
        }
        number(&mut out, self.block_rows);
        number(&mut out, self.groups.len());
        for (group, rows) in self.groups.iter().enumerate() {
            number(&mut out, *rows);
            for block in self.group_blocks[group]..self.group_blocks[group + 1] {
                let separator = self.separator(block);
                out.extend_from_slice(&(separator.len() as u16).to_le_bytes());
                out.extend_from_slice(separator);
            }
            if let Some(stats) = self.stats.get(group) {
                encode_stats(stats, &mut out);
            }
        }
        out
    }

    /// From bytes; `object` and `offset` are for the message.
    pub fn decode(object: &str, offset: u64, bytes: &[u8]) -> Result<Self> {
        let mut input = Input {
            object,
            offset,
            bytes,
            at: 0,
        };
        if input.take(4)? != MAGIC || input.number()? != VERSION {
            return Err(input.corrupt("not an sstable index of version 1"));
        }
        let regions = input.number()? as usize;
        if regions > bytes.len() / 8 {
            return Err(input.corrupt("more regions than there are bytes"));
        }
        let mut index = Self::new(1);
        for _ in 0..regions {
            let length = u64::from(input.number()?);
            index.offsets.push(index.data_end() + length);
            index.crcs.push(input.number()?);
        }
        index.block_rows = input.number()? as usize;
        if index.block_rows == 0 {
            return Err(input.corrupt("blocks of no rows"));
        }
        for _ in 0..input.number()? {
            let rows = input.number()? as usize;
            for _ in 0..rows.div_ceil(index.block_rows) {
                let length = input.take(2)?;
                let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
                index.bytes.extend_from_slice(input.take(length)?);
                index.ends.push(index.bytes.len());
            }
            let stats = decode_stats(&mut input)?;
            index.end_group(rows, stats);
        }
        match input.at == bytes.len() {
            true => Ok(index),
            false => Err(input.corrupt("bytes after the end")),
        }
    }
}

fn encode_stats(stats: &GroupStats, out: &mut Vec<u8>) {
    out.extend_from_slice(&(stats.live as u32).to_le_bytes());
    out.extend_from_slice(&(stats.columns.len() as u16).to_le_bytes());
    for column in &stats.columns {
        out.extend_from_slice(&column.column_id.to_le_bytes());
        out.extend_from_slice(&(column.nulls as u32).to_le_bytes());
        out.extend_from_slice(&(column.nans as u32).to_le_bytes());
        out.push(u8::from(column.min.is_some()) | u8::from(column.max.is_some()) << 1);
        for bound in column.min.iter().chain(&column.max) {
            out.push(bound.len() as u8);
            out.extend_from_slice(bound);
        }
    }
}

fn decode_stats(input: &mut Input<'_>) -> Result<GroupStats> {
    let live = u64::from(input.number()?);
    let columns = input.take(2)?;
    let columns = u16::from_le_bytes([columns[0], columns[1]]);
    let mut stats = GroupStats {
        live,
        columns: Vec::new(),
    };
    for _ in 0..columns {
        let column_id = input.number()?;
        let (nulls, nans) = (u64::from(input.number()?), u64::from(input.number()?));
        let flags = input.take(1)?[0];
        let mut bound = |flag: u8| -> Result<Option<Vec<u8>>> {
            if flags & flag == 0 {
                return Ok(None);
            }
            let length = input.take(1)?[0];
            Ok(Some(input.take(usize::from(length))?.to_vec()))
        };
        stats.columns.push(ColumnStats {
            column_id,
            min: bound(1)?,
            max: bound(2)?,
            nulls,
            nans,
        });
    }
    Ok(stats)
}

struct Input<'a> {
    object: &'a str,
    offset: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let part = self
            .bytes
            .get(self.at..self.at.saturating_add(length))
            .ok_or_else(|| self.corrupt("the index ends too early"))?;
        self.at += length;
        Ok(part)
    }

    fn number(&mut self) -> Result<u32> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn corrupt(&self, what: &str) -> Error {
        let at = self.offset + self.at as u64;
        Error::corrupt(format!("{} at offset {at}: {what}", self.object))
    }
}
