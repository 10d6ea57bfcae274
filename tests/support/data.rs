//! Random Arrow data, and a model of values to hold the engine's order against.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use arrow_array::{builder::*, cast::AsArray, types::*, *};
use arrow_buffer::i256;
use arrow_schema::{DataType, Field, TimeUnit};
use std::{
    cmp::Ordering,
    sync::Arc,
    time::{Duration, Instant},
};

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Runs `body` with one seed after the other until the time is up (`SEED=` replays one).
pub fn for_seeds(time: Duration, mut body: impl FnMut(u64, &mut Random)) {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|s| s.parse().ok()) {
        return body(seed, &mut Random(seed));
    }
    let start = Instant::now();
    let base = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let mut runs = 0u64;
    while start.elapsed() < time {
        let seed = base.wrapping_add(runs);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            body(seed, &mut Random(seed));
        }));
        if let Err(panic) = result {
            eprintln!("replay with SEED={seed}");
            std::panic::resume_unwind(panic);
        }
        runs += 1;
    }
    println!("{runs} seeds from {base}");
}

use DataType::*;
use TimeUnit::*;

/// Every type that can be a key.
pub fn key_types() -> Vec<DataType> {
    vec![
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
        Decimal64(15, 3),
        Decimal128(30, 4),
        Decimal256(60, 5),
        Date32,
        Date64,
        Time32(Second),
        Time32(Millisecond),
        Time64(Microsecond),
        Time64(Nanosecond),
        Timestamp(Second, None),
        Timestamp(Millisecond, Some("UTC".into())),
        Timestamp(Microsecond, None),
        Timestamp(Nanosecond, Some("UTC".into())),
        duration(Second),
        duration(Millisecond),
        duration(Microsecond),
        duration(Nanosecond),
        Utf8,
        LargeUtf8,
        Binary,
        LargeBinary,
        FixedSizeBinary(3),
    ]
}

fn duration(unit: TimeUnit) -> DataType {
    DataType::Duration(unit)
}

fn small_bytes(random: &mut Random) -> Vec<u8> {
    let alphabet = [0u8, 0, 1, b'a', b'b', 0xFE, 0xFF, 0xFF];
    (0..random.below(5))
        .map(|_| *random.pick(&alphabet))
        .collect()
}

fn small_text(random: &mut Random) -> String {
    let alphabet = [
        '\0',
        'a',
        'b',
        'é',
        '\u{7ff}',
        '\u{ffff}',
        '\u{10ffff}',
        ' ',
    ];
    (0..random.below(5))
        .map(|_| *random.pick(&alphabet))
        .collect()
}

/// Few distinct numbers, with the ends of the range among them.
fn number(random: &mut Random, min: i128, max: i128) -> i128 {
    match random.below(10) {
        0 => min,
        1 => max,
        2 => min + 1,
        3 => max - 1,
        4 => (random.next() as i128 * 12345).rem_euclid(max - min) + min,
        _ => (random.below(13) as i128 - 6).clamp(min, max),
    }
}

pub fn float(random: &mut Random) -> f64 {
    *random.pick(&[
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        2.5,
        -2.5,
        0.1,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e300,
        -1e300,
        5e-324,
        65504.0,
        3.4e38,
        9007199254740993.0,
        f64::MIN_POSITIVE,
    ])
}

/// `rows` random values; about `nulls` percent are null.
pub fn random_array(
    random: &mut Random,
    data_type: &DataType,
    rows: usize,
    nulls: usize,
) -> ArrayRef {
    macro_rules! numbers {
        ($t:ty, $min:expr, $max:expr) => {{
            let mut b = PrimitiveBuilder::<$t>::new();
            for _ in 0..rows {
                match random.chance(nulls) {
                    true => b.append_null(),
                    false => {
                        let v = number(random, $min as i128, $max as i128);
                        b.append_value(v as <$t as ArrowPrimitiveType>::Native)
                    }
                }
            }
            Arc::new(b.finish().with_data_type(data_type.clone())) as ArrayRef
        }};
        ($t:ty) => {
            numbers!(
                $t,
                <$t as ArrowPrimitiveType>::Native::MIN,
                <$t as ArrowPrimitiveType>::Native::MAX
            )
        };
    }
    macro_rules! each {
        ($value:expr) => {
            (0..rows)
                .map(|_| (!random.chance(nulls)).then(|| $value(random)))
                .collect()
        };
    }
    match data_type {
        Boolean => Arc::new({
            let a: BooleanArray = each!(|r: &mut Random| r.chance(50));
            a
        }),
        Int8 => numbers!(Int8Type),
        Int16 => numbers!(Int16Type),
        Int32 => numbers!(Int32Type),
        Int64 => numbers!(Int64Type),
        UInt8 => numbers!(UInt8Type),
        UInt16 => numbers!(UInt16Type),
        UInt32 => numbers!(UInt32Type),
        UInt64 => numbers!(UInt64Type),
        Float16 => {
            let a: Vec<Option<half::f16>> = each!(|r: &mut Random| half::f16::from_f64(float(r)));
            Arc::new(Float16Array::from_iter(a))
        }
        Float32 => {
            let a: Vec<Option<f32>> = each!(|r: &mut Random| float(r) as f32);
            Arc::new(Float32Array::from(a))
        }
        Float64 => {
            let a: Vec<Option<f64>> = each!(float);
            Arc::new(Float64Array::from(a))
        }
        Decimal32(p, _) => numbers!(Decimal32Type, -most(*p), most(*p)),
        Decimal64(p, _) => numbers!(Decimal64Type, -most(*p), most(*p)),
        Decimal128(p, _) => numbers!(Decimal128Type, -most(*p), most(*p)),
        Decimal256(..) => {
            let a: Vec<Option<i256>> = each!(|r: &mut Random| {
                i256::from_i128(number(r, -most(37), most(37)))
                    .wrapping_mul(i256::from_i128(10i128.pow(r.below(3) as u32 * 10)))
            });
            Arc::new(Decimal256Array::from(a).with_data_type(data_type.clone()))
        }
        Date32 => numbers!(Date32Type),
        Date64 => numbers!(Date64Type),
        Time32(Second) => numbers!(Time32SecondType, 0, 86_399),
        Time32(_) => numbers!(Time32MillisecondType, 0, 86_399_999),
        Time64(Microsecond) => numbers!(Time64MicrosecondType, 0, 86_399_999_999i64),
        Time64(_) => numbers!(Time64NanosecondType, 0, 86_399_999_999_999i64),
        Timestamp(Second, _) => numbers!(TimestampSecondType),
        Timestamp(Millisecond, _) => numbers!(TimestampMillisecondType),
        Timestamp(Microsecond, _) => numbers!(TimestampMicrosecondType),
        Timestamp(Nanosecond, _) => numbers!(TimestampNanosecondType),
        DataType::Duration(Second) => numbers!(DurationSecondType),
        DataType::Duration(Millisecond) => numbers!(DurationMillisecondType),
        DataType::Duration(Microsecond) => numbers!(DurationMicrosecondType),
        DataType::Duration(Nanosecond) => numbers!(DurationNanosecondType),
        Utf8 => {
            let a: Vec<Option<String>> = each!(small_text);
            Arc::new(StringArray::from(a))
        }
        LargeUtf8 => {
            let a: Vec<Option<String>> = each!(small_text);
            Arc::new(LargeStringArray::from(a))
        }
        Utf8View => {
            let a: Vec<Option<String>> = each!(|r: &mut Random| small_text(r).repeat(r.below(5)));
            Arc::new(StringViewArray::from_iter(a))
        }
        Binary => {
            let a: Vec<Option<Vec<u8>>> = each!(small_bytes);
            Arc::new(BinaryArray::from_iter(a))
        }
        LargeBinary => {
            let a: Vec<Option<Vec<u8>>> = each!(small_bytes);
            Arc::new(LargeBinaryArray::from_iter(a))
        }
        BinaryView => {
            let a: Vec<Option<Vec<u8>>> = each!(|r: &mut Random| small_bytes(r).repeat(r.below(9)));
            Arc::new(BinaryViewArray::from_iter(a))
        }
        FixedSizeBinary(n) => {
            let mut b = FixedSizeBinaryBuilder::new(*n);
            for _ in 0..rows {
                let mut v = small_bytes(random);
                v.resize(*n as usize, *random.pick(&[0, 0xFF]));
                match random.chance(nulls) {
                    true => b.append_null(),
                    false => b.append_value(v).unwrap(),
                }
            }
            Arc::new(b.finish())
        }
        Dictionary(key, values) => {
            assert_eq!(**key, Int32, "the tests' dictionaries have int32 keys");
            let values = random_array(random, values, 6, nulls / 2);
            let keys: Vec<Option<i32>> = each!(|r: &mut Random| r.below(6) as i32);
            Arc::new(DictionaryArray::<Int32Type>::new(
                Int32Array::from(keys),
                values,
            ))
        }
        List(field) => {
            let lengths: Vec<usize> = (0..rows).map(|_| random.below(4)).collect();
            let values = random_array(random, field.data_type(), lengths.iter().sum(), nulls);
            let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::new(
                field.clone(),
                offsets,
                values,
                validity(random, rows, nulls),
            ))
        }
        LargeList(field) => {
            let lengths: Vec<usize> = (0..rows).map(|_| random.below(4)).collect();
            let values = random_array(random, field.data_type(), lengths.iter().sum(), nulls);
            let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths);
            let nulls = validity(random, rows, nulls);
            Arc::new(LargeListArray::new(field.clone(), offsets, values, nulls))
        }
        ListView(field) => {
            let values = random_array(random, field.data_type(), 10, nulls);
            let starts: Vec<i32> = (0..rows).map(|_| random.below(7) as i32).collect();
            let sizes: Vec<i32> = (0..rows).map(|_| random.below(4) as i32).collect();
            let nulls = validity(random, rows, nulls);
            Arc::new(ListViewArray::new(
                field.clone(),
                starts.into(),
                sizes.into(),
                values,
                nulls,
            ))
        }
        FixedSizeList(field, n) => {
            let values = random_array(random, field.data_type(), rows * *n as usize, nulls);
            let nulls = validity(random, rows, nulls);
            Arc::new(FixedSizeListArray::new(field.clone(), *n, values, nulls))
        }
        Struct(fields) => {
            let children = fields
                .iter()
                .map(|f| random_array(random, f.data_type(), rows, nulls))
                .collect();
            Arc::new(StructArray::new(
                fields.clone(),
                children,
                validity(random, rows, nulls),
            ))
        }
        Map(entries, sorted) => {
            let Struct(fields) = entries.data_type() else {
                panic!("a map of {entries}")
            };
            let lengths: Vec<usize> = (0..rows).map(|_| random.below(4)).collect();
            let total = lengths.iter().sum();
            let keys = random_array(random, fields[0].data_type(), total, 0);
            let values = random_array(random, fields[1].data_type(), total, nulls);
            let pairs = StructArray::new(fields.clone(), vec![keys, values], None);
            let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths);
            let nulls = validity(random, rows, nulls);
            Arc::new(MapArray::new(
                entries.clone(),
                offsets,
                pairs,
                nulls,
                *sorted,
            ))
        }
        RunEndEncoded(_, values) => {
            let mut ends = Vec::new();
            while ends.last().copied().unwrap_or(0) < rows as i32 {
                let last = ends.last().copied().unwrap_or(0);
                ends.push((last + 1 + random.below(3) as i32).min(rows as i32));
            }
            let values = random_array(random, values.data_type(), ends.len(), nulls);
            Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(ends), &values).unwrap())
        }
        other => panic!("no random {other}"),
    }
}

fn validity(random: &mut Random, rows: usize, nulls: usize) -> Option<arrow_buffer::NullBuffer> {
    let bits: Vec<bool> = (0..rows).map(|_| !random.chance(nulls)).collect();
    (nulls > 0 && rows > 0).then(|| bits.into())
}

fn most(precision: u8) -> i128 {
    10i128.pow(precision.into()) - 1
}

/// A value as SQL sees it.
#[derive(Clone, Debug)]
pub enum Model {
    Bool(bool),
    /// An exact number times `10^-scale`.
    Number(i256, i8),
    Float(f64),
    Bytes(Vec<u8>),
}

/// The value of a row of a key-typed (or dictionary) column; `None` for null.
pub fn model(array: &dyn Array, row: usize) -> Option<Model> {
    if array.is_null(row) {
        return None;
    }
    macro_rules! number {
        ($t:ty, $scale:expr) => {
            Model::Number(
                i256::from_i128(array.as_primitive::<$t>().value(row).into()),
                $scale,
            )
        };
    }
    Some(match array.data_type() {
        Boolean => Model::Bool(array.as_boolean().value(row)),
        Int8 => number!(Int8Type, 0),
        Int16 => number!(Int16Type, 0),
        Int32 => number!(Int32Type, 0),
        Int64 => number!(Int64Type, 0),
        UInt8 => number!(UInt8Type, 0),
        UInt16 => number!(UInt16Type, 0),
        UInt32 => number!(UInt32Type, 0),
        UInt64 => number!(UInt64Type, 0),
        Float16 => Model::Float(array.as_primitive::<Float16Type>().value(row).into()),
        Float32 => Model::Float(array.as_primitive::<Float32Type>().value(row).into()),
        Float64 => Model::Float(array.as_primitive::<Float64Type>().value(row)),
        Decimal32(_, s) => number!(Decimal32Type, *s),
        Decimal64(_, s) => number!(Decimal64Type, *s),
        Decimal128(_, s) => number!(Decimal128Type, *s),
        Decimal256(_, s) => Model::Number(array.as_primitive::<Decimal256Type>().value(row), *s),
        Date32 => number!(Date32Type, 0),
        Date64 => number!(Date64Type, 0),
        Time32(Second) => number!(Time32SecondType, 0),
        Time32(_) => number!(Time32MillisecondType, 0),
        Time64(Microsecond) => number!(Time64MicrosecondType, 0),
        Time64(_) => number!(Time64NanosecondType, 0),
        Timestamp(Second, _) => number!(TimestampSecondType, 0),
        Timestamp(Millisecond, _) => number!(TimestampMillisecondType, 0),
        Timestamp(Microsecond, _) => number!(TimestampMicrosecondType, 0),
        Timestamp(Nanosecond, _) => number!(TimestampNanosecondType, 0),
        DataType::Duration(Second) => number!(DurationSecondType, 0),
        DataType::Duration(Millisecond) => number!(DurationMillisecondType, 0),
        DataType::Duration(Microsecond) => number!(DurationMicrosecondType, 0),
        DataType::Duration(Nanosecond) => number!(DurationNanosecondType, 0),
        Utf8 => Model::Bytes(array.as_string::<i32>().value(row).into()),
        LargeUtf8 => Model::Bytes(array.as_string::<i64>().value(row).into()),
        Binary => Model::Bytes(array.as_binary::<i32>().value(row).into()),
        LargeBinary => Model::Bytes(array.as_binary::<i64>().value(row).into()),
        FixedSizeBinary(_) => Model::Bytes(array.as_fixed_size_binary().value(row).into()),
        Dictionary(_, _) => {
            let dictionary = array.as_dictionary::<Int32Type>();
            return model(dictionary.values(), dictionary.keys().value(row) as usize);
        }
        other => panic!("no model of {other}"),
    })
}

/// The order of two values: NaN are one and last, -0 is +0, strings go by bytes.
pub fn order(a: &Model, b: &Model) -> Ordering {
    match (a, b) {
        (Model::Bool(a), Model::Bool(b)) => a.cmp(b),
        (Model::Bytes(a), Model::Bytes(b)) => a.cmp(b),
        (Model::Float(a), Model::Float(b)) => match (a.is_nan(), b.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => a.partial_cmp(b).unwrap(),
        },
        (Model::Number(a, s), Model::Number(b, t)) => {
            let most = (*s).max(*t);
            let up = |v: &i256, scale: i8| {
                let power = i256::from_i128(10)
                    .checked_pow((most - scale) as u32)
                    .unwrap();
                v.checked_mul(power).unwrap()
            };
            up(a, *s).cmp(&up(b, *t))
        }
        (Model::Number(a, 0), Model::Float(b)) => {
            if b.is_nan() || *b >= 1.7014118346046923e38 {
                return Ordering::Less;
            }
            if *b < -1.7014118346046923e38 {
                return Ordering::Greater;
            }
            let a = a.to_i128().unwrap();
            // Halves and smaller parts decide only between equal floors.
            let floor = b.floor();
            match a.cmp(&(floor as i128)) {
                Ordering::Equal if floor < *b => Ordering::Less,
                other => other,
            }
        }
        (Model::Number(..), Model::Float(b)) => {
            assert_eq!(b.fract(), 0.0, "only whole floats are decimals");
            order(a, &Model::Number(i256::from_i128(*b as i128), 0))
        }
        (Model::Float(_), Model::Number(..)) => order(b, a).reverse(),
        other => panic!("no order of {other:?}"),
    }
}

pub fn field(name: &str, data_type: DataType, nullable: bool) -> Arc<Field> {
    Arc::new(Field::new(name, data_type, nullable))
}
