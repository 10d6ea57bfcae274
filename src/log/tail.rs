//! Reads what follows a position: one LIST, and few GETs, because records carry copies of those before
//! them. Which to get is decided by a pure function, newest first; where copies are missing (large
//! records, a handle that wrote soon after it opened) the records themselves are read.

use super::{
    chain::{Found, MAX_COPIES, unpack},
    record::{Digest, record_key, seq_of},
    store::LogStore,
};
use crate::{
    env::ObjectMeta,
    error::{Error, Result},
};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// What was read so far: each record, and how many the object gave that it came in.
type Have = BTreeMap<u64, (Found, u64)>;

impl LogStore {
    /// Lists and reads what follows a position, in parallel; the chain is checked. The inner error is
    /// a gap, or a record that does not follow: the position may be gone, or never have been.
    ///
    /// PROTOCOL F1: what gc freed and a sleeper put again is never the last name listed, and the chain
    /// goes from the last one down to the position; so a copy cannot bring such a record in.
    pub async fn read_after(&self, seq: u64, digest: Digest) -> Result<Result<Vec<Found>>> {
        let listed = self.storage.list("log/", Some(&record_key(seq))).await?;
        if let Some(gap) = gap(seq, &listed) {
            return Ok(Err(gap));
        }
        let Some(last) = listed.last().and_then(|object| seq_of(&object.key)) else {
            return Ok(Ok(Vec::new()));
        };
        let all = seq + 1..=last;
        let mut have = Have::new();
        for round in 0.. {
            let reads = next_reads(&all, &have, round);
            if reads.is_empty() {
                break;
            }
            let mut fetches = stream::iter(reads)
                .map(|read| async move {
                    let bytes = self.storage.get(&record_key(*read.end())).await?;
                    Ok::<_, Error>((read, bytes))
                })
                .buffered(self.concurrency.max(1));
            while let Some((read, bytes)) = fetches.try_next().await? {
                let Some(bytes) = bytes else {
                    return Ok(Err(missing(*read.end(), "it was listed")));
                };
                let found = unpack(*read.end(), &bytes, *read.start())?;
                let reach = found.len() as u64;
                for found in found {
                    have.entry(found.record.seq).or_insert((found, reach));
                }
            }
        }
        let mut head = digest;
        let mut chain = Vec::with_capacity(have.len());
        for (seq, (found, _)) in have {
            if found.record.prev != head {
                return Ok(Err(Error::corrupt(format!(
                    "{}: it does not follow the record before it (prev differs)",
                    record_key(seq)
                ))));
            }
            head = found.digest;
            chain.push(found);
        }
        Ok(Ok(chain))
    }
}

/// The first name that is not the next number.
fn gap(seq: u64, listed: &[ObjectMeta]) -> Option<Error> {
    let mut expected = seq;
    listed.iter().find_map(|object| {
        expected = u64::saturating_add(expected, 1);
        let (key, seen) = (record_key(expected), &object.key);
        (*seen != key).then(|| missing(expected, &format!("the log goes on at {seen}")))
    })
}

fn missing(seq: u64, why: &str) -> Error {
    Error::corrupt(format!("{} is missing: {why}", record_key(seq)))
}

/// Which records to read next, and how far down each should reach, so that `all` are had: of each
/// missing run the newest, and every so many below it as records may be expected to reach. First that
/// is the most there can be; then what the object above the run gave; then 1, and that ends it.
fn next_reads(all: &RangeInclusive<u64>, have: &Have, round: u32) -> Vec<RangeInclusive<u64>> {
    let mut reads = Vec::new();
    let mut end = *all.end();
    while end >= *all.start() {
        // From `end` down: what is had, then a run that is missing.
        if have.contains_key(&end) {
            end -= 1;
            continue;
        }
        let below = have.range(..end).next_back().map(|(seq, _)| *seq);
        let start = below.map_or(*all.start(), |seq| seq + 1);
        let stride = match round {
            0 => MAX_COPIES as u64 + 1,
            1 => have.get(&(end + 1)).map_or(1, |(_, reach)| *reach),
            _ => 1,
        };
        while end >= start {
            let low = end.saturating_sub(stride.max(1) - 1).max(start);
            reads.push(low..=end);
            end = low - 1;
        }
    }
    reads
}
