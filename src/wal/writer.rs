//! The writer: appends commits to the active segment, syncs by policy, rotates, truncates.
//!
//! Invariants:
//! - One append is one run of writes to one segment: acknowledged whole or not at all. A segment may
//!   thus exceed `wal_segment_bytes` by one append. (A crash before the acknowledgement may leave the
//!   first few of its commits, each whole.)
//! - A segment is begun only when its predecessor, also one recovered by replay, is synced.
//! - Frame numbers of an append that failed, or whose future was dropped, are not used again, and its
//!   segment is not written to again: the next one names the last good end. (Until that next one is
//!   durable, a crash may bring the failed append back, if all its bytes had been written: it was
//!   answered `Unavailable`, and is then found committed, with nothing durable after it.)
//! - After a failed sync nothing is trusted: the operating system may have dropped the dirty pages
//!   and call the next sync a success. Every later call fails until the WAL is reopened. So it is if,
//!   after a write, nobody can tell whether the WAL is still ours: its frames count, and its caller does
//!   not have them.
//! - Fence: an append is acknowledged only if the directory's lock was still held, and the segment still
//!   had its name, when its bytes were where the policy wants them.
//! - State changes before an await, never only after it: a dropped future leaves a usable writer.

use super::{
    DatabaseId, FrameBody, HeldLock, Hex, Position, SessionId,
    frame::{self, Encoder},
    replay::{Segment, Tail},
    segment::{self, Header, Link},
};
use crate::{
    env::{AppendFile, Runtime, Storage},
    error::{Error, ErrorKind, Result},
    options::{Options, SyncPolicy},
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// How many names are tried for a new segment, should files of that name hold bytes already.
const NAMES: u32 = 16;

/// Appends commits to a WAL. One per WAL directory; the caller holds the directory's lock.
pub struct WalWriter {
    storage: Arc<dyn Storage>,
    runtime: Arc<dyn Runtime>,
    policy: SyncPolicy,
    segment_bytes: u64,
    session: SessionId,
    database: Option<DatabaseId>,
    next_frame: u64,
    /// The highest segment number in use.
    highest: u64,
    /// Files that are no longer written to, ascending.
    segments: Vec<Segment>,
    active: Option<Active>,
    /// A segment that replay found and that may not be durable yet.
    recovered: Option<Link>,
    last_sync: Duration,
    state: State,
    /// See `Header::term`.
    term: u32,
    /// The directory's lock, if it can be asked whether it is still held.
    lock: HeldLock,
    /// Why the WAL is not this writer's any more.
    lost: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Poisoned,
    Closed,
}

/// The segment that is written to.
struct Active {
    file: Box<dyn AppendFile>,
    number: u64,
    /// How much of the file is durable.
    synced: u64,
    /// Where the last good append ends; 0 before the first.
    end: u64,
    /// The last frame of the last good append.
    last: Option<u64>,
    /// The session of the segment that its header names.
    prev: Option<SessionId>,
    /// A write is under way, or has failed, or its future was dropped: write no more.
    broken: bool,
}

impl Active {
    fn dirty(&self) -> bool {
        self.synced < self.end
    }

    fn describe(&self, session: SessionId) -> Segment {
        let link = Link {
            number: self.number,
            session,
            end: self.end,
            last: self.last.unwrap_or(0),
        };
        Segment {
            number: self.number,
            bytes: self.file.len(),
            link: (self.end > 0).then_some(link),
            last: self.last.map(|frame| (session, frame)),
            prev: self.prev,
        }
    }
}

impl fmt::Debug for WalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalWriter")
            .field("storage", &self.storage.describe())
            .field("session", &Hex(&self.session).to_string())
            .field("next_frame", &self.next_frame)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl WalWriter {
    /// A writer that goes on behind `tail`, under a new session. Writes nothing until the first
    /// append. Of the options it takes `sync` and `wal_segment_bytes`.
    pub fn new(
        storage: Arc<dyn Storage>,
        runtime: Arc<dyn Runtime>,
        options: &Options,
        tail: Tail,
    ) -> Self {
        let mut session = [0; 16];
        runtime.random(&mut session);
        Self {
            policy: options.sync,
            segment_bytes: options.wal_segment_bytes,
            session,
            database: tail.database,
            next_frame: 1,
            highest: tail.highest,
            recovered: tail.segments.iter().rev().find_map(|s| s.link),
            segments: tail.segments,
            active: None,
            last_sync: runtime.monotonic(),
            state: State::Open,
            term: tail.term.map_or(0, |term| term.saturating_add(1)),
            lock: HeldLock::default(),
            lost: None,
            storage,
            runtime,
        }
    }

    /// The same, fenced: it asks the directory's lock whether it is still held before it writes, and again
    /// before it acknowledges. A lock that was let go is not asked.
    pub fn guarded_by(mut self, lock: HeldLock) -> Self {
        self.lock = lock;
        self
    }

    /// Why the WAL is not this writer's any more: somebody else took it, or it was removed.
    pub fn lost(&self) -> Option<Error> {
        self.lost.as_ref().map(Error::duplicate)
    }

    /// Asks whether the WAL is still this writer's; `Closed`, for good, if not.
    pub fn confirm(&mut self) -> Result<()> {
        if let Some(lost) = &self.lost {
            return Err(lost.duplicate());
        }
        let confirmed = {
            let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            lock.as_ref().map_or(Ok(()), |lock| lock.confirm())
        };
        confirmed.map_err(|error| self.note(error))
    }

    /// Of an error that says that the WAL is lost, what is told from now on.
    fn note(&mut self, error: Error) -> Error {
        if error.kind() != ErrorKind::Closed {
            return error;
        }
        let place = self.storage.describe();
        let lost = error.context(format_args!(
            "the WAL in {place} is not this handle's any more, which takes no more commits; open the \
             database again"
        ));
        let told = lost.duplicate();
        self.lost = Some(lost);
        told
    }

    /// After the last write of an append: are the bytes where the next holder of the WAL finds them, and
    /// was it still ours when they got there? Whoever took it later has read them.
    async fn confirm_written(&mut self) -> Result<()> {
        if let Err(error) = self.confirm() {
            // Who took it may have read them, or not. If nobody could tell whether somebody did, they are
            // written, and this handle goes on without them.
            if error.kind() != ErrorKind::Closed {
                self.state = State::Poisoned;
            }
            let message = format!(
                "{}: whether the commits just written are in it is not known",
                error.message()
            );
            return Err(Error::new(ErrorKind::Unknown, message));
        }
        let confirmed = match &mut self.active {
            Some(active) => active.file.confirm().await,
            None => Ok(()),
        };
        match confirmed {
            Err(error) if error.kind() != ErrorKind::Closed => {
                // Nobody could tell, either.
                self.state = State::Poisoned;
                let message =
                    "the commits are written, but whether they are in the WAL is not known";
                Err(Error::new(
                    ErrorKind::Unknown,
                    format!("{message}: {}", error.message()),
                ))
            }
            confirmed => confirmed.map_err(|error| self.note(error)),
        }
    }

    /// The session of this writer.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Appends commits, each a stamp and its frames, in order, and syncs them by the policy; answers
    /// each one's position. All are acknowledged or none.
    ///
    /// Errors: `Invalid` (nothing written): a commit without frames, a payload above 4 GiB, another
    /// database than the WAL's. `Unavailable`: the write failed, nothing is visible; the same call
    /// may be made again, unless the message says to reopen. `Unknown`: written, but the sync failed,
    /// so whether the commits survive is not known; the writer takes no more.
    ///
    /// Dropping the future leaves open whether the commits are in the WAL.
    pub async fn append(
        &mut self,
        database: DatabaseId,
        commits: &[(i64, Vec<FrameBody>)],
    ) -> Result<Vec<Position>> {
        self.check_open()?;
        self.check_input(database, commits)?;
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        self.confirm()?;
        let length = encoded_len(commits);
        if self.active.as_ref().is_some_and(|active| {
            active.broken || (active.end > 0 && active.end + length > self.segment_bytes)
        }) {
            self.retire().await?;
        }
        if self.active.is_none() {
            self.begin().await?;
        }
        self.database = Some(database);
        let positions = self.write(database, commits).await?;
        if self.is_sync_due() {
            self.sync_active("the commits are written").await?;
        }
        self.confirm_written().await?;
        Ok(positions)
    }

    /// Makes everything appended so far durable, and what replay found. `Unknown` if that failed; the
    /// writer takes no more then.
    pub async fn sync(&mut self) -> Result<()> {
        self.check_open()?;
        self.sync_recovered().await?;
        self.sync_active("earlier commits are written").await
    }

    /// Deletes, oldest first, segments all of whose commits are at or below their session's floor,
    /// the active one included; answers the bytes freed. Rule W4 says when a floor is safe.
    pub async fn truncate(&mut self, floors: &HashMap<SessionId, u64>) -> Result<u64> {
        self.check_open()?;
        let mut freed = 0;
        let active = self.active.as_ref().map(|a| a.describe(self.session));
        let all = self.segments.iter().chain(active.iter());
        let covered: Vec<Segment> = all.take_while(|s| is_covered(s, floors)).copied().collect();
        if !covered.is_empty() {
            self.confirm()?;
        }
        for segment in covered {
            if let Some(active) = self.active.take_if(|a| a.number == segment.number) {
                // Not synced: nobody needs it. Closed first, since some stores refuse to delete an
                // open file.
                self.segments.push(segment);
                active.file.close().await?;
            }
            // From here on it may be gone, whatever the answer: nothing to be synced, nothing to follow.
            self.recovered.take_if(|link| link.number == segment.number);
            let doomed = self
                .segments
                .iter_mut()
                .filter(|s| s.number == segment.number);
            doomed.for_each(|s| s.link = None);
            self.storage.delete(&segment::key(segment.number)).await?;
            self.segments.retain(|s| s.number != segment.number);
            freed += segment.bytes;
        }
        Ok(freed)
    }

    /// Size of all segment files, in bytes.
    pub fn bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |active| active.file.len());
        self.segments.iter().map(|s| s.bytes).sum::<u64>() + active
    }

    /// The sessions that have segments here, or whose last one is named by the one that followed it, and
    /// this writer's own: replay asks for their floors.
    pub fn sessions(&self) -> BTreeSet<SessionId> {
        // Also of those whose deletion was tried: while the file is there, replay may read it.
        let of = |s: &Segment| s.last.map(|last| last.0).into_iter().chain(s.prev);
        let segments = self.segments.iter().flat_map(of);
        let prev = self.active.as_ref().and_then(|active| active.prev);
        segments.chain(prev).chain([self.session]).collect()
    }

    /// How many bytes [`truncate`](Self::truncate) would free with these floors.
    pub fn dead_bytes(&self, floors: &HashMap<SessionId, u64>) -> u64 {
        let active = self.active.as_ref().map(|a| a.describe(self.session));
        let all = self.segments.iter().chain(active.iter());
        all.take_while(|s| is_covered(s, floors))
            .map(|s| s.bytes)
            .sum()
    }

    /// Syncs what was appended, and what replay found, and releases the segment; later calls fail with
    /// `Closed`. Closing again is no error.
    pub async fn close(&mut self) -> Result<()> {
        if self.state == State::Closed {
            return Ok(());
        }
        let dirty = self.active.as_ref().is_some_and(Active::dirty);
        let synced = match (self.state, self.lost()) {
            (_, Some(lost)) if dirty => Err(lost),
            (_, Some(_)) => Ok(()),
            (State::Open, _) => self.sync().await,
            _ if dirty => Err(self.poisoned()),
            _ => Ok(()),
        };
        self.state = State::Closed;
        if let Some(active) = self.active.take() {
            self.segments.push(active.describe(self.session));
            active.file.close().await?;
        }
        synced
    }

    fn check_open(&self) -> Result<()> {
        if let Some(lost) = &self.lost {
            return Err(lost.duplicate());
        }
        match self.state {
            State::Open => Ok(()),
            State::Poisoned => Err(self.poisoned()),
            State::Closed => Err(Error::closed()),
        }
    }

    fn poisoned(&self) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "an earlier sync or check of the WAL in {} failed, so what it holds is not known: \
                 reopen the database",
                self.storage.describe()
            ),
        )
    }

    fn check_input(&self, database: DatabaseId, commits: &[(i64, Vec<FrameBody>)]) -> Result<()> {
        if let Some(own) = self.database.filter(|own| *own != database) {
            return Err(Error::invalid(format!(
                "the WAL in {} belongs to database {}, this is database {}: give each database a \
                 WAL of its own",
                self.storage.describe(),
                Hex(&own),
                Hex(&database),
            )));
        }
        for (_, frames) in commits {
            if frames.is_empty() {
                return Err(Error::internal("a WAL commit without frames"));
            }
            let longest = frames.iter().map(|body| body.payload.len()).max();
            if longest.is_some_and(|longest| u32::try_from(longest).is_err()) {
                return Err(Error::invalid(
                    "a commit's Arrow IPC is above 4 GiB: split it into smaller commits",
                ));
            }
        }
        Ok(())
    }

    /// Encodes and writes one append to the active segment, which is not broken.
    async fn write(
        &mut self,
        database: DatabaseId,
        commits: &[(i64, Vec<FrameBody>)],
    ) -> Result<Vec<Position>> {
        let prev = self.segments.iter().rev().find_map(|s| s.link);
        let Some(active) = &mut self.active else {
            return Err(Error::internal("no active WAL segment"));
        };
        let header = (active.end == 0).then_some(Header {
            database,
            session: self.session,
            number: active.number,
            first_frame: self.next_frame,
            prev,
            term: self.term,
        });
        let capacity = segment::HEADER_LEN + copied_len(commits);
        let (at, synced) = (active.end, active.synced);
        let mut encoder = Encoder::new(self.session, active.number, synced, at, capacity);
        if let Some(header) = header {
            encoder.raw(&header.encode());
        }
        if let Some(header) = &header {
            active.prev = header.prev.map(|link| link.session);
        }
        let mut positions = Vec::with_capacity(commits.len());
        for (stamp, frames) in commits {
            for (index, body) in frames.iter().enumerate() {
                encoder.frame(self.next_frame, *stamp, index + 1 == frames.len(), body);
                self.next_frame += 1;
            }
            positions.push(Position {
                session: self.session,
                frame: self.next_frame - 1,
            });
        }
        let end = encoder.offset();
        active.broken = true;
        for chunk in encoder.finish() {
            if let Err(error) = active.file.write(chunk).await {
                let key = segment::key(active.number);
                let place = self.storage.describe();
                return Err(unavailable(error, || {
                    format!("writing WAL segment {key} in {place} failed, nothing was committed")
                }));
            }
        }
        active.broken = false;
        active.end = end;
        active.last = Some(self.next_frame - 1);
        Ok(positions)
    }

    fn is_sync_due(&self) -> bool {
        let unsynced = self.active.as_ref().map_or(0, |a| a.end - a.synced);
        match self.policy {
            SyncPolicy::Always => true,
            SyncPolicy::Interval(interval) => {
                self.runtime.monotonic().saturating_sub(self.last_sync) >= interval
            }
            SyncPolicy::Bytes(bytes) => unsynced >= bytes,
            SyncPolicy::Never => false,
        }
    }

    async fn sync_active(&mut self, what: &str) -> Result<()> {
        let Some(active) = self.active.as_mut().filter(|active| active.dirty()) else {
            return Ok(());
        };
        let end = active.end;
        if let Err(error) = active.file.sync().await {
            self.state = State::Poisoned;
            let key = segment::key(active.number);
            return Err(Error::new(
                ErrorKind::Unknown,
                format!(
                    "syncing WAL segment {key} in {} failed: {what}, but whether they survive a \
                     power cut is not known: reopen the database and read",
                    self.storage.describe()
                ),
            )
            .with_source(error));
        }
        active.synced = end;
        self.last_sync = self.runtime.monotonic();
        Ok(())
    }

    /// Syncs the newest segment that replay found: it may have read it from the page cache. Older
    /// ones were synced before their successors were begun.
    async fn sync_recovered(&mut self) -> Result<()> {
        let Some(link) = self.recovered else {
            return Ok(());
        };
        let key = segment::key(link.number);
        let opening = || format!("opening WAL segment {key} to sync it failed");
        let opened = self.storage.append(&key).await;
        let mut file = opened.map_err(|error| unavailable(error, opening))?;
        if file.len() < link.end {
            let place = self.storage.describe();
            let message = "it is shorter than when it was replayed".to_owned();
            return Err(segment::broken(&place, link.number, file.len(), message));
        }
        if let Err(error) = file.sync().await {
            self.state = State::Poisoned;
            return Err(unavailable(error, || {
                format!("syncing WAL segment {key} failed: reopen the database")
            }));
        }
        self.recovered = None;
        file.close().await
    }

    /// Syncs and closes the active segment.
    async fn retire(&mut self) -> Result<()> {
        if let Err(error) = self.sync_active("earlier commits are written").await {
            // What is to be appended now was not written: that outcome is known.
            return Err(unavailable(error, || {
                "the WAL could not be made durable, nothing was committed".to_owned()
            }));
        }
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        let segment = active.describe(self.session);
        self.segments.push(segment);
        // Everything is durable or was never acknowledged: a failed close loses nothing. But it may tell
        // that the file is gone.
        if let Err(error) = active.file.close().await
            && error.kind() == ErrorKind::Closed
        {
            return Err(self.note(error));
        }
        if segment.link.is_none() {
            // It holds no commit. If it can't be deleted now, a truncation will.
            if self
                .storage
                .delete(&segment::key(segment.number))
                .await
                .is_ok()
            {
                self.segments.retain(|s| s.number != segment.number);
            }
        }
        Ok(())
    }

    /// Creates the next segment's file, empty.
    async fn begin(&mut self) -> Result<()> {
        self.sync_recovered().await?;
        for _ in 0..NAMES {
            let Some(number) = self.highest.checked_add(1) else {
                break;
            };
            self.highest = number;
            let key = segment::key(number);
            let creating = || format!("creating WAL segment {key} failed, nothing was committed");
            let opened = self.storage.append(&key).await;
            let file = opened.map_err(|error| unavailable(error, creating))?;
            if file.is_empty() {
                self.active = Some(Active {
                    file,
                    number,
                    synced: 0,
                    end: 0,
                    last: None,
                    prev: None,
                    broken: false,
                });
                return Ok(());
            }
            file.close().await?;
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!(
                "WAL segments up to {} appeared in {}: another process writes to this WAL",
                segment::key(self.highest),
                self.storage.describe()
            ),
        ))
    }
}

fn is_covered(segment: &Segment, floors: &HashMap<SessionId, u64>) -> bool {
    segment.last.is_none_or(|(session, last)| {
        let floor = floors.get(&session);
        floor.is_some_and(|floor| *floor >= last)
    })
}

/// What an append adds to a segment, without the segment's header.
fn encoded_len(commits: &[(i64, Vec<FrameBody>)]) -> u64 {
    let frames = commits.iter().flat_map(|(_, frames)| frames);
    frames
        .map(|body| frame::frame_len(body.payload.len()))
        .sum()
}

/// How much of it is copied into one buffer.
fn copied_len(commits: &[(i64, Vec<FrameBody>)]) -> usize {
    let frames = commits.iter().flat_map(|(_, frames)| frames);
    frames
        .map(|body| match frame::is_large(body) {
            true => frame::HEADER_LEN,
            false => frame::frame_len(body.payload.len()) as usize,
        })
        .sum()
}

fn unavailable(error: Error, context: impl FnOnce() -> String) -> Error {
    let message = format!("{}: {}", context(), error.message());
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}
