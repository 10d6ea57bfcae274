//! The keys that a filter can be true for, as one range. Invariant: a superset. Each key column gets
//! an interval; equal ones at the front make a prefix of the key, the next one a range after it.

use super::{BoundPredicate, CompareOp, Node};
use crate::data::{
    key::{KeyRange, append_bytes, fixed_width},
    schema::TableSchema,
};
use std::ops::Bound;

impl BoundPredicate {
    /// A range that holds the key of every row for which the filter is true.
    pub fn key_range(&self, schema: &TableSchema) -> KeyRange {
        let mut prefix: Vec<u8> = Vec::new();
        for (i, &column) in schema.key().iter().enumerate() {
            let last = i + 1 == schema.key().len();
            let data_type = schema.storage().field(column).data_type();
            let fixed = fixed_width(data_type).is_some();
            let interval = interval(&self.root, column);
            if is_empty(&interval) {
                return none();
            }
            let encode = |value: &[u8]| {
                let mut key = prefix.clone();
                match fixed {
                    true => key.extend_from_slice(value),
                    false => append_bytes(value, last, &mut key),
                }
                key
            };
            if let (Bound::Included(low), Bound::Included(high)) = (&interval.start, &interval.end)
                && low == high
            {
                prefix = encode(low);
                if last {
                    return KeyRange::only(prefix);
                }
                continue;
            }
            return within(&prefix, interval, last, encode);
        }
        KeyRange::all()
    }
}

/// Keys that begin with `prefix` and go on with a value of the interval.
fn within(
    prefix: &[u8],
    interval: KeyRange,
    last: bool,
    encode: impl Fn(&[u8]) -> Vec<u8>,
) -> KeyRange {
    let after = |key: Vec<u8>| successor(&key).map_or(Bound::Unbounded, Bound::Excluded);
    let start = match &interval.start {
        Bound::Unbounded if prefix.is_empty() => Bound::Unbounded,
        Bound::Unbounded => Bound::Included(prefix.to_vec()),
        Bound::Included(v) => Bound::Included(encode(v)),
        Bound::Excluded(v) if last => Bound::Excluded(encode(v)),
        // The keys of the excluded value go on with other columns.
        Bound::Excluded(v) => match successor(&encode(v)) {
            Some(key) => Bound::Included(key),
            None => return none(),
        },
    };
    let end = match &interval.end {
        Bound::Unbounded if prefix.is_empty() => Bound::Unbounded,
        Bound::Unbounded => after(prefix.to_vec()),
        Bound::Excluded(v) => Bound::Excluded(encode(v)),
        Bound::Included(v) if last => Bound::Included(encode(v)),
        Bound::Included(v) => after(encode(v)),
    };
    KeyRange { start, end }
}

/// The least bytes above all that begin with `prefix`; `None` if there are none.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|&b| b != 0xFF)?;
    let mut out = prefix[..=end].to_vec();
    out[end] += 1;
    Some(out)
}

/// No key at all: nothing is below the empty key.
fn none() -> KeyRange {
    KeyRange {
        start: Bound::Excluded(Vec::new()),
        end: Bound::Excluded(Vec::new()),
    }
}

fn is_empty(range: &KeyRange) -> bool {
    match (&range.start, &range.end) {
        (Bound::Unbounded, Bound::Excluded(end)) => end.is_empty(),
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a >= b
        }
    }
}

/// The encoded values of `column` for which `node` can be true.
fn interval(node: &Node, column: usize) -> KeyRange {
    let range = |start, end| KeyRange { start, end };
    match node {
        Node::Compare(c, op, literal) if *c == column => {
            let value = literal.encoded.clone();
            match op {
                CompareOp::Equal => KeyRange::only(value),
                CompareOp::NotEqual => KeyRange::all(),
                CompareOp::Less => range(Bound::Unbounded, Bound::Excluded(value)),
                CompareOp::LessOrEqual => range(Bound::Unbounded, Bound::Included(value)),
                CompareOp::Greater => range(Bound::Excluded(value), Bound::Unbounded),
                CompareOp::GreaterOrEqual => range(Bound::Included(value), Bound::Unbounded),
            }
        }
        Node::In(c, literals) if *c == column => match (literals.first(), literals.last()) {
            (Some(first), Some(last)) => range(
                Bound::Included(first.encoded.clone()),
                Bound::Included(last.encoded.clone()),
            ),
            _ => none(),
        },
        Node::StartsWith(c, prefix) if *c == column => range(
            Bound::Included(prefix.clone()),
            successor(prefix).map_or(Bound::Unbounded, Bound::Excluded),
        ),
        Node::Constant(_, false) | Node::Null => none(),
        Node::And(nodes) => nodes
            .iter()
            .map(|n| interval(n, column))
            .fold(KeyRange::all(), |all, one| all.intersect(&one)),
        Node::Or(nodes) => nodes
            .iter()
            .map(|n| interval(n, column))
            .filter(|r| !is_empty(r))
            .reduce(hull)
            .unwrap_or_else(none),
        _ => KeyRange::all(),
    }
}

/// The smallest range around both.
fn hull(a: KeyRange, b: KeyRange) -> KeyRange {
    KeyRange {
        start: looser(a.start, b.start, true),
        end: looser(a.end, b.end, false),
    }
}

fn looser(a: Bound<Vec<u8>>, b: Bound<Vec<u8>>, start: bool) -> Bound<Vec<u8>> {
    use Bound::*;
    let order = match (&a, &b) {
        (Unbounded, _) | (_, Unbounded) => return Unbounded,
        (Included(x) | Excluded(x), Included(y) | Excluded(y)) => x.cmp(y),
    };
    match order {
        std::cmp::Ordering::Equal if matches!(a, Included(_)) => a,
        std::cmp::Ordering::Equal => b,
        std::cmp::Ordering::Less if start => a,
        std::cmp::Ordering::Greater if !start => a,
        _ => b,
    }
}
