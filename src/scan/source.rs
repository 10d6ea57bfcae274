//! One file below a scan. Invariants: it is opened when its first rows are asked for; where memory is short
//! it is closed again between two batches and goes on after the last key, so that of many files no more is
//! held than the rows that wait.

use super::readers::Readers;
use crate::{
    data::rows::Rows,
    error::Result,
    log::version::LiveFile,
    sstable::read::{ScanRequest, SstableScan},
    state::TableState,
};
use std::{ops::Bound::Excluded, sync::Arc};

/// A file being read.
pub(super) struct FileSource {
    table: Arc<TableState>,
    readers: Arc<Readers>,
    file: LiveFile,
    request: ScanRequest,
    /// Whether it stays open between batches.
    stays: bool,
    ended: bool,
    scan: Option<SstableScan>,
}

impl FileSource {
    /// Reads nothing yet.
    pub(super) fn new(
        table: Arc<TableState>,
        readers: Arc<Readers>,
        file: LiveFile,
        request: ScanRequest,
        stays: bool,
    ) -> Self {
        Self {
            table,
            readers,
            file,
            request,
            stays,
            ended: false,
            scan: None,
        }
    }

    /// The key before which (in reverse: after which) it has none.
    pub(super) fn first_key(&self) -> &[u8] {
        match self.request.reverse {
            false => &self.file.meta.min_key,
            true => &self.file.meta.max_key,
        }
    }

    /// Whether it may have rows up to `key`, in the order of reading.
    pub(super) fn begins_by(&self, key: &[u8]) -> bool {
        match self.request.reverse {
            false => self.first_key() <= key,
            true => self.first_key() >= key,
        }
    }

    /// The key after which (in reverse: before which) it has none.
    pub(super) fn last_key(&self) -> &[u8] {
        match self.request.reverse {
            false => &self.file.meta.max_key,
            true => &self.file.meta.min_key,
        }
    }

    /// All versions of a key, whatever was read so far. Of a large block no more than `span` bytes are
    /// fetched that are not needed.
    pub(super) async fn row(
        &mut self,
        key: &[u8],
        columns: &[usize],
        span: u64,
    ) -> Result<Option<Rows>> {
        let entry = &self.table.entry;
        let reader = (self.readers)
            .open(
                self.table.id,
                &entry.schema,
                entry.schema_version,
                &self.file,
            )
            .await?;
        reader.get_within(key, columns, span).await
    }

    /// Its next batch; `None` at the end. A call that fails, or is dropped, may be made again.
    pub(super) async fn next(&mut self) -> Result<Option<Rows>> {
        if self.ended {
            return Ok(None);
        }
        let scan = match &mut self.scan {
            Some(scan) => scan,
            None => {
                let entry = &self.table.entry;
                let reader = (self.readers)
                    .open(
                        self.table.id,
                        &entry.schema,
                        entry.schema_version,
                        &self.file,
                    )
                    .await?;
                self.scan.insert(reader.scan(self.request.clone()))
            }
        };
        let rows = scan.next().await?;
        if rows.is_none() {
            // What it knows of the file may be more than its rows were.
            (self.ended, self.scan) = (true, None);
        }
        let last = rows.as_ref().and_then(|rows| {
            let row = if self.request.reverse {
                0
            } else {
                rows.len().checked_sub(1)?
            };
            Some(rows.keys.get(row))
        });
        if let (Some(key), false) = (last, self.stays) {
            let range = &mut self.request.range;
            match self.request.reverse {
                false => range.start = Excluded(key.to_vec()),
                true => range.end = Excluded(key.to_vec()),
            }
            self.scan = None;
        }
        Ok(rows)
    }
}
