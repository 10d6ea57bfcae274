//! Leaves of each key only the newest version at or below a timestamp: no other is seen by a reader as of
//! it. Invariants: at most one row is held back, in reverse, where a newer version may still come; tombstones
//! are versions like others (they hide what other sources have).

use crate::{
    data::rows::{Rows, Stamps},
    error::Result,
    merge::pick_rows,
};
use arrow_buffer::BooleanBuffer;
use std::collections::VecDeque;

pub(super) struct Visible {
    as_of: i64,
    reverse: bool,
    multi_version: bool,
    /// Forward: the last key, and whether its version was found.
    last: Option<(Vec<u8>, bool)>,
    /// In reverse: the version found so far of the smallest key yet.
    held: Option<Rows>,
    ready: VecDeque<Rows>,
}

impl Visible {
    pub(super) fn new(as_of: i64, reverse: bool, multi_version: bool) -> Self {
        Self {
            as_of,
            reverse,
            multi_version,
            last: None,
            held: None,
            ready: VecDeque::new(),
        }
    }

    /// The next rows that are sure, never empty.
    pub(super) fn pop(&mut self) -> Option<Rows> {
        self.ready.pop_front()
    }

    /// The scan's next batch.
    pub(super) fn push(&mut self, rows: Rows) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if !self.multi_version {
            let kept = match &rows.stamps {
                Stamps::All(ts) if *ts <= self.as_of => return self.give(rows),
                Stamps::All(_) => return Ok(()),
                Stamps::Each(all) => all.values().iter().map(|ts| *ts <= self.as_of).collect(),
            };
            return self.give(pick_rows(&rows, &kept)?);
        }
        match self.reverse {
            false => self.forward(rows),
            true => self.backward(rows),
        }
    }

    /// After the last batch.
    pub(super) fn end(&mut self) {
        self.ready.extend(self.held.take());
    }

    fn give(&mut self, rows: Rows) -> Result<()> {
        if !rows.is_empty() {
            self.ready.push_back(rows);
        }
        Ok(())
    }

    fn forward(&mut self, rows: Rows) -> Result<()> {
        let last = self.last.take();
        let known = last.as_ref().map(|(key, found)| (key.as_slice(), *found));
        let (kept, found) = newest(&rows, self.as_of, known);
        self.last = Some((rows.keys.get(rows.len() - 1).to_vec(), found));
        self.give(pick_rows(&rows, &kept)?)
    }

    fn backward(&mut self, rows: Rows) -> Result<()> {
        let (kept, found_last) = newest(&rows, self.as_of, None);
        let (first, last) = (rows.keys.get(0), rows.keys.get(rows.len() - 1));
        if let Some(held) = self.held.take() {
            match held.keys.get(0) == last {
                // A newer one than it.
                true if found_last => {}
                true if first == last => self.held = Some(held),
                _ => self.ready.push_back(held),
            }
        }
        let mut picked = pick_rows(&rows, &kept)?;
        if !picked.is_empty() && picked.keys.get(0) == first {
            self.held = Some(picked.slice(0, 1));
            picked = picked.slice(1, picked.len() - 1);
        }
        self.give(picked)
    }
}

/// Which rows are the newest of their key at or below `as_of`, and whether that of the last key is among
/// them. `known`: the key before, and whether its version was found.
fn newest(rows: &Rows, as_of: i64, known: Option<(&[u8], bool)>) -> (BooleanBuffer, bool) {
    let (mut before, mut found) = match known {
        Some((key, found)) => (Some(key), found),
        None => (None, false),
    };
    let keep = |row: usize| {
        let key = rows.keys.get(row);
        if before != Some(key) {
            (before, found) = (Some(key), false);
        }
        let kept = !found && rows.stamps.get(row) <= as_of;
        found |= kept;
        kept
    };
    let kept = (0..rows.len()).map(keep).collect();
    (kept, found)
}
