//! Reads every record as it takes effect, by itself, and objects when it breaks a rule: the chain (PROTOCOL
//! N1), ascending and sane timestamps (T1, T2), each commit once and whole and in its device's order (C1, C2,
//! W3), floors of a WAL (W3), what a flush moves (L1), files that are there (G3), rows by the ids of their
//! columns (C6; `catalog` has what is said of those).

use super::{
    log::{Commit, Fresh, Status, Version},
    rows::{self, MARK, Row, Stored},
    shape::Shape,
    work::Errand,
    world::{Event, MINUTE, START, World},
};
use bytes::Bytes;
use lakeshore::{
    log::{
        chain::unpack,
        edit::{Edit, TableId},
        record::{Digest, Record, seq_of},
    },
    merge::Kind,
    sstable::meta::{SstableMeta, object_key},
    wal::SessionId,
};
use std::collections::{BTreeMap, BTreeSet};

/// What the edits of one record say about rows.
#[derive(Default)]
struct Rows {
    fresh: Vec<(TableId, i64, Option<Row>)>,
    moved: Vec<Version>,
    inline: Vec<(TableId, i64, Option<Row>)>,
    inline_floor: Option<u64>,
    wal_floors: Vec<(SessionId, u64)>,
    /// The added columns that a table had when its files were written.
    masks: BTreeMap<TableId, u64>,
}

impl Rows {
    /// A row as a file of this record can hold it.
    fn cut(&self, table: TableId, row: Option<Row>) -> Option<Row> {
        let mask = self.masks.get(&table).copied().unwrap_or(u64::MAX);
        row.map(|row| row.only(mask))
    }
}

impl World {
    /// An object was created.
    pub fn landed(&mut self, key: &str, bytes: &Bytes) {
        let Some(seq) = key.starts_with("log/").then(|| seq_of(key)).flatten() else {
            return;
        };
        // Copies of records before it, whatever they say, must be what the chain says.
        let outcome = match unpack(seq, bytes, 1) {
            Ok(mut chain) => match chain.pop() {
                Some(found) => self.record(&found.record, found.digest),
                None => Err("no record".to_owned()),
            },
            Err(e) => Err(e.to_string()),
        };
        if let Err(what) = outcome {
            self.violation(format_args!("{key}: {what}"));
        }
    }

    fn record(&mut self, record: &Record, digest: Digest) -> Result<(), String> {
        if record.seq <= self.log.head {
            self.log.ghosts.push(record.seq);
            self.report.ghosts += 1;
            for minutes in [1, 3] {
                self.after(minutes * MINUTE, Event::Errand(Errand::LookBack));
            }
            self.note(format_args!(
                "log/{} was freed: this is a ghost",
                record.seq
            ));
            return Ok(());
        }
        let (log, date) = (&mut self.log, self.now);
        if log.ts.is_empty() {
            log.ts.push(0);
            log.digests.push([0; 32]);
            log.fresh.push(Fresh::new());
        }
        if record.seq != log.head + 1 || record.prev != log.digests[log.head as usize] {
            return Err(format!("it does not follow record {}", log.head));
        }
        let last = log.ts[log.head as usize];
        if record.ts <= last {
            return Err(format!("its timestamp {} is not above {last}", record.ts));
        }
        let most = START + (date + 6 * MINUTE) as i64;
        if record.ts > most && record.ts > last + 1 {
            let by = (record.ts - most) / 1_000_000 + 360;
            return Err(format!(
                "its timestamp is {by} s ahead of the store's clock"
            ));
        }
        log.head = record.seq;
        log.digests.push(digest);
        log.ts.push(record.ts);
        log.fresh.push(Fresh::new());
        self.edits(record)
    }

    fn edits(&mut self, record: &Record) -> Result<(), String> {
        let mut rows = Rows::default();
        for edit in &record.edits {
            match edit {
                Edit::CreateTable {
                    table,
                    name,
                    schema,
                } => self.created(*table, name, schema)?,
                Edit::AlterTable {
                    table,
                    name,
                    schema,
                } => self.altered_table(*table, name, schema)?,
                Edit::DropTable { table } => self.dropped_table(*table)?,
                Edit::Rows {
                    table,
                    schema_version,
                    kind,
                    ipc,
                } => {
                    let shape = self.shape(*table, *schema_version)?;
                    for (key, row) in rows::of_ipc(&shape, ipc, *kind == Kind::Delete)? {
                        rows.fresh.push((*table, key, row));
                        rows.inline.push((*table, key, row));
                    }
                }
                Edit::AddSstable {
                    table,
                    schema_version,
                    meta,
                } => {
                    let name = object_key(*table, meta.id);
                    // Rows of a table that was dropped are only moved, for who reads as of then.
                    let shape = match meta.stamps {
                        None => self.shape(*table, *schema_version)?,
                        Some(_) => self.shape_ever(*table, *schema_version)?,
                    };
                    if meta.stamps.is_none() {
                        rows.masks.insert(*table, shape.mask());
                    }
                    for row in self.sstable(&name, &shape, meta)? {
                        match row.ts {
                            None => rows.fresh.push((*table, row.key, row.value)),
                            Some(ts) => rows.moved.push((*table, row.key, ts, row.value)),
                        }
                    }
                    self.log.files.insert(name);
                }
                Edit::InlineFloor { from, to } => {
                    if *from != self.log.inline_floor {
                        let now = self.log.inline_floor;
                        return Err(format!(
                            "it moves the inline floor from {from}, it is {now}"
                        ));
                    }
                    rows.inline_floor = Some(*to);
                }
                Edit::WalFloor { session, frame } => rows.wal_floors.push((*session, *frame)),
                Edit::OrphanFloor { ulid } => self.log.orphan_floor = Some(*ulid),
                Edit::Watermark { ts } => self.watermark(*ts)?,
                Edit::Tag { name, ts } => {
                    if *ts < self.log.watermark {
                        return Err(format!("it puts tag {name:?} below the watermark"));
                    }
                    self.log.tags.insert(name.clone(), *ts);
                }
                Edit::Untag { name } => _ = self.log.tags.remove(name),
                Edit::RemoveSstable { .. } | Edit::Settings(_) => {}
            }
        }
        self.moved(&rows)?;
        self.fresh(record.seq, &rows)?;
        self.wal_floors(record.seq, &rows.wal_floors)?;
        let mut newest = BTreeMap::new();
        for (table, key, value) in rows.inline {
            newest.insert((table, key), value);
        }
        let inline = newest
            .into_iter()
            .map(|((t, k), v)| (record.seq, (t, k, record.ts, v)));
        self.log.inline.extend(inline);
        Ok(())
    }

    /// PROTOCOL G1.
    fn watermark(&mut self, ts: i64) -> Result<(), String> {
        let most = self.log.ts.last().copied().unwrap_or(0);
        let tag = self.log.tags.values().min().copied().unwrap_or(i64::MAX);
        if ts < self.log.watermark || ts > most || ts > tag {
            let now = self.log.watermark;
            return Err(format!(
                "it moves the watermark from {now} to {ts}: head {most}, tag {tag}"
            ));
        }
        self.log.watermark = ts;
        let passed: Vec<TableId> = (self.log.tables.iter())
            .filter(|(_, table)| {
                table
                    .dropped
                    .is_some_and(|at| self.log.ts[at as usize] <= ts)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in passed {
            self.log.inline.retain(|(_, row)| row.0 != id);
            let folder = format!("data/{id}/");
            self.log.files.retain(|file| !file.starts_with(&folder));
        }
        Ok(())
    }

    /// A row as who reads as of its time, or of the watermark, has to find it (DESIGN promise 18).
    fn as_seen(&self, (table, key, ts, row): Version) -> Version {
        let seq = self.log.at(ts.max(self.log.watermark));
        let mask = self.log.tables[&table].shape(seq).mask();
        (table, key, ts, row.map(|row| row.only(mask)))
    }

    fn sstable(
        &self,
        name: &str,
        shape: &Shape,
        meta: &SstableMeta,
    ) -> Result<Vec<Stored>, String> {
        if self.log.orphan_floor.is_some_and(|floor| meta.id <= floor) {
            return Err(format!("{name} is below the orphan floor"));
        }
        match self.store.objects.get(name) {
            None => Err(format!("it adds {name}, which is not there")),
            Some((bytes, _)) => rows::of_parquet(shape, bytes).map_err(|e| format!("{name}: {e}")),
        }
    }

    /// A flush moves exactly the inline rows up to its floor, with their timestamps (PROTOCOL L1).
    fn moved(&mut self, rows: &Rows) -> Result<(), String> {
        let floor = rows.inline_floor.unwrap_or(self.log.inline_floor);
        let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.log.inline)
            .into_iter()
            .partition(|(seq, _)| *seq <= floor);
        let expected = gone.into_iter().map(|(_, row)| self.as_seen(row));
        let expected: BTreeSet<Version> = expected.collect();
        let moved = rows.moved.iter().map(|row| self.as_seen(*row));
        let actual: BTreeSet<Version> = moved.collect();
        if expected != actual {
            let lost: Vec<_> = expected.difference(&actual).collect();
            let new: Vec<_> = actual.difference(&expected).collect();
            return Err(format!(
                "its files leave out inline rows {lost:?}, and have {new:?}"
            ));
        }
        self.log.inline = stay;
        self.log.inline_floor = floor;
        Ok(())
    }

    /// The fresh rows of a record are whole commits, each once, in their order. Rows of a device die with
    /// their table; a `remote` commit is refused as a whole (PROTOCOL C6).
    fn fresh(&mut self, seq: u64, rows: &Rows) -> Result<(), String> {
        let marks = rows.fresh.iter().filter(|(_, key, _)| *key >= MARK);
        let ids: BTreeSet<usize> = marks.map(|(_, key, _)| (key - MARK) as usize).collect();
        let mut in_order: Vec<usize> = ids.iter().copied().collect();
        in_order.sort_by_key(|id| self.log.commits[*id].order);
        let mut expected = Fresh::new();
        for id in &in_order {
            self.conflicts(*id, &expected)?;
            let commit = &self.log.commits[*id];
            if let Some(first) = commit.seq {
                return Err(format!("it has #{id}, and so has record {first}"));
            }
            if commit.status == Status::Refused {
                return Err(format!("it has #{id}, which was refused"));
            }
            for (table, writes) in &commit.writes {
                match self.log.lives(*table) {
                    true => expected.extend(
                        writes
                            .iter()
                            .map(|(key, row)| ((*table, *key), rows.cut(*table, *row))),
                    ),
                    false if commit.local => {}
                    false => return Err(format!("it has #{id} without table {table}")),
                }
            }
            self.log.commits[*id].seq = Some(seq);
        }
        let actual: Fresh = rows.fresh.iter().map(|(t, k, v)| ((*t, *k), *v)).collect();
        if actual != expected {
            return Err(format!(
                "it has rows {actual:?}, of {ids:?} come {expected:?}"
            ));
        }
        self.in_order(&ids)?;
        for (row, value) in &actual {
            let versions = self.log.history.entry(*row).or_default();
            versions.push((seq, *value));
        }
        self.log.fresh[seq as usize] = actual;
        self.note(format_args!("record {seq} has {ids:?}"));
        Ok(())
    }

    /// What a session uploads leaves no acknowledged commit behind (PROTOCOL W3).
    fn in_order(&self, ids: &BTreeSet<usize>) -> Result<(), String> {
        for id in ids {
            let Commit { pid, order, .. } = self.log.commits[*id];
            let mut all = self.log.commits.iter().enumerate();
            let left = all.find(|(_, c)| {
                let earlier = c.pid == pid && c.order < order;
                let due = c.local && c.status == Status::Acked && c.seq.is_none();
                earlier && due && !self.log.is_dead(c)
            });
            if let Some((left, _)) = left {
                return Err(format!(
                    "it has #{id}, and leaves #{left} of the same session behind"
                ));
            }
        }
        Ok(())
    }

    /// A floor says of each commit of its session whether the log has it by now (PROTOCOL W3).
    fn wal_floors(&self, seq: u64, floors: &[(SessionId, u64)]) -> Result<(), String> {
        for (session, frame) in floors {
            for (id, commit) in self.log.commits.iter().enumerate() {
                let position = commit.committed.and_then(|c| c.position);
                let Some(position) = position.filter(|p| p.session == *session) else {
                    continue;
                };
                let covered = position.frame <= *frame;
                if covered && commit.seq.is_none() && !self.log.is_dead(commit) {
                    return Err(format!(
                        "its WAL floor covers #{id}, which is not in the log"
                    ));
                }
                if !covered && commit.seq == Some(seq) {
                    return Err(format!("it has #{id}, which its WAL floor does not cover"));
                }
            }
        }
        Ok(())
    }
}
