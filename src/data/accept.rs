//! Which types a column may have. Invariant: what is accepted comes back as declared on every path:
//! memory, IPC, Parquet, merge. `tests/data/types/` walks the grammar and holds this file against the
//! round trip; a type that does not pass belongs here, with what to use instead.

use super::{
    schema::{canonical_type, is_key_type},
    spec::{MAX_FIXED_SIZE, MAX_TYPE_DEPTH, type_name},
};
use crate::error::{Error, Result};
use arrow_schema::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION,
    DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Fields,
};
use std::collections::HashSet;

/// Whether a column may be this: `Unsupported` if it is Arrow but cannot be kept, `Invalid` if it is
/// no Arrow or beyond a bound; either names the column, the nested path and what to do instead.
pub(super) fn column(field: &Field) -> Result<()> {
    let mut path = vec![field.name().as_str()];
    check(field.data_type(), &mut path).map_err(|e| {
        let place = match path.len() {
            0 | 1 => String::new(),
            _ => format!(", at {:?}", path.join(".")),
        };
        let text = type_name(field.data_type());
        // A type may be as long as its writer liked.
        let short: String = text.chars().take(200).collect();
        e.context(format!("column {:?} of type {short}{place}", field.name()))
    })
}

/// On failure `path` leads to the part that failed.
fn check<'a>(data_type: &'a DataType, path: &mut Vec<&'a str>) -> Result<()> {
    use DataType::*;
    if path.len() > MAX_TYPE_DEPTH {
        return Err(Error::invalid(format!(
            "types nest at most {MAX_TYPE_DEPTH} deep: flatten it"
        )));
    }
    match data_type {
        FixedSizeBinary(n) => fixed(*n, "binary"),
        FixedSizeList(f, n) => fixed(*n, "a list").and_then(|()| part(f, path)),
        Decimal32(p, s) => decimal(*p, *s, DECIMAL32_MAX_PRECISION),
        Decimal64(p, s) => decimal(*p, *s, DECIMAL64_MAX_PRECISION),
        Decimal128(p, s) => decimal(*p, *s, DECIMAL128_MAX_PRECISION),
        Decimal256(p, s) => decimal(*p, *s, DECIMAL256_MAX_PRECISION),
        List(f) | LargeList(f) | ListView(f) | LargeListView(f) => part(f, path),
        RunEndEncoded(ends, values) => match ends.data_type() {
            Int16 | Int32 | Int64 => part(values, path),
            _ => Err(Error::invalid("run ends are int16, int32 or int64")),
        },
        Map(entries, _) => match entries.data_type() {
            Struct(parts)
                if parts.len() == 2 && !parts[0].is_nullable() && !entries.is_nullable() =>
            {
                parts.iter().try_for_each(|f| part(f, path))
            }
            _ => Err(Error::invalid(
                "a map's entries are a struct of a key, not null, and a value",
            )),
        },
        Struct(fields) => structure(fields, path),
        Dictionary(index, values) => match index.is_dictionary_key_type() {
            false => Err(Error::invalid("a dictionary is indexed by an integer")),
            true if is_key_type(&canonical_type(values)) => check(values, path),
            true => Err(Error::unsupported(format!(
                "a dictionary holds plain values only: declare {} itself",
                type_name(values)
            ))),
        },
        Union(_, _) => Err(Error::unsupported(
            "unions are not supported: use a struct or several columns",
        )),
        Interval(_) => Err(Error::unsupported(
            "intervals are not supported: use a duration or an integer",
        )),
        Null => Err(Error::unsupported(
            "a column without a type is not supported: declare one",
        )),
        _ => Ok(()),
    }
}

fn part<'a>(field: &'a FieldRef, path: &mut Vec<&'a str>) -> Result<()> {
    path.push(field.name());
    check(field.data_type(), path)?;
    path.pop();
    Ok(())
}

fn structure<'a>(fields: &'a Fields, path: &mut Vec<&'a str>) -> Result<()> {
    if fields.is_empty() {
        return Err(Error::unsupported(
            "a struct without fields is not supported: give it one, or use bool",
        ));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = fields.iter().find(|f| !seen.insert(f.name())) {
        return Err(Error::unsupported(format!(
            "a struct has each name once: rename one of its fields {:?}",
            twice.name()
        )));
    }
    fields.iter().try_for_each(|f| part(f, path))
}

fn fixed(size: i32, of: &str) -> Result<()> {
    match size {
        1..=MAX_FIXED_SIZE => Ok(()),
        0 => Err(Error::unsupported(format!(
            "{of} of a fixed size of 0 is not supported: leave it out, or use bool"
        ))),
        _ => Err(Error::invalid(format!(
            "a fixed size is 1 to {MAX_FIXED_SIZE}"
        ))),
    }
}

fn decimal(precision: u8, scale: i8, most: u8) -> Result<()> {
    let digits = 1..=most;
    if digits.contains(&precision) && scale < 0 && scale.unsigned_abs() <= precision {
        // Parquet has none.
        return Err(Error::unsupported(
            "a decimal with a scale below zero is not supported: use scale 0 and more digits",
        ));
    }
    match digits.contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "a decimal has 1 to {most} digits, 0 to all of them behind the point"
        ))),
    }
}
