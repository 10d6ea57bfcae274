//! Filters: three-valued as in SQL; a row stays if the filter is true. A [`Predicate`] is what a
//! caller writes (columns by name, untyped literals); `bind` checks it against a table and gives a
//! [`BoundPredicate`]. Order is that of keys: strings by UTF-8 bytes, -0 is +0, every NaN is one
//! and last.

mod bind;
mod evaluate;
mod prune;
mod range;

use super::schema::TableSchema;
use crate::error::Result;
use arrow_array::ArrayRef;

pub use prune::Bounds;

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

/// A literal of a column's storage type; of a dictionary column, of its values' type.
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
    /// The filter with columns found and literals in the columns' types, or `Invalid` naming the
    /// column and the remedy. A literal that its column cannot hold gives the comparison that is
    /// true for the same rows: `int < 2.5` is `int <= 2`.
    pub fn bind(&self, schema: &TableSchema) -> Result<BoundPredicate> {
        let root = bind::bind(self, schema)?;
        Ok(BoundPredicate { root })
    }
}

impl CompareOp {
    /// The operator that is true where this one is false.
    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }
}

impl BoundPredicate {
    /// The table columns it needs, ascending, each once.
    pub fn columns(&self) -> Vec<usize> {
        let mut found = Vec::new();
        self.root.add_columns(&mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What it implies about key columns alone: a row that it keeps, this keeps. `None` if nothing.
    pub fn key_only(&self, schema: &TableSchema) -> Option<BoundPredicate> {
        let root = self.root.weaken(&|column| schema.is_key(column))?;
        Some(BoundPredicate { root })
    }
}

impl Node {
    fn add_columns(&self, found: &mut Vec<usize>) {
        match self {
            Self::Compare(column, ..)
            | Self::In(column, _)
            | Self::IsNull(column)
            | Self::StartsWith(column, _)
            | Self::Constant(column, _) => found.push(*column),
            Self::Null => {}
            Self::And(nodes) | Self::Or(nodes) => {
                nodes.iter().for_each(|n| n.add_columns(found));
            }
            Self::Not(node) => node.add_columns(found),
        }
    }

    /// A filter over the `allowed` columns that is true wherever this one is.
    fn weaken(&self, allowed: &dyn Fn(usize) -> bool) -> Option<Node> {
        let mut columns = Vec::new();
        self.add_columns(&mut columns);
        if columns.iter().all(|&c| allowed(c)) {
            return Some(self.clone());
        }
        match self {
            Self::And(nodes) => {
                let parts: Vec<Node> = nodes.iter().filter_map(|n| n.weaken(allowed)).collect();
                (!parts.is_empty()).then_some(Self::And(parts))
            }
            Self::Or(nodes) => {
                let parts: Option<Vec<Node>> = nodes.iter().map(|n| n.weaken(allowed)).collect();
                parts.map(Self::Or)
            }
            _ => None,
        }
    }
}
