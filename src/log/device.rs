//! What a device keeps beside its WAL, so that it can be opened while the data store cannot be reached
//! (PROTOCOL W4). Both are whole objects, replaced as such; neither is needed while the store answers. One
//! without bytes counts as absent: it was given up.
//!
//! `version` (`LKDV`): proved i64 (µs, when the position was last proved to be the log's head) · checkpoint
//! bytes (a whole `LKCP`, counted).
//!
//! `uploads` (`LKDU`): database id (16) · list of (session (16), tried u64, since i64, done u64, discarded
//! u64), by session.
//! `tried`: the highest frame of the session that was in a record this device put, whatever became of it.
//! `since` (µs): when the first of the frames above `done` was, by the store's clock (T1).
//! `done`: frames up to it are in the log, or were discarded; the log may have forgotten (W4).
//! `discarded`: frames up to it were given up by the user, and no version will ever have them.

use super::{
    checkpoint::{decode_checkpoint, encode_checkpoint},
    codec::{Decoder, Encoder},
    edit::decode_slice,
    version::Version,
};
use crate::{
    error::Result,
    wal::{DatabaseId, SessionId},
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Names the version in a WAL directory.
pub const VERSION_KEY: &str = "version";
/// Names what is known of uploads in a WAL directory.
pub const UPLOADS_KEY: &str = "uploads";

const VERSION_MAGIC: &[u8; 4] = b"LKDV";
const UPLOADS_MAGIC: &[u8; 4] = b"LKDU";

/// A version of the log that the device keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// When its position was proved to be the head: microseconds since the Unix epoch.
    pub proved: i64,
    /// The version.
    pub version: Version,
}

/// What is known of one session's uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// No frame above this was ever in a record that this device put.
    pub tried: u64,
    /// When the first record with frames above `done` was put: microseconds since the Unix epoch. Frames
    /// themselves do not say: the clock may have been wrong when they were made.
    pub since: i64,
    /// Frames up to this are done with.
    pub done: u64,
    /// Frames up to this were given up by the user: no version will ever have them.
    pub discarded: u64,
}

impl Upload {
    /// Of a session that nothing is known of: any of its frames may have been put, at any time.
    pub fn unknown() -> Self {
        Self {
            tried: u64::MAX,
            since: i64::MIN,
            done: 0,
            discarded: 0,
        }
    }

    /// With frames up to this one given up.
    pub fn without(self, frame: u64) -> Self {
        Self {
            done: self.done.max(frame),
            discarded: self.discarded.max(frame),
            ..self
        }
    }

    /// With a record put at `now` that holds frames up to this one. Of several whose fate is not known the
    /// first counts.
    pub fn put(self, frame: u64, now: i64) -> Self {
        Self {
            tried: self.tried.max(frame),
            since: if self.done < self.tried {
                self.since
            } else {
                now
            },
            ..self
        }
    }
}

/// What is known of the uploads of the WAL's sessions. One that is not in it was never tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploads {
    /// Whose they are.
    pub database: DatabaseId,
    /// By session.
    pub sessions: BTreeMap<SessionId, Upload>,
}

/// The bytes of `version`.
pub fn encode_kept(proved: i64, version: &Version) -> Vec<u8> {
    let mut out = Encoder::new(VERSION_MAGIC);
    out.i64(proved);
    out.bytes(&encode_checkpoint(version));
    out.finish()
}

/// Reads `version` back; `object` is where it is, for messages.
pub fn decode_kept(object: &str, bytes: &Bytes) -> Result<Kept> {
    let mut input = Decoder::new(object, VERSION_MAGIC, bytes)?;
    let proved = input.i64()?;
    let checkpoint = decode_slice(&mut input, bytes)?;
    input.end()?;
    let version = decode_checkpoint(object, &checkpoint)?;
    Ok(Kept { proved, version })
}

/// The bytes of `uploads`.
pub fn encode_uploads(uploads: &Uploads) -> Vec<u8> {
    let mut out = Encoder::new(UPLOADS_MAGIC);
    out.raw(&uploads.database);
    out.list(uploads.sessions.iter(), |out, (session, upload)| {
        out.raw(session);
        out.u64(upload.tried);
        out.i64(upload.since);
        out.u64(upload.done);
        out.u64(upload.discarded);
    });
    out.finish()
}

/// Reads `uploads` back.
pub fn decode_uploads(object: &str, bytes: &Bytes) -> Result<Uploads> {
    let mut input = Decoder::new(object, UPLOADS_MAGIC, bytes)?;
    let database = input.array()?;
    let sessions = input.list(|input| {
        let session = input.array()?;
        let upload = Upload {
            tried: input.u64()?,
            since: input.i64()?,
            done: input.u64()?,
            discarded: input.u64()?,
        };
        Ok((session, upload))
    })?;
    input.end()?;
    Ok(Uploads {
        database,
        sessions: sessions.into_iter().collect(),
    })
}
