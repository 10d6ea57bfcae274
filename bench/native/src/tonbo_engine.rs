//! tonbo 0.4.0-a2 through its public door.

use crate::{
    Anyhow,
    child::{Engine, Job},
    data::Plain,
};
use arrow_array_57::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema_57::{DataType, Field, Schema};
use fusio::{disk::LocalFs, executor::tokio::TokioExecutor};
use futures::StreamExt;
use std::{path::Path, sync::Arc, time::Duration};
use tonbo::db::{DB, DbBuilder, Expr, NeverSeal, ScalarValue, WalSyncPolicy};

/// An open database.
pub struct Tonbo(DB<LocalFs, TokioExecutor>);

impl Engine for Tonbo {
    type Batch = RecordBatch;

    fn batch(plain: &Plain) -> Anyhow<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(&plain.keys)),
            Arc::new(Int64Array::from(plain.ints.clone())),
            Arc::new(Float64Array::from(plain.floats.clone())),
            Arc::new(StringArray::from_iter_values(&plain.texts)),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }

    async fn open(directory: &Path, job: Job) -> Anyhow<Self> {
        let mut builder = DbBuilder::from_schema_key_name(schema(), "key")?
            .on_disk(directory)?
            .wal_sync_policy(match job.syncs() {
                true => WalSyncPolicy::Always,
                false => WalSyncPolicy::IntervalTime(Duration::from_millis(50)),
            });
        if !job.flushes() {
            builder = builder
                .disable_minor_compaction()
                .with_seal_policy(Arc::new(NeverSeal));
        }
        Ok(Self(builder.open().await?))
    }

    async fn ingest(&self, batch: RecordBatch) -> Anyhow<()> {
        Ok(self.0.ingest(batch).await?)
    }

    async fn scan(&self) -> Anyhow<usize> {
        let mut stream = Box::pin(self.0.scan().stream().await?);
        let mut rows = 0;
        while let Some(batch) = stream.next().await {
            rows += batch?.num_rows();
        }
        Ok(rows)
    }

    async fn get(&self, key: &str) -> Anyhow<usize> {
        let filter = Expr::eq("key", ScalarValue::from(key));
        let batches = self.0.scan().filter(filter).collect().await?;
        Ok(batches.iter().map(RecordBatch::num_rows).sum())
    }

    async fn flush(&self) -> Anyhow<bool> {
        Ok(false)
    }

    async fn close(self) -> Anyhow<()> {
        Ok(())
    }
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("i", DataType::Int64, false),
        Field::new("f", DataType::Float64, false),
        Field::new("text", DataType::Utf8, false),
    ]))
}
