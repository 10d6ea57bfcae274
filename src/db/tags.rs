//! Tags, which pin timestamps against the watermark (PROTOCOL G1), and the list of versions that can be
//! read.

use super::{Db, Inner, check_name, log::IfFreed};
use crate::{
    error::{Error, Result},
    log::{
        chain::{Found, unpack_one},
        edit::Edit,
        history::{self, AsOf},
        record::Digest,
        version::Version,
    },
};
use futures_util::stream::{self, StreamExt};

/// A version of the database: what one log record made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogVersion {
    /// The record's number.
    pub seq: u64,
    /// Its timestamp, in microseconds since the Unix epoch: a read as of it sees this version.
    pub ts: i64,
    /// Tags that stand for this version, by name.
    pub tags: Vec<String>,
}

impl Db {
    /// Names a timestamp, and keeps what a read as of it needs until [`Db::untag`]. Without `at` it is
    /// that of the newest version; with a WAL, what this device has is flushed first, so that it is in it
    /// (PROTOCOL T5). A timestamp beyond the head means the head. Gives the timestamp it got.
    ///
    /// # Errors
    /// `Invalid` for a name that is taken, empty, longer than 128 bytes or with control characters, and
    /// in a database without a record; `Expired` below the watermark, naming the oldest there is.
    pub async fn tag(&self, name: &str, at: Option<AsOf>) -> Result<i64> {
        self.inner.check_open()?;
        check_name("tag", name)?;
        let inner = &self.inner;
        match &at {
            None if inner.wal.is_some() => inner.flush_all().await?,
            Some(at) if history::is_beyond(&inner.state().version, at) => {
                inner.refresh().await?;
            }
            _ => {}
        }
        let mut got = 0;
        let mut plan = |state: &crate::state::State| {
            got = plan_tag(&state.version, name, at.as_ref())?;
            Ok(vec![Edit::Tag {
                name: name.to_owned(),
                ts: got,
            }])
        };
        // A second plan could not tell its own tag from another's.
        inner.commit_record(IfFreed::Unknown, &mut plan).await?;
        Ok(got)
    }

    /// Removes a tag; whether there was one of that name.
    pub async fn untag(&self, name: &str) -> Result<bool> {
        self.inner.check_open()?;
        let mut found = false;
        let mut plan = |state: &crate::state::State| {
            found = state.version.tags.contains_key(name);
            let name = name.to_owned();
            Ok(match found {
                true => vec![Edit::Untag { name }],
                false => Vec::new(),
            })
        };
        self.inner
            .commit_record(IfFreed::Unknown, &mut plan)
            .await?;
        Ok(found)
    }

    /// All tags with their timestamps, by name; as of this handle's newest state.
    pub fn tags(&self) -> Result<Vec<(String, i64)>> {
        self.inner.check_open()?;
        let state = self.inner.state();
        let tags = state.version.tags.iter();
        Ok(tags.map(|(name, ts)| (name.clone(), *ts)).collect())
    }

    /// The newest `limit` versions that can be read, newest first, as far as their log records still
    /// exist: those live at least as long as the retention. Costs at most one GET a version; the newest is
    /// known. As of this handle's newest state: refresh to see what others did.
    pub async fn versions(&self, limit: usize) -> Result<Vec<LogVersion>> {
        self.inner.check_open()?;
        self.inner.versions(limit).await
    }
}

/// C3: on the newest state. A tag below its watermark would pin what may be gone already.
fn plan_tag(version: &Version, name: &str, at: Option<&AsOf>) -> Result<i64> {
    if version.head.seq == 0 {
        return Err(Error::invalid(
            "there is no database yet, and so no version to tag: create a table first",
        ));
    }
    if let Some(ts) = version.tags.get(name) {
        return Err(Error::invalid(format!(
            "tag {name:?} exists and stands for {ts}: remove it first, or take another name"
        )));
    }
    match at {
        None => Ok(version.head.ts),
        Some(at) => history::resolve(version, at),
    }
}

impl Inner {
    async fn versions(&self, limit: usize) -> Result<Vec<LogVersion>> {
        let state = self.state();
        let version = &state.version;
        let mut found: Vec<(u64, i64)> = Vec::new();
        if version.head.seq > 0 && limit > 0 {
            found.push((version.head.seq, version.head.ts));
        }
        if limit > 1 {
            let lowest = version.head.seq.saturating_sub(limit as u64 - 1).max(1);
            let older = self.records_down(version, lowest).await?;
            found.extend(older);
        }
        found.retain(|(_, ts)| *ts >= history::oldest_readable(version));
        Ok(with_tags(&found, version))
    }

    /// Number and timestamp of the records before the head, down to `lowest` or the last that follows: a
    /// name that gc freed may have been won a second time (PROTOCOL F1), and is no part of the log.
    async fn records_down(&self, version: &Version, lowest: u64) -> Result<Vec<(u64, i64)>> {
        let mut expected: Digest = version.head.digest;
        let mut older = Vec::new();
        let mut reads = stream::iter((lowest..=version.head.seq).rev())
            .map(|seq| async move { (seq, self.log.read_record(seq).await) })
            .buffered(self.options.concurrency);
        while let Some((seq, bytes)) = reads.next().await {
            let Some(bytes) = bytes? else { break };
            let Found { record, digest, .. } = unpack_one(seq, &bytes)?;
            if digest != expected || record.seq != seq {
                break;
            }
            expected = record.prev;
            if seq < version.head.seq {
                older.push((seq, record.ts));
            }
        }
        Ok(older)
    }
}

/// A tag stands for the newest version at or below its timestamp. `found` is newest first.
fn with_tags(found: &[(u64, i64)], version: &Version) -> Vec<LogVersion> {
    let mut before = i64::MAX;
    let mut out = Vec::with_capacity(found.len());
    for (seq, ts) in found {
        let tags = (version.tags.iter()).filter(|(_, tag)| **tag >= *ts && **tag < before);
        out.push(LogVersion {
            seq: *seq,
            ts: *ts,
            tags: tags.map(|(name, _)| name.clone()).collect(),
        });
        before = *ts;
    }
    out
}
