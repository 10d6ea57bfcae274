//! gc, the decisions: what may be deleted, and what the record that comes before it says (PROTOCOL G1,
//! G3). Pure: a version, listings and a time of the store's go in, names come out; `db/gc.rs` drives it.
//!
//! What is never deleted, whatever goes in: the highest checkpoint and its record, a file that is live at
//! C or at the head, and a name that is not exactly one of ours.

use super::{
    checkpoint::checkpoint_key,
    clock::MAX_SKEW,
    edit::Settings,
    record::{record_key, seq_of},
    version::{Head, Version},
};
use crate::{
    env::ObjectMeta,
    sstable::meta::{Ulid, object_key, parse_object_key},
};
use std::collections::BTreeSet;

const DAY: i64 = 24 * 3_600_000_000;
/// Into so many parts the time is divided that records live: one checkpoint of each part is kept.
const PARTS: i64 = 8;

/// The time at the store and how long things live, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What time it is *at the store*: a wrong clock of ours must not shorten the grace time (G3).
    pub now: i64,
    /// After it, nobody relies on what was current before it.
    pub grace: i64,
    /// How far back `as of` reads reach.
    pub retention: i64,
}

impl Terms {
    /// By the settings that all handles use (N3).
    pub fn new(settings: &Settings, now: i64) -> Self {
        let signed = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
        Self {
            now,
            grace: signed(settings.grace),
            retention: signed(settings.retention),
        }
    }

    /// Nobody relies on what was current before this any more.
    fn horizon(&self) -> i64 {
        self.now.saturating_sub(self.grace)
    }

    /// How long records live past the checkpoint that covers them (G3).
    fn records_live(&self) -> i64 {
        self.retention.max(self.grace).max(DAY)
    }
}

/// A checkpoint in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its position.
    pub seq: u64,
    /// Its size.
    pub bytes: u64,
    /// Its position was the head, or behind it, at this time of the store's.
    pub since: i64,
}

/// Since when a checkpoint's position is on the log: `modified` if the store tells when the checkpoint
/// was written, else by the timestamp of its record. That is the clock of the record's writer, which may
/// be [`MAX_SKEW`] behind (T1). Its PUT may have come later than that, after a sleep; but then the
/// record *before* it was on the log by its timestamp, so that whoever proved his position since goes on
/// at C or above, and C's own record is never deleted.
pub fn since(modified: Option<i64>, head: Head) -> i64 {
    modified.unwrap_or(head.ts.saturating_add(MAX_SKEW))
}

/// The positions of the checkpoints in a listing, with the entries; ascending.
pub fn checkpoints(listed: &[ObjectMeta]) -> impl Iterator<Item = (u64, &ObjectMeta)> {
    (listed.iter())
        .filter_map(|o| Some((seq_of(&o.key)?, o)))
        .filter(|(seq, o)| o.key == checkpoint_key(*seq))
}

/// What may go of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPlan {
    /// C: the highest checkpoint that is older than the grace time. `None`: nothing may go.
    pub covering: Option<u64>,
    /// Records below this may go; record C, and all after it, never.
    pub records_below: u64,
    /// Positions of checkpoints that may go, all below C; ascending.
    pub checkpoints: Vec<u64>,
}

/// Plans by the checkpoints there are (G3), ascending. Records may go below K, the highest checkpoint
/// that is older than records live. For there to be such a K one day, one checkpoint of each eighth of
/// that time stays; of the others, those below C go.
pub fn plan_log(checkpoints: &[Checkpoint], terms: &Terms) -> LogPlan {
    let older = |than: i64| move |c: &Checkpoint| c.since <= than;
    let Some(covering) = checkpoints.iter().rposition(older(terms.horizon())) else {
        return LogPlan::default();
    };
    let below = &checkpoints[..=covering];
    let last = terms.now.saturating_sub(terms.records_live());
    let last = below.iter().rposition(older(last));
    let part = terms.records_live() / PARTS;
    let mut kept: Option<i64> = None;
    let mut gone = Vec::new();
    for (at, checkpoint) in below[..covering].iter().enumerate() {
        let passed = last.is_some_and(|last| at < last);
        let near = kept.is_some_and(|kept| checkpoint.since < kept.saturating_add(part));
        match passed || near {
            true => gone.push(checkpoint.seq),
            false => kept = Some(checkpoint.since),
        }
    }
    LogPlan {
        covering: Some(below[covering].seq),
        records_below: last.map_or(0, |last| below[last].seq),
        checkpoints: gone,
    }
}

/// The records of a listing that may go, ascending: each as number and entry.
pub fn records<'a>(
    listed: &'a [ObjectMeta],
    plan: &LogPlan,
) -> impl Iterator<Item = (u64, &'a ObjectMeta)> {
    let below = plan.records_below.min(plan.covering.unwrap_or(0));
    (listed.iter())
        .filter_map(|o| Some((seq_of(&o.key)?, o)))
        .filter(move |(seq, o)| *seq < below && o.key == record_key(*seq))
}

/// An sstable in a listing that no version needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadFile {
    /// Its table.
    pub table: u32,
    /// Its name.
    pub id: Ulid,
    /// Its size.
    pub bytes: u64,
}

impl DeadFile {
    /// The object's key.
    pub fn key(&self) -> String {
        object_key(self.table, self.id)
    }
}

/// Files that are live neither at C nor at the head, and older than the grace time by the store's clock
/// *and* by their names: orphans and files that were removed, unless a record after C added them (G3).
/// A table's number is given before it has files: one of a number to come is not ours.
pub fn dead_files(
    listed: &[ObjectMeta],
    covering: &Version,
    head: &Version,
    terms: &Terms,
) -> Vec<DeadFile> {
    let live = |version: &Version| -> Vec<Ulid> {
        let files = version.files.values().flat_map(|files| files.iter());
        files.map(|f| f.meta.id).collect()
    };
    let live: BTreeSet<Ulid> = live(covering).into_iter().chain(live(head)).collect();
    let dead = listed.iter().filter_map(|object| {
        let (table, id) = parse_object_key(&object.key)?;
        // A name is of its writer's clock (T1).
        let margin = if object.modified.is_some() {
            0
        } else {
            MAX_SKEW
        };
        let named = id.millis().saturating_mul(1000).saturating_add(margin);
        let old = named.max(object.modified.unwrap_or(named)) <= terms.horizon();
        (old && table < head.next_table && !live.contains(&id)).then_some(DeadFile {
            table,
            id,
            bytes: object.size,
        })
    });
    dead.collect()
}

/// The orphan floor that lets `dead` go: no record may add any of them from it on (G3). It is no higher
/// than that: whoever writes a file now names it above.
pub fn next_orphan_floor(version: &Version, dead: &[DeadFile]) -> Ulid {
    let highest = dead.iter().map(|f| f.id).max();
    version.orphan_floor.max(highest.unwrap_or_default())
}

/// G1: W ≤ min(ts(head), oldest tag, now − retention), never falling.
pub fn next_watermark(version: &Version, terms: &Terms) -> i64 {
    let tag = version.tags.values().copied().min().unwrap_or(i64::MAX);
    let passed = terms.now.saturating_sub(terms.retention);
    version.watermark.max(passed.min(version.head.ts).min(tag))
}

/// Whether raising the watermark is worth a record of its own: by at least the grace time, and above the
/// timestamp of some row, or of the drop of a table that is kept until then.
pub fn is_due(watermark: i64, version: &Version, terms: &Terms) -> bool {
    let files = version.files.values().flat_map(|files| files.iter());
    let of_files = files.map(|f| f.meta.stamps.map_or(f.added_ts, |(min, _)| min));
    let oldest = of_files.chain(version.inline.iter().map(|r| r.ts)).min();
    let drops = version.dropped.values().map(|table| table.ts);
    watermark >= version.watermark.saturating_add(terms.grace)
        && (oldest.is_some_and(|oldest| oldest < watermark)
            || drops.min().is_some_and(|drop| drop <= watermark))
}
