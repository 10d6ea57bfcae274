//! Reading and writing the log in a [`Storage`]: open by LIST (PROTOCOL F2), commit by one
//! conditional PUT whose outcome the slot decides (C2), checkpoints and CURRENT after it (L2).

use super::{
    checkpoint::{
        CURRENT_KEY, checkpoint_key, decode_checkpoint, decode_current, encode_checkpoint,
        encode_current,
    },
    record::{Record, digest, record_key, seq_of},
    version::Version,
};
use crate::{
    env::{PutOutcome, Runtime, Storage},
    error::{Error, ErrorKind, Result},
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::{sync::Arc, time::Duration};

/// What an open found.
#[derive(Debug)]
pub struct Loaded {
    /// The version at the head.
    pub version: Version,
    /// Number and bytes of the records after the newest checkpoint.
    pub tail: Tail,
}

/// The part of the log that no checkpoint covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Number of records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Whose record is in the slot.
#[derive(Debug)]
pub enum Slot {
    /// Ours.
    Won,
    /// Another writer's; its bytes.
    Lost(Bytes),
}

/// The log of one database.
#[derive(Clone, Debug)]
pub struct LogStore {
    storage: Arc<dyn Storage>,
    runtime: Arc<dyn Runtime>,
    retries: u32,
    concurrency: usize,
}

/// How often an open looks again when the log moves under it, before it calls a gap corrupt.
const OPEN_ATTEMPTS: usize = 4;

impl LogStore {
    /// The log in `storage`.
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

    /// Reads the newest version. Two requests when nothing follows the checkpoint. Writes nothing.
    pub async fn load(&self) -> Result<Loaded> {
        let mut base = self.read_current().await?;
        for attempt in 0..OPEN_ATTEMPTS {
            match self.read_tail(&base).await? {
                Ok(loaded) => return Ok(loaded),
                Err(gap) if attempt + 1 == OPEN_ATTEMPTS => return Err(gap),
                Err(_) => base = self.newest_checkpoint(base).await?,
            }
        }
        Err(Error::internal("the log was read without an outcome"))
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

    async fn read_checkpoint(&self, seq: u64) -> Result<Option<Version>> {
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

    async fn newest_checkpoint(&self, base: Version) -> Result<Version> {
        let listed = self.storage.list("checkpoint/", None).await?;
        let newest = listed.iter().rev().find_map(|o| seq_of(&o.key));
        match newest.filter(|seq| *seq > base.head.seq) {
            Some(seq) => Ok(self.read_checkpoint(seq).await?.unwrap_or(base)),
            None => Ok(base),
        }
    }

    /// Lists and applies what follows `base`. The inner error is a gap: the log may have moved.
    async fn read_tail(&self, base: &Version) -> Result<Result<Loaded>> {
        let after = record_key(base.head.seq);
        let listed = self.storage.list("log/", Some(&after)).await?;
        let mut version = base.clone();
        let mut tail = Tail::default();
        let mut fetches = stream::iter(listed)
            .map(|object| async move {
                let bytes = self.storage.get(&object.key).await?;
                Ok::<_, Error>((object.key, bytes))
            })
            .buffered(self.concurrency.max(1));
        while let Some((key, bytes)) = fetches.try_next().await? {
            let expected = record_key(version.head.seq + 1);
            let (Some(bytes), true) = (bytes, key == expected) else {
                return Ok(Err(Error::corrupt(format!(
                    "{expected} is missing: the log goes on at {key}"
                ))));
            };
            let record = Record::decode(&key, &bytes)?;
            version = version.apply(&record, digest(&bytes))?;
            tail.records += 1;
            tail.bytes += bytes.len() as u64;
        }
        Ok(Ok(Loaded { version, tail }))
    }

    /// Puts a record into its slot and finds out whose the slot is (PROTOCOL C2). The same bytes are
    /// tried until that is known; `Unknown` if it stays open.
    pub async fn put_record(&self, seq: u64, bytes: &Bytes) -> Result<Slot> {
        let key = record_key(seq);
        let mut last = None;
        for attempt in 0..=self.retries {
            if attempt > 0 {
                self.runtime.sleep(self.backoff(attempt)).await;
            }
            match self.storage.put_if_absent(&key, bytes.clone()).await {
                Ok(PutOutcome::Created) => return Ok(Slot::Won),
                Ok(PutOutcome::Exists) => {}
                Err(e) if maybe_applied(&e) => last = Some(e),
                Err(e) => return Err(e),
            }
            match self.storage.get(&key).await {
                Ok(Some(found)) if found == *bytes => return Ok(Slot::Won),
                Ok(Some(found)) => return Ok(Slot::Lost(found)),
                Ok(None) => {}
                Err(e) if maybe_applied(&e) => last = Some(e),
                Err(e) => return Err(unknown(&key, Some(e))),
            }
        }
        Err(unknown(&key, last))
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

fn maybe_applied(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown)
}

fn unknown(key: &str, source: Option<Error>) -> Error {
    let why = source.map_or(String::new(), |e| format!(" ({e})"));
    Error::new(
        ErrorKind::Unknown,
        format!("it is not known whether {key} was written{why}: read before you retry"),
    )
}
