//! Alterations of a table's schema (PROTOCOL C6). Invariant: whatever was written under a schema can
//! be read under every schema that follows it, without loss: columns are matched by id, which is
//! never given twice; an added column is null in older rows; a type only becomes one that holds every
//! value of the old one; the primary key's columns stay, with their types, for keys are compared by
//! their encoding.

use super::{
    convert::null_bytes,
    schema::{MAX_COLUMNS, TableSchema, canonical_type, storage_type},
    spec::type_name,
};
use crate::error::{Error, Result};
use arrow_schema::{DataType, FieldRef};
use std::sync::Arc;

/// Most bytes that one row's null takes in an added column: rows in memory get it all at once.
const MAX_ADDED_NULL_BYTES: u64 = 256;

/// One change of a table. Several make one commit; each sees what those before it did.
#[derive(Clone, Debug, PartialEq)]
pub enum Alteration {
    /// A new last column, null in the rows there are: it must be nullable.
    AddColumn(FieldRef),
    /// A column gets a type that holds every value of the old one.
    Widen {
        /// Its name; no key column.
        column: String,
        /// An integer with more bits, a longer float, a decimal with more digits and the same scale,
        /// date64 of date32, time64 of time32.
        to: DataType,
    },
    /// A column gets another name; key columns may, too.
    RenameColumn {
        /// Its name so far.
        from: String,
        /// A free name.
        to: String,
    },
    /// A column goes, with its values; no key column.
    DropColumn(String),
    /// The table gets another name.
    RenameTable(String),
}

impl TableSchema {
    /// The schema after `changes`, or `Invalid` with the reason and what to do instead. The table's
    /// name is not part of it.
    pub fn altered(&self, changes: &[Alteration]) -> Result<TableSchema> {
        let mut draft = Draft {
            columns: self.user().fields().to_vec(),
            ids: self.column_ids().to_vec(),
            key: self.key().iter().map(|&i| self.column_ids()[i]).collect(),
            next: self.next_column_id(),
        };
        for change in changes {
            draft.change(change)?;
        }
        draft.finish()
    }

    /// Whether every row written under `older` can be read under this schema; if not, why.
    pub fn follows(&self, older: &TableSchema) -> Result<(), String> {
        if key_columns(self) != key_columns(older) {
            return Err("the primary key's columns or their types changed".into());
        }
        if self.next_column_id() < older.next_column_id() {
            return Err("column ids are given twice".into());
        }
        for (field, id) in self.user().fields().iter().zip(self.column_ids()) {
            let name = field.name();
            let before = older.column_ids().iter().position(|i| i == id);
            let Some(before) = before.map(|at| older.user().field(at)) else {
                match *id >= older.next_column_id() && field.is_nullable() {
                    true => continue,
                    false => return Err(format!("column {name:?} is neither old nor newly added")),
                }
            };
            let (from, to) = (before.data_type(), field.data_type());
            if from != to && !widens(from, to) {
                return Err(format!("column {name:?} went from {from} to {to}"));
            }
            if before.is_nullable() && !field.is_nullable() {
                return Err(format!("column {name:?} is no longer nullable"));
            }
        }
        Ok(())
    }

    /// Whether both have the same columns, with the same ids, in the same order. How many ids were
    /// given out does not count.
    pub fn same_columns(&self, other: &TableSchema) -> bool {
        (self.user(), self.column_ids(), self.key())
            == (other.user(), other.column_ids(), other.key())
    }
}

/// Id and type of each key column, in key order.
fn key_columns(schema: &TableSchema) -> Vec<(u32, &DataType)> {
    let column = |&i: &usize| (schema.column_ids()[i], schema.user().field(i).data_type());
    schema.key().iter().map(column).collect()
}

/// Whether `to` is another type and holds every value of `from`, also those that a caller's bytes may
/// hold against the type's meaning: a finer time unit could overflow, so it does not.
pub fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) => true,
        (UInt8, UInt16 | UInt32 | UInt64) | (UInt16, UInt32 | UInt64) | (UInt32, UInt64) => true,
        (UInt8, Int16 | Int32 | Int64) | (UInt16, Int32 | Int64) | (UInt32, Int64) => true,
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        // 2^31 of the coarsest unit are less than 2^63 of the finest.
        (Date32, Date64) | (Time32(_), Time64(_)) => true,
        _ => match (decimal(from), decimal(to)) {
            (Some((width, digits, scale)), Some((wider, more, same))) => {
                scale == same && more >= digits && wider >= width && from != to
            }
            _ => false,
        },
    }
}

/// Bits, digits and scale.
fn decimal(data_type: &DataType) -> Option<(u16, u8, i8)> {
    match data_type {
        DataType::Decimal32(p, s) => Some((32, *p, *s)),
        DataType::Decimal64(p, s) => Some((64, *p, *s)),
        DataType::Decimal128(p, s) => Some((128, *p, *s)),
        DataType::Decimal256(p, s) => Some((256, *p, *s)),
        _ => None,
    }
}

/// What a type can be widened to, in words.
fn wider_types(from: &DataType) -> &'static str {
    use DataType::*;
    match from {
        Int8 => "int16, int32 or int64",
        Int16 => "int32 or int64",
        Int32 => "int64",
        UInt8 => "uint16, uint32, uint64, int16, int32 or int64",
        UInt16 => "uint32, uint64, int32 or int64",
        UInt32 => "uint64 or int64",
        Float16 => "float32 or float64",
        Float32 => "float64",
        Date32 => "date64",
        Time32(_) => "time64[us] or time64[ns]",
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => {
            "a decimal with at least as many digits and the same scale"
        }
        _ => "nothing",
    }
}

struct Draft {
    columns: Vec<FieldRef>,
    ids: Vec<u32>,
    key: Vec<u32>,
    next: u32,
}

impl Draft {
    fn change(&mut self, change: &Alteration) -> Result<()> {
        match change {
            Alteration::AddColumn(field) => self.add(field),
            Alteration::Widen { column, to } => self.widen(column, to),
            Alteration::RenameColumn { from, to } => self.rename(from, to),
            Alteration::DropColumn(column) => self.drop(column),
            Alteration::RenameTable(_) => Ok(()),
        }
    }

    fn add(&mut self, field: &FieldRef) -> Result<()> {
        let name = shown(field.name());
        if !field.is_nullable() {
            return Err(Error::invalid(format!(
                "column {name} is not nullable, but the rows there are have no value for it: make \
                 it nullable"
            )));
        }
        self.check_free(field.name())?;
        if self.columns.len() >= MAX_COLUMNS {
            return Err(Error::invalid(format!(
                "column {name}: the table has {MAX_COLUMNS} columns already, the most there may be"
            )));
        }
        let bytes = null_bytes(&storage_type(&canonical_type(field.data_type())), 1);
        if bytes > MAX_ADDED_NULL_BYTES {
            return Err(Error::invalid(format!(
                "column {name} of type {} takes {bytes} bytes in every row there is, even where it \
                 is null; an added column takes at most {MAX_ADDED_NULL_BYTES}: use a list or binary",
                type_name(field.data_type())
            )));
        }
        self.columns.push(field.clone());
        self.ids.push(self.next);
        self.next = self.next.checked_add(1).ok_or_else(|| {
            Error::invalid("the table's column ids are used up: copy it into a new table")
        })?;
        Ok(())
    }

    fn widen(&mut self, column: &str, to: &DataType) -> Result<()> {
        let at = self.find(column)?;
        let from = self.columns[at].data_type();
        let to = canonical_type(to);
        if *from == to {
            return Ok(());
        }
        if self.key.contains(&self.ids[at]) {
            return Err(Error::invalid(format!(
                "column {} is part of the primary key, whose encoding goes by its type: create a \
                 table with the wider key and copy the rows",
                shown(column)
            )));
        }
        if !widens(from, &to) {
            return Err(Error::invalid(format!(
                "column {} of type {} cannot become {}, only {}: add a column of that type, copy \
                 the values and drop this one",
                shown(column),
                type_name(from),
                type_name(&to),
                wider_types(from)
            )));
        }
        let wider = self.columns[at].as_ref().clone().with_data_type(to);
        self.columns[at] = Arc::new(wider);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let at = self.find(from)?;
        if from == to {
            return Ok(());
        }
        self.check_free(to)?;
        let renamed = self.columns[at].as_ref().clone().with_name(to);
        self.columns[at] = Arc::new(renamed);
        Ok(())
    }

    fn drop(&mut self, column: &str) -> Result<()> {
        let at = self.find(column)?;
        if self.key.contains(&self.ids[at]) {
            return Err(Error::invalid(format!(
                "column {} is part of the primary key, without which rows cannot be told apart: \
                 create a table with another key and copy the rows",
                shown(column)
            )));
        }
        self.columns.remove(at);
        self.ids.remove(at);
        Ok(())
    }

    fn find(&self, column: &str) -> Result<usize> {
        let found = self.columns.iter().position(|f| f.name() == column);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|f| f.name().as_str()).collect();
            Error::invalid(format!(
                "no column {}: the table has {}",
                shown(column),
                names.join(", ")
            ))
        })
    }

    fn check_free(&self, name: &str) -> Result<()> {
        match self.columns.iter().any(|f| f.name() == name) {
            false => Ok(()),
            true => Err(Error::invalid(format!(
                "there is a column {} already: choose another name, or rename or drop that one first",
                shown(name)
            ))),
        }
    }

    fn finish(self) -> Result<TableSchema> {
        let at = |id: &u32| self.ids.iter().position(|i| i == id).unwrap_or(usize::MAX);
        let key = self.key.iter().map(at).collect();
        TableSchema::from_parts(self.columns, self.ids, key, self.next)
    }
}

/// A name from outside, fit for a message.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(64).collect();
    format!("{short:?}")
}
