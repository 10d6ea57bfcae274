//! Tables, rows and files for the tests of sstables.

use super::{arrays, random::Random};
use arrow_array::*;
use arrow_schema::{DataType, Field, FieldRef};
use arrow_select::take::take_record_batch;
use lakeshore::{
    Options, Result,
    data::{
        bound::Bound,
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

pub fn schema_of(columns: &[(&str, DataType)], key: &[&str]) -> Arc<TableSchema> {
    let field = |(name, data_type): &(&str, DataType)| -> FieldRef {
        Arc::new(Field::new(*name, data_type.clone(), !key.contains(name)))
    };
    Arc::new(TableSchema::new(columns.iter().map(field).collect(), key).unwrap())
}

/// `key utf8 → number int64, ratio float64, text utf8`
pub fn kv_schema() -> Arc<TableSchema> {
    use DataType::*;
    schema_of(
        &[
            ("key", Utf8),
            ("number", Int64),
            ("ratio", Float64),
            ("text", Utf8),
        ],
        &["key"],
    )
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

/// A random table.
pub fn random_schema(random: &mut Random) -> Arc<TableSchema> {
    let columns = 1 + random.below(7);
    let keys = 1 + random.below(columns.min(3));
    let mut fields: Vec<FieldRef> = Vec::new();
    for i in 0..columns {
        let data_type = match i < keys {
            true => arrays::key_type(random),
            false => arrays::any_type(random, 2),
        };
        fields.push(Arc::new(Field::new(format!("c{i}"), data_type, i >= keys)));
    }
    // The key columns are neither first nor in order.
    let mut names: Vec<String> = (0..keys).map(|i| format!("c{i}")).collect();
    if random.chance(0.5) {
        names.reverse();
        fields.reverse();
    }
    Arc::new(TableSchema::new(fields, &names).unwrap())
}

/// Up to `count` sorted rows of a random table; `versions`: up to so many of each key, or one.
pub fn random_rows(
    random: &mut Random,
    schema: &TableSchema,
    count: usize,
    versions: Option<usize>,
) -> Rows {
    let fields = schema.storage().fields().iter();
    let columns: Vec<ArrayRef> = fields
        .map(|f| arrays::array(random, f.data_type(), count, f.is_nullable()))
        .collect();
    let batch = RecordBatch::try_new(schema.storage().clone(), columns).unwrap();
    let whole = rows_of(schema, batch, Stamps::All(0), Tombstones::None);
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_by_key(|row| whole.keys.get(*row as usize).to_vec());
    order.dedup_by_key(|row| whole.keys.get(*row as usize).to_vec());
    let mut stamps = Vec::new();
    if let Some(most) = versions {
        let repeat = |row: u32| {
            let n = 1 + random.below(most);
            let mut ts = 1_000_000 - random.below(100) as i64;
            for _ in 0..n {
                stamps.push(ts);
                ts -= 1 + random.below(100) as i64;
            }
            std::iter::repeat_n(row, n)
        };
        order = order.into_iter().flat_map(repeat).collect();
    }
    let batch = take_record_batch(&whole.batch, &UInt32Array::from(order)).unwrap();
    let rows = batch.num_rows();
    let (stamps, tombstones) = match versions {
        None => (Stamps::All(5), Tombstones::None),
        Some(_) => {
            let dead = (0..rows).map(|_| random.chance(0.2)).collect();
            (Stamps::Each(stamps.into()), Tombstones::from_bits(dead))
        }
    };
    rows_of(schema, batch, stamps, tombstones)
}

/// Cuts rows into batches of random lengths.
pub fn cut(random: &mut Random, rows: &Rows) -> Vec<Rows> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < rows.len() {
        let n = (1 + random.below(rows.len())).min(rows.len() - at);
        out.push(rows.slice(at, n));
        at += n;
    }
    out
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
        self.open_as(&self.schema, inherited).await
    }

    pub async fn open_as(
        &self,
        schema: &Arc<TableSchema>,
        inherited: Option<i64>,
    ) -> Result<SstableReader> {
        SstableReader::open(
            self.store.clone(),
            TABLE,
            self.meta.clone(),
            schema.clone(),
            inherited,
            &self.options,
        )
        .await
    }

    /// All columns, forward.
    pub fn request(&self, range: KeyRange) -> ScanRequest {
        let mut request = request(&self.schema, range, self.options.batch_rows);
        request.bound = Bound::new(self.options.batch_rows, self.options.batch_bytes);
        request
    }
}

/// All columns, forward.
pub fn request(schema: &TableSchema, range: KeyRange, batch_rows: usize) -> ScanRequest {
    ScanRequest {
        columns: (0..schema.storage().fields().len()).collect(),
        range,
        prune: None,
        reverse: false,
        bound: Bound::new(batch_rows, Options::default().batch_bytes),
        as_of: None,
        first_rows: None,
        read_bytes: u64::MAX,
    }
}

/// All batches, in ascending order whichever way they came; checks what every scan promises.
pub async fn everything(reader: &SstableReader, request: ScanRequest) -> Result<Vec<Rows>> {
    let (most, reverse) = (request.bound.rows, request.reverse);
    let one_version = request.as_of.is_some() || !reader.meta().multi_version;
    let mut scan = reader.scan(request);
    let mut all: Vec<Rows> = Vec::new();
    while let Some(rows) = scan.next().await? {
        assert!(!rows.is_empty());
        assert!(rows.len() <= most);
        if let (Some(before), true) = (all.last(), reverse) {
            let (last, first) = (rows.keys.get(rows.len() - 1), before.keys.get(0));
            assert!(last < first || (!one_version && last == first));
        }
        all.push(rows);
    }
    if reverse {
        all.reverse();
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
            let columns = rows.batch.columns().iter().filter(|_| !dead);
            let values: Vec<String> = columns.map(|c| arrays::value(c, row)).collect();
            let (key, ts) = (rows.keys.get(row), rows.stamps.get(row));
            out.push(format!("{key:?} @{ts} dead {dead}: {}", values.join(" ")));
        }
    }
    out
}
