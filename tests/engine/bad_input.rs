//! Bad input through the public door: a typed error that names the field and the remedy, nothing
//! changed, no panic; twice, and then the same handle goes on and the database opens again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use arrow_array::{ArrayRef, Int32Array, Int64Array, NullArray, RecordBatch, StringArray};
use arrow_ipc as ipc;
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use lakeshore::{
    Committed, Db, Error, ErrorKind, Options, Result, Table,
    data::{
        intake::write_ipc,
        predicate::{CompareOp, Predicate, Value},
        schema::TableSchema,
    },
    platform::native,
};
use std::{collections::BTreeMap, ops::Bound, path::Path, sync::Arc};
use support::{
    engine::{self, Model},
    random::{Random, seconds, seed},
};

/// All files below a directory.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(root) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            // The socket by which a WAL is held has no bytes.
            false if !path.is_file() => {}
            false => {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

struct World {
    directory: tempfile::TempDir,
    db: Db,
    table: Table,
}

async fn open(directory: &Path, options: Options) -> Result<Db> {
    let env = native::env(directory.join("data"), Some(&directory.join("wal")))?;
    Db::open(env, options).await
}

impl World {
    /// Rows in an sstable, and rows in the WAL.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = open(directory.path(), Options::default()).await.unwrap();
        let table = engine::table(&db, "t").await;
        table
            .ingest(&[engine::batch(&engine::rows(0, 50, 1))])
            .await
            .unwrap();
        db.flush().await.unwrap();
        table
            .ingest(&[engine::batch(&engine::rows(40, 60, 2))])
            .await
            .unwrap();
        Self {
            directory,
            db,
            table,
        }
    }

    async fn state(&self) -> (Model, BTreeMap<String, Vec<u8>>, [u64; 6]) {
        let content = engine::content(&self.table).await.unwrap();
        let stats = self.db.stats();
        let numbers = [
            stats.head,
            stats.commits,
            stats.rows_committed,
            stats.backlog_rows,
            stats.memtable_bytes,
            stats.wal_bytes,
        ];
        (content, files(self.directory.path()), numbers)
    }

    /// Runs a bad call twice.
    async fn refused<T: std::fmt::Debug>(
        &self,
        what: &str,
        kind: ErrorKind,
        words: &[&str],
        call: impl AsyncFn() -> Result<T>,
    ) {
        let before = self.state().await;
        for time in 1..=2 {
            let error = match call().await {
                Ok(done) => panic!("{what}, time {time}: taken ({done:?})"),
                Err(error) => error,
            };
            check(what, &error, kind, words);
            assert!(
                before == self.state().await,
                "{what}, time {time}: something changed"
            );
        }
    }

    /// After all that the handle takes good rows, and the database opens again with them.
    async fn goes_on(self) {
        let mut expected = engine::content(&self.table).await.unwrap();
        let rows = engine::rows(55, 70, 3);
        self.table.ingest(&[engine::batch(&rows)]).await.unwrap();
        expected.extend(rows);
        assert_eq!(engine::content(&self.table).await.unwrap(), expected);
        self.db.close().await.unwrap();
        let db = open(self.directory.path(), Options::default())
            .await
            .unwrap();
        let table = db.table("t").unwrap();
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        db.close().await.unwrap();
    }
}

fn check(what: &str, error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{what}: {error}");
    for word in words {
        assert!(
            error.message().contains(word),
            "{what}: {word:?} is not in: {error}"
        );
    }
    assert!(
        error.message().len() < 600,
        "{what}: a message of {} bytes",
        error.message().len()
    );
}

fn good() -> Vec<u8> {
    let batch = engine::batch(&engine::rows(100, 110, 9));
    write_ipc(&batch.schema(), &[batch]).unwrap()
}

/// A stream with the table's schema and one batch whose header says what it likes.
fn by_hand(length: i64, body: i64, codec: Option<ipc::CompressionType>) -> Vec<u8> {
    let mut fbb = flatbuffers::FlatBufferBuilder::new();
    let compression = codec.map(|codec| {
        let args = ipc::BodyCompressionArgs {
            codec,
            ..Default::default()
        };
        ipc::BodyCompression::create(&mut fbb, &args)
    });
    let nodes = fbb.create_vector::<ipc::FieldNode>(&[ipc::FieldNode::new(length, 0); 3]);
    let buffers = fbb.create_vector::<ipc::Buffer>(&[ipc::Buffer::new(0, body); 7]);
    let batch = ipc::RecordBatch::create(
        &mut fbb,
        &ipc::RecordBatchArgs {
            length,
            nodes: Some(nodes),
            buffers: Some(buffers),
            compression,
            variadicBufferCounts: None,
        },
    );
    let message = ipc::Message::create(
        &mut fbb,
        &ipc::MessageArgs {
            version: ipc::MetadataVersion::V5,
            header_type: ipc::MessageHeader::RecordBatch,
            header: Some(batch.as_union_value()),
            bodyLength: body,
            custom_metadata: None,
        },
    );
    fbb.finish(message, None);
    let mut bytes = write_ipc(engine::schema().user(), &[]).unwrap();
    bytes.truncate(bytes.len() - 8);
    bytes.extend([0xFF; 4]);
    bytes.extend((fbb.finished_data().len() as u32).to_le_bytes());
    bytes.extend(fbb.finished_data());
    bytes
}

/// The stream with the bytes `from`, which occur once at least, replaced by `to`.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes
        .windows(from.len())
        .position(|w| w == from)
        .expect("the pattern occurs");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

fn words_of(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[tokio::test]
async fn hostile_ipc_changes_nothing() {
    use ErrorKind::{Invalid, Unsupported};
    let world = World::new().await;
    let good = good();
    // Names have 12 bytes each: their offsets.
    let offsets = words_of(&[0, 12, 24, 36]);
    let mut cases: Vec<(&str, Vec<u8>, ErrorKind, &[&str])> = vec![
        ("no bytes", vec![], Invalid, &["Arrow IPC", "no bytes"]),
        (
            "JSON",
            b"[{\"id\": 1}]".to_vec(),
            Invalid,
            &["JSON", "Arrow library"],
        ),
        (
            "Parquet",
            b"PAR1....PAR1".to_vec(),
            Invalid,
            &["Parquet", "Arrow library"],
        ),
        (
            "noise",
            (0..200u32).map(|i| (i * 37 % 251) as u8).collect(),
            Invalid,
            &["byte"],
        ),
        (
            "offsets past the buffer",
            patched(
                good.clone(),
                &offsets,
                &words_of(&[0, 12, 1 << 30, 1 << 30]),
            ),
            Invalid,
            &["name"],
        ),
        (
            "offsets that descend",
            patched(good.clone(), &offsets, &words_of(&[0, 24, 12, 36])),
            Invalid,
            &["name"],
        ),
        (
            "offsets below zero",
            patched(good.clone(), &offsets, &words_of(&[0, -12, 24, 36])),
            Invalid,
            &["name"],
        ),
        (
            "10^9 rows",
            by_hand(1_000_000_000, 0, None),
            Invalid,
            &["1000000000 rows", "most"],
        ),
        (
            "10^8 rows without bytes",
            by_hand(100_000_000, 0, None),
            Invalid,
            &["id"],
        ),
        (
            "fewer than no rows",
            by_hand(-1, 0, None),
            Invalid,
            &["negative", "again"],
        ),
        (
            "a body beyond the end",
            by_hand(1, 1 << 40, None),
            Invalid,
            &["cut off", "again"],
        ),
        (
            "a body of less than nothing",
            by_hand(1, -8, None),
            Invalid,
            &["byte", "again"],
        ),
        (
            "zstd",
            by_hand(1, 0, Some(ipc::CompressionType::ZSTD)),
            Unsupported,
            &["zstd", "lz4"],
        ),
    ];
    for cut in [1, 5, 100, good.len() / 2, good.len() - 60] {
        cases.push((
            "truncated",
            good[..cut].to_vec(),
            Invalid,
            &["byte", "again whole"],
        ));
    }
    for (what, bytes, kind, words) in cases {
        let bytes = Bytes::from(bytes);
        world
            .refused(what, kind, words, || world.table.ingest_ipc(bytes.clone()))
            .await;
        if what != "10^8 rows without bytes" && !what.starts_with("offsets") {
            let words = &words[..0];
            world
                .refused(what, kind, words, || world.table.delete_ipc(bytes.clone()))
                .await;
        }
    }
    world.goes_on().await;
}

/// What of a damaged stream is taken is valid: it can be read, flushed and replayed.
#[tokio::test]
async fn flipped_bits_are_refused_or_harmless() {
    let (seed, clock) = (seed(), seconds(3));
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let world = World::new().await;
    let scratch = engine::table(&world.db, "scratch").await;
    let good = good();
    let (mut taken, mut refused) = (0, 0);
    while clock.left() {
        let mut bytes = good.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        match scratch.ingest_ipc(bytes.into()).await {
            Ok(_) => taken += 1,
            Err(e) => {
                assert!(
                    matches!(e.kind(), ErrorKind::Invalid | ErrorKind::Unsupported),
                    "{e}"
                );
                refused += 1;
            }
        }
    }
    println!("{taken} taken, {refused} refused");
    let content = engine::content(&scratch).await.unwrap();
    world.db.close().await.unwrap();
    let db = open(world.directory.path(), Options::default())
        .await
        .unwrap();
    let again = db.table("scratch").unwrap();
    assert_eq!(content, engine::content(&again).await.unwrap());
    db.flush().await.unwrap();
    assert_eq!(content, engine::content(&again).await.unwrap());
    db.close().await.unwrap();
}

fn ids(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn send(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(n, a)| Field::new(*n, a.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, a)| a).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

#[tokio::test]
async fn batches_that_do_not_fit_change_nothing() {
    let world = World::new().await;
    let null_key: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let long = "x".repeat(100 << 20);
    let n: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let cases: Vec<(&str, RecordBatch, &[&str])> = vec![
        (
            "an unknown column",
            send(vec![("id", ids(&[1])), ("colour", texts(&["red"]))]),
            &["\"colour\"", "not in the table", "name"],
        ),
        (
            "another type",
            send(vec![("id", ids(&[1])), ("n", texts(&["7"]))]),
            &["\"n\"", "utf8", "int32", "convert"],
        ),
        (
            "a number that does not fit",
            send(vec![("id", ids(&[1])), ("n", ids(&[1 << 40]))]),
            &["\"n\"", "row 0", "1099511627776", "without loss"],
        ),
        (
            "no key column",
            send(vec![("n", n.clone())]),
            &["\"id\"", "missing", "send it"],
        ),
        (
            "a null key",
            send(vec![("id", null_key)]),
            &["\"id\"", "row 1", "null"],
        ),
        (
            "an untyped null key",
            send(vec![("id", Arc::new(NullArray::new(1)))]),
            &["\"id\"", "null"],
        ),
        (
            "a column twice",
            send(vec![("id", ids(&[1])), ("n", n.clone()), ("n", n)]),
            &["\"n\"", "twice"],
        ),
        (
            "_ts",
            send(vec![("id", ids(&[1])), ("_ts", ids(&[1]))]),
            &["\"_ts\"", "reserved", "leave it out"],
        ),
        (
            "_op",
            send(vec![("id", ids(&[1])), ("_op", ids(&[1]))]),
            &["\"_op\"", "reserved", "leave it out"],
        ),
        (
            "a value of 100 MB",
            send(vec![("id", ids(&[1])), ("name", texts(&[&long]))]),
            &["\"name\"", "row 0", "104857600", "at most"],
        ),
    ];
    for (what, batch, words) in cases {
        world
            .refused(what, ErrorKind::Invalid, words, || {
                world.table.ingest(std::slice::from_ref(&batch))
            })
            .await;
        // After a good batch in the same call, and as bytes.
        let pair = [engine::batch(&engine::rows(0, 3, 5)), batch.clone()];
        world
            .refused(what, ErrorKind::Invalid, words, || {
                world.table.ingest(&pair)
            })
            .await;
        let bytes = Bytes::from(write_ipc(&batch.schema(), &[batch]).unwrap());
        world
            .refused(what, ErrorKind::Invalid, words, || {
                world.table.ingest_ipc(bytes.clone())
            })
            .await;
    }
    // Nothing is a commit, too.
    let before = world.state().await;
    let empty = engine::batch(&[]);
    for _ in 0..2 {
        let done: Committed = world
            .table
            .ingest(std::slice::from_ref(&empty))
            .await
            .unwrap();
        assert_eq!(done.rows, 0);
        assert_eq!(world.table.ingest(&[]).await.unwrap().rows, 0);
        assert_eq!(
            world.table.delete(&[engine::keys(&[])]).await.unwrap().rows,
            0
        );
    }
    assert!(
        before == world.state().await,
        "an empty commit changed something"
    );
    world.goes_on().await;
}

#[tokio::test]
async fn reads_that_make_no_sense_say_so() {
    let world = World::new().await;
    let t = &world.table;
    let compare =
        |column: &str, value| Predicate::Compare(column.to_owned(), CompareOp::Equal, value);
    let filtered = |p: Predicate| async move { t.scan().filter(p).count().await };
    let invalid = ErrorKind::Invalid;
    let cases: Vec<(Predicate, &[&str])> = vec![
        (compare("nope", Value::Int(1)), &["\"nope\"", "id, name, n"]),
        (
            compare("n", Value::Text("x".into())),
            &["\"n\"", "int32", "a number"],
        ),
        (compare("name", Value::Int(1)), &["\"name\"", "a string"]),
        (
            Predicate::StartsWith("n".into(), Value::Int(1)),
            &["\"n\"", "starts with", "range"],
        ),
        (
            (0..500).fold(compare("n", Value::Int(1)), |p, _| {
                Predicate::Not(Box::new(p))
            }),
            &["deep"],
        ),
    ];
    for (filter, words) in cases {
        world
            .refused("a filter", invalid, words, || filtered(filter.clone()))
            .await;
    }
    let select = |c: Vec<&'static str>| async move { t.scan().select(&c).stream().map(|_| ()) };
    world
        .refused("select", invalid, &["\"nope\"", "id, name, n"], || {
            select(vec!["nope"])
        })
        .await;
    world
        .refused("select", invalid, &["\"n\"", "twice"], || {
            select(vec!["n", "n"])
        })
        .await;
    world
        .refused(
            "batch_rows",
            invalid,
            &["batch_rows", "at least 1"],
            || async { t.scan().batch_rows(0).stream().map(|_| ()) },
        )
        .await;
    world
        .refused("range", invalid, &["one key"], || async {
            t.scan()
                .from(Bound::Included(engine::keys(&[1, 2])))
                .count()
                .await
        })
        .await;
    let get = |key: RecordBatch| async move { t.get(&key, None).await };
    world
        .refused("get", invalid, &["one key", "2"], || {
            get(engine::keys(&[1, 2]))
        })
        .await;
    let other = send(vec![("id", texts(&["1"]))]);
    world
        .refused("get", invalid, &["\"id\"", "int64"], || get(other.clone()))
        .await;
    world
        .refused("no table", invalid, &["\"nope\"", "t"], || async {
            world.db.table("nope").map(|_| ())
        })
        .await;
    world.goes_on().await;
}

fn fields(columns: &[(&str, &DataType)]) -> Vec<Arc<Field>> {
    columns
        .iter()
        .map(|(n, t)| Arc::new(Field::new(*n, (*t).clone(), true)))
        .collect()
}

#[tokio::test]
async fn tables_that_cannot_be_are_refused() {
    let world = World::new().await;
    let (int, none) = (DataType::Int64, DataType::Null);
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let long = "c".repeat(129);
    let schemas = [
        (vec![], "id", &["1 to"][..]),
        (vec![("a", &int)], "", &["primary key", "at least one"]),
        (vec![("a", &int)], "b", &["\"b\"", "not in the schema"]),
        (vec![("a", &int), ("a", &int)], "a", &["\"a\"", "twice"]),
        (
            vec![("a", &int), ("_ts", &int)],
            "a",
            &["\"_ts\"", "reserved"],
        ),
        (
            vec![("a", &int), ("_op", &int)],
            "a",
            &["\"_op\"", "reserved"],
        ),
        (vec![("a", &list)], "a", &["\"a\"", "cannot be a key"]),
        (vec![("a", &int), ("b", &none)], "a", &["\"b\"", "declare"]),
        (vec![(long.as_str(), &int)], &long, &["129", "128"]),
    ];
    for (columns, key, words) in schemas {
        let key: Vec<&str> = key.split_whitespace().collect();
        for _ in 0..2 {
            let error = TableSchema::new(fields(&columns), &key).unwrap_err();
            let words = if columns.is_empty() { &[][..] } else { words };
            check("a schema", &error, error.kind(), words);
            assert!(
                matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported),
                "{error}"
            );
        }
    }
    let invalid = ErrorKind::Invalid;
    let db = &world.db;
    let create = |name: String| async move { db.create_table(&name, engine::schema()).await };
    world
        .refused("no name", invalid, &["name", "1 to 128"], || {
            create(String::new())
        })
        .await;
    world
        .refused("a long name", invalid, &["129", "128"], || {
            create("n".repeat(129))
        })
        .await;
    world
        .refused("a name of control", invalid, &["control"], || {
            create("a\nb".into())
        })
        .await;
    let other = TableSchema::new(fields(&[("id", &int), ("n", &int)]), &["id"]).unwrap();
    world
        .refused("another schema", invalid, &["\"t\"", "\"name\""], || {
            world.db.create_table("t", other.clone())
        })
        .await;
    world.goes_on().await;
}

#[tokio::test]
async fn a_table_name_is_never_a_path() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("a/b/c");
    let names = [
        "../../../out",
        "..",
        "/etc/passwd",
        "a/../../b",
        "log",
        "C:\\x",
        "日本",
        "%2e%2e",
    ];
    let db = open(&root, engine::tiny()).await.unwrap();
    for (i, name) in names.iter().enumerate() {
        let table = engine::table(&db, name).await;
        let rows = engine::rows(0, 20, i as i32);
        table.ingest(&[engine::batch(&rows)]).await.unwrap();
    }
    db.flush().await.unwrap();
    db.checkpoint().await.unwrap();
    db.close().await.unwrap();
    let inside = root.display().to_string();
    for path in files(parent.path()).keys() {
        let rest = path.strip_prefix(&inside).expect("all files are inside");
        assert!(
            rest.chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)),
            "{path}"
        );
    }
    let db = open(&root, engine::tiny()).await.unwrap();
    for (i, name) in names.iter().enumerate() {
        let table = db.table(name).unwrap();
        let expected: Model = engine::rows(0, 20, i as i32).into_iter().collect();
        assert_eq!(engine::content(&table).await.unwrap(), expected, "{name}");
    }
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_second_opener_of_a_wal_is_told_who_holds_it() {
    let world = World::new().await;
    let pid = std::process::id().to_string();
    world
        .refused("a second opener", ErrorKind::Busy, &[&pid, "close"], || {
            open(world.directory.path(), Options::default())
        })
        .await;
    world.goes_on().await;
}

#[tokio::test]
async fn options_out_of_range_are_named() {
    let world = World::new().await;
    type Change = fn(&mut Options);
    let cases: &[(&str, Change)] = &[
        ("wal_segment_bytes", |o| o.wal_segment_bytes = 511),
        ("seal_bytes", |o| o.seal_bytes = 0),
        ("seal_rows", |o| o.seal_rows = 0),
        ("seal_batches", |o| o.seal_batches = 0),
        ("memtable_limit_bytes", |o| {
            o.memtable_limit_bytes = o.seal_bytes - 1
        }),
        ("checkpoint_records", |o| o.checkpoint_records = 0),
        ("checkpoint_bytes", |o| o.checkpoint_bytes = 0),
        ("grace", |o| o.grace = std::time::Duration::from_secs(60)),
        ("sstable_bytes", |o| o.sstable_bytes = 1),
        ("row_group_rows", |o| o.row_group_rows = 0),
        ("page_rows", |o| o.page_rows = 0),
        ("batch_rows", |o| o.batch_rows = 0),
        ("batch_bytes", |o| o.batch_bytes = 0),
        ("concurrency", |o| o.concurrency = 0),
        ("read_bytes", |o| o.read_bytes = 0),
        ("commit_bytes", |o| o.commit_bytes = 0),
        ("bloom_fpp", |o| o.bloom_fpp = 1.0),
        ("bloom_fpp", |o| o.bloom_fpp = f64::NAN),
    ];
    for (name, change) in cases {
        let mut options = Options::default();
        change(&mut options);
        world
            .refused(name, ErrorKind::Invalid, &[name, "takes"], || {
                open(world.directory.path(), options.clone())
            })
            .await;
    }
    world.goes_on().await;
}

#[tokio::test]
async fn a_commit_beyond_its_bound_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        commit_bytes: 4096,
        ..Options::default()
    };
    let db = open(directory.path(), options).await.unwrap();
    let table = engine::table(&db, "t").await;
    let world = World {
        directory,
        db,
        table,
    };
    let batch = engine::batch(&engine::rows(0, 1000, 1));
    world
        .refused(
            "a large commit",
            ErrorKind::Invalid,
            &["commit_bytes", "4096", "split"],
            || world.table.ingest(std::slice::from_ref(&batch)),
        )
        .await;
    let bytes = Bytes::from(write_ipc(&batch.schema(), &[batch]).unwrap());
    world
        .refused(
            "a large commit",
            ErrorKind::Invalid,
            &["commit_bytes", "4096", "split"],
            || world.table.ingest_ipc(bytes.clone()),
        )
        .await;
    world.goes_on().await;
}

#[tokio::test]
async fn a_closed_handle_refuses_everything() {
    let world = World::new().await;
    let before = files(world.directory.path());
    world.db.close().await.unwrap();
    for _ in 0..2 {
        let rows = [engine::batch(&engine::rows(0, 3, 1))];
        let errors = [
            world.table.ingest(&rows).await.map(|_| ()).unwrap_err(),
            world
                .table
                .delete(&[engine::keys(&[1])])
                .await
                .map(|_| ())
                .unwrap_err(),
            world
                .table
                .get(&engine::keys(&[1]), None)
                .await
                .map(|_| ())
                .unwrap_err(),
            world.table.scan().count().await.map(|_| ()).unwrap_err(),
            world.db.flush().await.unwrap_err(),
            world.db.checkpoint().await.unwrap_err(),
            world.db.table("t").map(|_| ()).unwrap_err(),
            world
                .db
                .create_table("u", engine::schema())
                .await
                .map(|_| ())
                .unwrap_err(),
        ];
        for error in errors {
            check(
                "a closed handle",
                &error,
                ErrorKind::Closed,
                &["open it again"],
            );
        }
        world.db.close().await.unwrap();
    }
    let wal = |f: &BTreeMap<String, Vec<u8>>| {
        f.iter()
            // A close may bring what the device keeps beside its WAL up to date.
            .filter(|(k, _)| {
                ![".lock", "/version", "/uploads"]
                    .iter()
                    .any(|e| k.ends_with(e))
            })
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(wal(&before), wal(&files(world.directory.path())));
}

#[tokio::test]
async fn a_scan_that_has_begun_is_not_counted() {
    let world = World::new().await;
    for batches in [1, usize::MAX] {
        let mut scan = world.table.scan().stream().unwrap();
        for _ in 0..batches {
            if scan.next().await.unwrap().is_none() {
                break;
            }
        }
        let error = scan.count().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
