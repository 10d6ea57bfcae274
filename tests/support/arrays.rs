//! Random arrays of every type that a table can hold, and their values in words.

use super::random::Random;
use arrow_array::{builder::*, cast::AsArray, types::*, *};
use arrow_buffer::{NullBuffer, OffsetBuffer, i256};
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use std::sync::Arc;

/// A type that can be (part of) a primary key.
pub fn key_type(random: &mut Random) -> DataType {
    use DataType::*;
    let utc = || Some("UTC".into());
    let all = [
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
        Decimal32(7, 2),
        Decimal64(12, 3),
        Decimal128(30, 5),
        Decimal256(60, 7),
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Second, None),
        Timestamp(TimeUnit::Millisecond, utc()),
        Timestamp(TimeUnit::Microsecond, utc()),
        Timestamp(TimeUnit::Nanosecond, None),
        Duration(TimeUnit::Second),
        Duration(TimeUnit::Millisecond),
        Duration(TimeUnit::Microsecond),
        Duration(TimeUnit::Nanosecond),
        Utf8,
        LargeUtf8,
        Binary,
        LargeBinary,
        FixedSizeBinary(5),
    ];
    random.pick(&all).clone()
}

/// Any type of a column.
pub fn any_type(random: &mut Random, depth: usize) -> DataType {
    use DataType::*;
    let mut inner =
        |name: &str, nullable| Arc::new(Field::new(name, any_type(random, depth - 1), nullable));
    if depth == 0 {
        return key_type(random);
    }
    match inner("probe", true).name().len() + random.below(12) {
        5 => List(Arc::new(Field::new(
            "item",
            any_type(random, depth - 1),
            true,
        ))),
        6 => LargeList(Arc::new(Field::new(
            "element",
            any_type(random, depth - 1),
            true,
        ))),
        7 => FixedSizeList(
            Arc::new(Field::new("item", any_type(random, depth - 1), true)),
            3,
        ),
        8 => Struct(Fields::from(vec![
            Field::new("a", any_type(random, depth - 1), true),
            Field::new("b", any_type(random, depth - 1), true),
        ])),
        9 => {
            let entries = Struct(Fields::from(vec![
                Field::new("keys", Utf8, false),
                Field::new("values", any_type(random, depth - 1), true),
            ]));
            Map(Arc::new(Field::new("entries", entries, false)), false)
        }
        10 => Dictionary(Box::new(Int32), Box::new(Utf8)),
        11 => Dictionary(Box::new(Int8), Box::new(LargeUtf8)),
        _ => key_type(random),
    }
}

fn word(random: &mut Random) -> String {
    const PARTS: [&str; 8] = ["", "a", "ab", "\0", "ÿ", "zz", "-", "0123456789abcdef"];
    (0..random.below(4)).map(|_| *random.pick(&PARTS)).collect()
}

fn nulls(random: &mut Random, rows: usize, nullable: bool) -> Option<NullBuffer> {
    (nullable && random.chance(0.7))
        .then(|| NullBuffer::from_iter((0..rows).map(|_| random.chance(0.8))))
}

/// An array of `rows` values.
pub fn array(random: &mut Random, data_type: &DataType, rows: usize, nullable: bool) -> ArrayRef {
    use DataType::*;
    // Few distinct values now and then, so that dictionaries and long runs happen.
    let spread = *random.pick(&[3usize, 50, 1 << 40]);
    let nulls = nulls(random, rows, nullable);
    macro_rules! primitive {
        ($t:ty, $make:expr) => {{
            let values: Vec<<$t as ArrowPrimitiveType>::Native> = (0..rows)
                .map(|_| $make(random.below(spread) as i64))
                .collect();
            Arc::new(
                PrimitiveArray::<$t>::new(values.into(), nulls).with_data_type(data_type.clone()),
            )
        }};
    }
    macro_rules! int {
        ($t:ty) => {
            primitive!(
                $t,
                |v: i64| (v.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64) >> 7)
                    as <$t as ArrowPrimitiveType>::Native
            )
        };
    }
    macro_rules! small {
        ($t:ty) => {
            primitive!($t, |v: i64| (v % 80_000)
                as <$t as ArrowPrimitiveType>::Native)
        };
    }
    let float = |v: i64| match v % 11 {
        0 => -0.0,
        1 => 0.0,
        2 => f64::NAN,
        3 => f64::INFINITY,
        4 => f64::NEG_INFINITY,
        _ => (v as f64 - 40.0) / 3.0,
    };
    match data_type {
        Boolean => {
            let values = (0..rows).map(|_| random.chance(0.5)).collect();
            Arc::new(BooleanArray::new(values, nulls))
        }
        Int8 => int!(Int8Type),
        Int16 => int!(Int16Type),
        Int32 => int!(Int32Type),
        Int64 => int!(Int64Type),
        UInt8 => int!(UInt8Type),
        UInt16 => int!(UInt16Type),
        UInt32 => int!(UInt32Type),
        UInt64 => int!(UInt64Type),
        Float16 => primitive!(Float16Type, |v| half::f16::from_f64(float(v))),
        Float32 => primitive!(Float32Type, |v| float(v) as f32),
        Float64 => primitive!(Float64Type, float),
        Decimal32(..) => small!(Decimal32Type),
        Decimal64(..) => small!(Decimal64Type),
        Decimal128(..) => primitive!(Decimal128Type, |v: i64| i128::from(v) - 40),
        Decimal256(..) => primitive!(Decimal256Type, |v: i64| i256::from(v - 40)),
        Date32 => small!(Date32Type),
        Date64 => primitive!(Date64Type, |v: i64| v % 20_000 * 86_400_000),
        Time32(TimeUnit::Second) => small!(Time32SecondType),
        Time32(_) => small!(Time32MillisecondType),
        Time64(TimeUnit::Microsecond) => small!(Time64MicrosecondType),
        Time64(_) => small!(Time64NanosecondType),
        Timestamp(TimeUnit::Second, _) => int!(TimestampSecondType),
        Timestamp(TimeUnit::Millisecond, _) => int!(TimestampMillisecondType),
        Timestamp(TimeUnit::Microsecond, _) => int!(TimestampMicrosecondType),
        Timestamp(TimeUnit::Nanosecond, _) => int!(TimestampNanosecondType),
        Duration(TimeUnit::Second) => int!(DurationSecondType),
        Duration(TimeUnit::Millisecond) => int!(DurationMillisecondType),
        Duration(TimeUnit::Microsecond) => int!(DurationMicrosecondType),
        Duration(TimeUnit::Nanosecond) => int!(DurationNanosecondType),
        Utf8 => Arc::new(StringArray::from_iter(words(random, nulls, rows))),
        LargeUtf8 => Arc::new(LargeStringArray::from_iter(words(random, nulls, rows))),
        Binary => {
            let words: Vec<_> = words(random, nulls, rows).collect();
            Arc::new(BinaryArray::from_iter(words))
        }
        LargeBinary => {
            let words: Vec<_> = words(random, nulls, rows).collect();
            Arc::new(LargeBinaryArray::from_iter(words))
        }
        FixedSizeBinary(width) => {
            let mut builder = FixedSizeBinaryBuilder::new(*width);
            for row in 0..rows {
                match nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                    true => builder.append_null(),
                    false => {
                        let bytes = random.next().to_be_bytes();
                        builder.append_value(&bytes[..*width as usize]).unwrap();
                    }
                }
            }
            Arc::new(builder.finish())
        }
        List(field) => {
            let offsets = OffsetBuffer::<i32>::from_lengths((0..rows).map(|_| random.below(4)));
            let values = array(random, field.data_type(), offsets[rows] as usize, true);
            Arc::new(ListArray::new(field.clone(), offsets, values, nulls))
        }
        LargeList(field) => {
            let offsets = OffsetBuffer::<i64>::from_lengths((0..rows).map(|_| random.below(4)));
            let values = array(random, field.data_type(), offsets[rows] as usize, true);
            Arc::new(LargeListArray::new(field.clone(), offsets, values, nulls))
        }
        FixedSizeList(field, n) => {
            let values = array(random, field.data_type(), rows * *n as usize, true);
            Arc::new(FixedSizeListArray::new(field.clone(), *n, values, nulls))
        }
        Struct(fields) => {
            let arrays = fields
                .iter()
                .map(|f| array(random, f.data_type(), rows, f.is_nullable()))
                .collect();
            Arc::new(StructArray::new(fields.clone(), arrays, nulls))
        }
        Map(entries, sorted) => {
            let offsets = OffsetBuffer::<i32>::from_lengths((0..rows).map(|_| random.below(3)));
            let values = array(random, entries.data_type(), offsets[rows] as usize, false);
            let values = values.as_struct().clone();
            Arc::new(MapArray::new(
                entries.clone(),
                offsets,
                values,
                nulls,
                *sorted,
            ))
        }
        Dictionary(key, value) => {
            let values = match value.as_ref() {
                LargeUtf8 => Arc::new(LargeStringArray::from(vec!["x", "yy", "zzz"])) as ArrayRef,
                _ => Arc::new(StringArray::from(vec!["x", "yy", "zzz"])),
            };
            let valid = |row| nulls.as_ref().is_none_or(|n| n.is_valid(row));
            let keys = (0..rows).map(|row| valid(row).then(|| random.below(3) as i32));
            let keys: Vec<Option<i32>> = keys.collect();
            match key.as_ref() {
                Int8 => {
                    let keys = Int8Array::from_iter(keys.iter().map(|k| k.map(|k| k as i8)));
                    Arc::new(DictionaryArray::new(keys, values))
                }
                _ => Arc::new(DictionaryArray::new(Int32Array::from(keys), values)),
            }
        }
        other => panic!("no random arrays of {other}"),
    }
}

fn words(
    random: &mut Random,
    nulls: Option<NullBuffer>,
    rows: usize,
) -> impl Iterator<Item = Option<String>> + '_ {
    (0..rows).map(move |row| {
        let word = word(random);
        (!nulls.as_ref().is_some_and(|n| n.is_null(row))).then_some(word)
    })
}

/// The value of a row in words, the same for equal values in whatever representation.
pub fn value(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    let list = |values: &dyn Array| -> String {
        let values: Vec<String> = (0..values.len()).map(|i| value(values, i)).collect();
        format!("[{}]", values.join(", "))
    };
    match array.data_type() {
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row)),
        DataType::Map(..) => list(&array.as_map().value(row)),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            let values: Vec<String> = columns.map(|c| value(c, row)).collect();
            format!("{{{}}}", values.join(", "))
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            value(dictionary.values(), dictionary.normalized_keys()[row])
        }
        _ => format!("{:?}", array.slice(row, 1)),
    }
}
