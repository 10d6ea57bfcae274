//! A scan of one sstable. Invariants: every row of the range comes exactly once; memory is bounded
//! by one piece of a row group, the requests it lies in and one request ahead; in reverse, versions
//! of one key come in one batch.

use super::{SstableReader, is_missing};
use crate::{
    data::{key::KeyRange, predicate::BoundPredicate, rows::Rows},
    error::{Error, ErrorKind, Result},
    sstable::{columns::Projection, fetch::Fetcher, index::GroupRows, prune},
};
use arrow_array::RecordBatch;
use parquet::arrow::{arrow_reader::ParquetRecordBatchReader, push_decoder::ParquetPushDecoder};
use std::{collections::VecDeque, ops::Range};

/// What to read of an sstable.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Columns of the table wanted in `Rows.batch`, in this order.
    pub columns: Vec<usize>,
    /// Only rows with keys in it come.
    pub range: KeyRange,
    /// Row groups and pages that cannot match may be left out. Only where nothing overlaps the
    /// sstable (DESIGN promise 3); ignored if it holds several versions of a key.
    pub prune: Option<BoundPredicate>,
    /// Batches come in descending order of keys; within a batch they still ascend.
    pub reverse: bool,
    /// Most rows of a batch (in reverse, versions of one key may exceed it).
    pub batch_rows: usize,
    /// Rows newer than this are not needed; they may come all the same.
    pub as_of: Option<i64>,
}

/// Rows of one row group that are decoded together.
struct Piece {
    decoder: ParquetPushDecoder,
    ranges: Vec<Range<u64>>,
}

/// A running scan; see [`SstableReader::scan`].
pub struct SstableScan {
    reader: SstableReader,
    request: ScanRequest,
    running: Option<Running>,
    /// The damage it met: whoever asks again must not get what lies behind it.
    damage: Option<Error>,
}

struct Running {
    projection: Projection,
    fetcher: Fetcher,
    pieces: VecDeque<Piece>,
    /// Forward: the piece being decoded.
    current: Option<ParquetRecordBatchReader>,
    /// In reverse: decoded batches of the current piece, the next one last.
    decoded: Vec<RecordBatch>,
    /// In reverse: a batch whose first key may have more versions in the next one.
    held: Option<RecordBatch>,
}

impl std::fmt::Debug for SstableScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SstableScan")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl SstableScan {
    pub(super) fn new(reader: SstableReader, request: ScanRequest) -> Self {
        Self {
            reader,
            request,
            running: None,
            damage: None,
        }
    }

    /// The next batch, never empty; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Rows>> {
        if let Some(damage) = &self.damage {
            return Err(damage.duplicate());
        }
        let next = self.read().await;
        if let Err(error) = &next {
            let damaged = error.kind() == ErrorKind::Corrupt && !is_missing(error);
            self.damage = damaged.then(|| error.duplicate());
        }
        next
    }

    async fn read(&mut self) -> Result<Option<Rows>> {
        if self.running.is_none() {
            self.running = Some(self.plan()?);
        }
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        loop {
            let decoded = match self.request.reverse {
                false => running.forward(&self.reader).await?,
                true if self.reader.inner.meta.multi_version => {
                    running.backward_whole_keys(&self.reader).await?
                }
                true => running.backward(&self.reader).await?,
            };
            let Some(decoded) = decoded else {
                return Ok(None);
            };
            let rows = running.projection.rows(&decoded)?;
            let wanted = self.request.range.rows_of(&rows.keys);
            match wanted.len() {
                0 => continue,
                n if n == rows.len() => return Ok(Some(rows)),
                n => return Ok(Some(rows.slice(wanted.start, n))),
            }
        }
    }

    fn plan(&self) -> Result<Running> {
        let inner = &self.reader.inner;
        let projection = self.reader.projection(&self.request.columns)?;
        let mut groups = self.groups();
        if self.request.reverse {
            let rows = self.batch_rows(&groups, &projection);
            groups = prune::pieces(groups, rows);
            groups.reverse();
        }
        let batch_rows = self.batch_rows(&groups, &projection);
        let pieces: VecDeque<Piece> = groups
            .iter()
            .map(|group| {
                let (decoder, ranges) = inner.plan(group, &projection.mask, batch_rows)?;
                Ok(Piece { decoder, ranges })
            })
            .collect::<Result<_>>()?;
        let fetcher = Fetcher::new(
            inner.storage.clone(),
            inner.object.clone(),
            self.reader.limits,
            pieces.iter().map(|p| p.ranges.as_slice()),
        );
        Ok(Running {
            projection,
            fetcher,
            pieces,
            current: None,
            decoded: Vec::new(),
            held: None,
        })
    }

    /// What has to be read.
    fn groups(&self) -> Vec<GroupRows> {
        let inner = &self.reader.inner;
        let (meta, range) = (&inner.meta, &self.request.range);
        let oldest = meta.stamps.map(|(low, _)| low);
        let too_new = matches!((oldest, self.request.as_of), (Some(low), Some(t)) if low > t);
        if too_new || !meta.overlaps(range) {
            return Vec::new();
        }
        let groups = inner.footer.index.select(range, meta.multi_version);
        match &self.request.prune {
            Some(filter) if !meta.multi_version => {
                let stats = inner.footer.index.stats();
                prune::matching(groups, stats, &|column| inner.source(column), filter)
            }
            _ => groups,
        }
    }

    /// Rows of a batch, so that it keeps within `batch_bytes`, by the sizes that the footer tells.
    fn batch_rows(&self, groups: &[GroupRows], projection: &Projection) -> usize {
        let inner = &self.reader.inner;
        let widest = groups
            .iter()
            .filter_map(|g| inner.footer.arrow.metadata().row_groups().get(g.row_group))
            .map(|group| {
                let columns = group.columns().iter().enumerate();
                let bytes: i64 = columns
                    .filter(|(leaf, _)| projection.mask.leaf_included(*leaf))
                    .map(|(_, c)| {
                        let plain = c.unencoded_byte_array_data_bytes().unwrap_or(0);
                        c.uncompressed_size().max(plain)
                    })
                    .sum();
                bytes.max(0) as usize / (group.num_rows().max(1) as usize)
            })
            .max()
            .unwrap_or(0)
            .max(projection.least_row_bytes() as usize);
        (inner.batch_bytes / widest.max(1)).clamp(1, self.request.batch_rows.max(1))
    }
}

impl Running {
    /// Fetches and opens the next piece.
    async fn open(&mut self, reader: &SstableReader) -> Result<Option<ParquetRecordBatchReader>> {
        let Some(front) = self.pieces.front() else {
            return Ok(None);
        };
        self.fetcher.need(&front.ranges).await?;
        let Some(piece) = self.pieces.pop_front() else {
            return Ok(None);
        };
        let opened = reader
            .inner
            .feed(piece.decoder, piece.ranges.clone(), &self.fetcher)?;
        self.fetcher.release(&piece.ranges);
        Ok(Some(opened))
    }

    async fn forward(&mut self, reader: &SstableReader) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batches) = &mut self.current {
                match batches.next() {
                    Some(Ok(batch)) => return Ok(Some(batch)),
                    Some(Err(error)) => return Err(reader.inner.corrupt(error)),
                    None => self.current = None,
                }
            }
            self.current = self.open(reader).await?;
            if self.current.is_none() {
                return Ok(None);
            }
        }
    }

    async fn backward(&mut self, reader: &SstableReader) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.decoded.pop() {
                return Ok(Some(batch));
            }
            let Some(batches) = self.open(reader).await? else {
                return Ok(None);
            };
            let batches = batches.collect::<Result<_, _>>();
            self.decoded = batches.map_err(|e| reader.inner.corrupt(e))?;
        }
    }

    /// Holds each batch back until the one before it (in key order) shows whether it ends with
    /// versions of the same key; these then move there.
    async fn backward_whole_keys(&mut self, reader: &SstableReader) -> Result<Option<RecordBatch>> {
        loop {
            let Some(batch) = self.backward(reader).await? else {
                return Ok(self.held.take());
            };
            let Some(held) = self.held.take() else {
                self.held = Some(batch);
                continue;
            };
            let (keys, held_keys) = (self.projection.keys(&batch)?, self.projection.keys(&held)?);
            if keys.is_empty() || keys.get(keys.len() - 1) != held_keys.get(0) {
                self.held = Some(batch);
                return Ok(Some(held));
            }
            let shared = held_keys.upper_bound(0, held_keys.get(0));
            self.held = Some(reader.concat(&[batch, held.slice(0, shared)])?);
            if shared < held.num_rows() {
                return Ok(Some(held.slice(shared, held.num_rows() - shared)));
            }
        }
    }
}
