//! A commit's way: a call validates and sorts its rows, then queues them (`queue.rs`); a group of them is
//! one WAL write, or one log record, and one swap of the state.
//!
//! A transaction is one commit of several tables. Whether it conflicts is decided when its group is
//! planned, on the newest state and against the members of the group before it (PROTOCOL C1, C4): no
//! other commit of this handle is under way then.

use super::{
    Inner,
    group::{Prepared, Question, decide, fresh_edits, inline_edits, with_stamp},
    log::IfFreed,
    prepare::{self, Given, Place, check_size},
    queue::{Job, Late, Waiting},
};
use crate::{
    data::rows::Rows,
    env::{BoxFuture, Reservation},
    error::{Error, ErrorKind, Result},
    flush::{Target, write_commit},
    log::edit::{Edit, TableId},
    merge::Kind,
    sstable::read::is_missing,
    state::State,
    wal::Position,
};
use futures_channel::oneshot;
use std::{collections::BTreeMap, sync::Arc};

/// How often a group is planned anew because fresh sstables had to be looked into.
const MAX_QUESTIONS: usize = 64;

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its timestamp in microseconds since the Unix epoch; provisional until it is in the log.
    pub ts: i64,
    /// Rows it wrote; of equal keys the last counts.
    pub rows: u64,
    /// Whether it is in the object store (always, without a WAL).
    pub uploaded: bool,
    /// Its stable name in `local` durability (PROTOCOL W2): the same before and after it is uploaded.
    pub position: Option<Position>,
}

impl Inner {
    /// Queues rows now, in call order; resolves when they are committed or refused. They are prepared at
    /// once if there is memory for them and nobody waits for some, else when their turn comes: until then
    /// they stay where the caller has them (DESIGN promise 15).
    pub(super) fn commit_rows(
        self: &Arc<Self>,
        place: Place,
        mut given: Box<dyn Given>,
        kind: Kind,
    ) -> Result<impl Future<Output = Result<Committed>> + Send + use<>> {
        let bytes = given.bytes();
        check_size(bytes, self.options.commit_bytes)?;
        let cost = prepare::cost(bytes);
        self.memory.writes.admits("a commit", cost)?;
        let (sender, receiver) = oneshot::channel();
        let memory = match self.queue().late {
            0 => self.memory.writes.try_reserve(cost),
            _ => None,
        };
        match memory {
            Some(memory) => match self.prepare(&place, given, kind, memory)? {
                Some(prepared) => self.enqueue(Job::Commit(prepared, sender)),
                None => drop(sender.send(Ok(self.nothing()))),
            },
            None => {
                given.keep()?;
                let late = Late {
                    place,
                    given,
                    kind,
                    cost,
                };
                self.enqueue(Job::Late(late, sender));
            }
        }
        Ok(self.outcome(receiver))
    }

    /// Queues a commit now, in call order; resolves when it is acknowledged or refused.
    pub(super) fn commit(
        self: &Arc<Self>,
        prepared: Prepared,
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(Job::Commit(prepared, sender));
        self.outcome(receiver)
    }

    fn outcome(
        self: &Arc<Self>,
        receiver: oneshot::Receiver<Result<Committed>>,
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        let own = (!self.options.detached_tasks).then(|| self.clone());
        async move {
            if let Some(inner) = own {
                // In a box: what it takes would be a part of every call that waits.
                let turn: BoxFuture<'_, ()> = Box::pin(inner.work_off_turn());
                turn.await;
            }
            receiver.await.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Unknown,
                    "the call that was committing this one was given up, or the runtime is shutting down: \
                     whether it is committed is not known; read before you retry",
                ))
            })
        }
    }

    /// Nothing if there are no rows.
    pub(super) fn prepare(
        &self,
        place: &Place,
        given: Box<dyn Given>,
        kind: Kind,
        mut memory: Reservation,
    ) -> Result<Option<Prepared>> {
        let rows = prepare::rows(place, given.read()?, kind, self.options.commit_bytes)?;
        if rows.rows.is_empty() {
            return Ok(None);
        }
        let mut prepared = Prepared {
            tables: vec![rows],
            footprint: None,
            _watch: None,
            memory: None,
        };
        memory.set(prepared.memory_bytes());
        prepared.memory = Some(memory);
        Ok(Some(prepared))
    }

    /// What a commit without rows is told.
    pub(super) fn nothing(&self) -> Committed {
        Committed {
            ts: self.state().last_stamp,
            rows: 0,
            uploaded: self.wal.is_none(),
            position: None,
        }
    }

    /// Largest commit that goes inline, in bytes (PROTOCOL N3).
    pub(super) fn inline_bound(&self) -> usize {
        usize::try_from(self.settings().inline_commit_bytes).unwrap_or(usize::MAX)
    }

    pub(super) async fn commit_group(self: &Arc<Self>, group: Vec<Waiting>) {
        let (mut prepared, senders): (Vec<Prepared>, Vec<_>) = group.into_iter().unzip();
        let mut memory = self.memory.writes.take_for_call(0);
        let reserved = prepared.iter_mut().filter_map(|p| p.memory.take());
        reserved.for_each(|of| memory.merge(of));
        let committing: BoxFuture<'_, _> = Box::pin(async {
            self.make_room().await?;
            match self.wal.is_some() {
                true => self.commit_local(prepared).await,
                false => self.commit_remote(prepared).await,
            }
        });
        let outcome = memory.during(committing).await;
        drop(memory);
        match outcome {
            Ok(outcomes) => {
                let mut done = 0;
                for (sender, outcome) in senders.into_iter().zip(outcomes) {
                    if let Ok(committed) = &outcome {
                        self.counts.committed(committed.rows);
                        done += 1;
                    }
                    let _ = sender.send(outcome);
                }
                if done > 0 {
                    self.after_commit().await;
                }
            }
            Err(error) => {
                for sender in senders {
                    let _ = sender.send(Err(error.duplicate()));
                }
            }
        }
    }

    /// `local`: acknowledged when the frames are in the WAL by the sync policy (PROTOCOL W2). Transactions
    /// are checked against the commits of this device (W5).
    async fn commit_local(&self, group: Vec<Prepared>) -> Result<Vec<Result<Committed>>> {
        let Some(wal) = &self.wal else {
            return Err(Error::internal("there is no WAL"));
        };
        if let Err(error) = self.keep_schema().await {
            // It may say that the WAL is somebody else's: then the handle ends.
            self.confirm_wal().await?;
            return Err(error);
        }
        let state = self.state();
        let decided = decide(&group, &state);
        let Some(database) = state.version.database else {
            return Err(Error::internal("rows for a database without a record"));
        };
        let now = self.runtime.now_micros();
        let mut stamp = state.last_stamp;
        let mut frames = Vec::with_capacity(group.len());
        for prepared in decided.accepted(&group) {
            stamp = now.max(stamp + 1);
            frames.push((stamp, prepared.frames()));
        }
        let positions = {
            let mut wal = wal.lock().await;
            let appended = wal.append(database, &frames).await;
            if let Some(lost) = wal.lost() {
                self.end(lost);
            }
            appended?
        };
        let mut stamps = Vec::with_capacity(frames.len());
        self.change_state(|state| {
            let mut next = state.clone();
            let places = frames.iter().zip(&positions);
            for (prepared, ((stamp, _), position)) in decided.accepted(&group).zip(places) {
                // A record that was applied meanwhile may have passed the stamp: stay above it.
                let stamp = (*stamp).max(next.last_stamp + 1);
                stamps.push(stamp);
                next = next.with_change(prepared.touched().collect());
                let rows = prepared.stamped(stamp);
                self.feeds.preview(stamp, &rows);
                next = next.with_pending(rows, position.session, position.frame, stamp);
            }
            next
        });
        self.watch.wake();
        let mut places = stamps.into_iter().zip(positions);
        Ok(decided.answers(&group, |prepared| {
            let place = places.next();
            Committed {
                ts: place.map_or(stamp, |(stamp, _)| stamp),
                rows: prepared.rows(),
                uploaded: false,
                position: place.map(|(_, position)| position),
            }
        }))
    }

    /// `remote`: acknowledged when the record is in the store; small ones inline, large ones as
    /// sstables (PROTOCOL C1, C5).
    async fn commit_remote(&self, mut group: Vec<Prepared>) -> Result<Vec<Result<Committed>>> {
        let bytes: usize = group.iter().map(Prepared::bytes).sum();
        // A transaction shares a group only because that fitted inline (see `next_group`): a bound that
        // another handle lowered meanwhile is for the next.
        let inline = group.len() > 1 && group.iter().any(|p| p.footprint.is_some());
        let mut written: Option<Vec<Edit>> = None;
        for _ in 0..MAX_QUESTIONS {
            // Before anything is written: a refusal should cost nothing.
            let mut decided = decide(&group, &self.state());
            if decided.open.is_empty() && !decided.all_refused() {
                if !inline && bytes > self.inline_bound() && written.is_none() {
                    written = Some(self.sstable_edits(&group).await?);
                }
                let mut plan = |state: &State| {
                    decided = decide(&group, state);
                    match &written {
                        _ if !decided.open.is_empty() || decided.all_refused() => Ok(Vec::new()),
                        Some(edits) => fresh_edits(edits, state),
                        None => Ok(inline_edits(&group, &decided)),
                    }
                };
                let ts = self.commit_record(IfFreed::Unknown, &mut plan).await?.ts;
                if decided.open.is_empty() {
                    return Ok(decided.answers(&group, |prepared| uploaded(prepared, ts)));
                }
            } else if decided.open.is_empty() {
                return Ok(decided.answers(&group, |prepared| uploaded(prepared, 0)));
            }
            self.look_into(&mut group, decided.open).await?;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "other writers commit large batches faster than they can be looked into: retry later",
        ))
    }

    /// Looks into fresh sstables for keys that transactions depend on (PROTOCOL C4).
    async fn look_into(&self, group: &mut [Prepared], open: Vec<Question>) -> Result<()> {
        let state = self.state();
        for (member, table, file) in open {
            let footprint = group.get_mut(member).and_then(|p| p.footprint.as_mut());
            let Some(footprint) = footprint else {
                continue;
            };
            let hit = match state.tables.get(&table) {
                Some(table) => {
                    let ranges = footprint.ranges(table.id, &file);
                    let hit = self.readers.any_key(table, &file, ranges).await;
                    hit.or_else(gone_is_a_hit)?
                }
                // Of a table that was dropped since nobody can tell, either.
                None => true,
            };
            footprint.files.insert(file.meta.id, hit);
        }
        Ok(())
    }

    async fn sstable_edits(&self, group: &[Prepared]) -> Result<Vec<Edit>> {
        let state = self.state();
        let mut tables: BTreeMap<TableId, Vec<Rows>> = BTreeMap::new();
        for (order, part) in group.iter().flat_map(|p| &p.tables).enumerate() {
            let Some(found) = state.tables.get(&part.table) else {
                continue;
            };
            // Some of the group may have been validated before the table was altered.
            let rows = found.in_layout(part.schema_version, part.rows.clone());
            // Stamps only order the rows here: the last commit of the group wins.
            let rows = with_stamp(rows, order as i64);
            tables.entry(part.table).or_default().push(rows);
        }
        let target = Target {
            storage: &self.data,
            runtime: &self.runtime,
            options: &self.options,
            floor: state.version.orphan_floor,
        };
        let bytes = group.iter().map(Prepared::memory_bytes).sum();
        let memory = self.job_memory("a large commit", bytes).await?;
        let mut edits = Vec::new();
        for (table, rows) in tables {
            let Some(found) = state.tables.get(&table) else {
                continue;
            };
            let (schema, version) = (&found.entry.schema, found.entry.schema_version);
            let write = write_commit(target, table, schema, version, rows);
            edits.extend(memory.during(write).await?);
        }
        Ok(edits)
    }
}

fn uploaded(prepared: &Prepared, ts: i64) -> Committed {
    Committed {
        ts,
        rows: prepared.rows(),
        uploaded: true,
        position: None,
    }
}

/// What an sstable had that gc took is not known: it counts as a conflict.
fn gone_is_a_hit(error: Error) -> Result<bool> {
    match is_missing(&error) {
        true => Ok(true),
        false => Err(error),
    }
}
