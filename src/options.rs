//! Options of an open database. Invariants: every bound has a default that suits the target and can
//! be changed; `validate` names the option that is out of range; `fitted` brings what memory bounds
//! within `memory_bytes`, so that none of them, at its largest, promises what cannot be kept.

use crate::{
    error::{Error, Result},
    platform,
};
use std::time::Duration;

/// When an appended WAL frame is made durable, and with it acknowledged (PROTOCOL W2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Before every acknowledgement. The default: an acknowledged row survives a power cut.
    #[default]
    Always,
    /// At the first commit after this time since the last sync; a power cut may take the rest.
    Interval(Duration),
    /// Once this many bytes were written since the last sync; a power cut may take the rest.
    Bytes(u64),
    /// Only at rotation, `flush` and `close`. A killed process loses nothing, a power cut may.
    Never,
}

/// Whether a database with a WAL may be opened while its data store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OfflineOpen {
    /// Yes, by the copy of the catalog that the device keeps beside the WAL. The default. What was
    /// committed elsewhere since that copy was made is not seen until the store answers.
    #[default]
    Allow,
    /// No: `Unavailable`, as without a WAL.
    Refuse,
}

/// All knobs. `Options::default()` suits the target the crate was compiled for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Most bytes of memory that the database uses for all it does at once: queued commits, memtables,
    /// flushes, scans, caches. Who needs more waits; what can never be had is `Unavailable`. At least 8 MiB.
    /// `seal_bytes`, `memtable_limit_bytes`, `backlog_bytes`, `commit_bytes`, `sstable_bytes`,
    /// `batch_bytes`, `conflict_bytes` and `wal_segment_bytes` follow from it: above their part of it they
    /// mean that part.
    pub memory_bytes: usize,
    /// When WAL frames are synced (`local` durability only).
    pub sync: SyncPolicy,
    /// A WAL segment is closed and the next begun at this size, in bytes. At least 512.
    pub wal_segment_bytes: u64,
    /// The active memtable is sealed and flushed at this size, in bytes.
    pub seal_bytes: usize,
    /// … or at this number of rows.
    pub seal_rows: usize,
    /// … or at this number of committed batches.
    pub seal_batches: usize,
    /// … or when its first row is this old at the next commit.
    pub seal_age: Duration,
    /// A writer waits for a flush while the memtables hold more than this, in bytes, not counting what
    /// waits for upload.
    pub memtable_limit_bytes: usize,
    /// While this many bytes of memory or more wait for upload, a commit waits for an upload, and gets
    /// `Unavailable` if there can be none (`local` durability only). One group of commits may go beyond.
    pub backlog_bytes: usize,
    /// Whether it may be opened while the data store does not answer (`local` durability only).
    pub offline: OfflineOpen,
    /// How long an open waits for the data store; then it goes on offline, or is `Unavailable` where it cannot.
    /// `None` is [`Options::OPEN_TIMEOUT`] with a WAL, and without one no bound but that of the store's own requests.
    pub open_timeout: Option<Duration>,
    /// Largest commit whose rows go inline into a log record, in bytes. This and the next four are kept
    /// in the catalog by whoever writes the database's first record, and from then on every handle uses
    /// those, not its own (PROTOCOL N3); [`Db::configure`](crate::Db::configure) changes them.
    pub inline_commit_bytes: usize,
    /// A checkpoint is written after this many log records.
    pub checkpoint_records: u64,
    /// … or after this many bytes of log tail.
    pub checkpoint_bytes: u64,
    /// How long a deleted thing may still be in use by a slow process. At least 15 minutes; in a catalog
    /// it never gets shorter.
    pub grace: Duration,
    /// How far back `as of` reads reach. Log records live as long, and at least 24 hours, past the
    /// checkpoint that covers them.
    pub retention: Duration,
    /// Target size of an sstable, in bytes.
    pub sstable_bytes: usize,
    /// Most rows of a Parquet row group.
    pub row_group_rows: usize,
    /// Most rows of a Parquet data page.
    pub page_rows: usize,
    /// False-positive rate of the bloom filter over keys; 0 writes none.
    pub bloom_fpp: f64,
    /// Most rows of a batch that a scan yields.
    pub batch_rows: usize,
    /// Most bytes of a batch that a scan yields.
    pub batch_bytes: usize,
    /// Most storage requests of one scan or flush under way at once.
    pub concurrency: usize,
    /// Two ranges of one object that are closer than this, in bytes, are read by one request.
    pub coalesce_gap: u64,
    /// Largest single read of an object, in bytes.
    pub read_bytes: u64,
    /// Largest commit that is accepted, in bytes of Arrow IPC.
    pub commit_bytes: usize,
    /// Most bytes of keys committed lately that are kept while a transaction is open, to check it against;
    /// one that began before what is kept is a `Conflict` (PROTOCOL C4).
    pub conflict_bytes: usize,
    /// How often a request is repeated while its outcome is unknown or the store unavailable.
    pub retries: u32,
    /// Whether a task may go on when the call that began it is gone, and do the work of other calls.
    /// Off in Workers, where I/O belongs to the request that began it: there each call works for itself
    /// and waits for no other.
    pub detached_tasks: bool,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Default for Options {
    fn default() -> Self {
        let small = platform::SMALL_MEMORY;
        let pick = |wasm: usize, native: usize| if small { wasm } else { native };
        let memory_bytes = platform::memory_bytes();
        let part = Parts::of(memory_bytes);
        Self {
            memory_bytes,
            sync: SyncPolicy::Always,
            wal_segment_bytes: part.wal_segment_bytes.min(32 * MIB) as u64,
            seal_bytes: part.seal_bytes,
            seal_rows: 4_000_000,
            seal_batches: 65_536,
            seal_age: Duration::from_secs(24 * 3600),
            memtable_limit_bytes: part.memtable_limit_bytes,
            backlog_bytes: part.backlog_bytes,
            offline: OfflineOpen::Allow,
            open_timeout: None,
            inline_commit_bytes: 256 * KIB,
            checkpoint_records: 64,
            checkpoint_bytes: MIB as u64,
            grace: Duration::from_secs(3600),
            retention: Duration::from_secs(24 * 3600),
            sstable_bytes: part.sstable_bytes.min(64 * MIB),
            row_group_rows: pick(65_536, 262_144),
            page_rows: 2_048,
            bloom_fpp: 0.01,
            batch_rows: pick(16_384, 32_768),
            batch_bytes: part.batch_bytes.min(8 * MIB),
            concurrency: pick(6, 16),
            coalesce_gap: 256 * KIB as u64,
            read_bytes: 8 * MIB as u64,
            commit_bytes: part.commit_bytes,
            conflict_bytes: part.conflict_bytes.min(32 * MIB),
            retries: 8,
            detached_tasks: true,
        }
    }
}

/// The most that options may be which say how much of `memory_bytes` something takes. Of the share of
/// writes (three eighths) memtables take at most two thirds, and a commit, which takes twice its bytes
/// and a little, fits beside what is not sealed yet.
struct Parts {
    seal_bytes: usize,
    memtable_limit_bytes: usize,
    backlog_bytes: usize,
    commit_bytes: usize,
    sstable_bytes: usize,
    batch_bytes: usize,
    conflict_bytes: usize,
    wal_segment_bytes: usize,
}

impl Parts {
    fn of(memory_bytes: usize) -> Self {
        Self {
            seal_bytes: memory_bytes / 16,
            memtable_limit_bytes: memory_bytes / 8,
            backlog_bytes: memory_bytes / 8,
            commit_bytes: memory_bytes / 8,
            sstable_bytes: memory_bytes / 4,
            batch_bytes: memory_bytes / 8,
            conflict_bytes: memory_bytes / 32,
            wal_segment_bytes: memory_bytes / 16,
        }
    }
}

impl Options {
    /// How long an open with a WAL waits for the data store, if not told otherwise.
    pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

    /// What one sstable writer may take of memory: the row group being written with all its columns, and
    /// what is known of those before it.
    pub(crate) fn writer_bytes(&self) -> usize {
        (self.memory_bytes / 8).max(MIB)
    }

    /// The same within `memory_bytes`: what is larger than its part of it is that part.
    pub fn fitted(mut self) -> Self {
        let part = Parts::of(self.memory_bytes);
        let fit = |value: &mut usize, part: usize| *value = (*value).min(part);
        fit(&mut self.seal_bytes, part.seal_bytes);
        fit(&mut self.memtable_limit_bytes, part.memtable_limit_bytes);
        fit(&mut self.backlog_bytes, part.backlog_bytes);
        fit(&mut self.commit_bytes, part.commit_bytes);
        fit(&mut self.sstable_bytes, part.sstable_bytes);
        fit(&mut self.batch_bytes, part.batch_bytes);
        fit(&mut self.conflict_bytes, part.conflict_bytes);
        let segment = part.wal_segment_bytes as u64;
        self.wal_segment_bytes = self.wal_segment_bytes.min(segment);
        self
    }

    /// Checks every bound; the error names the option and what it takes.
    pub fn validate(&self) -> Result<()> {
        let at_least = |name: &str, value: u64, least: u64| {
            if value >= least {
                return Ok(());
            }
            Err(Error::invalid(format!(
                "option {name} is {value}: it takes at least {least}"
            )))
        };
        at_least("memory_bytes", self.memory_bytes as u64, 8 * MIB as u64)?;
        at_least("wal_segment_bytes", self.wal_segment_bytes, 512)?;
        at_least("seal_bytes", self.seal_bytes as u64, 1)?;
        at_least("seal_rows", self.seal_rows as u64, 1)?;
        at_least("seal_batches", self.seal_batches as u64, 1)?;
        at_least(
            "memtable_limit_bytes",
            self.memtable_limit_bytes as u64,
            self.seal_bytes.min(Parts::of(self.memory_bytes).seal_bytes) as u64,
        )?;
        at_least("backlog_bytes", self.backlog_bytes as u64, 1)?;
        at_least("checkpoint_records", self.checkpoint_records, 1)?;
        at_least("checkpoint_bytes", self.checkpoint_bytes, 1)?;
        at_least("grace (in seconds)", self.grace.as_secs(), 900)?;
        at_least("sstable_bytes", self.sstable_bytes as u64, 4096)?;
        at_least("row_group_rows", self.row_group_rows as u64, 1)?;
        at_least("page_rows", self.page_rows as u64, 1)?;
        at_least("batch_rows", self.batch_rows as u64, 1)?;
        at_least("batch_bytes", self.batch_bytes as u64, 1024)?;
        at_least("concurrency", self.concurrency as u64, 1)?;
        at_least("read_bytes", self.read_bytes, 4096)?;
        at_least("commit_bytes", self.commit_bytes as u64, 1024)?;
        if !(0.0..1.0).contains(&self.bloom_fpp) {
            return Err(Error::invalid(format!(
                "option bloom_fpp is {}: it takes a rate from 0 (no filter) to below 1",
                self.bloom_fpp
            )));
        }
        Ok(())
    }
}
