//! Rows in memory: an immutable list of sorted runs, one per commit at first, merged by tiers so
//! that a reader meets few of them. Adding rows makes a new value; readers keep theirs.
//! Invariants: runs of deletes are merged with each other only, so that they stay bare (a delete costs
//! its keys); what a merge of runs refused once is not tried again.

use crate::{
    data::{
        bound::Bound,
        key::KeyRange,
        rows::{Rows, Stamps, Tombstones},
    },
    env::{self, HeldRows},
    error::Result,
    merge::{Keep, Merge, Step, concat_rows},
};
use arrow_buffer::BooleanBuffer;
use std::{
    cmp::Ordering,
    ops::Range,
    sync::{Arc, OnceLock},
};

/// So many runs of one tier become one of the next.
const FANOUT: usize = 24;
/// Tier of runs that did not fit into one.
const APART: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Run {
    rows: Arc<Rows>,
    tier: u32,
    bytes: usize,
    /// The memory they take: it is given back when the last who holds the run lets go of it.
    memory: Arc<OnceLock<HeldRows>>,
}

impl Run {
    fn new(rows: Rows, tier: u32) -> Self {
        let bytes = rows.memory_bytes();
        Self {
            rows: Arc::new(rows),
            tier,
            bytes,
            memory: Arc::default(),
        }
    }
}

/// The rows of one table, oldest run first, and its deletes.
#[derive(Clone, Debug)]
pub struct Memtable {
    runs: Vec<Run>,
    /// Runs of tombstones alone, oldest first. Timestamps say how they lie to the others.
    deletes: Vec<Run>,
    keep: Keep,
    bytes: usize,
    rows: usize,
    batches: usize,
}

impl Memtable {
    /// An empty one. `keep` says what merging runs may drop: [`Keep::Newest`] for pending rows,
    /// [`Keep::Versions`] with `i64::MIN` for rows of log records (history is read from them).
    pub fn new(keep: Keep) -> Self {
        Self {
            runs: Vec::new(),
            deletes: Vec::new(),
            keep,
            bytes: 0,
            rows: 0,
            batches: 0,
        }
    }

    /// This and the rows of one more commit, which are newer than all in it. It cannot fail: the rows
    /// may be durable already, so runs that do not fit into one stay apart.
    pub fn with(&self, rows: Rows) -> Self {
        self.with_run(rows, Arc::default())
    }

    /// The same of rows whose memory is counted already.
    pub fn with_held(&self, rows: Rows, memory: HeldRows) -> Self {
        self.with_run(rows, Arc::new(OnceLock::from(memory)))
    }

    fn with_run(&self, rows: Rows, memory: Arc<OnceLock<HeldRows>>) -> Self {
        let mut next = self.clone();
        next.batches += 1;
        if !rows.is_empty() {
            let deletes = is_delete(&rows);
            next.push(Run {
                memory,
                ..Run::new(rows, 0)
            });
            next.compact_tiers(deletes);
        }
        next
    }

    /// Counts the memory of its runs, of each once, until nobody holds it any more.
    pub fn count(&self, memory: &env::Memory) {
        for run in self.all() {
            run.memory.get_or_init(|| memory.hold_rows(run.bytes));
        }
    }

    fn list(&mut self, deletes: bool) -> &mut Vec<Run> {
        match deletes {
            true => &mut self.deletes,
            false => &mut self.runs,
        }
    }

    fn push(&mut self, run: Run) {
        self.bytes += run.bytes;
        self.rows += run.rows.len();
        self.list(is_delete(&run.rows)).push(run);
    }

    fn compact_tiers(&mut self, deletes: bool) {
        let keep = self.keep;
        loop {
            let list = self.list(deletes);
            let Some(tier) = list.last().map(|r| r.tier).filter(|t| *t != APART) else {
                return;
            };
            let same = list.iter().rev().take_while(|r| r.tier == tier).count();
            if same < FANOUT {
                return;
            }
            let from = list.len() - same;
            let runs = list[from..].iter().map(|r| r.rows.as_ref().clone());
            let Ok(Some(merged)) = merge_runs(runs.collect(), keep) else {
                list[from..].iter_mut().for_each(|run| run.tier = APART);
                return;
            };
            let old: Vec<Run> = list.drain(from..).collect();
            for run in old {
                self.bytes -= run.bytes;
                self.rows -= run.rows.len();
            }
            self.push(Run::new(merged, tier + 1));
        }
    }

    /// The runs, oldest first, then those of deletes.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Arc<Rows>> + '_ {
        self.all().map(|r| &r.rows)
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = &Run> + '_ {
        self.runs.iter().chain(&self.deletes)
    }

    /// The same rows under other timestamps, in the same order.
    pub fn restamped(&self, stamp: &dyn Fn(i64) -> i64) -> Self {
        let mut next = self.clone();
        for run in next.runs.iter_mut().chain(&mut next.deletes) {
            let stamps = run.rows.stamps.map(stamp);
            run.rows = Arc::new(Rows {
                stamps,
                ..run.rows.as_ref().clone()
            });
        }
        next
    }

    /// The same with each run made anew by `change`, which leaves keys, stamps and tombstones alone.
    pub fn with_each(&self, change: &dyn Fn(&Rows) -> Rows) -> Self {
        let mut next = Self::new(self.keep);
        next.batches = self.batches;
        for run in self.all() {
            next.push(Run::new(change(&run.rows), run.tier));
        }
        next
    }

    /// Only the rows whose timestamps are to be kept. It cannot fail: the rows of a run that do not fit
    /// into one array become several runs.
    pub fn keeping(&self, kept: &dyn Fn(i64) -> bool) -> Self {
        let mut next = Self::new(self.keep);
        next.batches = self.batches;
        for run in self.all() {
            match rows_kept(&run.rows, kept) {
                None => next.push(run.clone()),
                Some(parts) => {
                    for rows in parts {
                        next.push(Run::new(rows, run.tier));
                    }
                }
            }
        }
        if next.is_empty() {
            next.batches = 0;
        }
        next
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows held, superseded ones included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Commits that went in.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The newest version of a key at or below `as_of`: its run and row.
    pub fn get(&self, key: &[u8], as_of: i64) -> Option<(&Arc<Rows>, usize)> {
        let mut best: Option<(i64, &Arc<Rows>, usize)> = None;
        for rows in self.runs().rev() {
            let mut row = rows.keys.search(key);
            while row < rows.len() && rows.keys.get(row) == key {
                let ts = rows.stamps.get(row);
                if ts <= as_of && best.is_none_or(|(b, ..)| ts > b) {
                    best = Some((ts, rows, row));
                }
                row += 1;
            }
        }
        best.map(|(_, rows, row)| (rows, row))
    }

    /// The parts of all runs that lie in `range`, without empty ones.
    pub fn slices(&self, range: &KeyRange) -> Vec<Rows> {
        let slice = |rows: &Arc<Rows>| {
            let part = range.rows_of(&rows.keys);
            (!part.is_empty()).then(|| rows.slice(part.start, part.len()))
        };
        self.runs().filter_map(slice).collect()
    }
}

/// The rows whose timestamps are kept, as one run if possible; `None` if these are all.
fn rows_kept(rows: &Rows, kept: &dyn Fn(i64) -> bool) -> Option<Vec<Rows>> {
    let kept = match &rows.stamps {
        Stamps::All(stamp) if kept(*stamp) => return None,
        Stamps::All(_) => return Some(Vec::new()),
        Stamps::Each(stamps) => BooleanBuffer::from_iter(stamps.values().iter().map(|s| kept(*s))),
    };
    if kept.count_set_bits() == rows.len() {
        return None;
    }
    let slices = kept.set_slices();
    let parts: Vec<Rows> = slices
        .map(|(from, to)| rows.slice(from, to - from))
        .collect();
    Some(match parts.len() {
        0 | 1 => parts,
        _ => concat_rows(&parts).map_or(parts, |rows| vec![rows]),
    })
}

fn is_delete(rows: &Rows) -> bool {
    matches!(rows.tombstones, Tombstones::All)
}

/// Merges sorted runs into at most two: rows, and deletes. Of the newest alone ([`Keep::Newest`]) no key
/// is in both. They stay apart because a row of deletes beside others would carry all columns.
pub fn merge_all(runs: impl IntoIterator<Item = Rows>, keep: Keep) -> Result<Vec<Rows>> {
    let (deletes, rows) = runs.into_iter().partition(is_delete);
    let (rows, deletes) = (merge_runs(rows, keep)?, merge_runs(deletes, keep)?);
    let (Some(live), Some(gone)) = (&rows, &deletes) else {
        return Ok(rows.into_iter().chain(deletes).collect());
    };
    if keep != Keep::Newest {
        return Ok(rows.into_iter().chain(deletes).collect());
    }
    let (live_left, gone_left) = newest_of(live, gone);
    let parts = [(live, live_left), (gone, gone_left)].into_iter();
    let mut newest = Vec::new();
    for (rows, left) in parts.filter(|(_, left)| !left.is_empty()) {
        let slices: Vec<Rows> = left.iter().map(|r| rows.slice(r.start, r.len())).collect();
        newest.push(concat_rows(&slices)?.compacted());
    }
    Ok(newest)
}

/// The stretches of two sets of rows, one row a key, that are newer than the other's row of their key.
fn newest_of(a: &Rows, b: &Rows) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut left_a, mut left_b) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        match a.keys.get(i).cmp(b.keys.get(j)) {
            Ordering::Less => {
                let to = a.keys.lower_bound(i, b.keys.get(j));
                add(&mut left_a, i..to);
                i = to;
            }
            Ordering::Greater => {
                let to = b.keys.lower_bound(j, a.keys.get(i));
                add(&mut left_b, j..to);
                j = to;
            }
            Ordering::Equal => {
                match a.stamps.get(i) > b.stamps.get(j) {
                    true => add(&mut left_a, i..i + 1),
                    false => add(&mut left_b, j..j + 1),
                }
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    add(&mut left_a, i..a.len());
    add(&mut left_b, j..b.len());
    (left_a, left_b)
}

fn add(stretches: &mut Vec<Range<usize>>, more: Range<usize>) {
    match stretches.last_mut().filter(|last| last.end == more.start) {
        Some(last) => last.end = more.end,
        None if more.is_empty() => {}
        None => stretches.push(more),
    }
}

/// Merges sorted runs into one; `None` if nothing is left.
fn merge_runs(runs: Vec<Rows>, keep: Keep) -> Result<Option<Rows>> {
    let mut merge = Merge::new(runs.len(), keep, false, true);
    for (source, rows) in runs.into_iter().enumerate() {
        merge.feed(source, Some(rows));
        merge.feed(source, None);
    }
    match merge.step(Bound::NONE)? {
        Step::Rows(rows) => Ok(Some(rows)),
        Step::Done | Step::Need(_) => Ok(None),
    }
}
