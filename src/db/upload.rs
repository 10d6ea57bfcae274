//! Uploading in steps: what is pending goes up in whole commits, oldest first, seal by seal, each step one
//! record (PROTOCOL W3). A loop is a convenience: correctness never needs it (DESIGN promise 7). And the
//! bound of what may be pending (promise 8).

use super::{Db, Inner, commit::Committed, flush::Limit};
use crate::{
    error::{Error, ErrorKind, Result},
    state::State,
};
use futures_util::future::{Either, select};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// For so long after the store did not answer, a commit at the bound is refused without asking it.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How much one call of [`Db::upload`] may do. Both bounds are looked at between seals, and one seal is
/// always uploaded; a seal is about `Options::seal_bytes`, or what was committed since the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadOptions {
    /// No further seal is begun that would go beyond this, in bytes of memory.
    pub max_bytes: Option<u64>,
    /// No further seal is begun after so many milliseconds.
    pub max_millis: Option<u64>,
}

/// What a call of [`Db::upload`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Commits that are in the log now.
    pub commits: u64,
    /// Their rows; superseded ones do not count.
    pub rows: u64,
    /// Bytes of the sstables that hold them.
    pub bytes: u64,
    /// Rows left, also of commits since; superseded ones may count.
    pub remaining_rows: u64,
    /// Their bytes in memory.
    pub remaining_bytes: u64,
}

/// How [`Db::keep_uploaded`] goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepUploaded {
    /// How often it looks whether anything is pending.
    pub every: Duration,
    /// The longest pause while the store does not answer: pauses double up to this, with jitter.
    pub longest_pause: Duration,
}

impl Default for KeepUploaded {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            longest_pause: Duration::from_secs(300),
        }
    }
}

impl Db {
    /// Uploads what was pending when it was called, or a part: whole commits, oldest first, in records of
    /// their own. It may be broken off at any moment. Without a WAL nothing is ever pending.
    ///
    /// # Errors
    /// `Unavailable` if the store does not answer: nothing is lost, and what it did so far stays done.
    pub async fn upload(&self, options: UploadOptions) -> Result<Uploaded> {
        self.inner.check_open()?;
        self.inner.upload(options).await
    }

    /// Uploads whenever something is pending, until the handle closes or its last clone goes: a future to
    /// spawn, or to drop when it has done enough. It holds no clone of the handle while it waits.
    ///
    /// # Errors
    /// Those that no retry makes good (`Corrupt`, `Expired`, `Invalid`): it ends then, and
    /// `Stats::upload_error` says so, too.
    pub fn keep_uploaded(
        &self,
        options: KeepUploaded,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let inner = Arc::downgrade(&self.inner);
        async move {
            let mut failures = 0;
            while let Some(open) = inner.upgrade().filter(|i| i.check_open().is_ok()) {
                failures = match open.upload(UploadOptions::default()).await {
                    Ok(_) => 0,
                    Err(error) if error.kind() == ErrorKind::Closed => break,
                    Err(error) if may_pass(error.kind()) => failures + 1,
                    Err(error) => return Err(error),
                };
                let time = pause(&options, failures, u64::from_le_bytes(open.random()));
                let sleep = open.runtime.sleep(time);
                drop(open);
                if !wait(&inner, sleep).await {
                    break;
                }
            }
            Ok(())
        }
    }

    /// Whether a commit is in the object store by now. True for one that a handle without a WAL made.
    pub fn is_uploaded(&self, committed: &Committed) -> bool {
        self.inner.is_uploaded(committed)
    }

    /// Resolves when a commit is in the object store. It waits, and uploads nothing itself.
    ///
    /// # Errors
    /// `Closed` if the handle closes first.
    pub fn uploaded(
        &self,
        committed: &Committed,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let (inner, committed) = (Arc::downgrade(&self.inner), *committed);
        async move {
            loop {
                let open = inner.upgrade().ok_or_else(Error::closed)?;
                let next = open.watch.next();
                if open.is_uploaded(&committed) {
                    return Ok(());
                }
                open.check_open()?;
                drop(open);
                let _ = next.await;
            }
        }
    }
}

/// Whether an upload that failed so may succeed later.
fn may_pass(kind: ErrorKind) -> bool {
    // Credentials may be renewed; an unknown outcome is found out by the next attempt.
    kind.retryable() || matches!(kind, ErrorKind::Unknown | ErrorKind::Denied)
}

/// The pause after so many failures in a row, with half of it jitter.
fn pause(options: &KeepUploaded, failures: u32, random: u64) -> Duration {
    if failures == 0 {
        return options.every;
    }
    let longest = options.longest_pause.max(options.every);
    let bound = options
        .every
        .saturating_mul(1 << failures.min(16))
        .min(longest);
    let half = bound / 2;
    half + Duration::from_micros(random % (half.as_micros() as u64).max(1))
}

/// Whether the handle is still open after `sleep`; sooner if it closes.
async fn wait(inner: &Weak<Inner>, mut sleep: crate::env::BoxFuture<'static, ()>) -> bool {
    loop {
        let next = match inner.upgrade() {
            Some(open) => {
                let next = open.watch.next();
                if open.check_open().is_err() {
                    return false;
                }
                next
            }
            None => return false,
        };
        match select(sleep, next).await {
            Either::Left(_) => return true,
            Either::Right((_, rest)) => sleep = rest,
        }
    }
}

impl Inner {
    async fn upload(self: &Arc<Self>, options: UploadOptions) -> Result<Uploaded> {
        let mut done = Uploaded::default();
        let started = self.runtime.monotonic();
        let most = options
            .max_bytes
            .map_or(usize::MAX, |b| usize::try_from(b).unwrap_or(usize::MAX));
        let mut begun = 0;
        if self.wal.is_some() && !self.state().pending.is_empty() {
            let sealed = self.change_state(State::sealed);
            let until = sealed.seals.last().map_or(0, |s| s.generation);
            loop {
                let bytes = most.saturating_sub(begun).min(self.options.sstable_bytes);
                let step = self.flush_step(Limit { until, bytes }).await?;
                let Some(step) = step else { break };
                begun += step.memory_bytes;
                done.commits += step.commits;
                done.rows += step.rows;
                done.bytes += step.bytes;
                let passed = self.runtime.monotonic().saturating_sub(started).as_millis();
                if begun >= most || options.max_millis.is_some_and(|most| passed >= most.into()) {
                    break;
                }
            }
            self.keep_version_soon();
        }
        let (rows, bytes) = self.state().backlog();
        done.remaining_rows = rows as u64;
        done.remaining_bytes = bytes as u64;
        Ok(done)
    }

    fn is_uploaded(&self, committed: &Committed) -> bool {
        let Some(position) = committed.position else {
            return committed.uploaded || committed.rows == 0;
        };
        let state = self.state();
        let floors = self.device.as_ref().map(|d| d.floors(&state.version));
        let floor = floors.and_then(|f| f.get(&position.session).copied());
        floor.is_some_and(|floor| floor >= position.frame)
            // The log may have forgotten the floor of this session, but not this handle its commits.
            || self.session == Some(position.session)
                && state.pending.iter().all(|c| c.position != position)
    }

    /// At a bound a writer waits for an upload or a flush, and is refused if there can be none (DESIGN
    /// promise 8): nothing of its commit is written then.
    pub(super) async fn make_room(self: &Arc<Self>) -> Result<()> {
        while self.state().backlog().1 >= self.options.backlog_bytes {
            self.shrink_backlog().await?;
        }
        let state = self.state();
        if state.memory_bytes() - state.backlog().1 <= self.options.memtable_limit_bytes {
            return Ok(());
        }
        self.flush_all().await.map_err(|e| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the memtables hold more than option memtable_limit_bytes allows and cannot be \
                     flushed: {e}"
                ),
            )
        })
    }

    /// Why the store did not answer, if it was asked lately: a commit at a bound is refused without asking
    /// it again.
    pub(super) fn unreachable_lately(&self) -> Option<String> {
        let now = self.runtime.monotonic();
        let lately = self.counts.unreachable();
        let lately = lately.filter(|(at, _)| now.saturating_sub(*at) < ASK_AGAIN);
        lately.map(|(_, why)| why)
    }

    async fn shrink_backlog(self: &Arc<Self>) -> Result<()> {
        let why = match self.unreachable_lately() {
            Some(why) => why,
            None => {
                let one = UploadOptions {
                    max_bytes: Some(0),
                    max_millis: None,
                };
                match self.upload(one).await {
                    Ok(_) => return Ok(()),
                    Err(error) => error.to_string(),
                }
            }
        };
        let state = self.state();
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "nothing was written: {} commits with {} bytes wait for upload, option backlog_bytes \
                 allows {}, and they cannot be uploaded now ({why}); commit again once the data store \
                 answers, or raise the option",
                state.pending.len(),
                state.backlog().1,
                self.options.backlog_bytes
            ),
        ))
    }
}
