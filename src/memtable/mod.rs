//! Rows in memory: an immutable list of sorted runs, one per commit at first, merged by tiers so
//! that a reader meets few of them. Adding rows makes a new value; readers keep theirs.

use crate::{
    data::{
        bound::Bound,
        key::KeyRange,
        rows::{Rows, Stamps},
    },
    error::Result,
    merge::{Keep, Merge, Step, concat_rows},
};
use arrow_buffer::BooleanBuffer;
use std::sync::Arc;

/// So many runs of one tier become one of the next.
const FANOUT: usize = 24;

#[derive(Clone, Debug)]
struct Run {
    rows: Arc<Rows>,
    tier: u32,
    bytes: usize,
}

impl Run {
    fn new(rows: Rows, tier: u32) -> Self {
        let bytes = rows.memory_bytes();
        Self {
            rows: Arc::new(rows),
            tier,
            bytes,
        }
    }
}

/// The rows of one table, oldest run first.
#[derive(Clone, Debug)]
pub struct Memtable {
    runs: Vec<Run>,
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
            keep,
            bytes: 0,
            rows: 0,
            batches: 0,
        }
    }

    /// This and the rows of one more commit, which are newer than all in it. It cannot fail: the rows
    /// may be durable already, so runs that do not fit into one stay apart.
    pub fn with(&self, rows: Rows) -> Self {
        let mut next = self.clone();
        next.batches += 1;
        if !rows.is_empty() {
            next.push(Run::new(rows, 0));
            next.compact_tiers();
        }
        next
    }

    fn push(&mut self, run: Run) {
        self.bytes += run.bytes;
        self.rows += run.rows.len();
        self.runs.push(run);
    }

    fn compact_tiers(&mut self) {
        while let Some(last) = self.runs.last() {
            let tier = last.tier;
            let same = self
                .runs
                .iter()
                .rev()
                .take_while(|r| r.tier == tier)
                .count();
            if same < FANOUT {
                return;
            }
            let from = self.runs.len() - same;
            let runs = self.runs[from..].iter().map(|r| r.rows.as_ref().clone());
            let Ok(Some(merged)) = merge_all(runs, self.keep) else {
                return;
            };
            for run in self.runs.drain(from..) {
                self.bytes -= run.bytes;
                self.rows -= run.rows.len();
            }
            self.push(Run::new(merged, tier + 1));
        }
    }

    /// The runs, oldest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Arc<Rows>> + '_ {
        self.runs.iter().map(|r| &r.rows)
    }

    /// The same rows under other timestamps, in the same order.
    pub fn restamped(&self, stamp: &dyn Fn(i64) -> i64) -> Self {
        let mut next = self.clone();
        for run in &mut next.runs {
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
        for run in &self.runs {
            next.push(Run::new(change(&run.rows), run.tier));
        }
        next
    }

    /// Only the rows whose timestamps are to be kept. It cannot fail: the rows of a run that do not fit
    /// into one array become several runs.
    pub fn keeping(&self, kept: &dyn Fn(i64) -> bool) -> Self {
        let mut next = Self::new(self.keep);
        next.batches = self.batches;
        for run in &self.runs {
            match rows_kept(&run.rows, kept) {
                None => next.push(run.clone()),
                Some(parts) => {
                    for rows in parts {
                        next.push(Run::new(rows, run.tier));
                    }
                }
            }
        }
        if next.runs.is_empty() {
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

/// Merges sorted runs into one; `None` if nothing is left.
pub fn merge_all(runs: impl IntoIterator<Item = Rows>, keep: Keep) -> Result<Option<Rows>> {
    let runs: Vec<Rows> = runs.into_iter().collect();
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
