//! What a reader should see: the log up to its position, and after it, on a local device, its own commits
//! that are pending there, in their order. What was seen is compared with that, whenever it was read.

use super::{
    log::{Status, TABLES},
    rows::{Content, MARK},
    world::{GRACE, Pid, World},
};
use lakeshore::{Error, ErrorKind};

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

    /// Compares what was read, table by table, with what the ticket's moment had.
    pub fn check_view(&mut self, ticket: &Ticket, got: &[Option<Content>]) {
        self.report.views += 1;
        // A scan that met a missing file may have begun again on a newer state (PROTOCOL G4).
        let restarted = self.processes[ticket.pid].missing > ticket.missing;
        if restarted || got.iter().all(Option::is_none) {
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
        got: &[Option<Content>],
        there: &dyn Fn(&usize) -> Option<bool>,
    ) -> Option<String> {
        for (table, got) in got.iter().enumerate() {
            let Some(got) = got else { continue };
            let mut expected = self.log.content(table, ticket.seq);
            for (id, must) in &ticket.pending {
                let Some(writes) = self.log.commits[*id].writes.get(&table) else {
                    continue;
                };
                let marked = || got.contains_key(&(MARK + *id as i64));
                if *must || there(id).unwrap_or_else(marked) {
                    for (key, value) in writes {
                        match value {
                            Some(value) => _ = expected.insert(*key, *value),
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
                    "table {} has {new:?} in place of {lost:?} (pending {:?})",
                    TABLES[table], ticket.pending
                ));
            }
        }
        None
    }

    /// Compares one row with what the ticket's moment had, where that is certain.
    pub fn check_get(&mut self, ticket: &Ticket, table: usize, key: i64, got: Option<i64>) {
        if self.processes[ticket.pid].missing > ticket.missing {
            return;
        }
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
        if got != expected {
            let name = self.name(ticket.pid);
            let (seq, table) = (ticket.seq, TABLES[table]);
            let what = format!("{name} at {seq}: {table}[{key}] is {got:?}, not {expected:?}");
            self.violation(what);
        }
    }

    /// A read failed. `Expired` is for who is older than the grace time.
    pub fn read_failed(&mut self, ticket: &Ticket, error: &Error) {
        let age = self.now - ticket.began;
        let name = self.name(ticket.pid);
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Closed => {}
            ErrorKind::Expired if age > GRACE => {}
            _ => self.violation(format_args!(
                "{name} reads, {} s old: {error}",
                age / 1_000_000
            )),
        }
    }
}
