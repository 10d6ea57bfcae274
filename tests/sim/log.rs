//! The truth: what every record said as it took effect (`record` reads them), who the commits are, what
//! tables and columns there were when, and the rows as a plain map of versions.

use super::{
    rows::{Content, Row},
    shape::{Change, Shape},
    world::{MINUTE, Pid, World},
};
use lakeshore::{
    Committed,
    log::{
        edit::TableId,
        record::{Digest, seq_of},
    },
    sstable::meta::Ulid,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The second may be altered, dropped and created again.
pub const TABLES: [&str; 2] = ["a", "b"];
pub const ALTERED: usize = 1;

/// The columns of a new table of that name.
pub fn first_shape(name: usize) -> Shape {
    Shape::first(name != ALTERED)
}

/// Writes of one table: no value deletes.
pub type Writes = Vec<(i64, Option<Row>)>;

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
    pub writes: BTreeMap<TableId, Writes>,
    pub status: Status,
    /// True time when it was called.
    pub at: u64,
    /// The device's clock was ahead then, by more than the store lets it (PROTOCOL T1).
    pub ahead: bool,
    /// Commits of one process are queued in this order.
    pub order: u64,
    /// What it depends on, if it is a transaction.
    pub transaction: Option<Transaction>,
    /// What was said of it when it was acknowledged.
    pub committed: Option<Committed>,
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
    pub keys: BTreeSet<(TableId, i64)>,
    /// Tables that it read as a whole, if it is serializable.
    pub tables: BTreeSet<TableId>,
}

impl Transaction {
    /// Whether it depends on a row.
    pub fn depends(&self, table: TableId, key: i64) -> bool {
        self.keys.contains(&(table, key)) || self.tables.contains(&table)
    }
}

/// A change of the catalog that some device asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub what: Ask,
    /// The position its handle was at.
    pub since: u64,
    /// It was refused.
    pub refused: bool,
    /// Its record, or that of another that asked for the same.
    pub seq: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Alter(Vec<Change>),
    Drop,
}

/// A table from its first record on; names may come again.
#[derive(Clone, Debug)]
pub struct TableLog {
    pub name: usize,
    pub created: u64,
    pub dropped: Option<u64>,
    /// True time of that.
    pub gone: u64,
    /// Each schema version, and the record that made it.
    pub shapes: Vec<(u64, Arc<Shape>)>,
}

impl TableLog {
    pub fn lives(&self, seq: u64) -> bool {
        self.created <= seq && self.dropped.is_none_or(|at| at > seq)
    }

    /// The columns at a record.
    pub fn shape(&self, seq: u64) -> &Arc<Shape> {
        let later = self.shapes.partition_point(|(at, _)| *at <= seq);
        &self.shapes[later.saturating_sub(1)].1
    }
}

/// A row at rest: its table, key, timestamp and value.
pub type Version = (TableId, i64, i64, Option<Row>);

/// A record, and what it wrote to some row.
pub type Written = (u64, Option<Row>);

/// What one record wrote.
pub type Fresh = BTreeMap<(TableId, i64), Option<Row>>;

#[derive(Default)]
pub struct Log {
    pub head: u64,
    /// Of each record; record `n` at place `n`.
    pub digests: Vec<Digest>,
    pub ts: Vec<i64>,
    pub fresh: Vec<Fresh>,
    pub commits: Vec<Commit>,
    pub asked: Vec<Asked>,
    pub history: BTreeMap<(TableId, i64), Vec<Written>>,
    pub tables: BTreeMap<TableId, TableLog>,
    pub inline: Vec<(u64, Version)>,
    pub inline_floor: u64,
    pub orphan_floor: Option<Ulid>,
    pub watermark: i64,
    pub tags: BTreeMap<String, i64>,
    pub files: BTreeSet<String>,
    /// The last record that gc deleted.
    pub freed: u64,
    /// Numbers of records that took a name that gc had freed.
    pub ghosts: Vec<u64>,
}

impl Log {
    /// The last record at or below a timestamp.
    pub fn at(&self, ts: i64) -> u64 {
        self.ts.partition_point(|t| *t <= ts).saturating_sub(1) as u64
    }

    /// The rows of a table at a record.
    pub fn content(&self, table: TableId, seq: u64) -> Content {
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

    /// The table of that name at a record.
    pub fn table(&self, name: usize, seq: u64) -> Option<(TableId, Arc<Shape>)> {
        let mut tables = self.tables.iter().rev();
        let (id, table) = tables.find(|(_, t)| t.name == name && t.lives(seq))?;
        Some((*id, table.shape(seq).clone()))
    }

    /// Whether a table is there at the head.
    pub fn lives(&self, table: TableId) -> bool {
        self.tables.get(&table).is_some_and(|t| t.dropped.is_none())
    }

    /// Whether all rows of a commit died with their tables (PROTOCOL C6).
    pub fn is_dead(&self, commit: &Commit) -> bool {
        commit.writes.keys().all(|table| !self.lives(*table))
    }
}

impl World {
    /// A device is about to commit: the number that its marker rows carry.
    pub fn register(&mut self, pid: Pid, local: bool, writes: BTreeMap<TableId, Writes>) -> usize {
        let name = self.name(pid);
        let id = self.log.commits.len();
        self.note(format_args!("{name} commits #{id} {writes:?}"));
        self.log.commits.push(Commit {
            pid,
            local,
            writes,
            status: Status::Open,
            at: self.now,
            ahead: self.processes[pid].clock.skew > 4 * MINUTE as i64,
            order: 0,
            transaction: None,
            committed: None,
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

    /// A commit was acknowledged.
    pub fn acked(&mut self, id: usize, committed: &Committed) {
        self.note(format_args!("#{id} is acknowledged"));
        self.report.acked += 1;
        let commit = &mut self.log.commits[id];
        commit.status = Status::Acked;
        commit.committed = Some(*committed);
        match commit.seq {
            _ if commit.local => {}
            None => self.violation(format_args!("#{id} is acknowledged, and not in the log")),
            Some(seq) if self.log.ts[seq as usize] != committed.ts => {
                let (ts, at) = (committed.ts, self.log.ts[seq as usize]);
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

    /// An object was deleted.
    pub fn deleted(&mut self, key: &str) {
        if self.log.files.contains(key) {
            self.violation(format_args!("{key} is deleted, and live"));
        }
        if let Some(seq) = key.starts_with("log/").then(|| seq_of(key)).flatten() {
            self.report.freed += 1;
            self.log.freed = self.log.freed.max(seq);
        }
    }
}
