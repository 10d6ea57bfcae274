//! The merge against a naive model: random sources, versions, tombstones, batch borders.

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use lakeshore::{
    data::{
        bound::Bound,
        key::encode_keys,
        rows::{Rows, Stamps, Tombstones},
    },
    merge::{Keep, Merge, Step},
};
use std::{collections::BTreeMap, sync::Arc};

use crate::support;
use support::random::{Random, seconds, seed};

type Version = (i64, i64, bool);

/// Rows of one source: (key, ts, tombstone), value = key * 1000 + ts.
fn rows(part: &[Version], uniform: bool) -> Rows {
    let key: ArrayRef = Arc::new(Int64Array::from_iter_values(part.iter().map(|r| r.0)));
    let value: ArrayRef = Arc::new(Int64Array::from_iter_values(
        part.iter().map(|r| r.0 * 1000 + r.1),
    ));
    let keys = encode_keys(std::slice::from_ref(&key)).unwrap();
    let batch = RecordBatch::try_from_iter([("k", key), ("v", value)]).unwrap();
    let stamps = match uniform {
        true => Stamps::All(part[0].1),
        false => Stamps::Each(Int64Array::from_iter_values(part.iter().map(|r| r.1))),
    };
    let tombstones = Tombstones::from_bits(part.iter().map(|r| r.2).collect());
    Rows {
        batch,
        keys,
        stamps,
        tombstones,
    }
}

/// Splits a source into batches, never between the versions of a key.
fn batches(source: &[Version], random: &mut Random, uniform: bool) -> Vec<Rows> {
    let mut out = Vec::new();
    let mut start = 0;
    for end in 1..=source.len() {
        let ends =
            end == source.len() || (source[end].0 != source[end - 1].0 && random.chance(0.3));
        if ends {
            out.push(rows(&source[start..end], uniform));
            start = end;
        }
    }
    out
}

fn expected(sources: &[Vec<Version>], keep: Keep) -> Vec<(i64, i64)> {
    let mut all: BTreeMap<i64, BTreeMap<i64, bool>> = BTreeMap::new();
    for (key, ts, dead) in sources.iter().flatten() {
        all.entry(*key).or_default().insert(*ts, *dead);
    }
    let mut out = Vec::new();
    for (key, versions) in all {
        let newest = versions.iter().rev();
        match keep {
            Keep::Newest => out.extend(newest.take(1).map(|(ts, _)| (key, *ts))),
            Keep::Visible { as_of } => out.extend(
                newest
                    .filter(|v| *v.0 <= as_of)
                    .take(1)
                    .filter(|v| !v.1)
                    .map(|v| (key, *v.0)),
            ),
            Keep::Versions { watermark } => {
                for (ts, _) in newest {
                    out.push((key, *ts));
                    if *ts <= watermark {
                        break;
                    }
                }
            }
        }
    }
    out
}

/// Rows of 16 bytes.
fn bound(random: &mut Random) -> Bound {
    Bound::new(1 + random.below(20), 1 + random.below(400))
}

fn run(
    sources: &[Vec<Version>],
    keep: Keep,
    reverse: bool,
    random: &mut Random,
) -> Vec<(i64, i64)> {
    let mut merge = Merge::new(sources.len(), keep, reverse, random.chance(0.5));
    let mut queues: Vec<Vec<Rows>> = (sources.iter())
        .map(|s| {
            let uniform = !s.is_empty() && s.iter().all(|r| r.1 == s[0].1);
            let mut parts = batches(s, random, uniform);
            if !reverse {
                parts.reverse();
            }
            parts
        })
        .collect();
    let mut out = Vec::new();
    loop {
        match merge.step(bound(random)).unwrap() {
            Step::Need(source) => merge.feed(source, queues[source].pop()),
            Step::Done => return out,
            Step::Rows(rows) => {
                let column = |i: usize| {
                    rows.batch
                        .column(i)
                        .as_any()
                        .downcast_ref::<Int64Array>()
                        .unwrap()
                        .clone()
                };
                let (keys, values) = (column(0), column(1));
                for row in 0..rows.batch.num_rows() {
                    out.push((keys.value(row), values.value(row) - keys.value(row) * 1000));
                }
            }
        }
    }
}

#[test]
fn a_merge_of_random_sources_gives_what_a_map_of_versions_gives() {
    let seed = seed();
    let mut rounds = 0;
    let mut random = Random::new(seed);
    let until = seconds(5);
    while until.left() {
        let keys = 1 + random.below(60) as i64;
        let mut used = std::collections::HashSet::new();
        let sources: Vec<Vec<Version>> = (0..random.below(6) + 1)
            .map(|source| {
                let uniform = random.chance(0.5);
                let base = 1 + source as i64;
                let mut rows: Vec<Version> = (0..random.below(80))
                    .map(|_| {
                        let ts = if uniform {
                            100 * base
                        } else {
                            1 + random.below(700) as i64
                        };
                        (random.below(keys as usize) as i64, ts, random.chance(0.2))
                    })
                    .filter(|(key, ts, _)| used.insert((*key, *ts)))
                    .collect();
                rows.sort_by_key(|r| (r.0, -r.1));
                rows
            })
            .collect();
        let mark = random.below(800) as i64;
        let keep = [
            Keep::Newest,
            Keep::Visible { as_of: mark },
            Keep::Visible { as_of: i64::MAX },
            Keep::Versions { watermark: mark },
        ][random.below(4)];
        let reverse = random.chance(0.5) && !matches!(keep, Keep::Versions { .. });
        let mut wanted = expected(&sources, keep);
        if reverse {
            wanted.reverse();
        }
        let got = run(&sources, keep, reverse, &mut random);
        assert_eq!(
            got, wanted,
            "SEED={seed} round {rounds} {keep:?} reverse {reverse}"
        );
        rounds += 1;
    }
    println!("{rounds} merges, SEED={seed}");
}
