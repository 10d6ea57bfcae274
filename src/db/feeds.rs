//! Keeps local commits for change feeds until they take them. Bounded: a feed that falls behind gets all
//! pending rows at once instead.

use crate::state::TableRows;
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
    bytes: usize,
    /// Instead of them: everything pending.
    all: bool,
}

impl Feeds {
    /// One feed more. `all`: what is pending already is news to it.
    pub(super) fn subscribe(&self, all: bool) -> Arc<Previews> {
        let previews = Arc::new(Previews {
            waiting: Mutex::new(Waiting {
                commits: VecDeque::new(),
                bytes: 0,
                all,
            }),
        });
        let mut feeds = lock(&self.previews);
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(&previews));
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
        waiting.bytes = waiting.bytes.saturating_sub(bytes_of(&commit.1));
        Some(Some(commit))
    }
}

impl Waiting {
    fn push(&mut self, ts: i64, rows: &[TableRows]) {
        if self.all {
            return;
        }
        self.bytes += bytes_of(rows);
        self.commits.push_back((ts, rows.to_vec()));
        if self.bytes > MOST_BYTES && self.commits.len() > 1 {
            self.drop_commits();
            self.all = true;
        }
    }

    fn drop_commits(&mut self) {
        self.commits.clear();
        self.bytes = 0;
    }
}

fn bytes_of(rows: &[TableRows]) -> usize {
    rows.iter().map(|of| of.rows.memory_bytes()).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
