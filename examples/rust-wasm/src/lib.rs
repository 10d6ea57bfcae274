//! Readings of sensors, kept in a bucket by Lakeshore: a crate for wasm32 with functions of its own for JavaScript.
//! Rows never leave Rust; what JavaScript sees is what this crate decides.

use arrow_array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray, cast::AsArray,
    types::Float64Type, types::TimestampMillisecondType,
};
use arrow_schema::{DataType, Field, TimeUnit};
use js_sys::Reflect;
use lakeshore::{
    Db, Env, Error, ErrorKind, Options, ScanBuilder, Table,
    data::predicate::{CompareOp, Predicate, Value},
    data::schema::TableSchema,
    platform::s3::{Access, Credentials, S3Options},
    platform::wasm::{WasmRuntime, s3},
};
use std::sync::Arc;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

/// Where the readings are kept.
#[wasm_bindgen(getter_with_clone)]
pub struct Bucket {
    pub name: String,
    pub prefix: String,
    pub region: String,
    /// Of a store other than AWS.
    pub endpoint: Option<String>,
    access: Credentials,
}

#[wasm_bindgen]
impl Bucket {
    #[wasm_bindgen(constructor)]
    pub fn new(name: String, key: String, secret: String, token: Option<String>) -> Self {
        let mut access = Credentials::new(key, secret);
        access.session_token = token;
        Self {
            name,
            prefix: "readings".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: None,
            access,
        }
    }
}

/// An open database of readings.
#[wasm_bindgen]
pub struct Readings {
    db: Db,
    table: Table,
}

#[wasm_bindgen]
impl Readings {
    /// Opens it, and makes the table if it is missing.
    pub async fn open(bucket: &Bucket) -> Result<Readings, JsValue> {
        let mut options = S3Options::new(&bucket.name);
        options.prefix.clone_from(&bucket.prefix);
        options.region.clone_from(&bucket.region);
        options.endpoint.clone_from(&bucket.endpoint);
        options.access = Access::Credentials(bucket.access.clone());
        // In Cloudflare Workers I/O belongs to a request: set `options.concurrency = 0` here, and below
        // `detached_tasks: false`.
        open(options).await.map_err(thrown)
    }

    /// One commit: durable and visible to all when the promise resolves. `times` in milliseconds.
    pub async fn record(
        &self,
        sensor: &str,
        times: Vec<f64>,
        values: Vec<f64>,
    ) -> Result<(), JsValue> {
        let batch = readings(sensor, &times, values).map_err(thrown)?;
        self.table.ingest(&[batch]).await.map_err(thrown)?;
        Ok(())
    }

    /// The mean of a sensor's readings; undefined if there are none. Batch by batch: no matter how many there are.
    pub async fn mean(&self, sensor: &str) -> Result<Option<f64>, JsValue> {
        let (rows, sum) = self.sum(sensor).await.map_err(thrown)?;
        Ok((rows > 0).then(|| sum / rows as f64))
    }

    /// The time of a sensor's newest reading; undefined if there is none.
    pub async fn newest(&self, sensor: &str) -> Result<Option<f64>, JsValue> {
        let scan = self.of(sensor).select(&["at"]).reverse(true).limit(1);
        let found = async { scan.stream()?.collect().await };
        let found = found.await.map_err(thrown)?;
        let newest = found.first().map(|batch| {
            let times = batch.column(0).as_primitive::<TimestampMillisecondType>();
            times.value(0) as f64
        });
        Ok(newest)
    }

    /// Reads what others wrote meanwhile: one request.
    pub async fn refresh(&self) -> Result<bool, JsValue> {
        self.db.refresh().await.map_err(thrown)
    }

    /// Moves rows from log records into Parquet.
    pub async fn flush(&self) -> Result<(), JsValue> {
        self.db.flush().await.map_err(thrown)
    }

    /// Closes it. What was acknowledged is in the bucket already.
    pub async fn close(self) -> Result<(), JsValue> {
        self.db.close().await.map_err(thrown)
    }
}

impl Readings {
    fn of(&self, sensor: &str) -> ScanBuilder {
        let sensor = Value::Text(sensor.to_owned());
        let wanted = Predicate::Compare("sensor".to_owned(), CompareOp::Equal, sensor);
        self.table.scan().filter(wanted)
    }

    async fn sum(&self, sensor: &str) -> Result<(usize, f64), Error> {
        let mut scan = self.of(sensor).select(&["value"]).stream()?;
        let (mut rows, mut sum) = (0, 0.0);
        while let Some(batch) = scan.next().await? {
            let values = batch.column(0).as_primitive::<Float64Type>();
            rows += values.len();
            sum += values.values().iter().sum::<f64>();
        }
        Ok((rows, sum))
    }
}

async fn open(options: S3Options) -> Result<Readings, Error> {
    let env = Env {
        data: s3(options, None)?,
        wal: None,
        runtime: WasmRuntime::new()?,
    };
    let db = Db::open(env, Options::default()).await?;
    let table = db.create_table("readings", schema()?).await?;
    Ok(Readings { db, table })
}

fn schema() -> Result<TableSchema, Error> {
    let at = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let columns = vec![
        Arc::new(Field::new("sensor", DataType::Utf8, false)),
        Arc::new(Field::new("at", at, false)),
        Arc::new(Field::new("value", DataType::Float64, false)),
    ];
    TableSchema::new(columns, &["sensor", "at"])
}

fn readings(sensor: &str, times: &[f64], values: Vec<f64>) -> Result<RecordBatch, Error> {
    let times: TimestampMillisecondArray = times.iter().map(|time| Some(*time as i64)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![sensor; times.len()])),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(Float64Array::from(values)),
    ];
    RecordBatch::try_new(schema()?.user().clone(), columns)
        .map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))
}

/// An `Error` of JavaScript whose `code` says what to do, as `LakeshoreError` of the package does.
fn thrown(error: Error) -> JsValue {
    let made = js_sys::Error::new(error.message());
    let _ = Reflect::set(&made, &"code".into(), &error.kind().name().into());
    made.into()
}
