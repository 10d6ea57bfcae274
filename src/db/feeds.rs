//! Keeps local commits for change feeds until they take them. Bounded: a feed that falls behind, or whose
//! memory others wait for, gets all pending rows instead.

use crate::{
    env::{Budget, Reservation, Yields},
    state::TableRows,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Most bytes of local commits that wait for a feed one by one.
const MOST_BYTES: usize = 1024 * 1024;

/// A local commit: its provisional timestamp and rows.
type Commit = (i64, Vec<TableRows>);

/// The feeds of a handle.
#[derive(Default)]
pub(super) struct Feeds {
    previews: Mutex<Vec<Weak<Previews>>>,
}

/// Local commits that one feed has not given out yet.
pub(super) struct Previews {
    waiting: Mutex<Waiting>,
}

struct Waiting {
    commits: VecDeque<Commit>,
    memory: Reservation,
    /// Instead of them: everything pending.
    all: bool,
}

impl Feeds {
    /// One feed more. `all`: what is pending already is news to it.
    pub(super) fn subscribe(&self, all: bool, reads: &Budget) -> Arc<Previews> {
        let previews = Arc::new(Previews {
            waiting: Mutex::new(Waiting {
                commits: VecDeque::new(),
                memory: reads.take(0),
                all,
            }),
        });
        let mut feeds = lock(&self.previews);
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(&previews));
        let holder: Weak<dyn Yields> = Arc::<Previews>::downgrade(&previews);
        reads.register(holder);
        previews
    }

    /// A local commit.
    pub(super) fn preview(&self, ts: i64, rows: &[TableRows]) {
        let previews = lock(&self.previews);
        if previews.is_empty() {
            return;
        }
        for feed in previews.iter().filter_map(Weak::upgrade) {
            lock(&feed.waiting).push(ts, rows);
        }
    }
}

impl Previews {
    /// The next: a commit, or `Some(None)` for everything pending.
    pub(super) fn next(&self) -> Option<Option<Commit>> {
        let mut waiting = lock(&self.waiting);
        if std::mem::take(&mut waiting.all) {
            waiting.drop_commits();
            return Some(None);
        }
        let commit = waiting.commits.pop_front()?;
        let left = waiting.memory.bytes().saturating_sub(bytes_of(&commit.1));
        waiting.memory.shrink_to(left);
        Some(Some(commit))
    }
}

impl Yields for Previews {
    fn give_back(&self) {
        let mut waiting = lock(&self.waiting);
        if !waiting.commits.is_empty() {
            waiting.drop_commits();
            waiting.all = true;
        }
    }
}

impl Waiting {
    fn push(&mut self, ts: i64, rows: &[TableRows]) {
        if self.all {
            return;
        }
        let bytes = bytes_of(rows);
        if self.memory.bytes().saturating_add(bytes) > MOST_BYTES {
            self.drop_commits();
            self.all = true;
            return;
        }
        self.memory.take(bytes);
        self.commits.push_back((ts, rows.to_vec()));
    }

    fn drop_commits(&mut self) {
        self.commits.clear();
        self.memory.shrink_to(0);
    }
}

fn bytes_of(rows: &[TableRows]) -> usize {
    rows.iter().map(|of| of.rows.memory_bytes()).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
