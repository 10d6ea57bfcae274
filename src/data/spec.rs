//! Column types as text: `"int64"`, `"timestamp[us, UTC]"`, `"struct<a: int32, b: list<utf8>>"`.
//! Invariants: [`parse_type`] of [`type_name`] gives the type back; depth, length and numbers are
//! bounded, because the text comes from outside.

use crate::error::{Error, Result};
use arrow_schema::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION,
    DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, TimeUnit,
};
use std::sync::Arc;

/// Deepest nesting of a type.
pub const MAX_TYPE_DEPTH: usize = 16;
/// Longest type text, in bytes.
const MAX_TYPE_BYTES: usize = 64 * 1024;
/// Widest fixed-size binary and fixed-size list: as wide as a value may be.
pub const MAX_FIXED_SIZE: i32 = 16 * 1024 * 1024;

const KNOWN: &str = "bool, int8 to int64, uint8 to uint64, float16 to float64, utf8, large_utf8, \
    binary, large_binary, fixed_size_binary[16], decimal128(38, 10), date32, date64, time32[ms], \
    time64[us], timestamp[us], timestamp[us, UTC], duration[ms], list<T>, large_list<T>, \
    fixed_size_list<T, 3>, struct<a: T>, map<utf8, T>, dictionary<int32, utf8>";

/// One column as a caller writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// Its type, as [`parse_type`] reads it.
    pub data_type: String,
    /// Whether it may be null; the default is that it may.
    pub nullable: Option<bool>,
}

/// The fields that `specs` describe, or `Invalid` naming the column.
pub fn columns(specs: &[ColumnSpec]) -> Result<Vec<FieldRef>> {
    specs
        .iter()
        .map(|spec| {
            let data_type = parse_type(&spec.data_type)
                .map_err(|e| e.context(format!("column {:?}", spec.name)))?;
            let nullable = spec.nullable.unwrap_or(true);
            Ok(Arc::new(Field::new(&spec.name, data_type, nullable)))
        })
        .collect()
}

/// The Arrow type that `text` names, case-insensitively, or `Invalid` listing what is known.
pub fn parse_type(text: &str) -> Result<DataType> {
    if text.len() > MAX_TYPE_BYTES {
        return Err(Error::invalid(format!(
            "a type of {} bytes is too long: a type takes at most {MAX_TYPE_BYTES}",
            text.len()
        )));
    }
    let mut parser = Parser { text, at: 0 };
    let data_type = parser.data_type(0)?;
    parser.skip_space();
    match parser.rest().is_empty() {
        true => Ok(data_type),
        false => Err(parser.error("nothing more")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn error(&self, expected: &str) -> Error {
        let text: String = self.text.chars().take(100).collect();
        Error::invalid(format!(
            "type {text:?}: expected {expected} at byte {}",
            self.at
        ))
    }

    fn eat(&mut self, token: char) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len_utf8();
        }
        found
    }

    fn need(&mut self, token: char) -> Result<()> {
        match self.eat(token) {
            true => Ok(()),
            false => Err(self.error(&format!("`{token}`"))),
        }
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        self.skip_space();
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest[sign..]
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len() - sign);
        let number = rest[..sign + digits].parse();
        let number = number.map_err(|_| self.error("a number that fits"))?;
        self.at += sign + digits;
        Ok(number)
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType> {
        if depth >= MAX_TYPE_DEPTH {
            return Err(self.error(&format!("at most {MAX_TYPE_DEPTH} levels of nesting")));
        }
        let start = self.at;
        let word = self.word().to_ascii_lowercase();
        use DataType::*;
        Ok(match word.as_str() {
            "bool" | "boolean" => Boolean,
            "int8" => Int8,
            "int16" => Int16,
            "int32" | "int" => Int32,
            "int64" | "long" => Int64,
            "uint8" => UInt8,
            "uint16" => UInt16,
            "uint32" => UInt32,
            "uint64" => UInt64,
            "float16" => Float16,
            "float32" => Float32,
            "float64" | "double" => Float64,
            "utf8" | "string" | "text" => Utf8,
            "large_utf8" | "large_string" => LargeUtf8,
            "binary" | "bytes" => Binary,
            "large_binary" => LargeBinary,
            "date32" | "date" => Date32,
            "date64" => Date64,
            "fixed_size_binary" => FixedSizeBinary(self.size_in_brackets()?),
            "decimal32" | "decimal64" | "decimal128" | "decimal256" | "decimal" => {
                self.decimal(&word)?
            }
            "time32" => match self.unit()? {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => Time32(unit),
                _ => return Err(self.error("time32[s] or time32[ms]")),
            },
            "time64" => match self.unit()? {
                unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond) => Time64(unit),
                _ => return Err(self.error("time64[us] or time64[ns]")),
            },
            "timestamp" => self.timestamp()?,
            "duration" => Duration(self.unit()?),
            "list" => List(self.element(depth)?),
            "large_list" => LargeList(self.element(depth)?),
            "fixed_size_list" => self.fixed_size_list(depth)?,
            "struct" => self.structure(depth)?,
            "map" => self.map(depth)?,
            "dictionary" => self.dictionary(depth)?,
            _ => {
                self.at = start;
                return Err(self.error(&format!("one of {KNOWN}")));
            }
        })
    }

    fn size_in_brackets(&mut self) -> Result<i32> {
        self.need('[')?;
        let size = self.size()?;
        self.need(']')?;
        Ok(size)
    }

    fn size(&mut self) -> Result<i32> {
        let size: i32 = self.number()?;
        match (1..=MAX_FIXED_SIZE).contains(&size) {
            true => Ok(size),
            false => Err(self.error(&format!("a size of 1 to {MAX_FIXED_SIZE} before this"))),
        }
    }

    fn decimal(&mut self, word: &str) -> Result<DataType> {
        self.need('(')?;
        let precision: u8 = self.number()?;
        let scale: i8 = match self.eat(',') {
            true => self.number()?,
            false => 0,
        };
        self.need(')')?;
        let (most, data_type) = match word {
            "decimal32" => (
                DECIMAL32_MAX_PRECISION,
                DataType::Decimal32(precision, scale),
            ),
            "decimal64" => (
                DECIMAL64_MAX_PRECISION,
                DataType::Decimal64(precision, scale),
            ),
            "decimal256" => (
                DECIMAL256_MAX_PRECISION,
                DataType::Decimal256(precision, scale),
            ),
            "decimal" if precision > DECIMAL128_MAX_PRECISION => (
                DECIMAL256_MAX_PRECISION,
                DataType::Decimal256(precision, scale),
            ),
            _ => (
                DECIMAL128_MAX_PRECISION,
                DataType::Decimal128(precision, scale),
            ),
        };
        // Arrow takes scales of -precision to precision.
        match (1..=most).contains(&precision) && scale.unsigned_abs() <= precision {
            true => Ok(data_type),
            false => Err(self.error(&format!(
                "a precision of 1 to {most} and a scale no wider before this"
            ))),
        }
    }

    fn unit(&mut self) -> Result<TimeUnit> {
        self.need('[')?;
        let unit = self.unit_word()?;
        self.need(']')?;
        Ok(unit)
    }

    fn unit_word(&mut self) -> Result<TimeUnit> {
        let start = self.at;
        Ok(match self.word().to_ascii_lowercase().as_str() {
            "s" => TimeUnit::Second,
            "ms" => TimeUnit::Millisecond,
            "us" => TimeUnit::Microsecond,
            "ns" => TimeUnit::Nanosecond,
            _ => {
                self.at = start;
                return Err(self.error("s, ms, us or ns"));
            }
        })
    }

    fn timestamp(&mut self) -> Result<DataType> {
        self.need('[')?;
        let unit = self.unit_word()?;
        let zone = match self.eat(',') {
            false => None,
            true => {
                let rest = self.rest();
                let end = rest
                    .find(']')
                    .ok_or_else(|| self.error("`]` after the time zone"))?;
                self.at += end;
                let zone = rest[..end].trim();
                let zone = zone.strip_prefix("tz=").unwrap_or(zone);
                let zone = zone.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
                if zone.is_empty() {
                    return Err(self.error("a time zone, as in timestamp[us, UTC],"));
                }
                // Writers differ in how they spell UTC; one spelling keeps schemas equal.
                Some(match zone.eq_ignore_ascii_case("utc") {
                    true => "UTC".into(),
                    false => zone.into(),
                })
            }
        };
        self.need(']')?;
        Ok(DataType::Timestamp(unit, zone))
    }

    fn element(&mut self, depth: usize) -> Result<FieldRef> {
        self.need('<')?;
        let field = self.item(depth)?;
        self.need('>')?;
        Ok(field)
    }

    fn item(&mut self, depth: usize) -> Result<FieldRef> {
        let data_type = self.data_type(depth + 1)?;
        let nullable = !self.not_null();
        Ok(Arc::new(Field::new("item", data_type, nullable)))
    }

    /// `not null` after a type.
    fn not_null(&mut self) -> bool {
        let start = self.at;
        if self.word().eq_ignore_ascii_case("not") && self.word().eq_ignore_ascii_case("null") {
            return true;
        }
        self.at = start;
        false
    }

    fn fixed_size_list(&mut self, depth: usize) -> Result<DataType> {
        self.need('<')?;
        let field = self.item(depth)?;
        let bracketed = match self.eat(',') {
            true => {
                let size = self.size()?;
                self.need('>')?;
                return Ok(DataType::FixedSizeList(field, size));
            }
            false => self.need('>').and_then(|()| self.size_in_brackets()),
        };
        Ok(DataType::FixedSizeList(field, bracketed?))
    }

    fn structure(&mut self, depth: usize) -> Result<DataType> {
        self.need('<')?;
        let mut fields: Vec<FieldRef> = Vec::new();
        loop {
            let name = self.name()?;
            self.need(':')?;
            let data_type = self.data_type(depth + 1)?;
            let nullable = !self.not_null();
            if fields.iter().any(|f| *f.name() == name) {
                return Err(self.error(&format!("field {name:?} only once before this")));
            }
            fields.push(Arc::new(Field::new(name, data_type, nullable)));
            if !self.eat(',') {
                break;
            }
        }
        self.need('>')?;
        Ok(DataType::Struct(fields.into()))
    }

    /// A field's name: bare, or in double quotes with `\"` and `\\`.
    fn name(&mut self) -> Result<String> {
        if !self.eat('"') {
            let rest = self.rest();
            let end = rest.find([':', '<', '>', ',', '"']).unwrap_or(rest.len());
            let name = rest[..end].trim();
            if name.is_empty() {
                return Err(self.error("a field name"));
            }
            self.at += end;
            return Ok(name.to_string());
        }
        let mut name = String::new();
        let mut escaped = false;
        for (i, c) in self.rest().char_indices() {
            match c {
                '"' if !escaped => {
                    self.at += i + 1;
                    return Ok(name);
                }
                '\\' if !escaped => escaped = true,
                c => {
                    escaped = false;
                    name.push(c);
                }
            }
        }
        Err(self.error("a closing `\"`"))
    }

    fn map(&mut self, depth: usize) -> Result<DataType> {
        self.need('<')?;
        let key = self.data_type(depth + 1)?;
        self.need(',')?;
        let value = self.data_type(depth + 1)?;
        let nullable = !self.not_null();
        self.need('>')?;
        let entries = DataType::Struct(
            vec![
                Field::new("key", key, false),
                Field::new("value", value, nullable),
            ]
            .into(),
        );
        Ok(DataType::Map(
            Arc::new(Field::new("entries", entries, false)),
            false,
        ))
    }

    fn dictionary(&mut self, depth: usize) -> Result<DataType> {
        self.need('<')?;
        let key = self.data_type(depth + 1)?;
        if !key.is_dictionary_key_type() {
            return Err(self.error("an integer as the dictionary's index type before this"));
        }
        self.need(',')?;
        let value = self.data_type(depth + 1)?;
        self.need('>')?;
        Ok(DataType::Dictionary(Box::new(key), Box::new(value)))
    }
}

/// The text that [`parse_type`] reads as `data_type`. Types that no column can have keep Arrow's name.
pub fn type_name(data_type: &DataType) -> String {
    use DataType::*;
    let item = |f: &FieldRef| format!("{}{}", type_name(f.data_type()), null_mark(f));
    match data_type {
        Boolean => "bool".into(),
        Utf8 => "utf8".into(),
        LargeUtf8 => "large_utf8".into(),
        Binary => "binary".into(),
        LargeBinary => "large_binary".into(),
        FixedSizeBinary(n) => format!("fixed_size_binary[{n}]"),
        Decimal32(p, s) => format!("decimal32({p}, {s})"),
        Decimal64(p, s) => format!("decimal64({p}, {s})"),
        Decimal128(p, s) => format!("decimal128({p}, {s})"),
        Decimal256(p, s) => format!("decimal256({p}, {s})"),
        Time32(unit) => format!("time32[{}]", unit_name(unit)),
        Time64(unit) => format!("time64[{}]", unit_name(unit)),
        Timestamp(unit, None) => format!("timestamp[{}]", unit_name(unit)),
        Timestamp(unit, Some(zone)) => format!("timestamp[{}, {zone}]", unit_name(unit)),
        Duration(unit) => format!("duration[{}]", unit_name(unit)),
        List(f) => format!("list<{}>", item(f)),
        LargeList(f) => format!("large_list<{}>", item(f)),
        FixedSizeList(f, n) => format!("fixed_size_list<{}, {n}>", item(f)),
        Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|f| format!("{}: {}", field_name(f.name()), item(f)))
                .collect();
            format!("struct<{}>", fields.join(", "))
        }
        Map(entries, _) => match entries.data_type() {
            Struct(fields) if fields.len() == 2 => {
                let key = type_name(fields[0].data_type());
                format!("map<{key}, {}>", item(&fields[1]))
            }
            other => format!("map<{other}>"),
        },
        Dictionary(key, value) => format!("dictionary<{}, {}>", type_name(key), type_name(value)),
        other => other.to_string().to_ascii_lowercase(),
    }
}

fn null_mark(field: &Field) -> &'static str {
    match field.is_nullable() {
        true => "",
        false => " not null",
    }
}

fn unit_name(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

fn field_name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || c == '.';
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_string(),
        false => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}
