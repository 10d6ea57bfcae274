//! The state: memtables and version as one immutable value, swapped whole. A reader that holds one
//! sees the same rows for ever. Every transition is a pure function from one state to the next.
//! Invariant: pending rows (from the WAL) carry stamps above the head's timestamp (PROTOCOL W2).

use crate::{
    data::rows::Rows,
    error::Result,
    log::{
        edit::TableId,
        version::{LiveFile, TableEntry, Version},
    },
    memtable::Memtable,
    merge::Keep,
    wal::SessionId,
};
use std::{collections::BTreeMap, sync::Arc};

/// Rows of one table in memory that go to sstables together.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Rows acknowledged in the WAL and not yet in the log.
    pub pending: Memtable,
    /// Rows of log records that no flush has moved yet.
    pub inline: Memtable,
}

impl Memory {
    fn empty() -> Self {
        Self {
            pending: Memtable::new(Keep::Newest),
            inline: Memtable::new(Keep::Versions {
                watermark: i64::MIN,
            }),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.pending.bytes() + self.inline.bytes()
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.inline.is_empty()
    }
}

/// One table in a state.
#[derive(Clone, Debug)]
pub struct TableState {
    /// Its number.
    pub id: TableId,
    /// Name and schema.
    pub entry: TableEntry,
    /// Where commits go.
    pub active: Memory,
    /// Sealed memtables by generation, oldest first: no more rows go in, a flush moves them.
    pub sealed: Vec<(u64, Arc<Memory>)>,
    /// Live sstables.
    pub files: Arc<Vec<LiveFile>>,
}

impl TableState {
    /// All memtables, oldest first.
    pub fn memories(&self) -> impl DoubleEndedIterator<Item = &Memory> {
        self.sealed
            .iter()
            .map(|(_, m)| m.as_ref())
            .chain(std::iter::once(&self.active))
    }
}

/// What a seal closed: a flush of it may raise these floors.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Counts up.
    pub generation: u64,
    /// The last frame of each session in it or before it.
    pub wal_floors: BTreeMap<SessionId, u64>,
    /// Inline rows up to this record are in it or before it.
    pub inline_to: u64,
}

/// One read view.
#[derive(Clone, Debug)]
pub struct State {
    /// What the log says.
    pub version: Arc<Version>,
    /// Tables by number.
    pub tables: BTreeMap<TableId, Arc<TableState>>,
    /// Seals that no flush has moved yet, oldest first.
    pub seals: Vec<Seal>,
    /// The last frame of each session that has pending rows here.
    pub wal_positions: BTreeMap<SessionId, u64>,
    /// The greatest timestamp given out or read.
    pub last_stamp: i64,
    next_generation: u64,
}

impl State {
    /// A state without rows in memory.
    pub fn new(version: Arc<Version>) -> Self {
        let mut state = Self {
            last_stamp: version.head.ts,
            version: version.clone(),
            tables: BTreeMap::new(),
            seals: Vec::new(),
            wal_positions: BTreeMap::new(),
            next_generation: 1,
        };
        state.adopt(version);
        state
    }

    /// Takes catalog and files from a version; memtables of tables that stay are kept.
    fn adopt(&mut self, version: Arc<Version>) {
        let mut tables = BTreeMap::new();
        for (id, entry) in &version.tables {
            let files = version.files_of(*id);
            let table = match self.tables.get(id) {
                Some(old) => TableState {
                    entry: entry.clone(),
                    files,
                    ..old.as_ref().clone()
                },
                None => TableState {
                    id: *id,
                    entry: entry.clone(),
                    active: Memory::empty(),
                    sealed: Vec::new(),
                    files,
                },
            };
            tables.insert(*id, Arc::new(table));
        }
        self.tables = tables;
        self.last_stamp = self.last_stamp.max(version.head.ts);
        self.version = version;
    }

    fn change(
        &mut self,
        table: TableId,
        f: impl FnOnce(&mut TableState) -> Result<()>,
    ) -> Result<()> {
        // Rows of a table that was dropped meanwhile die with it (PROTOCOL C6).
        match self.tables.get_mut(&table) {
            Some(found) => f(Arc::make_mut(found)),
            None => Ok(()),
        }
    }

    /// After a WAL commit: its rows are pending. `rows` are in commit order.
    pub fn with_pending(
        &self,
        rows: Vec<(TableId, Rows)>,
        session: SessionId,
        frame: u64,
        stamp: i64,
    ) -> Result<State> {
        let mut next = self.clone();
        for (table, rows) in rows {
            next.change(table, |t| {
                t.active.pending = t.active.pending.with(rows);
                Ok(())
            })?;
        }
        next.wal_positions.insert(session, frame);
        next.last_stamp = next.last_stamp.max(stamp);
        Ok(next)
    }

    /// After a log record: its version, and the rows it carries inline.
    pub fn with_record(
        &self,
        version: Arc<Version>,
        inline: Vec<(TableId, Rows)>,
    ) -> Result<State> {
        let mut next = self.clone();
        next.adopt(version);
        for (table, rows) in inline {
            next.change(table, |t| {
                t.active.inline = t.active.inline.with(rows);
                Ok(())
            })?;
        }
        next.raise_pending()?;
        Ok(next)
    }

    /// Closes the active memtables; the same state if they are empty.
    pub fn sealed(&self) -> State {
        if self.tables.values().all(|t| t.active.is_empty()) {
            return self.clone();
        }
        let mut next = self.clone();
        let generation = next.next_generation;
        next.next_generation += 1;
        for table in next.tables.values_mut() {
            if !table.active.is_empty() {
                let table = Arc::make_mut(table);
                let memory = std::mem::replace(&mut table.active, Memory::empty());
                table.sealed.push((generation, Arc::new(memory)));
            }
        }
        next.seals.push(Seal {
            generation,
            wal_floors: next.wal_positions.clone(),
            inline_to: next.version.head.seq,
        });
        next
    }

    /// After the record of a flush: the seals up to `generation` leave memory and their rows are in
    /// the version's sstables, in one swap (DESIGN promise 14).
    pub fn flushed(&self, generation: u64, version: Arc<Version>) -> Result<State> {
        let mut next = self.clone();
        next.adopt(version);
        for table in next.tables.values_mut() {
            if table.sealed.iter().any(|(g, _)| *g <= generation) {
                Arc::make_mut(table).sealed.retain(|(g, _)| *g > generation);
            }
        }
        next.seals.retain(|s| s.generation > generation);
        next.wal_positions
            .retain(|s, frame| *frame > next.version.wal_floor(s));
        next.raise_pending()?;
        Ok(next)
    }

    /// Pending rows sort after the head: if a record overtook their stamps, all move up together.
    fn raise_pending(&mut self) -> Result<()> {
        let head = self.version.head.ts;
        let lowest = (self.tables.values())
            .flat_map(|t| t.memories().filter_map(|m| m.pending.lowest_stamp()))
            .min();
        let Some(shift) = lowest.filter(|l| *l <= head).map(|l| head + 1 - l) else {
            return Ok(());
        };
        for table in self.tables.values_mut() {
            let table = Arc::make_mut(table);
            table.active.pending = table.active.pending.shifted(shift);
            for (_, memory) in &mut table.sealed {
                let pending = memory.pending.shifted(shift);
                *memory = Arc::new(Memory {
                    pending,
                    inline: memory.inline.clone(),
                });
            }
        }
        self.last_stamp = self.last_stamp.max(head) + shift;
        Ok(())
    }

    /// Bytes of all memtables.
    pub fn memory_bytes(&self) -> usize {
        self.tables
            .values()
            .flat_map(|t| t.memories().map(Memory::bytes))
            .sum()
    }

    /// Bytes, rows and batches of the active memtables.
    pub fn active_size(&self) -> (usize, usize, usize) {
        let mut size = (0, 0, 0);
        for memory in self.tables.values().map(|t| &t.active) {
            size.0 += memory.bytes();
            size.1 += memory.pending.rows() + memory.inline.rows();
            size.2 += memory.pending.batches() + memory.inline.batches();
        }
        size
    }

    /// Pending rows and their bytes: the backlog that only this device has.
    pub fn backlog(&self) -> (usize, usize) {
        let pending = self
            .tables
            .values()
            .flat_map(|t| t.memories().map(|m| &m.pending));
        pending.fold((0, 0), |(rows, bytes), m| {
            (rows + m.rows(), bytes + m.bytes())
        })
    }
}
