//! All Arrow types, and which of them a table need not take. Written from Arrow's list, not from ours.

use crate::support::random::Random;
use arrow_schema::{
    DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit, UnionFields, UnionMode,
};
use std::sync::Arc;

pub(super) const INDICES: [DataType; 8] = [
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::Int64,
    DataType::UInt8,
    DataType::UInt16,
    DataType::UInt32,
    DataType::UInt64,
];

pub(super) fn field(name: &str, data_type: &DataType, nullable: bool) -> FieldRef {
    Arc::new(Field::new(name, data_type.clone(), nullable))
}

pub(super) fn map(key: &DataType, value: &DataType, nullable: bool) -> DataType {
    let parts: Fields = vec![field("key", key, false), field("value", value, nullable)].into();
    DataType::Map(field("entries", &DataType::Struct(parts), false), false)
}

pub(super) fn leaves() -> Vec<DataType> {
    use DataType::*;
    let units = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ];
    let mut types = vec![
        Null,
        Boolean,
        Float16,
        Float32,
        Float64,
        Decimal32(9, 3),
        Decimal32(1, 0),
        Decimal64(18, 18),
        Decimal128(38, 10),
        Decimal128(5, 0),
        Decimal256(76, 20),
        Decimal256(30, 2),
        Decimal128(9, -2),
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        FixedSizeBinary(3),
        FixedSizeBinary(16),
        FixedSizeBinary(0),
        Struct(Fields::empty()),
    ];
    types.extend(INDICES);
    for unit in units {
        types.push(Timestamp(unit, None));
        types.push(Timestamp(unit, Some("UTC".into())));
        types.push(Timestamp(unit, Some("Europe/Berlin".into())));
        types.push(Duration(unit));
    }
    types
}

/// Every way to build on a type.
pub(super) fn over(inner: &DataType) -> Vec<DataType> {
    use DataType::*;
    let mut types = Vec::new();
    for nullable in [true, false] {
        let item = field("item", inner, nullable);
        types.extend([
            List(item.clone()),
            LargeList(item.clone()),
            ListView(item.clone()),
            LargeListView(item.clone()),
            FixedSizeList(item.clone(), 2),
            Struct(vec![field("a", inner, nullable), field("b", &Int32, true)].into()),
            map(&Utf8, inner, nullable),
        ]);
    }
    types.push(FixedSizeList(field("item", inner, true), 0));
    types.push(map(inner, &Int32, true));
    for index in INDICES {
        types.push(Dictionary(Box::new(index), Box::new(inner.clone())));
    }
    for ends in [Int16, Int32, Int64] {
        types.push(RunEndEncoded(
            field("run_ends", &ends, false),
            field("values", inner, true),
        ));
    }
    let members = UnionFields::try_new([0, 1], [field("a", inner, true), field("b", &Int32, true)]);
    types.push(Union(members.unwrap(), UnionMode::Dense));
    types
}

pub(super) fn to_depth_two() -> Vec<DataType> {
    let leaves = leaves();
    let nested: Vec<DataType> = leaves.iter().flat_map(over).collect();
    leaves.into_iter().chain(nested).collect()
}

/// A type of at most this depth, mostly ones that can be taken.
pub(super) fn sample(depth: usize, random: &mut Random) -> DataType {
    let leaf = |random: &mut Random| loop {
        let leaf = random.pick(&leaves()).clone();
        if refusal(&leaf, "").is_none() || random.chance(0.02) {
            return leaf;
        }
    };
    if depth <= 1 {
        return leaf(random);
    }
    loop {
        let inner = match random.chance(0.85) {
            true => sample(depth - 1, random),
            false => leaf(random),
        };
        let mut made = random.pick(&over(&inner)).clone();
        if let DataType::Struct(parts) = &made {
            // A second part that is as deep, under the name of another language's members.
            let more = sample(depth - 1, random);
            let name = *random.pick(&["constructor", "__proto__", "", "a.b", "naïve name"]);
            let parts = vec![parts[0].clone(), field(name, &more, random.chance(0.5))];
            made = DataType::Struct(parts.into());
        }
        if refusal(&made, "").is_none() || random.chance(0.02) {
            return made;
        }
    }
}

/// Why a type need not be taken.
pub(super) struct Refusal {
    pub(super) path: String,
    pub(super) remedy: &'static str,
}

/// What no file, or no reader of it, gives back.
pub(super) fn refusal(data_type: &DataType, path: &str) -> Option<Refusal> {
    use DataType::*;
    let here = |remedy| {
        Some(Refusal {
            path: path.to_owned(),
            remedy,
        })
    };
    let part = |f: &FieldRef| refusal(f.data_type(), &format!("{path}.{}", f.name()));
    match data_type {
        Null => here("declare one"),
        Interval(_) => here("use a duration"),
        Union(_, _) => here("use a struct"),
        Struct(fields) if fields.is_empty() => here("give it one"),
        FixedSizeBinary(0) => here("leave it out"),
        FixedSizeList(_, 0) => here("leave it out"),
        Decimal128(_, scale) if *scale < 0 => here("use scale 0"),
        Dictionary(_, values) => match flat(values) {
            true => refusal(values, path),
            false => here("itself"),
        },
        List(f) | LargeList(f) | ListView(f) | LargeListView(f) | FixedSizeList(f, _) => part(f),
        RunEndEncoded(_, f) => part(f),
        Map(entries, _) => match entries.data_type() {
            Struct(parts) => parts.iter().find_map(part),
            _ => None,
        },
        Struct(fields) => fields.iter().find_map(part),
        _ => None,
    }
}

/// Whether a dictionary may hold it: what its values are for is to be looked up, not into.
fn flat(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        RunEndEncoded(_, values) => flat(values.data_type()),
        Null | Interval(_) => false,
        other => !other.is_nested() && !matches!(other, Dictionary(_, _)),
    }
}
