//! The version: what the log says at one position. `apply` is the only way from one to the next; it
//! is pure and checks the chain (PROTOCOL N1 `prev`), so that a bad record changes nothing.

use super::{
    catalog::{DroppedTable, TableEntry},
    edit::{Edit, Settings, TableId},
    record::{Digest, Record, record_key},
};
use crate::{
    error::{Error, ErrorKind, Result},
    merge::Kind,
    sstable::meta::{SstableMeta, Ulid},
    wal::{DatabaseId, SessionId},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Most dropped tables that are kept for reads of the past; each is in every checkpoint.
const MAX_DROPPED: usize = 4096;

/// A position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last record; 0 before the first.
    pub seq: u64,
    /// Its timestamp.
    pub ts: i64,
    /// Its digest.
    pub digest: Digest,
}

impl Head {
    /// Whether a log can have come here: numbers beyond are not counted on from.
    pub(super) fn is_possible(&self) -> bool {
        self.seq <= u64::MAX >> 1 && (0..=i64::MAX >> 1).contains(&self.ts)
    }
}

/// A live sstable.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveFile {
    /// What the log knows of it.
    pub meta: Arc<SstableMeta>,
    /// Timestamp of the record that added it: a fresh file's rows carry it (PROTOCOL T4).
    pub added_ts: i64,
    /// The schema version it was written under.
    pub schema_version: u32,
}

impl LiveFile {
    /// The timestamp all rows of a fresh file carry.
    pub fn inherited(&self) -> Option<i64> {
        self.meta.stamps.is_none().then_some(self.added_ts)
    }

    /// The greatest timestamp of its rows.
    pub fn max_ts(&self) -> i64 {
        self.meta.stamps.map_or(self.added_ts, |(_, max)| max)
    }
}

/// Rows that a record carries inline and no flush has moved yet.
#[derive(Clone, Debug, PartialEq)]
pub struct InlineRows {
    /// Their record.
    pub seq: u64,
    /// Its timestamp.
    pub ts: i64,
    /// Their table.
    pub table: TableId,
    /// The schema version they were validated against.
    pub schema_version: u32,
    /// Upsert or delete.
    pub kind: Kind,
    /// A complete IPC stream.
    pub ipc: Bytes,
}

/// The whole of what the log says at `head`.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// The database, once it has a record.
    pub database: Option<DatabaseId>,
    /// Where in the log.
    pub head: Head,
    /// Catalog: tables by number.
    pub tables: BTreeMap<TableId, TableEntry>,
    /// Tables that were dropped above the watermark: reads as of an earlier time see them, with their
    /// files and inline rows (DESIGN promise 18).
    pub dropped: BTreeMap<TableId, DroppedTable>,
    /// The number the next table gets.
    pub next_table: TableId,
    /// Live sstables of each table, in the order they were added.
    pub files: BTreeMap<TableId, Arc<Vec<LiveFile>>>,
    /// Inline rows above the inline floor, in log order.
    pub inline: Arc<Vec<InlineRows>>,
    /// Records up to this one have no inline rows left (PROTOCOL L1).
    pub inline_floor: u64,
    /// Last uploaded frame of each WAL session, and the timestamp of the record that said so.
    pub wal_floors: BTreeMap<SessionId, (u64, i64)>,
    /// No sstable at or below this name may be added (PROTOCOL G3).
    pub orphan_floor: Ulid,
    /// Reads as of less are `Expired`.
    pub watermark: i64,
    /// Named timestamps.
    pub tags: BTreeMap<String, i64>,
    /// Bounds every handle uses.
    pub settings: Option<Settings>,
}

impl Default for Version {
    fn default() -> Self {
        Self {
            database: None,
            head: Head {
                seq: 0,
                ts: 0,
                digest: [0; 32],
            },
            tables: BTreeMap::new(),
            dropped: BTreeMap::new(),
            next_table: 1,
            files: BTreeMap::new(),
            inline: Arc::new(Vec::new()),
            inline_floor: 0,
            wal_floors: BTreeMap::new(),
            orphan_floor: Ulid([0; 16]),
            watermark: 0,
            tags: BTreeMap::new(),
            settings: None,
        }
    }
}

impl Version {
    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<(TableId, &TableEntry)> {
        self.tables
            .iter()
            .find(|(_, t)| t.name == name)
            .map(|(id, t)| (*id, t))
    }

    /// Live sstables of a table.
    pub fn files_of(&self, table: TableId) -> Arc<Vec<LiveFile>> {
        self.files.get(&table).cloned().unwrap_or_default()
    }

    /// The fresh sstables of the record at its head, by table.
    pub fn fresh_files(&self) -> impl Iterator<Item = (TableId, LiveFile)> {
        let ts = self.head.ts;
        let of_head = move |f: &&LiveFile| f.inherited() == Some(ts);
        (self.files.iter()).flat_map(move |(table, files)| {
            let newest = files.iter().rev().take_while(move |f| f.added_ts == ts);
            newest.filter(of_head).map(|f| (*table, f.clone()))
        })
    }

    /// The last uploaded frame of a WAL session.
    pub fn wal_floor(&self, session: &SessionId) -> u64 {
        self.wal_floors.get(session).map_or(0, |(frame, _)| *frame)
    }

    /// The last uploaded frame of every WAL session.
    pub fn floors(&self) -> HashMap<SessionId, u64> {
        self.wal_floors
            .iter()
            .map(|(session, (frame, _))| (*session, *frame))
            .collect()
    }

    /// Bytes of inline rows that no flush has moved yet.
    pub fn inline_bytes(&self) -> usize {
        self.inline.iter().map(|r| r.ipc.len()).sum()
    }

    /// Whether `edit` can be in the next record. New rows of a table that was dropped meanwhile die with it
    /// (PROTOCOL C6): a record that has them could not be applied. Rows that are only moved stay for who
    /// reads as of an earlier time.
    pub fn takes(&self, edit: &Edit) -> bool {
        match edit {
            Edit::Rows { table, .. } => self.tables.contains_key(table),
            Edit::AddSstable { table, meta, .. } => {
                self.tables.contains_key(table)
                    || meta.stamps.is_some() && self.dropped.contains_key(table)
            }
            _ => true,
        }
    }

    /// Why no table can be dropped now, if so.
    pub fn check_drop(&self) -> Result<()> {
        match self.dropped.len() >= MAX_DROPPED {
            true => Err(Error::new(ErrorKind::Unavailable, too_many_dropped())),
            false => Ok(()),
        }
    }

    /// The catalog as it was at `ts`, no later than the head, with the files that had its rows. Inline rows
    /// are there of the tables only that were something else then: of the others, who asks has them.
    pub fn as_of(&self, ts: i64) -> Result<Version> {
        let dropped = self.dropped.iter().filter(|(_, table)| ts < table.ts);
        let dropped = dropped.map(|(id, table)| (id, &table.entry));
        let mut then = Version {
            tables: BTreeMap::new(),
            dropped: BTreeMap::new(),
            ..self.clone()
        };
        for (id, now) in self.tables.iter().chain(dropped) {
            let Some(entry) = now.as_of(ts)? else {
                continue;
            };
            let by_then = |file: &&LiveFile| file.schema_version <= entry.schema_version;
            if let Some(files) = self.files.get(id) {
                let files = files.iter().filter(by_then).cloned().collect();
                then.files.insert(*id, Arc::new(files));
            }
            then.tables.insert(*id, entry);
        }
        let same = |id: &TableId| {
            let version = |version: &Version| version.tables.get(id).map(|t| t.schema_version);
            version(self) == version(&then)
        };
        let inline = self.inline.iter().filter(|rows| {
            rows.ts <= ts && then.tables.contains_key(&rows.table) && !same(&rows.table)
        });
        then.inline = Arc::new(inline.cloned().collect());
        Ok(then)
    }

    /// The version after `record`, whose bytes have `digest`.
    pub fn apply(&self, record: &Record, digest: Digest) -> Result<Version> {
        let object = record_key(record.seq);
        let corrupt = |what: String| Error::corrupt(format!("{object}: {what}"));
        if record.seq != self.head.seq + 1 {
            return Err(corrupt(format!(
                "it says it is number {}, expected {}",
                record.seq,
                self.head.seq + 1
            )));
        }
        if self.database.is_some_and(|d| d != record.database) {
            return Err(corrupt(
                "it belongs to another database than the records before".into(),
            ));
        }
        if record.prev != self.head.digest {
            return Err(corrupt(
                "it does not follow the record before it (prev differs)".into(),
            ));
        }
        if record.ts <= self.head.ts {
            return Err(corrupt(format!(
                "its timestamp {} is not above {}",
                record.ts, self.head.ts
            )));
        }
        let mut next = self.clone();
        next.database = Some(record.database);
        next.head = Head {
            seq: record.seq,
            ts: record.ts,
            digest,
        };
        if !next.head.is_possible() {
            return Err(corrupt(format!(
                "its number {} and timestamp {} are none that a log comes to",
                record.seq, record.ts
            )));
        }
        for edit in &record.edits {
            next.apply_edit(record, edit).map_err(corrupt)?;
        }
        Ok(next)
    }

    fn apply_edit(&mut self, record: &Record, edit: &Edit) -> Result<(), String> {
        match edit {
            Edit::Rows {
                table,
                schema_version,
                kind,
                ipc,
            } => {
                self.known_at(*table, *schema_version)?;
                Arc::make_mut(&mut self.inline).push(InlineRows {
                    seq: record.seq,
                    ts: record.ts,
                    table: *table,
                    schema_version: *schema_version,
                    kind: *kind,
                    ipc: ipc.clone(),
                });
            }
            Edit::AddSstable {
                table,
                schema_version,
                meta,
            } => {
                self.check_added(*table, *schema_version, meta)?;
                if meta.id <= self.orphan_floor {
                    return Err(format!("sstable {} is below the orphan floor", meta.id));
                }
                let files = self.files.entry(*table).or_default();
                if files.iter().any(|f| f.meta.id == meta.id) {
                    return Err(format!("sstable {} is live already", meta.id));
                }
                Arc::make_mut(files).push(LiveFile {
                    meta: meta.clone(),
                    added_ts: record.ts,
                    schema_version: *schema_version,
                });
            }
            Edit::RemoveSstable { table, id } => {
                let files = self.files.entry(*table).or_default();
                let Some(at) = files.iter().position(|f| f.meta.id == *id) else {
                    return Err(format!("sstable {id} is not live"));
                };
                Arc::make_mut(files).remove(at);
            }
            Edit::CreateTable {
                table,
                name,
                schema,
            } => {
                let after = (self.next_table.checked_add(1))
                    .filter(|_| *table == self.next_table && self.table(name).is_none());
                self.next_table = after.ok_or_else(|| {
                    format!("table {name:?} with number {table} cannot be created")
                })?;
                let entry = TableEntry::new(name.clone(), schema.clone(), record.ts);
                self.tables.insert(*table, entry);
            }
            Edit::AlterTable {
                table,
                name,
                schema,
            } => {
                if self.table(name).is_some_and(|(id, _)| id != *table) {
                    return Err(format!(
                        "table {table} cannot be named {name:?}: another is"
                    ));
                }
                let entry = self.known(*table)?;
                let altered = entry.altered(name.clone(), schema.clone(), record.ts);
                let altered = altered.map_err(|why| format!("table {table} is altered: {why}"))?;
                self.tables.insert(*table, altered);
            }
            Edit::DropTable { table } => {
                self.known(*table)?;
                if self.dropped.len() >= MAX_DROPPED {
                    return Err(too_many_dropped());
                }
                if let Some(entry) = self.tables.remove(table) {
                    let ts = record.ts;
                    self.dropped.insert(*table, DroppedTable { entry, ts });
                }
                self.forget();
            }
            Edit::InlineFloor { to, .. } => {
                self.inline_floor = self.inline_floor.max(*to);
                let floor = self.inline_floor;
                Arc::make_mut(&mut self.inline).retain(|r| r.seq > floor);
            }
            Edit::WalFloor { session, frame } => {
                let floor = self.wal_floor(session).max(*frame);
                self.wal_floors.insert(*session, (floor, record.ts));
            }
            Edit::OrphanFloor { ulid } => self.orphan_floor = self.orphan_floor.max(*ulid),
            Edit::Watermark { ts } => {
                self.watermark = self.watermark.max(*ts);
                self.forget();
            }
            Edit::Tag { name, ts } => {
                self.tags.insert(name.clone(), *ts);
            }
            Edit::Untag { name } => {
                self.tags.remove(name);
            }
            Edit::Settings(settings) => self.settings = Some(*settings),
        }
        Ok(())
    }

    /// Lets go of what no read as of the watermark or later sees.
    fn forget(&mut self) {
        let watermark = self.watermark;
        let entries = self.tables.values_mut();
        entries
            .chain(self.dropped.values_mut().map(|table| &mut table.entry))
            .for_each(|entry| entry.forget_before(watermark));
        let before = self.dropped.len();
        self.dropped.retain(|_, table| table.ts > watermark);
        if self.dropped.len() < before {
            let (tables, dropped) = (&self.tables, &self.dropped);
            let kept = |table: &TableId| tables.contains_key(table) || dropped.contains_key(table);
            self.files.retain(|table, _| kept(table));
            Arc::make_mut(&mut self.inline).retain(|rows| kept(&rows.table));
        }
    }

    /// Fresh files are of tables that are there; those of rows that were moved may be of one that was
    /// dropped. No file has rows that are older than the schema version it was written under: who reads
    /// as of then would miss what that left out.
    fn check_added(&self, table: TableId, version: u32, meta: &SstableMeta) -> Result<(), String> {
        let Some((oldest, _)) = meta.stamps else {
            return self.known_at(table, version);
        };
        let entry = match self.dropped.get(&table) {
            Some(dropped) => &dropped.entry,
            None => self.known(table)?,
        };
        check_schema_version(table, entry, version)?;
        match entry.since(version) {
            Some(since) if oldest < since && self.watermark < since => Err(format!(
                "sstable {} of schema version {version}, which began at {since}, has rows of {oldest}",
                meta.id
            )),
            _ => Ok(()),
        }
    }

    fn known(&self, table: TableId) -> Result<&TableEntry, String> {
        self.tables
            .get(&table)
            .ok_or_else(|| format!("it names table {table}, which is not there"))
    }

    /// A table that has had that schema version.
    fn known_at(&self, table: TableId, version: u32) -> Result<(), String> {
        check_schema_version(table, self.known(table)?, version)
    }
}

fn check_schema_version(table: TableId, entry: &TableEntry, version: u32) -> Result<(), String> {
    let now = entry.schema_version;
    match (1..=now).contains(&version) {
        true => Ok(()),
        false => Err(format!(
            "it names schema version {version} of table {table}, which is at {now}"
        )),
    }
}

fn too_many_dropped() -> String {
    format!(
        "{MAX_DROPPED} dropped tables are kept for reads of the past, the most there may be: run gc, with a \
         shorter retention or fewer tags"
    )
}
