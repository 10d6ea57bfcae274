//! A table's schema. Invariants: column ids are given once and never reused (they are the Parquet
//! field ids); key columns are not nullable, exist once and have a key type; `_ts` and `_op` are
//! reserved. Two Arrow schemas come out of it: `user` (what callers see, as they declared it) and
//! `storage` (the same columns as they are held: plain, and nullable at every level but keys, because
//! a tombstone has only its key, and below a null nothing is there).

use super::{accept, spec::type_name};
use crate::error::{Error, Result};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Column of commit timestamps in an sstable (int64, microseconds; absent in a fresh file).
pub const TS_COLUMN: &str = "_ts";
/// Column of tombstone marks in an sstable (bool).
pub const OP_COLUMN: &str = "_op";
/// Longest table or column name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Most columns of a table.
pub const MAX_COLUMNS: usize = 4096;

/// The schema of a table: user columns in order, their ids, and the primary key.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    user: SchemaRef,
    storage: SchemaRef,
    places: Arc<HashMap<String, usize>>,
    column_ids: Vec<u32>,
    key: Vec<usize>,
    next_column_id: u32,
}

impl TableSchema {
    /// A new table's schema: columns get the ids 1, 2, … in order.
    pub fn new(columns: Vec<FieldRef>, primary_key: &[impl AsRef<str>]) -> Result<Self> {
        let ids = (1..=columns.len() as u32).collect();
        let next = columns.len() as u32 + 1;
        let key = resolve_key(&columns, primary_key)?;
        Self::from_parts(columns, ids, key, next)
    }

    /// A schema read back from the log; checks every invariant again.
    pub fn from_parts(
        columns: Vec<FieldRef>,
        column_ids: Vec<u32>,
        key: Vec<usize>,
        next_column_id: u32,
    ) -> Result<Self> {
        check_columns(&columns)?;
        check_ids(&columns, &column_ids, next_column_id)?;
        check_key(&columns, &key)?;
        let user: Vec<FieldRef> = columns
            .iter()
            .enumerate()
            .map(|(i, f)| Arc::new(normalize_field(f, key.contains(&i))))
            .collect();
        let storage: Vec<FieldRef> = user
            .iter()
            .enumerate()
            .map(|(i, f)| match key.contains(&i) {
                true => f.clone(),
                false => storage_field(f),
            })
            .collect();
        let places = user.iter().enumerate().map(|(i, f)| (f.name().clone(), i));
        Ok(Self {
            places: Arc::new(places.collect()),
            user: Arc::new(Schema::new(user)),
            storage: Arc::new(Schema::new(storage)),
            column_ids,
            key,
            next_column_id,
        })
    }

    /// What callers see: declared nullability, canonical types.
    pub fn user(&self) -> &SchemaRef {
        &self.user
    }

    /// What memtables and sstables hold: non-key columns and their parts nullable, no dictionaries.
    pub fn storage(&self) -> &SchemaRef {
        &self.storage
    }

    /// Column ids, parallel to the columns.
    pub fn column_ids(&self) -> &[u32] {
        &self.column_ids
    }

    /// The id the next added column gets.
    pub fn next_column_id(&self) -> u32 {
        self.next_column_id
    }

    /// Indices of the key columns, in key order.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Whether the column at `index` is part of the primary key.
    pub fn is_key(&self, index: usize) -> bool {
        self.key.contains(&index)
    }

    /// Index of a column by name, or `Invalid` listing what there is.
    pub fn index_of(&self, name: &str) -> Result<usize> {
        self.place(name).ok_or_else(|| {
            let names: Vec<&str> = (self.user.fields().iter())
                .map(|f| f.name().as_str())
                .collect();
            Error::invalid(format!(
                "no column {name:?}: the table has {}",
                names.join(", ")
            ))
        })
    }

    /// Index of a column by name.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The storage schema of the key columns alone, in key order.
    pub fn key_schema(&self) -> SchemaRef {
        let fields: Vec<FieldRef> = self
            .key
            .iter()
            .map(|&i| self.storage.fields()[i].clone())
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// The first difference to `other` in columns, types, nullability or key, in words.
    pub fn difference(&self, other: &TableSchema) -> Option<String> {
        let (a, b) = (self.user.fields(), other.user.fields());
        for field in a.iter() {
            match other.place(field.name()).map(|i| &b[i]) {
                None => return Some(format!("column {:?} is missing", field.name())),
                Some(f) if f.data_type() != field.data_type() => {
                    return Some(format!(
                        "column {:?} is {} in the table, {} in the call",
                        field.name(),
                        type_name(field.data_type()),
                        type_name(f.data_type())
                    ));
                }
                Some(f) if f.is_nullable() != field.is_nullable() => {
                    let word = |n: bool| if n { "nullable" } else { "not nullable" };
                    return Some(format!(
                        "column {:?} is {} in the table, {} in the call",
                        field.name(),
                        word(field.is_nullable()),
                        word(f.is_nullable())
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(f) = b.iter().find(|f| self.place(f.name()).is_none()) {
            return Some(format!("column {:?} is not in the table", f.name()));
        }
        let names = |s: &TableSchema| -> Vec<String> {
            s.key
                .iter()
                .map(|&i| s.user.field(i).name().clone())
                .collect()
        };
        (names(self) != names(other)).then(|| {
            format!(
                "the primary key is ({}) in the table, ({}) in the call",
                names(self).join(", "),
                names(other).join(", ")
            )
        })
    }
}

fn resolve_key(columns: &[FieldRef], primary_key: &[impl AsRef<str>]) -> Result<Vec<usize>> {
    primary_key
        .iter()
        .map(|name| {
            columns
                .iter()
                .position(|f| f.name() == name.as_ref())
                .ok_or_else(|| {
                    Error::invalid(format!(
                        "primary key column {:?} is not in the schema",
                        name.as_ref()
                    ))
                })
        })
        .collect()
}

fn check_columns(columns: &[FieldRef]) -> Result<()> {
    if columns.is_empty() || columns.len() > MAX_COLUMNS {
        return Err(Error::invalid(format!(
            "the schema has {} columns: a table takes 1 to {MAX_COLUMNS}",
            columns.len()
        )));
    }
    let mut seen = HashSet::new();
    for field in columns {
        let name = field.name();
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Error::invalid(format!(
                "column name {name:?} has {} bytes: it takes 1 to {MAX_NAME_BYTES}",
                name.len()
            )));
        }
        if name == TS_COLUMN || name == OP_COLUMN {
            return Err(Error::invalid(format!(
                "column name {name:?} is reserved: rename it"
            )));
        }
        if !seen.insert(name) {
            return Err(Error::invalid(format!("column {name:?} appears twice")));
        }
        accept::column(field)?;
    }
    Ok(())
}

fn check_ids(columns: &[FieldRef], ids: &[u32], next: u32) -> Result<()> {
    let distinct: HashSet<_> = ids.iter().collect();
    if ids.len() != columns.len() || distinct.len() != ids.len() || ids.iter().any(|&i| i >= next) {
        return Err(Error::invalid("column ids do not fit the columns"));
    }
    Ok(())
}

fn check_key(columns: &[FieldRef], key: &[usize]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid(
            "the primary key is empty: name at least one column",
        ));
    }
    let distinct: HashSet<_> = key.iter().collect();
    if distinct.len() != key.len() {
        return Err(Error::invalid("the primary key names a column twice"));
    }
    for &index in key {
        let Some(field) = columns.get(index) else {
            return Err(Error::invalid(
                "the primary key names a column that is not there",
            ));
        };
        if !is_key_type(normalize_field(field, true).data_type()) {
            return Err(Error::invalid(format!(
                "column {:?} of type {} cannot be a key: keys are bool, integer, float, decimal, \
                 date, time, timestamp, utf8, binary or fixed-size binary",
                field.name(),
                type_name(field.data_type())
            )));
        }
    }
    Ok(())
}

/// Whether values of (canonical) `data_type` have an order-preserving key encoding.
pub fn is_key_type(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Boolean
            | Int8
            | Int16
            | Int32
            | Int64
            | UInt8
            | UInt16
            | UInt32
            | UInt64
            | Float16
            | Float32
            | Float64
            | Decimal32(..)
            | Decimal64(..)
            | Decimal128(..)
            | Decimal256(..)
            | Date32
            | Date64
            | Time32(_)
            | Time64(_)
            | Timestamp(..)
            | Duration(_)
            | Utf8
            | LargeUtf8
            | Binary
            | LargeBinary
            | FixedSizeBinary(_)
    )
}

/// The type we hold for a declared one: view types become plain, run-end becomes its values, and
/// dictionaries are indexed by int32: rows of many batches come together, with more distinct values
/// than the narrow indices of one batch may count.
pub fn canonical_type(data_type: &DataType) -> DataType {
    use DataType::*;
    let inner = |f: &FieldRef| Arc::new(normalize_field(f, false).with_nullable(f.is_nullable()));
    match data_type {
        Utf8View => Utf8,
        BinaryView => Binary,
        ListView(f) | List(f) => List(inner(f)),
        LargeListView(f) | LargeList(f) => LargeList(inner(f)),
        FixedSizeList(f, n) => FixedSizeList(inner(f), *n),
        Struct(fields) => Struct(fields.iter().map(inner).collect()),
        Map(entries, sorted) => Map(inner(entries), *sorted),
        RunEndEncoded(_, values) => canonical_type(values.data_type()),
        Dictionary(_, v) => Dictionary(Box::new(Int32), Box::new(canonical_type(v))),
        other => other.clone(),
    }
}

/// The type in which values of a (canonical) type are held, see [`TableSchema::storage`]. Parquet has
/// dictionaries for some types only, and Arrow's kernels refuse required parts below a null parent.
pub fn storage_type(data_type: &DataType) -> DataType {
    use DataType::*;
    match data_type {
        List(f) => List(storage_field(f)),
        LargeList(f) => LargeList(storage_field(f)),
        FixedSizeList(f, n) => FixedSizeList(storage_field(f), *n),
        Struct(fields) => Struct(fields.iter().map(storage_field).collect()),
        Map(entries, sorted) => match entries.data_type() {
            // A map's key is never null: Arrow says so.
            Struct(parts) if parts.len() == 2 => {
                let key = storage_field(&parts[0]).as_ref().clone();
                let parts = vec![Arc::new(key.with_nullable(false)), storage_field(&parts[1])];
                let entries = entries.as_ref().clone();
                Map(
                    Arc::new(entries.with_data_type(Struct(parts.into()))),
                    *sorted,
                )
            }
            _ => data_type.clone(),
        },
        Dictionary(_, values) => storage_type(values),
        other => other.clone(),
    }
}

fn storage_field(field: &FieldRef) -> FieldRef {
    let held = field.as_ref().clone().with_nullable(true);
    Arc::new(held.with_data_type(storage_type(field.data_type())))
}

fn normalize_field(field: &Field, is_key: bool) -> Field {
    let nullable = field.is_nullable() && !is_key;
    let data_type = match canonical_type(field.data_type()) {
        // Keys are compared all the time: they are held plain.
        DataType::Dictionary(_, values) if is_key => *values,
        other => other,
    };
    Field::new(field.name(), data_type, nullable).with_metadata(field.metadata().clone())
}
