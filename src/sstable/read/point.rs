//! Reads one key of an sstable. Invariant: of other columns than the key's only what the rows found need is
//! decoded, and, where a block is large, fetched.

use super::{SstableReader, missing, not_read};
use crate::{
    data::{key::KeyRange, rows::Rows},
    error::{Error, Result},
    sstable::{
        bloom::{self, Bloom},
        columns::Projection,
        fetch::Fetcher,
        index::GroupRows,
    },
};
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use parquet::arrow::ProjectionMask;
use std::{ops::Range, sync::atomic::Ordering};

/// The pages of a point read are fetched by one request if they lie within this many bytes.
const POINT_SPAN: u64 = 2 * 1024 * 1024;

/// What it takes to read one key.
#[derive(Clone, Copy, Debug, Default)]
pub struct PointCost {
    /// From the first byte to the last, of all blocks that may have it.
    pub span: u64,
    /// Bytes of memory if that is fetched at once, …
    pub at_once: usize,
    /// … and if the keys are read first, and then the rows found, one at least.
    pub keys_first: usize,
}

impl SstableReader {
    /// What [`SstableReader::get_within`] takes, as the footer tells. Reads nothing.
    pub fn point_cost(&self, key: &[u8], columns: &[usize]) -> Result<PointCost> {
        let inner = &self.inner;
        let range = KeyRange::only(key.to_vec());
        let all = self.projection(columns)?;
        let keys = self.projection(&[])?.keys_only(&inner.footer.descriptor());
        let mut cost = PointCost::default();
        let bytes = |bytes: f64| bytes as usize;
        for group in inner.footer.index.select(&range, inner.meta.multi_version) {
            let (_, ranges) = inner.plan(&group, &all.mask, usize::MAX)?;
            let fetched = span(&ranges);
            let (_, largest) = inner.cutter(&all, false).page_bytes(&group);
            let (key_pages, _) = inner.cutter(&keys, false).page_bytes(&group);
            cost.span = cost.span.max(fetched);
            // Keys are copied from their pages, all of them; of other columns a page at once is decoded.
            let at_once = bytes(2.0 * key_pages + largest).saturating_add(fetched as usize);
            cost.at_once = cost.at_once.saturating_add(at_once);
            let keys_first = bytes(2.0 * (key_pages + largest));
            cost.keys_first = cost.keys_first.saturating_add(keys_first);
        }
        Ok(cost)
    }

    /// All versions of the key, newest first, or `None`. Costs one ranged GET, none if the filter
    /// knows better. A filter too large for the footer is fetched once, after a first miss: before
    /// that it would cost as much as it saves.
    pub async fn get(&self, key: &[u8], columns: &[usize]) -> Result<Option<Rows>> {
        self.get_within(key, columns, POINT_SPAN).await
    }

    /// The same. Where the rows that may be it lie within `most` bytes they are fetched at once, else the
    /// keys are read first.
    pub async fn get_within(
        &self,
        key: &[u8],
        columns: &[usize],
        most: u64,
    ) -> Result<Option<Rows>> {
        let inner = &self.inner;
        if key < inner.meta.min_key.as_slice() || key > inner.meta.max_key.as_slice() {
            return Ok(None);
        }
        if !self.may_contain(key).await? {
            return Ok(None);
        }
        let range = KeyRange::only(key.to_vec());
        let all = self.projection(columns)?;
        let mut found: Vec<RecordBatch> = Vec::new();
        for group in inner.footer.index.select(&range, inner.meta.multi_version) {
            found.extend(self.get_in(&group, &range, &all, most).await?);
        }
        let Some(first) = found.first() else {
            inner.missed.store(true, Ordering::Relaxed);
            return Ok(None);
        };
        match found.len() {
            1 => all.rows(first).map(Some),
            _ => all.rows(&self.concat(&found)?).map(Some),
        }
    }

    /// The rows of `range` in some blocks of a row group. Keys are decoded first, so that of other
    /// columns only the rows found are.
    async fn get_in(
        &self,
        group: &GroupRows,
        range: &KeyRange,
        all: &Projection,
        most: u64,
    ) -> Result<Option<RecordBatch>> {
        let descriptor = self.inner.footer.descriptor();
        let keys = self.projection(&[])?.keys_only(&descriptor);
        let (_, ranges) = self.inner.plan(group, &all.mask, usize::MAX)?;
        let small = span(&ranges) <= most.min(POINT_SPAN);
        let fetcher = match small {
            true => self.fetched(&ranges).await?,
            false => {
                let (_, ranges) = self.inner.plan(group, &keys.mask, usize::MAX)?;
                self.fetched(&ranges).await?
            }
        };
        let decoded_keys = self.decode_all(group, &keys.mask, &fetcher)?;
        let rows = range.rows_of(&keys.keys(&decoded_keys)?);
        if rows.is_empty() {
            return Ok(None);
        }
        let decoded_keys = decoded_keys.slice(rows.start, rows.len());
        let first = group.rows.first().map_or(0, |r| r.start);
        let exact = GroupRows {
            row_group: group.row_group,
            rows: std::iter::once(first + rows.start..first + rows.end).collect(),
        };
        match all.without(&keys, &descriptor) {
            Some(rest) => {
                let fetcher = match small {
                    true => fetcher,
                    false => {
                        let (_, ranges) = self.inner.plan(&exact, &rest, usize::MAX)?;
                        self.fetched(&ranges).await?
                    }
                };
                let decoded = self.decode_all(&exact, &rest, &fetcher)?;
                all.join(&keys, &decoded_keys, &decoded).map(Some)
            }
            None => Ok(Some(decoded_keys)),
        }
    }

    /// Fetches ranges for one use: by one request if they lie close together.
    async fn fetched(&self, ranges: &[Range<u64>]) -> Result<Fetcher> {
        let mut limits = self.limits;
        if span(ranges) <= POINT_SPAN {
            (limits.gap, limits.read_bytes) = (POINT_SPAN, limits.read_bytes.max(POINT_SPAN));
        }
        let (storage, object) = (self.inner.storage.clone(), self.inner.object.clone());
        let mut fetcher = Fetcher::new(storage, object, limits, std::iter::once(ranges));
        fetcher.need(ranges).await?;
        Ok(fetcher)
    }

    fn decode_all(
        &self,
        group: &GroupRows,
        mask: &ProjectionMask,
        fetcher: &Fetcher,
    ) -> Result<RecordBatch> {
        let (decoder, ranges) = self.inner.plan(group, mask, usize::MAX)?;
        let reader = self.inner.feed(decoder, ranges, fetcher)?;
        let batches = reader
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| self.inner.corrupt(e))?;
        self.concat(&batches)
    }

    fn concat(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
        match batches {
            [one] => Ok(one.clone()),
            [first, ..] => concat_batches(&first.schema(), batches)
                .map_err(|e| Error::internal(format!("versions of one key do not join: {e}"))),
            [] => Err(self
                .inner
                .corrupt("a row group has fewer rows than the footer says")),
        }
    }

    /// Asks the filter, as far as it is read or worth reading.
    async fn may_contain(&self, key: &[u8]) -> Result<bool> {
        let inner = &self.inner;
        let Some(place) = &inner.footer.bloom else {
            return Ok(true);
        };
        if inner.bloom.get().is_none() {
            if !inner.missed.load(Ordering::Relaxed) {
                return Ok(true);
            }
            let bytes = inner
                .storage
                .get_range(&inner.object, place.clone())
                .await
                .map_err(|e| not_read(&inner.object, e))?;
            let bytes = bytes.ok_or_else(|| missing(&inner.object))?;
            inner
                .footer
                .index
                .check(&inner.object, place.start, &bytes)?;
            let bloom = Bloom::from_bytes(bytes)
                .ok_or_else(|| inner.corrupt("the bloom filter is no whole number of blocks"))?;
            // Another read may have been faster; both are the same.
            let _ = inner.bloom.set(bloom);
        }
        Ok(inner
            .bloom
            .get()
            .is_none_or(|b| b.may_contain(bloom::hash(key))))
    }
}

/// From the first byte to the last.
fn span(ranges: &[Range<u64>]) -> u64 {
    let start = ranges.iter().map(|r| r.start).min().unwrap_or(0);
    let end = ranges.iter().map(|r| r.end).max().unwrap_or(0);
    end.saturating_sub(start)
}
