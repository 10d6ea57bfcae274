//! Reads an sstable. Invariants: every byte that is used was checked against a checksum; an open
//! reader holds only the footer, so that a point read in it is one ranged GET.

use super::{
    bloom::{self, Bloom},
    columns::{FileColumns, Origin, Projection},
    fetch::{Fetcher, Limits},
    index::GroupRows,
    meta::{SstableMeta, object_key},
    prune::Source,
};
use crate::{
    data::{key::KeyRange, rows::Rows, schema::TableSchema},
    env::Storage,
    error::{Error, ErrorKind, Result},
    options::Options,
};
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use bytes::Bytes;
use footer::Footer;
use parquet::{
    DecodeResult,
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelectionPolicy},
        push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder, RowGroupSelection},
    },
    errors::ParquetError,
};
use std::{
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

mod footer;
mod scan;

pub use scan::{ScanRequest, SstableScan};

/// The pages of a point read are fetched by one request if they lie within this many bytes.
const POINT_SPAN: u64 = 2 * 1024 * 1024;

/// The error for an sstable that is not there.
pub(super) fn missing(object: &str) -> Error {
    Error::corrupt(format!("sstable {object} is missing"))
}

/// A failed read of a part of an sstable: offline, its rows are not to be had.
pub(super) fn not_read(object: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable => error.context(format!(
            "sstable {object} is not on this device and cannot be fetched now: read again when the data \
             store answers"
        )),
        _ => error,
    }
}

/// Whether `error` says that an sstable is not there (it may have been compacted away: PROTOCOL G4).
pub fn is_missing(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && error.message().ends_with("is missing")
}

/// An open sstable. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SstableReader {
    inner: Arc<Inner>,
    limits: Limits,
}

struct Inner {
    storage: Arc<dyn Storage>,
    object: Arc<str>,
    meta: Arc<SstableMeta>,
    schema: Arc<TableSchema>,
    columns: FileColumns,
    stamps: Origin,
    footer: Footer,
    batch_bytes: usize,
    bloom: OnceLock<Bloom>,
    /// A point read has found nothing where the filter, not read yet, might have said so.
    missed: AtomicBool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sstable")
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}

impl SstableReader {
    /// Opens the sstable by one suffix GET. `inherited`: the timestamp of the rows of a fresh file.
    /// The error for a missing object is known by [`is_missing`].
    pub async fn open(
        storage: Arc<dyn Storage>,
        table: u32,
        meta: Arc<SstableMeta>,
        schema: Arc<TableSchema>,
        inherited: Option<i64>,
        options: &Options,
    ) -> Result<SstableReader> {
        let object: Arc<str> = object_key(table, meta.id).into();
        let found = storage.get_suffix(&object, meta.footer_bytes).await;
        let found = found.map_err(|e| not_read(&object, e))?;
        let (bytes, size) = found.ok_or_else(|| missing(&object))?;
        let footer = Footer::parse(&object, &meta, bytes, size)?;
        let columns = FileColumns::new(&schema, footer.arrow.schema());
        let stamps = match (columns.ts, meta.stamps, inherited) {
            (Some(_), Some((low, high)), _) if low == high => Origin::All(low),
            (Some(root), ..) => Origin::Column(root),
            (None, _, Some(ts)) => Origin::All(ts),
            (None, _, None) => {
                return Err(Error::corrupt(format!(
                    "{object} has no column _ts and is not fresh"
                )));
            }
        };
        let bloom = match &footer.inline_bloom {
            Some(bloom) => OnceLock::from(bloom.clone()),
            None => OnceLock::new(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                storage,
                object,
                meta,
                schema,
                columns,
                stamps,
                footer,
                batch_bytes: options.batch_bytes,
                bloom,
                missed: AtomicBool::new(false),
            }),
            limits: Limits {
                gap: options.coalesce_gap,
                read_bytes: options.read_bytes,
                concurrency: options.concurrency.max(1),
            },
        })
    }

    /// What the log says of it.
    pub fn meta(&self) -> &Arc<SstableMeta> {
        &self.inner.meta
    }

    /// Bytes of memory that the open reader holds, about.
    pub fn memory_bytes(&self) -> usize {
        let bloom = self.inner.bloom.get().map_or(0, |b| b.as_bytes().len());
        self.inner.footer.memory_bytes() + bloom
    }

    /// The same reader with another bound on single reads. A scan holds up to twice as much; who
    /// merges many sstables divides what memory there is.
    pub fn with_read_bytes(&self, bytes: u64) -> Self {
        let limits = Limits {
            read_bytes: bytes.max(4096),
            ..self.limits
        };
        Self {
            inner: self.inner.clone(),
            limits,
        }
    }

    /// Reads rows in key order. Nothing is fetched before the first `next`.
    pub fn scan(&self, request: ScanRequest) -> SstableScan {
        SstableScan::new(self.clone(), request)
    }

    /// All versions of the key, newest first, or `None`. Costs one ranged GET, none if the filter
    /// knows better. A filter too large for the footer is fetched once, after a first miss: before
    /// that it would cost as much as it saves.
    pub async fn get(&self, key: &[u8], columns: &[usize]) -> Result<Option<Rows>> {
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
            found.extend(self.get_in(&group, &range, &all).await?);
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
    ) -> Result<Option<RecordBatch>> {
        let (_, ranges) = self.inner.plan(group, &all.mask, usize::MAX)?;
        let start = ranges.iter().map(|r| r.start).min().unwrap_or(0);
        let end = ranges.iter().map(|r| r.end).max().unwrap_or(0);
        let mut limits = self.limits;
        if end - start <= POINT_SPAN {
            (limits.gap, limits.read_bytes) = (POINT_SPAN, limits.read_bytes.max(POINT_SPAN));
        }
        let (storage, object) = (self.inner.storage.clone(), self.inner.object.clone());
        let users = std::iter::once(ranges.as_slice());
        let mut fetcher = Fetcher::new(storage, object, limits, users);
        fetcher.need(&ranges).await?;

        let keys = self
            .projection(&[])?
            .keys_only(&self.inner.footer.descriptor());
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
        match all.without(&keys, &self.inner.footer.descriptor()) {
            Some(rest) => {
                let decoded = self.decode_all(&exact, &rest, &fetcher)?;
                all.join(&keys, &decoded_keys, &decoded).map(Some)
            }
            None => Ok(Some(decoded_keys)),
        }
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

    fn projection(&self, columns: &[usize]) -> Result<Projection> {
        let inner = &self.inner;
        let tombstones = inner.columns.op.filter(|_| inner.meta.tombstones > 0);
        Projection::new(
            &inner.schema,
            &inner.columns,
            &inner.footer.descriptor(),
            columns,
            inner.stamps,
            tombstones,
        )
        .map_err(|e| e.context(&inner.object))
    }
}

impl Inner {
    /// Where a column of the table lies in the file, for its statistics.
    fn source(&self, column: usize) -> Source {
        let place = self.columns.columns.get(column).copied().flatten();
        let Some(root) = place else {
            return Source::Missing;
        };
        let file = self.footer.arrow.schema().fields().get(root);
        let table = self.schema.storage().fields().get(column);
        let same = file.map(|f| f.data_type()) == table.map(|f| f.data_type());
        match self.schema.column_ids().get(column) {
            Some(id) if same => Source::Same(*id),
            _ => Source::Other,
        }
    }

    fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        Error::corrupt(format!("{}: {what}", self.object))
    }

    /// A decoder for some rows of a row group, and the bytes it needs.
    fn plan(
        &self,
        group: &GroupRows,
        mask: &ProjectionMask,
        batch_rows: usize,
    ) -> Result<(ParquetPushDecoder, Vec<Range<u64>>)> {
        let total = self
            .footer
            .index
            .groups()
            .get(group.row_group)
            .copied()
            .unwrap_or(0);
        let selected: usize = group.rows.iter().map(ExactSizeIterator::len).sum();
        let whole = group.rows.len() == 1 && group.rows[0] == (0..total);
        let selection = (!whole)
            .then(|| RowSelection::from_consecutive_ranges(group.rows.iter().cloned(), total));
        let selections = vec![RowGroupSelection::new(group.row_group, selection)];
        let mut decoder = ParquetPushDecoderBuilder::new_with_metadata(self.footer.arrow.clone())
            .with_projection(mask.clone())
            .with_row_group_selections(selections)
            .with_row_selection_policy(RowSelectionPolicy::Selectors)
            .with_batch_size(batch_rows.min(selected).max(1))
            .build()
            .map_err(|e| self.corrupt(e))?;
        match decoder.try_next_reader().map_err(|e| self.corrupt(e))? {
            DecodeResult::NeedsData(ranges) => Ok((decoder, ranges)),
            _ => Err(self.corrupt("a row group takes no bytes")),
        }
    }

    /// Gives the decoder its bytes, checked.
    fn feed(
        &self,
        mut decoder: ParquetPushDecoder,
        ranges: Vec<Range<u64>>,
        fetcher: &Fetcher,
    ) -> Result<ParquetRecordBatchReader> {
        let mut buffers: Vec<Bytes> = Vec::with_capacity(ranges.len());
        for range in &ranges {
            let bytes = fetcher.slice(range)?;
            self.footer.index.check(&self.object, range.start, &bytes)?;
            buffers.push(bytes);
        }
        let pushed = decoder.push_ranges(ranges, buffers);
        match pushed.and_then(|()| decoder.try_next_reader()) {
            Ok(DecodeResult::Data(reader)) => Ok(reader),
            Ok(_) => Err(self.corrupt("a row group needs more bytes than its pages have")),
            Err(error) => Err(self.decode_error(error)),
        }
    }

    fn decode_error(&self, error: ParquetError) -> Error {
        self.corrupt(format!("cannot decode: {error}"))
            .with_source(error)
    }
}
