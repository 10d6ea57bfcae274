//! Conversions: the same values in another representation, or an error; and types as text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::data as support;

use arrow_array::{builder::*, cast::AsArray, types::*, *};
use arrow_buffer::i256;
use arrow_schema::{DataType, Field, TimeUnit::*};
use lakeshore::{
    ErrorKind,
    data::{
        convert::convert,
        schema::canonical_type,
        spec::{ColumnSpec, columns, parse_type, type_name},
    },
};
use std::{sync::Arc, time::Duration as Time};
use support::{field, for_seeds, key_types, model, order, random_array};

use DataType::*;

fn array(values: impl Array + 'static) -> ArrayRef {
    Arc::new(values)
}

fn dictionary(values: DataType) -> DataType {
    Dictionary(Box::new(Int32), Box::new(values))
}

/// Converts and holds every value against the original's.
fn same(from: ArrayRef, to: &DataType) {
    let made = convert(&from, to, "c").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(made.data_type(), to);
    made.to_data().validate_full().unwrap();
    assert_eq!(made.len(), from.len());
    for row in 0..from.len() {
        match (model(&from, row), model(&made, row)) {
            (None, None) => {}
            (Some(a), Some(b)) => assert!(order(&a, &b).is_eq(), "{a:?} became {b:?} as {to}"),
            other => panic!("row {row}: {other:?} as {to}"),
        }
    }
}

fn refused(from: ArrayRef, to: &DataType, words: &[&str]) {
    let error = convert(&from, to, "c").expect_err(&format!("{} as {to}", from.data_type()));
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for word in words.iter().chain(&["\"c\""]) {
        assert!(error.message().contains(word), "{word:?} in {error}");
    }
}

#[test]
fn equal_types_share_their_buffers() {
    let from = array(Int64Array::from(vec![1, 2, 3]));
    assert!(Arc::ptr_eq(&from, &convert(&from, &Int64, "c").unwrap()));
}

#[test]
fn dictionaries_run_ends_and_views_become_plain_and_back() {
    for_seeds(Time::from_secs(2), |_, random| {
        let rows = random.below(40);
        let skip = random.below(4);
        for data_type in key_types() {
            let plain = random_array(random, &data_type, rows + skip, 20).slice(skip, rows);
            let packed = convert(&plain, &dictionary(data_type.clone()), "c").unwrap();
            packed.to_data().validate_full().unwrap();
            same(packed.clone(), &data_type);
            let from = random_array(random, &dictionary(data_type.clone()), rows + skip, 20);
            let from = from.slice(skip, rows);
            same(from, &data_type);
            let runs = RunEndEncoded(
                field("run_ends", Int32, false),
                field("values", data_type.clone(), true),
            );
            let runs = random_array(random, &runs, rows + skip + 1, 20).slice(skip, rows);
            let made = convert(&runs, &data_type, "c").unwrap();
            let ends = runs.as_any().downcast_ref::<RunArray<Int32Type>>().unwrap();
            for row in 0..rows {
                let at = ends.get_physical_index(row);
                let (a, b) = (model(ends.values(), at), model(&made, row));
                assert_eq!(format!("{a:?}"), format!("{b:?}"));
            }
        }
        for (view, plain, large) in [
            (Utf8View, Utf8, LargeUtf8),
            (BinaryView, Binary, LargeBinary),
        ] {
            let from = random_array(random, &view, rows + skip, 20).slice(skip, rows);
            let small = convert(&from, &plain, "c").unwrap();
            small.to_data().validate_full().unwrap();
            for row in 0..rows {
                let value: Option<Vec<u8>> = match &view {
                    _ if from.is_null(row) => None,
                    Utf8View => Some(from.as_string_view().value(row).into()),
                    _ => Some(from.as_binary_view().value(row).into()),
                };
                assert_eq!(
                    format!("{:?}", value.map(support::Model::Bytes)),
                    format!("{:?}", model(&small, row))
                );
            }
            same(small.clone(), &large);
            same(
                convert(&small, &large, "c")
                    .unwrap()
                    .slice(rows / 2, rows - rows / 2),
                &plain,
            );
        }
    });
}

/// A type that says the same in another way.
fn foreign(data_type: &DataType, random: &mut support::Random) -> DataType {
    let mut inner = |f: &Arc<Field>, name: &str| field(name, foreign(f.data_type(), random), true);
    match data_type {
        List(f) => {
            let f = inner(f, "element");
            match random.below(3) {
                0 => LargeList(f),
                1 => ListView(f),
                _ => List(f),
            }
        }
        Struct(fields) => {
            let mut fields: Vec<_> = fields
                .iter()
                .map(|f| field(f.name(), foreign(f.data_type(), random), true))
                .collect();
            fields.reverse();
            Struct(fields.into())
        }
        Utf8 => match random.below(4) {
            0 => LargeUtf8,
            1 => Utf8View,
            2 => dictionary(Utf8),
            _ => Utf8,
        },
        Int32 => match random.below(3) {
            0 => Int16,
            1 => UInt8,
            _ => Int32,
        },
        other => other.clone(),
    }
}

/// What a row holds, in words that do not depend on the representation.
fn words(array: &ArrayRef, row: usize) -> String {
    let array = match array.data_type() {
        Dictionary(_, v) => convert(array, v, "c").unwrap(),
        _ => array.clone(),
    };
    if array.is_null(row) {
        return "null".into();
    }
    let list = |values: ArrayRef| {
        let items: Vec<_> = (0..values.len()).map(|i| words(&values, i)).collect();
        format!("[{}]", items.join(","))
    };
    match array.data_type() {
        List(_) => list(array.as_list::<i32>().value(row)),
        LargeList(_) => list(array.as_list::<i64>().value(row)),
        ListView(_) => list(array.as_list_view::<i32>().value(row)),
        FixedSizeList(_, _) => list(array.as_fixed_size_list().value(row)),
        Map(_, _) => list(Arc::new(array.as_map().value(row))),
        Struct(_) => {
            let s = array.as_struct();
            let mut parts: Vec<_> = s
                .fields()
                .iter()
                .zip(s.columns())
                .map(|(f, c)| format!("{}={}", f.name(), words(c, row)))
                .collect();
            parts.sort();
            format!("{{{}}}", parts.join(","))
        }
        Utf8View => format!("{:?}", array.as_string_view().value(row)),
        Utf8 => format!("{:?}", array.as_string::<i32>().value(row)),
        LargeUtf8 => format!("{:?}", array.as_string::<i64>().value(row)),
        _ => format!("{:?}", model(&array, row)),
    }
}

#[test]
fn nested_values_survive_in_every_representation() {
    let types: [&str; 5] = [
        "list<utf8>",
        "list<list<int32>>",
        "struct<a: int32, b: utf8>",
        "list<struct<a: int32, b: list<utf8>>>",
        "struct<s: struct<x: utf8>, l: list<int32>>",
    ];
    for_seeds(Time::from_secs(2), |_, random| {
        let to = parse_type(random.pick::<&str>(&types)).unwrap();
        let rows = random.below(20);
        let skip = random.below(3);
        let from = foreign(&to, random);
        let from = random_array(random, &from, rows + skip, 20).slice(skip, rows);
        let made = convert(&from, &to, "c").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(made.data_type(), &to);
        made.to_data().validate_full().unwrap();
        for row in 0..rows {
            assert_eq!(words(&from, row), words(&made, row), "{}", from.data_type());
        }
    });
}

#[test]
fn maps_and_fixed_size_lists_are_converted_inside() {
    let map = |key: DataType, value: DataType, names: [&str; 3]| {
        let pairs = Struct(vec![field(names[1], key, false), field(names[2], value, true)].into());
        Map(field(names[0], pairs, false), false)
    };
    for_seeds(Time::from_millis(500), |_, random| {
        let to = map(Utf8, Int32, ["entries", "key", "value"]);
        let from = map(LargeUtf8, Int8, ["key_value", "k", "v"]);
        let from = random_array(random, &from, 12, 20).slice(2, 10);
        let made = convert(&from, &to, "c").unwrap();
        made.to_data().validate_full().unwrap();
        let to = FixedSizeList(field("item", Int32, true), 3);
        let narrow = FixedSizeList(field("x", Int8, true), 3);
        let fixed = random_array(random, &narrow, 12, 20).slice(2, 10);
        let made = convert(&fixed, &to, "c").unwrap();
        let list = convert(&made, &List(field("item", Int32, true)), "c").unwrap();
        let back = convert(&list, &to, "c").unwrap();
        for row in 0..10 {
            assert_eq!(words(&fixed, row), words(&made, row));
            assert_eq!(words(&made, row), words(&list, row));
            assert_eq!(words(&made, row), words(&back, row));
        }
    });
    let mut lists = ListBuilder::new(Int32Builder::new());
    lists.append_value([Some(1), Some(2)]);
    refused(
        array(lists.finish()),
        &FixedSizeList(field("item", Int32, true), 3),
        &["row 0", "2 elements"],
    );
}

#[test]
fn numbers_keep_their_value_or_are_refused() {
    let numbers = key_types();
    let numbers: Vec<_> = numbers
        .iter()
        .filter(|t| t.is_numeric() && !matches!(t, Duration(_)))
        .collect();
    let (mut converted, mut rejected) = (0, 0);
    for_seeds(Time::from_secs(2), |_, random| {
        let (from, to) = (*random.pick(&numbers), *random.pick(&numbers));
        let from = random_array(random, from, 3, 20);
        match convert(&from, to, "c") {
            Ok(_) => {
                same(from, to);
                converted += 1;
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Invalid, "{e}");
                rejected += 1;
            }
        }
    });
    assert!(converted > 100 && rejected > 100 || std::env::var("SEED").is_ok());

    let floats = |v: Vec<Option<f64>>| array(Float64Array::from(v));
    same(
        floats(vec![Some(1.0), None, Some(-0.0), Some(2147483647.0)]),
        &Int32,
    );
    same(floats(vec![Some(9007199254740992.0)]), &Int64);
    refused(
        floats(vec![Some(1.0), Some(1.5)]),
        &Int32,
        &["row 1", "1.5", "int32"],
    );
    refused(floats(vec![Some(2147483648.0)]), &Int32, &["2147483648"]);
    refused(
        floats(vec![Some(9223372036854775808.0)]),
        &Int64,
        &["row 0"],
    );
    refused(floats(vec![Some(f64::NAN)]), &Int64, &["NaN"]);
    refused(floats(vec![Some(-1.0)]), &UInt8, &["-1"]);
    refused(floats(vec![Some(0.1)]), &Float32, &["0.1"]);
    same(
        floats(vec![Some(0.5), Some(f64::NAN), Some(f64::INFINITY)]),
        &Float32,
    );
    same(floats(vec![Some(12.0)]), &Decimal128(10, 2));
    same(array(Int64Array::from(vec![i64::MIN])), &Float64);
    refused(
        array(Int64Array::from(vec![i64::MAX])),
        &Float64,
        &["9223372036854775807"],
    );
    refused(
        array(Int32Array::from(vec![100])),
        &Decimal128(4, 2),
        &["100"],
    );
    let wide =
        Decimal256Array::from(vec![i256::from_i128(1_000)]).with_data_type(Decimal256(50, 3));
    same(array(wide.clone()), &Decimal128(10, 0));
    same(array(wide), &Int8);
    refused(
        array(StringArray::from(vec!["1"])),
        &Int32,
        &["utf8", "int32", "representation"],
    );
    refused(array(BooleanArray::from(vec![true])), &Int32, &["bool"]);
    // What lies under a null does not matter.
    let hidden = Float64Array::new(vec![1.5, 2.0].into(), Some(vec![false, true].into()));
    same(array(hidden), &Int32);
}

#[test]
fn times_change_their_unit_but_not_their_moment() {
    let zone = || Some("UTC".into());
    let at = |v: Vec<i64>| array(TimestampMillisecondArray::from(v));
    let made = convert(&at(vec![-5, 7]), &Timestamp(Microsecond, None), "c").unwrap();
    assert_eq!(
        made.as_primitive::<TimestampMicrosecondType>().values(),
        &[-5000, 7000]
    );
    refused(at(vec![i64::MAX]), &Timestamp(Nanosecond, None), &["row 0"]);
    refused(at(vec![1001]), &Timestamp(Second, None), &["1001"]);
    refused(at(vec![1]), &Timestamp(Millisecond, zone()), &["time zone"]);
    let paris = TimestampSecondArray::from(vec![1]).with_timezone("Europe/Paris");
    let made = convert(&array(paris), &Timestamp(Microsecond, zone()), "c").unwrap();
    assert_eq!(
        made.as_primitive::<TimestampMicrosecondType>().values(),
        &[1_000_000]
    );
    let days = convert(&array(Date32Array::from(vec![-1])), &Date64, "c").unwrap();
    assert_eq!(days.as_primitive::<Date64Type>().values(), &[-86_400_000]);
    assert!(convert(&days, &Date32, "c").is_ok());
    refused(
        array(Date32Array::from(vec![1])),
        &Timestamp(Second, None),
        &["date32"],
    );
    refused(
        array(Int64Array::from(vec![1])),
        &Timestamp(Second, None),
        &["int64"],
    );
    let seconds = array(Time32SecondArray::from(vec![5]));
    let made = convert(&seconds, &Time64(Nanosecond), "c").unwrap();
    assert_eq!(
        made.as_primitive::<Time64NanosecondType>().values(),
        &[5_000_000_000]
    );
}

#[test]
fn structs_go_by_name_and_lose_nothing() {
    let int = |name: &str| field(name, Int32, true);
    let values = array(Int32Array::from(vec![1, 2]));
    let s = |names: &[&str]| {
        let fields: Vec<_> = names.iter().map(|n| int(n)).collect();
        array(StructArray::new(
            fields.into(),
            vec![values.clone(); names.len()],
            None,
        ))
    };
    let to = Struct(vec![int("a"), int("b")].into());
    let made = convert(&s(&["b"]), &to, "c").unwrap();
    assert_eq!(made.as_struct().column(0).null_count(), 2);
    assert_eq!(made.as_struct().column(1).null_count(), 0);
    refused(s(&["a", "z"]), &to, &["\"z\"", "leave it out"]);
    refused(s(&["a", "a"]), &to, &["\"a\"", "twice"]);
    let strict = Struct(vec![int("a"), field("n", Int32, false)].into());
    refused(s(&["a"]), &strict, &["\"n\"", "missing"]);
}

#[test]
fn bytes_of_fixed_size_become_any_bytes_and_back() {
    for_seeds(Time::from_millis(300), |_, random| {
        let fixed = random_array(random, &FixedSizeBinary(3), 12, 20).slice(2, 10);
        for to in [Binary, LargeBinary] {
            same(fixed.clone(), &to);
            same(convert(&fixed, &to, "c").unwrap(), &FixedSizeBinary(3));
        }
    });
    let two = array(BinaryArray::from(vec![b"abc".as_slice(), b"ab"]));
    refused(two, &FixedSizeBinary(3), &["row 1", "2 bytes"]);
    let text = array(StringArray::from(vec!["abc"]));
    refused(text, &Binary, &["utf8", "binary"]);
}

#[test]
fn nulls_of_no_type_become_nulls_of_any() {
    for data_type in key_types() {
        let made = convert(&array(NullArray::new(3)), &data_type, "c").unwrap();
        assert_eq!((made.null_count(), made.data_type()), (3, &data_type));
    }
}

#[test]
fn type_names_read_back_as_the_same_type() {
    let nested = [
        "list<utf8>",
        "large_list<int8 not null>",
        "fixed_size_list<float32, 3>",
        "struct<a: int32, b: utf8 not null, \"odd: name\": list<bool>>",
        "map<utf8, list<timestamp[us, Europe/Paris]>>",
        "dictionary<uint16, large_utf8>",
    ];
    for text in nested {
        assert_eq!(type_name(&parse_type(text).unwrap()), text);
    }
    for data_type in key_types() {
        assert_eq!(parse_type(&type_name(&data_type)).unwrap(), data_type);
    }
    for (text, data_type) in [
        ("INT64", Int64),
        (" long ", Int64),
        ("Double", Float64),
        ("string", Utf8),
        ("boolean", Boolean),
        ("date", Date32),
        ("decimal(10,2)", Decimal128(10, 2)),
        ("decimal(50)", Decimal256(50, 0)),
        ("decimal128( 38 , -3 )", Decimal128(38, -3)),
        (
            "timestamp[ms,utc]",
            Timestamp(Millisecond, Some("UTC".into())),
        ),
        (
            "fixed_size_list<float32>[3]",
            FixedSizeList(field("item", Float32, true), 3),
        ),
    ] {
        assert_eq!(parse_type(text).unwrap(), data_type, "{text}");
    }
}

#[test]
fn types_that_are_not_are_invalid() {
    let deep = format!("{}int8{}", "list<".repeat(10_000), ">".repeat(10_000));
    for text in [
        "",
        "int65",
        "list",
        "list<",
        "list<int8",
        "list<int8>>",
        "decimal(0)",
        "decimal(39, 50)",
        "decimal128(77,2)",
        "decimal(9999999999)",
        "timestamp",
        "timestamp[h]",
        "timestamp[us,]",
        "time32[us]",
        "time64[ms]",
        "fixed_size_binary[0]",
        "fixed_size_binary[-1]",
        "struct<>",
        "fixed_size_binary[99999999999]",
        "struct<a int8>",
        "struct<a: int8, a: int8>",
        "dictionary<utf8, utf8>",
        "map<utf8>",
        "utf8 x",
        "é",
        "list<é>",
        &deep,
    ] {
        let error = parse_type(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert!(
        parse_type("varchar")
            .unwrap_err()
            .message()
            .contains("utf8")
    );
    let spec = ColumnSpec {
        name: "x".into(),
        data_type: "nope".into(),
        nullable: None,
    };
    assert!(columns(&[spec]).unwrap_err().message().contains("\"x\""));
    let spec = ColumnSpec {
        name: "x".into(),
        data_type: "int8".into(),
        nullable: None,
    };
    assert!(columns(&[spec]).unwrap()[0].is_nullable());
}

#[test]
fn damaged_type_texts_never_panic() {
    let seeds = [
        "struct<a: list<int8>, \"b\\\"\": map<utf8, decimal(3,1)>>",
        "timestamp[us, UTC]",
    ];
    for_seeds(Time::from_millis(500), |_, random| {
        let mut text: Vec<char> = random.pick(&seeds).chars().collect();
        for _ in 0..random.below(4) {
            let at = random.below(text.len());
            match random.below(3) {
                0 if text.len() > 1 => drop(text.remove(at)),
                1 => text.insert(
                    at,
                    *random.pick(&['<', '>', '"', '\\', 'é', '9', '-', ',', ' ']),
                ),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        if let Ok(data_type) = parse_type(&text) {
            assert_eq!(
                parse_type(&type_name(&data_type)).unwrap(),
                data_type,
                "{text}"
            );
            assert_eq!(canonical_type(&data_type), data_type);
        }
    });
}
