//! Groups of commits, decided purely: which of those that wait go together, who of them may commit on a
//! state, and the edits and frames that makes (PROTOCOL C1, C4, C6).

use super::{
    commit::Committed,
    conflict::{Footprint, Verdict},
    log::dropped,
    queue::{Job, Waiting},
    transaction::Watch,
};
use crate::{
    data::{
        held::Held,
        rows::{Rows, Stamps},
    },
    env::Reservation,
    error::{Error, ErrorKind, Result},
    flush::is_orphan,
    log::{
        edit::{Edit, TableId},
        version::LiveFile,
    },
    merge::Kind,
    state::{State, TableRows, recent::Touched},
    wal::{FrameBody, FrameKind},
};
use arrow_buffer::Buffer;
use bytes::Bytes;
use std::collections::VecDeque;

/// Most commits of one group: bounds the wait of the first.
pub(super) const GROUP_COMMITS: usize = 256;

/// A commit, ready to go.
pub(super) struct Prepared {
    /// One entry a table, or two: rows, and deletes of other keys.
    pub(super) tables: Vec<TableWrite>,
    /// What a transaction is checked by.
    pub(super) footprint: Option<Footprint>,
    /// Keeps what it is checked against, until it is decided.
    pub(super) _watch: Option<Watch>,
    /// What it takes of the memory for writes, until it is in the memtables.
    pub(super) memory: Option<Reservation>,
}

/// Rows of one commit to one table.
pub(super) struct TableWrite {
    pub(super) table: TableId,
    pub(super) schema_version: u32,
    pub(super) rows: Rows,
    /// The same as IPC streams; no key is in two of them.
    pub(super) bodies: Vec<(Kind, Bytes)>,
}

impl TableWrite {
    /// Bytes of memory that it keeps.
    pub(super) fn memory_bytes(&self) -> usize {
        let mut held = Held::default();
        self.rows.held(&mut held);
        for (_, ipc) in &self.bodies {
            held.buffer(&Buffer::from(ipc.clone()));
        }
        held.bytes()
    }

    /// Bytes of its IPC streams.
    pub(super) fn bytes(&self) -> usize {
        self.bodies.iter().map(|(_, ipc)| ipc.len()).sum()
    }
}

impl Prepared {
    /// Bytes of memory that it keeps.
    pub(super) fn memory_bytes(&self) -> usize {
        self.tables.iter().map(TableWrite::memory_bytes).sum()
    }

    /// Bytes of its IPC streams.
    pub(super) fn bytes(&self) -> usize {
        self.tables.iter().map(TableWrite::bytes).sum()
    }

    /// How many rows it writes.
    pub(super) fn rows(&self) -> u64 {
        self.tables.iter().map(|t| t.rows.len() as u64).sum()
    }

    /// The keys it writes, as transactions are checked against them.
    pub(super) fn touched(&self) -> impl Iterator<Item = (TableId, Touched)> {
        let keys = |t: &TableWrite| (t.table, Touched::Keys(t.rows.keys.clone()));
        self.tables.iter().map(keys)
    }

    /// Its rows, for the memtables.
    pub(super) fn stamped(&self, stamp: i64) -> Vec<TableRows> {
        let stamped = |t: &TableWrite| TableRows {
            table: t.table,
            schema_version: t.schema_version,
            rows: with_stamp(t.rows.clone(), stamp),
        };
        self.tables.iter().map(stamped).collect()
    }

    /// Its WAL frames.
    pub(super) fn frames(&self) -> Vec<FrameBody> {
        let mut frames = Vec::new();
        for part in &self.tables {
            frames.extend(part.bodies.iter().map(|(kind, ipc)| FrameBody {
                table: part.table,
                kind: match kind {
                    Kind::Upsert => FrameKind::Upsert,
                    Kind::Delete => FrameKind::Delete,
                },
                schema_version: part.schema_version,
                payload: ipc.clone(),
            }));
        }
        frames
    }

    /// The edits of its rows, inline.
    fn edits(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        for part in &self.tables {
            edits.extend(part.bodies.iter().map(|(kind, ipc)| Edit::Rows {
                table: part.table,
                schema_version: part.schema_version,
                kind: *kind,
                ipc: ipc.clone(),
            }));
        }
        edits
    }
}

/// The same rows with one timestamp.
pub(super) fn with_stamp(rows: Rows, stamp: i64) -> Rows {
    Rows {
        stamps: Stamps::All(stamp),
        ..rows
    }
}

/// The next commits of `waiting` that fit into one record; answers barriers before them. `None` if there
/// are none, or the next one waits for memory. A transaction is in a group that goes inline as a whole, or alone: what is in sstables cannot be
/// taken out again should it conflict.
pub(super) fn next_group(waiting: &mut VecDeque<Job>, bound: usize) -> Option<Vec<Waiting>> {
    let mut group: Vec<Waiting> = Vec::new();
    let (mut bytes, mut transactions) = (0, false);
    while group.is_empty() || (group.len() < GROUP_COMMITS && bytes < bound) {
        match waiting.pop_front() {
            Some(Job::Commit(prepared, sender)) => {
                let more = bytes + prepared.bytes();
                let transaction = prepared.footprint.is_some();
                if !group.is_empty() && more > bound && (transaction || transactions) {
                    waiting.push_front(Job::Commit(prepared, sender));
                    break;
                }
                (bytes, transactions) = (more, transactions || transaction);
                group.push((prepared, sender));
            }
            Some(Job::Barrier(sender)) if group.is_empty() => {
                let _ = sender.send(());
            }
            Some(barred) => {
                waiting.push_front(barred);
                break;
            }
            None => break,
        }
    }
    (!group.is_empty()).then_some(group)
}

/// A member of a group, and an sstable that may have keys it depends on.
pub(super) type Question = (usize, TableId, LiveFile);

/// What is to become of a group on one state.
#[derive(Default)]
pub(super) struct Decided {
    /// By member, why it may not commit.
    refused: Vec<Option<Error>>,
    /// What must be found out before that is known.
    pub(super) open: Vec<Question>,
}

/// Who of a group may commit on `state`, each after those before it.
pub(super) fn decide(group: &[Prepared], state: &State) -> Decided {
    let mut decided = Decided::default();
    let mut earlier: Vec<(TableId, Touched)> = Vec::new();
    let transactions = group.iter().any(|p| p.footprint.is_some());
    for (member, prepared) in group.iter().enumerate() {
        let mut refusal = refused(prepared, state).or_else(|| read_what_is_gone(prepared, state));
        if let (None, Some(footprint)) = (&refusal, &prepared.footprint) {
            match footprint.verdict(&state.recent, &earlier) {
                Verdict::Free => {}
                Verdict::Conflict(table) => refusal = Some(conflict(state, table)),
                Verdict::Ask(files) => {
                    let questions = files.into_iter().map(|(table, file)| (member, table, file));
                    decided.open.extend(questions);
                }
            }
        }
        if transactions && refusal.is_none() {
            earlier.extend(prepared.touched());
        }
        decided.refused.push(refusal);
    }
    decided
}

/// What a transaction read of a table that was dropped since changed, whatever was in it (PROTOCOL C4).
fn read_what_is_gone(prepared: &Prepared, state: &State) -> Option<Error> {
    let read = prepared.footprint.as_ref()?.reads.keys();
    let gone = read.copied().find(|id| !state.tables.contains_key(id));
    gone.map(|table| conflict(state, Some(table)))
}

impl Decided {
    /// Whether nobody may commit.
    pub(super) fn all_refused(&self) -> bool {
        self.refused.iter().all(Option::is_some)
    }

    /// Those of the group that may.
    pub(super) fn accepted<'a>(&self, group: &'a [Prepared]) -> impl Iterator<Item = &'a Prepared> {
        let refused = self.refused.iter();
        (group.iter().zip(refused)).filter_map(|(prepared, refusal)| match refusal {
            None => Some(prepared),
            Some(_) => None,
        })
    }

    /// The answer for each member; `done` makes that of one that was committed.
    pub(super) fn answers(
        self,
        group: &[Prepared],
        mut done: impl FnMut(&Prepared) -> Committed,
    ) -> Vec<Result<Committed>> {
        let answer = |(refusal, prepared): (Option<Error>, &Prepared)| match refusal {
            Some(error) => Err(error),
            None => Ok(done(prepared)),
        };
        self.refused.into_iter().zip(group).map(answer).collect()
    }
}

/// PROTOCOL C6: rows for a table that was dropped meanwhile.
fn refused(prepared: &Prepared, state: &State) -> Option<Error> {
    let gone = |t: &TableWrite| !state.version.tables.contains_key(&t.table);
    (prepared.tables.iter().any(gone)).then(dropped)
}

fn conflict(state: &State, table: Option<TableId>) -> Error {
    let name = |id| state.version.tables.get(&id).map(|t| t.name.as_str());
    let why = match table.map(name) {
        Some(Some(name)) => {
            format!("rows it depends on in table {name:?} were changed by another commit")
        }
        Some(None) => "a table it read was dropped".to_owned(),
        None => "what was committed since it began is not known here any more".to_owned(),
    };
    Error::new(
        ErrorKind::Conflict,
        format!("the transaction was not committed: {why}; run it again"),
    )
}

/// The edits of those that may commit, inline.
pub(super) fn inline_edits(group: &[Prepared], decided: &Decided) -> Vec<Edit> {
    decided.accepted(group).flat_map(Prepared::edits).collect()
}

/// The edits of sstables that were written for a group, if gc leaves them alone (PROTOCOL G3). Rows of
/// a table that was dropped meanwhile die with it (C6).
pub(super) fn fresh_edits(edits: &[Edit], state: &State) -> Result<Vec<Edit>> {
    let floor = state.version.orphan_floor;
    if edits.iter().any(|edit| is_orphan(edit, floor)) {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the commit took longer than the grace time, and gc counts its sstables as orphans: retry",
        ));
    }
    let lives = |edit: &&Edit| state.version.takes(edit);
    Ok(edits.iter().filter(lives).cloned().collect())
}
