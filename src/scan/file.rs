//! All rows of one file whose keys have one version each, tombstones too: what a change feed gives of it.
//! Between two calls it holds nothing that others wait for.

use super::{
    idle::{self, Call, Idle},
    readers::Readers,
    room::Allowed,
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

/// A file being read to its end.
pub struct FileScan {
    table: Arc<TableState>,
    readers: Arc<Readers>,
    file: LiveFile,
    range: KeyRange,
    idle: Arc<Idle<(Allowed, FileSource)>>,
}

impl idle::Held for (Allowed, FileSource) {
    fn taken(self) -> (Option<Self>, Option<Self>) {
        (None, Some(self))
    }
}

impl FileScan {
    /// Reads nothing yet. Rows come in the layout that `table` has.
    pub fn new(table: Arc<TableState>, readers: Arc<Readers>, file: LiveFile) -> Self {
        let idle = Idle::of(readers.room().budget());
        Self {
            table,
            readers,
            file,
            range: KeyRange::all(),
            idle,
        }
    }

    /// The next rows, never empty; `None` at the end. A call that fails, or is dropped, may be made again.
    pub async fn next(&mut self) -> Result<Option<Rows>> {
        let room = self.readers.room().clone();
        let mut call = Call::begin(&self.idle, room.budget());
        let (_, source) = match &mut call.held {
            Some(held) => held,
            None => {
                let (options, bytes) = (self.readers.options(), self.file.meta.bytes);
                let full = options.batch_bytes.saturating_mul(8);
                let there = usize::try_from(bytes)
                    .unwrap_or(usize::MAX)
                    .saturating_mul(32);
                let least = room.most() / 16;
                let allowed = room.enter(full.min(there).max(least), 0).await?;
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
                let source = FileSource::new(table, readers, self.file.clone(), request, true);
                call.held.insert((allowed, source))
            }
        };
        let rows = source.next().await?;
        match &rows {
            Some(rows) => {
                let last = rows.keys.get(rows.len().saturating_sub(1));
                self.range.start = Excluded(last.to_vec());
            }
            None => call.held = None,
        }
        Ok(rows)
    }
}
