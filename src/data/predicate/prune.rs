//! Whether any row of a file, row group or page may match, by the bounds of its columns alone.
//! Invariant: never `false` where a row matches, however loose the bounds are.

use super::{BoundPredicate, CompareOp, Node, range::successor};

/// Bounds of one column over some rows, in key encoding (`data::key::encode_value`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Not above any value that is neither null nor NaN; `None` if unknown.
    pub min: Option<Vec<u8>>,
    /// Not below any value that is neither null nor NaN; `None` if unknown.
    pub max: Option<Vec<u8>>,
    /// Number of nulls.
    pub nulls: u64,
    /// Number of NaN.
    pub nans: u64,
    /// Number of rows.
    pub rows: u64,
}

impl BoundPredicate {
    /// Whether the filter may be true for a row, given bounds of columns (by table index; `None`
    /// if nothing is known of a column).
    pub fn may_match(&self, stats: &dyn Fn(usize) -> Option<Bounds>) -> bool {
        may(&self.root, true, stats)
    }
}

/// Whether `node` may be `truth` for some row.
fn may(node: &Node, truth: bool, stats: &dyn Fn(usize) -> Option<Bounds>) -> bool {
    match node {
        Node::And(nodes) if truth => nodes.iter().all(|n| may(n, true, stats)),
        Node::And(nodes) => nodes.iter().any(|n| may(n, false, stats)),
        Node::Or(nodes) if truth => nodes.iter().any(|n| may(n, true, stats)),
        Node::Or(nodes) => nodes.iter().all(|n| may(n, false, stats)),
        Node::Not(inner) => may(inner, !truth, stats),
        Node::Null => false,
        Node::IsNull(column) => stats(*column).is_none_or(|b| match truth {
            true => b.nulls > 0,
            false => b.nulls < b.rows,
        }),
        Node::Constant(column, value) => {
            *value == truth && stats(*column).is_none_or(|b| b.nulls < b.rows)
        }
        Node::Compare(column, op, literal) => {
            let op = if truth { *op } else { op.negated() };
            stats(*column).is_none_or(|b| b.may_compare(op, &literal.encoded))
        }
        Node::In(column, literals) => stats(*column).is_none_or(|b| match truth {
            true => literals
                .iter()
                .any(|l| b.may_compare(CompareOp::Equal, &l.encoded)),
            // Every row is one of them only if all are the same one.
            false => literals
                .iter()
                .all(|l| b.may_compare(CompareOp::NotEqual, &l.encoded)),
        }),
        Node::StartsWith(column, prefix) => {
            stats(*column).is_none_or(|b| b.may_start(prefix, truth))
        }
    }
}

impl Bounds {
    /// Rows that are neither null nor NaN.
    fn plain(&self) -> u64 {
        self.rows
            .saturating_sub(self.nulls)
            .saturating_sub(self.nans)
    }

    fn may_compare(&self, op: CompareOp, literal: &[u8]) -> bool {
        // NaN encodes as all ones, whatever the width: above every number, equal to itself.
        let nan_order = match literal.iter().all(|&b| b == 0xFF) {
            true => std::cmp::Ordering::Equal,
            false => std::cmp::Ordering::Greater,
        };
        let nan = self.nans > 0
            && match op {
                CompareOp::Equal => nan_order.is_eq(),
                CompareOp::NotEqual => nan_order.is_ne(),
                CompareOp::Less => false,
                CompareOp::LessOrEqual => nan_order.is_eq(),
                CompareOp::Greater => nan_order.is_gt(),
                CompareOp::GreaterOrEqual => true,
            };
        let low = self.min.as_deref();
        let high = self.max.as_deref();
        let above = |strict: bool| low.is_none_or(|m| m < literal || !strict && m == literal);
        let below = |strict: bool| high.is_none_or(|m| m > literal || !strict && m == literal);
        let plain = match op {
            CompareOp::Equal => above(false) && below(false),
            CompareOp::NotEqual => low != Some(literal) || high != Some(literal),
            CompareOp::Less => above(true),
            CompareOp::LessOrEqual => above(false),
            CompareOp::Greater => below(true),
            CompareOp::GreaterOrEqual => below(false),
        };
        nan || plain && self.plain() > 0
    }

    fn may_start(&self, prefix: &[u8], truth: bool) -> bool {
        let starts = |m: &Vec<u8>| m.starts_with(prefix);
        let possible = match truth {
            true => {
                let end = successor(prefix);
                let low = self.min.as_deref();
                let before_end = end.is_none_or(|end| low.is_none_or(|m| m < end.as_slice()));
                self.max.as_deref().is_none_or(|m| m >= prefix) && before_end
            }
            false => {
                !(self.min.as_ref().is_some_and(starts) && self.max.as_ref().is_some_and(starts))
            }
        };
        possible && self.plain() > 0
    }
}
