//! Reading and writing the log in a [`Storage`]: open by LIST (PROTOCOL F2), commit by one
//! conditional PUT whose outcome the slot decides (C2), the freshness fence around it (F1),
//! checkpoints and CURRENT after it (L2). It holds no state and no lock: any number of calls may be
//! under way, and any of them may never be heard of again.

use super::{
    chain::{Found, Recent},
    checkpoint::{
        CURRENT_KEY, checkpoint_key, decode_checkpoint, decode_current, encode_checkpoint,
        encode_current,
    },
    clock::Moment,
    record::{Digest, record_key, seq_of},
    version::Version,
};
use crate::{
    env::{PutOutcome, Runtime, Storage},
    error::{Error, ErrorKind, Result},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// What an open, or a reader that lost its way, found.
#[derive(Debug)]
pub struct Loaded {
    /// The version at the head.
    pub version: Version,
    /// Number and bytes of the records after the newest checkpoint.
    pub tail: Tail,
    /// The last of them.
    pub recent: Recent,
    /// When the listing was asked for that proved it to be the head.
    pub proof: Moment,
}

/// The part of the log that no checkpoint covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Number of records.
    pub records: u64,
    /// The bytes of their bodies.
    pub bytes: u64,
}

impl Tail {
    /// What is left of it without an earlier part.
    pub fn without(self, part: Self) -> Self {
        Self {
            records: self.records.saturating_sub(part.records),
            bytes: self.bytes.saturating_sub(part.bytes),
        }
    }
}

/// PROTOCOL F1: when a position was last proved to be on the live log, and how long that counts
/// (half the grace time).
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// The last proof.
    pub proof: Moment,
    /// How old it may be when a reply arrives.
    pub counts_for: Duration,
}

/// Whose record is in the slot.
#[derive(Debug)]
pub enum Slot {
    /// Ours, on the live log: proved at that moment.
    Won(Moment),
    /// Another writer's; its bytes.
    Lost(Bytes),
    /// A checkpoint covers the slot, and it cannot be shown to follow from our record: gc may have
    /// freed the name, and a record there, be it ours, proves nothing.
    Freed,
}

/// The log of one database.
#[derive(Clone, Debug)]
pub struct LogStore {
    pub(super) storage: Arc<dyn Storage>,
    runtime: Arc<dyn Runtime>,
    retries: u32,
    pub(super) concurrency: usize,
}

/// How often a reader looks for a newer checkpoint when the log moves under it, before it calls a
/// gap corrupt.
const ROUNDS: usize = 3;

impl LogStore {
    /// The log in `storage`. `runtime` has the device's own clocks.
    pub fn new(
        storage: Arc<dyn Storage>,
        runtime: Arc<dyn Runtime>,
        retries: u32,
        concurrency: usize,
    ) -> Self {
        Self {
            storage,
            runtime,
            retries,
            concurrency,
        }
    }

    /// This moment on all clocks.
    pub fn moment(&self) -> Moment {
        Moment::now(self.runtime.as_ref(), self.storage.as_ref())
    }

    /// Whether the proof is too old for a reply that is here now (PROTOCOL F1).
    pub fn is_stale(&self, fence: &Fence) -> bool {
        fence.proof.age(&self.moment()) > fence.counts_for
    }

    /// Reads the newest version. Two requests when nothing follows the checkpoint. Writes nothing.
    pub async fn load(&self) -> Result<Loaded> {
        let current = self.read_current().await?;
        self.reach(current).await
    }

    /// The newest version, from `base` on or, if the log has a gap there, from the newest checkpoint
    /// on (PROTOCOL F2): LIST; on a gap LIST again; then the highest checkpoint, and so on.
    pub async fn reach(&self, mut base: Version) -> Result<Loaded> {
        let mut gap = None;
        for _ in 0..ROUNDS {
            for _ in 0..2 {
                let proof = self.moment();
                match self.read_after(base.head.seq, base.head.digest).await? {
                    Ok(found) => return fold(base, &found, proof),
                    Err(here) => gap = Some(here),
                }
            }
            if let Some(newer) = self.newest_checkpoint(base.head.seq).await? {
                base = newer;
            }
        }
        Err(gap.unwrap_or_else(|| Error::internal("the log was read without an outcome")))
    }

    async fn read_current(&self) -> Result<Version> {
        let Some(bytes) = self.storage.get(CURRENT_KEY).await? else {
            return Ok(Version::default());
        };
        let (seq, embedded) = decode_current(&bytes)?;
        match embedded {
            Some(bytes) => decode_checkpoint(CURRENT_KEY, &bytes),
            // CURRENT is a hint: if gc took what it names, the LIST of checkpoints decides.
            None => Ok(self.read_checkpoint(seq).await?.unwrap_or_default()),
        }
    }

    /// The checkpoint at `seq`, if it is there.
    pub async fn read_checkpoint(&self, seq: u64) -> Result<Option<Version>> {
        let key = checkpoint_key(seq);
        let Some(bytes) = self.storage.get(&key).await? else {
            return Ok(None);
        };
        let version = decode_checkpoint(&key, &bytes)?;
        if version.head.seq != seq {
            return Err(Error::corrupt(format!(
                "{key}: it says it is of {}",
                version.head.seq
            )));
        }
        Ok(Some(version))
    }

    /// The highest checkpoint above `after`. It is never deleted while it is the highest.
    async fn newest_checkpoint(&self, after: u64) -> Result<Option<Version>> {
        let key = checkpoint_key(after);
        for _ in 0..ROUNDS {
            let listed = self.storage.list("checkpoint/", Some(&key)).await?;
            let Some(seq) = listed.iter().rev().find_map(|o| seq_of(&o.key)) else {
                return Ok(None);
            };
            if let Some(version) = self.read_checkpoint(seq).await? {
                return Ok(Some(version));
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "checkpoints vanish faster than they can be read: retry later",
        ))
    }

    /// Record `seq`, if it is there.
    pub async fn read_record(&self, seq: u64) -> Result<Option<Bytes>> {
        self.storage.get(&record_key(seq)).await
    }

    /// Puts a record, `bytes` with the identity `own`, into slot `seq` and finds out whose the slot is
    /// (PROTOCOL C2). The same bytes are tried until that is known; `Unknown` if it stays open. A slot
    /// that is ours counts only if the position before it was proved lately, or no checkpoint covers it
    /// (F1).
    pub async fn put_record(
        &self,
        (seq, own): (u64, Digest),
        bytes: &Bytes,
        fence: &Fence,
    ) -> Result<Slot> {
        let key = record_key(seq);
        let sent = self.moment();
        let mut last = None;
        for attempt in 0..=self.retries {
            if attempt > 0 {
                self.runtime.sleep(self.backoff(attempt)).await;
            }
            let mut refused = false;
            match self.storage.put_if_absent(&key, bytes.clone()).await {
                Ok(PutOutcome::Created) => return self.won(seq, own, sent, fence).await,
                Ok(PutOutcome::Exists) => refused = true,
                Err(e) if maybe_applied(&e) => last = Some(e),
                // An earlier attempt may have been applied.
                Err(e) if last.is_some() => return Err(unknown(&key, Some(e))),
                Err(e) => return Err(e),
            }
            match self.read_record(seq).await {
                Ok(Some(found)) if found == *bytes => {
                    return self.won(seq, own, sent, fence).await;
                }
                Ok(Some(found)) => return Ok(Slot::Lost(found)),
                // Refused by a record that is gone, or a position that may be: is it below the log?
                Ok(None) if refused || self.is_stale(fence) => {
                    match self.newest_checkpoint(seq - 1).await {
                        Ok(None) => {}
                        Ok(Some(_)) => return Ok(Slot::Freed),
                        Err(e) => last = Some(e),
                    }
                }
                Ok(None) => {}
                Err(e) if maybe_applied(&e) => last = Some(e),
                Err(e) => return Err(unknown(&key, Some(e))),
            }
        }
        Err(unknown(&key, last))
    }

    /// The slot holds our record. PROTOCOL F1: gc frees names, so after a stale proof it may be a name
    /// won a second time. A checkpoint at or above it decides: either the log leads from our record
    /// to it, or the record is not in the log. With a checkpoint above it the next names may be freed at
    /// any time, so all that is proved is that there was none when our record was sent.
    async fn won(&self, seq: u64, own: Digest, sent: Moment, fence: &Fence) -> Result<Slot> {
        if !self.is_stale(fence) {
            return Ok(Slot::Won(sent));
        }
        let asked = self.moment();
        let checked = async {
            let Some(checkpoint) = self.newest_checkpoint(seq - 1).await? else {
                return Ok(Slot::Won(asked));
            };
            if checkpoint.head.seq == seq {
                return Ok(match checkpoint.head.digest == own {
                    true => Slot::Won(asked),
                    false => Slot::Freed,
                });
            }
            let Ok(found) = self.read_after(seq, own).await? else {
                return Ok(Slot::Freed);
            };
            let at_checkpoint = found.iter().find(|f| f.record.seq == checkpoint.head.seq);
            Ok::<_, Error>(match at_checkpoint {
                Some(f) if f.digest == checkpoint.head.digest => Slot::Won(sent),
                _ => Slot::Freed,
            })
        };
        checked
            .await
            .map_err(|e| unknown(&record_key(seq), Some(e)))
    }

    /// Full jitter over an exponential bound: 50 ms, 100 ms, … at most 5 s.
    fn backoff(&self, attempt: u32) -> Duration {
        let bound = (50u64 << attempt.min(7)).min(5_000);
        let mut random = [0u8; 8];
        self.runtime.random(&mut random);
        Duration::from_millis(u64::from_le_bytes(random) % bound.max(1))
    }

    /// Writes a checkpoint of `version`, then CURRENT (PROTOCOL L2). Two PUTs.
    pub async fn put_checkpoint(&self, version: &Version) -> Result<()> {
        let bytes = Bytes::from(encode_checkpoint(version));
        let seq = version.head.seq;
        self.storage
            .put(&checkpoint_key(seq), bytes.clone())
            .await?;
        self.storage
            .put(CURRENT_KEY, encode_current(seq, &bytes).into())
            .await
    }
}

fn fold(base: Version, found: &[Found], proof: Moment) -> Result<Loaded> {
    let mut loaded = Loaded {
        version: base,
        tail: Tail::default(),
        recent: Recent::default(),
        proof,
    };
    for next in found {
        loaded.version = loaded.version.apply(&next.record, next.digest)?;
        loaded.tail.records += 1;
        loaded.tail.bytes += next.body.len() as u64;
        loaded.recent.push(next, None);
    }
    Ok(loaded)
}

fn maybe_applied(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown)
}

/// It is not known whether the record `key` is in the log (PROTOCOL C2).
pub fn unknown(key: &str, source: Option<Error>) -> Error {
    let why = source.map_or(String::new(), |e| format!(" ({e})"));
    Error::new(
        ErrorKind::Unknown,
        format!("it is not known whether {key} was written{why}: read before you retry"),
    )
}
