//! A log record: one commit (PROTOCOL N1, N2), and behind its body copies of the bodies of the records
//! before it, so that one request reads up to 17 of them.
//!
//! | field | type |
//! |---|---|
//! | body | u32 length · database id (16) · seq u64 · prev digest (32) · timestamp i64 · writer id (16) · nonce u64 · edits: count u32, then each a tag u16 and a section |
//! | copies | count u32, then each u32 length and the body of record seq - 1, seq - 2, … |
//!
//! A record is its body: its identity is the digest of that, and `prev` is the digest of the body
//! before. So the chain proves a copy or refutes it (`log::chain`), and until then it is not believed.

use super::{
    codec::{Decoder, Encoder},
    edit::{Edit, decode_edit, decode_slice, encode_edit},
};
use crate::{error::Result, wal::DatabaseId};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Identity of a record: SHA-256 of its body (PROTOCOL N2).
pub type Digest = [u8; 32];

const MAGIC: &[u8; 4] = b"LKRC";

/// One commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which database.
    pub database: DatabaseId,
    /// Its place in the log; the first is 1.
    pub seq: u64,
    /// Digest of record `seq - 1`; zeros for the first.
    pub prev: Digest,
    /// Commit timestamp: microseconds since the Unix epoch, greater than the one before.
    pub ts: i64,
    /// Random per open handle.
    pub writer: [u8; 16],
    /// Random: two attempts never have the same bytes by chance.
    pub nonce: u64,
    /// What it changes, in order.
    pub edits: Vec<Edit>,
}

impl Record {
    /// Its body.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::part();
        out.raw(&self.database);
        out.u64(self.seq);
        out.raw(&self.prev);
        out.i64(self.ts);
        out.raw(&self.writer);
        out.u64(self.nonce);
        out.list(self.edits.iter(), encode_edit);
        out.into_part().into()
    }

    /// Reads a body that is in the object named `object`.
    pub fn decode(object: &str, body: &Bytes) -> Result<Self> {
        let mut input = Decoder::part(object, body);
        let record = Self {
            database: input.array()?,
            seq: input.u64()?,
            prev: input.array()?,
            ts: input.i64()?,
            writer: input.array()?,
            nonce: input.u64()?,
            edits: input.list(|input| decode_edit(input, body))?,
        };
        input.end()?;
        Ok(record)
    }
}

/// The bytes of a record's object: its body, and copies of the bodies before it, newest first.
pub fn encode_object(body: &[u8], copies: &[Bytes]) -> Bytes {
    let mut out = Encoder::new(MAGIC);
    out.bytes(body);
    out.list(copies.iter(), |out, copy| out.bytes(copy));
    out.finish().into()
}

/// Body and copies of the object named `object`. They are slices of `bytes`, not decoded yet.
pub fn decode_object(object: &str, bytes: &Bytes) -> Result<(Bytes, Vec<Bytes>)> {
    let mut input = Decoder::new(object, MAGIC, bytes)?;
    let body = decode_slice(&mut input, bytes)?;
    let copies = input.list(|input| decode_slice(input, bytes))?;
    input.end()?;
    Ok((body, copies))
}

/// The identity of the record with this body.
pub fn digest(body: &[u8]) -> Digest {
    Sha256::digest(body).into()
}

/// The object key of record `seq`.
pub fn record_key(seq: u64) -> String {
    format!("log/{seq:020}")
}

/// The seq of an object key `<folder>/<seq:020>`.
pub fn seq_of(key: &str) -> Option<u64> {
    let (_, name) = key.split_once('/')?;
    (name.len() == 20).then(|| name.parse().ok())?
}
