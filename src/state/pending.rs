//! The commits of the WAL that the log does not have yet, oldest first: which frames and which stamps are
//! whose. With it a floor of the log, wherever it falls, and a foreign record's timestamp become changes
//! of the pending rows (PROTOCOL W2, W3).
//! Invariants: stamps ascend strictly; each pending row carries the stamp of a commit in here.

use crate::wal::{Position, SessionId};
use std::{collections::BTreeMap, sync::Arc};

/// A new state shares all chunks with the one before but the last.
const CHUNK: usize = 128;

/// One commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingCommit {
    /// Its stable name.
    pub position: Position,
    /// What its rows carry now: provisional, above the head.
    pub stamp: i64,
    /// What the device's clock said when it was made, in microseconds.
    pub made: i64,
    /// Rows it wrote.
    pub rows: u64,
}

/// Commits, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    chunks: Vec<Arc<Vec<PendingCommit>>>,
}

/// Stamps of commits that are gone.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    /// All up to this one; those that were uploaded usually are.
    to: Option<i64>,
    /// Others, ascending.
    others: Vec<i64>,
}

impl Gone {
    /// Whether that one is among them.
    pub fn has(&self, stamp: i64) -> bool {
        self.to.is_some_and(|to| stamp <= to) || self.others.binary_search(&stamp).is_ok()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.to.is_none() && self.others.is_empty()
    }
}

/// Old stamps and what they became; ascending on both sides.
#[derive(Clone, Debug)]
pub struct Raise(Vec<(i64, i64)>);

impl Raise {
    /// What a row's stamp becomes.
    pub fn of(&self, stamp: i64) -> i64 {
        match self.0.binary_search_by_key(&stamp, |(old, _)| *old) {
            Ok(at) => self.0.get(at).map_or(stamp, |(_, new)| *new),
            Err(_) => stamp,
        }
    }
}

impl Pending {
    /// With one more, newer than all.
    pub fn push(&mut self, commit: PendingCommit) {
        match self.chunks.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => Arc::make_mut(last).push(commit),
            None => self.chunks.push(Arc::new(vec![commit])),
        }
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &PendingCommit> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The newest one's stamp.
    pub fn newest(&self) -> Option<i64> {
        self.iter().next_back().map(|commit| commit.stamp)
    }

    /// The last frame of each session.
    pub fn positions(&self) -> BTreeMap<SessionId, u64> {
        let position = |c: &PendingCommit| (c.position.session, c.position.frame);
        self.iter().map(position).collect()
    }

    /// The first frame of each session.
    pub fn first_frames(&self) -> BTreeMap<SessionId, u64> {
        let mut first = BTreeMap::new();
        let mut last = None;
        for commit in self.iter() {
            let Position { session, frame } = commit.position;
            if last != Some(session) {
                first.entry(session).or_insert(frame);
                last = Some(session);
            }
        }
        first
    }

    /// Without those that `leave`, and their stamps.
    pub fn without(&self, leave: &dyn Fn(&PendingCommit) -> bool) -> (Self, Gone) {
        let (mut kept, mut gone) = (Self::default(), Gone::default());
        for commit in self.iter() {
            match (leave(commit), kept.is_empty()) {
                (false, _) => kept.push(*commit),
                (true, true) => gone.to = Some(commit.stamp),
                (true, false) => gone.others.push(commit.stamp),
            }
        }
        (kept, gone)
    }

    /// PROTOCOL W2, pending rows sort after the head: stamps that `head` has reached move just above it,
    /// in order, and push others only as far as they must. So no stamp runs ahead of the clock because
    /// of a gap between two commits. `None` if all are above.
    pub fn raised(&self, head: i64) -> Option<(Self, Raise)> {
        let mut least = head.saturating_add(1);
        let (mut raised, mut moved) = (Self::default(), Vec::new());
        for commit in self.iter() {
            let stamp = commit.stamp.max(least);
            if stamp != commit.stamp {
                moved.push((commit.stamp, stamp));
            } else if moved.is_empty() {
                return None;
            }
            least = stamp.saturating_add(1);
            raised.push(PendingCommit { stamp, ..*commit });
        }
        (!moved.is_empty()).then_some((raised, Raise(moved)))
    }
}
