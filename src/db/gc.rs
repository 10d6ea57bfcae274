//! gc: frees what nobody can need any more (PROTOCOL G3). It is a commit like any other: bring the log to
//! its head by LIST, list, plan, commit the floors, fence (F1), plan again on what the log says now, and
//! only then delete, ascending. Stopped anywhere it leaves what the next one deletes.
//!
//! `log/gc.rs` decides. Invariants here: nothing is deleted before the record is in the log and the
//! fence has passed; nothing that the second plan does not name; records before checkpoints before files.

use super::{Db, Inner, log::IfFreed};
use crate::{
    env::ObjectMeta,
    error::{Error, ErrorKind, Result},
    log::{
        chain::unpack_one,
        checkpoint::checkpoint_key,
        edit::Edit,
        gc::{self, Checkpoint, DeadFile, LogPlan, Terms},
        record::record_key,
        version::{Head, Version},
    },
    sstable::meta::Ulid,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};

/// At most so many records after C are read to learn which files they added. Where there are more, files
/// go once the floor that covers them is covered by C itself, which takes one more grace time.
const MOST_READ: u64 = 1024;

/// What [`Db::gc`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Reads and reports only: nothing is written or deleted.
    pub dry_run: bool,
}

/// What [`Db::gc`] did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The oldest timestamp that can be read from now on, in microseconds since the Unix epoch.
    pub watermark: i64,
    /// No sstable at or below this name can be added any more.
    pub orphan_floor: Ulid,
    /// The checkpoint below which it looked; `None` if there is none older than the grace time.
    pub checkpoint: Option<u64>,
    /// Number of the record it committed; `None` in a dry run and where there was nothing to do.
    pub committed: Option<u64>,
    /// Log records deleted.
    pub records: u64,
    /// Checkpoints deleted.
    pub checkpoints: u64,
    /// Sstables deleted: orphans of crashed or lost commits, and files no version has any more.
    pub files: u64,
    /// Bytes of all those.
    pub bytes: u64,
}

impl Db {
    /// Deletes what nobody can need any more: log records and checkpoints that newer checkpoints cover, and
    /// sstables that no version has, all only once they are older than the grace time *by the store's
    /// clock*; and raises the watermark to `now - retention`, or to the oldest tag. Log records live at
    /// least as long as the retention, and 24 hours. Any number of handles may run it at once, and it may
    /// be stopped anywhere. Where there is nothing to do it writes nothing.
    ///
    /// # Errors
    /// `Denied` for credentials that may not write or delete; `Unavailable` if the store or another gc
    /// was in the way: run it again later. What was deleted until then stays deleted, and was right.
    pub async fn gc(&self, options: GcOptions) -> Result<GcReport> {
        self.inner.check_open()?;
        self.inner.gc(options).await
    }
}

/// What the store holds, and what was read of it.
struct Seen {
    checkpoints: Vec<Checkpoint>,
    records: Vec<ObjectMeta>,
    data: Vec<ObjectMeta>,
    /// The version at C.
    covering: Option<Version>,
    /// Names of the sstables that records after C added, up to that position.
    added: Option<(Head, BTreeSet<Ulid>)>,
}

/// What may go.
#[derive(Default)]
struct Plan {
    log: LogPlan,
    records: Vec<(u64, u64)>,
    checkpoints: Vec<(u64, u64)>,
    files: Vec<DeadFile>,
    floor: Ulid,
    watermark: i64,
    due: bool,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.checkpoints.is_empty() && self.files.is_empty() && !self.due
    }

    fn report(&self) -> GcReport {
        let bytes = |of: &[(u64, u64)]| of.iter().map(|(_, bytes)| bytes).sum::<u64>();
        GcReport {
            watermark: self.watermark,
            orphan_floor: self.floor,
            checkpoint: self.log.covering,
            committed: None,
            records: self.records.len() as u64,
            checkpoints: self.checkpoints.len() as u64,
            files: self.files.len() as u64,
            bytes: bytes(&self.records)
                + bytes(&self.checkpoints)
                + self.files.iter().map(|f| f.bytes).sum::<u64>(),
        }
    }
}

impl Inner {
    async fn gc(&self, options: GcOptions) -> Result<GcReport> {
        // G3: by LIST, however fresh the position is: a gc on a branch that is gone must not delete.
        self.follow().await?;
        let version = self.state().version.clone();
        if version.head.seq == 0 {
            return Ok(GcReport::default());
        }
        let now = self.time_at_store();
        let mut seen = self.survey().await?;
        let first = self.plan_gc(&mut seen, &version, now).await?;
        if first.is_empty() {
            return Ok(GcReport {
                watermark: version.watermark,
                orphan_floor: version.orphan_floor,
                ..first.report()
            });
        }
        if options.dry_run {
            return Ok(first.report());
        }
        let head = self.commit_floors(&first, now).await?;
        let now = self.fence_gc(&mut seen, head, now).await?;
        // The log may have moved, and what time it is at the store may be known only now.
        let version = self.state().version.clone();
        let mut plan = self.plan_gc(&mut seen, &version, now).await?;
        plan.files.retain(|f| f.id <= version.orphan_floor);
        self.delete(&plan).await?;
        Ok(GcReport {
            watermark: version.watermark,
            orphan_floor: version.orphan_floor,
            committed: Some(head.seq),
            ..plan.report()
        })
    }

    /// The store's clock, if it is known; else ours, for what can only be too long. See `fence_gc`.
    fn time_at_store(&self) -> i64 {
        let moment = self.log.moment();
        moment.store.unwrap_or(moment.wall)
    }

    async fn survey(&self) -> Result<Seen> {
        let data = self.data.list("data/", None).await?;
        let checkpoints = self.look_at_checkpoints().await?;
        let records = match checkpoints.is_empty() {
            true => Vec::new(),
            false => self.data.list("log/", None).await?,
        };
        Ok(Seen {
            checkpoints,
            records,
            data,
            covering: None,
            added: None,
        })
    }

    /// The checkpoints there are, ascending. Where the store does not tell their age they are read.
    async fn look_at_checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let listed = self.data.list("checkpoint/", None).await?;
        let listed: Vec<_> = gc::checkpoints(&listed)
            .map(|(seq, object)| (seq, object.size, object.modified))
            .collect();
        let all = stream::iter(listed).map(|(seq, bytes, modified)| async move {
            let since = match modified {
                Some(modified) => modified,
                None => match self.log.read_checkpoint(seq).await? {
                    Some(version) => gc::since(None, version.head),
                    None => return Ok(None),
                },
            };
            Ok::<_, Error>(Some(Checkpoint { seq, bytes, since }))
        });
        let found: Vec<_> = all.buffered(self.options.concurrency).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Plans by what is there and what `version`, the newest, says.
    async fn plan_gc(&self, seen: &mut Seen, version: &Version, now: i64) -> Result<Plan> {
        let terms = Terms::new(&self.settings_of(version), now);
        let log = gc::plan_log(&seen.checkpoints, &terms);
        let watermark = gc::next_watermark(version, &terms);
        let mut plan = Plan {
            watermark,
            floor: version.orphan_floor,
            due: gc::is_due(watermark, version, &terms),
            ..Plan::default()
        };
        let Some(covering) = log.covering else {
            return Ok(plan);
        };
        let size = |seq: &u64| {
            let found = seen.checkpoints.iter().find(|c| c.seq == *seq);
            (*seq, found.map_or(0, |c| c.bytes))
        };
        plan.checkpoints = log.checkpoints.iter().map(size).collect();
        let records = gc::records(&seen.records, &log);
        plan.records = records.map(|(seq, o)| (seq, o.size)).collect();
        plan.log = log;
        self.read_covering(seen, covering).await?;
        let Some(at_c) = &seen.covering else {
            return Err(overtaken());
        };
        let mut dead = gc::dead_files(&seen.data, at_c, version, &terms);
        if !dead.is_empty() && version.head.seq.saturating_sub(covering) <= MOST_READ {
            let from = seen.added.take().unwrap_or((at_c.head, BTreeSet::new()));
            let added = self.read_added(from, version.head).await?;
            dead.retain(|f| !added.contains(&f.id));
            plan.floor = gc::next_orphan_floor(version, &dead);
            seen.added = Some((version.head, added));
        } else {
            plan.floor = gc::next_orphan_floor(version, &dead);
            // At or below the floor that C has, no record after C added anything.
            dead.retain(|f| f.id <= at_c.orphan_floor);
        }
        plan.due |= plan.floor > version.orphan_floor;
        plan.files = dead;
        Ok(plan)
    }

    async fn read_covering(&self, seen: &mut Seen, seq: u64) -> Result<()> {
        if seen.covering.as_ref().is_none_or(|c| c.head.seq != seq) {
            seen.covering = self.log.read_checkpoint(seq).await?;
            seen.added = None;
        }
        Ok(())
    }

    /// Adds the names of the sstables that the records after `from`, up to `to`, added. The chain is
    /// checked: C leads to the head, or it is not C.
    async fn read_added(&self, from: (Head, BTreeSet<Ulid>), to: Head) -> Result<BTreeSet<Ulid>> {
        let (from, mut added) = from;
        let mut at = from.digest;
        let mut reads = stream::iter(from.seq + 1..=to.seq)
            .map(|seq| async move { Ok::<_, Error>((seq, self.log.read_record(seq).await?)) })
            .buffered(self.options.concurrency);
        while let Some((seq, bytes)) = reads.try_next().await? {
            let found = unpack_one(seq, &bytes.ok_or_else(overtaken)?)?;
            if found.record.prev != at {
                return Err(overtaken());
            }
            at = found.digest;
            added.extend(found.record.edits.iter().filter_map(|edit| match edit {
                Edit::AddSstable { meta, .. } => Some(meta.id),
                _ => None,
            }));
        }
        match at == to.digest {
            true => Ok(added),
            false => Err(overtaken()),
        }
    }

    /// The record of this gc (G3), planned on the newest state (C3): a tag that came meanwhile lowers
    /// the watermark (G1). From it on no record can add a file that is about to go.
    async fn commit_floors(&self, plan: &Plan, now: i64) -> Result<Head> {
        let mut edits = |state: &crate::state::State| {
            let version = &state.version;
            let terms = Terms::new(&self.settings_of(version), now);
            let mut edits = vec![Edit::OrphanFloor {
                ulid: plan.floor.max(version.orphan_floor),
            }];
            let watermark = gc::next_watermark(version, &terms);
            if watermark > version.watermark {
                edits.push(Edit::Watermark { ts: watermark });
            }
            Ok(edits)
        };
        self.commit_record(IfFreed::Replan, &mut edits).await
    }

    /// F1, and what time it is at the store at most. The record is in the log; but is the position still on
    /// the live log, now that the replies are here, and C still there? Where the store has no clock that
    /// we could hear, its listing says when it got our record: a clock of ours that is ahead deletes
    /// nothing early.
    async fn fence_gc(&self, seen: &mut Seen, head: Head, now: i64) -> Result<i64> {
        let proved = self.current();
        let listed = self.data.list("checkpoint/", None).await?;
        let newer: BTreeMap<u64, Option<i64>> = gc::checkpoints(&listed)
            .map(|(seq, object)| (seq, object.modified))
            .collect();
        let own = match self.log.moment().store {
            Some(_) => None,
            None => {
                let before = record_key(head.seq - 1);
                let listed = self.data.list("log/", Some(&before)).await?;
                let own = record_key(head.seq);
                listed
                    .iter()
                    .find(|o| o.key == own)
                    .and_then(|o| o.modified)
            }
        };
        let passed = newer.range(head.seq..).next().is_some();
        if passed && self.log.is_stale(&self.fence(&proved)) {
            return Err(overtaken());
        }
        // What another gc deleted meanwhile is not here any more.
        seen.checkpoints.retain_mut(|c| {
            let found = newer.get(&c.seq);
            c.since = found.copied().flatten().map_or(c.since, |m| m.max(c.since));
            found.is_some()
        });
        Ok(own.map_or(now, |own| now.min(own)))
    }

    /// Deletes, each kind ascending, so many at once as the options say.
    async fn delete(&self, plan: &Plan) -> Result<()> {
        let records = plan.records.iter().map(|(seq, _)| record_key(*seq));
        self.delete_all(records.collect()).await?;
        let checkpoints = plan.checkpoints.iter();
        let checkpoints = checkpoints.map(|(seq, _)| checkpoint_key(*seq));
        self.delete_all(checkpoints.collect()).await?;
        let files = plan.files.iter().map(DeadFile::key);
        self.delete_all(files.collect()).await
    }

    async fn delete_all(&self, keys: Vec<String>) -> Result<()> {
        stream::iter(keys)
            .map(|key| async move { self.data.delete(&key).await })
            .buffered(self.options.concurrency)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await
    }
}

/// Somebody else was quicker, or this gc slept.
fn overtaken() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the log moved on under this gc, by another one or because it slept: nothing was deleted; run it \
         again later",
    )
}
