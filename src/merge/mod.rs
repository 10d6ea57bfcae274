//! The k-way merge over sorted [`Rows`], pure: a driver feeds batches, the merge says what it needs.
//! It decides which versions of a key survive; nothing below it may drop a row by value (DESIGN
//! promise 3). Invariants of the input: each source ascends by key and descends by timestamp within
//! a key, across its batches (in reverse: batches go backwards, rows inside still ascend); the
//! versions of one key of one source lie in one batch; equal (key, timestamp) are equal rows. What it
//! gives out keeps within a bound of rows and bytes, and it holds no batch longer than it must: one that
//! was passed is let go at once, unless rows of it wait to be given out.

mod gather;
mod sort;

pub use gather::{concat_rows, pick_rows};
pub use sort::{Kind, sorted_rows};

use crate::{
    data::{
        bound::Bound,
        rows::{Rows, Stamps, Tombstones},
    },
    error::Result,
};
use gather::Gather;
use std::{cmp::Ordering, collections::VecDeque};

/// Which versions of a key survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest at or below `as_of`, if it is no tombstone: what a reader sees.
    Visible {
        /// Microseconds since the Unix epoch.
        as_of: i64,
    },
    /// The newest, tombstones too: what a device uploads (PROTOCOL T5).
    Newest,
    /// Every version above the watermark and the newest at or below it (PROTOCOL G1).
    Versions {
        /// Microseconds since the Unix epoch; `i64::MIN` keeps all.
        watermark: i64,
    },
}

/// What the merge can do next.
#[derive(Debug)]
pub enum Step {
    /// Feed this source before going on.
    Need(usize),
    /// Rows in order; in reverse, descending by key.
    Rows(Rows),
    /// Every source is finished and everything was given out.
    Done,
}

/// One input: a batch with the rows `at..end` still to come.
struct Source {
    rows: Option<Rows>,
    piece: usize,
    at: usize,
    end: usize,
    finished: bool,
    /// It is not read before another source reaches this key: it has none before it.
    awaits: Option<Vec<u8>>,
    /// Every row of the batch is the only version of its key here and survives if no other source
    /// has the key: whole stretches go through at once.
    plain: bool,
}

/// The merge.
pub struct Merge {
    sources: Vec<Source>,
    /// Sources with rows, by head key: the next to give first.
    order: Vec<usize>,
    /// By source: the first bytes of its head key, side by side, so that they stay in the cache.
    prefixes: Vec<u128>,
    unfed: VecDeque<usize>,
    keep: Keep,
    reverse: bool,
    out: Gather,
    group: Vec<(i64, usize, usize)>,
    /// Scratch of `resolve`.
    taken: Vec<usize>,
}

impl Merge {
    /// A merge of `sources` inputs. `keys` says whether the output must carry keys, stamps and
    /// tombstones (a flush needs them, a scan does not).
    pub fn new(sources: usize, keep: Keep, reverse: bool, keys: bool) -> Self {
        let source = || Source {
            rows: None,
            piece: 0,
            at: 0,
            end: 0,
            finished: false,
            awaits: None,
            plain: false,
        };
        Self {
            sources: (0..sources).map(|_| source()).collect(),
            order: Vec::with_capacity(sources),
            prefixes: vec![0; sources],
            unfed: (0..sources).collect(),
            keep,
            reverse,
            out: Gather::new(keys, reverse),
            group: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// A source has no key before `key` (in reverse: after it), and is not needed until others reach that.
    pub fn announce(&mut self, source: usize, key: Vec<u8>) {
        self.unfed.retain(|s| *s != source);
        self.sources[source].awaits = Some(key);
        self.place(source);
    }

    /// Gives a source its next batch, or `None` if it has no more.
    pub fn feed(&mut self, source: usize, rows: Option<Rows>) {
        if self.sources[source].awaits.take().is_some() {
            self.order.retain(|s| *s != source);
            self.unfed.push_back(source);
        }
        let Some(rows) = rows else {
            self.sources[source].finished = true;
            self.unfed.retain(|s| *s != source);
            return;
        };
        if rows.is_empty() {
            return;
        }
        self.unfed.retain(|s| *s != source);
        let piece = self.out.add_piece(&rows);
        let plain = is_plain(&rows, self.keep);
        let s = &mut self.sources[source];
        (s.at, s.end, s.piece, s.plain) = (0, rows.len(), piece, plain);
        s.rows = Some(rows);
        self.place(source);
    }

    /// Goes on until as many rows are gathered as a batch of this bound takes (or fewer, if what they keep
    /// alive is more than that), a source needs feeding, or all is done.
    pub fn step(&mut self, bound: Bound) -> Result<Step> {
        loop {
            let out = &self.out;
            let full = out.len() >= bound.rows || out.bytes() >= bound.bytes;
            if full || out.retained() > bound.bytes {
                return Ok(Step::Rows(self.out.take(bound)?));
            }
            if let Some(&source) = self.unfed.front() {
                return Ok(Step::Need(source));
            }
            if self.order.is_empty() {
                return match self.out.len() {
                    0 => Ok(Step::Done),
                    _ => Ok(Step::Rows(self.out.take(bound)?)),
                };
            }
            if let Some(source) = self.awaited() {
                return Ok(Step::Need(source));
            }
            self.advance(bound);
        }
    }

    /// Sources that must be fed before any row can be given out, but for those that were announced.
    pub fn unfed(&self) -> impl Iterator<Item = usize> + '_ {
        self.unfed.iter().copied()
    }

    /// The key of the last row that was given out.
    pub fn last_key(&self) -> &[u8] {
        self.out.last_key()
    }

    /// A source that was reached before it was read.
    fn awaited(&self) -> Option<usize> {
        let first = *self.order.first()?;
        let shared = self.order.iter().copied();
        (shared.take_while(|&s| s == first || self.heads_equal(first, s)))
            .find(|&s| self.sources[s].awaits.is_some())
    }

    /// Gives out the stretch of the first source that no other source reaches into, or resolves
    /// the key that several sources (or several versions) share.
    fn advance(&mut self, bound: Bound) {
        let first = self.order[0];
        let shared = self
            .order
            .get(1)
            .is_some_and(|&second| self.heads_equal(first, second));
        if shared || !self.sources[first].plain {
            self.resolve();
            return;
        }
        let stretch = self.stretch(first, bound);
        let s = &mut self.sources[first];
        let taken = if self.reverse {
            let start = s.end - stretch;
            s.end = start;
            start
        } else {
            let start = s.at;
            s.at += stretch;
            start
        };
        self.out.push(s.piece, taken, stretch);
        self.order.remove(0);
        self.after_advance(first);
    }

    /// How many rows of `source` come before the head of every other source; at most as many as
    /// the batch being gathered takes.
    fn stretch(&self, source: usize, bound: Bound) -> usize {
        let s = &self.sources[source];
        let Some(rows) = &s.rows else { return 0 };
        let free = match self.order.get(1) {
            None => s.end - s.at,
            Some(&other) => {
                let rival = self.head(other);
                match self.reverse {
                    false => rows.keys.lower_bound(s.at, rival).min(s.end) - s.at,
                    true => s.end - backwards_upper_bound(&rows.keys, s.at, s.end, rival),
                }
            }
        };
        let free = free.max(1);
        let start = if self.reverse { s.end - free } else { s.at };
        self.out.room(s.piece, start, free, bound)
    }

    /// Takes every version of the smallest (in reverse: greatest) head key and keeps what survives.
    fn resolve(&mut self) {
        self.group.clear();
        let first = self.order[0];
        let mut sharing = 1;
        while sharing < self.order.len() && self.heads_equal(first, self.order[sharing]) {
            sharing += 1;
        }
        let mut taken = std::mem::take(&mut self.taken);
        taken.clear();
        taken.extend(self.order.drain(..sharing));
        for &source in &taken {
            self.take_versions(source);
        }
        // Newest first; the sort is stable, so of equal stamps the earlier source leads.
        self.group.sort_by_key(|(ts, ..)| std::cmp::Reverse(*ts));
        self.group.dedup_by_key(|(ts, ..)| *ts);
        self.keep_survivors();
        for &source in &taken {
            self.after_advance(source);
        }
        self.taken = taken;
    }

    fn take_versions(&mut self, source: usize) {
        let s = &mut self.sources[source];
        let Some(rows) = &s.rows else { return };
        let range = if self.reverse {
            let mut start = s.end - 1;
            while start > s.at && rows.keys.get(start - 1) == rows.keys.get(s.end - 1) {
                start -= 1;
            }
            let range = start..s.end;
            s.end = start;
            range
        } else {
            let mut end = s.at + 1;
            while end < s.end && rows.keys.get(end) == rows.keys.get(s.at) {
                end += 1;
            }
            let range = s.at..end;
            s.at = end;
            range
        };
        for row in range {
            self.group.push((rows.stamps.get(row), source, row));
        }
    }

    fn keep_survivors(&mut self) {
        let group = std::mem::take(&mut self.group);
        match self.keep {
            Keep::Newest => {
                if let Some(&(_, source, row)) = group.first() {
                    self.out.push(self.sources[source].piece, row, 1);
                }
            }
            Keep::Visible { as_of } => {
                if let Some(&(_, source, row)) = group.iter().find(|(ts, ..)| *ts <= as_of) {
                    let s = &self.sources[source];
                    if s.rows.as_ref().is_some_and(|r| !r.tombstones.get(row)) {
                        self.out.push(s.piece, row, 1);
                    }
                }
            }
            Keep::Versions { watermark } => {
                for &(ts, source, row) in &group {
                    self.out.push(self.sources[source].piece, row, 1);
                    if ts <= watermark {
                        break;
                    }
                }
            }
        }
        self.group = group;
    }

    fn after_advance(&mut self, source: usize) {
        let s = &mut self.sources[source];
        if s.at < s.end {
            self.place(source);
            return;
        }
        s.rows = None;
        self.out.passed(s.piece);
        if !s.finished {
            self.unfed.push_back(source);
        }
    }

    /// Puts a source with rows where its head belongs. Ties go by source number, for a stable order.
    fn place(&mut self, source: usize) {
        self.prefixes[source] = key_prefix(self.head(source));
        let position =
            self.order
                .partition_point(|&other| match self.compare_heads(other, source) {
                    Ordering::Equal => other < source,
                    Ordering::Less => true,
                    Ordering::Greater => false,
                });
        self.order.insert(position, source);
    }

    fn head(&self, source: usize) -> &[u8] {
        let s = &self.sources[source];
        match (&s.rows, self.reverse) {
            (Some(rows), false) => rows.keys.get(s.at),
            (Some(rows), true) => rows.keys.get(s.end - 1),
            (None, _) => s.awaits.as_deref().unwrap_or_default(),
        }
    }

    fn heads_equal(&self, a: usize, b: usize) -> bool {
        self.prefixes[a] == self.prefixes[b] && self.head(a) == self.head(b)
    }

    /// The order in which heads are given out.
    fn compare_heads(&self, a: usize, b: usize) -> Ordering {
        let order =
            (self.prefixes[a].cmp(&self.prefixes[b])).then_with(|| self.head(a).cmp(self.head(b)));
        if self.reverse { order.reverse() } else { order }
    }
}

/// Whether every row is the only version of its key in `rows` and survives if no other source has
/// the key. Looking at all keys once is far cheaper than resolving them one by one.
fn is_plain(rows: &Rows, keep: Keep) -> bool {
    let seen = |as_of: i64| match &rows.stamps {
        Stamps::All(ts) => *ts <= as_of,
        Stamps::Each(stamps) => as_of == i64::MAX || stamps.values().iter().all(|ts| *ts <= as_of),
    };
    let survive = match keep {
        Keep::Visible { as_of } => matches!(rows.tombstones, Tombstones::None) && seen(as_of),
        Keep::Newest | Keep::Versions { .. } => true,
    };
    let single = || {
        matches!(rows.stamps, Stamps::All(_))
            || (1..rows.len()).all(|row| rows.keys.get(row - 1) != rows.keys.get(row))
    };
    survive && single()
}

/// The first sixteen bytes, so that most comparisons touch no key memory.
pub(crate) fn key_prefix(key: &[u8]) -> u128 {
    if let Some(first) = key.first_chunk() {
        return u128::from_be_bytes(*first);
    }
    let mut bytes = [0u8; 16];
    bytes[..key.len()].copy_from_slice(key);
    u128::from_be_bytes(bytes)
}

/// The first row of `at..end` whose key is greater than `key`, searched from the end.
fn backwards_upper_bound(
    keys: &crate::data::key::Keys,
    at: usize,
    end: usize,
    key: &[u8],
) -> usize {
    let (mut high, mut step) = (end, 1);
    while high > at && keys.get(high - 1) > key {
        let next = high.saturating_sub(step).max(at);
        if keys.get(next) <= key {
            let (mut a, mut b) = (next + 1, high);
            while a < b {
                let middle = a + (b - a) / 2;
                if keys.get(middle) <= key {
                    a = middle + 1
                } else {
                    b = middle
                }
            }
            return a;
        }
        high = next;
        step *= 2;
    }
    high
}
