//! Describing and running a scan.

use super::{
    reader::Reader,
    table::{select_columns, user_schema},
};
use crate::{
    data::{
        adapt::as_declared,
        bound::Bound as BatchBound,
        intake::{self, Limits, Mode},
        key::{KeyRange, encode_keys},
        predicate::Predicate,
    },
    error::{Error, ErrorKind, Result},
    scan::{plan::ScanRequest, run::ScanRun},
    sstable::read::is_missing,
    state::TableState,
};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use std::{ops::Bound, sync::Arc};

/// Describes a scan; nothing is read before [`ScanBuilder::stream`] or [`ScanBuilder::count`].
#[derive(Clone, Debug)]
pub struct ScanBuilder {
    table: Reader,
    filter: Option<Predicate>,
    select: Option<Vec<String>>,
    from: Bound<RecordBatch>,
    to: Bound<RecordBatch>,
    limit: Option<u64>,
    reverse: bool,
    batch_rows: Option<usize>,
}

impl ScanBuilder {
    pub(super) fn new(table: Reader) -> Self {
        Self {
            table,
            filter: None,
            select: None,
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            limit: None,
            reverse: false,
            batch_rows: None,
        }
    }

    /// Keeps rows for which this is true; a second call narrows the first.
    pub fn filter(mut self, predicate: Predicate) -> Self {
        self.filter = Some(match self.filter {
            None => predicate,
            Some(first) => Predicate::And(vec![first, predicate]),
        });
        self
    }

    /// Gives out these columns, in this order; all if never called. None at all is allowed: the
    /// batches then have only a number of rows.
    pub fn select<S: AsRef<str>>(mut self, columns: &[S]) -> Self {
        self.select = Some(columns.iter().map(|c| c.as_ref().to_owned()).collect());
        self
    }

    /// Keys from here on: one row with the key columns.
    pub fn from(mut self, key: Bound<RecordBatch>) -> Self {
        self.from = key;
        self
    }

    /// Keys up to here: one row with the key columns.
    pub fn to(mut self, key: Bound<RecordBatch>) -> Self {
        self.to = key;
        self
    }

    /// At most so many rows.
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Descending by key.
    pub fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// Most rows of a batch; `Options::batch_rows` if never called.
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = Some(rows);
        self
    }

    /// Starts the scan on the state of this moment.
    pub fn stream(&self) -> Result<Scan> {
        let inner = &self.table.inner;
        let table = self.table.state()?;
        let schema = &table.entry.schema;
        let names: Option<Vec<&str>> = self
            .select
            .as_ref()
            .map(|s| s.iter().map(String::as_str).collect());
        let key = |bound: &Bound<RecordBatch>| encode_bound(bound, schema);
        let batch_rows = self.batch_rows.unwrap_or(inner.options.batch_rows);
        if batch_rows == 0 {
            return Err(Error::invalid("batch_rows is 0: it takes at least 1"));
        }
        let request = ScanRequest {
            columns: select_columns(schema, names.as_deref())?,
            filter: self.filter.as_ref().map(|f| f.bind(schema)).transpose()?,
            range: KeyRange {
                start: key(&self.from)?,
                end: key(&self.to)?,
            },
            limit: self.limit,
            reverse: self.reverse,
            as_of: self.table.as_of(),
            bound: BatchBound::new(batch_rows, inner.options.batch_bytes),
        };
        let narrowed = request.filter.as_ref().map(|f| f.key_range(schema));
        let read = narrowed.map_or(request.range.clone(), |r| request.range.intersect(&r));
        self.table.note(&read);
        let run = ScanRun::new(table.clone(), inner.readers.clone(), request.clone())?;
        Ok(Scan {
            declared: user_schema(&table.entry.schema, &request.columns),
            table: self.table.clone(),
            state: table,
            request,
            run,
            given: false,
        })
    }

    /// The number of rows, reading as little as possible.
    pub async fn count(&self) -> Result<u64> {
        let mut counted = self.clone();
        counted.select = Some(Vec::new());
        counted.stream()?.count().await
    }
}

fn encode_bound(
    bound: &Bound<RecordBatch>,
    schema: &crate::data::schema::TableSchema,
) -> Result<Bound<Vec<u8>>> {
    let encode = |key: &RecordBatch| {
        let key = intake::read_batch(key, schema, Mode::Delete, &Limits::default())?;
        if key.num_rows() != 1 {
            return Err(Error::invalid(format!(
                "a key range takes one key at each end, this has {}",
                key.num_rows()
            )));
        }
        Ok(encode_keys(key.columns())?.get(0).to_vec())
    };
    Ok(match bound {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Included(encode(key)?),
        Bound::Excluded(key) => Bound::Excluded(encode(key)?),
    })
}

/// A running scan over one state. Dropping it ends it.
pub struct Scan {
    table: Reader,
    state: Arc<TableState>,
    request: ScanRequest,
    run: ScanRun,
    /// The schema of the batches as callers declared it.
    declared: SchemaRef,
    /// Whether a batch was given out.
    given: bool,
}

impl Scan {
    /// The schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.declared
    }

    /// The next batch, never empty; `None` at the end; `Closed` as soon as the database is, whatever is being read.
    ///
    /// # Errors
    /// `Expired` if the scan took longer than the grace time and gc took what it reads.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let inner = self.table.inner.clone();
        inner.unless_closed(self.read_next()).await
    }

    async fn read_next(&mut self) -> Result<Option<RecordBatch>> {
        let mut again = true;
        let batch = loop {
            match self.run.next().await {
                Err(e) if again && is_missing(&e) => {
                    again = false;
                    self.start_anew(e).await?;
                }
                read => break read?,
            }
        };
        self.given = true;
        if batch.is_none() {
            // Nobody may drop it for long: rows in memory are not to be kept for that.
            self.state = Arc::new(self.state.without_rows());
            self.run.end();
        }
        batch.map(|b| as_declared(&self.declared, &b)).transpose()
    }

    /// The number of rows, on the state the scan reads, reading as little as possible.
    ///
    /// # Errors
    /// `Invalid` after its first batch.
    pub async fn count(self) -> Result<u64> {
        let inner = self.table.inner.clone();
        inner.unless_closed(self.count_all()).await
    }

    async fn count_all(mut self) -> Result<u64> {
        if self.given {
            return Err(Error::invalid(
                "a scan counts its rows from the start, and this one has begun: count before its first \
                 batch, or by a scan of its own",
            ));
        }
        self.request.columns = Vec::new();
        match self.run.without_columns()?.count().await {
            Err(e) if is_missing(&e) => {
                let inner = &self.table.inner;
                let state = self.table.after_missing(&self.state, e).await?;
                let run = ScanRun::new(state, inner.readers.clone(), self.request)?;
                run.count().await
            }
            other => other,
        }
    }

    /// PROTOCOL G4: a file is gone. Before its first batch a scan can begin again on a newer version.
    async fn start_anew(&mut self, error: Error) -> Result<()> {
        let gone = error.message().to_owned();
        self.state = self.table.after_missing(&self.state, error).await?;
        if self.given {
            return Err(Error::new(
                ErrorKind::Expired,
                format!("{gone}: the scan took longer than the grace time; start it again"),
            ));
        }
        let readers = self.table.inner.readers.clone();
        self.run = ScanRun::new(self.state.clone(), readers, self.request.clone())?;
        self.declared = user_schema(&self.state.entry.schema, &self.request.columns);
        Ok(())
    }

    /// All batches that are left.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
