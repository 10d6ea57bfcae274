//! The chain of records: taking an object's copies apart, which is where they are verified, and keeping
//! the bodies that the next record carries as copies. Pure.
//!
//! A copy is a hint that the chain turns into a fact: it counts as record n - 1 only if record n's `prev`
//! is its digest. It says nothing about what the slots hold by now, nor about where the log ends.

use super::{
    record::{Digest, Record, decode_object, digest, record_key},
    version::Head,
};
use crate::error::{Error, Result};
use bytes::Bytes;
use std::{collections::VecDeque, time::Duration};

/// Most copies that a record carries.
pub const MAX_COPIES: usize = 16;
/// So many records are remembered by their writers: a round of many writers is longer than that of
/// copies.
const MAX_PAST: usize = 128;
/// Most bytes of copies that a record carries.
pub const MAX_COPY_BYTES: usize = 32 * 1024;

/// A record as it was read; its place in the chain is still to be checked.
#[derive(Clone, Debug)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Its identity.
    pub digest: Digest,
    /// Its body, in memory of its own: a few inline rows must not keep an object's copies alive.
    pub body: Bytes,
}

impl Found {
    /// Decodes a body that is in the object named `object` and should be that of record `seq`.
    pub fn decode(object: &str, seq: u64, body: Bytes) -> Result<Self> {
        let record = Record::decode(object, &body)?;
        if record.seq != seq {
            return Err(Error::corrupt(format!(
                "{object}: it says it is number {}, expected {seq}",
                record.seq
            )));
        }
        Ok(Self {
            digest: digest(&body),
            record,
            body,
        })
    }

    /// The position after it.
    pub fn head(&self) -> Head {
        Head {
            seq: self.record.seq,
            ts: self.record.ts,
            digest: self.digest,
        }
    }
}

/// The record in the object `log/seq` and those before it, as far as its copies go and not below
/// `from`; oldest first. What is given out is a chain.
///
/// # Errors
/// `Corrupt` naming the object. Its checksum was right, so a copy that does not verify was written so.
pub fn unpack(seq: u64, bytes: &Bytes, from: u64) -> Result<Vec<Found>> {
    let object = record_key(seq);
    let (body, copies) = decode_object(&object, bytes)?;
    if copies.len() as u64 >= seq.max(1) {
        return Err(Error::corrupt(format!(
            "{object}: it has {} copies of records before it, and there are {}",
            copies.len(),
            seq.saturating_sub(1)
        )));
    }
    let mut next = Found::decode(&object, seq, Bytes::copy_from_slice(&body))?;
    let mut all = VecDeque::new();
    for copy in copies.iter().take(seq.saturating_sub(from) as usize) {
        let before = next.record.seq - 1;
        if digest(copy) != next.record.prev {
            return Err(Error::corrupt(format!(
                "{object}: its copy of record {before} is another record than the one that was \
                 followed (prev differs)"
            )));
        }
        let place = format!("{object}, in its copy of record {before}");
        let found = Found::decode(&place, before, Bytes::copy_from_slice(copy))?;
        if found.record.database != next.record.database {
            return Err(Error::corrupt(format!(
                "{place}: it is of another database"
            )));
        }
        all.push_front(std::mem::replace(&mut next, found));
    }
    all.push_front(next);
    Ok(all.into())
}

/// The record in the object `log/seq` alone.
pub fn unpack_one(seq: u64, bytes: &Bytes) -> Result<Found> {
    let object = record_key(seq);
    let (body, _) = decode_object(&object, bytes)?;
    Found::decode(&object, seq, Bytes::copy_from_slice(&body))
}

/// The records up to a position that a handle read or wrote last: what the next record carries as
/// copies, and who writes at the same time. Bounded by [`MAX_COPIES`] and [`MAX_COPY_BYTES`].
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Oldest first, without gaps.
    past: VecDeque<Past>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Past {
    /// Its number.
    pub seq: u64,
    /// The handle that wrote it.
    pub writer: [u8; 16],
    /// Its timestamp.
    pub ts: i64,
    /// When this handle came to it (monotonic); nothing for those that were there when it opened.
    pub seen: Option<Duration>,
    /// Its body, unless that or what lies between is too large to be copied.
    body: Option<Bytes>,
}

impl Recent {
    /// Adds the record after the last. What does not follow starts anew.
    pub fn push(&mut self, found: &Found, seen: Option<Duration>) {
        let seq = found.record.seq;
        if self.past.back().is_some_and(|last| last.seq + 1 != seq) {
            self.past.clear();
        }
        self.past.push_back(Past {
            seq,
            writer: found.record.writer,
            ts: found.record.ts,
            seen,
            body: Some(found.body.clone()),
        });
        while self.past.len() > MAX_PAST {
            self.past.pop_front();
        }
        let mut bytes = 0usize;
        for (at, past) in self.past.iter_mut().rev().enumerate() {
            bytes = bytes.saturating_add(past.body.as_ref().map_or(MAX_COPY_BYTES + 1, Bytes::len));
            if bytes > MAX_COPY_BYTES || at >= MAX_COPIES {
                past.body = None;
            }
        }
    }

    /// All records from `seq` to the last, if their bodies are remembered.
    pub fn from(&self, seq: u64) -> Result<Option<Vec<Found>>> {
        let remembered = |past: &&Past| past.seq >= seq;
        let past: Vec<&Past> = self.past.iter().filter(remembered).collect();
        if past.first().is_none_or(|first| first.seq != seq) {
            return Ok(None);
        }
        let bodies = past.iter().map(|p| Some((p.seq, p.body.clone()?)));
        let Some(bodies) = bodies.collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let decode = |(seq, body)| Found::decode(&record_key(seq), seq, body);
        bodies
            .into_iter()
            .map(decode)
            .collect::<Result<_>>()
            .map(Some)
    }

    /// The copies for record `seq`: the nearest predecessors, newest first, without gaps.
    pub fn copies(&self, seq: u64) -> Vec<Bytes> {
        let follows = self.past.back().is_some_and(|last| last.seq + 1 == seq);
        let newest_first = self.past.iter().rev().filter(|_| follows);
        newest_first.map_while(|past| past.body.clone()).collect()
    }

    /// The records, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Past> {
        self.past.iter().rev()
    }
}
