//! Values of every Arrow type as plain cells, and back: what the naive models are made of. Nothing
//! of the engine is used here.

use super::random::Random;
use arrow_array::{cast::AsArray, types::*, *};
use arrow_buffer::{NullBuffer, OffsetBuffer, i256};
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use std::sync::Arc;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    Null,
    Bool(bool),
    /// Integers, dates, times, timestamps, durations; decimals without their point.
    Int(i128),
    /// The bits of a double; all NaN are one.
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
    /// A list's items, a struct's fields, a map's entries.
    Items(Vec<Cell>),
}

impl Cell {
    pub fn float(v: f64) -> Self {
        let one = if v.is_nan() { f64::NAN } else { v };
        Self::Float(one.to_bits())
    }
}

macro_rules! with_integers {
    ($data_type:expr, $m:ident, $other:expr) => {
        match $data_type {
            DataType::Int8 => $m!(Int8Type),
            DataType::Int16 => $m!(Int16Type),
            DataType::Int32 => $m!(Int32Type),
            DataType::Int64 => $m!(Int64Type),
            DataType::UInt8 => $m!(UInt8Type),
            DataType::UInt16 => $m!(UInt16Type),
            DataType::UInt32 => $m!(UInt32Type),
            DataType::UInt64 => $m!(UInt64Type),
            DataType::Date32 => $m!(Date32Type),
            DataType::Date64 => $m!(Date64Type),
            DataType::Time32(TimeUnit::Second) => $m!(Time32SecondType),
            DataType::Time32(_) => $m!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Microsecond) => $m!(Time64MicrosecondType),
            DataType::Time64(_) => $m!(Time64NanosecondType),
            DataType::Timestamp(TimeUnit::Second, _) => $m!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => $m!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => $m!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => $m!(TimestampNanosecondType),
            DataType::Duration(TimeUnit::Second) => $m!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => $m!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => $m!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => $m!(DurationNanosecondType),
            DataType::Decimal32(..) => $m!(Decimal32Type),
            DataType::Decimal64(..) => $m!(Decimal64Type),
            DataType::Decimal128(..) => $m!(Decimal128Type),
            _ => $other,
        }
    };
}

fn nulls(cells: &[Cell]) -> Option<NullBuffer> {
    cells
        .contains(&Cell::Null)
        .then(|| cells.iter().map(|c| *c != Cell::Null).collect())
}

fn texts(cells: &[Cell]) -> impl Iterator<Item = Option<&str>> {
    cells.iter().map(|c| match c {
        Cell::Text(t) => Some(t.as_str()),
        _ => None,
    })
}

fn bytes(cells: &[Cell]) -> impl Iterator<Item = Option<&[u8]>> {
    cells.iter().map(|c| match c {
        Cell::Bytes(b) => Some(b.as_slice()),
        _ => None,
    })
}

fn floats(cells: &[Cell]) -> impl Iterator<Item = Option<f64>> {
    cells.iter().map(|c| match c {
        Cell::Float(bits) => Some(f64::from_bits(*bits)),
        _ => None,
    })
}

/// Items of all rows in one, with lengths.
fn items(cells: &[Cell]) -> (Vec<Cell>, Vec<usize>) {
    let (mut all, mut lengths) = (Vec::new(), Vec::new());
    for cell in cells {
        let before = all.len();
        if let Cell::Items(items) = cell {
            all.extend(items.iter().cloned());
        }
        lengths.push(all.len() - before);
    }
    (all, lengths)
}

fn structs(fields: &Fields, cells: &[Cell]) -> StructArray {
    let columns = (0..fields.len()).map(|f| {
        let column: Vec<Cell> = cells
            .iter()
            .map(|c| match c {
                Cell::Items(parts) => parts[f].clone(),
                _ if fields[f].is_nullable() => Cell::Null,
                _ => filler(fields[f].data_type()),
            })
            .collect();
        array(fields[f].data_type(), &column)
    });
    StructArray::try_new(fields.clone(), columns.collect(), nulls(cells)).unwrap()
}

/// Any value, for what lies under a null.
fn filler(data_type: &DataType) -> Cell {
    value(data_type, &mut Random::new(1), 0)
}

/// An array of a type from cells.
pub fn array(data_type: &DataType, cells: &[Cell]) -> ArrayRef {
    use DataType::*;
    macro_rules! integers {
        ($t:ty) => {{
            let values = cells.iter().map(|c| match c {
                Cell::Int(v) => Some(*v as <$t as ArrowPrimitiveType>::Native),
                _ => None,
            });
            let values: PrimitiveArray<$t> = values.collect();
            Arc::new(values.with_data_type(data_type.clone())) as ArrayRef
        }};
    }
    macro_rules! dictionary {
        ($key:expr, $values:expr, $($k:ident => $t:ty),*) => {
            match $key.as_ref() {
                $($k => {
                    let mut distinct: Vec<Cell> = Vec::new();
                    let keys: PrimitiveArray<$t> = cells.iter().map(|c| {
                        if *c == Cell::Null { return None; }
                        let at = distinct.iter().position(|d| d == c).unwrap_or_else(|| {
                            distinct.push(c.clone());
                            distinct.len() - 1
                        });
                        Some(at as <$t as ArrowPrimitiveType>::Native)
                    }).collect();
                    let values = array($values, &distinct);
                    Arc::new(DictionaryArray::<$t>::try_new(keys, values).unwrap()) as ArrayRef
                })*
                other => panic!("{other}"),
            }
        };
    }
    match data_type {
        Null => Arc::new(NullArray::new(cells.len())),
        Boolean => {
            let values = cells.iter().map(|c| match c {
                Cell::Bool(v) => Some(*v),
                _ => None,
            });
            Arc::new(values.collect::<BooleanArray>())
        }
        Float16 => {
            let values = floats(cells).map(|v| v.map(half::f16::from_f64));
            Arc::new(values.collect::<Float16Array>())
        }
        Float32 => Arc::new(
            floats(cells)
                .map(|v| v.map(|v| v as f32))
                .collect::<Float32Array>(),
        ),
        Float64 => Arc::new(floats(cells).collect::<Float64Array>()),
        Decimal256(..) => {
            let values = cells.iter().map(|c| match c {
                Cell::Int(v) => Some(i256::from_i128(*v)),
                _ => None,
            });
            let values: Decimal256Array = values.collect();
            Arc::new(values.with_data_type(data_type.clone()))
        }
        Utf8 => Arc::new(texts(cells).collect::<StringArray>()),
        LargeUtf8 => Arc::new(texts(cells).collect::<LargeStringArray>()),
        Utf8View => Arc::new(texts(cells).collect::<StringViewArray>()),
        Binary => Arc::new(bytes(cells).collect::<BinaryArray>()),
        LargeBinary => Arc::new(bytes(cells).collect::<LargeBinaryArray>()),
        BinaryView => Arc::new(bytes(cells).collect::<BinaryViewArray>()),
        FixedSizeBinary(n) => Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes(cells), *n).unwrap(),
        ),
        List(f) => {
            let (all, lengths) = items(cells);
            let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
            let values = array(f.data_type(), &all);
            Arc::new(ListArray::try_new(f.clone(), offsets, values, nulls(cells)).unwrap())
        }
        LargeList(f) => {
            let (all, lengths) = items(cells);
            let offsets = OffsetBuffer::<i64>::from_lengths(lengths);
            let values = array(f.data_type(), &all);
            Arc::new(LargeListArray::try_new(f.clone(), offsets, values, nulls(cells)).unwrap())
        }
        FixedSizeList(f, n) => {
            let mut all = Vec::new();
            for cell in cells {
                match cell {
                    Cell::Items(items) => all.extend(items.iter().cloned()),
                    _ => all.extend((0..*n).map(|_| filler(f.data_type()))),
                }
            }
            let values = array(f.data_type(), &all);
            Arc::new(FixedSizeListArray::try_new(f.clone(), *n, values, nulls(cells)).unwrap())
        }
        ListView(f) => {
            let list = array(&List(f.clone()), cells);
            Arc::new(ListViewArray::from(list.as_list::<i32>().clone()))
        }
        LargeListView(f) => {
            let list = array(&LargeList(f.clone()), cells);
            Arc::new(LargeListViewArray::from(list.as_list::<i64>().clone()))
        }
        RunEndEncoded(ends, f) => {
            // A run of each value and its equal neighbours.
            let (mut values, mut last): (Vec<Cell>, Vec<usize>) = Default::default();
            for (i, cell) in cells.iter().enumerate() {
                if values.last() != Some(cell) {
                    values.push(cell.clone());
                    last.push(0);
                }
                *last.last_mut().unwrap() = i + 1;
            }
            let values = array(f.data_type(), &values);
            macro_rules! runs {
                ($t:ty) => {{
                    let ends: PrimitiveArray<$t> = last
                        .iter()
                        .map(|&e| Some(e as <$t as ArrowPrimitiveType>::Native))
                        .collect();
                    Arc::new(RunArray::<$t>::try_new(&ends, &values).unwrap()) as ArrayRef
                }};
            }
            match ends.data_type() {
                Int16 => runs!(Int16Type),
                Int32 => runs!(Int32Type),
                _ => runs!(Int64Type),
            }
        }
        Struct(fields) => Arc::new(structs(fields, cells)),
        Map(entries, sorted) => {
            let (all, lengths) = items(cells);
            let Struct(fields) = entries.data_type() else {
                panic!("a map without entries")
            };
            let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
            let all = structs(fields, &all);
            let map = MapArray::try_new(entries.clone(), offsets, all, nulls(cells), *sorted);
            Arc::new(map.unwrap())
        }
        Dictionary(key, values) => dictionary!(
            key, values, Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type,
            Int64 => Int64Type, UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type,
            UInt64 => UInt64Type
        ),
        other => with_integers!(other, integers, panic!("{other}")),
    }
}

/// The cells of an array.
pub fn cells(array: &dyn Array) -> Vec<Cell> {
    let nulls = array.logical_nulls();
    let is_null = |i: usize| nulls.as_ref().is_some_and(|n| n.is_null(i));
    (0..array.len())
        .map(|i| {
            if is_null(i) {
                Cell::Null
            } else {
                cell(array, i)
            }
        })
        .collect()
}

fn cell(array: &dyn Array, i: usize) -> Cell {
    use DataType::*;
    macro_rules! integer {
        ($t:ty) => {
            Cell::Int(array.as_primitive::<$t>().value(i) as i128)
        };
    }
    let text = |t: &str| Cell::Text(t.to_owned());
    let raw = |b: &[u8]| Cell::Bytes(b.to_vec());
    match array.data_type() {
        Boolean => Cell::Bool(array.as_boolean().value(i)),
        Float16 => Cell::float(array.as_primitive::<Float16Type>().value(i).into()),
        Float32 => Cell::float(array.as_primitive::<Float32Type>().value(i).into()),
        Float64 => Cell::float(array.as_primitive::<Float64Type>().value(i)),
        Decimal256(..) => Cell::Int(
            array
                .as_primitive::<Decimal256Type>()
                .value(i)
                .to_i128()
                .unwrap(),
        ),
        Utf8 => text(array.as_string::<i32>().value(i)),
        LargeUtf8 => text(array.as_string::<i64>().value(i)),
        Binary => raw(array.as_binary::<i32>().value(i)),
        LargeBinary => raw(array.as_binary::<i64>().value(i)),
        FixedSizeBinary(_) => raw(array.as_fixed_size_binary().value(i)),
        Utf8View => text(array.as_string_view().value(i)),
        BinaryView => raw(array.as_binary_view().value(i)),
        ListView(_) => Cell::Items(cells(&array.as_list_view::<i32>().value(i))),
        LargeListView(_) => Cell::Items(cells(&array.as_list_view::<i64>().value(i))),
        RunEndEncoded(ends, _) => {
            macro_rules! run {
                ($t:ty) => {{
                    let runs = array.as_any().downcast_ref::<RunArray<$t>>().unwrap();
                    (runs.get_physical_index(i), runs.values().clone())
                }};
            }
            let (at, values) = match ends.data_type() {
                Int16 => run!(Int16Type),
                Int32 => run!(Int32Type),
                _ => run!(Int64Type),
            };
            cells(&values.slice(at, 1)).remove(0)
        }
        List(_) => Cell::Items(cells(&array.as_list::<i32>().value(i))),
        LargeList(_) => Cell::Items(cells(&array.as_list::<i64>().value(i))),
        FixedSizeList(..) => Cell::Items(cells(&array.as_fixed_size_list().value(i))),
        Map(..) => Cell::Items(cells(&array.as_map().value(i))),
        Struct(_) => {
            let parts = array.as_struct().columns().iter();
            Cell::Items(parts.map(|c| cells(&c.slice(i, 1)).remove(0)).collect())
        }
        Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let at = dictionary.normalized_keys()[i];
            cells(&dictionary.values().slice(at, 1)).remove(0)
        }
        other => with_integers!(other, integer, panic!("{other} comes out")),
    }
}

/// The rows of a batch.
pub fn rows(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    let columns: Vec<Vec<Cell>> = batch.columns().iter().map(|c| cells(c)).collect();
    (0..batch.num_rows())
        .map(|i| columns.iter().map(|c| c[i].clone()).collect())
        .collect()
}

/// Rows as a batch with these fields.
pub fn batch(fields: &Fields, rows: &[Vec<Cell>]) -> RecordBatch {
    let columns = (0..fields.len()).map(|c| {
        let column: Vec<Cell> = rows.iter().map(|r| r[c].clone()).collect();
        array(fields[c].data_type(), &column)
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let schema = Arc::new(arrow_schema::Schema::new(fields.clone()));
    RecordBatch::try_new_with_options(schema, columns.collect(), &options).unwrap()
}

/// A value of a field; sometimes null where it may be.
pub fn of_field(field: &Field, random: &mut Random) -> Cell {
    match field.is_nullable() && random.chance(0.15) {
        true => Cell::Null,
        false => value(field.data_type(), random, 0),
    }
}

fn bits_of(data_type: &DataType) -> (i128, i128) {
    use DataType::*;
    let digits = |p: u8| {
        (
            1 - 10i128.pow(u32::from(p.min(37))),
            10i128.pow(u32::from(p.min(37))) - 1,
        )
    };
    match data_type {
        Int8 => (i8::MIN.into(), i8::MAX.into()),
        Int16 => (i16::MIN.into(), i16::MAX.into()),
        UInt8 => (0, u8::MAX.into()),
        UInt16 => (0, u16::MAX.into()),
        UInt32 => (0, u32::MAX.into()),
        UInt64 => (0, u64::MAX.into()),
        Int32 | Date32 => (i32::MIN.into(), i32::MAX.into()),
        // Times of day, whole days: what these types mean.
        Time32(TimeUnit::Second) => (0, 86_399),
        Time32(_) => (0, 86_399_999),
        Time64(TimeUnit::Microsecond) => (0, 86_399_999_999),
        Time64(_) => (0, 86_399_999_999_999),
        Decimal32(p, _) | Decimal64(p, _) | Decimal128(p, _) | Decimal256(p, _) => digits(*p),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

const WORDS: &[&str] = &[
    "",
    "a",
    "ab",
    "abc",
    "b",
    "a\0",
    "a\0b",
    "\u{7f}",
    "é",
    "日本",
    "\u{10ffff}",
    "zz",
];

/// A value of a type, not null: small ones, so that they meet, and extremes.
#[allow(clippy::only_used_in_recursion)]
pub fn value(data_type: &DataType, random: &mut Random, depth: usize) -> Cell {
    use DataType::*;
    let text = |random: &mut Random| match random.below(3) {
        0 => random.pick(WORDS).to_string(),
        1 => format!("k{:02}", random.below(100)),
        _ => format!("{}{}", random.pick(WORDS), random.pick(WORDS)),
    };
    let inner = |f: &Field, random: &mut Random| match f.is_nullable() && random.chance(0.2) {
        true => Cell::Null,
        false => value(f.data_type(), random, depth + 1),
    };
    match data_type {
        Boolean => Cell::Bool(random.chance(0.5)),
        Float16 | Float32 | Float64 => Cell::float(match random.below(12) {
            0 => f64::NAN,
            1 => -0.0,
            2 => 0.0,
            3 => f64::INFINITY,
            4 => f64::NEG_INFINITY,
            // Exact in every width.
            n => (random.below(64) as f64 - 32.0) / (1 << (n % 4)) as f64,
        }),
        Utf8 | LargeUtf8 | Utf8View => Cell::Text(text(random)),
        Binary | LargeBinary | BinaryView => match random.chance(0.2) {
            true => Cell::Bytes(vec![0xFF; random.below(4)]),
            false => Cell::Bytes(text(random).into_bytes()),
        },
        FixedSizeBinary(n) => Cell::Bytes(
            (0..*n)
                .map(|_| *random.pick(&[0u8, 1, 0x7f, 0xff]))
                .collect(),
        ),
        RunEndEncoded(_, f) => value(f.data_type(), random, depth),
        List(f) | LargeList(f) | ListView(f) | LargeListView(f) => {
            let n = random.below(4);
            Cell::Items((0..n).map(|_| inner(f, random)).collect())
        }
        FixedSizeList(f, n) => Cell::Items((0..*n).map(|_| inner(f, random)).collect()),
        Struct(fields) => Cell::Items(fields.iter().map(|f| inner(f, random)).collect()),
        Map(entries, _) => {
            let n = random.below(3);
            Cell::Items(
                (0..n)
                    .map(|_| value(entries.data_type(), random, depth))
                    .collect(),
            )
        }
        Dictionary(_, values) => value(values, random, depth),
        other => {
            let (min, max) = bits_of(other);
            Cell::Int(match random.below(16) {
                0 => min,
                1 => max,
                _ => (random.below(40) as i128 - 20).clamp(min, max),
            })
        }
    }
}
