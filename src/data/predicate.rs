//! Filters: three-valued as in SQL; a row stays if the filter is true. A [`Predicate`] is what a
//! caller writes (columns by name, untyped literals); `bind` checks it against a table and gives a
//! [`BoundPredicate`]. Order is that of keys: strings by UTF-8 bytes, -0 is +0, every NaN is one
//! and last.

use arrow_array::ArrayRef;

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
