//! Every Arrow type goes round: before a flush, after it, after a restart; as a value, and as a key
//! where it can be one. All-null columns, empty strings and lists, nesting, large batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};
use lakeshore::{
    Db, Env, Options, Table,
    data::{
        intake::write_ipc,
        schema::{TableSchema, canonical_type, is_key_type},
    },
    platform::{memory::Memory, native::TokioRuntime},
};
use std::{collections::BTreeMap, sync::Arc};
use support::{
    cells::{self, Cell},
    query::Key,
    random::{Random, seed},
};

fn item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("item", data_type, true))
}

fn map(values: DataType) -> DataType {
    let entries = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", values, true),
    ];
    DataType::Map(
        Arc::new(Field::new(
            "entries",
            DataType::Struct(entries.into()),
            false,
        )),
        false,
    )
}

fn plain() -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Decimal32(9, 3),
        Decimal64(18, 0),
        Decimal128(38, 10),
        Decimal128(5, 5),
        Decimal256(76, 20),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        FixedSizeBinary(7),
    ];
    for unit in [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ] {
        types.push(Timestamp(unit, None));
        types.push(Timestamp(unit, Some("UTC".into())));
        types.push(Timestamp(unit, Some("+02:00".into())));
        types.push(Duration(unit));
    }
    types
}

fn nested() -> Vec<DataType> {
    use DataType::*;
    let fields: Fields = vec![
        Field::new("a", Int32, true),
        Field::new("b", List(item(Utf8)), true),
        Field::new("c", Decimal128(9, 2), false),
    ]
    .into();
    let mut deep = Int64;
    for _ in 0..6 {
        deep = Struct(vec![Field::new("in", List(item(deep)), true)].into());
    }
    let mut types = vec![
        List(item(Int32)),
        LargeList(item(Utf8)),
        FixedSizeList(item(Float64), 3),
        List(item(List(item(Boolean)))),
        Struct(fields.clone()),
        List(item(Struct(fields))),
        map(Int64),
        map(List(item(Utf8))),
        List(item(FixedSizeBinary(3))),
        List(item(Timestamp(TimeUnit::Nanosecond, Some("UTC".into())))),
        deep,
    ];
    for key in [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64] {
        types.push(Dictionary(Box::new(key), Box::new(Utf8)));
    }
    types.push(Dictionary(Box::new(Int32), Box::new(Int64)));
    types.push(Dictionary(Box::new(Int16), Box::new(Decimal128(9, 2))));
    types.push(List(item(Dictionary(Box::new(Int32), Box::new(Utf8)))));
    types
}

struct World {
    data: Arc<Memory>,
    wal: Option<Arc<Memory>>,
    options: Options,
    db: Db,
}

impl World {
    async fn new(local: bool, options: Options) -> Self {
        let (data, wal) = (Memory::new(), local.then(Memory::new));
        let db = Self::open(&data, &wal, &options).await;
        Self {
            data,
            wal,
            options,
            db,
        }
    }

    async fn open(data: &Arc<Memory>, wal: &Option<Arc<Memory>>, options: &Options) -> Db {
        let env = Env {
            data: data.clone(),
            wal: wal.clone().map(|w| w as _),
            runtime: TokioRuntime::current().unwrap(),
        };
        Db::open(env, options.clone()).await.unwrap()
    }

    async fn reopen(&mut self) {
        self.db.close().await.unwrap();
        self.db = Self::open(&self.data, &self.wal, &self.options).await;
    }
}

async fn check(table: &Table, expected: &[Vec<Cell>], when: &str) {
    let mut found = Vec::new();
    for batch in table.scan().stream().unwrap().collect().await.unwrap() {
        found.extend(cells::rows(&batch));
    }
    assert_eq!(found.len(), expected.len(), "{when}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{when}");
    }
    let mut found = Vec::new();
    for batch in table
        .scan()
        .reverse(true)
        .stream()
        .unwrap()
        .collect()
        .await
        .unwrap()
    {
        found.extend(cells::rows(&batch));
    }
    found.reverse();
    assert!(found == expected, "{when}: reverse");
}

/// Ingests each batch twice over in both durabilities, and reads in every state.
async fn goes_round(what: &str, fields: Vec<FieldRef>, key: &[&str], batches: &[Vec<Vec<Cell>>]) {
    let sent: Fields = fields.iter().cloned().collect();
    let schema = TableSchema::new(fields, key).unwrap();
    let mut model: BTreeMap<Key, Vec<Cell>> = BTreeMap::new();
    for row in batches.iter().flatten() {
        let key = Key(schema.key().iter().map(|&i| row[i].clone()).collect());
        model.remove(&key);
        model.insert(key, row.clone());
    }
    let expected: Vec<Vec<Cell>> = model.into_values().collect();
    for (local, inline) in [(true, 0), (false, 0), (false, 1 << 20)] {
        let options = Options {
            inline_commit_bytes: inline,
            page_rows: 50,
            ..Options::default()
        };
        let mut world = World::new(local, options).await;
        let table = world.db.create_table("t", schema.clone()).await.unwrap();
        let told = |when: &str| format!("{what}: {when}, local {local}, inline {inline}");
        for (i, rows) in batches.iter().enumerate() {
            let batch = cells::batch(&sent, rows);
            match i % 2 {
                0 => table.ingest(&[batch]).await.unwrap(),
                _ => {
                    let ipc = write_ipc(&batch.schema(), &[batch]).unwrap();
                    table.ingest_ipc(ipc.into()).await.unwrap()
                }
            };
        }
        check(&table, &expected, &told("in memory")).await;
        world.reopen().await;
        check(&world.db.table("t").unwrap(), &expected, &told("reopened")).await;
        world.db.flush().await.unwrap();
        check(&world.db.table("t").unwrap(), &expected, &told("flushed")).await;
        world.reopen().await;
        check(
            &world.db.table("t").unwrap(),
            &expected,
            &told("flushed and reopened"),
        )
        .await;
        // The same again over what is in files.
        let table = world.db.table("t").unwrap();
        for rows in batches {
            table.ingest(&[cells::batch(&sent, rows)]).await.unwrap();
        }
        check(&table, &expected, &told("over files")).await;
    }
}

#[tokio::test]
async fn every_type_goes_round_as_a_value() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    for data_type in plain().into_iter().chain(nested()) {
        let fields = vec![
            Arc::new(Field::new("id", DataType::Int64, false)),
            Arc::new(Field::new("v", data_type.clone(), true)),
            Arc::new(Field::new("nulls", data_type.clone(), true)),
            Arc::new(Field::new("sure", data_type.clone(), false)),
        ];
        let batch = |random: &mut Random| -> Vec<Vec<Cell>> {
            let row = |random: &mut Random| {
                vec![
                    Cell::Int(random.below(150) as i128),
                    cells::of_field(&fields[1], random),
                    Cell::Null,
                    cells::of_field(&fields[3], random),
                ]
            };
            (0..80).map(|_| row(random)).collect()
        };
        let batches = [batch(&mut random), batch(&mut random), batch(&mut random)];
        goes_round(&data_type.to_string(), fields, &["id"], &batches).await;
    }
}

#[tokio::test]
async fn every_plain_type_goes_round_as_a_key() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8));
    for data_type in plain().into_iter().chain([dictionary]) {
        assert!(
            is_key_type(&canonical_type(&data_type))
                || matches!(data_type, DataType::Dictionary(..))
        );
        let fields = vec![
            Arc::new(Field::new("v", DataType::Utf8, true)),
            Arc::new(Field::new("k", data_type.clone(), false)),
            Arc::new(Field::new("n", DataType::Int8, false)),
        ];
        let batch = |random: &mut Random| -> Vec<Vec<Cell>> {
            let row = |random: &mut Random| -> Vec<Cell> {
                fields.iter().map(|f| cells::of_field(f, random)).collect()
            };
            (0..80).map(|_| row(random)).collect()
        };
        let batches = [batch(&mut random), batch(&mut random)];
        goes_round(
            &format!("key {data_type}"),
            fields.clone(),
            &["k"],
            &batches,
        )
        .await;
        goes_round(&format!("keys {data_type}"), fields, &["k", "n"], &batches).await;
    }
}

#[tokio::test]
async fn a_dictionary_of_narrow_indices_takes_more_values_than_they_count() {
    let data_type = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let fields = vec![
        Arc::new(Field::new("id", DataType::Int64, false)),
        Arc::new(Field::new("v", data_type, true)),
    ];
    // Each batch has few values; together they have more than an int8 counts.
    let batch = |b: i128| -> Vec<Vec<Cell>> {
        let row = |i| vec![Cell::Int(b * 50 + i), Cell::Text(format!("value {b} {i}"))];
        (0..50).map(row).collect()
    };
    let batches: Vec<_> = (0..30).map(batch).collect();
    goes_round("a narrow dictionary", fields, &["id"], &batches).await;
}

#[tokio::test]
async fn empty_values_and_large_batches_go_round() {
    let list = DataType::List(item(DataType::Utf8));
    let fields = vec![
        Arc::new(Field::new("id", DataType::Int64, false)),
        Arc::new(Field::new("text", DataType::Utf8, true)),
        Arc::new(Field::new("list", list, true)),
        Arc::new(Field::new("bytes", DataType::Binary, true)),
    ];
    let empty = |i: i128| {
        vec![
            Cell::Int(i),
            Cell::Text(String::new()),
            Cell::Items(Vec::new()),
            Cell::Bytes(Vec::new()),
        ]
    };
    let batches = [
        (0..1000).map(empty).collect(),
        (500..1500).map(empty).collect(),
    ];
    goes_round("empty values", fields.clone(), &["id"], &batches).await;
    let large = |i: i128| {
        let text = Cell::Text(format!("row {i}"));
        vec![
            Cell::Int(i * 7919 % 60_000),
            text.clone(),
            Cell::Items(vec![text; (i % 4) as usize]),
            Cell::Bytes(vec![i as u8; (i % 50) as usize]),
        ]
    };
    let batches = [(0..60_000).map(large).collect::<Vec<_>>()];
    goes_round("a large batch", fields, &["id"], &batches).await;
}

#[tokio::test]
async fn large_values_go_round() {
    let fields = vec![
        Arc::new(Field::new("id", DataType::Int64, false)),
        Arc::new(Field::new("text", DataType::Utf8, true)),
    ];
    let row = |i: i128| {
        vec![
            Cell::Int(i),
            Cell::Text(char::from(b'a' + i as u8).to_string().repeat(3 << 20)),
        ]
    };
    let batches = [
        (0..4).map(row).collect::<Vec<_>>(),
        (2..6).map(row).collect(),
    ];
    goes_round("large values", fields, &["id"], &batches).await;
}
