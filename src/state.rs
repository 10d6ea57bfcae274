//! The state: memtables and version as one immutable value, swapped whole. A reader that holds one
//! sees the same rows for ever. Every transition is a pure function from one state to the next.
//! Invariant: pending rows (from the WAL) carry stamps above the head's timestamp (PROTOCOL W2).

pub mod pending;
pub mod recent;

use crate::{
    data::{adapt::SchemaMap, rows::Rows, schema::TableSchema},
    env::{self, HeldRows},
    log::{
        catalog::TableEntry,
        edit::TableId,
        version::{LiveFile, Version},
    },
    memtable::Memtable,
    merge::Keep,
    wal::{Position, SessionId},
};
use pending::{Pending, PendingCommit, Raise};
use recent::{Recent, Touched};
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

    fn in_layout(&self, map: &Layout) -> Self {
        Self {
            pending: self.pending.with_each(&|rows| map.rows(rows)),
            inline: self.inline.with_each(&|rows| map.rows(rows)),
        }
    }
}

/// Brings rows of an older schema version into the layout of a newer one.
struct Layout(Option<SchemaMap>);

impl Layout {
    fn new(from: &TableSchema, to: &TableSchema) -> Self {
        Self(SchemaMap::new(from, to).ok())
    }

    /// A swap cannot fail, and neither can this, for the version has checked that the newer schema
    /// follows the older. Were it to, the rows would be left without columns: reading them fails, for
    /// ever and loudly, where rows of another layout might be read as something else.
    fn rows(&self, rows: &Rows) -> Rows {
        let mapped = self.0.as_ref().and_then(|map| map.rows(rows).ok());
        mapped.unwrap_or_else(|| rows.without_columns())
    }
}

/// Rows of one table, in the layout of one of its schema versions.
#[derive(Clone, Debug)]
pub struct TableRows {
    /// Their table.
    pub table: TableId,
    /// The schema version they were validated against.
    pub schema_version: u32,
    /// All storage columns of that.
    pub rows: Rows,
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

    /// The same table without rows and files: for who wants none of them, and must not keep them.
    pub fn without_rows(&self) -> Self {
        Self {
            id: self.id,
            entry: self.entry.clone(),
            active: Memory::empty(),
            sealed: Vec::new(),
            files: Arc::default(),
        }
    }

    /// The same memtables under another entry, in its layout.
    fn with_entry(&self, entry: &TableEntry) -> Self {
        let mut next = self.clone();
        next.entry = entry.clone();
        let (from, to) = (&self.entry.schema, &entry.schema);
        if Arc::ptr_eq(from, to) || from == to {
            return next;
        }
        let map = Layout::new(from, to);
        next.active = next.active.in_layout(&map);
        for (_, memory) in &mut next.sealed {
            *memory = Arc::new(memory.in_layout(&map));
        }
        next
    }

    /// Rows that were validated against an earlier schema version, in today's layout. Rows of a
    /// version that the table never had are left without columns.
    pub fn in_layout(&self, schema_version: u32, rows: Rows) -> Rows {
        if schema_version == self.entry.schema_version {
            return rows;
        }
        match self.entry.schema_at(schema_version) {
            Ok(from) => Layout::new(&from, &self.entry.schema).rows(&rows),
            Err(_) => rows.without_columns(),
        }
    }

    fn pending_rows(&self) -> u64 {
        self.memories().map(|m| m.pending.rows() as u64).sum()
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
    /// Commits of the WAL that the log does not have yet.
    pub pending: Pending,
    /// The newest timestamp here: that of the last pending commit, else of the head.
    pub last_stamp: i64,
    /// How often the log was not followed record by record but read anew: what was prepared for the
    /// version before may not fit.
    pub jumps: u64,
    /// What was committed lately, while a transaction is open.
    pub recent: Recent,
    /// Pending rows that died with their tables, dropped in the log (PROTOCOL C6): this device had
    /// acknowledged them, and nobody will read them.
    pub dropped_rows: u64,
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
            pending: Pending::default(),
            jumps: 0,
            recent: Recent::new(usize::MAX),
            dropped_rows: 0,
            next_generation: 1,
        };
        state.adopt(version);
        state
    }

    /// Takes catalog and files from a version; memtables of tables that stay are kept, in the layout
    /// of their schemas of now.
    fn adopt(&mut self, version: Arc<Version>) {
        let mut tables = BTreeMap::new();
        for (id, entry) in &version.tables {
            let files = version.files_of(*id);
            let table = match self.tables.get(id) {
                Some(old) => TableState {
                    files,
                    ..old.with_entry(entry)
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
        let dropped = (self.tables.iter()).filter(|(id, _)| !tables.contains_key(id));
        self.dropped_rows += dropped.map(|(_, t)| t.pending_rows()).sum::<u64>();
        self.tables = tables;
        self.version = version;
    }

    fn change(&mut self, table: TableId, f: impl FnOnce(&mut TableState)) {
        if let Some(found) = self.tables.get_mut(&table) {
            f(Arc::make_mut(found));
        }
    }

    /// After a WAL commit: its rows are pending. `rows` are in commit order. Those of a table that was
    /// dropped meanwhile die with it (PROTOCOL C6).
    pub fn with_pending(
        &self,
        rows: Vec<TableRows>,
        session: SessionId,
        frame: u64,
        stamp: i64,
    ) -> State {
        self.replayed(rows, Position { session, frame }, stamp, stamp)
    }

    /// The same of a commit that was `made` at another time than its stamp says.
    pub fn replayed(
        &self,
        rows: Vec<TableRows>,
        position: Position,
        stamp: i64,
        made: i64,
    ) -> State {
        let mut next = self.clone();
        let count: usize = rows.iter().map(|of| of.rows.len()).sum();
        next.pending.push(PendingCommit {
            position,
            stamp,
            made,
            rows: count as u64,
        });
        for of in rows {
            let count = of.rows.len() as u64;
            match next.in_layout(of) {
                None => next.dropped_rows += count,
                Some((table, rows)) => {
                    next.change(table, |t| t.active.pending = t.active.pending.with(rows));
                }
            }
        }
        next.last_stamp = next.last_stamp.max(stamp);
        next
    }

    /// Rows in today's layout of their table; `None` if that was dropped.
    pub fn in_layout(&self, of: TableRows) -> Option<(TableId, Rows)> {
        let table = self.tables.get(&of.table)?;
        Some((of.table, table.in_layout(of.schema_version, of.rows)))
    }

    /// With the rows of a transaction that is not committed yet, as its own reads see them.
    pub fn with_own(&self, table: TableId, rows: Rows, stamp: i64, memory: HeldRows) -> State {
        let mut next = self.clone();
        let pending = |t: &TableState| t.active.pending.with_held(rows, memory);
        next.change(table, |t| t.active.pending = pending(t));
        next.last_stamp = next.last_stamp.max(stamp);
        next
    }

    /// After a commit that transactions are checked against (PROTOCOL C4).
    pub fn with_change(&self, tables: Vec<(TableId, Touched)>) -> State {
        State {
            recent: self.recent.with(tables),
            ..self.clone()
        }
    }

    /// With another bound, or another number of open transactions.
    pub fn with_recent(&self, recent: Recent) -> State {
        State {
            recent,
            ..self.clone()
        }
    }

    /// Without the pending commits that `leave`: they are not to be uploaded.
    pub fn without_pending(&self, leave: &dyn Fn(&PendingCommit) -> bool) -> State {
        let mut next = self.clone();
        next.drop_pending(leave);
        next.settle();
        next
    }

    /// After a log record, whoever wrote it: its version, and the rows it carries inline. Rows that it
    /// moved into sstables leave memory in the same swap (DESIGN promise 14): its floors say which.
    pub fn with_record(&self, version: Arc<Version>, inline: Vec<(TableId, Rows)>) -> State {
        let mut next = self.clone();
        let folded = version.inline_floor > self.version.inline_floor;
        let uploaded = version.wal_floors != self.version.wal_floors;
        next.adopt(version);
        if folded {
            next.drop_folded();
        }
        if uploaded {
            next.drop_uploaded();
        }
        next.add_inline(inline);
        next.settle();
        next
    }

    /// After the log was read anew, from a checkpoint that this state may not lead to. Pending rows
    /// stay; inline rows are the version's, given in `inline`.
    pub fn jumped(&self, version: Arc<Version>, inline: Vec<(TableId, Rows)>) -> State {
        let mut next = self.clone();
        next.jumps += 1;
        next.recent = self.recent.leapt();
        next.adopt(version);
        next.each_memory(|memory| Memory {
            inline: Memory::empty().inline,
            ..memory.clone()
        });
        for seal in &mut next.seals {
            // Inline rows are all active again: a flush of this seal moves none.
            seal.inline_to = 0;
        }
        next.drop_uploaded();
        next.add_inline(inline);
        next.settle();
        next
    }

    fn add_inline(&mut self, inline: Vec<(TableId, Rows)>) {
        for (table, rows) in inline {
            self.change(table, |t| t.active.inline = t.active.inline.with(rows));
        }
    }

    fn each_memory(&mut self, mut change: impl FnMut(&Memory) -> Memory) {
        for table in self.tables.values_mut() {
            let table = Arc::make_mut(table);
            table.active = change(&table.active);
            for (_, memory) in &mut table.sealed {
                *memory = Arc::new(change(memory));
            }
        }
    }

    /// Drops inline rows that a flush, ours or another's, moved into sstables. What is left in the
    /// version is in log order, and so in order of time.
    fn drop_folded(&mut self) {
        let lowest = self.version.inline.first().map_or(i64::MAX, |r| r.ts);
        self.each_memory(|memory| Memory {
            inline: memory.inline.keeping(&|stamp| stamp >= lowest),
            ..memory.clone()
        });
    }

    /// Drops pending rows whose frames the log says are uploaded, wherever its floor falls: an own late
    /// PUT, of this process or one before, may have taken a part of a memtable (PROTOCOL W3).
    fn drop_uploaded(&mut self) {
        let version = self.version.clone();
        self.drop_pending(&|commit| {
            commit.position.frame <= version.wal_floor(&commit.position.session)
        });
    }

    fn drop_pending(&mut self, leave: &dyn Fn(&PendingCommit) -> bool) {
        let (left, gone) = self.pending.without(leave);
        if gone.is_empty() {
            return;
        }
        self.pending = left;
        self.each_memory(|memory| Memory {
            pending: memory.pending.keeping(&|stamp| !gone.has(stamp)),
            inline: memory.inline.clone(),
        });
    }

    /// Seals that are done with go, and of the others the sessions that are: a floor is raised for frames
    /// that this state uploads, and for no other.
    fn tidy_seals(&mut self) {
        if self.seals.is_empty() {
            return;
        }
        let first = self.pending.first_frames();
        for table in self.tables.values_mut() {
            if table.sealed.iter().any(|(_, memory)| memory.is_empty()) {
                Arc::make_mut(table).sealed.retain(|(_, m)| !m.is_empty());
            }
        }
        let held: Vec<u64> = (self.tables.values())
            .flat_map(|t| t.sealed.iter().map(|(g, _)| *g))
            .collect();
        for seal in &mut self.seals {
            let first = |session: &SessionId| first.get(session).copied();
            (seal.wal_floors).retain(|session, last| first(session).is_some_and(|f| f <= *last));
        }
        let mut seals = std::mem::take(&mut self.seals);
        seals.retain(|s| {
            !s.wal_floors.is_empty()
                || held.contains(&s.generation)
                || self.has_dropped_inline(0, s.inline_to)
        });
        self.seals = seals;
    }

    /// After any change of the version or of what is pending.
    fn settle(&mut self) {
        self.tidy_seals();
        if let Some((raised, raise)) = self.pending.raised(self.version.head.ts) {
            self.pending = raised;
            self.restamp(&raise);
        }
        let newest = self.pending.newest();
        self.last_stamp = newest.map_or(self.version.head.ts, |s| s.max(self.version.head.ts));
    }

    fn restamp(&mut self, raise: &Raise) {
        self.each_memory(|memory| Memory {
            pending: memory.pending.restamped(&|stamp| raise.of(stamp)),
            inline: memory.inline.clone(),
        });
    }

    /// All tables as they were at a timestamp no later than the head: `version` is the catalog of then, and
    /// `inline` the rows of the tables that were something else.
    pub fn as_of(&self, version: Arc<Version>, inline: Vec<(TableId, Rows)>) -> State {
        let mut then = State::new(version);
        for (id, table) in &mut then.tables {
            let now = self.tables.get(id);
            let same =
                |now: &&Arc<TableState>| now.entry.schema_version == table.entry.schema_version;
            if let Some(now) = now.filter(same) {
                *table = now.clone();
            }
        }
        then.add_inline(inline);
        then
    }

    /// Whether a record up to `to` has inline rows of a table that was dropped since, which a flush has
    /// still to move for reads of the past.
    fn has_dropped_inline(&self, from: u64, to: u64) -> bool {
        let version = &self.version;
        let dropped = |table: &TableId| version.dropped.contains_key(table);
        !version.dropped.is_empty()
            && (version.inline.iter()).any(|r| from < r.seq && r.seq <= to && dropped(&r.table))
    }

    /// Closes the active memtables, at a commit's end; the same state if there is nothing in them.
    pub fn sealed(&self) -> State {
        let positions = self.pending.positions();
        // Commits to tables that were dropped have frames and no rows in memory.
        let last = self.seals.last();
        let sealed = last.map_or(positions.is_empty(), |s| s.wal_floors == positions)
            && !self.has_dropped_inline(last.map_or(0, |s| s.inline_to), u64::MAX);
        if sealed && self.tables.values().all(|t| t.active.is_empty()) {
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
            wal_floors: positions,
            inline_to: next.version.head.seq,
        });
        next
    }

    /// Names and schemas of all tables, by name.
    pub fn schemas(&self) -> Vec<(String, Arc<TableSchema>)> {
        let mut tables: Vec<_> = (self.version.tables.values())
            .map(|t| (t.name.clone(), t.schema.clone()))
            .collect();
        tables.sort_by(|a, b| a.0.cmp(&b.0));
        tables
    }

    /// Counts the memory of the rows that are here and were not in the state `before`: whoever holds them, it is
    /// given back when the last one lets go.
    pub fn count(&self, before: Option<&State>, memory: &env::Memory) {
        for (id, table) in &self.tables {
            let before = before.and_then(|state| state.tables.get(id));
            if before.is_none_or(|before| !Arc::ptr_eq(before, table)) {
                for of in table.memories() {
                    of.pending.count(memory);
                    of.inline.count(memory);
                }
            }
        }
    }

    /// Bytes of all memtables.
    pub fn memory_bytes(&self) -> usize {
        self.tables
            .values()
            .flat_map(|t| t.memories().map(Memory::bytes))
            .sum()
    }

    /// Bytes of the memtables that one seal closed.
    pub fn sealed_bytes(&self, generation: u64) -> usize {
        let sealed = self.tables.values().flat_map(|t| &t.sealed);
        sealed
            .filter(|(g, _)| *g == generation)
            .map(|(_, m)| m.bytes())
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
