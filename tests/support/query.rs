//! Random filters and their naive, row-by-row evaluation, written anew: three-valued, strings by
//! bytes, -0 is +0, every NaN is one and last.

use super::{cells::Cell, random::Random};
use arrow_schema::{DataType, Fields, TimeUnit};
use lakeshore::data::predicate::{CompareOp, Predicate, Value};
use std::cmp::Ordering;

/// Order of two cells of one type, not null.
pub fn compare(a: &Cell, b: &Cell) -> Ordering {
    match (a, b) {
        (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
        (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
        (Cell::Float(a), Cell::Float(b)) => floats(f64::from_bits(*a), f64::from_bits(*b)),
        (Cell::Text(a), Cell::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Cell::Bytes(a), Cell::Bytes(b)) => a.cmp(b),
        other => panic!("no order: {other:?}"),
    }
}

fn floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if a < b => Ordering::Less,
        (false, false) if a > b => Ordering::Greater,
        (false, false) => Ordering::Equal,
        (a, b) => a.cmp(&b),
    }
}

/// A primary key, ordered.
#[derive(Clone, Debug)]
pub struct Key(pub Vec<Cell>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs
            .map(|(a, b)| compare(a, b))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Key {}

/// Numbers are held as multiples of 1/10,000, exactly.
const UNIT: i128 = 10_000;

/// The order of a cell and a literal; neither is null.
fn against(cell: &Cell, data_type: &DataType, literal: &Value) -> Ordering {
    let fixed = |cell: &Cell| match (cell, data_type) {
        (Cell::Int(v), DataType::Decimal32(_, s) | DataType::Decimal64(_, s))
        | (Cell::Int(v), DataType::Decimal128(_, s)) => v.saturating_mul(10i128.pow(4 - *s as u32)),
        (Cell::Int(v), _) => v * UNIT,
        other => panic!("not a number: {other:?}"),
    };
    match (cell, literal) {
        (Cell::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Cell::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Cell::Bytes(a), Value::Binary(b)) => a.cmp(b),
        (Cell::Float(a), Value::Float(b)) => floats(f64::from_bits(*a), *b),
        (Cell::Float(a), Value::Int(b)) => floats(f64::from_bits(*a), *b as f64),
        (_, Value::Int(b)) => fixed(cell).cmp(&b.saturating_mul(UNIT)),
        (_, Value::Float(b)) if b.is_nan() => Ordering::Less,
        (_, Value::Float(b)) if b.is_infinite() => 0f64.total_cmp(b),
        (_, Value::Float(b)) => fixed(cell).cmp(&((b * UNIT as f64) as i128)),
        (_, Value::Text(digits)) => fixed(cell).cmp(&parse(digits)),
        (Cell::Int(v), Value::Moment(micros)) => {
            let unit = match data_type {
                DataType::Timestamp(TimeUnit::Second, _) => 1_000_000,
                DataType::Timestamp(TimeUnit::Millisecond, _) => 1000,
                DataType::Date32 => 86_400_000_000,
                _ => 1,
            };
            (v * unit).cmp(&i128::from(*micros))
        }
        other => panic!("no order: {other:?}"),
    }
}

/// `[-]digits[.digits]` with at most four after the point.
fn parse(text: &str) -> i128 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |t| (-1, t));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    sign * format!("{whole}{part:0<4}").parse::<i128>().unwrap()
}

fn test(op: CompareOp, order: Ordering) -> bool {
    match op {
        CompareOp::Equal => order.is_eq(),
        CompareOp::NotEqual => order.is_ne(),
        CompareOp::Less => order.is_lt(),
        CompareOp::LessOrEqual => order.is_le(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::GreaterOrEqual => order.is_ge(),
    }
}

/// The truth of a filter for one row; `None` is unknown.
pub fn truth(predicate: &Predicate, fields: &Fields, row: &[Cell]) -> Option<bool> {
    let of = |name: &str| {
        let (at, field) = fields.find(name).unwrap();
        let data_type = match field.data_type() {
            DataType::Dictionary(_, values) => values.as_ref().clone(),
            other => other.clone(),
        };
        (&row[at], data_type)
    };
    let compared = |name: &str, op: CompareOp, value: &Value| {
        let (cell, data_type) = of(name);
        match (cell, value) {
            (Cell::Null, _) | (_, Value::Null) => None,
            _ => Some(test(op, against(cell, &data_type, value))),
        }
    };
    let all = |terms: &mut dyn Iterator<Item = Option<bool>>| {
        let mut known = Some(true);
        for term in terms {
            match term {
                Some(false) => return Some(false),
                None => known = None,
                Some(true) => {}
            }
        }
        known
    };
    match predicate {
        Predicate::Compare(name, op, value) => compared(name, *op, value),
        Predicate::In(name, values) => {
            let differs = |v| compared(name, CompareOp::NotEqual, v);
            all(&mut values.iter().map(differs)).map(|none| !none)
        }
        Predicate::Between(name, low, high) => all(&mut [
            compared(name, CompareOp::GreaterOrEqual, low),
            compared(name, CompareOp::LessOrEqual, high),
        ]
        .into_iter()),
        Predicate::IsNull(name) => Some(*of(name).0 == Cell::Null),
        Predicate::StartsWith(name, prefix) => match (of(name).0, prefix) {
            (Cell::Null, _) | (_, Value::Null) => None,
            (Cell::Text(t), Value::Text(p)) => Some(t.as_bytes().starts_with(p.as_bytes())),
            (Cell::Bytes(t), Value::Binary(p)) => Some(t.starts_with(p)),
            other => panic!("no prefix: {other:?}"),
        },
        Predicate::And(terms) => all(&mut terms.iter().map(|t| truth(t, fields, row))),
        Predicate::Or(terms) => {
            let negated = |t| truth(t, fields, row).map(|t| !t);
            all(&mut terms.iter().map(negated)).map(|none| !none)
        }
        Predicate::Not(inner) => truth(inner, fields, row).map(|t| !t),
    }
}

/// A random filter over columns; `near` gives a value that likely occurs in a column.
pub fn predicate(
    fields: &Fields,
    random: &mut Random,
    near: &mut dyn FnMut(&mut Random, usize) -> Cell,
    depth: usize,
) -> Predicate {
    if depth < 3 && random.chance(0.45) {
        let n = random.below(4);
        let mut terms = |random: &mut Random| {
            (0..n)
                .map(|_| predicate(fields, random, near, depth + 1))
                .collect()
        };
        return match random.below(3) {
            0 => Predicate::And(terms(random)),
            1 => Predicate::Or(terms(random)),
            _ => Predicate::Not(Box::new(predicate(fields, random, near, depth + 1))),
        };
    }
    let column = random.below(fields.len());
    let field = &fields[column];
    let name = field.name().clone();
    let data_type = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        other => other.clone(),
    };
    if data_type.is_nested() || random.chance(0.1) {
        return Predicate::IsNull(name);
    }
    let mut value = |random: &mut Random| {
        let cell = near(random, column);
        literal(&cell, &data_type, random)
    };
    let prefixed = matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::FixedSizeBinary(_)
    );
    match random.below(10) {
        0 | 1 => Predicate::Between(name, value(random), value(random)),
        2 | 3 => {
            let n = random.below(4);
            Predicate::In(name, (0..n).map(|_| value(random)).collect())
        }
        4 | 5 if prefixed => Predicate::StartsWith(
            name,
            match value(random) {
                Value::Text(t) => Value::Text(t.chars().take(random.below(4)).collect()),
                Value::Binary(b) => Value::Binary(b.into_iter().take(random.below(4)).collect()),
                other => other,
            },
        ),
        _ => {
            use CompareOp::*;
            let ops = [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual];
            Predicate::Compare(name, *random.pick(&ops), value(random))
        }
    }
}

/// A cell as a literal, or one near it in another form.
fn literal(cell: &Cell, data_type: &DataType, random: &mut Random) -> Value {
    if random.chance(0.06) {
        return Value::Null;
    }
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(v) => Value::Bool(*v),
        Cell::Float(bits) => match f64::from_bits(*bits) {
            v if v.fract() == 0.0 && random.chance(0.3) => Value::Int(v as i128),
            v if v.is_finite() && random.chance(0.1) => Value::Float(v + 0.1),
            v => Value::Float(v),
        },
        Cell::Text(t) => Value::Text(t.clone()),
        Cell::Bytes(b) => Value::Binary(match random.chance(0.2) {
            // Another length than a fixed-size column's.
            true => b
                .iter()
                .copied()
                .take(random.below(3))
                .chain([random.below(256) as u8])
                .collect(),
            false => b.clone(),
        }),
        Cell::Int(v) => match data_type {
            DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) => {
                let scaled = v.saturating_mul(10i128.pow(4 - *s as u32));
                let scaled = if random.chance(0.3) {
                    scaled + 1
                } else {
                    scaled
                };
                match random.below(4) {
                    0 => Value::Int(scaled / UNIT),
                    _ => {
                        let sign = if scaled < 0 { "-" } else { "" };
                        let digits = scaled.unsigned_abs();
                        Value::Text(format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000))
                    }
                }
            }
            DataType::Timestamp(unit, _) if random.chance(0.5) => {
                let micros = match unit {
                    TimeUnit::Second => v * 1_000_000,
                    TimeUnit::Millisecond => v * 1000,
                    _ => *v,
                };
                let off = random.below(3) as i128 - 1;
                Value::Moment((micros + off).clamp(i64::MIN.into(), i64::MAX.into()) as i64)
            }
            DataType::Date32 if random.chance(0.3) => {
                Value::Moment((v * 86_400_000_000 + random.below(2) as i128) as i64)
            }
            _ => match random.below(12) {
                0 => Value::Int(i128::from(i64::MAX) * 4),
                1 => Value::Int(i128::from(i64::MIN) * 4),
                2 if v.abs() < 1 << 40 => Value::Float(*v as f64 + 0.5),
                3 => Value::Float(*random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY])),
                4 => Value::Int(v + 1),
                _ => Value::Int(*v),
            },
        },
        Cell::Items(_) => Value::Null,
    }
}
