//! A scan of one sstable. Invariants: every row of the range comes exactly once, or, if asked as of a time,
//! the version of each key that is seen then; memory is bounded by a batch, the pages it lies in, the
//! requests these lie in and one request ahead.

use super::{SstableReader, cut::Cut, is_missing, visible::Visible};
use crate::{
    data::{bound::Bound, key::KeyRange, predicate::BoundPredicate, rows::Rows},
    error::{Error, ErrorKind, Result},
    sstable::{
        columns::Projection,
        fetch::{Fetcher, Limits},
        index::GroupRows,
        prune,
    },
};
use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use std::{collections::VecDeque, ops::Range};

/// Who may stop early reads at least so much at first.
const FIRST_BYTES: u64 = 64 * 1024;

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
    /// Most rows and bytes of a batch. Bytes are judged by page: where rows of one page differ, a batch
    /// may have as many as the page.
    pub bound: Bound,
    /// Of each key only the newest version at or below this comes; all versions if `None`.
    pub as_of: Option<i64>,
    /// About so many rows will be taken: requests begin small and grow. All will if `None`.
    pub first_rows: Option<u64>,
    /// No request is larger than this, nor than `Options::read_bytes`; up to three are held.
    pub read_bytes: u64,
}

/// Rows of one row group that are fetched together.
struct Piece {
    rows: GroupRows,
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
    bound: Bound,
    reverse: bool,
    pieces: VecDeque<Piece>,
    /// What is not yet decoded of a piece that is fetched, and its bytes.
    cuts: VecDeque<Cut>,
    ranges: Vec<Range<u64>>,
    /// Forward: the cut being decoded.
    current: Option<ParquetRecordBatchReader>,
    /// In reverse: decoded batches of the current cut, the next one last.
    decoded: Vec<RecordBatch>,
    visible: Option<Visible>,
    ended: bool,
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
            if let Some(rows) = running.visible.as_mut().and_then(Visible::pop) {
                return Ok(Some(rows));
            }
            let decoded = match running.reverse {
                _ if running.ended => return Ok(None),
                false => running.forward(&self.reader).await?,
                true => running.backward(&self.reader).await?,
            };
            let Some(decoded) = decoded else {
                running.ended = true;
                running.visible.as_mut().map(Visible::end);
                continue;
            };
            let rows = running.projection.rows(&decoded)?;
            let wanted = self.request.range.rows_of(&rows.keys);
            let rows = match wanted.len() {
                0 => continue,
                n if n == rows.len() => rows,
                n => rows.slice(wanted.start, n),
            };
            match &mut running.visible {
                None => return Ok(Some(rows)),
                Some(visible) => visible.push(rows)?,
            }
        }
    }

    fn plan(&self) -> Result<Running> {
        let (inner, request) = (&self.reader.inner, &self.request);
        let projection = self.reader.projection(&request.columns)?;
        let mut groups = self.groups();
        if request.reverse {
            groups.reverse();
        }
        let cutter = inner.cutter(&projection, request.reverse);
        let mut limits = Limits {
            read_bytes: (self.reader.limits.read_bytes)
                .min(request.read_bytes)
                .max(super::MIN_READ_BYTES),
            ..self.reader.limits
        };
        if let (Some(rows), Some(group)) = (request.first_rows, groups.first()) {
            let (fetched, _) = cutter.row_bytes(group.row_group);
            // Twice the average: rows differ.
            let first = (2.0 * fetched * rows as f64) as u64;
            limits.first_bytes = first.max(FIRST_BYTES).max(limits.gap);
        }
        let mut all: u64 = 0;
        let mut most = || {
            let size = all.max(limits.first_bytes).min(limits.read_bytes);
            all = all.saturating_add(size);
            size
        };
        let mut pieces = VecDeque::new();
        for rows in groups
            .into_iter()
            .flat_map(|group| cutter.pieces(group, &mut most))
        {
            let (_, ranges) = inner.plan(&rows, &projection.mask, 1)?;
            pieces.push_back(Piece { rows, ranges });
        }
        let fetcher = Fetcher::new(
            inner.storage.clone(),
            inner.object.clone(),
            limits,
            pieces.iter().map(|p| p.ranges.as_slice()),
        );
        let multi_version = inner.meta.multi_version;
        let visible = |as_of| Visible::new(as_of, request.reverse, multi_version);
        Ok(Running {
            projection,
            fetcher,
            bound: request.bound,
            reverse: request.reverse,
            pieces,
            cuts: VecDeque::new(),
            ranges: Vec::new(),
            current: None,
            decoded: Vec::new(),
            visible: request.as_of.map(visible),
            ended: false,
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
}

impl Running {
    /// Opens what is decoded next, and fetches it if need be.
    async fn open(&mut self, reader: &SstableReader) -> Result<Option<ParquetRecordBatchReader>> {
        let inner = &reader.inner;
        loop {
            if let Some(cut) = self.cuts.pop_front() {
                let mask = &self.projection.mask;
                let (decoder, ranges) = inner.plan(&cut.rows, mask, cut.batch_rows)?;
                let opened = inner.feed(decoder, ranges, &self.fetcher)?;
                if self.cuts.is_empty() {
                    self.fetcher.release(&std::mem::take(&mut self.ranges));
                }
                return Ok(Some(opened));
            }
            let Some(front) = self.pieces.front() else {
                return Ok(None);
            };
            self.fetcher.need(&front.ranges).await?;
            if let Some(piece) = self.pieces.pop_front() {
                let cutter = inner.cutter(&self.projection, self.reverse);
                self.cuts = cutter.cuts(&piece.rows, self.bound).into();
                self.ranges = piece.ranges;
            }
        }
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
}
