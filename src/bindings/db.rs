//! An open database's handle.

use super::{
    changes::JsChanges,
    error::{promise, set, to_js},
    options,
    snapshot::{JsSnapshot, as_of},
    store::storage,
    table::{JsTable, Source},
    transaction::JsTransaction,
    types,
};
use crate::{
    data::{intake::schema_of_ipc, schema::TableSchema, spec},
    db::{Db, Isolation, Stats, TableStats, TransactionOptions, probe},
    env::{Env, Requests},
    error::{Error, Result},
    platform::wasm::WasmRuntime,
};
use arrow_schema::FieldRef;
use js_sys::{Array, Object, Promise, Uint8Array};
use std::sync::Arc;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};

/// `RawDb` of js/src/raw.ts.
#[wasm_bindgen(js_name = RawDb)]
#[derive(Debug)]
pub struct JsDb {
    pub(super) db: Db,
    pub(super) commit_bytes: usize,
}

/// Opens a database over stores (`bindings/store.rs`).
#[wasm_bindgen(js_name = openDb)]
pub fn open_db(data: Object, wal: Option<Object>, options: &JsValue) -> Promise {
    let options = options::parse(options);
    promise(async move {
        let options = options?;
        let detached = options.detached_tasks;
        let env = Env {
            data: storage(&data, detached)?,
            wal: wal.map(|wal| storage(&wal, detached)).transpose()?,
            runtime: WasmRuntime::new()?,
        };
        let commit_bytes = options.clone().fitted().commit_bytes;
        let db = Db::open(env, options).await?;
        Ok(JsDb { db, commit_bytes })
    })
}

/// Tries a store: `ProbeReport` of js/src/types.ts.
#[wasm_bindgen(js_name = probe)]
pub fn probe_store(data: &Object) -> Promise {
    // Nothing that another call holds is waited for: here or in a Worker.
    let data = storage(data, false);
    promise(async move {
        let report = probe(data?, WasmRuntime::new()?).await;
        let checks = report.checks.iter().map(|check| {
            let object = Object::new();
            text(&object, "name", Some(check.name));
            set(&object, "ok", &check.ok.into());
            text(&object, "detail", Some(&check.detail));
            object
        });
        let object = Object::new();
        set(&object, "ok", &report.ok.into());
        set(&object, "checks", &checks.collect::<Array>());
        Ok(object)
    })
}

#[wasm_bindgen(js_class = RawDb)]
impl JsDb {
    /// Creates a table, or adopts an equal one. Columns are `[name, type, nullable]`.
    #[wasm_bindgen(js_name = createTable)]
    pub fn create_table(&self, name: String, columns: &Array, key: Vec<String>) -> Promise {
        self.create(name, column_specs(columns), key)
    }

    /// The same with the schema of an IPC stream or file.
    #[wasm_bindgen(js_name = createTableFromIpc)]
    pub fn create_table_from_ipc(
        &self,
        name: String,
        ipc: &Uint8Array,
        key: Vec<String>,
    ) -> Promise {
        let length = ipc.length() as usize;
        let columns = match length <= self.commit_bytes {
            true => schema_of_ipc(&ipc.to_vec()),
            // Not copied into wasm memory, which may not have so much.
            false => Err(Error::invalid(format!(
                "the schema has {length} bytes: option commit_bytes allows {}; pass a stream \
                 without rows",
                self.commit_bytes
            ))),
        };
        self.create(name, columns, key)
    }

    /// A table that is there.
    pub fn table(&self, name: String) -> Promise {
        let (db, most) = (self.db.clone(), self.commit_bytes);
        promise(async move { JsTable::new(Source::Newest(db.look_up_table(&name).await?), most) })
    }

    /// An array of `{ name, schema }`.
    pub fn tables(&self) -> Array {
        tables(self.db.tables())
    }

    /// A view of all tables at one moment: now, or as of microseconds (a bigint) or a tag (a string).
    pub fn snapshot(&self, at: JsValue) -> Promise {
        let (db, most) = (self.db.clone(), self.commit_bytes);
        let now = at.is_undefined().then(|| db.snapshot());
        promise(async move {
            let snapshot = match now {
                Some(snapshot) => snapshot?,
                None => db.snapshot_at(as_of(at)?).await?,
            };
            Ok(JsSnapshot::new(snapshot, most))
        })
    }

    /// Begins a transaction.
    pub fn begin(&self, serializable: bool) -> Result<JsTransaction, JsValue> {
        let isolation = match serializable {
            true => Isolation::Serializable,
            false => Isolation::Snapshot,
        };
        let options = TransactionOptions {
            isolation,
            ..TransactionOptions::default()
        };
        let transaction = self.db.begin(options).map_err(to_js)?;
        Ok(JsTransaction::new(transaction, self.commit_bytes))
    }

    /// A feed of what is committed.
    pub fn changes(&self, options: &JsValue) -> Result<JsChanges, JsValue> {
        let changes = options::change_feed(options).and_then(|o| self.db.changes(o));
        changes.map(JsChanges::new).map_err(to_js)
    }

    /// Moves what is acknowledged into the data store.
    pub fn flush(&self) -> Promise {
        let db = self.db.clone();
        promise(async move { db.flush().await.map(|()| JsValue::UNDEFINED) })
    }

    /// Writes a checkpoint.
    pub fn checkpoint(&self) -> Promise {
        let db = self.db.clone();
        promise(async move { db.checkpoint().await.map(|()| JsValue::UNDEFINED) })
    }

    /// Reads what others committed; whether there was anything.
    pub fn refresh(&self) -> Promise {
        let db = self.db.clone();
        promise(async move { db.refresh().await })
    }

    /// Closes it.
    pub fn close(&self) -> Promise {
        let db = self.db.clone();
        promise(async move { db.close().await.map(|()| JsValue::UNDEFINED) })
    }

    /// `Stats` of js/src/types.ts.
    pub fn stats(&self) -> JsValue {
        stats_to_js(&self.db.stats())
    }
}

impl JsDb {
    fn create(&self, name: String, columns: Result<Vec<FieldRef>>, key: Vec<String>) -> Promise {
        let db = self.db.clone();
        let most = self.commit_bytes;
        promise(async move {
            let schema = TableSchema::new(columns?, &key)?;
            let table = db.create_table(&name, schema).await?;
            JsTable::new(Source::Newest(table), most)
        })
    }
}

/// An array of `{ name, schema }`.
pub(super) fn tables(tables: Vec<(String, Arc<TableSchema>)>) -> Array {
    let describe = |(name, schema): (String, Arc<TableSchema>)| {
        let object = Object::new();
        set(&object, "name", &name.into());
        set(&object, "schema", &types::schema(&schema));
        object
    };
    tables.into_iter().map(describe).collect()
}

pub(super) fn column_specs(columns: &Array) -> Result<Vec<FieldRef>> {
    let specs: Option<Vec<spec::ColumnSpec>> = columns
        .iter()
        .map(|column| {
            let column: Array = column.dyn_into().ok()?;
            Some(spec::ColumnSpec {
                name: column.get(0).as_string()?,
                data_type: column.get(1).as_string()?,
                nullable: column.get(2).as_bool(),
            })
        })
        .collect();
    let specs = specs.ok_or_else(|| Error::invalid("columns are [name, type, nullable]"))?;
    spec::columns(&specs)
}

pub(super) fn number(object: &Object, name: &str, value: u64) {
    set(object, name, &(value as f64).into());
}

fn text(object: &Object, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        set(object, name, &value.into());
    }
}

fn stats_to_js(stats: &Stats) -> JsValue {
    let object = Object::new();
    text(&object, "durability", Some(stats.durability));
    set(&object, "online", &stats.online.into());
    text(&object, "unreachable", stats.unreachable.as_deref());
    set(&object, "provedAt", &stats.proved_at.into());
    number(&object, "head", stats.head);
    set(&object, "lastTimestamp", &stats.last_timestamp.into());
    number(&object, "commits", stats.commits);
    number(&object, "rowsCommitted", stats.rows_committed);
    number(&object, "backlogCommits", stats.backlog_commits);
    number(&object, "backlogRows", stats.backlog_rows);
    number(&object, "backlogBytes", stats.backlog_bytes);
    number(&object, "droppedRows", stats.dropped_rows);
    number(&object, "parkedCommits", stats.parked_commits);
    for (name, time) in [
        ("backlogSince", stats.backlog_since),
        ("uploadErrorAt", stats.upload_error_at),
    ] {
        if let Some(time) = time {
            set(&object, name, &time.into());
        }
    }
    text(&object, "uploadError", stats.upload_error.as_deref());
    number(&object, "memoryBytes", stats.memory_bytes);
    number(&object, "memoryUsed", stats.memory_used);
    number(&object, "memoryPeak", stats.memory_peak);
    number(&object, "memtableBytes", stats.memtable_bytes);
    number(&object, "walBytes", stats.wal_bytes);
    number(&object, "flushes", stats.flushes);
    number(&object, "flushing", stats.flushing);
    number(&object, "checkpoints", stats.checkpoints);
    text(
        &object,
        "maintenanceError",
        stats.maintenance_error.as_deref(),
    );
    set(&object, "data", &requests(&stats.data));
    text(&object, "dataPlace", Some(&stats.data_place));
    if let Some(wal) = &stats.wal {
        set(&object, "wal", &requests(wal));
    }
    text(&object, "walPlace", stats.wal_place.as_deref());
    set(
        &object,
        "tables",
        &stats.tables.iter().map(table_stats).collect::<Array>(),
    );
    object.into()
}

fn table_stats(stats: &TableStats) -> Object {
    let object = Object::new();
    text(&object, "name", Some(&stats.name));
    number(&object, "files", stats.files);
    number(&object, "fileRows", stats.file_rows);
    number(&object, "fileBytes", stats.file_bytes);
    number(&object, "memtableRows", stats.memtable_rows);
    object
}

fn requests(requests: &Requests) -> Object {
    let object = Object::new();
    number(&object, "get", requests.get);
    number(&object, "put", requests.put);
    number(&object, "putIfAbsent", requests.put_if_absent);
    number(&object, "list", requests.list);
    number(&object, "delete", requests.delete);
    number(&object, "append", requests.append);
    number(&object, "sync", requests.sync);
    number(&object, "bytesRead", requests.bytes_read);
    number(&object, "bytesWritten", requests.bytes_written);
    number(&object, "retries", requests.retries);
    object
}
