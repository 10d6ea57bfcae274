//! Filters from JavaScript: `["gt", "delay", 30]`, `["and", [p, q]]`, … (js/src/predicate.ts).

use crate::{
    data::{
        predicate::{CompareOp, Predicate, Value},
        schema::TableSchema,
    },
    error::{Error, Result},
};
use arrow_schema::DataType;
use js_sys::{Array, BigInt, Date, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};

/// Deepest nesting of a filter: what the stack bears with room to spare.
const MAX_DEPTH: usize = 100;

/// Integers beyond this are not exact in a JS number.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

/// The filter that `spec` says, for a table.
pub(super) fn parse(spec: &JsValue, schema: &TableSchema) -> Result<Predicate> {
    parse_at(spec, schema, 0)
}

fn parse_at(spec: &JsValue, schema: &TableSchema, depth: usize) -> Result<Predicate> {
    if depth > MAX_DEPTH {
        return Err(Error::invalid(format!(
            "the filter is nested more than {MAX_DEPTH} levels deep: use and(…), or(…) and in(…)"
        )));
    }
    let parts: &Array = spec.dyn_ref().ok_or_else(malformed)?;
    let operator = parts.get(0).as_string().ok_or_else(malformed)?;
    let several = |at: u32| -> Result<Vec<Predicate>> {
        let list: Array = parts.get(at).dyn_into().map_err(|_| malformed())?;
        list.iter()
            .map(|p| parse_at(&p, schema, depth + 1))
            .collect()
    };
    match operator.as_str() {
        "and" => return Ok(Predicate::And(several(1)?)),
        "or" => return Ok(Predicate::Or(several(1)?)),
        "not" => {
            return Ok(Predicate::Not(Box::new(parse_at(
                &parts.get(1),
                schema,
                depth + 1,
            )?)));
        }
        _ => {}
    }
    let column = parts.get(1).as_string().ok_or_else(malformed)?;
    let scale = decimal_scale(schema, &column);
    let literal = |js: JsValue| {
        let value = match scale {
            Some(scale) => decimal(&js, scale),
            None => value(&js),
        };
        value.map_err(|e| e.context(format!("column {column:?}")))
    };
    let operand = |at: u32| literal(parts.get(at));
    Ok(match operator.as_str() {
        "isNull" => Predicate::IsNull(column),
        "startsWith" => Predicate::StartsWith(column.clone(), operand(2)?),
        "between" => Predicate::Between(column.clone(), operand(2)?, operand(3)?),
        "in" => {
            let list: Array = parts.get(2).dyn_into().map_err(|_| malformed())?;
            let values = list.iter().map(literal).collect::<Result<Vec<_>>>()?;
            Predicate::In(column.clone(), values)
        }
        _ => Predicate::Compare(column.clone(), compare_op(&operator)?, operand(2)?),
    })
}

fn decimal_scale(schema: &TableSchema, column: &str) -> Option<i8> {
    use DataType::*;
    let field = schema.user().field_with_name(column).ok()?;
    match field.data_type() {
        Decimal32(_, s) | Decimal64(_, s) | Decimal128(_, s) | Decimal256(_, s) => Some(*s),
        _ => None,
    }
}

/// Integers are unscaled, as in rows; text is what it says.
fn decimal(js: &JsValue, scale: i8) -> Result<Value> {
    let unscaled = match js.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() <= MAX_SAFE => {
            Some(format!("{number:.0}"))
        }
        Some(_) => None,
        None if js.is_bigint() => big_int_digits(js.unchecked_ref()),
        None => return value(js),
    };
    unscaled
        .map(|digits| Value::Text(scaled(&digits, scale)))
        .ok_or_else(|| {
            Error::invalid(
                "a decimal in a filter is an unscaled bigint or safe integer, or digits as text",
            )
        })
}

/// `"-5"` with scale 2 is `"-0.05"`.
fn scaled(digits: &str, scale: i8) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let Ok(places) = usize::try_from(scale) else {
        return format!("{sign}{digits}{}", "0".repeat(scale.unsigned_abs().into()));
    };
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    match fraction.is_empty() {
        true => format!("{sign}{whole}"),
        false => format!("{sign}{whole}.{fraction}"),
    }
}

fn malformed() -> Error {
    Error::invalid("the filter is malformed: make it with col()")
}

fn compare_op(name: &str) -> Result<CompareOp> {
    Ok(match name {
        "eq" => CompareOp::Equal,
        "ne" => CompareOp::NotEqual,
        "lt" => CompareOp::Less,
        "lte" => CompareOp::LessOrEqual,
        "gt" => CompareOp::Greater,
        "gte" => CompareOp::GreaterOrEqual,
        _ => return Err(malformed()),
    })
}

fn value(js: &JsValue) -> Result<Value> {
    if js.is_null() || js.is_undefined() {
        return Ok(Value::Null);
    }
    if let Some(bool) = js.as_bool() {
        return Ok(Value::Bool(bool));
    }
    if let Some(number) = js.as_f64() {
        let integer = number.fract() == 0.0 && number.abs() <= MAX_SAFE;
        return Ok(match integer {
            true => Value::Int(number as i128),
            false => Value::Float(number),
        });
    }
    if let Some(text) = js.as_string() {
        return Ok(Value::Text(text));
    }
    if let Some(bytes) = js.dyn_ref::<Uint8Array>() {
        return Ok(Value::Binary(bytes.to_vec()));
    }
    if let Some(date) = js.dyn_ref::<Date>() {
        return moment(date);
    }
    if js.is_bigint() {
        return big_int(js.unchecked_ref());
    }
    Err(Error::invalid(
        "a value in a filter is a boolean, number, bigint, string, Date or Uint8Array",
    ))
}

fn moment(date: &Date) -> Result<Value> {
    let millis = date.get_time();
    match millis.is_nan() {
        true => Err(Error::invalid("the Date in the filter is invalid")),
        false => Ok(Value::Moment(millis as i64 * 1000)),
    }
}

fn big_int(value: &BigInt) -> Result<Value> {
    let number = big_int_digits(value).and_then(|t| t.parse::<i128>().ok());
    number.map(Value::Int).ok_or_else(|| {
        Error::invalid("a bigint in a filter has at most 128 bits: no column holds this one")
    })
}

fn big_int_digits(value: &BigInt) -> Option<String> {
    value.to_string(10).ok()?.as_string()
}
