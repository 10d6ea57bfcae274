//! Schema change through the public door (PROTOCOL C6): rows wherever they lie are read under the
//! altered schema; writers that have not heard of it go on; refusals say why; a dropped table takes
//! its rows with it and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use lakeshore::{
    Alteration, AsOf, Db, Env, Error, ErrorKind, Options, ScanBuilder, Table,
    data::{
        predicate::{Predicate, Value},
        schema::TableSchema,
    },
    env::Storage,
    platform::{memory::Memory, native::TokioRuntime},
};
use std::sync::Arc;
use support::{
    altering::{Model, Shape, rename},
    cells::{self, Cell},
    crash::{CrashStorage, When},
    query::{self, Key},
    random::Random,
    stage::Stage,
};

fn field(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

fn schema() -> TableSchema {
    let columns = vec![
        Arc::new(Field::new("id", DataType::Int64, false)),
        field("name", DataType::Utf8),
        field("n", DataType::Int8),
        field("u", DataType::UInt8),
        field("f", DataType::Float32),
        field("d", DataType::Decimal32(5, 2)),
        field("day", DataType::Date32),
        field("t", DataType::Time32(TimeUnit::Second)),
    ];
    TableSchema::new(columns, &["id"]).unwrap()
}

/// Each row's values lie at the ends of their types, some are null.
fn row(id: i64) -> Vec<Cell> {
    let id = i128::from(id);
    let ends = [i8::MIN.into(), i8::MAX.into(), -1, 0, 1];
    let or_null = |cell: Cell| if id % 7 == 3 { Cell::Null } else { cell };
    vec![
        Cell::Int(id),
        or_null(Cell::Text(format!("row {id}"))),
        or_null(Cell::Int(ends[(id % 5) as usize])),
        Cell::Int(255 - id % 256),
        or_null(Cell::float(id as f64 / 2.0 - 3.0)),
        Cell::Int(99_999 - (id * 40_000) % 190_000),
        or_null(Cell::Int(id * 1000 - 5000)),
        Cell::Int(86_399 - id),
    ]
}

fn add(name: &str, data_type: DataType) -> Alteration {
    Alteration::AddColumn(field(name, data_type))
}

fn widen(column: &str, to: DataType) -> Alteration {
    Alteration::Widen {
        column: column.into(),
        to,
    }
}

fn drop_column(column: &str) -> Alteration {
    Alteration::DropColumn(column.into())
}

fn alterations() -> Vec<Vec<Alteration>> {
    use DataType::*;
    let micros = Time64(TimeUnit::Microsecond);
    vec![
        vec![add("extra", Utf8)],
        vec![add("extra", Float64), add("more", Boolean)],
        vec![widen("n", Int16)],
        vec![widen("n", Int64), widen("u", Int16)],
        vec![widen("u", UInt64), widen("f", Float64)],
        vec![widen("d", Decimal32(7, 2)), widen("day", Date64)],
        vec![widen("d", Decimal128(30, 2)), widen("t", micros)],
        vec![rename("name", "label")],
        vec![rename("id", "key")],
        vec![rename("n", "x"), rename("u", "n"), rename("x", "u")],
        vec![drop_column("name")],
        vec![drop_column("name"), add("name", Int32)],
        vec![
            Alteration::RenameTable("renamed".into()),
            drop_column("u"),
            widen("n", Int32),
            rename("n", "u"),
            add("last", Binary),
        ],
    ]
}

async fn open(data: &Arc<Memory>, wal: Option<&Arc<Memory>>, options: &Options) -> Db {
    let env = Env {
        data: data.clone(),
        wal: wal.map(|w| w.clone() as _),
        runtime: TokioRuntime::current().unwrap(),
    };
    Db::open(env, options.clone()).await.unwrap()
}

fn shape(table: &Table) -> Shape {
    Shape::of(&table.schema().unwrap())
}

/// Rows as the handle's own schema has them, from rows of [`schema`].
fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let rows: Vec<Vec<Cell>> = ids.map(row).collect();
    cells::batch(&Shape::of(&schema()).fields(), &rows)
}

fn expected(ids: std::ops::Range<i64>) -> Model {
    let shape = Shape::of(&schema());
    ids.map(|id| {
        let row = row(id);
        (Key(vec![row[0].clone()]), shape.written(&row))
    })
    .collect()
}

async fn all(scan: &ScanBuilder) -> Vec<Vec<Cell>> {
    let batches = scan.stream().unwrap().collect().await.unwrap();
    batches.iter().flat_map(cells::rows).collect()
}

/// The whole table, filters on every column, counts and point reads.
async fn check(table: &Table, model: &Model, what: &str) {
    let shape = shape(table);
    check_scans(&table.scan(), &shape, model, what).await;
    for (key, row) in model.iter().step_by(3) {
        let key = cells::batch(&shape.key_fields(), std::slice::from_ref(&key.0));
        let found = table.get(&key, None).await.unwrap().unwrap();
        assert_eq!(cells::rows(&found), [shape.view(row)], "{what}");
    }
}

async fn check_scans(table: &ScanBuilder, shape: &Shape, model: &Model, what: &str) {
    let rows: Vec<Vec<Cell>> = model.values().map(|r| shape.view(r)).collect();
    assert_eq!(all(table).await, rows, "{what}");
    let fields = shape.fields();
    let mut random = Random::new(7);
    let mut near = |random: &mut Random, column: usize| match rows.is_empty() {
        true => Cell::Null,
        false => rows[random.below(rows.len())][column].clone(),
    };
    for _ in 0..12 {
        let filter = query::predicate(&fields, &mut random, &mut near, 1);
        let kept = |row: &&Vec<Cell>| query::truth(&filter, &fields, row) == Some(true);
        let wanted: Vec<Vec<Cell>> = rows.iter().filter(kept).cloned().collect();
        let scan = table.clone().filter(filter.clone());
        let found = scan.stream().unwrap().collect().await.unwrap();
        let found: Vec<Vec<Cell>> = found.iter().flat_map(cells::rows).collect();
        assert_eq!(found, wanted, "{what}: {filter:?}");
        let count = scan.count().await.unwrap();
        assert_eq!(count, wanted.len() as u64, "{what}: {filter:?}");
    }
}

/// As of `ts` there is one table, `t`, with the columns of [`schema`] and these rows (DESIGN promise 18).
async fn check_past(db: &Db, ts: i64, model: &Model, what: &str) {
    let what = &format!("{what}, as of then");
    let snapshot = db.snapshot_at(AsOf::Timestamp(ts)).await.unwrap();
    let tables = snapshot.tables();
    let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["t"], "{what}");
    let table = snapshot.table("t").unwrap();
    let shape = Shape::of(&schema());
    assert_eq!(Shape::of(&table.schema().unwrap()), shape, "{what}");
    assert_eq!(table.name().unwrap(), "t", "{what}");
    check_scans(&table.scan(), &shape, model, what).await;
    for (key, row) in model {
        let key = cells::batch(&shape.key_fields(), std::slice::from_ref(&key.0));
        let found = table.get(&key, None).await.unwrap().unwrap();
        assert_eq!(cells::rows(&found), [shape.view(row)], "{what}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Inline,
    Checkpoint,
    Sstable,
    ActiveMemtable,
    Mixed,
}

/// A table with rows 0..10 in that place.
async fn laid(place: Place, data: &Arc<Memory>, wal: Option<&Arc<Memory>>) -> Db {
    let options = Options {
        row_group_rows: 4,
        page_rows: 2,
        ..Options::default()
    };
    let db = open(data, wal, &options).await;
    let table = db.create_table("t", schema()).await.unwrap();
    match place {
        Place::Mixed => {
            table.ingest(&[batch(0..4)]).await.unwrap();
            db.flush().await.unwrap();
            table.ingest(&[batch(2..7)]).await.unwrap();
            db.checkpoint().await.unwrap();
            table.ingest(&[batch(5..10)]).await.unwrap();
        }
        _ => drop(table.ingest(&[batch(0..10)]).await.unwrap()),
    }
    match place {
        Place::Checkpoint => db.checkpoint().await.unwrap(),
        Place::Sstable => db.flush().await.unwrap(),
        _ => {}
    }
    db
}

#[tokio::test]
async fn rows_are_read_under_every_alteration_wherever_they_lie() {
    use Place::*;
    for (place, local) in [
        (Inline, false),
        (Checkpoint, false),
        (Sstable, false),
        (Mixed, false),
        (ActiveMemtable, true),
        (Sstable, true),
        (Mixed, true),
    ] {
        for changes in alterations() {
            let what = format!("{place:?}, local {local}: {changes:?}");
            let (data, wal) = (Memory::new(), Memory::new());
            let wal = local.then_some(&wal);
            let db = laid(place, &data, wal).await;
            let old = db.table("t").unwrap();
            let table = db.alter_table("t", &changes).await.unwrap();
            assert_eq!(
                shape(&table),
                Shape::of(&schema()).altered(&changes),
                "{what}"
            );
            let mut model = expected(0..10);
            check(&table, &model, &what).await;
            check(&old, &model, &format!("{what}: the old handle")).await;
            let name = table.name().unwrap();
            db.close().await.unwrap();
            let db = open(&data, wal, &Options::default()).await;
            let table = db.table(&name).unwrap();
            check(&table, &model, &format!("{what}: reopened")).await;
            // Rows under the new schema above, between and beside the old ones.
            let now = shape(&table);
            let rows: Vec<Vec<Cell>> = (8..12)
                .map(|id| {
                    let mut random = Random::new(id);
                    let mut row: Vec<Cell> = (now.columns.iter())
                        .map(|(_, f)| cells::of_field(f, &mut random))
                        .collect();
                    row[0] = Cell::Int(id.into());
                    row
                })
                .collect();
            let sent = cells::batch(&now.fields(), &rows);
            table.ingest(&[sent]).await.unwrap();
            for row in rows {
                model.insert(Key(vec![row[0].clone()]), now.written(&row));
            }
            check(&table, &model, &format!("{what}: written on")).await;
            db.flush().await.unwrap();
            check(&table, &model, &format!("{what}: flushed")).await;
            db.checkpoint().await.unwrap();
            db.close().await.unwrap();
            let db = open(&data, wal, &Options::default()).await;
            let table = db.table(&name).unwrap();
            check(&table, &model, &format!("{what}: from a checkpoint")).await;
        }
    }
}

/// DESIGN promise 18: the past is what was, whatever became of the table's columns, name and place since.
#[tokio::test]
async fn as_of_a_time_before_an_alteration_the_table_is_what_it_was() {
    use Place::*;
    let places = [Inline, Checkpoint, Sstable, Mixed].map(|place| (place, false));
    for (place, local) in places.into_iter().chain([(Sstable, true), (Mixed, true)]) {
        for changes in alterations() {
            let what = &format!("{place:?}, local {local}: {changes:?}");
            let (data, wal) = (Memory::new(), Memory::new());
            let wal = local.then_some(&wal);
            let db = laid(place, &data, wal).await;
            if local {
                // What is pending has no time in the log (PROTOCOL T5).
                db.flush().await.unwrap();
            }
            let ts = db.stats().last_timestamp;
            let model = &expected(0..10);
            check_past(&db, ts, model, what).await;
            let table = db.alter_table("t", &changes).await.unwrap();
            check_past(&db, ts, model, &format!("{what}: altered")).await;
            let now = shape(&table);
            let old: Vec<Vec<Cell>> = vec![
                (now.columns.iter())
                    .map(|(_, f)| cells::of_field(f, &mut Random::new(3)))
                    .collect(),
            ];
            let sent = cells::batch(&now.fields(), &old);
            table.ingest(&[sent]).await.unwrap();
            check_past(&db, ts, model, &format!("{what}: written on")).await;
            // A second one, with rows of three schema versions in memory and in sstables.
            let name = table.name().unwrap();
            let more = [add("second", DataType::Utf8)];
            db.alter_table(&name, &more).await.unwrap();
            check_past(&db, ts, model, &format!("{what}: altered again")).await;
            db.flush().await.unwrap();
            check_past(&db, ts, model, &format!("{what}: flushed")).await;
            db.checkpoint().await.unwrap();
            db.close().await.unwrap();
            let db = open(&data, wal, &Options::default()).await;
            check_past(&db, ts, model, &format!("{what}: from a checkpoint")).await;
            assert!(db.drop_table(&name).await.unwrap());
            check_past(&db, ts, model, &format!("{what}: dropped")).await;
            db.create_table("t", schema()).await.unwrap();
            db.create_table("renamed", schema()).await.unwrap();
            check_past(&db, ts, model, &format!("{what}: created again")).await;
            let other = open(&data, None, &Options::default()).await;
            check_past(&other, ts, model, &format!("{what}: seen by another")).await;
        }
    }
}

/// The writer has not heard of the alteration: its rows are taken as they are and mean what they meant.
#[tokio::test]
async fn a_handle_that_has_not_seen_an_alteration_goes_on_writing() {
    for (inline_commit_bytes, local) in [(1 << 18, false), (0, false), (1 << 18, true)] {
        for changes in alterations() {
            let what = format!("{inline_commit_bytes} {local} {changes:?}");
            let options = Options {
                inline_commit_bytes,
                ..Options::default()
            };
            let (data, wal) = (Memory::new(), Memory::new());
            let a = open(&data, None, &options).await;
            a.create_table("t", schema()).await.unwrap();
            let b = open(&data, local.then_some(&wal), &options).await;
            let table = b.table("t").unwrap();
            table.ingest(&[batch(0..6)]).await.unwrap();
            let altered = a.alter_table("t", &changes).await.unwrap();
            assert_eq!(shape(&table), Shape::of(&schema()), "not seen yet");
            table.ingest(&[batch(4..10)]).await.unwrap();
            check(&table, &expected(0..10), &what).await;
            b.refresh().await.unwrap();
            assert_eq!(shape(&table), shape(&altered), "{what}");
            check(&table, &expected(0..10), &what).await;
            b.flush().await.unwrap();
            check(&table, &expected(0..10), &what).await;
            a.refresh().await.unwrap();
            check(&altered, &expected(0..10), &what).await;
        }
    }
}

/// Rows validated before an alteration, committed after it, in one record with nothing else.
#[tokio::test]
async fn a_commit_that_waited_over_an_alteration_keeps_its_meaning() {
    for inline_commit_bytes in [1 << 18, 0] {
        let stage = Stage::new(1);
        let options = Options {
            inline_commit_bytes,
            ..Options::default()
        };
        let data = Arc::new(stage.memory.clone());
        let other = open(&data, None, &options).await;
        other.create_table("t", schema()).await.unwrap();
        let db = Db::open(stage.env(), options).await.unwrap();
        let table = db.table("t").unwrap();
        stage.gate.close("log/");
        let first = tokio::spawn(table.ingest(&[batch(0..2)]));
        let second = tokio::spawn(table.ingest(&[batch(2..4)]));
        tokio::task::yield_now().await;
        let changes = [rename("n", "x"), rename("u", "n"), drop_column("name")];
        other.alter_table("t", &changes).await.unwrap();
        stage.gate.open();
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(shape(&table), Shape::of(&schema()).altered(&changes));
        check(&table, &expected(0..4), "in memory").await;
        db.flush().await.unwrap();
        other.refresh().await.unwrap();
        check(&other.table("t").unwrap(), &expected(0..4), "flushed").await;
    }
}

/// The sstables are being written while the table is altered, or dropped.
#[tokio::test]
async fn a_flush_under_way_over_an_alteration_or_a_drop_does_no_harm() {
    for local in [false, true] {
        for changes in alterations().into_iter().map(Some).chain([None]) {
            let what = format!("local {local}: {changes:?}");
            let stage = Stage::new(2);
            let wal = Memory::new();
            let env = || Env {
                wal: local.then(|| wal.clone() as _),
                ..stage.env()
            };
            let db = Db::open(env(), Options::default()).await.unwrap();
            let table = db.create_table("t", schema()).await.unwrap();
            let beside = db.create_table("beside", schema()).await.unwrap();
            table.ingest(&[batch(0..10)]).await.unwrap();
            beside.ingest(&[batch(0..3)]).await.unwrap();
            stage.gate.close("data/");
            let flushing = db.clone();
            let flush = tokio::spawn(async move { flushing.flush().await });
            while db.stats().flushing == 0 {
                tokio::task::yield_now().await;
            }
            let mut name = "t".to_owned();
            match &changes {
                Some(changes) => name = db.alter_table("t", changes).await.unwrap().name().unwrap(),
                None => assert!(db.drop_table("t").await.unwrap()),
            }
            if changes.is_some() {
                check(&table, &expected(0..10), &format!("{what}: sealed")).await;
            }
            stage.gate.open();
            flush.await.unwrap().unwrap();
            for time in ["flushed", "reopened"] {
                let told = format!("{what}: {time}");
                let db = match time {
                    "flushed" => db.clone(),
                    _ => {
                        db.close().await.unwrap();
                        Db::open(env(), Options::default()).await.unwrap()
                    }
                };
                assert_eq!(db.stats().backlog_rows, 0, "{told}");
                check(&db.table("beside").unwrap(), &expected(0..3), &told).await;
                match &changes {
                    Some(_) => check(&db.table(&name).unwrap(), &expected(0..10), &told).await,
                    None => assert!(db.table("t").is_err(), "{told}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn of_two_equal_alterations_one_is_made_and_both_succeed() {
    let data = Memory::new();
    let a = open(&data, None, &Options::default()).await;
    let table = a.create_table("t", schema()).await.unwrap();
    table.ingest(&[batch(0..5)]).await.unwrap();
    let b = open(&data, None, &Options::default()).await;
    let changes = [add("c", DataType::Utf8), widen("n", DataType::Int32)];
    let theirs = a.alter_table("t", &changes).await.unwrap();
    let head = a.stats().head;
    // B plans on what it knows, loses the slot, and finds its work done.
    let ours = b.alter_table("t", &changes).await.unwrap();
    assert_eq!((b.stats().head, shape(&ours)), (head, shape(&theirs)));
    // Also where others have followed.
    let c = open(&data, None, &Options::default()).await;
    a.alter_table("t", &[drop_column("f")]).await.unwrap();
    a.alter_table("t", &[add("later", DataType::Int64)])
        .await
        .unwrap();
    c.alter_table("t", &[drop_column("f")]).await.unwrap();
    a.refresh().await.unwrap();
    assert_eq!(c.stats().head, a.stats().head);
    check(&ours, &expected(0..5), "behind").await;
    b.refresh().await.unwrap();
    check(&ours, &expected(0..5), "adopted").await;
}

#[tokio::test]
async fn of_two_different_alterations_the_second_is_made_on_top_or_says_why_not() {
    let columns = |table: &Table| -> Vec<String> {
        let schema = table.schema().unwrap();
        let fields = schema.user().fields().iter();
        fields.map(|f| f.name().clone()).collect()
    };
    let cases: [(Alteration, Alteration, Result<&str, &str>); 8] = [
        (
            add("c", DataType::Utf8),
            add("e", DataType::Utf8),
            Ok("c e"),
        ),
        (
            add("c", DataType::Utf8),
            add("c", DataType::Int8),
            Err("a column \"c\" already"),
        ),
        (
            drop_column("n"),
            widen("n", DataType::Int32),
            Err("no column \"n\""),
        ),
        (
            widen("n", DataType::Int64),
            widen("n", DataType::Int32),
            Err("cannot become int32"),
        ),
        (
            widen("n", DataType::Int16),
            widen("n", DataType::Int32),
            Ok(""),
        ),
        (rename("n", "x"), rename("n", "y"), Err("no column \"n\"")),
        (rename("n", "x"), add("n", DataType::Utf8), Ok("n")),
        (drop_column("n"), drop_column("u"), Ok("")),
    ];
    for (first, second, outcome) in cases {
        let what = format!("{first:?} {second:?}");
        let data = Memory::new();
        let a = open(&data, None, &Options::default()).await;
        let table = a.create_table("t", schema()).await.unwrap();
        table.ingest(&[batch(0..5)]).await.unwrap();
        let b = open(&data, None, &Options::default()).await;
        a.alter_table("t", &[first]).await.unwrap();
        match (
            b.alter_table("t", std::slice::from_ref(&second)).await,
            outcome,
        ) {
            (Ok(altered), Ok(added)) => {
                let names = columns(&altered);
                assert!(
                    added
                        .split_whitespace()
                        .all(|c| names.iter().any(|n| n == c)),
                    "{names:?}"
                );
                a.refresh().await.unwrap();
                check(&table, &expected(0..5), &what).await;
            }
            (Err(e), Err(word)) => {
                assert_eq!(e.kind(), ErrorKind::Invalid, "{what}: {e}");
                assert!(e.message().contains(word), "{what}: {e}");
                let head = a.stats().head;
                a.refresh().await.unwrap();
                assert_eq!(
                    a.stats().head,
                    head,
                    "{what}: a refused alteration left a record"
                );
            }
            (done, _) => panic!("{what}: {done:?}"),
        }
    }
}

#[tokio::test]
async fn many_handles_alter_and_write_at_once() {
    let stage = Stage::new(9);
    let open = || Db::open(stage.env(), Options::default());
    let first = open().await.unwrap();
    first.create_table("t", schema()).await.unwrap();
    stage.stall.store(8, std::sync::atomic::Ordering::SeqCst);
    let mut handles = Vec::new();
    for _ in 0..6 {
        handles.push(open().await.unwrap());
    }
    let mut tasks = Vec::new();
    for (i, db) in (0i64..).zip(handles) {
        tasks.push(tokio::spawn(async move {
            let table = db.table("t").unwrap();
            let changes = match i {
                0..3 => vec![add("shared", DataType::Int32)],
                _ => vec![add(&format!("own{i}"), DataType::Utf8)],
            };
            let altered = db.alter_table("t", &changes);
            let rows = async { table.ingest(&[batch(i * 10..i * 10 + 10)]).await };
            let (altered, wrote) = futures_util::join!(altered, rows);
            altered.unwrap();
            wrote.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    first.refresh().await.unwrap();
    let table = first.table("t").unwrap();
    let schema = table.schema().unwrap();
    let added = &schema.user().fields()[8..];
    let mut names: Vec<&str> = added.iter().map(|f| f.name().as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["own3", "own4", "own5", "shared"]);
    check(&table, &expected(0..60), "all").await;
}

#[tokio::test]
async fn what_cannot_be_altered_is_refused_with_the_reason_and_changes_nothing() {
    use DataType::*;
    let micros = |unit| Timestamp(unit, None);
    let embedding = FixedSizeList(field("item", Float32), 1536);
    let cases = [
        (
            vec![Alteration::AddColumn(Arc::new(Field::new(
                "c", Int8, false,
            )))],
            "make it nullable",
        ),
        (vec![add("n", Int8)], "there is a column \"n\" already"),
        (vec![add("_ts", Int64)], "reserved"),
        (vec![add("", Int64)], "has 0 bytes"),
        (vec![add("c", embedding)], "use a list or binary"),
        (
            vec![widen("id", Int64), widen("nope", Int64)],
            "no column \"nope\": the table has id",
        ),
        (vec![widen("n", UInt16)], "only int16, int32 or int64"),
        (vec![widen("u", Int8)], "cannot become int8"),
        (vec![widen("n", Float64)], "cannot become float64"),
        (vec![widen("f", Float16)], "only float64"),
        (vec![widen("name", LargeUtf8)], "only nothing"),
        (vec![widen("d", Decimal32(4, 2))], "the same scale"),
        (vec![widen("d", Decimal64(12, 3))], "the same scale"),
        (vec![widen("day", micros(TimeUnit::Second))], "only date64"),
        (
            vec![widen("t", Time32(TimeUnit::Millisecond))],
            "only time64",
        ),
        (vec![widen("id", UInt64)], "part of the primary key"),
        (vec![rename("nope", "x")], "no column"),
        (vec![rename("n", "u")], "already: choose another name"),
        (vec![rename("n", "_op")], "reserved"),
        (vec![drop_column("id")], "part of the primary key"),
        (vec![drop_column("nope")], "no column"),
        (vec![drop_column("n"), widen("n", Int16)], "no column \"n\""),
        (
            vec![Alteration::RenameTable("u".into())],
            "there is a table \"u\" already",
        ),
        (
            vec![Alteration::RenameTable("\u{7}".into())],
            "control character",
        ),
        (vec![Alteration::RenameTable(String::new())], "has 0 bytes"),
    ];
    let data = Memory::new();
    let db = open(&data, None, &Options::default()).await;
    let table = db.create_table("t", schema()).await.unwrap();
    db.create_table("u", schema()).await.unwrap();
    table.ingest(&[batch(0..5)]).await.unwrap();
    let head = db.stats().head;
    for (changes, word) in cases {
        let e = db.alter_table("t", &changes).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Invalid, "{changes:?}: {e}");
        assert!(e.message().contains(word), "{changes:?}: {e}");
        assert_eq!(shape(&table), Shape::of(&schema()));
    }
    let e = db.alter_table("nope", &[]).await.unwrap_err();
    assert!(e.message().contains("there are t, u"), "{e}");
    let e = db.alter_table("t", &[add("c", Null)]).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
    // What changes nothing makes no record.
    for changes in [
        vec![],
        vec![rename("n", "n"), widen("n", Int8)],
        vec![rename("n", "x"), rename("x", "n")],
        vec![add("c", Int8), drop_column("c")],
        vec![Alteration::RenameTable("t".into())],
    ] {
        db.alter_table("t", &changes).await.unwrap();
    }
    assert_eq!(db.stats().head, head);
    check(&table, &expected(0..5), "nothing changed").await;
}

/// An added column is null in old files: a filter that no null passes reads none of them. A widened
/// one has bounds of another width: they say nothing.
#[tokio::test]
async fn filters_on_added_columns_skip_old_files_and_on_widened_ones_read_them() {
    let data = Memory::new();
    let db = laid(Place::Sstable, &data, None).await;
    let changes = [add("c", DataType::Int32), widen("n", DataType::Int16)];
    let table = db.alter_table("t", &changes).await.unwrap();
    let gets = || db.stats().data.get;
    let is = |column: &str, v| Predicate::Compare(column.into(), query_equal(), Value::Int(v));
    let before = gets();
    let not_null = Predicate::Not(Box::new(Predicate::IsNull("c".into())));
    for filter in [not_null, is("c", 0), is("c", 5)] {
        assert_eq!(table.scan().filter(filter).count().await.unwrap(), 0);
    }
    assert_eq!(gets(), before);
    let null = Predicate::IsNull("c".into());
    assert_eq!(table.scan().filter(null).count().await.unwrap(), 10);
    for n in [i8::MIN, -1, 0, 1, i8::MAX] {
        let found = table
            .scan()
            .filter(is("n", n.into()))
            .count()
            .await
            .unwrap();
        let wanted = expected(0..10);
        let wanted = wanted
            .values()
            .filter(|r| r[&3].1 == Cell::Int(n.into()))
            .count();
        assert_eq!(found, wanted as u64, "n = {n}");
    }
}

fn query_equal() -> lakeshore::data::predicate::CompareOp {
    lakeshore::data::predicate::CompareOp::Equal
}

#[tokio::test]
async fn a_dropped_table_says_so_and_one_created_anew_is_another() {
    for local in [false, true] {
        let (data, wal) = (Memory::new(), Memory::new());
        let wal = local.then_some(&wal);
        let db = laid(Place::Mixed, &data, wal).await;
        let old = db.table("t").unwrap();
        let mut scan = old.scan().batch_rows(3).stream().unwrap();
        let mut seen = cells::rows(&scan.next().await.unwrap().unwrap());
        assert!(db.drop_table("t").await.unwrap());
        assert!(!db.drop_table("t").await.unwrap());
        assert!(db.tables().is_empty() && db.table("t").is_err());
        for error in [
            old.schema().map(drop).unwrap_err(),
            old.scan().stream().map(drop).unwrap_err(),
            old.ingest(&[batch(0..1)]).await.map(drop).unwrap_err(),
            old.delete(&[batch(0..1)]).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains("the table was dropped"), "{error}");
        }
        let columns = vec![Arc::new(Field::new("id", DataType::Utf8, false))];
        let new = TableSchema::new(columns, &["id"]).unwrap();
        let table = db.create_table("t", new).await.unwrap();
        assert!(all(&table.scan()).await.is_empty());
        // The scan reads on what was there when it began.
        seen.extend(scan.collect().await.unwrap().iter().flat_map(cells::rows));
        assert_eq!(seen, (0..10).map(row).collect::<Vec<_>>());
        assert!(old.schema().is_err(), "another table of that name");
        let died = if local { 10 } else { 0 };
        assert_eq!(db.stats().dropped_rows, died);
        db.close().await.unwrap();
        let db = open(&data, wal, &Options::default()).await;
        assert!(all(&db.table("t").unwrap().scan()).await.is_empty());
    }
}

#[tokio::test]
async fn pending_rows_of_a_table_that_another_dropped_die_counted_and_free_the_wal() {
    let (data, wal) = (Memory::new(), Memory::new());
    let other = open(&data, None, &Options::default()).await;
    other.create_table("t", schema()).await.unwrap();
    other.create_table("u", schema()).await.unwrap();
    let db = open(&data, Some(&wal), &Options::default()).await;
    let (t, u) = (db.table("t").unwrap(), db.table("u").unwrap());
    u.ingest(&[batch(0..2)]).await.unwrap();
    db.flush().await.unwrap();
    t.ingest(&[batch(0..7)]).await.unwrap();
    other.drop_table("t").await.unwrap();
    // Acknowledged before this device heard of it.
    t.ingest(&[batch(7..9)]).await.unwrap();
    assert_eq!((db.stats().backlog_rows, db.stats().dropped_rows), (9, 0));
    db.refresh().await.unwrap();
    assert_eq!((db.stats().backlog_rows, db.stats().dropped_rows), (0, 9));
    assert!(t.schema().is_err());
    db.close().await.unwrap();
    let db = open(&data, Some(&wal), &Options::default()).await;
    assert_eq!((db.stats().backlog_rows, db.stats().dropped_rows), (0, 9));
    db.flush().await.unwrap();
    db.checkpoint().await.unwrap();
    db.close().await.unwrap();
    let db = open(&data, Some(&wal), &Options::default()).await;
    assert_eq!((db.stats().dropped_rows, db.stats().wal_bytes), (0, 0));
    check(&db.table("u").unwrap(), &expected(0..2), "beside").await;
}

/// Commits of one group: the one to the dropped table is refused, the others happen.
#[tokio::test]
async fn a_commit_to_a_table_dropped_meanwhile_fails_alone() {
    for inline_commit_bytes in [1 << 18, 0] {
        let stage = Stage::new(3);
        let options = Options {
            inline_commit_bytes,
            ..Options::default()
        };
        let data = Arc::new(stage.memory.clone());
        let other = open(&data, None, &options).await;
        other.create_table("t", schema()).await.unwrap();
        other.create_table("u", schema()).await.unwrap();
        let db = Db::open(stage.env(), options).await.unwrap();
        let (t, u) = (db.table("t").unwrap(), db.table("u").unwrap());
        other.drop_table("t").await.unwrap();
        let calls = [
            t.ingest(&[batch(0..3)]),
            u.ingest(&[batch(0..3)]),
            t.ingest(&[batch(3..5)]),
            u.ingest(&[batch(3..5)]),
        ];
        let refused = |e: &Error| e.kind() == ErrorKind::Invalid && e.message().contains("dropped");
        for (i, done) in futures_util::future::join_all(calls)
            .await
            .iter()
            .enumerate()
        {
            match i % 2 {
                0 => assert!(done.as_ref().is_err_and(refused), "{done:?}"),
                _ => assert!(done.is_ok(), "{done:?}"),
            }
        }
        check(&u, &expected(0..5), "beside").await;
        other.refresh().await.unwrap();
        check(&other.table("u").unwrap(), &expected(0..5), "beside").await;
    }
}

#[tokio::test]
async fn a_table_renamed_or_dropped_under_a_call_is_not_mistaken_for_another() {
    let data = Memory::new();
    let a = open(&data, None, &Options::default()).await;
    a.create_table("t", schema()).await.unwrap();
    let b = open(&data, None, &Options::default()).await;
    a.alter_table("t", &[Alteration::RenameTable("s".into())])
        .await
        .unwrap();
    let e = b.drop_table("t").await.unwrap_err();
    assert!(e.message().contains("renamed to \"s\""), "{e}");
    // It is the table, not the name, that is altered.
    let c = open(&data, None, &Options::default()).await;
    a.alter_table("s", &[Alteration::RenameTable("r".into())])
        .await
        .unwrap();
    let table = c
        .alter_table("s", &[add("c", DataType::Utf8)])
        .await
        .unwrap();
    assert_eq!(table.name().unwrap(), "r");
    let d = open(&data, None, &Options::default()).await;
    c.drop_table("r").await.unwrap();
    c.create_table("r", schema()).await.unwrap();
    let e = d
        .alter_table("r", &[add("z", DataType::Utf8)])
        .await
        .unwrap_err();
    assert!(e.message().contains("the table was dropped"), "{e}");
    let e = open(&data, None, &Options::default()).await;
    c.drop_table("r").await.unwrap();
    let anew = c.create_table("r", schema()).await.unwrap();
    assert!(e.drop_table("r").await.unwrap(), "the one it knew is gone");
    assert!(anew.schema().is_ok(), "the other one is not");
    // A handle that is behind looks before it refuses.
    c.create_table("later", schema()).await.unwrap();
    d.alter_table("later", &[add("c", DataType::Utf8)])
        .await
        .unwrap();
    assert!(b.drop_table("later").await.unwrap());
}

#[tokio::test]
async fn an_alteration_whose_outcome_is_unknown_is_made_once() {
    for when in [When::Before, When::Within, When::After] {
        for local in [false, true] {
            let world = CrashStorage::new(5);
            let env = || Env {
                data: world.at("data"),
                wal: local.then(|| world.at("wal") as _),
                runtime: TokioRuntime::current().unwrap(),
            };
            let options = Options {
                retries: 0,
                ..Options::default()
            };
            let db = Db::open(env(), options.clone()).await.unwrap();
            let table = db.create_table("t", schema()).await.unwrap();
            table.ingest(&[batch(0..3)]).await.unwrap();
            let start = world.operations();
            // After the look the PUT fails, and the look whether it has.
            world.fail_at(start + 1, when);
            world.fail_at(start + 2, when);
            let changes = [add("c", DataType::Utf8), drop_column("n")];
            let first = db.alter_table("t", &changes).await;
            let unknown = |e: &Error| e.kind() == ErrorKind::Unknown;
            assert!(first.as_ref().is_err_and(unknown), "{when:?}: {first:?}");
            let table = db.alter_table("t", &changes).await.unwrap();
            assert_eq!(
                shape(&table),
                Shape::of(&schema()).altered(&changes),
                "{when:?}"
            );
            check(&table, &expected(0..3), "made once").await;
            // Offline nothing is altered, with a WAL neither.
            world.fail_at(world.operations(), When::Before);
            let offline = db.alter_table("t", &[drop_column("u")]).await.unwrap_err();
            assert_eq!(offline.kind(), ErrorKind::Unavailable, "{offline}");
            check(&table, &expected(0..3), "offline").await;
        }
    }
}

#[tokio::test]
async fn hundreds_of_alterations_stay_small_and_readable() {
    let (data, wal) = (Memory::new(), Memory::new());
    let db = open(&data, Some(&wal), &Options::default()).await;
    let table = db.create_table("t", schema()).await.unwrap();
    let mut model = Model::new();
    for i in 0..150i64 {
        let now = shape(&table);
        let row: Vec<Cell> = (now.columns.iter().enumerate())
            .map(|(c, (_, f))| match c {
                0 => Cell::Int(i.into()),
                _ => cells::of_field(f, &mut Random::new(i as u64)),
            })
            .collect();
        let sent = cells::batch(&now.fields(), std::slice::from_ref(&row));
        table.ingest(&[sent]).await.unwrap();
        model.insert(Key(vec![row[0].clone()]), now.written(&row));
        let name = |i: i64| format!("c{i}");
        let mut changes = vec![add(&name(i), DataType::Int16)];
        if i > 2 {
            changes.push(widen(&name(i - 2), DataType::Int32));
            changes.push(drop_column(&name(i - 3)));
        }
        db.alter_table("t", &changes).await.unwrap();
        if i % 40 == 0 {
            db.flush().await.unwrap();
        }
    }
    check(&table, &model, "150 schemas").await;
    db.checkpoint().await.unwrap();
    let current = data.get("CURRENT").await.unwrap().unwrap();
    assert!(current.len() < 64 * 1024, "{} bytes", current.len());
    db.close().await.unwrap();
    let db = open(&data, Some(&wal), &Options::default()).await;
    check(&db.table("t").unwrap(), &model, "reopened").await;
}

/// A log that lost its end does not know the schema, or the table, of frames that were written later.
#[tokio::test]
async fn frames_of_a_schema_that_the_log_does_not_know_are_corrupt_not_lost() {
    for lost in ["the alteration", "the table"] {
        let (data, wal) = (Memory::new(), Memory::new());
        let db = open(&data, Some(&wal), &Options::default()).await;
        db.create_table("t", schema()).await.unwrap();
        let table = match lost {
            "the alteration" => {
                let changes = [add("c", DataType::Utf8)];
                db.alter_table("t", &changes).await.unwrap()
            }
            _ => db.create_table("u", schema()).await.unwrap(),
        };
        table.ingest(&[batch(0..3)]).await.unwrap();
        db.close().await.unwrap();
        data.delete("log/00000000000000000002").await.unwrap();
        // By the version that the device keeps it would see that the log has lost its end.
        wal.delete("version").await.unwrap();
        let env = Env {
            data: data.clone(),
            wal: Some(wal.clone()),
            runtime: TokioRuntime::current().unwrap(),
        };
        let e = Db::open(env, Options::default()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
        assert!(e.message().contains("WAL frames 1 to 1"), "{e}");
    }
}
