//! Which rows of a batch a filter keeps. Three-valued: every node can be asked for the rows where it
//! is true and for those where it is false; null is neither. So `not` swaps the question, and only
//! what the root needs is computed.

use super::{BoundPredicate, CompareOp, Literal, Node};
use crate::{
    data::key::{append_value, float16, float32, float64},
    error::{Error, Result},
};
use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

impl BoundPredicate {
    /// The rows that stay: bit `i` is set where the filter is true for row `i`.
    ///
    /// `columns[j]` is the table's index of the batch's column `j`; the batch must have all of
    /// [`BoundPredicate::columns`].
    pub fn evaluate(&self, batch: &RecordBatch, columns: &[usize]) -> Result<BooleanBuffer> {
        Rows { batch, columns }.of(&self.root, true)
    }
}

struct Rows<'a> {
    batch: &'a RecordBatch,
    columns: &'a [usize],
}

impl Rows<'_> {
    fn len(&self) -> usize {
        self.batch.num_rows()
    }

    fn column(&self, index: usize) -> Result<&ArrayRef> {
        let at = self.columns.iter().position(|&c| c == index);
        at.and_then(|at| self.batch.columns().get(at))
            .ok_or_else(|| Error::internal(format!("the filter needs column {index}")))
    }

    /// The rows where `node` is `truth`.
    fn of(&self, node: &Node, truth: bool) -> Result<BooleanBuffer> {
        match node {
            Node::And(nodes) => self.fold(nodes, truth, truth),
            Node::Or(nodes) => self.fold(nodes, truth, !truth),
            Node::Not(inner) => self.of(inner, !truth),
            Node::Null => Ok(BooleanBuffer::new_unset(self.len())),
            Node::IsNull(column) => {
                let column = self.column(*column)?;
                Ok(match (column.logical_nulls(), truth) {
                    (None, true) => BooleanBuffer::new_unset(self.len()),
                    (None, false) => BooleanBuffer::new_set(self.len()),
                    (Some(nulls), true) => !nulls.inner(),
                    (Some(nulls), false) => nulls.into_inner(),
                })
            }
            Node::Constant(column, value) => {
                let column = self.column(*column)?;
                Ok(match (*value == truth, column.logical_nulls()) {
                    (false, _) => BooleanBuffer::new_unset(self.len()),
                    (true, None) => BooleanBuffer::new_set(self.len()),
                    (true, Some(nulls)) => nulls.into_inner(),
                })
            }
            Node::Compare(column, op, literal) => {
                let op = if truth { *op } else { op.negated() };
                leaf(self.column(*column)?, &Test::Compare(op, literal))
            }
            Node::In(column, literals) => {
                leaf(self.column(*column)?, &Test::Among(literals, truth))
            }
            Node::StartsWith(column, prefix) => {
                leaf(self.column(*column)?, &Test::Prefix(prefix, truth))
            }
        }
    }

    /// The rows where all (or any) of the nodes are `truth`.
    fn fold(&self, nodes: &[Node], truth: bool, all: bool) -> Result<BooleanBuffer> {
        let mut nodes = nodes.iter();
        let Some(first) = nodes.next() else {
            return Ok(match all {
                true => BooleanBuffer::new_set(self.len()),
                false => BooleanBuffer::new_unset(self.len()),
            });
        };
        let mut rows = self.of(first, truth)?;
        for node in nodes {
            let set = rows.count_set_bits();
            // Nothing more to gain.
            if set == if all { 0 } else { self.len() } {
                break;
            }
            let more = self.of(node, truth)?;
            rows = if all { &rows & &more } else { &rows | &more };
        }
        Ok(rows)
    }
}

/// What a leaf asks of each value that is not null.
enum Test<'a> {
    Compare(CompareOp, &'a Literal),
    /// Whether the value is one of these is this.
    Among(&'a [Literal], bool),
    /// Whether the value begins with this is this.
    Prefix(&'a [u8], bool),
}

fn leaf(array: &ArrayRef, test: &Test<'_>) -> Result<BooleanBuffer> {
    let literal_type = match test {
        Test::Compare(_, literal) => Some(literal.array.data_type()),
        Test::Among(literals, _) => literals.first().map(|l| l.array.data_type()),
        Test::Prefix(..) => None,
    };
    if let Some(expected) = literal_type.filter(|t| *t != array.data_type()) {
        return Err(Error::internal(format!(
            "a filter on {expected} was given {}",
            array.data_type()
        )));
    }
    let bits = match test {
        Test::Compare(op, literal) => compare(array, *op, literal)?,
        Test::Among(literals, truth) => flip(among(array, literals)?, *truth),
        Test::Prefix(prefix, truth) => flip(starts_with(array, prefix)?, *truth),
    };
    Ok(known(bits, array.nulls()))
}

fn flip(bits: BooleanBuffer, truth: bool) -> BooleanBuffer {
    if truth { bits } else { !&bits }
}

fn known(bits: BooleanBuffer, nulls: Option<&NullBuffer>) -> BooleanBuffer {
    match nulls.filter(|n| n.null_count() > 0) {
        Some(nulls) => &bits & nulls.inner(),
        None => bits,
    }
}

/// The stored numbers of a primitive array.
fn numbers<T: ArrowNativeType>(array: &dyn Array) -> ScalarBuffer<T> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// Three loops serve six operators: the order is total, so the others are their negations.
macro_rules! ordered {
    ($len:expr, $op:expr, $less:expr, $equal:expr) => {{
        let (less, equal) = ($less, $equal);
        let bits = match $op {
            CompareOp::Equal | CompareOp::NotEqual => BooleanBuffer::collect_bool($len, equal),
            CompareOp::Less | CompareOp::GreaterOrEqual => BooleanBuffer::collect_bool($len, less),
            CompareOp::LessOrEqual | CompareOp::Greater => {
                BooleanBuffer::collect_bool($len, |i| less(i) | equal(i))
            }
        };
        flip(
            bits,
            matches!(
                $op,
                CompareOp::Equal | CompareOp::Less | CompareOp::LessOrEqual
            ),
        )
    }};
}

fn compare(array: &ArrayRef, op: CompareOp, literal: &Literal) -> Result<BooleanBuffer> {
    use DataType::*;
    let len = array.len();
    macro_rules! whole {
        ($t:ty) => {{
            let (values, to) = (numbers::<$t>(array), numbers::<$t>(&literal.array)[0]);
            let values = values.as_ref();
            ordered!(len, op, |i: usize| values[i] < to, |i: usize| values[i]
                == to)
        }};
    }
    macro_rules! float {
        ($t:ty) => {{
            let (values, to) = (numbers::<$t>(array), numbers::<$t>(&literal.array)[0]);
            let values = values.as_ref();
            // IEEE order has -0 = +0 and NaN below nothing; NaN as literal is last.
            match to.is_nan() {
                false => ordered!(len, op, |i: usize| values[i] < to, |i: usize| values[i]
                    == to),
                true => ordered!(len, op, |i: usize| !values[i].is_nan(), |i: usize| values
                    [i]
                    .is_nan()),
            }
        }};
    }
    macro_rules! bytes {
        ($array:expr) => {{
            let array = $array;
            let (offsets, values) = (array.value_offsets(), array.value_data());
            let to = literal.encoded.as_slice();
            let value = |i: usize| &values[offsets[i].as_usize()..offsets[i + 1].as_usize()];
            ordered!(len, op, |i: usize| value(i) < to, |i: usize| value(i) == to)
        }};
    }
    Ok(match array.data_type() {
        Int8 => whole!(i8),
        Int16 => whole!(i16),
        Int32 | Date32 | Time32(_) | Decimal32(..) => whole!(i32),
        Int64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) | Decimal64(..) => whole!(i64),
        UInt8 => whole!(u8),
        UInt16 => whole!(u16),
        UInt32 => whole!(u32),
        UInt64 => whole!(u64),
        Decimal128(..) => whole!(i128),
        Float32 => float!(f32),
        Float64 => float!(f64),
        Utf8 => bytes!(array.as_string::<i32>()),
        LargeUtf8 => bytes!(array.as_string::<i64>()),
        Binary => bytes!(array.as_binary::<i32>()),
        LargeBinary => bytes!(array.as_binary::<i64>()),
        _ => by_encoding(array, |value| {
            let order = value.cmp(literal.encoded.as_slice());
            match op {
                CompareOp::Equal => order.is_eq(),
                CompareOp::NotEqual => order.is_ne(),
                CompareOp::Less => order.is_lt(),
                CompareOp::LessOrEqual => order.is_le(),
                CompareOp::Greater => order.is_gt(),
                CompareOp::GreaterOrEqual => order.is_ge(),
            }
        })?,
    })
}

fn among(array: &ArrayRef, literals: &[Literal]) -> Result<BooleanBuffer> {
    use DataType::*;
    let len = array.len();
    macro_rules! whole {
        ($t:ty, $key:expr) => {{
            let values = numbers::<$t>(array);
            let set: Vec<_> = literals
                .iter()
                .map(|l| $key(numbers::<$t>(&l.array)[0]))
                .collect();
            match set.as_slice() {
                [only] => BooleanBuffer::collect_bool(len, |i| $key(values[i]) == *only),
                set => BooleanBuffer::collect_bool(len, |i| {
                    set.binary_search(&$key(values[i])).is_ok()
                }),
            }
        }};
    }
    let has = |value: &[u8]| {
        literals
            .binary_search_by(|l| l.encoded.as_slice().cmp(value))
            .is_ok()
    };
    Ok(match array.data_type() {
        Int32 | Date32 | Time32(_) => whole!(i32, |v: i32| v),
        Int64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) => whole!(i64, |v: i64| v),
        UInt64 => whole!(u64, |v: u64| v),
        Float64 => whole!(f64, float64),
        Float32 => whole!(f32, float32),
        Float16 => whole!(half::f16, float16),
        _ => by_encoding(array, has)?,
    })
}

fn starts_with(array: &ArrayRef, prefix: &[u8]) -> Result<BooleanBuffer> {
    by_encoding(array, |value| value.starts_with(prefix))
}

/// Tests the encoding of each value; strings and bytes are their own.
fn by_encoding(array: &ArrayRef, test: impl Fn(&[u8]) -> bool) -> Result<BooleanBuffer> {
    use DataType::*;
    let len = array.len();
    fn small<'a>(o: &'a OffsetBuffer<i32>, v: &'a [u8]) -> impl Fn(usize) -> &'a [u8] {
        move |i| &v[o[i].as_usize()..o[i + 1].as_usize()]
    }
    Ok(match array.data_type() {
        Utf8 => {
            let a = array.as_string::<i32>();
            let value = small(a.offsets(), a.value_data());
            BooleanBuffer::collect_bool(len, |i| test(value(i)))
        }
        Binary => {
            let a = array.as_binary::<i32>();
            let value = small(a.offsets(), a.value_data());
            BooleanBuffer::collect_bool(len, |i| test(value(i)))
        }
        LargeUtf8 => {
            let a = array.as_string::<i64>();
            BooleanBuffer::collect_bool(len, |i| test(a.value(i).as_bytes()))
        }
        LargeBinary => {
            let a = array.as_binary::<i64>();
            BooleanBuffer::collect_bool(len, |i| test(a.value(i)))
        }
        _ => {
            let mut scratch = Vec::with_capacity(32);
            let mut bits = Vec::with_capacity(len);
            for row in 0..len {
                scratch.clear();
                // Under a null lies something of the same width.
                append_value(array, row, true, &mut scratch)?;
                bits.push(test(&scratch));
            }
            BooleanBuffer::from(bits)
        }
    })
}
