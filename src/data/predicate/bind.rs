//! Fits a filter to a table: finds columns, and gives every literal its place among the values of
//! its column. Invariant: the bound filter is true, false and null for exactly the rows for which
//! the written one is.

use super::{CompareOp, Literal, Node, Predicate, Value};
use crate::{
    data::{
        key::encode_value,
        schema::{TableSchema, is_key_type},
        spec::type_name,
    },
    error::{Error, Result},
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, LargeBinaryArray, LargeStringArray,
    PrimitiveArray, StringArray, types::*,
};
use arrow_buffer::i256;
use arrow_schema::{DataType, TimeUnit};
use std::sync::Arc;

/// Deepest nesting of a filter; `and` and `or` take lists.
const MAX_DEPTH: usize = 200;
const DAY_MICROS: i128 = 86_400_000_000;

/// Where a literal lies among the values that a column can hold.
enum Place {
    /// It is one.
    At(Literal),
    /// It lies above this value and below the next.
    Above(Literal),
    /// It lies below all values.
    BelowAll,
}

pub(super) fn bind(predicate: &Predicate, schema: &TableSchema) -> Result<Node> {
    node(predicate, schema, 0)
}

fn node(predicate: &Predicate, schema: &TableSchema, depth: usize) -> Result<Node> {
    if depth >= MAX_DEPTH {
        return Err(Error::invalid(format!(
            "the filter nests more than {MAX_DEPTH} deep: give `and` and `or` lists"
        )));
    }
    let all = |nodes: &[Predicate]| -> Result<Vec<Node>> {
        nodes.iter().map(|p| node(p, schema, depth + 1)).collect()
    };
    Ok(match predicate {
        Predicate::Compare(name, op, value) => Column::find(name, schema)?.compare(*op, value)?,
        Predicate::In(name, values) => Column::find(name, schema)?.among(values)?,
        Predicate::Between(name, low, high) => {
            let column = Column::find(name, schema)?;
            Node::And(vec![
                column.compare(CompareOp::GreaterOrEqual, low)?,
                column.compare(CompareOp::LessOrEqual, high)?,
            ])
        }
        Predicate::IsNull(name) => Node::IsNull(schema.index_of(name)?),
        Predicate::StartsWith(name, prefix) => Column::find(name, schema)?.starts_with(prefix)?,
        Predicate::And(nodes) => Node::And(flat(all(nodes)?, |n| match n {
            Node::And(inner) => Ok(inner),
            other => Err(other),
        })),
        Predicate::Or(nodes) => Node::Or(flat(all(nodes)?, |n| match n {
            Node::Or(inner) => Ok(inner),
            other => Err(other),
        })),
        Predicate::Not(inner) => negate(node(inner, schema, depth + 1)?),
    })
}

/// `a and (b and c)` is `a and b and c`.
fn flat(nodes: Vec<Node>, open: impl Fn(Node) -> Result<Vec<Node>, Node>) -> Vec<Node> {
    let mut out = Vec::with_capacity(nodes.len());
    for node in nodes {
        match open(node) {
            Ok(inner) => out.extend(inner),
            Err(node) => out.push(node),
        }
    }
    out
}

/// Not, pushed to where ranges can use it.
fn negate(node: Node) -> Node {
    match node {
        Node::Compare(column, op, literal) => Node::Compare(column, op.negated(), literal),
        Node::Constant(column, value) => Node::Constant(column, !value),
        Node::Null => Node::Null,
        Node::Not(inner) => *inner,
        Node::And(nodes) => Node::Or(nodes.into_iter().map(negate).collect()),
        Node::Or(nodes) => Node::And(nodes.into_iter().map(negate).collect()),
        other => Node::Not(Box::new(other)),
    }
}

/// A column that values are compared with.
struct Column<'a> {
    name: &'a str,
    index: usize,
    data_type: &'a DataType,
}

impl<'a> Column<'a> {
    fn find(name: &'a str, schema: &'a TableSchema) -> Result<Self> {
        let index = schema.index_of(name)?;
        let data_type = schema.storage().field(index).data_type();
        match is_key_type(data_type) {
            true => Ok(Self {
                name,
                index,
                data_type,
            }),
            false => Err(Error::invalid(format!(
                "column {name:?} of type {} cannot be compared: only `is null` works on it",
                type_name(data_type)
            ))),
        }
    }

    fn compare(&self, op: CompareOp, value: &Value) -> Result<Node> {
        use CompareOp::*;
        let constant = |value| Node::Constant(self.index, value);
        Ok(match (self.place(value)?, op) {
            (None, _) => Node::Null,
            (Some(Place::At(literal)), op) => Node::Compare(self.index, op, literal),
            (Some(_), Equal) => constant(false),
            (Some(_), NotEqual) => constant(true),
            (Some(Place::BelowAll), op) => constant(matches!(op, Greater | GreaterOrEqual)),
            (Some(Place::Above(floor)), Less | LessOrEqual) => {
                Node::Compare(self.index, LessOrEqual, floor)
            }
            (Some(Place::Above(floor)), _) => Node::Compare(self.index, Greater, floor),
        })
    }

    fn among(&self, values: &[Value]) -> Result<Node> {
        let mut literals = Vec::with_capacity(values.len());
        let mut null = false;
        for value in values {
            match self.place(value)? {
                None => null = true,
                Some(Place::At(literal)) => literals.push(literal),
                Some(_) => {}
            }
        }
        literals.sort_by(|a, b| a.encoded.cmp(&b.encoded));
        literals.dedup_by(|a, b| a.encoded == b.encoded);
        let found = match literals.is_empty() {
            _ if values.is_empty() => return Ok(Node::Or(Vec::new())),
            true => Node::Constant(self.index, false),
            false => Node::In(self.index, literals),
        };
        Ok(match null {
            true => Node::Or(vec![found, Node::Null]),
            false => found,
        })
    }

    fn starts_with(&self, prefix: &Value) -> Result<Node> {
        use DataType::*;
        Ok(match (self.data_type, prefix) {
            (Utf8 | LargeUtf8 | Binary | LargeBinary | FixedSizeBinary(_), Value::Null) => {
                Node::Null
            }
            (Utf8 | LargeUtf8, Value::Text(text)) => {
                Node::StartsWith(self.index, text.clone().into_bytes())
            }
            // A longer prefix fits no value, and its range would cut into the rest of a key.
            (FixedSizeBinary(n), Value::Binary(bytes)) if bytes.len() > (*n).max(0) as usize => {
                Node::Constant(self.index, false)
            }
            (Binary | LargeBinary | FixedSizeBinary(_), Value::Binary(bytes)) => {
                Node::StartsWith(self.index, bytes.clone())
            }
            (Utf8 | LargeUtf8 | Binary | LargeBinary | FixedSizeBinary(_), _) => {
                return Err(self.misfit(prefix));
            }
            (other, _) => {
                return Err(Error::invalid(format!(
                    "column {:?} is {}: `starts with` works on utf8 and binary, use a range",
                    self.name,
                    type_name(other)
                )));
            }
        })
    }

    fn misfit(&self, value: &Value) -> Error {
        use DataType::*;
        let takes = match self.data_type {
            Boolean => "a boolean",
            Utf8 | LargeUtf8 => "a string",
            Binary | LargeBinary | FixedSizeBinary(_) => "bytes",
            Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => {
                "a number, or its digits as a string"
            }
            Date32 | Date64 | Timestamp(..) => "a moment or an integer in its unit",
            Time32(_) | Time64(_) | Duration(_) => "an integer in its unit",
            _ => "a number",
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a string",
            Value::Binary(_) => "bytes",
            Value::Moment(_) => "a moment",
        };
        Error::invalid(format!(
            "column {:?} is {}: it compares with {takes}, not with {kind}",
            self.name,
            type_name(self.data_type)
        ))
    }

    /// `None` for null.
    fn place(&self, value: &Value) -> Result<Option<Place>> {
        use DataType::*;
        let misfit = || self.misfit(value);
        Ok(Some(match (self.data_type, value) {
            (_, Value::Null) => return Ok(None),
            (Boolean, Value::Bool(v)) => at(Arc::new(BooleanArray::from(vec![*v])))?,
            (Utf8, Value::Text(v)) => at(Arc::new(StringArray::from(vec![v.as_str()])))?,
            (LargeUtf8, Value::Text(v)) => at(Arc::new(LargeStringArray::from(vec![v.as_str()])))?,
            (Binary, Value::Binary(v)) => at(Arc::new(BinaryArray::from(vec![v.as_slice()])))?,
            (LargeBinary, Value::Binary(v)) => {
                at(Arc::new(LargeBinaryArray::from(vec![v.as_slice()])))?
            }
            (FixedSizeBinary(n), Value::Binary(v)) => fixed_bytes(*n, v)?,
            (Float16 | Float32 | Float64, Value::Int(v)) => {
                // The nearest double, or its lower neighbour, is the greatest not above.
                let near = *v as f64;
                let above = near >= i128::MAX as f64 || near as i128 > *v;
                let floor = if above { near.next_down() } else { near };
                self.float(floor, floor as i128 == *v)?
            }
            (Float16 | Float32 | Float64, Value::Float(v)) => self.float(*v, true)?,
            (Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..), _) => {
                self.decimal(value)?
            }
            (Date32 | Date64 | Timestamp(..), Value::Moment(micros)) => {
                let micros = i128::from(*micros);
                match self.data_type {
                    Date32 => self.ratio(micros, 1, DAY_MICROS)?,
                    Date64 | Timestamp(TimeUnit::Millisecond, _) => self.ratio(micros, 1, 1000)?,
                    Timestamp(TimeUnit::Second, _) => self.ratio(micros, 1, 1_000_000)?,
                    Timestamp(TimeUnit::Microsecond, _) => self.ratio(micros, 1, 1)?,
                    _ => self.ratio(micros, 1000, 1)?,
                }
            }
            (t, Value::Int(v)) if integer_range(t).is_some() => self.integer(*v, true)?,
            (t, Value::Float(v)) if integer_range(t).is_some() => match v.is_nan() {
                // NaN is last, also among the numbers of other types.
                true => self.integer(i128::MAX, false)?,
                false => self.integer(v.floor() as i128, v.floor() == *v && v.is_finite())?,
            },
            _ => return Err(misfit()),
        }))
    }

    /// `value * times / over` among integers.
    fn ratio(&self, value: i128, times: i128, over: i128) -> Result<Place> {
        let value = value * times;
        self.integer(value.div_euclid(over), value.rem_euclid(over) == 0)
    }

    /// The place of a number whose floor is `floor`, and which is `floor` if `exact`.
    fn integer(&self, floor: i128, exact: bool) -> Result<Place> {
        let (min, max) = integer_range(self.data_type)
            .ok_or_else(|| Error::internal("a literal for a column that is not of integers"))?;
        if floor < min {
            return Ok(Place::BelowAll);
        }
        let literal = literal(integer_array(self.data_type, floor.min(max))?)?;
        Ok(match exact && floor <= max {
            true => Place::At(literal),
            false => Place::Above(literal),
        })
    }

    fn float(&self, value: f64, exact: bool) -> Result<Place> {
        let (array, stored): (ArrayRef, f64) = match self.data_type {
            DataType::Float16 => {
                let near = half::f16::from_f64(value);
                let floor = match f64::from(near) > value {
                    true => half_below(near),
                    false => near,
                };
                (one::<Float16Type>(floor, self.data_type), floor.into())
            }
            DataType::Float32 => {
                let near = value as f32;
                let floor = match f64::from(near) > value {
                    true => near.next_down(),
                    false => near,
                };
                (one::<Float32Type>(floor, self.data_type), floor.into())
            }
            _ => (one::<Float64Type>(value, self.data_type), value),
        };
        let literal = literal(array)?;
        Ok(
            match exact && (stored == value || value.is_nan() && stored.is_nan()) {
                true => Place::At(literal),
                false => Place::Above(literal),
            },
        )
    }

    /// A decimal; floats count as the shortest digits that make them.
    fn decimal(&self, value: &Value) -> Result<Place> {
        use DataType::*;
        let (precision, scale) = match self.data_type {
            Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) | Decimal256(p, s) => (*p, *s),
            _ => return Err(self.misfit(value)),
        };
        let text = match value {
            Value::Int(v) => v.to_string(),
            Value::Float(v) if v.is_nan() => "1e1000".to_string(),
            Value::Float(v) if v.is_infinite() => {
                if *v > 0.0 { "1e1000" } else { "-1e1000" }.to_string()
            }
            Value::Float(v) => v.to_string(),
            Value::Text(text) => text.trim().to_string(),
            _ => return Err(self.misfit(value)),
        };
        let (floor, exact) = decimal_floor(&text, scale).ok_or_else(|| {
            Error::invalid(format!(
                "column {:?} is {}: {:?} is not a number, write digits as in \"12.50\"",
                self.name,
                type_name(self.data_type),
                text.chars().take(64).collect::<String>()
            ))
        })?;
        let most = i256::from_i128(10)
            .checked_pow(u32::from(precision))
            .and_then(|m| m.checked_sub(i256::ONE))
            .ok_or_else(|| Error::internal("a decimal type without bounds"))?;
        if floor < most.wrapping_neg() {
            return Ok(Place::BelowAll);
        }
        let stored = floor.min(most);
        let narrow = stored.to_i128();
        let array = match (self.data_type, narrow) {
            (Decimal256(..), _) => one::<Decimal256Type>(stored, self.data_type),
            (Decimal128(..), Some(v)) => one::<Decimal128Type>(v, self.data_type),
            (Decimal64(..), Some(v)) => one::<Decimal64Type>(v as i64, self.data_type),
            (_, Some(v)) => one::<Decimal32Type>(v as i32, self.data_type),
            _ => return Err(Error::internal("a decimal literal is out of bounds")),
        };
        Ok(match exact && floor <= most {
            true => Place::At(literal(array)?),
            false => Place::Above(literal(array)?),
        })
    }
}

fn literal(array: ArrayRef) -> Result<Literal> {
    let encoded = encode_value(&array, 0)?.ok_or_else(|| Error::internal("a null literal"))?;
    Ok(Literal { array, encoded })
}

fn at(array: ArrayRef) -> Result<Place> {
    literal(array).map(Place::At)
}

fn one<T: ArrowPrimitiveType>(value: T::Native, data_type: &DataType) -> ArrayRef {
    let array = PrimitiveArray::<T>::from_value(value, 1);
    Arc::new(array.with_data_type(data_type.clone()))
}

/// The next half-precision float below a finite or infinite one.
fn half_below(value: half::f16) -> half::f16 {
    let bits = value.to_bits();
    half::f16::from_bits(match bits {
        // Both zeros: the smallest negative one.
        0 | 0x8000 => 0x8001,
        b if b >> 15 == 1 => b + 1,
        b => b - 1,
    })
}

/// The greatest value of `width` bytes that is not above `value`.
fn fixed_bytes(width: i32, value: &[u8]) -> Result<Place> {
    let width = width.max(0) as usize;
    let make = |bytes: &[u8]| -> Result<Literal> {
        let made = FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes));
        literal(Arc::new(made.map_err(|e| {
            Error::internal(format!("a fixed-size literal: {e}"))
        })?))
    };
    if value.len() == width {
        return Ok(Place::At(make(value)?));
    }
    if let Some(head) = value.get(..width) {
        return Ok(Place::Above(make(head)?));
    }
    // Shorter: one less than it with zeros after it.
    let mut floor = value.to_vec();
    loop {
        match floor.last_mut() {
            None => return Ok(Place::BelowAll),
            Some(0) => {
                floor.pop();
            }
            Some(byte) => {
                *byte -= 1;
                break;
            }
        }
    }
    floor.resize(width, 0xFF);
    Ok(Place::Above(make(&floor)?))
}

/// Least and greatest value of a type stored as integers, decimals aside.
fn integer_range(data_type: &DataType) -> Option<(i128, i128)> {
    use DataType::*;
    Some(match data_type {
        Int8 => (i8::MIN.into(), i8::MAX.into()),
        Int16 => (i16::MIN.into(), i16::MAX.into()),
        UInt8 => (0, u8::MAX.into()),
        UInt16 => (0, u16::MAX.into()),
        UInt32 => (0, u32::MAX.into()),
        UInt64 => (0, u64::MAX.into()),
        Int32 | Date32 | Time32(_) => (i32::MIN.into(), i32::MAX.into()),
        Int64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) => {
            (i64::MIN.into(), i64::MAX.into())
        }
        _ => return None,
    })
}

/// `value`, which is in range, as the only value of an array.
fn integer_array(data_type: &DataType, value: i128) -> Result<ArrayRef> {
    use DataType::*;
    macro_rules! make {
        ($t:ty) => {
            one::<$t>(value as <$t as ArrowPrimitiveType>::Native, data_type)
        };
    }
    Ok(match data_type {
        Int8 => make!(Int8Type),
        Int16 => make!(Int16Type),
        Int32 => make!(Int32Type),
        Int64 => make!(Int64Type),
        UInt8 => make!(UInt8Type),
        UInt16 => make!(UInt16Type),
        UInt32 => make!(UInt32Type),
        UInt64 => make!(UInt64Type),
        Date32 => make!(Date32Type),
        Date64 => make!(Date64Type),
        Time32(TimeUnit::Second) => make!(Time32SecondType),
        Time32(_) => make!(Time32MillisecondType),
        Time64(TimeUnit::Microsecond) => make!(Time64MicrosecondType),
        Time64(_) => make!(Time64NanosecondType),
        Timestamp(TimeUnit::Second, _) => make!(TimestampSecondType),
        Timestamp(TimeUnit::Millisecond, _) => make!(TimestampMillisecondType),
        Timestamp(TimeUnit::Microsecond, _) => make!(TimestampMicrosecondType),
        Timestamp(TimeUnit::Nanosecond, _) => make!(TimestampNanosecondType),
        Duration(TimeUnit::Second) => make!(DurationSecondType),
        Duration(TimeUnit::Millisecond) => make!(DurationMillisecondType),
        Duration(TimeUnit::Microsecond) => make!(DurationMicrosecondType),
        Duration(TimeUnit::Nanosecond) => make!(DurationNanosecondType),
        other => return Err(Error::internal(format!("{other} is not of integers"))),
    })
}

/// `text` times `10^scale`, rounded down, and whether that is exact; saturates far out of any
/// decimal's range. `None` if the text is not a number.
fn decimal_floor(text: &str, scale: i8) -> Option<(i256, bool)> {
    let (negative, rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().ok()?.clamp(-100_000, 100_000)),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || digits.len() > 10_000 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The digits that are left of the point once the scale is applied.
    let kept = whole.len() as i64 + i64::from(exponent) + i64::from(scale);
    let ten = i256::from_i128(10);
    let (mut value, mut exact, mut huge) = (i256::ZERO, true, false);
    for at in 0..kept.max(digits.len() as i64) {
        let digit = digits.as_bytes().get(at as usize).map_or(0, |b| b - b'0');
        if at >= kept {
            exact &= digit == 0;
        } else if value != i256::ZERO || digit != 0 {
            // 76 digits fit; more are beyond every decimal.
            huge |= value.checked_ilog10().is_some_and(|n| n >= 75) && value != i256::ZERO;
            if huge {
                break;
            }
            value = value
                .wrapping_mul(ten)
                .wrapping_add(i256::from_i128(digit.into()));
        }
    }
    if huge {
        let far = if negative { i256::MIN } else { i256::MAX };
        return Some((far, false));
    }
    Some(match (negative, exact) {
        (false, _) => (value, exact),
        (true, true) => (value.wrapping_neg(), true),
        (true, false) => (value.wrapping_neg().wrapping_sub(i256::ONE), false),
    })
}
