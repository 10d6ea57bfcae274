//! Runs a planned scan: feeds the merge, filters after it, projects, limits. It holds the state it was
//! planned on, so what it sees never changes. Invariants: what it reads with is reserved before; between two
//! calls it gives that back if others wait (or are about to), and goes on from its place in the next call.

use super::{
    held::{Held, Place},
    idle::{self, Call, Idle},
    late::{Late, Next},
    merged::{self, Merged, Merging},
    plan::{Group, Plan, ScanRequest, counted_without_reading, depth, plan, project},
    readers::Readers,
    room::{Allowed, too_much},
    source::FileSource,
};
use crate::{
    data::{
        bound::{Bound, batch_bytes},
        key::KeyRange,
        rows::{Rows, Tombstones},
    },
    env::Yields,
    error::{Error, Result},
    log::version::LiveFile,
    merge::Keep,
    sstable::read::ScanRequest as FileRequest,
    state::TableState,
};
use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use std::{ops::Bound::Excluded, sync::Arc};

/// So much for each file of a merge: a page of about 64 KiB, of half of what a scan has.
const WORTH_A_FILE: usize = 128 * 1024;
/// A file of a merge that has less than this is closed between two batches.
const LEAST_OPEN: usize = 128 * 1024;
/// Whatever the limit, so many rows are decoded at once: some may be tombstones.
const LEAST_ROWS: usize = 1024;
/// Rows of so few bytes may stay ready while others read: what is small nobody reserves.
const FEW_BYTES: usize = 64 * 1024;
/// Who filters cannot tell how many rows a limit takes: at least so many are read at first.
const FILTERED_ROWS: u64 = 4096;

/// A running scan.
pub struct ScanRun {
    table: Arc<TableState>,
    readers: Arc<Readers>,
    request: ScanRequest,
    plan: Plan,
    left: u64,
    schema: SchemaRef,
    place: Place,
    /// Less memory than this was too little.
    least: usize,
    /// Rows are too large to be merged.
    late: bool,
    idle: Arc<Idle<Running>>,
}

/// What a scan holds.
struct Running {
    bound: Bound,
    held: Held,
    reading: Option<Reading>,
}

/// What it reads with. Without it, it gives out the rows that are ready, and then begins anew.
struct Reading {
    allowed: Allowed,
    group: usize,
    current: Option<Current>,
}

impl idle::Held for Running {
    fn taken(self) -> (Option<Self>, Option<Self>) {
        if self.held.rows() == 0 || self.held.bytes() > FEW_BYTES {
            return (None, Some(self));
        }
        let gone = Running {
            bound: self.bound,
            held: Held::default(),
            reading: self.reading,
        };
        let ready = Running {
            bound: self.bound,
            held: self.held,
            reading: None,
        };
        (Some(ready), Some(gone))
    }
}

enum Current {
    Direct(FileSource),
    Merged(Merged),
    Late(Late),
}

/// What became of an attempt to read on.
enum Read {
    /// A piece, which may be empty.
    Piece,
    End,
    /// It takes this much memory.
    TooMuch(usize),
}

impl ScanRun {
    /// Plans the scan; reads nothing yet.
    pub fn new(
        table: Arc<TableState>,
        readers: Arc<Readers>,
        request: ScanRequest,
    ) -> Result<Self> {
        let plan = plan(&table, &request)?;
        let stored = table.entry.schema.storage();
        let fields: Vec<_> = request
            .columns
            .iter()
            .map(|&i| stored.fields()[i].clone())
            .collect();
        let idle = Idle::of(readers.room().budget());
        Ok(Self {
            left: request.limit.unwrap_or(u64::MAX),
            schema: Arc::new(Schema::new(fields)),
            table,
            readers,
            request,
            plan,
            place: Place::default(),
            least: 0,
            late: false,
            idle,
        })
    }

    /// The schema of the batches, in storage types.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch, never empty; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.left == 0 {
            self.idle.give_back();
            return Ok(None);
        }
        let mut call = Call::begin(&self.idle, self.readers.room().budget());
        loop {
            let running = match &mut call.held {
                Some(running) => running,
                None => call.begin_turn(self.enter().await?),
            };
            let held = &running.held;
            let enough = held.is_enough(running.bound) || held.rows() as u64 >= self.left;
            // Others wait: it may take a while until it reads again.
            let more = held.bytes() < FEW_BYTES / 2 && self.readers.room().budget().contended();
            let more = more && (held.rows() as u64) < self.left;
            let read = match running.reading.is_some() {
                false if held.rows() == 0 => {
                    call.held = None;
                    continue;
                }
                true if !enough || more => self.read(running).await?,
                _ => Read::End,
            };
            match read {
                Read::Piece => continue,
                Read::TooMuch(bytes) => {
                    call.held = None;
                    self.grow(bytes)?;
                }
                Read::End => {
                    let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                    let bound = Bound::new(running.bound.rows.min(most), running.bound.bytes);
                    let given = (running.held).give(&mut self.place, &self.schema, bound)?;
                    match &given {
                        Some(batch) => self.left -= batch.num_rows() as u64,
                        None => call.held = None,
                    }
                    return Ok(given);
                }
            }
        }
    }

    /// Lets go of all it has: there is nothing more.
    pub fn end(&mut self) {
        self.left = 0;
        self.idle.give_back();
        self.plan.groups.clear();
        self.table = Arc::new(self.table.without_rows());
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
        let groups = std::mem::take(&mut self.plan.groups);
        for group in groups {
            match counted_without_reading(&group, &self.plan, &self.request) {
                Some(rows) => count += rows,
                None => self.plan.groups.push(group),
            }
        }
        let limit = std::mem::replace(&mut self.left, u64::MAX);
        while count < limit
            && let Some(batch) = self.next().await?
        {
            count += batch.num_rows() as u64;
        }
        Ok(count.min(limit))
    }

    /// Waits for memory to go on from its place.
    async fn enter(&mut self) -> Result<Running> {
        let wanted = self.wanted_bytes();
        let room = self.readers.room();
        let allowed = room.enter(wanted, self.worth(), self.least).await?;
        Ok(Running {
            bound: allowed.batch(self.request.bound),
            held: Held::at(&self.place),
            reading: Some(Reading {
                group: self.place.group,
                current: None,
                allowed,
            }),
        })
    }

    /// What it would use if there were plenty.
    fn wanted_bytes(&self) -> usize {
        let options = self.readers.options();
        let read_bytes = usize::try_from(options.read_bytes).unwrap_or(usize::MAX);
        let batches = self.request.bound.bytes.saturating_mul(8);
        let full = batches.max(read_bytes.saturating_mul(6));
        let groups = self.plan.groups.iter().skip(self.place.group);
        let there = groups.map(|group| match group {
            Group::File(file) => self.file_bytes(file),
            Group::Merge { rows, files } => {
                let rows = rows.iter().map(|r| batch_bytes(&r.batch));
                let files = files.iter().map(|file| self.file_bytes(file));
                rows.chain(files).fold(0, usize::saturating_add)
            }
        });
        // A batch is a small part of it.
        let there = there.map(|bytes| bytes.saturating_mul(16));
        full.min(there.fold(LEAST_OPEN, usize::saturating_add))
    }

    /// With less than this a merge would read the same pages again and again, for a few rows of each file.
    fn worth(&self) -> usize {
        match self.plan.groups.get(self.place.group) {
            Some(Group::Merge { files, .. }) => depth(files).saturating_mul(WORTH_A_FILE),
            _ => 0,
        }
    }

    /// What the rows of a file take, about: values that repeat take little in it.
    fn file_bytes(&self, file: &LiveFile) -> usize {
        let values = file.meta.rows.saturating_mul(self.plan.read.len() as u64);
        let bytes = values.saturating_mul(16).saturating_add(file.meta.bytes);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// It was stopped for want of memory. With all there is it goes on, at last by keys alone, unless not
    /// even that is enough.
    fn grow(&mut self, bytes: usize) -> Result<()> {
        let most = self.readers.room().most();
        if self.late && self.least >= most {
            return Err(too_much("a scan", bytes, most));
        }
        if self.least >= most {
            self.begin_late(bytes);
        } else {
            self.least = self.least.max(bytes).saturating_mul(2).min(most);
        }
        Ok(())
    }

    /// From here on by keys alone: it takes a row or two at once, and some keys of each file.
    fn begin_late(&mut self, bytes: usize) {
        self.late = true;
        let files = self.plan.groups.iter().flat_map(|group| match group {
            Group::File(file) => std::slice::from_ref(file),
            Group::Merge { files, .. } => files,
        });
        let row = files.map(row_bytes).max().unwrap_or(0);
        let row = usize::try_from(row).unwrap_or(usize::MAX);
        let least = row.saturating_mul(8).max(bytes / 4);
        self.least = least.min(self.readers.room().most());
    }

    /// Reads the next piece.
    async fn read(&mut self, running: &mut Running) -> Result<Read> {
        let Some(reading) = &mut running.reading else {
            return Ok(Read::End);
        };
        if reading.current.is_none() {
            let Some(group) = self.plan.groups.get(reading.group).cloned() else {
                return Ok(Read::End);
            };
            reading.current = Some(self.start(group, running.bound, reading));
            return Ok(Read::Piece);
        }
        let (Some(current), allowed) = (&mut reading.current, &reading.allowed) else {
            return Ok(Read::End);
        };
        // Little is left for what a batch takes beside its rows: else a few of them would be cut off.
        let bound = running.bound;
        let bound = bound.within(bound.bytes - bound.bytes / 64);
        let (batch, after) = match current {
            Current::Direct(source) => match allowed.during(source.next()).await? {
                Some(rows) => {
                    let row = rows.len().saturating_sub(1);
                    let after = rows.keys.get(row).to_vec();
                    (Some(live_rows(rows)?), Some(after))
                }
                None => (None, None),
            },
            Current::Merged(merged) => {
                // A filter may drop most rows: merging only as many as are wanted would crawl.
                let wanted = match self.request.filter {
                    Some(_) => usize::MAX,
                    None => usize::try_from(self.left).unwrap_or(usize::MAX),
                };
                let bound = Bound::new(bound.rows.min(wanted), bound.bytes);
                match allowed.during(merged.next(bound)).await? {
                    Merging::Rows(rows) => (Some(rows.batch), Some(merged.last_key().to_vec())),
                    Merging::Done => (None, None),
                    Merging::TooMuch(bytes) => return Ok(Read::TooMuch(bytes)),
                }
            }
            Current::Late(late) => match allowed.during(late.next()).await? {
                Next::Row(row, key) => (Some(row), Some(key)),
                Next::Done => (None, None),
                Next::TooMuch(bytes) => return Ok(Read::TooMuch(bytes)),
            },
        };
        let batch = match batch {
            Some(batch) => self.filtered(batch)?,
            None => {
                reading.current = None;
                reading.group += 1;
                RecordBatch::new_empty(self.schema.clone())
            }
        };
        let most = reading.allowed.bytes() / 4;
        if self.least < self.readers.room().most() && batch_bytes(&batch) > most {
            // Rows larger than was thought: with more memory it is read again.
            return Ok(Read::TooMuch(batch_bytes(&batch).saturating_mul(4)));
        }
        let (place, group) = (&mut self.place, reading.group);
        running.held.push(place, batch, group, after);
        Ok(Read::Piece)
    }

    /// Rows that the filter is true for, projected to the result.
    fn filtered(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let Some(filter) = &self.request.filter else {
            return self.to_result(&batch);
        };
        let mask = filter.evaluate(&batch, &self.plan.read)?;
        if mask.count_set_bits() == batch.num_rows() {
            return self.to_result(&batch);
        }
        // What only the filter wanted is not copied.
        filter_record_batch(&self.to_result(&batch)?, &BooleanArray::new(mask, None))
            .map_err(|e| Error::internal(format!("filtering failed: {e}")))
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

    /// Goes into a group; reads nothing yet.
    fn start(&self, group: Group, bound: Bound, reading: &Reading) -> Current {
        let range = self.range_left(reading);
        let (rows, mut files) = match group {
            Group::File(file) if !self.request.reverse => {
                let mut request = self.file_request(&file, &range, bound, reading);
                request.prune = self.request.filter.clone();
                request.read_bytes = reading.allowed.read_bytes();
                return Current::Direct(self.source(file, request, true));
            }
            Group::File(file) => {
                return self.merged(Vec::new(), vec![file], true, range, bound, reading);
            }
            Group::Merge { rows, files } => (rows, files),
        };
        files.retain(|file| file.meta.overlaps(&range));
        let left = |rows: &Rows| {
            let part = range.rows_of(&rows.keys);
            (!part.is_empty()).then(|| rows.slice(part.start, part.len()))
        };
        let rows = rows.iter().filter_map(left).collect();
        self.merged(rows, files, false, range, bound, reading)
    }

    /// What is left of the range in the group that is being read.
    fn range_left(&self, reading: &Reading) -> KeyRange {
        let mut range = self.plan.range.clone();
        if self.place.group == reading.group
            && let Some(key) = self.place.after.clone()
        {
            match self.request.reverse {
                false => range.start = Excluded(key),
                true => range.end = Excluded(key),
            }
        }
        range
    }

    fn file_request(
        &self,
        file: &LiveFile,
        range: &KeyRange,
        bound: Bound,
        reading: &Reading,
    ) -> FileRequest {
        let limit = self.request.limit.map(|_| match self.request.filter {
            None => self.left.saturating_add(self.place.given),
            Some(_) => self.left.max(FILTERED_ROWS),
        });
        // Others will have their turn after a batch.
        let of_a_batch = bound.bytes as u64 / (file.meta.bytes / file.meta.rows.max(1)).max(1);
        let first_rows = limit.or((!reading.allowed.alone()).then_some(of_a_batch));
        let mut bound = bound;
        if let (Some(rows), None) = (limit, &self.request.filter) {
            let rows = usize::try_from(rows).unwrap_or(usize::MAX);
            bound.rows = bound.rows.min(rows.max(LEAST_ROWS));
        }
        FileRequest {
            columns: self.plan.read.clone(),
            range: range.clone(),
            prune: None,
            reverse: self.request.reverse,
            bound,
            as_of: Some(self.request.as_of),
            first_rows,
            read_bytes: u64::MAX,
        }
    }

    fn source(&self, file: LiveFile, request: FileRequest, stays: bool) -> FileSource {
        FileSource::new(
            self.table.clone(),
            self.readers.clone(),
            file,
            request,
            stays,
        )
    }

    /// A merge of files and parts of memtables. `alone`: of one file, to turn it around.
    fn merged(
        &self,
        rows: Vec<Rows>,
        files: Vec<LiveFile>,
        alone: bool,
        range: KeyRange,
        bound: Bound,
        reading: &Reading,
    ) -> Current {
        let (reverse, as_of) = (self.request.reverse, self.request.as_of);
        let filter = self.request.filter.as_ref();
        let key_filter = filter.and_then(|f| f.key_only(&self.table.entry.schema));
        let together = depth(&files).max(1);
        // Some are opened before they are needed; not for a limit.
        let most = match self.request.limit {
            Some(_) => together,
            None => (together * 2).min(files.len().max(1)),
        };
        let late = self.late || self.too_large(&files, together, reading);
        let footer = files.iter().map(|f| f.meta.footer_bytes).max().unwrap_or(0);
        let footer = usize::try_from(footer)
            .unwrap_or(usize::MAX)
            .saturating_mul(4);
        let sources = reading.allowed.sources();
        let stays = sources / most >= LEAST_OPEN.saturating_add(footer);
        let each = match stays {
            true => (sources / most).saturating_sub(footer),
            false => sources / 4 * 5 / together,
        };
        let part = |file: LiveFile| {
            let mut request = self.file_request(&file, &range, bound, reading);
            if late {
                request.columns = Vec::new();
            }
            request.prune = match alone {
                true => self.request.filter.clone(),
                // An sstable's bounds leave tombstones out: pruning by them, be it by keys, would
                // bring back the rows that they delete in other sources.
                false if file.meta.tombstones > 0 => None,
                false => key_filter.clone(),
            };
            (request.bound, request.read_bytes) = match stays {
                true => (request.bound.within(each / 4), (each / 5) as u64),
                // One at a time has the room of an eighth, and leaves the rows that wait.
                false => (
                    request.bound.within(each / 4 * 3),
                    (reading.allowed.bytes() / 24) as u64,
                ),
            };
            self.source(file, request, stays)
        };
        let files = files.into_iter().map(part).collect();
        let limits = merged::Limits {
            files: match self.request.limit {
                None if stays => most,
                _ => 0,
            },
            concurrency: match stays {
                true => self.readers.options().concurrency.max(1),
                false => 1,
            },
            told_apart: late,
            bytes: match self.least >= self.readers.room().most() {
                true => reading.allowed.bytes(),
                false => sources / 4 * 5,
            },
        };
        let keep = Keep::Visible { as_of };
        if !late {
            return Current::Merged(Merged::new(keep, reverse, files, rows, &limits));
        }
        let span = (reading.allowed.bytes() / 8) as u64;
        let keys = Merged::new(keep, reverse, files, rows.clone(), &limits);
        Current::Late(Late::new(keys, rows, self.plan.read.clone(), span))
    }

    /// Whether not even one row of each file has room, with all memory there is.
    fn too_large(&self, files: &[LiveFile], together: usize, reading: &Reading) -> bool {
        let row = files.iter().map(row_bytes).max().unwrap_or(0);
        let rows = row.saturating_mul(together as u64);
        let all = reading.allowed.bytes() >= self.readers.room().most();
        all && rows > reading.allowed.sources() as u64 && together > 1
    }
}

/// What a row of a file takes there, on average.
pub(super) fn row_bytes(file: &LiveFile) -> u64 {
    file.meta.bytes / file.meta.rows.max(1)
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
