//! All rows of one file whose keys have one version each, tombstones too: what a change feed gives of it.
//! Between two calls it holds nothing that others wait for: what it has read ahead goes with the memory for it,
//! and is read again.

use super::{
    idle::{self, Call, Idle},
    readers::Readers,
    room::Allowed,
    run::row_bytes,
    source::FileSource,
};
use crate::{
    data::{bound::Bound, key::KeyRange, rows::Rows},
    error::Result,
    log::version::LiveFile,
    sstable::read::ScanRequest,
    state::TableState,
};
use std::{ops::Bound::Excluded, sync::Arc};

/// So many times a row's bytes it takes to read one after the other: requests, pages, two batches.
const ROWS_AT_ONCE: usize = 8;

/// A file being read to its end.
pub struct FileScan {
    table: Arc<TableState>,
    readers: Arc<Readers>,
    file: LiveFile,
    range: KeyRange,
    /// Less memory than this is too little.
    least: usize,
    ended: bool,
    idle: Arc<Idle<Reading>>,
}

/// What it reads with.
struct Reading {
    allowed: Allowed,
    source: FileSource,
    /// Rows to give out next.
    ahead: Option<Rows>,
}

impl idle::Held for Reading {
    fn taken(self) -> (Option<Self>, Option<Self>) {
        (None, Some(self))
    }
}

impl FileScan {
    /// Reads nothing yet. Rows come in the layout that `table` has.
    pub fn new(table: &TableState, readers: Arc<Readers>, file: LiveFile) -> Self {
        let room = readers.room();
        let idle = Idle::of(room.budget());
        let row = usize::try_from(row_bytes(&file)).unwrap_or(usize::MAX);
        let least = row.saturating_mul(ROWS_AT_ONCE).min(room.most());
        Self {
            // Its rows in memory are of no use here, and must not be kept for it.
            table: Arc::new(table.without_rows()),
            readers,
            file,
            range: KeyRange::all(),
            least,
            ended: false,
            idle,
        }
    }

    /// The next rows, never empty, and whether more follow; `None` at the end. A call that fails, or is
    /// dropped, may be made again.
    pub async fn next(&mut self) -> Result<Option<(Rows, bool)>> {
        if self.ended {
            return Ok(None);
        }
        let most = self.readers.room().most();
        let mut call = Call::begin(&self.idle, self.readers.room().budget());
        loop {
            let reading = match &mut call.held {
                Some(reading) => reading,
                None => call.begin_turn(self.enter().await?),
            };
            let Reading {
                allowed,
                source,
                ahead,
            } = reading;
            if ahead.is_none() {
                *ahead = allowed.during(source.next()).await?;
            }
            let bytes = ahead.as_ref().map_or(0, Rows::memory_bytes);
            if bytes > allowed.bytes() / 4 && self.least < most {
                // Rows larger than was thought: with more memory they are read again.
                let least = bytes.saturating_mul(ROWS_AT_ONCE);
                self.least = least.max(self.least.saturating_mul(2)).min(most);
                call.held = None;
                continue;
            }
            let following = match ahead {
                Some(_) => allowed.during(source.next()).await?,
                None => None,
            };
            let rows = std::mem::replace(ahead, following);
            let more = ahead.is_some();
            if !more {
                self.ended = true;
                call.held = None;
            }
            return Ok(rows.map(|rows| {
                let last = rows.keys.get(rows.len().saturating_sub(1));
                self.range.start = Excluded(last.to_vec());
                (rows, more)
            }));
        }
    }

    /// Waits for memory to go on.
    async fn enter(&self) -> Result<Reading> {
        let (options, bytes) = (self.readers.options(), self.file.meta.bytes);
        let room = self.readers.room();
        let full = options.batch_bytes.saturating_mul(8);
        let there = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .saturating_mul(32);
        let want = full.min(there).max(room.most() / 16);
        let allowed = room.enter(want, 0, self.least).await?;
        let wanted = Bound::new(options.batch_rows, options.batch_bytes);
        let request = ScanRequest {
            columns: (0..self.table.entry.schema.user().fields().len()).collect(),
            range: self.range.clone(),
            prune: None,
            reverse: false,
            bound: allowed.batch(wanted),
            as_of: None,
            first_rows: None,
            read_bytes: allowed.read_bytes(),
        };
        let (table, readers) = (self.table.clone(), self.readers.clone());
        Ok(Reading {
            source: FileSource::new(table, readers, self.file.clone(), request, true),
            allowed,
            ahead: None,
        })
    }
}
