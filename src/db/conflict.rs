//! PROTOCOL C4, decided purely: does a transaction conflict with what was committed since it began?
//! By key against rows in memory; against a fresh sstable by its key range first, and where that
//! leaves it open, by what reading it showed. Rows that were only moved never conflict.

use crate::{
    data::key::{KeyRange, Keys},
    log::{edit::TableId, version::LiveFile},
    sstable::meta::Ulid,
    state::recent::{Recent, Touched},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

/// What a transaction wrote and read, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Footprint {
    /// [`Recent::tick`] of its snapshot.
    pub(super) since: u64,
    /// Keys written, by table.
    pub(super) writes: BTreeMap<TableId, Vec<Keys>>,
    /// What it read, where that is to be checked, too (`serializable`).
    pub(super) reads: BTreeMap<TableId, Reads>,
    /// Whether sstables that its keys may lie in have one of them.
    pub(super) files: HashMap<Ulid, bool>,
}

/// What was read of one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// Single keys, found or not.
    pub(super) keys: BTreeSet<Vec<u8>>,
    /// Ranges that were scanned, whatever was in them.
    pub(super) ranges: Vec<KeyRange>,
}

/// Whether a transaction may commit.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing it depends on changed.
    Free,
    /// Somebody was quicker: in this table, or it cannot be told any more.
    Conflict(Option<TableId>),
    /// These sstables must be looked into first.
    Ask(Vec<(TableId, LiveFile)>),
}

impl Footprint {
    /// Against what was committed since the snapshot, then against `earlier` members of its group (C1).
    pub(super) fn verdict(&self, recent: &Recent, earlier: &[(TableId, Touched)]) -> Verdict {
        let Some(changes) = recent.after(self.since) else {
            return Verdict::Conflict(None);
        };
        let mut open = Vec::new();
        let since = changes.flat_map(|change| &change.tables);
        for (table, touched) in since.chain(earlier) {
            let hit = match touched {
                Touched::Keys(keys) => Some(self.meets(*table, keys)),
                Touched::File(file) if !self.may_meet(*table, file) => Some(false),
                Touched::File(file) => self.files.get(&file.meta.id).copied(),
            };
            match (hit, touched) {
                (Some(true), _) => return Verdict::Conflict(Some(*table)),
                (None, Touched::File(file)) => open.push((*table, file.clone())),
                _ => {}
            }
        }
        match open.is_empty() {
            true => Verdict::Free,
            false => Verdict::Ask(open),
        }
    }

    fn meets(&self, table: TableId, keys: &Keys) -> bool {
        let written = self.written(table).any(|own| share_a_key(own, keys));
        let read = || {
            self.reads.get(&table).is_some_and(|reads| {
                reads.keys.iter().any(|key| has(keys, key))
                    || (reads.ranges.iter()).any(|range| !range.rows_of(keys).is_empty())
            })
        };
        written || read()
    }

    /// The tables it wrote, and those it read, as far as that is to be checked.
    pub(super) fn tables(&self) -> impl Iterator<Item = TableId> {
        self.writes.keys().chain(self.reads.keys()).copied()
    }

    fn written(&self, table: TableId) -> impl Iterator<Item = &Keys> {
        self.writes.get(&table).into_iter().flatten()
    }

    fn may_meet(&self, table: TableId, file: &LiveFile) -> bool {
        (self.ranges(table, file).iter()).any(|range| file.meta.overlaps(range))
    }

    /// Where in the file rows would conflict: what to look for in it.
    pub(super) fn ranges(&self, table: TableId, file: &LiveFile) -> Vec<KeyRange> {
        let (min, max) = (file.meta.min_key.as_slice(), file.meta.max_key.as_slice());
        let mut ranges = Vec::new();
        if min > max {
            return ranges; // It holds no key, whatever it says.
        }
        for keys in self.written(table) {
            let within = KeyRange {
                start: Bound::Included(min.to_vec()),
                end: Bound::Included(max.to_vec()),
            };
            let rows = within.rows_of(keys);
            ranges.extend(rows.map(|row| KeyRange::only(keys.get(row).to_vec())));
        }
        if let Some(reads) = self.reads.get(&table) {
            let within = (Bound::Included(min), Bound::Included(max));
            let keys = reads.keys.range::<[u8], _>(within);
            ranges.extend(keys.map(|key| KeyRange::only(key.clone())));
            let overlapping = reads.ranges.iter().filter(|r| r.overlaps(min, max));
            ranges.extend(overlapping.cloned());
        }
        ranges
    }
}

fn has(keys: &Keys, key: &[u8]) -> bool {
    let row = keys.search(key);
    row < keys.len() && keys.get(row) == key
}

/// Both ascend. Looks each key of the shorter up in the longer.
fn share_a_key(a: &Keys, b: &Keys) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let mut from = 0;
    for row in 0..short.len() {
        let key = short.get(row);
        from = long.lower_bound(from, key);
        if from == long.len() {
            return false;
        }
        if long.get(from) == key {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn keys(values: &[i64]) -> Keys {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        crate::data::key::encode_keys(&[column]).unwrap()
    }

    fn wrote(values: &[i64]) -> Vec<(TableId, Touched)> {
        vec![(1, Touched::Keys(keys(values)))]
    }

    fn conflicts(footprint: &Footprint, recent: &Recent, earlier: &[(TableId, Touched)]) -> bool {
        matches!(footprint.verdict(recent, earlier), Verdict::Conflict(_))
    }

    #[test]
    fn what_was_written_or_read_and_changed_since_is_a_conflict() {
        let start = Recent::new(1 << 20).watched().with(wrote(&[1, 2]));
        let mut footprint = Footprint {
            since: start.tick(),
            writes: BTreeMap::from([(1, vec![keys(&[2, 5])])]),
            ..Footprint::default()
        };
        assert!(!conflicts(&footprint, &start, &[]));
        assert!(!conflicts(
            &footprint,
            &start.with(wrote(&[1, 3, 4, 6])),
            &[]
        ));
        assert!(conflicts(&footprint, &start.with(wrote(&[5])), &[]));
        assert!(conflicts(&footprint, &start, &wrote(&[0, 2])));
        assert!(!conflicts(
            &footprint,
            &start,
            &[(2, Touched::Keys(keys(&[2])))]
        ));
        let read = footprint.reads.entry(1).or_default();
        read.keys.insert(keys(&[7]).get(0).to_vec());
        let (from, to) = (keys(&[10]).get(0).to_vec(), keys(&[20]).get(0).to_vec());
        read.ranges.push(KeyRange {
            start: Bound::Included(from),
            end: Bound::Excluded(to),
        });
        assert!(conflicts(&footprint, &start.with(wrote(&[7])), &[]));
        assert!(conflicts(&footprint, &start.with(wrote(&[8, 19])), &[]));
        assert!(!conflicts(&footprint, &start.with(wrote(&[8, 20])), &[]));
    }

    #[test]
    fn what_was_not_seen_is_a_conflict() {
        let start = Recent::new(200).watched();
        let footprint = Footprint {
            since: start.tick(),
            ..Footprint::default()
        };
        let one = start.with(wrote(&[1]));
        assert!(!conflicts(&footprint, &one, &[]));
        let many = (0..9).fold(one.clone(), |recent, i| recent.with(wrote(&[i])));
        assert!(conflicts(&footprint, &many, &[]));
        assert!(conflicts(&footprint, &one.leapt(), &[]));
        assert!(conflicts(&footprint, &one.unwatched(), &[]));
    }
}
