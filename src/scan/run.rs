//! Runs a planned scan: feeds the merge, filters after it, projects, limits. It holds the state it
//! was planned on, so what it sees never changes.

use super::{
    plan::{Group, Plan, ScanRequest, batch_rows_for, counted_without_reading, plan, project},
    readers::Readers,
};
use crate::{
    data::rows::{Rows, Tombstones},
    error::{Error, Result},
    merge::{Keep, Merge, Step, concat_rows},
    sstable::read::{ScanRequest as FileRequest, SstableScan},
    state::TableState,
};
use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::{concat::concat_batches, filter::filter_record_batch};
use std::{collections::VecDeque, sync::Arc};

/// However many files are merged, each is read in pieces of at least this, in bytes.
const MIN_READ_BYTES: u64 = 256 * 1024;

/// A running scan.
pub struct ScanRun {
    table: Arc<TableState>,
    readers: Arc<Readers>,
    request: ScanRequest,
    plan: Plan,
    groups: VecDeque<Group>,
    current: Option<Current>,
    left: u64,
    schema: SchemaRef,
    /// Filtered rows not yet given out: small pieces are put together.
    held: Vec<RecordBatch>,
    held_rows: usize,
}

enum Current {
    Direct(SstableScan),
    Merged {
        merge: Merge,
        sources: Vec<Option<FileSource>>,
    },
}

/// A file below the merge. The merge wants the versions of a key in one batch; a file may split
/// them, so the last key of a batch is held back until the next shows that it ended.
struct FileSource {
    scan: SstableScan,
    glue: bool,
    held: Option<Rows>,
}

impl ScanRun {
    /// Plans the scan; reads nothing yet.
    pub fn new(
        table: Arc<TableState>,
        readers: Arc<Readers>,
        request: ScanRequest,
    ) -> Result<Self> {
        let mut plan = plan(&table, &request)?;
        let groups = std::mem::take(&mut plan.groups).into();
        let stored = table.entry.schema.storage();
        let fields: Vec<_> = request
            .columns
            .iter()
            .map(|&i| stored.fields()[i].clone())
            .collect();
        Ok(Self {
            left: request.limit.unwrap_or(u64::MAX),
            schema: Arc::new(Schema::new(fields)),
            table,
            readers,
            request,
            plan,
            groups,
            current: None,
            held: Vec::new(),
            held_rows: 0,
        })
    }

    /// The schema of the batches, in storage types.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch, never empty; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let enough = (self.request.batch_rows / 4).max(1);
        while self.left > 0 && self.held_rows < enough {
            let wanted = (self.left.min(self.request.batch_rows as u64)) as usize;
            if self.held_rows as u64 >= self.left {
                break;
            }
            let Some(batch) = self.next_filtered(wanted).await? else {
                break;
            };
            self.held_rows += batch.num_rows();
            self.held.push(batch);
        }
        self.give()
    }

    /// The same scan from its start, giving out no columns.
    pub fn without_columns(self) -> Result<Self> {
        let request = ScanRequest {
            columns: Vec::new(),
            ..self.request
        };
        Self::new(self.table, self.readers, request)
    }

    /// The number of rows of the result.
    pub async fn count(mut self) -> Result<u64> {
        let mut count = 0;
        let mut rest = VecDeque::new();
        while let Some(group) = self.groups.pop_front() {
            match counted_without_reading(&group, &self.plan, &self.request) {
                Some(rows) => count += rows,
                None => rest.push_back(group),
            }
        }
        self.groups = rest;
        let limit = std::mem::replace(&mut self.left, u64::MAX);
        while count < limit
            && let Some(batch) = self.next_filtered(self.request.batch_rows).await?
        {
            count += batch.num_rows() as u64;
        }
        Ok(count.min(limit))
    }

    fn give(&mut self) -> Result<Option<RecordBatch>> {
        if self.held_rows == 0 || self.left == 0 {
            return Ok(None);
        }
        let whole = match std::mem::take(&mut self.held).as_slice() {
            [only] => only.clone(),
            many => concat_batches(&self.schema, many).map_err(|e| {
                Error::unsupported(format!("batches of the result do not fit into one: {e}"))
            })?,
        };
        // A file may give more at once, and held rows may add up to more, than a batch takes.
        let most = (self.request.batch_rows as u64).min(self.left) as usize;
        let given = whole.slice(0, most.min(whole.num_rows()));
        self.left -= given.num_rows() as u64;
        self.held_rows = whole.num_rows() - given.num_rows();
        if self.held_rows > 0 {
            self.held
                .push(whole.slice(given.num_rows(), self.held_rows));
        }
        Ok(Some(given))
    }

    /// One merged and filtered batch, projected to the result; never empty.
    async fn next_filtered(&mut self, wanted: usize) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.next_merged(wanted).await? {
            let batch = match &self.request.filter {
                None => batch,
                Some(filter) => {
                    let mask = filter.evaluate(&batch, &self.plan.read)?;
                    if mask.count_set_bits() == batch.num_rows() {
                        batch
                    } else {
                        filter_record_batch(&batch, &BooleanArray::new(mask, None))
                            .map_err(|e| Error::internal(format!("filtering failed: {e}")))?
                    }
                }
            };
            if batch.num_rows() > 0 {
                return self.to_result(&batch).map(Some);
            }
        }
        Ok(None)
    }

    fn to_result(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let positions: Vec<usize> = (self.request.columns.iter())
            .filter_map(|c| self.plan.read.iter().position(|r| r == c))
            .collect();
        let projected = project(batch, &positions)?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(
            self.schema.clone(),
            projected.columns().to_vec(),
            &options,
        )
        .map_err(|e| Error::corrupt(format!("stored rows do not fit the table's schema: {e}")))
    }

    async fn next_merged(&mut self, wanted: usize) -> Result<Option<RecordBatch>> {
        loop {
            if self.current.is_none() {
                // It leaves the queue once it is open: until then the call may fail, or be dropped.
                let Some(group) = self.groups.front().cloned() else {
                    return Ok(None);
                };
                self.current = Some(self.start(group).await?);
                self.groups.pop_front();
            }
            let batch = match &mut self.current {
                Some(Current::Direct(scan)) => scan.next().await?.map(live_rows).transpose()?,
                Some(Current::Merged { merge, sources }) => {
                    // A filter may drop most rows: merging only as many as are wanted would crawl.
                    let limit = match self.request.filter {
                        Some(_) => self.request.batch_rows,
                        None => wanted.clamp(1, self.request.batch_rows),
                    };
                    step(merge, sources, limit).await?.map(|rows| rows.batch)
                }
                None => None,
            };
            match batch {
                Some(batch) => return Ok(Some(batch)),
                None => self.current = None,
            }
        }
    }

    /// `&mut`: a scan may be moved between threads while it reads, but not shared.
    async fn start(&mut self, group: Group) -> Result<Current> {
        let schema = &self.table.entry.schema;
        let version = self.table.entry.schema_version;
        match group {
            Group::File(file) if !self.request.reverse && file.max_ts() <= self.request.as_of => {
                let reader = self
                    .readers
                    .open(self.table.id, schema, version, &file)
                    .await?;
                let mut request = self.file_request(&file);
                request.prune = self.request.filter.clone();
                Ok(Current::Direct(reader.scan(request)))
            }
            Group::File(file) => self.start_merge(Vec::new(), vec![file], true).await,
            Group::Merge { rows, files } => self.start_merge(rows, files, false).await,
        }
    }

    fn file_request(&self, file: &crate::log::version::LiveFile) -> FileRequest {
        let options = self.readers.options();
        FileRequest {
            columns: self.plan.read.clone(),
            range: self.plan.range.clone(),
            prune: None,
            reverse: self.request.reverse,
            batch_rows: batch_rows_for(file, self.request.batch_rows, options),
            as_of: Some(self.request.as_of),
        }
    }

    async fn start_merge(
        &mut self,
        rows: Vec<Rows>,
        files: Vec<crate::log::version::LiveFile>,
        alone: bool,
    ) -> Result<Current> {
        let schema = &self.table.entry.schema;
        let keep = Keep::Visible {
            as_of: self.request.as_of,
        };
        let count = rows.len() + files.len();
        let mut merge = Merge::new(count, keep, self.request.reverse, false);
        let mut sources: Vec<Option<FileSource>> = Vec::with_capacity(count);
        // Each open file reads ahead: together they stay within what one may.
        let share = self.readers.options().read_bytes / files.len().max(1) as u64;
        let key_filter = self
            .request
            .filter
            .as_ref()
            .and_then(|f| f.key_only(schema));
        for file in files {
            let version = self.table.entry.schema_version;
            let reader = self
                .readers
                .open(self.table.id, schema, version, &file)
                .await?;
            let mut request = self.file_request(&file);
            request.prune = match alone {
                true => self.request.filter.clone(),
                // An sstable's bounds leave tombstones out: pruning by them, be it by keys, would
                // bring back the rows that they delete in other sources.
                false if file.meta.tombstones > 0 => None,
                false => key_filter.clone(),
            };
            let glue = file.meta.multi_version && !self.request.reverse;
            let reader = reader.with_read_bytes(share.max(MIN_READ_BYTES));
            sources.push(Some(FileSource {
                scan: reader.scan(request),
                glue,
                held: None,
            }));
        }
        for rows in rows {
            let source = sources.len();
            merge.feed(source, Some(rows));
            merge.feed(source, None);
            sources.push(None);
        }
        Ok(Current::Merged { merge, sources })
    }
}

/// Drives the merge to its next rows.
async fn step(
    merge: &mut Merge,
    sources: &mut [Option<FileSource>],
    limit: usize,
) -> Result<Option<Rows>> {
    loop {
        match merge.step(limit)? {
            Step::Rows(rows) => return Ok(Some(rows)),
            Step::Done => return Ok(None),
            Step::Need(source) => {
                let rows = match sources.get_mut(source).and_then(Option::as_mut) {
                    Some(file) => file.next().await?,
                    None => None,
                };
                merge.feed(source, rows);
            }
        }
    }
}

impl FileSource {
    async fn next(&mut self) -> Result<Option<Rows>> {
        if !self.glue {
            return self.scan.next().await;
        }
        loop {
            let Some(rows) = self.scan.next().await? else {
                return Ok(self.held.take());
            };
            let rows = match self.held.take() {
                Some(held) => concat_rows(&[held, rows])?,
                None => rows,
            };
            let Some(last) = rows.len().checked_sub(1) else {
                continue;
            };
            let ended = rows.keys.search(rows.keys.get(last));
            self.held = Some(rows.slice(ended, rows.len() - ended));
            if ended > 0 {
                return Ok(Some(rows.slice(0, ended)));
            }
        }
    }
}

/// The rows of a file that nothing overlaps: all but tombstones.
fn live_rows(rows: Rows) -> Result<RecordBatch> {
    match &rows.tombstones {
        Tombstones::None => Ok(rows.batch),
        Tombstones::All => Ok(rows.batch.slice(0, 0)),
        Tombstones::Some(bits) => {
            let live = BooleanArray::new(!bits, None);
            filter_record_batch(&rows.batch, &live)
                .map_err(|e| Error::internal(format!("dropping tombstones failed: {e}")))
        }
    }
}
