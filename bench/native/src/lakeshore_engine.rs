//! Lakeshore through its public door, as a Rust user would call it.

use crate::{
    Anyhow,
    child::{Engine, Job},
    data::Plain,
};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use lakeshore::{Db, Options, SyncPolicy, Table, data::schema::TableSchema, platform::native::env};
use std::{path::Path, sync::Arc, time::Duration};

/// An open database with its one table.
pub struct Lakeshore {
    db: Db,
    table: Table,
}

impl Engine for Lakeshore {
    type Batch = RecordBatch;

    fn batch(plain: &Plain) -> Anyhow<RecordBatch> {
        let columns: [(&str, ArrayRef); 4] = [
            ("key", Arc::new(StringArray::from_iter_values(&plain.keys))),
            ("i", Arc::new(Int64Array::from(plain.ints.clone()))),
            ("f", Arc::new(Float64Array::from(plain.floats.clone()))),
            (
                "text",
                Arc::new(StringArray::from_iter_values(&plain.texts)),
            ),
        ];
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    async fn open(directory: &Path, job: Job) -> Anyhow<Self> {
        let mut options = Options {
            sync: match job.syncs() {
                true => SyncPolicy::Always,
                false => SyncPolicy::Interval(Duration::from_millis(50)),
            },
            ..Options::default()
        };
        if !job.flushes() {
            options.seal_bytes = 1 << 40;
            options.memtable_limit_bytes = 1 << 40;
        }
        let env = env(directory.join("data"), Some(&directory.join("wal")))?;
        let db = Db::open(env, options).await?;
        let field = |name, ty| Arc::new(Field::new(name, ty, false));
        let fields = vec![
            field("key", DataType::Utf8),
            field("i", DataType::Int64),
            field("f", DataType::Float64),
            field("text", DataType::Utf8),
        ];
        let table = db
            .create_table("rows", TableSchema::new(fields, &["key"])?)
            .await?;
        Ok(Self { db, table })
    }

    async fn ingest(&self, batch: RecordBatch) -> Anyhow<()> {
        self.table.ingest(&[batch]).await?;
        Ok(())
    }

    async fn scan(&self) -> Anyhow<usize> {
        let mut scan = self.table.scan().stream()?;
        let mut rows = 0;
        while let Some(batch) = scan.next().await? {
            rows += batch.num_rows();
        }
        Ok(rows)
    }

    async fn get(&self, key: &str) -> Anyhow<usize> {
        let key: ArrayRef = Arc::new(StringArray::from(vec![key]));
        let key = RecordBatch::try_from_iter([("key", key)])?;
        let found = self.table.get(&key, None).await?;
        Ok(found.map_or(0, |batch| batch.num_rows()))
    }

    async fn flush(&self) -> Anyhow<bool> {
        self.db.flush().await?;
        Ok(true)
    }

    async fn close(self) -> Anyhow<()> {
        Ok(self.db.close().await?)
    }
}
