//! Tables, rows and files for the tests of sstables.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use arrow_array::*;
use arrow_schema::{DataType, Field};
use lakeshore::{
    Options, Result,
    data::{
        key::{KeyRange, encode_keys},
        rows::{Rows, Stamps, Tombstones},
        schema::TableSchema,
    },
    env::Storage,
    platform::memory::Memory,
    sstable::{
        meta::{SstableMeta, Ulid, object_key},
        read::{ScanRequest, SstableReader},
        write::SstableWriter,
    },
};
use std::{ops::Range, sync::Arc};

pub const TABLE: u32 = 3;

/// `key utf8 → number int64, ratio float64, text utf8`
pub fn kv_schema() -> Arc<TableSchema> {
    let fields = vec![
        Arc::new(Field::new("key", DataType::Utf8, false)),
        Arc::new(Field::new("number", DataType::Int64, true)),
        Arc::new(Field::new("ratio", DataType::Float64, true)),
        Arc::new(Field::new("text", DataType::Utf8, true)),
    ];
    Arc::new(TableSchema::new(fields, &["key"]).unwrap())
}

pub fn kv_key(i: u64) -> Vec<u8> {
    format!("key-{i:012}").into_bytes()
}

pub fn kv_batch(range: Range<u64>) -> RecordBatch {
    let mix = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (i << 7);
    let key = StringArray::from_iter_values(range.clone().map(|i| format!("key-{i:012}")));
    let number = Int64Array::from_iter_values(range.clone().map(|i| mix(i) as i64));
    let ratio = Float64Array::from_iter_values(range.clone().map(|i| mix(i) as f64 / 7.0));
    let text =
        StringArray::from_iter_values(range.map(|i| format!("{:016x}{:016x}", mix(i), mix(i + 1))));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(key),
        Arc::new(number),
        Arc::new(ratio),
        Arc::new(text),
    ];
    RecordBatch::try_new(kv_schema().storage().clone(), columns).unwrap()
}

/// Rows `range` of the table of [`kv_schema`], one version each.
pub fn kv_rows(range: Range<u64>) -> Rows {
    rows_of(
        &kv_schema(),
        kv_batch(range),
        Stamps::All(0),
        Tombstones::None,
    )
}

pub fn rows_of(
    schema: &TableSchema,
    batch: RecordBatch,
    stamps: Stamps,
    tombstones: Tombstones,
) -> Rows {
    let key: Vec<ArrayRef> = schema
        .key()
        .iter()
        .map(|&c| batch.column(c).clone())
        .collect();
    Rows {
        keys: encode_keys(&key).unwrap(),
        batch,
        stamps,
        tombstones,
    }
}

pub fn with_stamp(rows: &Rows, ts: i64) -> Rows {
    Rows {
        stamps: Stamps::All(ts),
        ..rows.clone()
    }
}

/// A written sstable and its store.
pub struct File {
    pub store: Arc<Memory>,
    pub schema: Arc<TableSchema>,
    pub meta: Arc<SstableMeta>,
    pub options: Options,
}

impl File {
    pub async fn write(
        schema: &Arc<TableSchema>,
        batches: &[Rows],
        options: &Options,
        fresh: bool,
    ) -> Self {
        Self::try_write(schema, batches, options, fresh)
            .await
            .unwrap()
    }

    pub async fn try_write(
        schema: &Arc<TableSchema>,
        batches: &[Rows],
        options: &Options,
        fresh: bool,
    ) -> Result<Self> {
        let store = Memory::new();
        let storage: Arc<dyn Storage> = store.clone();
        let id = Ulid([7; 16]);
        let mut writer =
            SstableWriter::create(&storage, TABLE, id, schema.clone(), options, fresh).await?;
        for rows in batches {
            writer.write(rows).await?;
        }
        let meta = Arc::new(writer.finish().await?);
        Ok(Self {
            store,
            schema: schema.clone(),
            meta,
            options: options.clone(),
        })
    }

    pub fn object(&self) -> String {
        object_key(TABLE, self.meta.id)
    }

    pub async fn open(&self, inherited: Option<i64>) -> Result<SstableReader> {
        SstableReader::open(
            self.store.clone(),
            TABLE,
            self.meta.clone(),
            self.schema.clone(),
            inherited,
            &self.options,
        )
        .await
    }

    /// All columns, forward.
    pub fn request(&self, range: KeyRange) -> ScanRequest {
        ScanRequest {
            columns: (0..self.schema.storage().fields().len()).collect(),
            range,
            prune: None,
            reverse: false,
            batch_rows: self.options.batch_rows,
            as_of: None,
        }
    }
}

pub async fn everything(reader: &SstableReader, request: ScanRequest) -> Result<Vec<Rows>> {
    let most = request.batch_rows;
    let whole_keys = request.reverse;
    let mut scan = reader.scan(request);
    let mut all = Vec::new();
    while let Some(rows) = scan.next().await? {
        assert!(!rows.is_empty());
        assert!(whole_keys || rows.len() <= most);
        all.push(rows);
    }
    Ok(all)
}

/// Every row in words, in order.
pub fn show(batches: &[Rows]) -> Vec<String> {
    let mut out = Vec::new();
    for rows in batches {
        assert_eq!(rows.batch.num_rows(), rows.keys.len());
        for row in 0..rows.len() {
            let dead = rows.tombstones.get(row);
            let values: Vec<String> = match dead {
                true => Vec::new(),
                false => (rows.batch.columns().iter())
                    .map(|c| format!("{:?}", c.slice(row, 1)))
                    .collect(),
            };
            let (key, ts) = (rows.keys.get(row), rows.stamps.get(row));
            out.push(format!("{key:?} @{ts} {dead} {}", values.join(" ")));
        }
    }
    out
}
