//! The engine: opens a database, commits, reads, flushes, closes. A [`Db`] is a handle; clones share
//! one database. Decisions live below; what is here drives them in the right order.

mod changes;
mod commit;
mod conflict;
mod device;
mod feeds;
mod flush;
mod gc;
mod group;
mod leaving;
mod line;
mod log;
mod offline;
mod open;
mod parked;
mod parts;
mod prepare;
mod prove;
mod queue;
mod reader;
mod room;
mod scan;
mod schema;
mod settings;
mod snapshot;
mod stats;
mod table;
mod tags;
mod transaction;
mod turn;
mod upload;
mod watch;

pub use changes::{Change, Changes, ChangesOptions, Cursor, TableChange};
pub use commit::Committed;
pub use gc::{GcOptions, GcReport};
pub use parked::Parked;
#[cfg_attr(
    not(feature = "js"),
    expect(unused_imports, reason = "for the door to JavaScript")
)]
pub(crate) use prepare::{Given, Source};
pub use prove::{ProbeCheck, ProbeReport, probe};
pub use scan::{Scan, ScanBuilder};
pub use settings::SettingsChange;
pub use snapshot::{Snapshot, SnapshotTable};
pub use stats::{Stats, TableStats};
pub use table::Table;
pub use tags::LogVersion;
pub use transaction::{Isolation, Transaction, TransactionOptions, TransactionTable};
pub use upload::{KeepUploaded, UploadOptions, Uploaded};

use crate::{
    data::schema::TableSchema,
    env::{Counted, Env, HeldRows, Memory, Runtime, Storage},
    error::{Error, ErrorKind, Result},
    log::{
        chain::Recent,
        clock::Moment,
        edit::Edit,
        store::{LogStore, Tail},
        version::Version,
    },
    options::Options,
    scan::readers::Readers,
    state::State,
    wal::{DatabaseId, HeldLock, SessionId, WalWriter},
};
use futures_util::future::{Either, poll_immediate, select};
use line::{First, Line, Lined};
use queue::Queue;
use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often a table is created anew because others drop it at once.
const CREATIONS: usize = 4;

/// An open database. Cheap to clone; the last clone to go releases the WAL lock, but only
/// [`Db::close`] waits for work in flight and syncs the WAL.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    /// What everything at once may use of it, in shares.
    memory: Memory,
    /// What memtables take of the memory for writes, where calls may vanish (see `count_rows`).
    memtables: Mutex<HeldRows>,
    /// Its wall clock is PROTOCOL T1's.
    runtime: Arc<dyn Runtime>,
    data: Arc<dyn Storage>,
    data_counted: Arc<Counted>,
    wal_counted: Option<Arc<Counted>>,
    /// Names this handle in records (PROTOCOL N1).
    writer: [u8; 16],
    current: Mutex<Current>,
    queue: Mutex<Queue>,
    log: LogStore,
    /// One record of this handle at a time; see `alone`.
    committing: Line,
    wal: Option<Lined<WalWriter>>,
    /// The WAL's session of this handle.
    session: Option<SessionId>,
    device: Option<Arc<device::Device>>,
    /// Wakes at each move of the log's head here, and at the close.
    watch: watch::Watch,
    /// One flush or checkpoint at a time; see `alone`.
    maintenance: Line,
    readers: Arc<Readers>,
    lock: HeldLock,
    closed: AtomicBool,
    /// Why the handle ended by itself: the WAL is not its own any more.
    lost: Mutex<Option<Error>>,
    /// Set under `maintenance` at the end of `close`. A flush that ran after it would upload rows
    /// that the next handle replays from the WAL, perhaps above that handle's newer ones.
    ended: AtomicBool,
    /// The store was seen to refuse a second creation: it can hold a database.
    proved: AtomicBool,
    counts: stats::Counts,
    feeds: feeds::Feeds,
}

/// Where the handle is in the log. Swapped together, so that a proof never speaks of another position.
#[derive(Clone)]
struct Current {
    state: Arc<State>,
    /// The records since the newest checkpoint that this handle knows of.
    tail: Tail,
    /// The last records up to the position.
    recent: Recent,
    /// What a request takes, as lately measured.
    round_trip: Duration,
    /// How much of the tail a checkpoint under way is going to cover.
    claimed: Tail,
    /// When the position was last proved to be on the live log (PROTOCOL F1).
    proof: Moment,
    /// The position was never proved in this process: the handle opened offline, from a version that was
    /// the head at this time, in microseconds.
    offline: Option<i64>,
    /// The slot a call of this handle is putting its record into, and until when that is believed.
    taking: Option<(u64, Duration)>,
}

impl Db {
    /// Opens the database in `env`, or an empty one if there is none. Writes nothing: the first
    /// table does. With a WAL, everything acknowledged there and not yet in the log is replayed; and if the
    /// data store does not answer, the database opens by the version that the device keeps there
    /// (`Options::offline`): `Stats::online` is false then, and rows that only the store has are
    /// `Unavailable`.
    ///
    /// # Errors
    /// `Busy` if another handle holds the WAL, `Corrupt` with the place, `Invalid` for options out
    /// of range or a WAL of another database, `Unavailable` if the store does not answer and the device
    /// has no version, and the store's own.
    pub async fn open(env: Env, options: Options) -> Result<Db> {
        open::open(env, options).await
    }

    /// The table of that name, or `Invalid` listing what there is, as far as this handle knows:
    /// [`Db::look_up_table`] looks once more.
    pub fn table(&self, name: &str) -> Result<Table> {
        self.inner.check_open()?;
        self.inner.keep_version_soon();
        let state = self.inner.state();
        match state.version.table(name) {
            Some((id, _)) => Ok(Table::new(self.inner.clone(), id)),
            None => Err(no_such_table(&state, name)),
        }
    }

    /// The same; but a name that this handle does not know is looked for in the log once, for others may
    /// have made the table. One request then.
    ///
    /// # Errors
    /// As [`Db::table`]; `Unavailable` if the log could not be looked at.
    pub async fn look_up_table(&self, name: &str) -> Result<Table> {
        match self.table(name) {
            Err(unknown) if unknown.kind() == ErrorKind::Invalid => {
                self.refresh()
                    .await
                    .map_err(|why| why.context(unknown.message()))?;
                self.table(name)
            }
            found => found,
        }
    }

    /// Creates a table, or gives the one there is if its schema is equal.
    ///
    /// # Errors
    /// `Invalid` naming the difference if a table of that name has another schema, or if the name
    /// is empty or longer than 128 bytes.
    pub async fn create_table(&self, name: &str, schema: TableSchema) -> Result<Table> {
        self.inner.check_open()?;
        check_name("table", name)?;
        let schema = Arc::new(schema);
        for _ in 0..CREATIONS {
            if let Some(table) = self.existing(name, &schema) {
                self.inner.keep_version_soon();
                return Ok(table);
            }
            let mut create = |state: &State| created(&state.version, name, &schema);
            self.commit_or_look(&mut create).await?;
        }
        // Dropped by others before this handle heard that it was there.
        self.existing(name, &schema).ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!("table {name:?} was dropped as often as it was created: call again"),
            )
        })
    }

    /// The table, if it is there with that schema: this works offline.
    fn existing(&self, name: &str, schema: &TableSchema) -> Option<Table> {
        let state = self.inner.state();
        let (id, entry) = state.version.table(name)?;
        let equal = entry.schema.difference(schema).is_none();
        equal.then(|| Table::new(self.inner.clone(), id))
    }

    /// Names and schemas of all tables, by name.
    pub fn tables(&self) -> Vec<(String, Arc<TableSchema>)> {
        self.inner.state().schemas()
    }

    /// Moves everything acknowledged before the call into the object store, as sstables. The barrier
    /// of `local` durability: when it returns, losing this device loses nothing of it.
    pub async fn flush(&self) -> Result<()> {
        self.inner.check_open()?;
        self.inner.flush_all().await
    }

    /// Writes a checkpoint of the log's head, so that the next open reads no tail, and frees WAL
    /// segments that the log has.
    pub async fn checkpoint(&self) -> Result<()> {
        self.inner.check_open()?;
        self.inner.checkpoint_now().await
    }

    /// Reads what other handles committed meanwhile; whether there was anything. One request if not.
    /// Reads see it from then on; scans under way keep what they have. A commit that meets the records
    /// of others reads them, too.
    pub async fn refresh(&self) -> Result<bool> {
        self.inner.check_open()?;
        self.inner.heard(self.inner.refresh().await)
    }

    /// What is in it and what was done, by now.
    pub fn stats(&self) -> Stats {
        stats::collect(&self.inner)
    }

    /// The database's random id, once it has a table.
    pub fn id(&self) -> Option<DatabaseId> {
        self.inner.state().version.database
    }

    /// Refuses new calls, waits for commits in flight, syncs the WAL and releases it. Uploads
    /// nothing. Idempotent. With `Options::detached_tasks` off it waits for no other call.
    pub async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db")
            .field("data", &self.inner.data.describe())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn current(&self) -> Current {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> Arc<State> {
        self.current().state
    }

    /// Changes what is current. `change` is pure and quick: it runs under the lock.
    fn change<T>(&self, change: impl FnOnce(&mut Current) -> T) -> T {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let before = current.state.clone();
        let changed = change(&mut current);
        if !Arc::ptr_eq(&before, &current.state) {
            self.count_rows(&before, &current.state);
        }
        drop(current);
        changed
    }

    /// Swaps the state.
    fn change_state(&self, change: impl FnOnce(&State) -> State) -> Arc<State> {
        self.change(|current| {
            current.state = Arc::new(change(&current.state));
            current.state.clone()
        })
    }

    /// One at a time of what `line` stands for: it saves lost races and files written twice, and
    /// nothing depends on it. Without detached tasks there is no waiting, because the call whose
    /// turn it is may have vanished.
    async fn alone<'a>(&self, line: &'a Line) -> Option<First<'a>> {
        match self.options.detached_tasks {
            true => Some(line.take().await),
            false => None,
        }
    }

    fn check_open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(self.why_closed()),
            false => Ok(()),
        }
    }

    fn why_closed(&self) -> Error {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.as_ref().map_or_else(Error::closed, Error::duplicate)
    }

    /// The WAL is not this handle's any more: it ends, so that it acknowledges, uploads and deletes
    /// nothing from now on.
    fn end(&self, why: Error) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.closed.store(true, Ordering::Release);
        self.ended.store(true, Ordering::Release);
        self.watch.wake();
    }

    /// Asks whether the WAL is still this handle's, before something is done that only its holder may.
    async fn confirm_wal(&self) -> Result<()> {
        let Some(wal) = &self.wal else { return Ok(()) };
        let mut wal = wal.lock().await;
        let confirmed = wal.confirm();
        if let Some(lost) = wal.lost() {
            self.end(lost);
        }
        confirmed
    }

    /// The outcome of a read, which the close of the handle ends. Without detached tasks nothing is waited for
    /// that belongs to another call, not even that.
    async fn unless_closed<T>(&self, read: impl Future<Output = Result<T>>) -> Result<T> {
        self.check_open()?;
        let mut read = pin!(read);
        if !self.options.detached_tasks {
            return read.await;
        }
        // Most reads have it in memory.
        if let Some(done) = poll_immediate(&mut read).await {
            return done;
        }
        loop {
            let woken = self.watch.next();
            self.check_open()?;
            match select(read, woken).await {
                Either::Left((done, _)) => return done,
                Either::Right((_, rest)) => read = rest,
            }
        }
    }

    /// Whether flushes and checkpoints may still begin; asked while `alone` in `maintenance`.
    fn check_not_ended(&self) -> Result<()> {
        match self.ended.load(Ordering::Acquire) {
            true => Err(self.why_closed()),
            false => Ok(()),
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.runtime.random(&mut bytes);
        bytes
    }

    async fn close(self: &Arc<Self>) -> Result<()> {
        let place = self.wal_counted.as_ref().and_then(|wal| wal.identity());
        let _leaving = place.map(leaving::Leaving::new);
        self.closed.store(true, Ordering::Release);
        self.watch.wake();
        self.drain_queue().await;
        let _maintenance = self.alone(&self.maintenance).await;
        self.ended.store(true, Ordering::Release);
        // An earlier call may have been dropped at any await: each does what is not done yet.
        let synced = match &self.wal {
            Some(wal) => wal.lock().await.close().await,
            None => Ok(()),
        };
        self.keep_at_close().await;
        let lock = self
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(lock) = lock {
            lock.release().await?;
        }
        synced
    }
}

/// The name of a table or a tag: `what`.
fn check_name(what: &str, name: &str) -> Result<()> {
    let most = crate::data::schema::MAX_NAME_BYTES;
    if name.is_empty() || name.len() > most {
        return Err(Error::invalid(format!(
            "{what} name {:?} has {} bytes: it takes 1 to {most}",
            name.chars().take(40).collect::<String>(),
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "{what} name {name:?} has a control character"
        )));
    }
    Ok(())
}

fn no_such_table(state: &State, name: &str) -> Error {
    let mut names: Vec<&str> = state
        .version
        .tables
        .values()
        .map(|t| t.name.as_str())
        .collect();
    names.sort_unstable();
    let there = match names.is_empty() {
        true => "there is none yet: create it with its schema".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    Error::invalid(format!("no table {name:?}: {there}"))
}

/// What creates the table; nothing if it is there.
fn created(version: &Version, name: &str, schema: &Arc<TableSchema>) -> Result<Vec<Edit>> {
    if let Some((_, found)) = version.table(name) {
        return match found.schema.difference(schema) {
            None => Ok(Vec::new()),
            Some(difference) => Err(Error::invalid(format!(
                "table {name:?} exists with another schema: {difference}"
            ))),
        };
    }
    Ok(vec![Edit::CreateTable {
        table: version.next_table,
        name: name.to_owned(),
        schema: schema.clone(),
    }])
}
