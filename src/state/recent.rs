//! What was committed lately, for transactions to be checked against (PROTOCOL C4). It is kept only
//! while a transaction is open, and bounded: what was let go makes older transactions conflict.
//! Invariant: `after(tick)` gives every change since that tick, or nothing at all.

use crate::{
    data::{key::Keys, rows::Rows},
    log::{edit::TableId, version::LiveFile},
};
use std::{collections::VecDeque, sync::Arc};

/// Rows of one table that a commit wrote.
#[derive(Clone, Debug)]
pub enum Touched {
    /// Their keys, ascending.
    Keys(Keys),
    /// A fresh sstable has them.
    File(LiveFile),
}

/// The rows that one commit, or one log record, wrote.
#[derive(Clone, Debug)]
pub struct Change {
    tick: u64,
    /// By table; a table may occur more than once.
    pub tables: Vec<(TableId, Touched)>,
}

/// The changes of late, oldest first.
#[derive(Clone, Debug)]
pub struct Recent {
    /// Counts changes, kept or not.
    tick: u64,
    /// Changes up to this one are not kept.
    forgotten: u64,
    changes: Arc<VecDeque<Arc<Change>>>,
    bytes: usize,
    limit: usize,
    watchers: usize,
}

impl Recent {
    /// None yet; at most about `limit` bytes will be kept.
    pub fn new(limit: usize) -> Self {
        Self {
            tick: 0,
            forgotten: 0,
            changes: Arc::default(),
            bytes: 0,
            limit,
            watchers: 0,
        }
    }

    /// This moment.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// All changes since `tick`; `None` if some of them are not known any more.
    pub fn after(&self, tick: u64) -> Option<impl Iterator<Item = &Change>> {
        let all = self.changes.iter().map(Arc::as_ref);
        (tick >= self.forgotten).then(|| all.filter(move |change| change.tick > tick))
    }

    /// One transaction more that is going to ask.
    pub fn watched(&self) -> Self {
        Self {
            watchers: self.watchers + 1,
            ..self.clone()
        }
    }

    /// One fewer.
    pub fn unwatched(&self) -> Self {
        let mut next = self.clone();
        next.watchers = self.watchers.saturating_sub(1);
        if next.watchers == 0 {
            next.forget();
        }
        next
    }

    /// After a commit, or a log record.
    pub fn with(&self, tables: Vec<(TableId, Touched)>) -> Self {
        let mut next = self.clone();
        next.tick += 1;
        if next.watchers == 0 {
            next.forget();
            return next;
        }
        let own = |(table, touched)| match touched {
            Touched::Keys(keys) => (table, Touched::Keys(keys.by_themselves())),
            file => (table, file),
        };
        let change = Change {
            tick: next.tick,
            tables: tables.into_iter().map(own).collect(),
        };
        let changes = Arc::make_mut(&mut next.changes);
        next.bytes += bytes_of(&change);
        changes.push_back(Arc::new(change));
        while next.bytes > next.limit
            && let Some(oldest) = changes.pop_front()
        {
            next.bytes -= bytes_of(&oldest);
            next.forgotten = oldest.tick;
        }
        next
    }

    /// After a leap in the log: what it passed over was not seen (C4).
    pub fn leapt(&self) -> Self {
        let mut next = self.clone();
        next.tick += 1;
        next.forget();
        next
    }

    fn forget(&mut self) {
        self.forgotten = self.tick;
        self.changes = Arc::default();
        self.bytes = 0;
    }
}

/// The keys of rows, as a change of their table.
pub fn touched(rows: &[(TableId, Rows)]) -> impl Iterator<Item = (TableId, Touched)> {
    (rows.iter()).map(|(table, rows)| (*table, Touched::Keys(rows.keys.clone())))
}

/// What a change takes of the bound.
fn bytes_of(change: &Change) -> usize {
    let of = |touched: &Touched| match touched {
        Touched::Keys(keys) => keys.memory_bytes(),
        Touched::File(file) => file.meta.min_key.len() + file.meta.max_key.len(),
    };
    let tables = change.tables.iter().map(|(_, touched)| 64 + of(touched));
    64 + tables.sum::<usize>()
}
