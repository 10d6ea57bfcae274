//! Commits of the WAL that may be in the log already, though the log no longer says so (PROTOCOL W4): their
//! record was sent, nothing was heard of it, and the floors of that time are forgotten. They are parked:
//! not read, not uploaded, not deleted. What becomes of them is the user's to say.
//! Invariant: a session is parked as a whole, since one floor speaks for all its frames.

use super::{Db, Inner, Transaction, TransactionOptions, device::Device};
use crate::{
    error::Result,
    log::{clock::MAX_SKEW, device::Upload, version::Version},
    wal::{Commit, FrameKind, Position, SessionId},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    future::ready,
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

/// Floors are forgotten no earlier than this, whatever the retention (PROTOCOL W4, N3).
const FLOORS_LIVE: Duration = Duration::from_secs(24 * 3600);

/// Rows of one parked commit to one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Parked {
    /// The commit's stable name.
    pub position: Position,
    /// When it was made, by the device's clock: microseconds since the Unix epoch.
    pub made: i64,
    /// The table; `None` if it was dropped meanwhile.
    pub table: Option<String>,
    /// Whether `ipc` has keys to delete, not rows to insert or replace.
    pub delete: bool,
    /// An Arrow IPC stream, as it was committed.
    pub ipc: Bytes,
}

/// Whether a commit may be in the log though `version` does not say so: if it was sent longer ago than floors
/// live. Where nobody knows when it was sent, that is no earlier than it was made; a clock that was ahead
/// then says nothing. `now`: the log's head or the store's clock, whichever is later.
pub(super) fn in_doubt(
    version: &Version,
    uploads: &BTreeMap<SessionId, Upload>,
    now: i64,
    retention: Duration,
    commit: (Position, i64),
) -> bool {
    let (Position { session, frame }, made) = commit;
    let Some(upload) = uploads.get(&session).filter(|u| frame <= u.tried) else {
        return false;
    };
    let kept_for = retention.max(FLOORS_LIVE).as_micros() as i64;
    let is_old = |at: i64| at <= now.saturating_sub(kept_for);
    !version.wal_floors.contains_key(&session)
        && match upload.since {
            i64::MIN => is_old(made) || made > now.saturating_add(MAX_SKEW),
            since => is_old(since),
        }
}

impl Db {
    /// Commits that this device acknowledged and may have uploaded more than the retention ago, without
    /// having heard of it: to upload them again could bring old rows back, so they are parked. Empty,
    /// unless a device was away for longer than the retention right after an upload broke off. Take out
    /// what is wanted, or [`Db::restore_parked`]; then [`Db::discard_parked`]. One entry a table, oldest
    /// commit first.
    pub fn parked(&self) -> Vec<Parked> {
        let version = &self.inner.state().version;
        let commits = self.inner.parked_commits();
        let entries = commits.iter().flat_map(|commit| {
            commit.frames.iter().map(|frame| Parked {
                position: position(commit),
                made: commit.stamp,
                table: version.tables.get(&frame.table).map(|t| t.name.clone()),
                delete: frame.kind == FrameKind::Delete,
                ipc: frame.payload.clone(),
            })
        });
        entries.collect()
    }

    /// Commits again what is parked, each commit as one, in their old order, and gives their number. What the
    /// log has of it already is then there twice, and wins over what was written meanwhile. Rows of dropped
    /// tables are left out.
    ///
    /// # Errors
    /// Those of [`Transaction::commit`](super::Transaction::commit) and of its tables' `ingest_ipc`, of a table
    /// that was altered, say: that commit and later ones are still parked then.
    pub async fn restore_parked(&self) -> Result<u64> {
        self.inner.check_open()?;
        let commits = self.inner.parked_commits();
        for commit in &commits {
            let again = |tx: Transaction| ready(write_again(&tx, commit));
            self.transaction(TransactionOptions::default(), again)
                .await?;
            self.discard(std::slice::from_ref(commit)).await?;
        }
        Ok(commits.len() as u64)
    }

    async fn discard(&self, commits: &[Commit]) -> Result<()> {
        let floors: Vec<_> = commits.iter().map(|c| (c.session, c.last)).collect();
        self.inner.note_discarded(&floors).await?;
        self.inner.unpark(commits);
        Ok(())
    }

    /// Gives up what is parked, for ever; gives the number of commits.
    pub async fn discard_parked(&self) -> Result<u64> {
        self.inner.check_open()?;
        let commits = self.inner.parked_commits();
        self.discard(&commits).await?;
        Ok(commits.len() as u64)
    }
}

/// The writes of a parked commit; its tables may have other names by now.
fn write_again(tx: &Transaction, commit: &Commit) -> Result<()> {
    for frame in &commit.frames {
        let Some(table) = tx.table_of(frame.table)? else {
            continue;
        };
        match frame.kind {
            FrameKind::Upsert => table.ingest_ipc(frame.payload.clone())?,
            FrameKind::Delete => table.delete_ipc(frame.payload.clone())?,
        };
    }
    Ok(())
}

impl Inner {
    pub(super) fn parked_commits(&self) -> Vec<Commit> {
        let of = |d: &Device| {
            d.parked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        self.device.as_deref().map(of).unwrap_or_default()
    }

    fn unpark(&self, gone: &[Commit]) {
        if let Some(device) = &self.device {
            let mut parked = device.parked.lock().unwrap_or_else(PoisonError::into_inner);
            parked.retain(|commit| !gone.iter().any(|g| position(g) == position(commit)));
        }
    }

    /// Whether pending commits of this handle may be in the log, though it does not say so any more. Only
    /// an open can park them: until then nothing is uploaded.
    pub(super) fn look_for_doubt(&self) {
        let Some(device) = &self.device else { return };
        let (state, uploads) = (self.state(), device.uploads());
        let now = self.runtime.now_micros().max(state.version.head.ts);
        let retention = retention(&state.version, self.options.retention);
        let doubt = state.pending.iter().any(|c| {
            in_doubt(
                &state.version,
                &uploads,
                now,
                retention,
                (c.position, c.made),
            )
        });
        device.doubt.store(doubt, Ordering::Release);
    }
}

/// The retention that all handles use (PROTOCOL N3).
pub(super) fn retention(version: &Version, option: Duration) -> Duration {
    let of = |s: &crate::log::edit::Settings| Duration::from_micros(s.retention);
    version.settings.as_ref().map_or(option, of)
}

pub(super) fn position(commit: &Commit) -> Position {
    Position {
        session: commit.session,
        frame: commit.last,
    }
}
