//! A table's handle: validate, then act (DESIGN promise 11). A refused call leaves no byte behind.

use super::{
    Inner,
    commit::Committed,
    prepare::{Given, Place, Source},
    reader::{Reader, View},
    scan::ScanBuilder,
};
use crate::{
    data::{adapt::as_declared, schema::TableSchema},
    error::{Error, Result},
    log::edit::TableId,
    merge::Kind,
};
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use std::sync::Arc;

/// A table of an open database. Cheap to clone.
#[derive(Clone)]
pub struct Table {
    reader: Reader,
}

impl Table {
    pub(super) fn new(inner: Arc<Inner>, id: TableId) -> Self {
        let view = View::Newest;
        Self {
            reader: Reader { inner, id, view },
        }
    }

    /// Its name.
    pub fn name(&self) -> Result<String> {
        self.reader.name()
    }

    /// Its schema.
    pub fn schema(&self) -> Result<Arc<TableSchema>> {
        self.reader.schema()
    }

    /// Inserts or replaces the rows of an Arrow IPC stream or file, as one atomic commit; of equal
    /// keys the last row wins. The bytes go to the WAL as they are. Commits happen in call order:
    /// the call is queued before the future is first polled.
    ///
    /// While there is no memory for it, it waits as it came, and is validated when its turn comes.
    pub fn ingest_ipc(&self, ipc: Bytes) -> impl Future<Output = Result<Committed>> + Send + use<> {
        self.commit(Box::new(Source::Ipc(ipc)), Kind::Upsert)
    }

    /// Deletes the rows whose keys are in an Arrow IPC stream or file with the key columns.
    pub fn delete_ipc(&self, ipc: Bytes) -> impl Future<Output = Result<Committed>> + Send + use<> {
        self.commit(Box::new(Source::Ipc(ipc)), Kind::Delete)
    }

    /// Inserts or replaces rows, as one atomic commit; of equal keys the last row wins.
    pub fn ingest(
        &self,
        batches: &[RecordBatch],
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        self.commit(Box::new(Source::Batches(batches.to_vec())), Kind::Upsert)
    }

    /// Deletes the rows with these keys (batches with the key columns).
    pub fn delete(
        &self,
        keys: &[RecordBatch],
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        self.commit(Box::new(Source::Batches(keys.to_vec())), Kind::Delete)
    }

    /// The row with that key: `key` has one row with the key columns. `select` names the columns to
    /// give back, all if `None`. `None` if there is no such row.
    pub async fn get(
        &self,
        key: &RecordBatch,
        select: Option<&[&str]>,
    ) -> Result<Option<RecordBatch>> {
        self.reader.get(key, select).await
    }

    /// Starts describing a scan.
    pub fn scan(&self) -> ScanBuilder {
        self.reader.scan()
    }

    /// Commits rows, wherever they are as yet.
    pub(crate) fn commit(
        &self,
        given: Box<dyn Given>,
        kind: Kind,
    ) -> impl Future<Output = Result<Committed>> + Send + use<> {
        let state = self.reader.state();
        let queued = state.and_then(|table| {
            let place = Place::of(&table);
            self.reader.inner.commit_rows(place, given, kind)
        });
        async move {
            match queued {
                Ok(commit) => commit.await,
                Err(error) => Err(error),
            }
        }
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("id", &self.reader.id)
            .finish_non_exhaustive()
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

/// A stored row as callers see it.
pub(super) fn to_user(
    schema: &TableSchema,
    columns: &[usize],
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    as_declared(&user_schema(schema, columns), batch)
}
