//! A log record: one commit (PROTOCOL N1, N2).
//!
//! Body: database id (16) · seq u64 · prev digest (32) · timestamp i64 · writer id (16) · nonce u64 ·
//! edits: count u32, then each a tag u16 and a section.

use super::{
    codec::{Decoder, Encoder},
    edit::{Edit, decode_edit, encode_edit},
};
use crate::{error::Result, wal::DatabaseId};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Identity of a record: SHA-256 of its bytes (PROTOCOL N2).
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
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.raw(&self.database);
        out.u64(self.seq);
        out.raw(&self.prev);
        out.i64(self.ts);
        out.raw(&self.writer);
        out.u64(self.nonce);
        out.list(self.edits.iter(), encode_edit);
        out.finish()
    }

    /// Reads the bytes of the object named `object`.
    pub fn decode(object: &str, bytes: &Bytes) -> Result<Self> {
        let mut input = Decoder::new(object, MAGIC, bytes)?;
        let record = Self {
            database: input.array()?,
            seq: input.u64()?,
            prev: input.array()?,
            ts: input.i64()?,
            writer: input.array()?,
            nonce: input.u64()?,
            edits: input.list(|input| decode_edit(input, bytes))?,
        };
        input.end()?;
        Ok(record)
    }
}

/// The identity of a record's bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
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
