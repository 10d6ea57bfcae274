//! Opens sstables and keeps the open ones: a warm point read must not fetch a footer again. Invariants: what
//! is kept is bounded in bytes; a file that is used again and again is not put out by others that are too
//! large to be kept beside it; who opens a file that is being opened gets the same one, unless calls may not
//! wait for each other.

use super::room::Room;
use crate::{
    data::{bound::Bound, key::KeyRange, schema::TableSchema},
    env::{Budget, Storage},
    error::Result,
    log::{edit::TableId, version::LiveFile},
    options::Options,
    sstable::{
        meta::Ulid,
        read::{ScanRequest, SstableReader},
    },
    state::TableState,
};
use async_lock::Mutex as Turn;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// More keys than this are not looked up one by one: the keys of the whole sstable are read.
const MAX_LOOKS: usize = 32;

/// An sstable as the table of one schema version sees it.
type Name = (Ulid, u32);

/// Open sstables.
#[derive(Debug)]
pub struct Readers {
    storage: Arc<dyn Storage>,
    options: Options,
    room: Arc<Room>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    kept: HashMap<Name, Kept>,
    /// In use somewhere, kept or not.
    used: HashMap<Name, Weak<SstableReader>>,
    /// One opens, others wait.
    opening: HashMap<Name, Weak<Turn<()>>>,
    clock: u64,
}

#[derive(Debug)]
struct Kept {
    reader: Arc<SstableReader>,
    used: u64,
    /// It was used since it was last to make room.
    wanted: bool,
}

impl Readers {
    /// None open yet. What is held in memory comes out of `memory`.
    pub fn new(storage: Arc<dyn Storage>, options: Options, memory: Budget) -> Self {
        Self {
            storage,
            options,
            room: Arc::new(Room::new(memory)),
            open: Mutex::default(),
        }
    }

    /// The options files are read with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
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
        let turn = self.options.detached_tasks.then(|| self.turn(name));
        let _first = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if turn.is_some()
            && let Some(found) = self.find(name)
        {
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
        self.lock().keep(name, &reader, self.room.cache_bytes());
        Ok(reader)
    }

    fn turn(&self, name: Name) -> Arc<Turn<()>> {
        let mut open = self.lock();
        if let Some(turn) = open.opening.get(&name).and_then(Weak::upgrade) {
            return turn;
        }
        open.opening.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        open.opening.insert(name, Arc::downgrade(&turn));
        turn
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
        let memory = self.room.enter(self.room.most(), 0, 0).await?;
        let bytes = memory.bytes();
        let mut scan = reader.scan(ScanRequest {
            columns: Vec::new(),
            range: span,
            prune: None,
            reverse: false,
            bound: Bound::new(self.options.batch_rows, bytes / 8),
            as_of: None,
            first_rows: None,
            read_bytes: (bytes / 6) as u64,
        });
        while let Some(rows) = memory.during(scan.next()).await? {
            if ranges
                .iter()
                .any(|range| !range.rows_of(&rows.keys).is_empty())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an sstable is open and kept so.
    pub(super) fn keeps(&self, file: &LiveFile, schema_version: u32) -> bool {
        let open = self.lock();
        open.kept.contains_key(&(file.meta.id, schema_version))
    }

    fn find(&self, name: Name) -> Option<Arc<SstableReader>> {
        let mut open = self.lock();
        open.clock += 1;
        let clock = open.clock;
        if let Some(kept) = open.kept.get_mut(&name) {
            (kept.used, kept.wanted) = (clock, true);
            return Some(kept.reader.clone());
        }
        open.used.get(&name).and_then(Weak::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Keeps a reader if there is room: what was not used since it was last asked for room makes way, what
    /// was used stays this time.
    fn keep(&mut self, name: Name, reader: &Arc<SstableReader>, most: usize) {
        if self.used.len() >= 64 && self.used.len().is_power_of_two() {
            self.used.retain(|_, used| used.strong_count() > 0);
        }
        self.used.insert(name, Arc::downgrade(reader));
        // A reader grows when it fetches its bloom filter, so sizes are asked for each time.
        let size = reader.memory_bytes();
        if size > most {
            return;
        }
        while self.bytes().saturating_add(size) > most {
            let oldest = self.kept.iter_mut().min_by_key(|(_, kept)| kept.used);
            let Some((&oldest, kept)) = oldest else {
                return;
            };
            if std::mem::take(&mut kept.wanted) {
                return;
            }
            self.kept.remove(&oldest);
        }
        self.clock += 1;
        let kept = Kept {
            reader: reader.clone(),
            used: self.clock,
            wanted: true,
        };
        self.kept.insert(name, kept);
    }

    fn bytes(&self) -> usize {
        let kept = self.kept.values();
        kept.map(|kept| kept.reader.memory_bytes()).sum()
    }
}
