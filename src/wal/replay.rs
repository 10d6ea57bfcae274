//! Replay: reads a WAL back, oldest commit first, one segment in memory at a time. Writes nothing.
//!
//! The chain is found from its end: of the segments with a whole header the last of the highest term is the
//! newest (a holder that lost the WAL may have begun one later, under its old term); each header
//! names its predecessor and where that one ends; the chain starts at the segment that names none, or
//! one that was truncated (the log has its last frame). Segments not on the chain are debris of
//! creations that failed: never read, deleted by truncation. New numbers lie above all of them.

use super::{
    Commit, DatabaseId, Hex, SessionId,
    segment::{self, Head, Header, Link, Walked},
};
use crate::{
    env::{ObjectMeta, Storage},
    error::{Error, Result},
};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// What a WAL holds.
#[derive(Debug)]
pub struct Replayed {
    /// The commits, oldest first; empty from [`replay_with`].
    pub commits: Vec<Commit>,
    /// The database it belongs to; `None` if there is no segment.
    pub database: Option<DatabaseId>,
    /// Where a writer goes on.
    pub tail: Tail,
    /// The latest stamp.
    pub last_stamp: Option<i64>,
    /// Size of all segments together.
    pub bytes: u64,
}

/// Where a [`WalWriter`](super::WalWriter) goes on. The default is that of an empty directory.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    pub(super) database: Option<DatabaseId>,
    /// All segment files, ascending.
    pub(super) segments: Vec<Segment>,
    /// The highest number in use.
    pub(super) highest: u64,
    /// The highest term in use.
    pub(super) term: Option<u32>,
}

/// A segment file that is no longer written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Size of the file.
    pub(super) bytes: u64,
    /// How its successor names it; `None` if it is not on the chain.
    pub(super) link: Option<Link>,
    /// The session and number of its last committed frame; `None` if it holds no commit.
    pub(super) last: Option<(SessionId, u64)>,
    /// The session of the segment before it on the chain, which may be gone.
    pub(super) prev: Option<SessionId>,
}

/// Reads all commits of the WAL in `storage`. A torn or zero tail ends it; any other damage is
/// `Corrupt`, naming segment and offset. Segments of two databases are `Corrupt`, too.
pub async fn replay(storage: &dyn Storage) -> Result<Replayed> {
    let mut commits = Vec::new();
    let mut replayed = replay_with(storage, None, &mut |commit| {
        commits.push(commit);
        Ok(())
    })
    .await?;
    replayed.commits = commits;
    Ok(replayed)
}

/// As [`replay`], handing each commit to `each` instead of collecting them, so that one segment is
/// in memory at a time. If it fails, `each` may have seen commits; they are valid. `floors` are the
/// log's last frame of each session: they tell a segment that truncation deleted from one that was
/// lost. Without them one that is gone counts as truncated, unless older ones are left.
pub async fn replay_with(
    storage: &dyn Storage,
    floors: Option<&HashMap<SessionId, u64>>,
    each: &mut (dyn FnMut(Commit) -> Result<()> + Send),
) -> Result<Replayed> {
    let place = storage.describe();
    let sizes = list(storage).await?;
    let mut heads = BTreeMap::new();
    for (number, size) in &sizes {
        heads.insert(*number, read_head(storage, &place, *number, *size).await?);
    }
    let chain = plan_chain(&place, &heads, floors)?;
    let newest = chain.last().map(|(header, _)| header.number);
    for (number, head) in heads.range(newest.map_or(0, |newest| newest + 1)..) {
        if let Head::Whole(_) = head {
            // Of a holder that had lost the WAL: nothing in it was acknowledged.
            continue;
        }
        let bytes = read(storage, &place, *number).await?;
        if segment::headless_is_damaged(*number, *head, &bytes) {
            let message = "the header is damaged (its checksum does not hold)".to_owned();
            return Err(segment::broken(&place, *number, 0, message));
        }
    }
    let mut walks = BTreeMap::new();
    let mut last_stamp = None;
    let mut last: Option<(SessionId, u64)> = None;
    for (header, end) in &chain {
        check_first_frame(&place, header, last)?;
        let bytes = read(storage, &place, header.number).await?;
        let walked = segment::walk(&place, header, &bytes, *end, each)?;
        last_stamp = last_stamp.max(walked.stamp);
        last = walked.last.map(|frame| (header.session, frame)).or(last);
        walks.insert(header.number, (*header, walked));
    }
    let database = chain.last().map(|(header, _)| header.database);
    Ok(Replayed {
        commits: Vec::new(),
        database,
        last_stamp,
        bytes: sizes.values().sum(),
        tail: Tail {
            database,
            highest: sizes.keys().next_back().copied().unwrap_or(0),
            term: chain.last().map(|(header, _)| header.term),
            segments: sizes
                .iter()
                .map(|(number, size)| describe(*number, *size, walks.get(number)))
                .collect(),
        },
    })
}

/// The segments in `storage`, with their sizes.
async fn list(storage: &dyn Storage) -> Result<BTreeMap<u64, u64>> {
    let listed = storage.list("", None).await?;
    let number = |object: &ObjectMeta| Some((segment::parse_key(&object.key)?, object.size));
    Ok(listed.iter().filter_map(number).collect())
}

async fn read(storage: &dyn Storage, place: &str, number: u64) -> Result<Bytes> {
    let bytes = storage.get(&segment::key(number)).await?;
    bytes.ok_or_else(|| {
        let message = "the file vanished while it was read: is the WAL in use twice?".to_owned();
        segment::broken(place, number, 0, message)
    })
}

async fn read_head(storage: &dyn Storage, place: &str, number: u64, size: u64) -> Result<Head> {
    let length = segment::HEADER_LEN as u64;
    if size < length {
        return Ok(Head::Unwritten);
    }
    let head = storage.get_range(&segment::key(number), 0..length).await?;
    Header::decode(place, number, &head.unwrap_or_default())
}

/// The chain, oldest first: each segment's header and where its successor says it ends (`None` for
/// the newest).
fn plan_chain(
    place: &str,
    heads: &BTreeMap<u64, Head>,
    floors: Option<&HashMap<SessionId, u64>>,
) -> Result<Vec<(Header, Option<u64>)>> {
    let whole = |head: &Head| match head {
        Head::Whole(header) => Some(*header),
        _ => None,
    };
    let newest = heads.values().filter_map(whole);
    let Some(newest) = newest.max_by_key(|header| (header.term, header.number)) else {
        return Ok(Vec::new());
    };
    let mut chain = vec![(newest, None)];
    let mut prev = newest.prev;
    while let Some(link) = prev {
        let Some(head) = heads.get(&link.number) else {
            // Truncation deletes from the oldest on, what the log has. A power cut may undo some of
            // the deletions: what is left below is debris.
            let truncated = match floors {
                Some(floors) => link.last <= floors.get(&link.session).copied().unwrap_or(0),
                None => heads.range(..link.number).next().is_none(),
            };
            if !truncated {
                let message = "the segment is missing, with commits that the log does not have";
                return Err(segment::broken(place, link.number, 0, message.to_owned()));
            }
            break;
        };
        let Some(header) = whole(head) else {
            let message = "the header is damaged (its checksum does not hold)".to_owned();
            return Err(segment::broken(place, link.number, 0, message));
        };
        check_link(place, &newest, &header, &link)?;
        chain.push((header, Some(link.end)));
        prev = header.prev;
    }
    chain.reverse();
    Ok(chain)
}

fn check_link(place: &str, newest: &Header, header: &Header, link: &Link) -> Result<()> {
    if header.database != newest.database {
        return Err(Error::corrupt(format!(
            "WAL segment {} in {place} belongs to database {}, segment {} to database {}: move one \
             of the two WALs to a directory of its own",
            segment::key(header.number),
            Hex(&header.database),
            segment::key(newest.number),
            Hex(&newest.database),
        )));
    }
    if header.session != link.session {
        let message = format!(
            "expected session {}, found {}: the file comes from another WAL",
            Hex(&link.session),
            Hex(&header.session)
        );
        return Err(segment::broken(place, header.number, 32, message));
    }
    Ok(())
}

/// Frame numbers ascend within a session. They may skip those of an append that failed.
fn check_first_frame(place: &str, header: &Header, last: Option<(SessionId, u64)>) -> Result<()> {
    let least = last
        .filter(|(session, _)| *session == header.session)
        .map_or(1, |(_, frame)| frame.saturating_add(1));
    if header.first_frame >= least {
        return Ok(());
    }
    let message = format!(
        "it begins with frame {}, expected {least} or a higher one",
        header.first_frame
    );
    Err(segment::broken(place, header.number, 56, message))
}

fn describe(number: u64, bytes: u64, walk: Option<&(Header, Walked)>) -> Segment {
    Segment {
        number,
        bytes,
        link: walk.map(|(header, walked)| Link {
            number,
            session: header.session,
            end: walked.end,
            last: walked.last.unwrap_or(0),
        }),
        last: walk.and_then(|(header, walked)| Some((header.session, walked.last?))),
        prev: walk.and_then(|(header, _)| Some(header.prev?.session)),
    }
}
