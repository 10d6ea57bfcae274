//! sstables through the module's public API: what is written is read back, whatever the types, the
//! range and the direction; requests are few; what the log is told is true.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, FieldRef};
use bytes::Bytes;
use lakeshore::{
    ErrorKind, Options,
    data::{
        key::KeyRange,
        predicate::{CompareOp, Predicate, Value},
        rows::{Rows, Stamps, Tombstones},
        schema::TableSchema,
    },
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    platform::memory::Memory,
    sstable::{
        index::{GroupStats, SstableIndex},
        meta::Ulid,
        read::ScanRequest,
        write::SstableWriter,
    },
};
use std::{
    ops::{Bound, Range},
    sync::{Arc, Mutex},
};
use support::{
    random::{Random, seconds, seed},
    sstable::*,
};

fn small_pieces(random: &mut Random) -> Options {
    Options {
        row_group_rows: 1 + random.below(300),
        page_rows: 1 + random.below(60),
        batch_rows: 1 + random.below(200),
        coalesce_gap: *random.pick(&[0, 100, 1 << 20]),
        read_bytes: *random.pick(&[4096, 8 << 20]),
        concurrency: 1 + random.below(4),
        bloom_fpp: *random.pick(&[0.0, 0.01]),
        ..Options::default()
    }
}

fn random_range(random: &mut Random, rows: &Rows) -> KeyRange {
    let mut bound = || {
        let mut key = rows.keys.get(random.below(rows.len())).to_vec();
        if random.chance(0.3) {
            key.push(0);
        }
        if random.chance(0.2) {
            key.pop();
        }
        match random.below(4) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(key),
            _ => Bound::Included(key),
        }
    };
    KeyRange {
        start: bound(),
        end: bound(),
    }
}

#[tokio::test]
async fn what_is_written_is_read_back_whatever_the_types_the_range_and_the_direction() {
    let seed = seed();
    let mut random = Random::new(seed);
    let time = seconds(10);
    let mut rounds = 0;
    while time.left() || rounds < 20 {
        rounds += 1;
        let schema = random_schema(&mut random);
        let versions = random.chance(0.6).then(|| 1 + random.below(40));
        let count = 1 + random.below(400);
        let rows = random_rows(&mut random, &schema, count, versions);
        let options = small_pieces(&mut random);
        let what = format!(
            "SEED={seed} round {rounds} {:?} {options:?}",
            schema.storage()
        );
        let file = File::write(
            &schema,
            &cut(&mut random, &rows),
            &options,
            versions.is_none(),
        )
        .await;
        let reader = file
            .open(versions.is_none().then_some(5))
            .await
            .expect(&what);
        for reverse in [false, true] {
            for range in [KeyRange::all(), random_range(&mut random, &rows)] {
                let wanted = range.rows_of(&rows.keys);
                let wanted = show(&[rows.slice(wanted.start, wanted.len())]);
                let request = ScanRequest {
                    reverse,
                    ..file.request(range.clone())
                };
                let found = show(&everything(&reader, request).await.expect(&what));
                assert!(
                    found == wanted,
                    "{what} reverse {reverse} {range:?}\n{found:#?}\n{wanted:#?}"
                );
            }
        }
        let key = rows.keys.get(random.below(rows.len()));
        let columns: Vec<usize> = (0..schema.storage().fields().len()).collect();
        let found = reader.get(key, &columns).await.expect(&what).expect(&what);
        let wanted = KeyRange::only(key.to_vec()).rows_of(&rows.keys);
        let wanted = show(&[rows.slice(wanted.start, wanted.len())]);
        assert_eq!(show(&[found]), wanted, "{what}");
    }
    println!("{rounds} rounds, SEED={seed}");
}

#[tokio::test]
async fn a_scan_gives_the_columns_asked_for_in_that_order() {
    let file = File::write(&kv_schema(), &[kv_rows(0..100)], &Options::default(), true).await;
    let reader = file.open(Some(1)).await.unwrap();
    for columns in [vec![], vec![3, 1], vec![0], vec![2, 0, 2]] {
        let request = ScanRequest {
            columns: columns.clone(),
            ..file.request(KeyRange::all())
        };
        let all = everything(&reader, request).await.unwrap();
        let wanted = kv_batch(0..100).project(&columns).unwrap();
        assert_eq!(all[0].batch, wanted);
        assert_eq!(all[0].keys.get(99), kv_key(99));
        let got = reader.get(&kv_key(7), &columns).await.unwrap().unwrap();
        assert_eq!(got.batch, wanted.slice(7, 1));
    }
}

#[tokio::test]
async fn what_the_log_is_told_is_true() {
    let seed = seed();
    let mut random = Random::new(seed);
    for _ in 0..50 {
        let schema = random_schema(&mut random);
        let versions = random.chance(0.5).then(|| 1 + random.below(4));
        let rows = random_rows(&mut random, &schema, 200, versions);
        let file = File::write(
            &schema,
            std::slice::from_ref(&rows),
            &small_pieces(&mut random),
            versions.is_none(),
        )
        .await;
        let meta = &file.meta;
        let keys: Vec<&[u8]> = (0..rows.len()).map(|i| rows.keys.get(i)).collect();
        assert_eq!(meta.rows as usize, rows.len());
        assert_eq!(meta.tombstones as usize, rows.tombstones.count(rows.len()));
        assert_eq!(
            (meta.min_key.as_slice(), meta.max_key.as_slice()),
            (keys[0], keys[keys.len() - 1])
        );
        assert_eq!(meta.multi_version, keys.windows(2).any(|w| w[0] == w[1]));
        let stamps = (0..rows.len()).map(|i| rows.stamps.get(i));
        let range = stamps.clone().min().zip(stamps.max());
        assert_eq!(meta.stamps, versions.and(range));
        let (bytes, size) = file
            .store
            .get_suffix(&file.object(), meta.footer_bytes)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (size, crc32c::crc32c(&bytes)),
            (meta.bytes, meta.footer_crc)
        );
        for stats in &meta.columns {
            let index = schema
                .column_ids()
                .iter()
                .position(|id| *id == stats.column_id)
                .unwrap();
            check_stats(&rows, index, stats, seed);
        }
    }
}

fn check_stats(
    rows: &Rows,
    index: usize,
    stats: &lakeshore::sstable::meta::ColumnStats,
    seed: u64,
) {
    let column = rows.batch.column(index);
    let (mut nulls, mut nans) = (0, 0);
    for row in (0..rows.len()).filter(|r| !rows.tombstones.get(*r)) {
        let Some(value) = lakeshore::data::key::encode_value(column, row).unwrap() else {
            nulls += 1;
            continue;
        };
        let float = matches!(
            column.data_type(),
            DataType::Float16 | DataType::Float32 | DataType::Float64
        );
        if float && value.iter().all(|b| *b == 0xFF) {
            nans += 1;
            continue;
        }
        let (min, max) = (stats.min.as_ref().unwrap(), stats.max.as_ref().unwrap());
        assert!(
            min <= &value && &value <= max,
            "SEED={seed} {:?} {stats:?}",
            column.data_type()
        );
        assert!(min.len() <= 64 && max.len() <= 64);
    }
    assert_eq!(
        (stats.nulls, stats.nans),
        (nulls, nans),
        "SEED={seed} {:?}",
        column.data_type()
    );
}

#[tokio::test]
async fn long_bounds_are_shortened_down_and_up() {
    let schema = schema_of(
        &[("id", DataType::Int64), ("text", DataType::Binary)],
        &["id"],
    );
    let low = [7u8; 100];
    let mut high = [9u8; 100];
    high[60..].fill(0xFF);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(arrow_array::BinaryArray::from_vec(vec![&low, &high])),
    ];
    let batch = RecordBatch::try_new(schema.storage().clone(), columns).unwrap();
    let rows = rows_of(&schema, batch, Stamps::All(1), Tombstones::None);
    let file = File::write(&schema, &[rows], &Options::default(), true).await;
    let stats = &file.meta.columns[1];
    assert_eq!(stats.min.as_deref(), Some(&low[..64]));
    let mut rounded = vec![9u8; 60];
    rounded[59] = 10;
    assert_eq!(stats.max, Some(rounded));
}

#[tokio::test]
async fn rows_out_of_order_are_refused_and_nothing_appears() {
    let options = Options::default();
    let schema = kv_schema();
    let cases: [(Vec<Rows>, bool); 4] = [
        (vec![kv_rows(5..9), kv_rows(0..4)], true),
        (vec![kv_rows(0..4), kv_rows(3..9)], true),
        (
            vec![with_stamp(&kv_rows(3..4), 1), with_stamp(&kv_rows(3..4), 1)],
            false,
        ),
        (
            vec![with_stamp(&kv_rows(3..4), 1), with_stamp(&kv_rows(3..4), 2)],
            false,
        ),
    ];
    for (batches, fresh) in cases {
        let error = File::try_write(&schema, &batches, &options, fresh)
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
    let newest_first = vec![with_stamp(&kv_rows(3..4), 2), with_stamp(&kv_rows(3..4), 1)];
    let file = File::write(&schema, &newest_first, &options, false).await;
    assert!(file.meta.multi_version);
    let empty = File::try_write(&schema, &[], &options, false)
        .await
        .err()
        .unwrap();
    assert_eq!(empty.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn requests_are_few() {
    let batches: Vec<Rows> = (0..20)
        .map(|i| kv_rows(i * 20_000..(i + 1) * 20_000))
        .collect();
    let options = Options {
        sstable_bytes: 1 << 30,
        ..Options::default()
    };
    let file = File::write(&kv_schema(), &batches, &options, true).await;
    let count = || file.store.counters().get;
    assert_eq!(file.store.counters().put, 1);
    let reader = file.open(Some(1)).await.unwrap();
    assert_eq!(count(), 1, "opening is one suffix GET");

    for (i, key) in [0, 1, 77_777, 200_000, 399_999].into_iter().enumerate() {
        let found = reader
            .get(&kv_key(key), &[0, 1, 2, 3])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.batch, kv_batch(key..key + 1));
        assert_eq!(count(), 2 + i as u64, "a point read is one ranged GET");
    }
    let outside = reader.get(b"a", &[0]).await.unwrap();
    assert!(outside.is_none());
    assert_eq!(count(), 6, "a key outside of the file costs nothing");

    // The filter is too large for the footer: read once, after the first miss.
    let mut absent = kv_key(1000);
    absent.push(b'x');
    for gets in [7, 8, 8, 8] {
        assert!(reader.get(&absent, &[0]).await.unwrap().is_none());
        assert_eq!(count(), gets);
    }

    for reverse in [false, true] {
        let before = count();
        let request = ScanRequest {
            reverse,
            ..file.request(KeyRange::all())
        };
        let all = everything(&reader, request).await.unwrap();
        assert_eq!(all.iter().map(Rows::len).sum::<usize>(), 400_000);
        assert_eq!(
            count() - before,
            file.meta.bytes.div_ceil(8 << 20),
            "8 MiB a read"
        );
    }
    let before = file.store.counters();
    let range = KeyRange {
        start: Bound::Included(kv_key(200_000)),
        end: Bound::Excluded(kv_key(200_100)),
    };
    let found = everything(&reader, file.request(range)).await.unwrap();
    assert_eq!(
        show(&found),
        show(&[with_stamp(&kv_rows(200_000..200_100), 1)])
    );
    let after = file.store.counters();
    assert!(after.get - before.get <= 2 && after.bytes_out - before.bytes_out < 3 << 20);
}

#[tokio::test]
async fn a_small_file_brings_its_filter_with_the_footer() {
    let file = File::write(&kv_schema(), &[kv_rows(0..1000)], &Options::default(), true).await;
    assert!(file.meta.bytes <= 60 * 1024, "{} bytes", file.meta.bytes);
    let reader = file.open(Some(1)).await.unwrap();
    let misses = (0..999u64).filter(|i| {
        let mut absent = kv_key(*i);
        absent.push(b'x');
        let found = futures_util::FutureExt::now_or_never(reader.get(&absent, &[0]));
        assert!(found.unwrap().unwrap().is_none());
        true
    });
    assert_eq!(misses.count(), 999);
    let gets = file.store.counters().get - 1;
    assert!(
        gets < 40,
        "{gets} of 999 absent keys passed a filter of 1 %"
    );
}

#[tokio::test]
async fn row_groups_that_cannot_match_are_not_read() {
    let schema = kv_schema();
    let options = Options {
        row_group_rows: 1000,
        coalesce_gap: 0,
        ..Options::default()
    };
    let rows = kv_rows(0..20_000);
    // A column that rises with the key.
    let mut columns = rows.batch.columns().to_vec();
    columns[1] = Arc::new(Int64Array::from_iter_values(0..20_000));
    let batch = RecordBatch::try_new(schema.storage().clone(), columns).unwrap();
    let rows = rows_of(&schema, batch, Stamps::All(1), Tombstones::None);
    let file = File::write(&schema, &[rows], &options, true).await;
    let reader = file.open(Some(1)).await.unwrap();
    let filter = Predicate::Compare("number".into(), CompareOp::Equal, Value::Int(7_500));
    let prune = Some(filter.bind(&schema).unwrap());
    let before = file.store.counters();
    let request = ScanRequest {
        prune,
        ..file.request(KeyRange::all())
    };
    let found = everything(&reader, request).await.unwrap();
    let rows: usize = found.iter().map(Rows::len).sum();
    assert!((1..=1000).contains(&rows), "{rows} rows");
    assert!(file.store.counters().bytes_out - before.bytes_out < file.meta.bytes / 10);
}

#[tokio::test]
async fn a_value_filter_does_not_bring_back_old_versions() {
    let schema = kv_schema();
    let options = Options {
        row_group_rows: 1,
        ..Options::default()
    };
    let version = |number: i64, ts: i64| {
        let mut columns = kv_batch(0..1).columns().to_vec();
        columns[1] = Arc::new(Int64Array::from(vec![number]));
        let batch = RecordBatch::try_new(schema.storage().clone(), columns).unwrap();
        rows_of(&schema, batch, Stamps::All(ts), Tombstones::None)
    };
    let file = File::write(&schema, &[version(1, 20), version(2, 10)], &options, false).await;
    let filter = Predicate::Compare("number".into(), CompareOp::Equal, Value::Int(2));
    let prune = Some(filter.bind(&schema).unwrap());
    let reader = file.open(None).await.unwrap();
    let request = ScanRequest {
        prune,
        ..file.request(KeyRange::all())
    };
    let found = everything(&reader, request).await.unwrap();
    assert_eq!(
        found[0].stamps.get(0),
        20,
        "the newest version was left out"
    );
}

#[tokio::test]
async fn an_old_file_is_read_through_a_new_schema() {
    let field = |name: &str, data_type: DataType, nullable| -> FieldRef {
        Arc::new(Field::new(name, data_type, nullable))
    };
    let old = schema_of(
        &[
            ("id", DataType::Int64),
            ("n", DataType::Int32),
            ("gone", DataType::Utf8),
        ],
        &["id"],
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(Int32Array::from(vec![Some(-5), None])),
        Arc::new(StringArray::from(vec!["x", "y"])),
    ];
    let batch = RecordBatch::try_new(old.storage().clone(), columns).unwrap();
    let rows = rows_of(&old, batch, Stamps::All(1), Tombstones::None);
    let file = File::write(&old, &[rows], &Options::default(), true).await;
    // "n" widened and renamed, "gone" dropped, another "gone" of another id added, the key moved.
    let fields = vec![
        field("gone", DataType::Float64, true),
        field("number", DataType::Int64, true),
        field("id", DataType::Int64, false),
    ];
    let new = TableSchema::from_parts(fields, vec![4, 2, 1], vec![2], 5).unwrap();
    let new = Arc::new(new);
    let reader = file.open_as(&new, Some(1)).await.unwrap();
    let wanted: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from(vec![None, None])),
        Arc::new(Int64Array::from(vec![Some(-5), None])),
        Arc::new(Int64Array::from(vec![1, 2])),
    ];
    let wanted = RecordBatch::try_new(new.storage().clone(), wanted).unwrap();
    let found = everything(&reader, request(&new, KeyRange::all(), 10))
        .await
        .unwrap();
    assert_eq!(found[0].batch, wanted);
    let got = reader
        .get(found[0].keys.get(1), &[0, 1, 2])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got.batch, wanted.slice(1, 1));
    // The bounds of the narrow type do not compare with those of the wide one.
    for (value, rows) in [(-5, 2), (3, 2)] {
        let filter = Predicate::Compare("number".into(), CompareOp::Equal, Value::Int(value));
        let prune = Some(filter.bind(&new).unwrap());
        let all = ScanRequest {
            prune,
            ..request(&new, KeyRange::all(), 10)
        };
        let found = everything(&reader, all).await.unwrap();
        assert_eq!(found.iter().map(Rows::len).sum::<usize>(), rows);
    }
}

#[tokio::test]
async fn wide_rows_come_in_small_batches() {
    let schema = schema_of(
        &[("id", DataType::Int64), ("text", DataType::Utf8)],
        &["id"],
    );
    let options = Options {
        batch_bytes: 1 << 20,
        ..Options::default()
    };
    let wide = "w".repeat(100_000);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..200)),
        Arc::new(StringArray::from_iter_values(
            (0..200).map(|i| format!("{i}{wide}")),
        )),
    ];
    let batch = RecordBatch::try_new(schema.storage().clone(), columns).unwrap();
    let rows = rows_of(&schema, batch, Stamps::All(1), Tombstones::None);
    let file = File::write(&schema, &[rows], &options, true).await;
    let reader = file.open(Some(1)).await.unwrap();
    for reverse in [false, true] {
        let request = ScanRequest {
            reverse,
            ..file.request(KeyRange::all())
        };
        let found = everything(&reader, request).await.unwrap();
        assert_eq!(found.iter().map(Rows::len).sum::<usize>(), 200);
        assert!(found.iter().all(|r| r.shown_bytes() <= 1 << 20));
    }
}

/// A store that notes how large the pieces of an object are.
#[derive(Debug)]
struct Pieces {
    inner: Arc<Memory>,
    sizes: Arc<Mutex<Vec<usize>>>,
}

struct PieceWriter {
    inner: Box<dyn ObjectWriter>,
    sizes: Arc<Mutex<Vec<usize>>>,
}

impl ObjectWriter for PieceWriter {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, lakeshore::Result<()>> {
        self.sizes.lock().unwrap().push(chunk.len());
        self.inner.write(chunk)
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, lakeshore::Result<()>> {
        self.inner.finish()
    }
}

type Reply<'a, T> = BoxFuture<'a, lakeshore::Result<T>>;

impl Storage for Pieces {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>> {
        self.inner.get(key)
    }
    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> Reply<'a, Option<Bytes>> {
        self.inner.get_range(key, range)
    }
    fn get_suffix<'a>(&'a self, key: &'a str, n: u64) -> Reply<'a, Option<(Bytes, u64)>> {
        self.inner.get_suffix(key, n)
    }
    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> Reply<'a, ()> {
        self.inner.put(key, body)
    }
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> Reply<'a, PutOutcome> {
        self.inner.put_if_absent(key, body)
    }
    fn create<'a>(&'a self, key: &'a str) -> Reply<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let inner = self.inner.create(key).await?;
            let sizes = self.sizes.clone();
            Ok(Box::new(PieceWriter { inner, sizes }) as Box<dyn ObjectWriter>)
        })
    }
    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Reply<'a, Vec<ObjectMeta>> {
        self.inner.list(prefix, after)
    }
    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, ()> {
        self.inner.delete(key)
    }
    fn append<'a>(&'a self, key: &'a str) -> Reply<'a, Box<dyn AppendFile>> {
        self.inner.append(key)
    }
    fn lock<'a>(&'a self, name: &'a str) -> Reply<'a, Box<dyn LockGuard>> {
        self.inner.lock(name)
    }
}

#[tokio::test]
async fn finished_row_groups_leave_memory_at_once() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let storage: Arc<dyn Storage> = Arc::new(Pieces {
        inner: Memory::new(),
        sizes: sizes.clone(),
    });
    let options = Options::default();
    let id = Ulid([1; 16]);
    let mut writer = SstableWriter::create(&storage, TABLE, id, kv_schema(), &options, true)
        .await
        .unwrap();
    for i in 0..20 {
        writer
            .write(&kv_rows(i * 10_000..(i + 1) * 10_000))
            .await
            .unwrap();
        let written: usize = sizes.lock().unwrap().iter().sum();
        let held = writer.estimated_bytes() - written;
        assert!(held < 2 << 20, "{held} bytes held after {i} batches");
    }
    let estimate = writer.estimated_bytes();
    let meta = writer.finish().await.unwrap();
    let sizes = sizes.lock().unwrap();
    assert_eq!(sizes.iter().sum::<usize>() as u64, meta.bytes);
    assert!(
        sizes.len() > 5 && sizes.iter().all(|s| *s < 2 << 20),
        "{sizes:?}"
    );
    // Good enough to split by.
    let wrong = estimate.abs_diff(meta.bytes as usize);
    assert!(
        wrong < meta.bytes as usize / 10,
        "{estimate} against {}",
        meta.bytes
    );
}

#[test]
fn a_hostile_index_is_corrupt_or_harmless() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut index = SstableIndex::new(2);
    let pages: [&[u8]; 3] = [b"PAR1", b"page one", b"page two"];
    pages.iter().for_each(|page| index.push_region(page));
    for group in 0..3u8 {
        index.push_block(Some(&[group, 9]), &[group + 1, 0, 7]);
        index.push_block(Some(&[group + 1, 1]), &[group + 1, 5, 7]);
        index.end_group(3, GroupStats::default());
    }
    let good = index.encode();
    assert_eq!(SstableIndex::decode("x", 0, &good).unwrap(), index);
    assert!(index.check("x", 4, b"page onepage two").is_ok());
    let time = seconds(1);
    while time.left() {
        let mut bad = good.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bad.len());
            bad[at] = *random.pick(&[0, 1, 0x7F, 0x80, 0xFF]);
        }
        if random.chance(0.3) {
            bad.truncate(random.below(bad.len()));
        }
        match SstableIndex::decode("x", 100, &bad) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "SEED={seed}"),
            Ok(index) => {
                let _ = index.check("x", 4, b"page onepage two");
                let _ = index.check("x", 5, b"");
                index.select(&KeyRange::only(vec![2, 3]), random.chance(0.5));
            }
        }
    }
}
