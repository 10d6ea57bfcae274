//! The commit queue: one task at a time takes what waits, in call order, as groups. The task outlives its
//! callers, so a caller that stops waiting cancels nothing (PROTOCOL C2).
//!
//! Without detached tasks (`Options::detached_tasks`) there is no such task. The calls of one turn,
//! made before any of them is polled, are a group; the first that is polled takes it and commits it,
//! within its own future. The others of that turn wait for it: they belong to the same request, and
//! vanish with it. A call of a later turn finds the queue empty and waits for nobody.
//!
//! Invariants: who waits for memory keeps its place, and is passed only by those of whom the order of calls says
//! nothing (`first_to_go`); who is taken off the queue is answered, whatever ends its turn.

use super::{
    Inner,
    commit::Committed,
    group::{GROUP_COMMITS, Prepared, next_group},
    prepare::{Given, Place},
};
use crate::{
    env::Reservation,
    error::{Error, ErrorKind, Result},
    merge::Kind,
};
use futures_channel::oneshot;
use std::{
    collections::{BTreeSet, VecDeque},
    future::poll_fn,
    pin::pin,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

/// Commits that wait, and whether a task works them off.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Job>,
    running: bool,
    /// How many wait for memory: who comes after them must not be prepared before them.
    pub(super) late: usize,
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
    pub(super) place: Place,
    pub(super) given: Box<dyn Given>,
    pub(super) kind: Kind,
    /// What they are going to take.
    pub(super) cost: usize,
}

pub(super) type Waiting = (Prepared, oneshot::Sender<Result<Committed>>);

impl Inner {
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

    pub(super) fn enqueue(self: &Arc<Self>, job: Job) {
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
    pub(super) async fn work_off_turn(self: &Arc<Self>) {
        let mut turn = Turn::new(self);
        turn.fill();
        while turn.commit_next().await {}
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
        // Without a task what is queued now is another call's to commit.
        let shared = inner.options.detached_tasks;
        let goes_first = || match shared {
            true => first_to_go(jobs.iter().chain(&inner.queue().waiting)).is_some(),
            false => first_to_go(jobs.iter()).is_some(),
        };
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
