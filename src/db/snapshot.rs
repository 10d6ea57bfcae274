//! A snapshot: one state, held. It sees all tables at one moment and never changes (DESIGN promise 2).
//! As of a timestamp it sees the log alone; without one also what only this device has (PROTOCOL T5).

use super::{
    Db, Inner, no_such_table,
    reader::{Reader, View},
    scan::ScanBuilder,
};
use crate::{
    data::schema::TableSchema,
    error::Result,
    log::{
        history::{AsOf, is_beyond, resolve},
        inline::all_inline_rows,
    },
    platform::date::iso_micros,
    state::State,
};
use arrow_array::RecordBatch;
use std::sync::Arc;

/// A view of all tables at one moment. Cheap to clone; holds memory (the rows that were not flushed then, which
/// count as memory for writes until it goes), not files: what is read of it later than the grace time may be
/// `Expired`.
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
    state: Arc<State>,
    as_of: i64,
    timestamp: i64,
}

/// One table of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotTable {
    reader: Reader,
}

impl Db {
    /// All tables as this handle has them now, what is not uploaded yet included. No request.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.inner.check_open()?;
        let state = self.inner.state();
        Ok(Snapshot {
            inner: self.inner.clone(),
            timestamp: state.last_stamp,
            state,
            as_of: i64::MAX,
        })
    }

    /// All tables as of a moment, as the log has them: the same for every reader, for ever. A time beyond
    /// the log's head means the head, after a look at whether it is still the head ([`Db::refresh`]);
    /// [`Snapshot::timestamp`] says which it became (PROTOCOL T3). Tables have the names and columns that
    /// they had then; those that were dropped since are there, those that were created since are not.
    ///
    /// # Errors
    /// `Expired`, naming the oldest time there is, if it is not kept any more; `Invalid` for a tag that
    /// does not exist.
    pub async fn snapshot_at(&self, at: AsOf) -> Result<Snapshot> {
        self.inner.check_open()?;
        if is_beyond(&self.inner.state().version, &at) {
            self.inner.refresh().await?;
        }
        let state = self.inner.state();
        let timestamp = resolve(&state.version, &at)?;
        let then = as_it_was(state, timestamp)?;
        self.inner.count_held(&then);
        Ok(Snapshot {
            inner: self.inner.clone(),
            state: then,
            as_of: timestamp,
            timestamp,
        })
    }
}

/// DESIGN promise 18: names, schemas and tables of `ts`, not those of now.
fn as_it_was(state: Arc<State>, ts: i64) -> Result<Arc<State>> {
    let then = state.version.as_of(ts)?;
    let inline = all_inline_rows(&then)?;
    Ok(Arc::new(state.as_of(Arc::new(then), inline)))
}

impl Snapshot {
    /// The greatest timestamp it may see, in microseconds since the Unix epoch. Of [`Db::snapshot`] over a
    /// WAL it may be provisional: rows of this device get theirs when they are uploaded.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// The table of that name, or `Invalid` listing what there is.
    pub fn table(&self, name: &str) -> Result<SnapshotTable> {
        self.inner.check_open()?;
        match self.state.version.table(name) {
            Some((id, _)) => Ok(SnapshotTable {
                reader: Reader {
                    inner: self.inner.clone(),
                    id,
                    view: View::Pinned(self.state.clone(), self.as_of),
                },
            }),
            None if self.as_of == i64::MAX => Err(no_such_table(&self.state, name)),
            None => {
                let then = format!("as of {}", iso_micros(self.timestamp));
                Err(no_such_table(&self.state, name).context(&then))
            }
        }
    }

    /// Names and schemas of its tables, by name.
    pub fn tables(&self) -> Vec<(String, Arc<TableSchema>)> {
        self.state.schemas()
    }
}

impl SnapshotTable {
    /// Its name.
    pub fn name(&self) -> Result<String> {
        self.reader.name()
    }

    /// Its schema.
    pub fn schema(&self) -> Result<Arc<TableSchema>> {
        self.reader.schema()
    }

    /// The row with that key, as [`Table::get`](super::Table::get).
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
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}
