//! The truth: every record as it took effect, read by this file alone. It knows who the commits are, keeps
//! the rows as a plain map of versions, and objects when a record breaks a rule: the chain (PROTOCOL N1),
//! ascending and sane timestamps (T1, T2), each commit once and whole and in its device's order (C1, C2,
//! W3), what a flush moves (L1), files that are there (G3).

use super::{
    rows::{self, Content, MARK, Stored},
    world::{MINUTE, Pid, World},
};
use bytes::Bytes;
use lakeshore::{
    log::{
        chain::unpack,
        edit::{Edit, TableId},
        record::{Digest, Record, seq_of},
    },
    merge::Kind,
    sstable::meta::{SstableMeta, Ulid, object_key},
};
use std::collections::{BTreeMap, BTreeSet};

pub const TABLES: [&str; 2] = ["a", "b"];

/// Writes of one table: no value deletes.
pub type Writes = Vec<(i64, Option<i64>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No answer yet, or none that says.
    Open,
    Acked,
    /// It cannot have happened: nothing was acknowledged, and the error was definite.
    Refused,
}

/// A commit that some device made.
#[derive(Clone, Debug)]
pub struct Commit {
    pub pid: Pid,
    pub local: bool,
    pub writes: BTreeMap<usize, Writes>,
    pub status: Status,
    /// True time when it was called.
    pub at: u64,
    /// Commits of one process are queued in this order.
    pub order: u64,
    /// What it depends on, if it is a transaction.
    pub transaction: Option<Transaction>,
    /// Its record.
    pub seq: Option<u64>,
}

/// What a transaction saw.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// The position it read at.
    pub since: u64,
    /// The number that the next commit got when it began.
    pub commits: usize,
    /// Keys that must not have been written since: those it wrote, and if it is serializable those it read.
    pub keys: BTreeSet<(usize, i64)>,
    /// Tables that it read as a whole, if it is serializable.
    pub tables: BTreeSet<usize>,
}

impl Transaction {
    /// Whether it depends on a row.
    pub fn depends(&self, table: usize, key: i64) -> bool {
        self.keys.contains(&(table, key)) || self.tables.contains(&table)
    }
}

/// A row at rest: its table, key, timestamp and value.
type Version = (usize, i64, i64, Option<i64>);

/// A record, and what it wrote to some row.
type Written = (u64, Option<i64>);

#[derive(Default)]
pub struct Log {
    pub head: u64,
    pub digest: Digest,
    /// Timestamps; record `n` at place `n`.
    pub ts: Vec<i64>,
    pub commits: Vec<Commit>,
    history: BTreeMap<(usize, i64), Vec<Written>>,
    tables: BTreeMap<TableId, usize>,
    inline: Vec<(u64, Version)>,
    inline_floor: u64,
    orphan_floor: Option<Ulid>,
    pub watermark: i64,
    pub tags: BTreeMap<String, i64>,
    pub files: BTreeSet<String>,
    /// Records that took a name that gc had freed.
    pub ghosts: u64,
}

impl Log {
    /// The last record at or below a timestamp.
    pub fn at(&self, ts: i64) -> u64 {
        self.ts.partition_point(|t| *t <= ts).saturating_sub(1) as u64
    }

    /// The rows of a table at a record.
    pub fn content(&self, table: usize, seq: u64) -> Content {
        let of_table = self.history.range((table, i64::MIN)..(table + 1, i64::MIN));
        let newest = |versions: &[Written]| {
            versions
                .iter()
                .rev()
                .find(|(at, _)| *at <= seq)
                .and_then(|v| v.1)
        };
        of_table
            .filter_map(|((_, key), versions)| Some((*key, newest(versions)?)))
            .collect()
    }
}

impl World {
    /// A device is about to commit: the number that its marker rows carry.
    pub fn register(&mut self, pid: Pid, local: bool, writes: BTreeMap<usize, Writes>) -> usize {
        let name = self.name(pid);
        let id = self.log.commits.len();
        self.note(format_args!("{name} commits #{id} {writes:?}"));
        self.log.commits.push(Commit {
            pid,
            local,
            writes,
            status: Status::Open,
            at: self.now,
            order: 0,
            transaction: None,
            seq: None,
        });
        self.report.commits += 1;
        self.queued(id);
        id
    }

    /// It is in the queue only now.
    pub fn queued(&mut self, id: usize) {
        self.log.commits[id].order = self.id();
    }

    /// A commit was acknowledged, with this timestamp.
    pub fn acked(&mut self, id: usize, ts: i64) {
        self.note(format_args!("#{id} is acknowledged"));
        self.log.commits[id].status = Status::Acked;
        self.report.acked += 1;
        let commit = &self.log.commits[id];
        match commit.seq {
            _ if commit.local => {}
            None => self.violation(format_args!("#{id} is acknowledged, and not in the log")),
            Some(seq) if self.log.ts[seq as usize] != ts => {
                let at = self.log.ts[seq as usize];
                self.violation(format_args!(
                    "#{id} is said to be of {ts}, its record is of {at}"
                ));
            }
            Some(_) => {}
        }
    }

    /// A commit was refused with an error that says that it did not happen.
    pub fn refused(&mut self, id: usize) {
        self.note(format_args!("#{id} is refused"));
        if self.log.commits[id].seq.is_some() {
            self.violation(format_args!("#{id} is refused, and in the log"));
        }
        self.log.commits[id].status = Status::Refused;
    }

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
            self.log.ghosts += 1;
            self.report.ghosts += 1;
            self.note(format_args!(
                "log/{} was freed: this is a ghost",
                record.seq
            ));
            return Ok(());
        }
        let (log, date) = (&mut self.log, self.now);
        if log.ts.is_empty() {
            log.ts.push(0);
        }
        if record.seq != log.head + 1 || record.prev != log.digest {
            return Err(format!("it does not follow record {}", log.head));
        }
        let last = log.ts[log.head as usize];
        if record.ts <= last {
            return Err(format!("its timestamp {} is not above {last}", record.ts));
        }
        let most = super::world::START + (date + 6 * MINUTE) as i64;
        if record.ts > most && record.ts > last + 1 {
            let by = (record.ts - most) / 1_000_000 + 360;
            return Err(format!(
                "its timestamp is {by} s ahead of the store's clock"
            ));
        }
        log.head = record.seq;
        log.digest = digest;
        log.ts.push(record.ts);
        self.edits(record)
    }

    fn edits(&mut self, record: &Record) -> Result<(), String> {
        let mut fresh: Vec<(usize, i64, Option<i64>)> = Vec::new();
        let mut moved: Vec<Version> = Vec::new();
        let mut inline = Vec::new();
        let mut floor = None;
        for edit in &record.edits {
            match edit {
                Edit::CreateTable { table, name, .. } => {
                    let index = TABLES.iter().position(|t| t == name);
                    let index =
                        index.ok_or_else(|| format!("a table {name:?} comes into being"))?;
                    self.log.tables.insert(*table, index);
                }
                Edit::Rows {
                    table, kind, ipc, ..
                } => {
                    let table = self.table(*table)?;
                    for (key, value) in rows::of_ipc(ipc)? {
                        let value = value.filter(|_| *kind == Kind::Upsert);
                        fresh.push((table, key, value));
                        inline.push((table, key, value));
                    }
                }
                Edit::AddSstable { table, meta, .. } => {
                    let (name, index) = (object_key(*table, meta.id), self.table(*table)?);
                    for row in self.sstable(&name, meta)? {
                        match row.ts {
                            None => fresh.push((index, row.key, row.value)),
                            Some(ts) => moved.push((index, row.key, ts, row.value)),
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
                    floor = Some(*to);
                }
                Edit::OrphanFloor { ulid } => self.log.orphan_floor = Some(*ulid),
                Edit::Watermark { ts } => self.watermark(*ts)?,
                Edit::Tag { name, ts } => {
                    if *ts < self.log.watermark {
                        return Err(format!("it puts tag {name:?} below the watermark"));
                    }
                    self.log.tags.insert(name.clone(), *ts);
                }
                Edit::Untag { name } => _ = self.log.tags.remove(name),
                _ => {}
            }
        }
        self.moved(moved, floor)?;
        self.fresh(record.seq, &fresh)?;
        let mut newest = BTreeMap::new();
        for (table, key, value) in inline {
            newest.insert((table, key), value);
        }
        let rows = newest
            .into_iter()
            .map(|((t, k), v)| (record.seq, (t, k, record.ts, v)));
        self.log.inline.extend(rows);
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
        Ok(())
    }

    fn table(&self, id: TableId) -> Result<usize, String> {
        let found = self.log.tables.get(&id).copied();
        found.ok_or_else(|| format!("it names table {id}, which is not there"))
    }

    fn sstable(&self, name: &str, meta: &SstableMeta) -> Result<Vec<Stored>, String> {
        if self.log.orphan_floor.is_some_and(|floor| meta.id <= floor) {
            return Err(format!("{name} is below the orphan floor"));
        }
        match self.store.objects.get(name) {
            None => Err(format!("it adds {name}, which is not there")),
            Some((bytes, _)) => rows::of_parquet(bytes).map_err(|e| format!("{name}: {e}")),
        }
    }

    /// A flush moves exactly the inline rows up to its floor, with their timestamps (PROTOCOL L1).
    fn moved(&mut self, moved: Vec<Version>, floor: Option<u64>) -> Result<(), String> {
        let floor = floor.unwrap_or(self.log.inline_floor);
        let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.log.inline)
            .into_iter()
            .partition(|(seq, _)| *seq <= floor);
        let expected: BTreeSet<Version> = gone.into_iter().map(|(_, row)| row).collect();
        let actual: BTreeSet<Version> = moved.into_iter().collect();
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

    /// The fresh rows of a record are whole commits, each once, in their order.
    fn fresh(&mut self, seq: u64, fresh: &[(usize, i64, Option<i64>)]) -> Result<(), String> {
        let marks = fresh.iter().filter(|(_, key, _)| *key >= MARK);
        let ids: BTreeSet<usize> = marks.map(|(_, key, _)| (key - MARK) as usize).collect();
        let mut in_order: Vec<usize> = ids.iter().copied().collect();
        in_order.sort_by_key(|id| self.log.commits[*id].order);
        let mut expected = BTreeMap::new();
        for id in &in_order {
            self.conflicts(*id, &expected)?;
            let commit = &mut self.log.commits[*id];
            if let Some(first) = commit.seq {
                return Err(format!("it has #{id}, and so has record {first}"));
            }
            if commit.status == Status::Refused {
                return Err(format!("it has #{id}, which was refused"));
            }
            commit.seq = Some(seq);
            for (table, writes) in &commit.writes {
                expected.extend(writes.iter().map(|(key, value)| ((*table, *key), *value)));
            }
        }
        let actual: BTreeMap<_, _> = fresh.iter().map(|(t, k, v)| ((*t, *k), *v)).collect();
        if actual != expected {
            return Err(format!(
                "it has rows {actual:?}, of {ids:?} come {expected:?}"
            ));
        }
        self.in_order(&ids)?;
        for ((table, key), value) in actual {
            self.log
                .history
                .entry((table, key))
                .or_default()
                .push((seq, value));
        }
        self.note(format_args!("record {seq} has {ids:?}"));
        Ok(())
    }

    /// Nothing that a transaction depends on was written since it began, neither in records nor in its own
    /// before it (PROTOCOL C1, C4).
    fn conflicts(
        &self,
        id: usize,
        before: &BTreeMap<(usize, i64), Option<i64>>,
    ) -> Result<(), String> {
        let commit = &self.log.commits[id];
        let Some(transaction) = commit.transaction.as_ref().filter(|_| !commit.local) else {
            return Ok(());
        };
        let touched = |(table, key): &(usize, i64)| transaction.depends(*table, *key);
        if let Some(row) = before.keys().find(|row| touched(row)) {
            return Err(format!(
                "#{id} depends on {row:?}, which its own group wrote before it"
            ));
        }
        let later = |versions: &[Written]| versions.iter().any(|v| v.0 > transaction.since);
        let history = self.log.history.iter();
        match history
            .filter(|(_, versions)| later(versions))
            .find(|(row, _)| touched(row))
        {
            None => Ok(()),
            Some((row, _)) => {
                let since = transaction.since;
                Err(format!(
                    "#{id} read at {since} and depends on {row:?}, which was written since"
                ))
            }
        }
    }

    /// Transactions of one device are isolated from each other (PROTOCOL W5).
    pub fn check_local_transactions(&mut self) {
        let commits = &self.log.commits;
        let broken = commits.iter().enumerate().find_map(|(id, commit)| {
            let transaction = commit.transaction.as_ref()?;
            if !commit.local || commit.status != Status::Acked {
                return None;
            }
            let between =
                commits
                    .iter()
                    .enumerate()
                    .skip(transaction.commits)
                    .find(|(_, other)| {
                        let rows = || {
                            other
                                .writes
                                .iter()
                                .flat_map(|(t, w)| w.iter().map(|(k, _)| (*t, *k)))
                        };
                        other.pid == commit.pid
                            && other.status == Status::Acked
                            && other.order < commit.order
                            && rows().any(|(table, key)| transaction.depends(table, key))
                    });
            between.map(|(other, _)| (id, other))
        });
        if let Some((id, other)) = broken {
            self.violation(format_args!(
                "#{id} depends on what #{other} wrote while it ran"
            ));
        }
    }

    /// What a session uploads leaves no acknowledged commit behind (PROTOCOL W3).
    fn in_order(&self, ids: &BTreeSet<usize>) -> Result<(), String> {
        for id in ids {
            let Commit { pid, order, .. } = self.log.commits[*id];
            let mut all = self.log.commits.iter().enumerate();
            let left = all.find(|(_, c)| {
                let earlier = c.pid == pid && c.order < order;
                earlier && c.local && c.status == Status::Acked && c.seq.is_none()
            });
            if let Some((left, _)) = left {
                return Err(format!(
                    "it has #{id}, and leaves #{left} of the same session behind"
                ));
            }
        }
        Ok(())
    }

    /// An object was deleted.
    pub fn deleted(&mut self, key: &str) {
        if self.log.files.contains(key) {
            self.violation(format_args!("{key} is deleted, and live"));
        }
        self.report.freed += u64::from(key.starts_with("log/"));
    }
}
