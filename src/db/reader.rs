//! Reads one table: of the newest state, of a snapshot, or within a transaction. Invariant: what a read
//! sees is one state, whatever happens meanwhile.

use super::{
    Inner,
    log::dropped,
    scan::ScanBuilder,
    table::{select_columns, to_user},
    transaction::Open,
};
use crate::{
    data::{
        intake::{self, Limits, Mode},
        key::{KeyRange, encode_keys},
        schema::TableSchema,
    },
    error::{Error, ErrorKind, Result},
    log::edit::TableId,
    scan::point,
    sstable::read::is_missing,
    state::{State, TableState},
};
use arrow_array::RecordBatch;
use std::sync::Arc;

/// Which state reads see.
#[derive(Clone)]
pub(super) enum View {
    /// The handle's newest, anew for each read.
    Newest,
    /// This one, up to a timestamp.
    Pinned(Arc<State>, i64),
    /// A transaction's snapshot with its own writes.
    Transaction(Arc<Open>),
}

/// Reads one table.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) inner: Arc<Inner>,
    pub(super) id: TableId,
    pub(super) view: View,
}

impl Reader {
    /// The table, as reads see it now.
    pub(super) fn state(&self) -> Result<Arc<TableState>> {
        self.inner.check_open()?;
        let state = match &self.view {
            View::Newest => self.inner.state(),
            View::Pinned(state, _) => state.clone(),
            View::Transaction(open) => open.view()?,
        };
        (state.tables.get(&self.id).cloned()).ok_or_else(dropped)
    }

    /// Versions above this are not seen.
    pub(super) fn as_of(&self) -> i64 {
        match &self.view {
            View::Pinned(_, as_of) => *as_of,
            _ => i64::MAX,
        }
    }

    pub(super) fn schema(&self) -> Result<Arc<TableSchema>> {
        Ok(self.state()?.entry.schema.clone())
    }

    pub(super) fn name(&self) -> Result<String> {
        Ok(self.state()?.entry.name.clone())
    }

    pub(super) fn scan(&self) -> ScanBuilder {
        ScanBuilder::new(self.clone())
    }

    /// The row with that key; `Closed` as soon as the database is.
    pub(super) async fn get(
        &self,
        key: &RecordBatch,
        select: Option<&[&str]>,
    ) -> Result<Option<RecordBatch>> {
        self.inner.unless_closed(self.look_up(key, select)).await
    }

    async fn look_up(
        &self,
        key: &RecordBatch,
        select: Option<&[&str]>,
    ) -> Result<Option<RecordBatch>> {
        let mut table = self.state()?;
        let schema = table.entry.schema.clone();
        let key = intake::read_batch(key, &schema, Mode::Delete, &Limits::default())?;
        if key.num_rows() != 1 {
            return Err(Error::invalid(format!(
                "get takes one key, this has {}",
                key.num_rows()
            )));
        }
        let encoded = encode_keys(key.columns())?;
        let columns = select_columns(&schema, select)?;
        let encoded = encoded.get(0);
        self.note(&KeyRange::only(encoded.to_vec()));
        let mut again = true;
        let found = loop {
            let readers = &self.inner.readers;
            match point::get(&table, readers, encoded, &columns, self.as_of()).await {
                Err(e) if again && is_missing(&e) => {
                    again = false;
                    table = self.after_missing(&table, e).await?;
                }
                read => break read?,
            }
        };
        found
            .map(|batch| to_user(&schema, &columns, &batch))
            .transpose()
    }

    /// A serializable transaction read these keys, whatever was there.
    pub(super) fn note(&self, range: &KeyRange) {
        if let View::Transaction(open) = &self.view {
            open.note(self.id, range);
        }
    }

    /// PROTOCOL G4: an sstable of `seen` is not there. A read of the newest state goes on with a newer one;
    /// what is pinned is too old.
    pub(super) async fn after_missing(
        &self,
        seen: &TableState,
        error: Error,
    ) -> Result<Arc<TableState>> {
        match &self.view {
            View::Newest => self.inner.after_missing(seen, error).await,
            _ => {
                self.inner.refresh().await?;
                // Only if the newest version does without some file; else a live one is missing.
                let kept = self.inner.state().version.files_of(seen.id);
                let live = |id| kept.iter().any(|f| f.meta.id == id);
                if seen.files.iter().all(|f| live(f.meta.id)) {
                    return Err(error);
                }
                Err(Error::new(
                    ErrorKind::Expired,
                    "the snapshot is older than the grace time, and gc took what it reads: take a new one",
                ))
            }
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("table", &self.id)
            .finish_non_exhaustive()
    }
}
