//! Transactions over several tables. One holds a snapshot and its own writes, in memory alone: abandoned,
//! it leaves nothing behind. At commit it is one commit like others, checked against what was committed
//! since it began (PROTOCOL C1, C4). Invariant: reads see the snapshot and the transaction's own writes.

use super::{
    Db, Inner,
    commit::Committed,
    conflict::{Footprint, Reads},
    group::{Prepared, TableWrite, with_stamp},
    no_such_table,
    prepare::{self, Given, Place, Source, check_size},
    reader::{Reader, View},
    scan::ScanBuilder,
};
use crate::{
    data::{
        key::{KeyRange, Keys},
        rows::Rows,
        schema::TableSchema,
    },
    env::Reservation,
    error::{Error, ErrorKind, Result},
    log::edit::TableId,
    memtable::merge_all,
    merge::{Keep, Kind},
    state::State,
};
use arrow_array::RecordBatch;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What a transaction is safe from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// It reads one snapshot, and conflicts if a row it writes was written since: no dirty, torn or
    /// repeated read, no lost update.
    #[default]
    Snapshot,
    /// It conflicts, too, if anything in the keys and ranges it read was written since: as if
    /// transactions ran one after the other.
    Serializable,
}

/// How a transaction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionOptions {
    /// What it is safe from. Over a WAL it is safe from transactions of this device; against others the
    /// last to upload wins.
    pub isolation: Isolation,
    /// How often [`Db::transaction`] runs its function, at most, while that conflicts.
    pub attempts: u32,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self {
            isolation: Isolation::Snapshot,
            attempts: 16,
        }
    }
}

/// An open transaction. Clones are the same one. Dropped without [`Transaction::commit`] it has no effect.
#[derive(Clone)]
pub struct Transaction {
    open: Arc<Open>,
}

/// One table within a transaction.
#[derive(Clone, Debug)]
pub struct TransactionTable {
    reader: Reader,
    open: Arc<Open>,
}

/// The transaction's own state.
pub(super) struct Open {
    inner: Arc<Inner>,
    since: u64,
    serializable: bool,
    /// `None` once it has ended: of an ended transaction nothing stays in memory.
    work: Mutex<Option<Work>>,
}

struct Work {
    /// The snapshot with the writes so far.
    view: Arc<State>,
    writes: BTreeMap<TableId, Vec<TableWrite>>,
    bytes: usize,
    reads: BTreeMap<TableId, Reads>,
    watch: Watch,
    /// What its writes take of the memory for writes, but for the rows that its view has.
    memory: Reservation,
}

/// While it is there, what others commit is kept for the check.
pub(super) struct Watch(Arc<Inner>);

impl Drop for Watch {
    fn drop(&mut self) {
        let unwatched = |state: &State| state.with_recent(state.recent.unwatched());
        self.0.change_state(unwatched);
    }
}

impl Db {
    /// Begins a transaction on the newest state this handle has ([`Db::refresh`] brings one). No request.
    pub fn begin(&self, options: TransactionOptions) -> Result<Transaction> {
        self.inner.check_open()?;
        let inner = self.inner.clone();
        let view = inner.change_state(|state| state.with_recent(state.recent.watched()));
        let work = Work {
            view: view.clone(),
            writes: BTreeMap::new(),
            bytes: 0,
            reads: BTreeMap::new(),
            watch: Watch(inner.clone()),
            memory: inner.memory.writes.take_for_call(0),
        };
        Ok(Transaction {
            open: Arc::new(Open {
                inner,
                since: view.recent.tick(),
                serializable: options.isolation == Isolation::Serializable,
                work: Mutex::new(Some(work)),
            }),
        })
    }

    /// Runs `run` in a transaction and commits it; runs it again, on what is there then, if it conflicts
    /// with another. What `run` does besides must bear being done twice.
    ///
    /// # Errors
    /// Those of `run`, after which nothing is committed; `Conflict` after `options.attempts`; `Unknown`
    /// if it is not known whether it was committed: read before you run it again.
    pub async fn transaction<T, F, Fut>(&self, options: TransactionOptions, mut run: F) -> Result<T>
    where
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let mut attempt = 1;
        loop {
            let transaction = self.begin(options)?;
            let outcome = match run(transaction.clone()).await {
                Ok(value) => transaction.commit().await.map(|_| value),
                Err(error) => {
                    transaction.rollback();
                    Err(error)
                }
            };
            match outcome {
                Err(e) if e.kind() == ErrorKind::Conflict && attempt < options.attempts => {
                    self.inner.stand_back(attempt).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

impl Inner {
    /// Waits for a random while, longer after each attempt, so that those who conflict do not meet again.
    async fn stand_back(&self, attempt: u32) {
        let most = 1_000u64 << attempt.min(7);
        let wait = u64::from_le_bytes(self.random()) % most;
        self.runtime.sleep(Duration::from_micros(wait)).await;
    }
}

impl Transaction {
    /// The table of that name, or `Invalid` listing what there is.
    pub fn table(&self, name: &str) -> Result<TransactionTable> {
        let view = self.open.view()?;
        match view.version.table(name) {
            Some((id, _)) => Ok(self.at(id)),
            None => Err(no_such_table(&view, name)),
        }
    }

    /// The table with that id, whatever its name is now; `None` if it was dropped.
    pub(super) fn table_of(&self, id: TableId) -> Result<Option<TransactionTable>> {
        let there = self.open.view()?.version.tables.contains_key(&id);
        Ok(there.then(|| self.at(id)))
    }

    fn at(&self, id: TableId) -> TransactionTable {
        TransactionTable {
            reader: Reader {
                inner: self.open.inner.clone(),
                id,
                view: View::Transaction(self.open.clone()),
            },
            open: self.open.clone(),
        }
    }

    /// Names and schemas of its tables, by name.
    pub fn tables(&self) -> Result<Vec<(String, Arc<TableSchema>)>> {
        Ok(self.open.view()?.schemas())
    }

    /// Commits it: all of it becomes visible at one moment, or nothing. Commits happen in call order, as far as they
    /// have a table in common: it is queued before the future is first polled.
    ///
    /// # Errors
    /// `Conflict` if what it depends on was changed since it began: run it again.
    pub fn commit(self) -> impl Future<Output = Result<Committed>> + Send + use<> {
        let inner = self.open.inner.clone();
        let ended = self.open.end();
        let queued = ended.map(|(stamp, prepared)| (stamp, prepared.map(|p| inner.commit(p))));
        let uploaded = inner.wal.is_none();
        async move {
            match queued? {
                (_, Some(commit)) => commit.await,
                (ts, None) => Ok(Committed {
                    ts,
                    rows: 0,
                    uploaded,
                    position: None,
                }),
            }
        }
    }

    /// Ends it without effect. Ending it twice is no error.
    pub fn rollback(self) {
        let ended = self.open.work().take();
        drop(ended);
    }
}

impl TransactionTable {
    /// Its name.
    pub fn name(&self) -> Result<String> {
        self.reader.name()
    }

    /// Its schema.
    pub fn schema(&self) -> Result<Arc<TableSchema>> {
        self.reader.schema()
    }

    /// The row with that key, own writes included.
    pub async fn get(
        &self,
        key: &RecordBatch,
        select: Option<&[&str]>,
    ) -> Result<Option<RecordBatch>> {
        self.reader.get(key, select).await
    }

    /// Starts describing a scan; it sees own writes made before it starts.
    pub fn scan(&self) -> ScanBuilder {
        self.reader.scan()
    }

    /// Inserts or replaces the rows of an Arrow IPC stream or file; how many.
    pub fn ingest_ipc(&self, ipc: Bytes) -> Result<u64> {
        self.write(Box::new(Source::Ipc(ipc)), Kind::Upsert)
    }

    /// Inserts or replaces rows; how many.
    pub fn ingest(&self, batches: &[RecordBatch]) -> Result<u64> {
        self.write(Box::new(Source::Batches(batches.to_vec())), Kind::Upsert)
    }

    /// Deletes the rows whose keys are in an Arrow IPC stream or file with the key columns.
    pub fn delete_ipc(&self, ipc: Bytes) -> Result<u64> {
        self.write(Box::new(Source::Ipc(ipc)), Kind::Delete)
    }

    /// Deletes the rows with these keys (batches with the key columns).
    pub fn delete(&self, keys: &[RecordBatch]) -> Result<u64> {
        self.write(Box::new(Source::Batches(keys.to_vec())), Kind::Delete)
    }

    /// Writes rows, wherever they are as yet.
    pub(crate) fn write(&self, given: Box<dyn Given>, kind: Kind) -> Result<u64> {
        let most = self.open.inner.options.commit_bytes;
        let place = Place::of(&*self.reader.state()?);
        check_size(given.bytes(), most)?;
        let memory = self.open.inner.memory_of_transaction(given.bytes())?;
        let rows = prepare::rows(&place, given.read()?, kind, most)?;
        self.open.write(rows, most, memory)
    }
}

impl Open {
    fn work(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its reads see.
    pub(super) fn view(&self) -> Result<Arc<State>> {
        self.inner.check_open()?;
        let work = self.work();
        Ok(work.as_ref().ok_or_else(ended)?.view.clone())
    }

    /// It read these keys.
    pub(super) fn note(&self, table: TableId, range: &KeyRange) {
        if !self.serializable {
            return;
        }
        let mut work = self.work();
        let Some(work) = work.as_mut() else {
            return;
        };
        let reads = work.reads.entry(table).or_default();
        match range.single() {
            Some(key) => {
                reads.keys.insert(key.to_vec());
            }
            None if reads.ranges.contains(range) => {}
            None => reads.ranges.push(range.clone()),
        }
    }

    fn write(&self, part: TableWrite, most: usize, mut memory: Reservation) -> Result<u64> {
        let mut work = self.work();
        let work = work.as_mut().ok_or_else(ended)?;
        let bytes: usize = work.bytes + part.bytes();
        if bytes > most {
            return Err(Error::invalid(format!(
                "the transaction has {bytes} bytes: option commit_bytes allows {most}; split it"
            )));
        }
        let count = part.rows.len() as u64;
        if count > 0 {
            let stamp = work.view.last_stamp + 1;
            let rows = with_stamp(part.rows.clone(), stamp);
            memory.set(part.memory_bytes());
            // Whoever scans the view may hold its rows longer than this is open.
            let held = memory.split(rows.memory_bytes());
            let held = self.inner.memory.held_rows(held);
            let view = work.view.with_own(part.table, rows, stamp, held);
            // Runs may have been merged into new ones.
            self.inner.count_held(&view);
            work.view = Arc::new(view);
            work.bytes = bytes;
            work.memory.merge(memory);
            work.writes.entry(part.table).or_default().push(part);
        }
        Ok(count)
    }

    /// Ends it; its last timestamp, and what is to be committed, if it wrote anything.
    fn end(&self) -> Result<(i64, Option<Prepared>)> {
        self.inner.check_open()?;
        let work = self.work().take().ok_or_else(ended)?;
        let Work {
            view,
            writes,
            reads,
            watch,
            mut memory,
            ..
        } = work;
        let stamp = view.last_stamp;
        let mut tables = Vec::new();
        for parts in writes.into_values() {
            tables.extend(one_of(parts, &view)?);
        }
        memory.set(tables.iter().map(TableWrite::memory_bytes).sum());
        if tables.is_empty() {
            return Ok((stamp, None));
        }
        let mut writes: BTreeMap<TableId, Vec<Keys>> = BTreeMap::new();
        for part in &tables {
            let keys = part.rows.keys.clone();
            writes.entry(part.table).or_default().push(keys);
        }
        let footprint = Footprint {
            since: self.since,
            writes,
            reads,
            files: Default::default(),
        };
        let prepared = Prepared {
            tables,
            footprint: Some(footprint),
            _watch: Some(watch),
            memory: Some(memory),
        };
        Ok((stamp, Some(prepared)))
    }
}

fn ended() -> Error {
    Error::invalid("the transaction has ended: begin a new one")
}

/// All writes to one table as one, its deletes apart: of equal keys the last, so that no key is in both.
fn one_of(mut parts: Vec<TableWrite>, view: &State) -> Result<Vec<TableWrite>> {
    if parts.len() < 2 {
        return Ok(parts);
    }
    let (Some(first), Some(schema)) = (parts.first(), schema_of(&parts, view)) else {
        return Ok(Vec::new());
    };
    let (table, schema_version) = (first.table, first.schema_version);
    // The rows are all there is to be: their streams are made anew.
    parts.iter_mut().for_each(|part| part.bodies.clear());
    let stamped = |(order, part): (usize, TableWrite)| with_stamp(part.rows, order as i64);
    let runs: Vec<Rows> = parts.into_iter().enumerate().map(stamped).collect();
    let one = |rows: Rows| {
        let rows = with_stamp(rows, 0);
        let bodies = prepare::bodies(&schema, &rows)?;
        Ok(TableWrite {
            table,
            schema_version,
            rows,
            bodies,
        })
    };
    merge_all(runs, Keep::Newest)?
        .into_iter()
        .map(one)
        .collect()
}

fn schema_of(parts: &[TableWrite], view: &State) -> Option<Arc<TableSchema>> {
    let table = view.tables.get(&parts.first()?.table)?;
    Some(table.entry.schema.clone())
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}
