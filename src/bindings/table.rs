//! A table's handle: of the newest state, of a snapshot, or within a transaction.

use super::{
    columns::{batch_from_js, batch_to_js},
    db::column_specs,
    error::{get, promise, set, to_js},
    given::{JsRows, too_large},
    options::whole,
    predicate,
    scan::JsScan,
    types,
    upload::position_text,
};
use crate::{
    data::{intake::write_ipc, schema::TableSchema},
    db::{Committed, Given, ScanBuilder, SnapshotTable, Table, TransactionTable},
    error::{Error, Result},
    merge::Kind,
};
use arrow_array::RecordBatch;
use js_sys::{Array, Object, Promise, Uint8Array};
use std::{cell::RefCell, ops::Bound, sync::Arc};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};

/// The engine's table behind a handle.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Newest(Table),
    Snapshot(SnapshotTable),
    Transaction(TransactionTable),
}

/// `RawTable`, `RawSnapshotTable` and `RawTransactionTable` of js/src/raw.ts.
#[wasm_bindgen(js_name = RawTable)]
#[derive(Debug)]
pub struct JsTable {
    table: Source,
    /// The schemas that were given out: columns come in the order of one of them, whatever it is today.
    schemas: RefCell<Vec<Arc<TableSchema>>>,
    /// `Options::commit_bytes`: what is larger is refused before it is copied into wasm memory.
    most_bytes: usize,
}

#[wasm_bindgen(js_class = RawTable)]
impl JsTable {
    /// `{ fields, primaryKey, version }`, as it is now. The first version is 0.
    pub fn schema(&self) -> Result<JsValue, JsValue> {
        let schema = self.table.schema().map_err(to_js)?;
        let mut schemas = self.schemas.borrow_mut();
        if schemas.last() != Some(&schema) {
            schemas.push(schema.clone());
        }
        let object = types::schema(&schema);
        set(&object, "version", &(schemas.len() - 1).into());
        Ok(object.into())
    }

    /// Inserts or replaces the rows of an IPC stream or file.
    #[wasm_bindgen(js_name = ingestIpc)]
    pub fn ingest_ipc(&self, bytes: &Uint8Array) -> Promise {
        self.write(Ok(JsRows::ipc(bytes)), Kind::Upsert)
    }

    /// The same of columns in the order of a version of the schema.
    #[wasm_bindgen(js_name = ingestColumns)]
    pub fn ingest_columns(&self, columns: &Array, rows: u32, version: usize) -> Promise {
        let schema = self.schemas.borrow().get(version).cloned();
        let rows = match schema {
            Some(schema) => {
                let fields = schema.storage().fields().to_vec();
                Ok(JsRows::batches(
                    fields,
                    vec![(columns.clone(), rows as usize)],
                ))
            }
            None => Err(Error::internal("no such version of the schema")),
        };
        self.write(rows, Kind::Upsert)
    }

    /// Deletes the rows whose keys are in an IPC stream or file.
    #[wasm_bindgen(js_name = deleteIpc)]
    pub fn delete_ipc(&self, bytes: &Uint8Array) -> Promise {
        self.write(Ok(JsRows::ipc(bytes)), Kind::Delete)
    }

    /// The same of key columns in key order.
    #[wasm_bindgen(js_name = deleteColumns)]
    pub fn delete_columns(&self, columns: &Array, rows: u32) -> Promise {
        let rows = self.table.schema().map(|schema| {
            let fields = schema.key_schema().fields().to_vec();
            JsRows::batches(fields, vec![(columns.clone(), rows as usize)])
        });
        self.write(rows, Kind::Delete)
    }

    /// Inserts or replaces the rows of batches whose fields are `[name, type, nullable]`.
    #[wasm_bindgen(js_name = ingestArrow)]
    pub fn ingest_arrow(&self, fields: &Array, batches: &Array) -> Promise {
        self.write(arrow_rows(fields, batches), Kind::Upsert)
    }

    /// Deletes the rows whose keys are in such batches.
    #[wasm_bindgen(js_name = deleteArrow)]
    pub fn delete_arrow(&self, fields: &Array, batches: &Array) -> Promise {
        self.write(arrow_rows(fields, batches), Kind::Delete)
    }

    /// The row of a key (one row of key columns) as a batch, or undefined.
    pub fn get(&self, key: &Array, select: Option<Vec<String>>) -> Promise {
        let table = self.table.clone();
        let key = self.keys(key, 1);
        promise(async move {
            let select: Option<Vec<&str>> = select
                .as_ref()
                .map(|s| s.iter().map(String::as_str).collect());
            let row = table.get(&key?, select.as_deref()).await?;
            row.map_or(Ok(JsValue::UNDEFINED), |row| batch_to_js(&row))
        })
    }

    /// Starts a scan: `RawScanSpec` of js/src/raw.ts.
    pub fn scan(&self, spec: &JsValue) -> Result<JsScan, JsValue> {
        self.start_scan(spec).map_err(to_js)
    }

    /// A schema-only IPC stream of the columns `select`.
    #[wasm_bindgen(js_name = emptyIpc)]
    pub fn empty_ipc(&self, select: Option<Vec<String>>) -> Result<Vec<u8>, JsValue> {
        let empty = || {
            let mut builder = self.table.scan();
            if let Some(names) = &select {
                builder = builder.select(names);
            }
            write_ipc(builder.stream()?.schema(), &[])
        };
        empty().map_err(to_js)
    }
}

impl JsTable {
    pub(super) fn new(table: Source, most_bytes: usize) -> Result<Self> {
        Ok(Self {
            schemas: RefCell::new(vec![table.schema()?]),
            table,
            most_bytes,
        })
    }

    fn write(&self, rows: Result<JsRows>, kind: Kind) -> Promise {
        let fits = |rows: JsRows| match rows.bytes() {
            bytes if bytes > self.most_bytes => Err(too_large(bytes, self.most_bytes)),
            _ => Ok(rows),
        };
        match rows.and_then(fits) {
            Ok(rows) => self.table.write(Box::new(rows), kind),
            Err(error) => Promise::reject(&to_js(error)),
        }
    }

    /// Key columns: of those only the names ever change.
    fn keys(&self, columns: &Array, rows: u32) -> Result<RecordBatch> {
        let schema = self.table.schema()?.key_schema();
        batch_from_js(columns, schema.fields(), rows as usize, self.most_bytes)
    }

    fn bound(&self, key: JsValue) -> Result<Option<RecordBatch>> {
        let key: Option<Array> = key.dyn_into().ok();
        key.map(|key| self.keys(&key, 1)).transpose()
    }

    fn start_scan(&self, spec: &JsValue) -> Result<JsScan> {
        let mut builder = self.table.scan();
        let filter = get(spec, "where");
        if !filter.is_undefined() {
            let schema = self.table.schema()?;
            builder = builder.filter(predicate::parse(&filter, &schema)?);
        }
        if let Ok(names) = get(spec, "select").dyn_into::<Array>() {
            let names: Option<Vec<String>> = names.iter().map(|n| n.as_string()).collect();
            let names = names.ok_or_else(|| Error::invalid("select takes names of columns"))?;
            builder = builder.select(&names);
        }
        if let Some(key) = self.bound(get(spec, "from"))? {
            builder = builder.from(Bound::Included(key));
        }
        if let Some(key) = self.bound(get(spec, "to"))? {
            builder = builder.to(Bound::Excluded(key));
        }
        if let Some(limit) = whole(spec, "limit")? {
            builder = builder.limit(limit);
        }
        if let Some(rows) = whole(spec, "batchRows")? {
            builder = builder.batch_rows(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        let reverse = get(spec, "reverse").is_truthy();
        Ok(JsScan::new(builder.reverse(reverse).stream()?))
    }
}

/// Batches (`RawArrowBatch` of js/src/raw.ts) of a schema of their own.
fn arrow_rows(fields: &Array, batches: &Array) -> Result<JsRows> {
    let batch = |batch: JsValue| -> Result<(Array, usize)> {
        let rows = whole(&batch, "rows")?.unwrap_or(0);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let columns = get(&batch, "columns").dyn_into();
        let columns =
            columns.map_err(|_| Error::invalid("what should be a batch has no columns"))?;
        Ok((columns, rows))
    };
    let batches = batches.iter().map(batch).collect::<Result<_>>()?;
    Ok(JsRows::batches(column_specs(fields)?, batches))
}

impl Source {
    fn schema(&self) -> Result<Arc<TableSchema>> {
        match self {
            Self::Newest(table) => table.schema(),
            Self::Snapshot(table) => table.schema(),
            Self::Transaction(table) => table.schema(),
        }
    }

    fn scan(&self) -> ScanBuilder {
        match self {
            Self::Newest(table) => table.scan(),
            Self::Snapshot(table) => table.scan(),
            Self::Transaction(table) => table.scan(),
        }
    }

    async fn get(&self, key: &RecordBatch, select: Option<&[&str]>) -> Result<Option<RecordBatch>> {
        match self {
            Self::Newest(table) => table.get(key, select).await,
            Self::Snapshot(table) => table.get(key, select).await,
            Self::Transaction(table) => table.get(key, select).await,
        }
    }

    /// Within a transaction the answer is the number of rows, else what was committed.
    fn write(&self, rows: Box<JsRows>, kind: Kind) -> Promise {
        match self {
            Self::Newest(table) => committed(table.commit(rows, kind)),
            Self::Transaction(table) => counted(table.write(rows, kind)),
            Self::Snapshot(_) => counted(Err(Error::invalid(
                "a snapshot never changes: write to the table of the database",
            ))),
        }
    }
}

fn counted(rows: Result<u64>) -> Promise {
    promise(std::future::ready(rows.map(|rows| rows as f64)))
}

pub(super) fn committed(future: impl Future<Output = Result<Committed>> + 'static) -> Promise {
    promise(async move {
        let done = future.await?;
        let object = Object::new();
        set(&object, "rows", &(done.rows as f64).into());
        set(&object, "timestamp", &done.ts.into());
        set(&object, "uploaded", &done.uploaded.into());
        if let Some(position) = &done.position {
            set(&object, "position", &position_text(position).into());
        }
        Ok(object)
    })
}
