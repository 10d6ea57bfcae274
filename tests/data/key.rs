//! Keys: the encoding orders as the values do, for all key types and composites of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::data as support;

use arrow_array::ArrayRef;
use lakeshore::data::key::{KeyRange, Keys, MAX_KEY_BYTES, encode_keys, encode_value};
use std::{cmp::Ordering, ops::Bound, sync::Arc, time::Duration};
use support::{Random, for_seeds, key_types, model, order, random_array};

fn row_order(columns: &[ArrayRef], a: usize, b: usize) -> Ordering {
    columns
        .iter()
        .map(|c| order(&model(c, a).unwrap(), &model(c, b).unwrap()))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn random_columns(random: &mut Random, rows: usize) -> Vec<ArrayRef> {
    let types = key_types();
    (0..1 + random.below(3))
        .map(|_| {
            let data_type = random.pick(&types).clone();
            // Sliced arrays start in the middle of their buffers.
            let skip = random.below(3);
            random_array(random, &data_type, rows + skip, 0).slice(skip, rows)
        })
        .collect()
}

#[test]
fn encoded_keys_order_as_their_values_do() {
    for_seeds(Duration::from_secs(2), |_, random| {
        let columns = random_columns(random, 40);
        let keys = encode_keys(&columns).unwrap();
        assert_eq!(keys.len(), 40);
        for a in 0..40 {
            for b in 0..40 {
                assert_eq!(
                    keys.get(a).cmp(keys.get(b)),
                    row_order(&columns, a, b),
                    "rows {a} and {b} of {columns:?}"
                );
            }
        }
    });
}

#[test]
fn every_key_type_is_encoded_by_value_as_by_column() {
    for_seeds(Duration::from_millis(500), |_, random| {
        for data_type in key_types() {
            let column = random_array(random, &data_type, 20, 0);
            let keys = encode_keys(std::slice::from_ref(&column)).unwrap();
            for row in 0..20 {
                let value = encode_value(&column, row).unwrap().unwrap();
                assert_eq!(value, keys.get(row), "{data_type}");
            }
        }
    });
}

#[test]
fn a_range_picks_the_rows_it_contains() {
    for_seeds(Duration::from_secs(1), |_, random| {
        let columns = random_columns(random, 30);
        let unsorted = encode_keys(&columns).unwrap();
        let mut sorted: Vec<Vec<u8>> = (0..30).map(|i| unsorted.get(i).to_vec()).collect();
        sorted.sort();
        let lengths = sorted.iter().map(Vec::len);
        let keys = Keys::Variable {
            offsets: arrow_buffer::OffsetBuffer::from_lengths(lengths),
            bytes: sorted.concat().into(),
        };
        let bound = |random: &mut Random| {
            let mut key = random.pick(&sorted).clone();
            if random.chance(20) {
                key.pop();
            }
            match random.below(3) {
                0 => Bound::Unbounded,
                1 => Bound::Included(key),
                _ => Bound::Excluded(key),
            }
        };
        let range = |random: &mut Random| KeyRange {
            start: bound(random),
            end: bound(random),
        };
        let (a, b) = (range(random), range(random));
        let both = a.intersect(&b);
        let rows = a.rows_of(&keys);
        for (row, key) in sorted.iter().enumerate() {
            assert_eq!(rows.contains(&row), a.contains(key), "{a:?} {key:?}");
            assert_eq!(both.contains(key), a.contains(key) && b.contains(key));
        }
        let (low, high) = (random.below(30), random.below(30));
        let (low, high) = (low.min(high), low.max(high));
        if sorted[low..=high].iter().any(|k| a.contains(k)) {
            assert!(a.overlaps(&sorted[low], &sorted[high]));
        }
    });
}

#[test]
fn bounds_are_found_by_galloping_from_anywhere() {
    for_seeds(Duration::from_millis(500), |_, random| {
        let mut numbers: Vec<i64> = (0..random.below(200))
            .map(|_| random.below(60) as i64)
            .collect();
        numbers.sort();
        let column: ArrayRef = Arc::new(arrow_array::Int64Array::from(numbers.clone()));
        let keys = encode_keys(&[column]).unwrap();
        let probe = random.below(62) as i64 - 1;
        let probe_column: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![probe]));
        let key = encode_value(&probe_column, 0).unwrap().unwrap();
        let from = random.below(numbers.len() + 1);
        let lower = from + numbers[from..].partition_point(|&n| n < probe);
        let upper = from + numbers[from..].partition_point(|&n| n <= probe);
        assert_eq!(keys.lower_bound(from, &key), lower);
        assert_eq!(keys.upper_bound(from, &key), upper);
    });
}

#[test]
fn keys_that_are_null_or_too_long_are_refused() {
    let null: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![Some(1), None]));
    assert!(encode_keys(&[null]).is_err());
    let text =
        |n: usize| -> ArrayRef { Arc::new(arrow_array::StringArray::from(vec!["x".repeat(n)])) };
    assert!(encode_keys(&[text(MAX_KEY_BYTES)]).is_ok());
    assert!(encode_keys(&[text(MAX_KEY_BYTES + 1)]).is_err());
    assert!(encode_keys(&[text(MAX_KEY_BYTES / 2), text(MAX_KEY_BYTES / 2 - 2)]).is_ok());
    assert!(encode_keys(&[text(MAX_KEY_BYTES / 2), text(MAX_KEY_BYTES / 2)]).is_err());
}

#[test]
fn sliced_keys_are_the_same_keys() {
    for_seeds(Duration::from_millis(500), |_, random| {
        let columns = random_columns(random, 20);
        let keys = encode_keys(&columns).unwrap();
        let part = keys.slice(5, 10);
        assert_eq!(part.len(), 10);
        for i in 0..10 {
            assert_eq!(part.get(i), keys.get(5 + i));
        }
    });
}
