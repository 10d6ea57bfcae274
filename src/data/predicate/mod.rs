//! Filters: three-valued as in SQL; a row stays if the filter is true. A [`Predicate`] is what a
//! caller writes (columns by name, untyped literals); `bind` checks it against a table and gives a
//! [`BoundPredicate`]. Order is that of keys: strings by UTF-8 bytes, -0 is +0, every NaN is one
//! and last.

use super::{key::KeyRange, schema::TableSchema};
use crate::error::{Error, Result};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::BooleanBuffer;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `=`
    Equal,
    /// `≠`
    NotEqual,
    /// `<`
    Less,
    /// `≤`
    LessOrEqual,
    /// `>`
    Greater,
    /// `≥`
    GreaterOrEqual,
}

/// A literal as a caller writes it; `bind` converts it to the column's type or says why not.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL null: every comparison with it is null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer; also days, and counts of a time column's unit.
    Int(i128),
    /// A float.
    Float(f64),
    /// A string; also a decimal's digits (`"12.50"`).
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A moment, in microseconds since the Unix epoch.
    Moment(i64),
}

/// A filter as a caller writes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// `column op value`
    Compare(String, CompareOp, Value),
    /// `column in (values)`
    In(String, Vec<Value>),
    /// `column between low and high`, both included
    Between(String, Value, Value),
    /// `column is null`
    IsNull(String),
    /// `column starts with prefix` (utf8 and binary)
    StartsWith(String, Value),
    /// All of them; true if empty.
    And(Vec<Predicate>),
    /// Any of them; false if empty.
    Or(Vec<Predicate>),
    /// Not.
    Not(Box<Predicate>),
}

/// A literal of a column's storage type.
#[derive(Clone, Debug)]
pub struct Literal {
    /// One value, of the column's type, not null.
    pub array: ArrayRef,
    /// Its key encoding (`data::key::encode_value`).
    pub encoded: Vec<u8>,
}

/// A node of a filter that fits a table. Columns are indices into the table's columns.
#[derive(Clone, Debug)]
pub enum Node {
    /// `column op literal`
    Compare(usize, CompareOp, Literal),
    /// `column in (literals)`; the literals ascend by encoding.
    In(usize, Vec<Literal>),
    /// `column is null`
    IsNull(usize),
    /// The column's bytes begin with these.
    StartsWith(usize, Vec<u8>),
    /// A comparison whose literal lies outside the column's type: the constant, or null where the column is.
    Constant(usize, bool),
    /// Null for every row (a comparison with null).
    Null,
    /// All of them.
    And(Vec<Node>),
    /// Any of them.
    Or(Vec<Node>),
    /// Not.
    Not(Box<Node>),
}

/// A filter that fits a table.
#[derive(Clone, Debug)]
pub struct BoundPredicate {
    /// Its root.
    pub root: Node,
}

impl Predicate {
    /// Checks the filter against a table.
    pub fn bind(&self, _schema: &TableSchema) -> Result<BoundPredicate> {
        Err(Error::unsupported("being written"))
    }
}

/// Bounds of one column over some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// A lower bound of the non-null, non-NaN values, encoded; `None` if unknown.
    pub min: Option<Vec<u8>>,
    /// An upper bound; `None` if unknown.
    pub max: Option<Vec<u8>>,
    /// Number of nulls.
    pub nulls: u64,
    /// Number of NaN.
    pub nans: u64,
    /// Number of rows.
    pub rows: u64,
}

impl BoundPredicate {
    /// The table columns it needs, ascending, each once.
    pub fn columns(&self) -> Vec<usize> {
        Vec::new()
    }

    /// A superset of the keys of rows that can match.
    pub fn key_range(&self, _schema: &TableSchema) -> KeyRange {
        KeyRange::all()
    }

    /// The conjuncts that touch only key columns.
    pub fn key_only(&self, _schema: &TableSchema) -> Option<BoundPredicate> {
        None
    }

    /// Which rows match.
    pub fn evaluate(&self, _batch: &RecordBatch, _columns: &[usize]) -> Result<BooleanBuffer> {
        Err(Error::unsupported("being written"))
    }

    /// Whether any row may match.
    pub fn may_match(&self, _stats: &dyn Fn(usize) -> Option<Bounds>) -> bool {
        true
    }
}
