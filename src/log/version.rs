//! The version: what the log says at one position. `apply` is the only way from one to the next; it
//! is pure and checks the chain (PROTOCOL N1 `prev`), so that a bad record changes nothing.

use super::{
    edit::{Edit, Settings, TableId},
    record::{Digest, Record, record_key},
};
use crate::{
    data::{
        history::{ColumnHistory, MAX_PAST_COLUMNS},
        schema::TableSchema,
    },
    error::{Error, Result},
    merge::Kind,
    sstable::meta::{SstableMeta, Ulid},
    wal::{DatabaseId, SessionId},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

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

/// A table in the catalog.
#[derive(Clone, Debug, PartialEq)]
pub struct TableEntry {
    /// Its name.
    pub name: String,
    /// Its schema.
    pub schema: Arc<TableSchema>,
    /// Counts up at each alteration, from 1.
    pub schema_version: u32,
    /// The schema versions before it: what was written under them is still there.
    pub history: Arc<ColumnHistory>,
}

impl TableEntry {
    /// That of a new table.
    pub fn new(name: String, schema: Arc<TableSchema>) -> Self {
        Self {
            name,
            history: Arc::new(ColumnHistory::new(&schema)),
            schema,
            schema_version: 1,
        }
    }

    /// The schema that was number `version`; `Corrupt` if there was none.
    pub fn schema_at(&self, version: u32) -> Result<Arc<TableSchema>> {
        if version == self.schema_version {
            return Ok(self.schema.clone());
        }
        let (schema, now) = (&self.schema, self.schema_version);
        (self.history.schema_at(schema, now, version)).map(Arc::new)
    }

    /// The entry after an alteration, if what was written before it can still be read.
    pub fn altered(&self, name: String, schema: Arc<TableSchema>) -> Result<Self, String> {
        schema.follows(&self.schema)?;
        let history = (self.history).after(&self.schema, self.schema_version, &schema);
        if history.past().len() > MAX_PAST_COLUMNS {
            return Err(format!(
                "its columns were changed {MAX_PAST_COLUMNS} times, the most there may be: copy it \
                 into a new table"
            ));
        }
        let schema_version = (self.schema_version.checked_add(1)).ok_or_else(|| {
            "its schema versions are used up: copy it into a new table".to_owned()
        })?;
        Ok(Self {
            name,
            schema,
            schema_version,
            history: Arc::new(history),
        })
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

    /// Whether `edit` can be in the next record. Rows and files of a table that was dropped meanwhile die
    /// with it (PROTOCOL C6): a record that has them could not be applied.
    pub fn takes(&self, edit: &Edit) -> bool {
        match edit {
            Edit::Rows { table, .. } | Edit::AddSstable { table, .. } => {
                self.tables.contains_key(table)
            }
            _ => true,
        }
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
                self.known_at(*table, *schema_version)?;
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
                let entry = TableEntry::new(name.clone(), schema.clone());
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
                let altered = self.known(*table)?.altered(name.clone(), schema.clone());
                let altered = altered.map_err(|why| format!("table {table} is altered: {why}"))?;
                self.tables.insert(*table, altered);
            }
            Edit::DropTable { table } => {
                self.known(*table)?;
                self.tables.remove(table);
                self.files.remove(table);
                Arc::make_mut(&mut self.inline).retain(|r| r.table != *table);
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
            Edit::Watermark { ts } => self.watermark = self.watermark.max(*ts),
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

    fn known(&self, table: TableId) -> Result<&TableEntry, String> {
        self.tables
            .get(&table)
            .ok_or_else(|| format!("it names table {table}, which is not there"))
    }

    /// A table that has had that schema version.
    fn known_at(&self, table: TableId, version: u32) -> Result<(), String> {
        let now = self.known(table)?.schema_version;
        match (1..=now).contains(&version) {
            true => Ok(()),
            false => Err(format!(
                "it names schema version {version} of table {table}, which is at {now}"
            )),
        }
    }
}
