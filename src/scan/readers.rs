//! Opens sstables and keeps the open ones: a warm point read must not fetch a footer again. Bounded;
//! the one unused for longest goes.

use crate::{
    data::{key::KeyRange, schema::TableSchema},
    env::Storage,
    error::Result,
    log::{edit::TableId, version::LiveFile},
    options::Options,
    sstable::{
        meta::Ulid,
        read::{ScanRequest, SstableReader},
    },
    state::TableState,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Most bytes of memory that open readers hold: indexes and bloom filters.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// More keys than this are not looked up one by one: the keys of the whole sstable are read.
const MAX_LOOKS: usize = 32;

/// Open sstables.
#[derive(Debug)]
pub struct Readers {
    storage: Arc<dyn Storage>,
    options: Options,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    readers: HashMap<(Ulid, u32), (u64, Arc<SstableReader>)>,
    clock: u64,
}

impl Readers {
    /// None open yet.
    pub fn new(storage: Arc<dyn Storage>, options: Options) -> Self {
        Self {
            storage,
            options,
            open: Mutex::default(),
        }
    }

    /// The options files are read with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// An open sstable; one GET if it is not open yet.
    pub async fn open(
        &self,
        table: TableId,
        schema: &Arc<TableSchema>,
        schema_version: u32,
        file: &LiveFile,
    ) -> Result<Arc<SstableReader>> {
        let name = (file.meta.id, schema_version);
        if let Some(found) = self.find(name) {
            return Ok(found);
        }
        let reader = SstableReader::open(
            self.storage.clone(),
            table,
            file.meta.clone(),
            schema.clone(),
            file.inherited(),
            &self.options,
        )
        .await?;
        let reader = Arc::new(reader);
        self.keep(name, reader.clone());
        Ok(reader)
    }

    /// Whether an sstable has a row, tombstones too, whose key is in one of `ranges`.
    pub async fn any_key(
        &self,
        table: &TableState,
        file: &LiveFile,
        ranges: Vec<KeyRange>,
    ) -> Result<bool> {
        let entry = &table.entry;
        let reader = self
            .open(table.id, &entry.schema, entry.schema_version, file)
            .await?;
        if ranges.len() > MAX_LOOKS {
            return self.any_row(&reader, KeyRange::all(), &ranges).await;
        }
        for range in ranges {
            let found = match range.single() {
                Some(key) => reader.get(key, &[]).await?.is_some(),
                None => {
                    let wanted = std::slice::from_ref(&range);
                    self.any_row(&reader, range.clone(), wanted).await?
                }
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the keys of `span` until one is in a range.
    async fn any_row(
        &self,
        reader: &SstableReader,
        span: KeyRange,
        ranges: &[KeyRange],
    ) -> Result<bool> {
        let mut scan = reader.scan(ScanRequest {
            columns: Vec::new(),
            range: span,
            prune: None,
            reverse: false,
            batch_rows: self.options.batch_rows,
            as_of: None,
        });
        while let Some(rows) = scan.next().await? {
            if ranges
                .iter()
                .any(|range| !range.rows_of(&rows.keys).is_empty())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn find(&self, name: (Ulid, u32)) -> Option<Arc<SstableReader>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let clock = open.clock;
        let (used, reader) = open.readers.get_mut(&name)?;
        *used = clock;
        Some(reader.clone())
    }

    fn keep(&self, name: (Ulid, u32), reader: Arc<SstableReader>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let clock = open.clock;
        open.readers.insert(name, (clock, reader));
        // A reader grows when it fetches its bloom filter, so sizes are asked for each time.
        while open.readers.len() > 1 && open.bytes() > MAX_BYTES {
            let oldest = open
                .readers
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(n, _)| *n);
            let Some(oldest) = oldest else { break };
            open.readers.remove(&oldest);
        }
    }
}

impl Open {
    fn bytes(&self) -> usize {
        self.readers
            .values()
            .map(|(_, reader)| reader.memory_bytes())
            .sum()
    }
}
