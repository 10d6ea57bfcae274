//! Conversions between representations of the same values: dictionary, large, view, run-end, wider
//! or narrower numbers, other time units. Invariants: no value changes (what would lose a bit is
//! `Invalid`, naming column, row and value); nothing panics on well-formed arrays of any type; what
//! grows (dictionaries, views, run ends, missing columns) is paid from a budget before it is
//! allocated; what lies under a null, of the value or of one that it is part of, and what no row
//! reaches is never judged. Equal types cost nothing. Without arrow-cast, which is 1.4 MB of wasm.

mod bytes;
mod dictionary;
mod gather;
mod hidden;
mod nested;
mod number;

pub(crate) use gather::{null_bytes, slice_bytes};

use super::spec::type_name;
use crate::error::{Error, Result};
use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_schema::{ArrowError, DataType};
use std::fmt::Display;

/// `array` as the type `to`, zero-copy where the types are equal. `column` names it in errors.
///
/// `Invalid` if the types differ in more than representation, or a value has no place in `to`.
pub fn convert(array: &ArrayRef, to: &DataType, column: &str) -> Result<ArrayRef> {
    let mut converter = Converter::new(column, u64::MAX);
    converter.settled = true;
    converter.convert(array, to)
}

/// Converts the arrays of one column within a budget of bytes.
pub(crate) struct Converter<'a> {
    column: &'a str,
    budget: u64,
    /// Whether the arrays came through here before: nothing lies under their nulls.
    settled: bool,
}

impl<'a> Converter<'a> {
    pub(crate) fn new(column: &'a str, budget: u64) -> Self {
        Self {
            column,
            budget,
            settled: false,
        }
    }

    /// Bytes that may still be allocated.
    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// `array` as `to`, which holds nulls under nulls and only what rows reach.
    pub(crate) fn convert(&mut self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        use DataType::*;
        let from = array.data_type();
        if from == to && (self.settled || !hidden::possible(array)) {
            return Ok(array.clone());
        }
        match (from, to) {
            (Null, _) => self.nulls(to, array.len()),
            (_, Dictionary(key, value)) => self.make_dictionary(array, key, value),
            (Dictionary(_, _), _) => {
                let plain = self.expand_dictionary(array)?;
                self.convert(&plain, to)
            }
            (RunEndEncoded(_, _), _) => {
                let plain = self.expand_runs(array)?;
                self.convert(&plain, to)
            }
            (
                Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView
                | FixedSizeBinary(_),
                Utf8 | LargeUtf8 | Binary | LargeBinary | FixedSizeBinary(_),
            ) => self.bytes(array, to),
            (
                List(_) | LargeList(_) | ListView(_) | LargeListView(_) | FixedSizeList(_, _),
                List(_) | LargeList(_) | FixedSizeList(_, _),
            ) => self.list(array, to),
            (Struct(_), Struct(fields)) => self.structure(array, fields),
            (Map(_, _), Map(entries, sorted)) => self.map(array, entries, *sorted),
            _ => self.number(array, to),
        }
    }

    /// A column of nulls.
    pub(crate) fn nulls(&mut self, to: &DataType, rows: usize) -> Result<ArrayRef> {
        self.spend(gather::null_bytes(to, rows))?;
        Ok(new_null_array(to, rows))
    }

    fn spend(&mut self, bytes: u64) -> Result<()> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(Error::invalid(format!(
                "column {:?} takes more memory than a commit may once it is decoded: \
                 split the commit or raise commit_bytes",
                self.column
            ))),
        }
    }

    fn mismatch(&self, from: &DataType, to: &DataType) -> Error {
        let naive = |t: &DataType| matches!(t, DataType::Timestamp(_, None));
        let zoned = |t: &DataType| matches!(t, DataType::Timestamp(_, Some(_)));
        let remedy = match naive(from) && zoned(to) || zoned(from) && naive(to) {
            true => {
                "a timestamp with a time zone is an instant, one without is not: give both sides a time zone or none"
            }
            false => "only the representation may differ: convert it before",
        };
        Error::invalid(format!(
            "column {:?} is {}, the table's is {}: {remedy}",
            self.column,
            type_name(from),
            type_name(to)
        ))
    }

    fn misfit(&self, row: usize, value: impl Display, to: &DataType) -> Error {
        Error::invalid(format!(
            "column {:?}, row {row}: {value} does not fit {} without loss: change the value or the column's type",
            self.column,
            type_name(to)
        ))
    }

    fn too_big(&self, to: &DataType) -> Error {
        Error::invalid(format!(
            "column {:?} is too big for {} in one batch (2 GiB): split the batch",
            self.column,
            type_name(to)
        ))
    }

    /// What arrow says about an array that we put together from a caller's parts.
    fn refused(&self, error: ArrowError) -> Error {
        Error::invalid(format!("column {:?}: {error}", self.column))
    }
}

fn downcast<T: 'static>(array: &dyn Array) -> Result<&T> {
    array
        .as_any()
        .downcast_ref()
        .ok_or_else(|| Error::internal(format!("an array of {} is none", array.data_type())))
}
