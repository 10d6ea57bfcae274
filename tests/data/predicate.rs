//! Filters: held against a row-by-row interpreter of SQL's three-valued logic, over random tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::data as support;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_buffer::i256;
use arrow_schema::{DataType, TimeUnit};
use lakeshore::{
    ErrorKind,
    data::{
        key::{encode_keys, encode_value},
        predicate::{BoundPredicate, Bounds, CompareOp, Node, Predicate, Value},
        schema::TableSchema,
    },
};
use std::{cmp::Ordering, sync::Arc, time::Duration};
use support::{Model, Random, field, float, for_seeds, key_types, model, order, random_array};

const OPS: [CompareOp; 6] = [
    CompareOp::Equal,
    CompareOp::NotEqual,
    CompareOp::Less,
    CompareOp::LessOrEqual,
    CompareOp::Greater,
    CompareOp::GreaterOrEqual,
];

struct Table {
    schema: TableSchema,
    batch: RecordBatch,
}

/// Keys first or last, then columns of any comparable type, and one of lists.
fn table(random: &mut Random, rows: usize) -> Table {
    let types = key_types();
    let mut fields = Vec::new();
    let mut key = Vec::new();
    for i in 0..1 + random.below(3) {
        let name = format!("k{i}");
        fields.push(field(&name, random.pick(&types).clone(), false));
        key.push(name);
    }
    for i in 0..1 + random.below(3) {
        let mut data_type = random.pick(&types).clone();
        if random.chance(20) {
            data_type = DataType::Dictionary(Box::new(DataType::Int32), Box::new(data_type));
        }
        let at = random.below(fields.len() + 1);
        fields.insert(at, field(&format!("v{i}"), data_type, true));
    }
    fields.push(field(
        "list",
        DataType::List(field("item", DataType::Int8, true)),
        true,
    ));
    let schema = TableSchema::new(fields, &key).unwrap();
    let columns: Vec<ArrayRef> = schema
        .storage()
        .fields()
        .iter()
        .map(|f| {
            let nulls = if f.is_nullable() { 25 } else { 0 };
            random_array(random, f.data_type(), rows + 3, nulls).slice(3, rows)
        })
        .collect();
    let batch = RecordBatch::try_new(schema.storage().clone(), columns).unwrap();
    Table { schema, batch }
}

fn base_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// A literal for a column: often one of its values, or something near, between or beyond.
fn literal(random: &mut Random, column: &ArrayRef) -> Value {
    use DataType::*;
    if random.chance(5) {
        return Value::Null;
    }
    let row = random.below(column.len());
    let known = model(column, row);
    let near = |random: &mut Random| match &known {
        Some(Model::Number(v, 0)) if random.chance(60) => {
            v.to_i128().unwrap() + random.below(3) as i128 - 1
        }
        _ => *random.pick(&[
            0,
            1,
            -1,
            5,
            1 << 53,
            (1 << 53) + 1,
            1 << 63,
            -(1 << 63),
            i128::MAX,
        ]),
    };
    let mut bytes = match &known {
        Some(Model::Bytes(b)) => b.clone(),
        _ => vec![1],
    };
    if random.chance(30) {
        bytes.push(*random.pick(&[0, 1, 0xFF]));
    }
    if random.chance(20) {
        bytes.pop();
    }
    match base_type(column.data_type()) {
        Boolean => Value::Bool(random.chance(50)),
        Utf8 | LargeUtf8 => Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
        Binary | LargeBinary | FixedSizeBinary(_) => Value::Binary(bytes),
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => match random.below(3) {
            0 => Value::Int(random.below(30) as i128 - 15),
            1 => Value::Float(*random.pick(&[0.5, -0.5, 0.01, 0.015, -3.25, 1e12, -1e12])),
            _ => match known {
                Some(Model::Number(v, scale)) if random.chance(70) => {
                    let mut digits = v.to_string().trim_start_matches('-').to_string();
                    while digits.len() <= scale as usize {
                        digits.insert(0, '0');
                    }
                    digits.insert(digits.len() - scale as usize, '.');
                    if random.chance(30) {
                        digits.push('1');
                    }
                    let sign = if v.is_negative() { "-" } else { "" };
                    Value::Text(format!("{sign}{digits}"))
                }
                _ => Value::Text("0.00001".into()),
            },
        },
        Date32 | Date64 | Timestamp(..) if random.chance(50) => {
            let micros = near(random).clamp(-(1 << 60), 1 << 60) as i64;
            Value::Moment(match random.below(4) {
                0 => micros.wrapping_mul(1_000_000),
                1 => micros.wrapping_mul(86_400_000_000),
                2 => i64::MAX - random.below(2) as i64,
                _ => micros,
            })
        }
        Date32 | Date64 | Timestamp(..) | Time32(_) | Time64(_) => Value::Int(near(random)),
        _ => match random.below(3) {
            0 => Value::Float(float(random)),
            1 => Value::Float(near(random) as f64 + 0.5),
            _ => Value::Int(near(random)),
        },
    }
}

fn predicate(random: &mut Random, table: &Table, depth: usize) -> Predicate {
    let columns = table.batch.num_columns() - 1;
    let at = random.below(columns);
    let column = table.batch.column(at);
    let name = table.batch.schema().field(at).name().clone();
    if depth > 0 && random.chance(60) {
        let parts = |random: &mut Random| {
            (0..random.below(4))
                .map(|_| predicate(random, table, depth - 1))
                .collect()
        };
        return match random.below(3) {
            0 => Predicate::And(parts(random)),
            1 => Predicate::Or(parts(random)),
            _ => Predicate::Not(Box::new(predicate(random, table, depth - 1))),
        };
    }
    let text = matches!(
        base_type(column.data_type()),
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::FixedSizeBinary(_)
    );
    match random.below(10) {
        0 => Predicate::IsNull(if random.chance(20) {
            "list".into()
        } else {
            name
        }),
        1 | 2 => {
            let values = (0..random.below(5))
                .map(|_| literal(random, column))
                .collect();
            Predicate::In(name, values)
        }
        3 => Predicate::Between(name, literal(random, column), literal(random, column)),
        4 if text => Predicate::StartsWith(name, literal(random, column)),
        _ => Predicate::Compare(name, *random.pick(&OPS), literal(random, column)),
    }
}

/// The literal as a number of the column's unit, times a power of ten that makes it whole.
fn literal_model(value: &Value, data_type: &DataType) -> Option<Model> {
    use DataType::*;
    let decimal = |text: &str| {
        let negative = text.starts_with('-');
        let text = text.trim_start_matches('-');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        let number = digits.bytes().fold(i256::ZERO, |v, b| {
            v.wrapping_mul(i256::from_i128(10))
                .wrapping_add(i256::from_i128((b - b'0').into()))
        });
        let number = if negative {
            number.wrapping_neg()
        } else {
            number
        };
        Model::Number(number, fraction.len() as i8)
    };
    let is_decimal = matches!(
        data_type,
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..)
    );
    Some(match value {
        Value::Null => return None,
        Value::Bool(v) => Model::Bool(*v),
        Value::Int(v) => Model::Number(i256::from_i128(*v), 0),
        Value::Float(v) if is_decimal => decimal(&v.to_string()),
        Value::Float(v) => Model::Float(*v),
        Value::Text(v) if is_decimal => decimal(v),
        Value::Text(v) => Model::Bytes(v.clone().into_bytes()),
        Value::Binary(v) => Model::Bytes(v.clone()),
        Value::Moment(v) => Model::Number(i256::from_i128((*v).into()), 0),
    })
}

/// Column values that are compared with moments count microseconds, or nanoseconds, too.
fn compare(column: &ArrayRef, row: usize, value: &Value) -> Option<Ordering> {
    use DataType::*;
    let data_type = base_type(column.data_type());
    let mut a = model(column, row)?;
    let mut b = literal_model(value, data_type)?;
    if let (Value::Moment(_), Model::Number(x, 0), Model::Number(y, 0)) = (value, &a, &b) {
        let nanos: i128 = match data_type {
            Date32 => 86_400_000_000_000,
            Date64 | Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
            Timestamp(TimeUnit::Second, _) => 1_000_000_000,
            Timestamp(TimeUnit::Microsecond, _) => 1000,
            _ => 1,
        };
        (a, b) = (
            Model::Number(x.wrapping_mul(i256::from_i128(nanos)), 0),
            Model::Number(y.wrapping_mul(i256::from_i128(1000)), 0),
        );
    }
    Some(order(&a, &b))
}

fn holds(op: CompareOp, order: Ordering) -> bool {
    match op {
        CompareOp::Equal => order.is_eq(),
        CompareOp::NotEqual => order.is_ne(),
        CompareOp::Less => order.is_lt(),
        CompareOp::LessOrEqual => order.is_le(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::GreaterOrEqual => order.is_ge(),
    }
}

// A null does not end it: a later false makes it false.
#[allow(clippy::manual_try_fold)]
fn and(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    parts.fold(Some(true), |all, one| match (all, one) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    })
}

/// SQL, row by row.
fn interpret(p: &Predicate, batch: &RecordBatch, row: usize) -> Option<bool> {
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let compare_op = |name: &str, op, value: &Value| {
        compare(column(name), row, value).map(|order| holds(op, order))
    };
    match p {
        Predicate::Compare(name, op, value) => compare_op(name, *op, value),
        Predicate::In(name, values) => {
            let parts = values.iter().map(|v| compare_op(name, CompareOp::Equal, v));
            and(parts.map(|p| p.map(|b| !b))).map(|b| !b)
        }
        Predicate::Between(name, low, high) => and([
            compare_op(name, CompareOp::GreaterOrEqual, low),
            compare_op(name, CompareOp::LessOrEqual, high),
        ]
        .into_iter()),
        Predicate::IsNull(name) => {
            let column = column(name);
            Some(column.logical_nulls().is_some_and(|n| n.is_null(row)))
        }
        Predicate::StartsWith(name, prefix) => {
            let value = model(column(name), row)?;
            match (value, prefix) {
                (Model::Bytes(v), Value::Text(p)) => Some(v.starts_with(p.as_bytes())),
                (Model::Bytes(v), Value::Binary(p)) => Some(v.starts_with(p)),
                _ => None,
            }
        }
        Predicate::And(parts) => and(parts.iter().map(|p| interpret(p, batch, row))),
        Predicate::Or(parts) => {
            and(parts.iter().map(|p| interpret(p, batch, row).map(|b| !b))).map(|b| !b)
        }
        Predicate::Not(inner) => interpret(inner, batch, row).map(|b| !b),
    }
}

/// Bounds as a file has them, sometimes truncated or missing.
fn bounds(random: &mut Random, column: &ArrayRef) -> Option<Bounds> {
    if random.chance(10) {
        return None;
    }
    let mut found = Bounds {
        rows: column.len() as u64,
        ..Bounds::default()
    };
    let plain: Vec<Vec<u8>> = (0..column.len())
        .filter_map(|row| match model(column, row) {
            None => {
                found.nulls += 1;
                None
            }
            Some(Model::Float(v)) if v.is_nan() => {
                found.nans += 1;
                None
            }
            Some(_) => {
                let one = column.slice(row, 1);
                let plain = match column.data_type() {
                    DataType::Dictionary(_, v) => {
                        lakeshore::data::convert::convert(&one, v, "c").unwrap()
                    }
                    _ => one,
                };
                encode_value(&plain, 0).unwrap()
            }
        })
        .collect();
    found.min = plain.iter().min().cloned();
    found.max = plain.iter().max().cloned();
    if let Some(min) = found.min.as_mut().filter(|_| random.chance(30)) {
        min.truncate(random.below(4));
    }
    if let Some(max) = found
        .max
        .as_mut()
        .filter(|m| m.len() > 1 && random.chance(30))
    {
        max.truncate(1);
        match max[0] {
            0xFF => found.max = None,
            _ => max[0] += 1,
        }
    }
    Some(found)
}

#[test]
fn filters_agree_with_sql_row_by_row_and_never_prune_a_match() {
    let (mut matched, mut pruned, mut narrowed, mut weakened) = (0, 0, 0, 0);
    for_seeds(Duration::from_secs(4), |_, random| {
        let rows = *random.pick(&[1, 2, 7, 70]);
        let table = table(random, rows);
        let all: Vec<usize> = (0..table.batch.num_columns()).collect();
        let keys: Vec<ArrayRef> = table
            .schema
            .key()
            .iter()
            .map(|&i| table.batch.column(i).clone())
            .collect();
        let keys = encode_keys(&keys).unwrap();
        let stats: Vec<Option<Bounds>> = table
            .batch
            .columns()
            .iter()
            .map(|c| match c.data_type() {
                DataType::List(_) => None,
                _ => bounds(random, c),
            })
            .collect();
        for _ in 0..10 {
            let depth = random.below(4);
            let p = predicate(random, &table, depth);
            let bound = p
                .bind(&table.schema)
                .unwrap_or_else(|e| panic!("{e}: {p:?}"));
            let bits = bound.evaluate(&table.batch, &all).unwrap();
            for row in 0..rows {
                let expected = interpret(&p, &table.batch, row) == Some(true);
                assert_eq!(
                    bits.value(row),
                    expected,
                    "row {row} of {p:?}\nbound {bound:?}\n{:?}",
                    table.batch.slice(row, 1)
                );
            }
            // `bind` pushes `not` down; filters built by hand may have it anywhere.
            let not = BoundPredicate {
                root: Node::Not(Box::new(bound.root.clone())),
            };
            let not_bits = not.evaluate(&table.batch, &all).unwrap();
            let not_may = not.may_match(&|c| stats[c].clone());
            for row in 0..rows {
                let expected = interpret(&p, &table.batch, row) == Some(false);
                assert_eq!(not_bits.value(row), expected, "row {row} of not {p:?}");
                assert!(not_may || !expected, "a match was pruned by {not:?}");
            }
            // Only the columns it names, in another order.
            let mut columns = bound.columns();
            assert!(columns.windows(2).all(|w| w[0] < w[1]));
            columns.reverse();
            let part = table.batch.project(&columns).unwrap();
            assert_eq!(bound.evaluate(&part, &columns).unwrap(), bits);

            let may = bound.may_match(&|c| stats[c].clone());
            let range = bound.key_range(&table.schema);
            let key_only = bound.key_only(&table.schema);
            let key_bits = key_only.as_ref().map(|k| {
                assert!(k.columns().iter().all(|&c| table.schema.is_key(c)));
                k.evaluate(&table.batch, &all).unwrap()
            });
            for row in (0..rows).filter(|&r| bits.value(r)) {
                assert!(may, "a match was pruned by {bound:?} with {stats:?}");
                assert!(
                    range.contains(keys.get(row)),
                    "{range:?} leaves out {:?} of {p:?}",
                    keys.get(row)
                );
                assert!(
                    key_bits.as_ref().is_none_or(|b| b.value(row)),
                    "{p:?}: {key_only:?}"
                );
                matched += 1;
            }
            pruned += usize::from(!may);
            narrowed += usize::from((0..rows).any(|r| !range.contains(keys.get(r))));
            weakened += usize::from(key_only.is_some());
        }
    });
    if std::env::var("SEED").is_err() {
        // What prunes nothing is also never wrong.
        assert!(
            matched > 100 && pruned > 100 && narrowed > 100 && weakened > 100,
            "{matched} {pruned} {narrowed} {weakened}"
        );
    }
}

fn orders() -> (TableSchema, RecordBatch) {
    let schema = TableSchema::new(
        vec![
            field("id", DataType::Int64, false),
            field("name", DataType::Utf8, true),
            field("price", DataType::Float64, true),
            field(
                "tags",
                DataType::List(field("item", DataType::Utf8, true)),
                true,
            ),
        ],
        &["id"],
    )
    .unwrap();
    let tags = arrow_array::new_null_array(schema.storage().field(3).data_type(), 4);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
        Arc::new(StringArray::from(vec![
            Some("a"),
            None,
            Some("ab"),
            Some("b"),
        ])),
        Arc::new(Float64Array::from(vec![
            Some(-0.0),
            Some(f64::NAN),
            None,
            Some(2.5),
        ])),
        tags,
    ];
    let batch = RecordBatch::try_new(schema.storage().clone(), columns).unwrap();
    (schema, batch)
}

fn ids(p: Predicate) -> Vec<usize> {
    let (schema, batch) = orders();
    let bits = p
        .bind(&schema)
        .unwrap()
        .evaluate(&batch, &[0, 1, 2, 3])
        .unwrap();
    bits.set_indices().map(|i| i + 1).collect()
}

fn cmp(name: &str, op: CompareOp, value: Value) -> Predicate {
    Predicate::Compare(name.into(), op, value)
}

#[test]
fn floats_order_with_nan_last_and_one_zero() {
    use CompareOp::*;
    assert_eq!(ids(cmp("price", Greater, Value::Int(2))), [2, 4]);
    assert_eq!(ids(cmp("price", Equal, Value::Float(f64::NAN))), [2]);
    assert_eq!(ids(cmp("price", Less, Value::Float(f64::NAN))), [1, 4]);
    assert_eq!(ids(cmp("price", Equal, Value::Int(0))), [1]);
    assert_eq!(ids(cmp("price", NotEqual, Value::Float(0.0))), [2, 4]);
}

#[test]
fn null_is_neither_true_nor_false() {
    use CompareOp::*;
    let a = || cmp("name", Equal, Value::Text("a".into()));
    assert_eq!(ids(Predicate::Not(Box::new(a()))), [3, 4]);
    assert_eq!(ids(cmp("id", Equal, Value::Null)), [0usize; 0]);
    assert_eq!(ids(Predicate::IsNull("name".into())), [2]);
    assert_eq!(ids(Predicate::IsNull("tags".into())), [1, 2, 3, 4]);
    let with_null = Predicate::In("id".into(), vec![Value::Int(1), Value::Null]);
    assert_eq!(ids(with_null.clone()), [1]);
    assert_eq!(ids(Predicate::Not(Box::new(with_null))), [0usize; 0]);
    assert_eq!(
        ids(Predicate::Not(Box::new(Predicate::In(
            "name".into(),
            vec![]
        )))),
        [1, 2, 3, 4]
    );
    assert_eq!(
        ids(Predicate::StartsWith(
            "name".into(),
            Value::Text("a".into())
        )),
        [1, 3]
    );
}

#[test]
fn what_cannot_be_compared_is_invalid_and_says_why() {
    let (schema, _) = orders();
    let mut deep = Predicate::IsNull("id".into());
    for _ in 0..1000 {
        deep = Predicate::And(vec![deep]);
    }
    for (p, words) in [
        (
            cmp("nope", CompareOp::Equal, Value::Int(1)),
            vec!["nope", "id, name"],
        ),
        (
            cmp("id", CompareOp::Equal, Value::Text("x".into())),
            vec!["id", "a number"],
        ),
        (
            cmp("name", CompareOp::Equal, Value::Int(1)),
            vec!["name", "a string"],
        ),
        (
            cmp("tags", CompareOp::Equal, Value::Int(1)),
            vec!["tags", "is null"],
        ),
        (
            Predicate::StartsWith("id".into(), Value::Text("1".into())),
            vec!["id", "range"],
        ),
        (deep, vec!["200"]),
    ] {
        let error = p.bind(&schema).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(words.iter().all(|w| error.message().contains(w)), "{error}");
    }
}

#[test]
fn a_point_filter_on_a_composite_key_is_one_key() {
    let schema = TableSchema::new(
        vec![
            field("a", DataType::Utf8, false),
            field("b", DataType::Int32, false),
        ],
        &["a", "b"],
    )
    .unwrap();
    let p = Predicate::And(vec![
        cmp("b", CompareOp::Equal, Value::Float(7.0)),
        cmp("a", CompareOp::Equal, Value::Text("x\0y".into())),
    ]);
    let a: ArrayRef = Arc::new(StringArray::from(vec!["x\0y"]));
    let b: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![7]));
    let key = encode_keys(&[a, b]).unwrap().get(0).to_vec();
    let range = p.bind(&schema).unwrap().key_range(&schema);
    assert_eq!(range, lakeshore::data::key::KeyRange::only(key));
}
