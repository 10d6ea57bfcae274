//! The commit queue. A call validates and sorts its rows, then queues them; one task at a time takes
//! what waits, in call order, as one group: one WAL write (or log record), one swap of the state.
//! The task outlives its callers, so a caller that stops waiting cancels nothing (PROTOCOL C2).
//!
//! Without detached tasks (`Options::detached_tasks`) there is no such task. The calls of one turn,
//! made before any of them is polled, are a group; the first that is polled takes it and commits it,
//! within its own future. The others of that turn wait for it: they belong to the same request, and
//! vanish with it. A call of a later turn finds the queue empty and waits for nobody.
//!
//! A transaction is one commit of several tables. Whether it conflicts is decided when its group is
//! planned, on the newest state and against the members of the group before it (PROTOCOL C1, C4): no
//! other commit of this handle is under way then.

use super::{
    Inner,
    group::{
        GROUP_COMMITS, Prepared, Question, decide, fresh_edits, inline_edits, next_group,
        with_stamp,
    },
    log::IfFreed,
    prepare::{self, Given, Place, check_size},
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
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    pin::pin,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

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

/// Commits that wait, and whether a task works them off.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Job>,
    running: bool,
    /// How many wait for memory: who comes after them must not be prepared before them.
    late: usize,
}

pub(super) enum Job {
    Commit(Prepared, oneshot::Sender<Result<Committed>>),
    /// There was no memory for it when it was called: it is as it came.
    Late(Late, oneshot::Sender<Result<Committed>>),
    /// Answers when everything before it is done.
    Barrier(oneshot::Sender<()>),
}

/// The first commit that has its memory and may go before those in front of it that wait for some. One that is no
/// transaction was called before or beside these, or it would wait, too: the calls have no order. A transaction may
/// have been called after them, and goes first if it has no table in common with them. It passes no other
/// transaction of which that is true, either.
fn first_to_go<'j>(jobs: impl Iterator<Item = &'j Job>) -> Option<usize> {
    let mut passed = BTreeSet::new();
    for (at, job) in jobs.enumerate() {
        match job {
            Job::Late(late, _) => drop(passed.insert(late.place.table())),
            Job::Commit(prepared, _) => match &prepared.footprint {
                Some(footprint) if footprint.tables().any(|t| passed.contains(&t)) => {
                    passed.extend(footprint.tables());
                }
                _ => return Some(at),
            },
            Job::Barrier(_) => {}
        }
    }
    None
}

impl Job {
    /// It is there: its memory is not to be written off.
    fn touch(&self) {
        if let Self::Commit(
            Prepared {
                memory: Some(memory),
                ..
            },
            _,
        ) = self
        {
            memory.touch();
        }
    }

    /// Tells who waits that nothing was done for it.
    fn not_begun(self) {
        let (Self::Commit(_, sender) | Self::Late(_, sender)) = self else {
            return;
        };
        let message = "nothing was written: the call that was to commit this one was given up, or the \
                       runtime is shutting down; commit again";
        let _ = sender.send(Err(Error::new(ErrorKind::Unavailable, message)));
    }
}

/// Rows that wait for memory where their caller has them.
pub(super) struct Late {
    place: Place,
    given: Box<dyn Given>,
    kind: Kind,
    /// What they are going to take.
    cost: usize,
}

pub(super) type Waiting = (Prepared, oneshot::Sender<Result<Committed>>);

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
    fn prepare(
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
    fn nothing(&self) -> Committed {
        Committed {
            ts: self.state().last_stamp,
            rows: 0,
            uploaded: self.wal.is_none(),
            position: None,
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the commits queued so far, if there is a task that works them off.
    pub(super) async fn drain_queue(self: &Arc<Self>) {
        if !self.options.detached_tasks {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        self.enqueue(Job::Barrier(sender));
        let _ = receiver.await;
    }

    fn enqueue(self: &Arc<Self>, job: Job) {
        let mut queue = self.queue();
        queue.late += usize::from(matches!(job, Job::Late(..)));
        queue.waiting.push_back(job);
        if !self.options.detached_tasks {
            return;
        }
        let start = !std::mem::replace(&mut queue.running, true);
        // A runtime that is shutting down drops the task at once, and the task locks the queue.
        drop(queue);
        if start {
            let worker = Worker {
                inner: self.clone(),
                ended: false,
            };
            self.runtime.spawn(Box::pin(worker.work_off()));
        }
    }

    /// Takes all that waits, at once, and commits it: what is queued later is not this call's.
    async fn work_off_turn(self: &Arc<Self>) {
        let mut turn = Turn::new(self);
        turn.fill();
        while turn.commit_next().await {}
    }

    /// Largest commit that goes inline, in bytes (PROTOCOL N3).
    fn inline_bound(&self) -> usize {
        usize::try_from(self.settings().inline_commit_bytes).unwrap_or(usize::MAX)
    }

    async fn commit_group(self: &Arc<Self>, group: Vec<Waiting>) {
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

/// Commits that were taken off the queue, in their order. If it is dropped, those who wait are told.
struct Turn<'a> {
    inner: &'a Arc<Inner>,
    jobs: VecDeque<Job>,
    /// Until when the first that waits for memory does so: those after it have waited as long.
    until: Option<Duration>,
}

impl<'a> Turn<'a> {
    fn new(inner: &'a Arc<Inner>) -> Self {
        Self {
            inner,
            jobs: VecDeque::new(),
            until: None,
        }
    }

    /// Takes all that waits; whether there is anything to do.
    fn fill(&mut self) -> bool {
        let mut queue = self.inner.queue();
        self.jobs.append(&mut queue.waiting);
        // Without a task nobody of a later turn comes after these, who may vanish.
        if !self.inner.options.detached_tasks {
            queue.late = 0;
        }
        !self.jobs.is_empty()
    }

    /// Commits the next group; whether there was one.
    async fn commit_next(&mut self) -> bool {
        self.make_ready().await;
        let bound = self.inner.inline_bound();
        if let Some(group) = next_group(&mut self.jobs, bound) {
            self.inner.commit_group(group).await;
        }
        !self.jobs.is_empty()
    }

    /// Prepares those that waited for memory: as many as there is memory for, but at least the first. Each stays
    /// in its place until its memory is there, because this may be given up while it waits.
    async fn make_ready(&mut self) {
        let mut ready = 0;
        while ready < GROUP_COMMITS
            && let Some(job) = self.jobs.get(ready)
        {
            let Job::Late(Late { cost, .. }, _) = *job else {
                ready += 1;
                continue;
            };
            let memory = match self.inner.memory.writes.try_reserve(cost) {
                Some(memory) => Ok(memory),
                None if ready > 0 => return,
                None if self.prepared_goes_first() => continue,
                None => match self.memory_for(cost).await {
                    Err(_) if !self.is_patience_over() && self.prepared_goes_first() => continue,
                    memory => memory,
                },
            };
            if memory.is_ok() {
                self.until = None;
            }
            let Some(Job::Late(late, sender)) = self.jobs.remove(ready) else {
                break;
            };
            self.late_is_done();
            let Late {
                place, given, kind, ..
            } = late;
            let prepared =
                memory.and_then(|memory| self.inner.prepare(&place, given, kind, memory));
            match prepared {
                Ok(Some(prepared)) => {
                    self.jobs.insert(ready, Job::Commit(prepared, sender));
                    ready += 1;
                }
                Ok(None) => drop(sender.send(Ok(self.inner.nothing()))),
                Err(error) => drop(sender.send(Err(error))),
            }
        }
        if !self.jobs.iter().any(|job| matches!(job, Job::Late(..))) {
            self.until = None;
        }
    }

    /// Memory for the first, who waits for what others hold as long as there is patience.
    async fn memory_for(&mut self, cost: usize) -> Result<Reservation> {
        let inner = self.inner;
        let until = *self.until.get_or_insert_with(|| inner.patience());
        let jobs = &self.jobs;
        let goes_first = || first_to_go(jobs.iter().chain(&inner.queue().waiting)).is_some();
        let mut memory = pin!(inner.memory_for(cost, until, &goes_first));
        let memory = poll_fn(|context| {
            jobs.iter().for_each(Job::touch);
            memory.as_mut().poll(context)
        })
        .await;
        if memory.is_err() && until == Duration::MAX && !goes_first() {
            self.until = Some(Duration::ZERO);
        }
        memory
    }

    fn is_patience_over(&self) -> bool {
        (self.until).is_some_and(|until| self.inner.is_patience_over(until))
    }

    /// A commit that has its memory already is committed before those that wait for some, which may wait for just
    /// that, if it may be ([`first_to_go`]). Whether there is one.
    fn prepared_goes_first(&mut self) -> bool {
        // Without a task what is queued now belongs to other calls.
        if self.inner.options.detached_tasks {
            self.fill();
        }
        let job = first_to_go(self.jobs.iter()).and_then(|at| self.jobs.remove(at));
        job.map(|job| self.jobs.push_front(job)).is_some()
    }

    fn late_is_done(&self) {
        if self.inner.options.detached_tasks {
            let mut queue = self.inner.queue();
            queue.late = queue.late.saturating_sub(1);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Those that were being committed are not here any more.
        self.jobs.drain(..).for_each(Job::not_begun);
    }
}

/// The task that works off the queue. If it is torn down (a panic, a runtime that shuts down), those
/// who wait are told instead of waiting for ever, and the next commit starts a new one.
struct Worker {
    inner: Arc<Inner>,
    ended: bool,
}

impl Worker {
    async fn work_off(mut self) {
        let inner = self.inner.clone();
        let mut turn = Turn::new(&inner);
        loop {
            turn.fill();
            if turn.commit_next().await {
                continue;
            }
            let mut queue = inner.queue();
            if queue.waiting.is_empty() {
                queue.running = false;
                break;
            }
        }
        self.ended = true;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ended {
            let waiting = {
                let mut queue = self.inner.queue();
                (queue.running, queue.late) = (false, 0);
                std::mem::take(&mut queue.waiting)
            };
            waiting.into_iter().for_each(Job::not_begun);
        }
    }
}
