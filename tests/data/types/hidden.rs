//! What lies under a null, or is reached by no row, is never judged; what is not under one is.

use super::grammar::{field, map};
use crate::support::cells::{self, Cell};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeListArray,
    Float64Array, Int8Array, Int32Array, Int64Array, LargeListArray, ListArray, ListViewArray,
    MapArray, RecordBatch, RunArray, StringArray, StringViewArray, StructArray, types::Int32Type,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::nullif::nullif;
use lakeshore::{
    Db, Env, ErrorKind, Options,
    data::{intake::write_ipc, schema::TableSchema},
    platform::native::TokioRuntime,
};
use std::sync::Arc;

/// No int32.
const FAR: i64 = 1 << 40;

/// Rows 1 and 3 are null, with what they have below.
fn covered(array: impl Array + 'static) -> ArrayRef {
    let gone: BooleanArray = (0..array.len()).map(|i| Some(i % 2 == 1)).collect();
    nullif(&array, &gone).unwrap()
}

fn parts(name: &str, array: ArrayRef, nullable: bool) -> StructArray {
    let f = field(name, array.data_type(), nullable);
    StructArray::try_new(vec![f].into(), vec![array], None).unwrap()
}

fn ints(values: [i64; 4]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn item(data_type: &DataType) -> Arc<Field> {
    field("item", data_type, true)
}

fn list(lengths: [usize; 4], values: ArrayRef) -> ListArray {
    let offsets = OffsetBuffer::from_lengths(lengths);
    ListArray::try_new(item(values.data_type()), offsets, values, None).unwrap()
}

fn of(cells: &[i128]) -> Cell {
    Cell::Items(cells.iter().map(|v| Cell::Int(*v)).collect())
}

/// What the table's type is, what is sent, and what rows 0 and 2 say.
fn cases() -> Vec<(&'static str, DataType, ArrayRef, [Cell; 2])> {
    use DataType::*;
    let a32 = |data_type| Struct(vec![field("a", &data_type, true)].into());
    let sure = Struct(vec![field("a", &Int32, false)].into());
    let far = || ints([1, FAR, 3, FAR]);
    let own = || covered(parts("a", far(), true));
    let decimals = |values: [i128; 4]| -> ArrayRef {
        let array = Decimal128Array::from(values.to_vec());
        Arc::new(array.with_precision_and_scale(5, 0).unwrap())
    };
    let one_three = || [of(&[1]), of(&[3])];
    let fixed = |values: ArrayRef| {
        covered(FixedSizeListArray::try_new(item(values.data_type()), 1, values, None).unwrap())
    };
    let run_ends = Int32Array::from(vec![1, 2, 3, 4]);
    let runs: ArrayRef = Arc::new(RunArray::<Int32Type>::try_new(&run_ends, &far()).unwrap());
    let keys = StringArray::from(vec!["k"; 4]);
    let entry = vec![Arc::new(keys) as ArrayRef, far()];
    let Map(entries, _) = map(&Utf8, &Int64, true) else {
        panic!()
    };
    let Struct(pair) = entries.data_type().clone() else {
        panic!()
    };
    let pairs = StructArray::try_new(pair, entry, None).unwrap();
    let one_each = || OffsetBuffer::<i32>::from_lengths([1; 4]);
    let maps = MapArray::try_new(entries.clone(), one_each(), pairs, None, false).unwrap();
    let said = |n: i128| {
        Cell::Items(vec![Cell::Items(vec![
            Cell::Text("k".into()),
            Cell::Int(n),
        ])])
    };
    let unused = DictionaryArray::try_new(Int8Array::from(vec![0, 0, 2, 0]), far()).unwrap();
    let text = |s: &str| Cell::Text(s.into());
    let long = "x".repeat(17 << 20);
    let lacking: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), None]));
    let shown: NullBuffer = vec![true, false, true, false].into();
    let nothing_there = StructArray::try_new(
        vec![field("a", &Int32, false)].into(),
        vec![lacking.clone()],
        Some(shown.clone()),
    );
    let unreached = ListViewArray::try_new(
        item(&Int64),
        vec![0, 9, 2, 9].into(),
        vec![1, 1, 1, 1].into(),
        Arc::new(Int64Array::from(vec![
            1, FAR, 3, FAR, FAR, FAR, FAR, FAR, FAR, FAR,
        ])),
        Some(shown),
    );
    let six = Int64Array::from(vec![FAR, 1, FAR, 3, FAR, FAR]);
    let lengths = OffsetBuffer::from_lengths([1; 6]);
    let beside = ListArray::try_new(item(&Int64), lengths, Arc::new(six), None).unwrap();
    let bytes = |of: &[&str]| -> ArrayRef {
        Arc::new(arrow_array::BinaryArray::from_iter_values(
            of.iter().map(|s| s.as_bytes()),
        ))
    };
    vec![
        ("struct", a32(Int32), own(), one_three()),
        ("struct of not null", sure.clone(), own(), one_three()),
        (
            "nothing below",
            sure,
            Arc::new(nothing_there.unwrap()),
            one_three(),
        ),
        (
            "struct of struct",
            Struct(vec![field("b", &a32(Int32), true)].into()),
            covered(parts("b", Arc::new(parts("a", far(), true)), true)),
            one_three().map(|c| Cell::Items(vec![c])),
        ),
        (
            "list",
            List(item(&Int32)),
            covered(list([1; 4], far())),
            one_three(),
        ),
        (
            "large list to list",
            List(item(&Int32)),
            covered(
                LargeListArray::try_new(
                    item(&Int64),
                    OffsetBuffer::from_lengths([1; 4]),
                    far(),
                    None,
                )
                .unwrap(),
            ),
            one_three(),
        ),
        (
            "list of not null",
            List(field("item", &Int32, false)),
            covered(list([1; 4], lacking)),
            one_three(),
        ),
        (
            "list in a struct",
            Struct(vec![field("a", &List(item(&Int32)), false)].into()),
            covered(parts("a", Arc::new(list([1; 4], far())), false)),
            one_three().map(|c| Cell::Items(vec![c])),
        ),
        (
            "elements of no row",
            List(item(&Int32)),
            Arc::new(unreached.unwrap()),
            one_three(),
        ),
        (
            "elements beside a slice",
            List(item(&Int32)),
            covered(beside.slice(1, 4)),
            one_three(),
        ),
        (
            "fixed-size list",
            FixedSizeList(item(&Int32), 1),
            fixed(far()),
            one_three(),
        ),
        (
            "fixed-size list to list",
            List(item(&Int32)),
            fixed(far()),
            one_three(),
        ),
        (
            "list of another length",
            FixedSizeList(item(&Int32), 1),
            covered(list([1, 2, 1, 0], ints([1, FAR, FAR, 3]))),
            one_three(),
        ),
        (
            "map",
            map(&Utf8, &Int32, false),
            covered(maps),
            [said(1), said(3)],
        ),
        (
            "unused entries",
            Int32,
            Arc::new(unused),
            [Cell::Int(1), Cell::Int(3)],
        ),
        (
            "runs in a struct",
            a32(Int32),
            covered(parts("a", runs, true)),
            one_three(),
        ),
        (
            "decimals of the same type",
            a32(Decimal128(5, 0)),
            covered(parts("a", decimals([1, 1_000_000, 3, 1_000_000]), true)),
            one_three(),
        ),
        (
            "decimals in a list",
            List(item(&Decimal128(5, 0))),
            covered(list([1; 4], decimals([1, 1_000_000, 3, 1_000_000]))),
            one_three(),
        ),
        (
            "floats",
            Struct(vec![field("a", &Float32, false)].into()),
            covered(parts(
                "a",
                Arc::new(Float64Array::from(vec![1.0, 1e300, 3.0, 0.1])),
                false,
            )),
            [1.0, 3.0].map(|v| Cell::Items(vec![Cell::float(v)])),
        ),
        (
            "bytes of another length",
            a32(FixedSizeBinary(1)),
            covered(parts("a", bytes(&["1", "no", "3", ""]), true)),
            ["1", "3"].map(|s| Cell::Items(vec![Cell::Bytes(s.into())])),
        ),
        (
            "text that is too long",
            Utf8,
            covered(StringArray::from(vec!["1", &long, "3", ""])),
            ["1", "3"].map(text),
        ),
        (
            "a view that is too long",
            Utf8,
            covered(StringViewArray::from(vec!["1", &long, "3", ""])),
            ["1", "3"].map(text),
        ),
    ]
}

fn batch(array: ArrayRef) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..array.len() as i64));
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("v", array.data_type().clone(), true),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![ids, array]).unwrap()
}

async fn db() -> Db {
    let env = Env::memory(TokioRuntime::current().unwrap());
    Db::open(env, Options::default()).await.unwrap()
}

fn schema(data_type: &DataType) -> TableSchema {
    let fields = vec![
        field("id", &DataType::Int64, false),
        field("v", data_type, true),
    ];
    TableSchema::new(fields, &["id"]).unwrap()
}

async fn values(table: &lakeshore::Table) -> Vec<Cell> {
    let found = table.scan().stream().unwrap().collect().await.unwrap();
    let rows = found.iter().flat_map(cells::rows);
    rows.map(|mut row| row.remove(1)).collect()
}

#[tokio::test]
async fn what_lies_under_a_null_is_not_judged() {
    let db = db().await;
    for (at, (name, data_type, sent, [first, third])) in cases().into_iter().enumerate() {
        let wanted = vec![first, Cell::Null, third, Cell::Null];
        // An entry that no row names is beside, not below.
        let wanted = match name {
            "unused entries" => [0, 0, 1, 0].map(|i| wanted[i * 2].clone()).to_vec(),
            _ => wanted,
        };
        let batch = batch(sent);
        for ipc in [false, true] {
            let table = db
                .create_table(&format!("t{at}{ipc}"), schema(&data_type))
                .await
                .unwrap();
            let taken = match ipc {
                false => table.ingest(std::slice::from_ref(&batch)).await,
                true => {
                    let bytes = write_ipc(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
                    table.ingest_ipc(bytes.into()).await
                }
            };
            taken.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(values(&table).await, wanted, "{name}");
            db.flush().await.unwrap();
            assert_eq!(values(&table).await, wanted, "{name}, flushed");
        }
    }
}

#[tokio::test]
async fn the_same_beside_no_null_is_refused_with_its_path() {
    let db = db().await;
    for (at, (name, data_type, sent, _)) in cases().into_iter().enumerate() {
        // The same, with nothing covered.
        let gone = BooleanArray::from(vec![false; 4]);
        let bare = nullif(&sent, &gone)
            .unwrap()
            .to_data()
            .into_builder()
            .nulls(None);
        let Ok(bare) = bare.build() else {
            continue;
        };
        let bare = arrow_array::make_array(bare);
        if name == "unused entries" {
            continue;
        }
        let batch = batch(bare);
        let table = db
            .create_table(&format!("t{at}"), schema(&data_type))
            .await
            .unwrap();
        let error = table.ingest(&[batch]).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
        assert!(error.to_string().contains("\"v\""), "{name}: {error}");
        assert!(values(&table).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_part_that_is_declared_not_null_is_refused_where_it_alone_is_null() {
    let db = db().await;
    let int = |nullable| field("a", &DataType::Int32, nullable);
    let sure = DataType::Struct(vec![int(false)].into());
    let lacking: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), None, Some(4)]));
    let structs: ArrayRef = Arc::new(parts("a", lacking.clone(), true));
    let sure_list = DataType::List(field("item", &sure, true));
    let pairs = DataType::FixedSizeList(field("item", &DataType::Int32, false), 2);
    let cases = [
        ("struct", sure, structs.clone(), 2, "v.a"),
        (
            "list",
            sure_list,
            Arc::new(list([2, 2, 0, 0], structs)) as ArrayRef,
            1,
            "v.item.a",
        ),
        (
            "fixed-size list",
            pairs,
            Arc::new(
                FixedSizeListArray::try_new(item(&DataType::Int32), 2, lacking, None).unwrap(),
            ),
            1,
            "v.item",
        ),
    ];
    for (name, data_type, sent, row, path) in cases {
        let table = db.create_table(name, schema(&data_type)).await.unwrap();
        let error = table.ingest(&[batch(sent)]).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
        let said = error.to_string();
        assert!(said.contains(&format!("row {row}")), "{name}: {said}");
        assert!(said.contains(&format!("{path:?}")), "{name}: {said}");
    }
}

/// The bytes of what is under nulls, in an IPC stream of `array`, are overwritten.
async fn patched(array: ArrayRef, find: &[u8], put: &[u8]) -> Vec<Cell> {
    let db = db().await;
    let table = db.create_table("t", schema(&DataType::Utf8)).await.unwrap();
    let batch = batch(array);
    let mut ipc = write_ipc(&batch.schema(), &[batch]).unwrap();
    let at = ipc
        .windows(find.len())
        .rposition(|w| w == find)
        .expect("the bytes");
    ipc[at..at + put.len()].copy_from_slice(put);
    table.ingest_ipc(ipc.into()).await.unwrap();
    db.flush().await.unwrap();
    values(&table).await
}

#[tokio::test]
async fn text_under_a_null_need_not_be_text() {
    let text = |s: &str| Cell::Text(s.into());
    let wanted = vec![text("1"), Cell::Null, text("3"), Cell::Null];
    let array = covered(StringArray::from(vec!["1", "QQQQ", "3", ""]));
    assert_eq!(patched(array, b"QQQQ", &[0xff; 4]).await, wanted);
    let array = covered(StringViewArray::from(vec![
        "1",
        "QQQQ and more than a view holds",
        "3",
        "",
    ]));
    // Length, prefix, then the number of a buffer: there is one.
    let view = [&31u32.to_le_bytes()[..], b"QQQQ"].concat();
    let lost = [&view[..], &[0xff; 8]].concat();
    assert_eq!(patched(array, &view, &lost).await, wanted);
}
