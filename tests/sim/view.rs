//! What a reader should see: the log up to its position, and after it, on a local device, its own commits
//! that are pending there, in their order. What was seen is compared with that, whenever it was read.

use super::{
    log::Status,
    rows::{self, Content, MARK, Row},
    shape::Shape,
    world::{GRACE, Pid, World},
};
use arrow_array::RecordBatch;
use lakeshore::{Error, ErrorKind, log::edit::TableId};
use std::sync::Arc;

/// More undecided deletions than this are not tried out.
const MOST_UNDECIDED: usize = 6;

/// A moment of one reader, whose rows are still to come.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub pid: Pid,
    /// The position it says it is at.
    pub seq: u64,
    /// Own commits that are not in the log up to `seq`; whether each has to be there.
    pending: Vec<(usize, bool)>,
    began: u64,
    missing: u64,
}

impl Ticket {
    /// The log alone, as of a record.
    pub fn of_log(mut self, seq: u64) -> Self {
        self.pending.clear();
        self.seq = seq;
        self
    }
}

impl World {
    /// The reader's state of this moment is at `seq`.
    pub fn ticket(&mut self, pid: Pid, seq: u64) -> Ticket {
        if seq > self.log.head {
            let name = self.name(pid);
            let head = self.log.head;
            self.violation(format_args!("{name} is at {seq}, the log is at {head}"));
        }
        let device = self.processes[pid].device;
        let (sessions, lost) = (
            &self.devices[device].sessions,
            &self.devices[device].maybe_lost,
        );
        let pending = self
            .log
            .commits
            .iter()
            .enumerate()
            .filter_map(|(id, commit)| {
                let refused = commit.status == Status::Refused;
                let own = commit.local && !refused && sessions.contains_key(&commit.pid);
                let here = own && sessions[&commit.pid].is_none_or(|before| id < before);
                let later = commit.seq.is_none_or(|at| at > seq);
                (here && later)
                    .then_some((id, commit.status == Status::Acked && !lost.contains(&id)))
            });
        let mut pending: Vec<(usize, bool)> = pending.collect();
        pending.sort_by_key(|(id, _)| self.log.commits[*id].order);
        Ticket {
            pid,
            seq,
            pending,
            began: self.now,
            missing: self.processes[pid].missing,
        }
    }

    /// The table of that name at a ticket's moment, and its columns.
    pub fn table_of(&self, ticket: &Ticket, name: usize) -> Option<(TableId, Arc<Shape>)> {
        self.log.table(name, ticket.seq)
    }

    fn shape_of(&self, ticket: &Ticket, table: TableId) -> Arc<Shape> {
        self.log.tables[&table].shape(ticket.seq).clone()
    }

    /// The rows of a batch of all columns of a table; they must be those of the ticket's moment.
    pub fn unpack(
        &mut self,
        ticket: &Ticket,
        table: TableId,
        batch: &RecordBatch,
    ) -> Option<Vec<(i64, Row)>> {
        match rows::unpack(&self.shape_of(ticket, table), batch) {
            Ok(rows) => Some(rows),
            Err(what) => {
                let name = self.name(ticket.pid);
                self.violation(format_args!(
                    "{name} at {} reads table {table}: {what}",
                    ticket.seq
                ));
                None
            }
        }
    }

    /// Compares what was read, table by table, with what the ticket's moment had.
    pub fn check_view(&mut self, ticket: &Ticket, got: &[(TableId, Content)]) {
        self.report.views += 1;
        // A scan that met a missing file may have begun again on a newer state (PROTOCOL G4).
        let restarted = self.processes[ticket.pid].missing > ticket.missing;
        if restarted || got.is_empty() {
            return;
        }
        let undecided: Vec<usize> = (ticket.pending.iter())
            .filter(|(id, must)| !must && self.hidden(*id))
            .map(|(id, _)| *id)
            .collect();
        if undecided.len() > MOST_UNDECIDED {
            self.report.skipped += 1;
            return;
        }
        let mut best: Option<String> = None;
        for choice in 0..1u32 << undecided.len() {
            let there = |id: &usize| {
                let at = undecided.iter().position(|u| u == id);
                at.map(|at| choice >> at & 1 == 1)
            };
            match self.difference(ticket, got, &there) {
                None => return,
                Some(what) => best = best.or(Some(what)),
            }
        }
        let name = self.name(ticket.pid);
        let what = best.unwrap_or_default();
        self.violation(format_args!("{name} at {}: {what}", ticket.seq));
    }

    /// Whether a scan cannot show that a commit is there: it has no marker row that lives.
    fn hidden(&self, id: usize) -> bool {
        let writes = self.log.commits[id].writes.values().flatten();
        !writes
            .clone()
            .any(|(key, value)| *key >= MARK && value.is_some())
    }

    fn difference(
        &self,
        ticket: &Ticket,
        got: &[(TableId, Content)],
        there: &dyn Fn(&usize) -> Option<bool>,
    ) -> Option<String> {
        let all = got;
        for (table, got) in all {
            let mask = self.shape_of(ticket, *table).mask();
            let mut expected = self.log.content(*table, ticket.seq);
            for row in expected.values_mut() {
                *row = row.only(mask);
            }
            for (id, must) in &ticket.pending {
                let Some(writes) = self.log.commits[*id].writes.get(table) else {
                    continue;
                };
                // In one table, in all: it is atomic.
                let marked = || {
                    all.iter()
                        .any(|(_, rows)| rows.contains_key(&(MARK + *id as i64)))
                };
                if *must || there(id).unwrap_or_else(marked) {
                    for (key, value) in writes {
                        match value {
                            Some(row) => _ = expected.insert(*key, row.only(mask)),
                            None => _ = expected.remove(key),
                        }
                    }
                }
            }
            if *got != expected {
                let lost: Vec<_> = expected
                    .iter()
                    .filter(|(k, v)| got.get(k) != Some(v))
                    .collect();
                let new: Vec<_> = got
                    .iter()
                    .filter(|(k, v)| expected.get(k) != Some(v))
                    .collect();
                return Some(format!(
                    "table {table} has {new:?} in place of {lost:?} (pending {:?})",
                    ticket.pending
                ));
            }
        }
        None
    }

    /// Compares one row with what the ticket's moment had, where that is certain.
    pub fn check_get(
        &mut self,
        ticket: &Ticket,
        table: TableId,
        key: i64,
        got: Option<&RecordBatch>,
    ) {
        if self.processes[ticket.pid].missing > ticket.missing {
            return;
        }
        let got = match got {
            None => None,
            Some(batch) => match self.unpack(ticket, table, batch) {
                Some(rows) if rows.len() == 1 && rows[0].0 == key => Some(rows[0].1),
                Some(rows) => return self.violation(format_args!("get {key} gives {rows:?}")),
                None => return,
            },
        };
        let mut expected = self.log.content(table, ticket.seq).get(&key).copied();
        for (id, must) in &ticket.pending {
            let writes = self.log.commits[*id].writes.get(&table);
            let written = writes.and_then(|w| w.iter().find(|(k, _)| *k == key));
            match written {
                Some(_) if !must => return,
                Some((_, value)) => expected = *value,
                None => {}
            }
        }
        let mask = self.shape_of(ticket, table).mask();
        let expected = expected.map(|row| row.only(mask));
        if got != expected {
            let name = self.name(ticket.pid);
            let seq = ticket.seq;
            let what =
                format!("{name} at {seq}: table {table}[{key}] is {got:?}, not {expected:?}");
            self.violation(what);
        }
    }

    /// A read failed. `Expired` is for who is older than the grace time; or whose position is, where files went
    /// with their table, which they do once no read as of the past sees it.
    pub fn read_failed(&mut self, ticket: &Ticket, error: &Error) {
        let age = self.now - ticket.began;
        let name = self.name(ticket.pid);
        let mut tables = self.log.tables.values();
        let passed = |seq: u64| self.log.ts[seq as usize] <= self.log.watermark;
        let gone = tables.any(|t| {
            t.lives(ticket.seq) && t.dropped.is_some_and(passed) && t.gone + GRACE < self.now
        });
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Closed => {}
            ErrorKind::Expired if age > GRACE || gone => {}
            ErrorKind::Invalid if gone && error.message().contains("dropped") => {}
            _ => self.violation(format_args!(
                "{name} reads, {} s old: {error}",
                age / 1_000_000
            )),
        }
    }
}
