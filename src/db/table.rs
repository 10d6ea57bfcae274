//! A table's handle: validate, then act (DESIGN promise 11). A refused call leaves no byte behind.

use super::{
    Inner,
    commit::{Committed, Prepared},
    scan::ScanBuilder,
};
use crate::{
    data::{
        intake::{self, Limits, Mode},
        key::encode_keys,
        schema::TableSchema,
    },
    error::{Error, Result},
    log::edit::TableId,
    merge::{Kind, sorted_rows},
    scan::point,
    sstable::read::is_missing,
    state::TableState,
};
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use std::sync::Arc;

/// A table of an open database. Cheap to clone.
#[derive(Clone)]
pub struct Table {
    inner: Arc<Inner>,
    id: TableId,
}

impl Table {
    pub(super) fn new(inner: Arc<Inner>, id: TableId) -> Self {
        Self { inner, id }
    }

    /// Its name.
    pub fn name(&self) -> Result<String> {
        Ok(self.state()?.entry.name.clone())
    }

    /// Its schema.
    pub fn schema(&self) -> Result<Arc<TableSchema>> {
        Ok(self.state()?.entry.schema.clone())
    }

    pub(super) fn state(&self) -> Result<Arc<TableState>> {
        self.inner.check_open()?;
        (self.inner.state().tables.get(&self.id).cloned())
            .ok_or_else(|| Error::invalid("the table was dropped"))
    }

    /// Inserts or replaces the rows of an Arrow IPC stream or file, as one atomic commit; of equal
    /// keys the last row wins. The bytes go to the WAL as they are. Commits happen in call order:
    /// the call is queued before the future is first polled.
    pub fn ingest_ipc(&self, ipc: Bytes) -> impl Future<Output = Result<Committed>> + Send + use<> {
        self.commit(self.prepare_ipc(ipc, Kind::Upsert))
    }

    /// Deletes the rows whose keys are in an Arrow IPC stream or file with the key columns.
    pub fn delete_ipc(&self, ipc: Bytes) -> impl Future<Output = Result<Committed>> + Send + use<> {
        self.commit(self.prepare_ipc(ipc, Kind::Delete))
    }

    /// Inserts or replaces rows, as one atomic commit; of equal keys the last row wins.
    pub fn ingest(
        &self,
        batches: &[RecordBatch],
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        self.commit(self.prepare_batches(batches, Kind::Upsert))
    }

    /// Deletes the rows with these keys (batches with the key columns).
    pub fn delete(
        &self,
        keys: &[RecordBatch],
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        self.commit(self.prepare_batches(keys, Kind::Delete))
    }

    /// The row with that key: `key` has one row with the key columns. `select` names the columns to
    /// give back, all if `None`. `None` if there is no such row.
    pub async fn get(
        &self,
        key: &RecordBatch,
        select: Option<&[&str]>,
    ) -> Result<Option<RecordBatch>> {
        let mut table = self.state()?;
        let schema = table.entry.schema.clone();
        let schema = &schema;
        let key = intake::read_batch(key, schema, Mode::Delete, &self.limits())?;
        if key.num_rows() != 1 {
            return Err(Error::invalid(format!(
                "get takes one key, this has {}",
                key.num_rows()
            )));
        }
        let encoded = encode_keys(key.columns())?;
        let columns = select_columns(schema, select)?;
        let readers = &self.inner.readers;
        let encoded = encoded.get(0);
        let mut again = true;
        let found = loop {
            match point::get(&table, readers, encoded, &columns, i64::MAX).await {
                Err(e) if again && is_missing(&e) => {
                    again = false;
                    table = self.inner.after_missing(&table, e).await?;
                }
                read => break read?,
            }
        };
        found
            .map(|batch| to_user(schema, &columns, &batch))
            .transpose()
    }

    /// Starts describing a scan.
    pub fn scan(&self) -> ScanBuilder {
        ScanBuilder::new(self.clone())
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    fn limits(&self) -> Limits {
        Limits {
            commit_bytes: self.inner.options.commit_bytes,
            ..Limits::default()
        }
    }

    fn commit(
        &self,
        prepared: Result<Prepared>,
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        let ts = self.inner.state().last_stamp;
        let queued = prepared.map(|p| (!p.rows.is_empty()).then(|| self.inner.commit(p)));
        let uploaded = self.inner.wal.is_none();
        async move {
            match queued? {
                Some(commit) => commit.await,
                None => Ok(Committed {
                    ts,
                    rows: 0,
                    uploaded,
                }),
            }
        }
    }

    fn prepare_ipc(&self, ipc: Bytes, kind: Kind) -> Result<Prepared> {
        let table = self.state()?;
        let batches = intake::read_ipc(&ipc, &table.entry.schema, mode(kind), &self.limits())?;
        self.prepare(&table, kind, &batches, ipc)
    }

    fn prepare_batches(&self, batches: &[RecordBatch], kind: Kind) -> Result<Prepared> {
        let table = self.state()?;
        let schema = &table.entry.schema;
        let limits = self.limits();
        let batches: Vec<RecordBatch> = (batches.iter())
            .map(|b| intake::read_batch(b, schema, mode(kind), &limits))
            .collect::<Result<_>>()?;
        let ipc_schema = match kind {
            Kind::Upsert => schema.storage().clone(),
            Kind::Delete => schema.key_schema(),
        };
        let ipc = Bytes::from(intake::write_ipc(&ipc_schema, &batches)?);
        if ipc.len() > limits.commit_bytes {
            return Err(Error::invalid(format!(
                "the commit has {} bytes: option commit_bytes allows {}; split it",
                ipc.len(),
                limits.commit_bytes
            )));
        }
        self.prepare(&table, kind, &batches, ipc)
    }

    fn prepare(
        &self,
        table: &TableState,
        kind: Kind,
        batches: &[RecordBatch],
        ipc: Bytes,
    ) -> Result<Prepared> {
        let rows = sorted_rows(&table.entry.schema, kind, batches, 0)?;
        let schema_version = table.entry.schema_version;
        Ok(Prepared {
            table: self.id,
            schema_version,
            kind,
            rows,
            ipc,
        })
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn mode(kind: Kind) -> Mode {
    match kind {
        Kind::Upsert => Mode::Upsert,
        Kind::Delete => Mode::Delete,
    }
}

/// Table columns by name, in the order named; all if `None`.
pub(super) fn select_columns(schema: &TableSchema, select: Option<&[&str]>) -> Result<Vec<usize>> {
    let Some(names) = select else {
        return Ok((0..schema.user().fields().len()).collect());
    };
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let index = schema.index_of(name)?;
        if columns.contains(&index) {
            return Err(Error::invalid(format!("column {name:?} is selected twice")));
        }
        columns.push(index);
    }
    Ok(columns)
}

/// The user's schema of some columns.
pub(super) fn user_schema(schema: &TableSchema, columns: &[usize]) -> SchemaRef {
    let fields: Vec<_> = columns
        .iter()
        .map(|&i| schema.user().fields()[i].clone())
        .collect();
    Arc::new(Schema::new(fields))
}

fn to_user(schema: &TableSchema, columns: &[usize], batch: &RecordBatch) -> Result<RecordBatch> {
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let user = user_schema(schema, columns);
    RecordBatch::try_new_with_options(user, batch.columns().to_vec(), &options)
        .map_err(|e| Error::corrupt(format!("a stored row does not fit the table's schema: {e}")))
}
