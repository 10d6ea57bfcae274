//! Reads an sstable. Invariants: every byte that is used was checked against a checksum; an open
//! reader holds only the footer, so that a point read in it is one ranged GET.

use super::{
    bloom::Bloom,
    columns::{FileColumns, Origin, Projection},
    fetch::{Fetcher, Limits},
    index::GroupRows,
    meta::{SstableMeta, object_key},
    prune::Source,
};
use crate::{
    data::schema::TableSchema,
    env::Storage,
    error::{Error, ErrorKind, Result},
    options::Options,
};
use bytes::Bytes;
use cut::Cutter;
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
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

mod cut;
mod footer;
mod point;
mod scan;
mod visible;

pub use point::PointCost;
pub use scan::{ScanRequest, SstableScan};

/// No request is made smaller than this by a bound.
const MIN_READ_BYTES: u64 = 4096;

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
                bloom,
                missed: AtomicBool::new(false),
            }),
            limits: Limits {
                gap: options.coalesce_gap,
                read_bytes: options.read_bytes.max(MIN_READ_BYTES),
                first_bytes: u64::MAX,
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

    /// Reads rows in key order. Nothing is fetched before the first `next`.
    pub fn scan(&self, request: ScanRequest) -> SstableScan {
        SstableScan::new(self.clone(), request)
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

    fn cutter<'a>(&'a self, projection: &'a Projection, reverse: bool) -> Cutter<'a> {
        Cutter {
            file: self.footer.arrow.metadata(),
            mask: &projection.mask,
            least: projection.least_row_bytes(),
            reverse,
        }
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
