//! Scans and point reads.

use crate::{
    allocator::{Turn, turn},
    support::random::{Random, seconds, seed},
    world::{KIB, MIB, open, plenty, small},
};
use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, cast::AsArray};
use arrow_schema::{DataType, Field};
use futures_util::future::poll_immediate;
use lakeshore::{Db, Options, Scan, Table, data::schema::TableSchema, platform::memory::Memory};
use std::{collections::BTreeMap, future::Future, ops::Bound, sync::Arc};

/// The bounds that everything is shown with.
pub const MEMORIES: [usize; 2] = [64 * MIB, 16 * MIB];

fn schema() -> TableSchema {
    TableSchema::new(
        vec![
            Arc::new(Field::new("id", DataType::Int64, false)),
            Arc::new(Field::new("value", DataType::Binary, true)),
        ],
        &["id"],
    )
    .unwrap()
}

/// Bytes that do not compress, the same for the same id and version.
pub fn noise(id: i64, version: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(id as u64 * 1000 + version);
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        out.extend_from_slice(&(random.below(usize::MAX) as u64).to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Bytes that compress to next to nothing.
fn plain(id: i64, bytes: usize) -> Vec<u8> {
    vec![id as u8; bytes]
}

pub fn batch(rows: &[(i64, Vec<u8>)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(rows.iter().map(|r| &r.1)));
    RecordBatch::try_from_iter([("id", ids), ("value", values)]).unwrap()
}

fn key(id: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values([id]));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

/// Writes files of the given rows, in this order.
pub async fn write(store: &Arc<Memory>, files: impl IntoIterator<Item = Vec<(i64, Vec<u8>)>>) {
    let db = open(store, plenty()).await;
    let table = db.create_table("t", schema()).await.unwrap();
    for rows in files {
        table.ingest(&[batch(&rows)]).await.unwrap();
        db.flush().await.unwrap();
    }
    db.close().await.unwrap();
}

/// Ids and lengths of a scan's rows. Every batch keeps within the bound, unless it is one row.
async fn drain(mut scan: Scan, options: &Options) -> Vec<(i64, usize)> {
    let mut rows = Vec::new();
    while let Some(batch) = scan.next().await.unwrap() {
        check(&batch, options);
        let values = batch.column(1).as_binary::<i32>();
        for (i, id) in ids(&batch).into_iter().enumerate() {
            rows.push((id, values.value_length(i) as usize));
        }
    }
    rows
}

/// How many rows a scan has: who remembers them would be measured, too.
async fn count(mut scan: Scan, options: &Options) -> usize {
    let mut rows = 0;
    while let Some(batch) = scan.next().await.unwrap() {
        check(&batch, options);
        rows += batch.num_rows();
    }
    rows
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    let ids = batch.column(0).as_any().downcast_ref::<Int64Array>();
    ids.unwrap().values().to_vec()
}

fn check(batch: &RecordBatch, options: &Options) {
    let bytes: usize = batch
        .columns()
        .iter()
        .map(|c| c.to_data().get_slice_memory_size().unwrap())
        .sum();
    assert!(batch.num_rows() > 0);
    assert!(
        batch.num_rows() == 1 || bytes <= options.batch_bytes,
        "a batch of {} rows and {bytes} bytes, at most {}",
        batch.num_rows(),
        options.batch_bytes
    );
}

/// Runs `work` on a handle with little memory and holds its peak to the bound.
pub async fn within(
    turn: &Turn,
    what: &str,
    store: &Arc<Memory>,
    options: Options,
    work: impl AsyncFnOnce(Table, Db) -> Db,
) {
    let bound = options.memory_bytes;
    let mark = turn.mark();
    let db = open(store, options).await;
    let table = db.table("t").unwrap();
    let db = work(table, db).await;
    let peak = mark.peak();
    println!("{what}: {} of {} KiB", peak / KIB, bound / KIB);
    assert!(
        peak <= bound,
        "{what}: {} KiB lived at once, of {} KiB",
        peak / KIB,
        bound / KIB
    );
    db.close().await.unwrap();
}

pub fn run(work: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work);
}

#[test]
fn five_hundred_rows_of_a_megabyte_are_scanned_forward_backward_and_one_by_one() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = (0..100).map(|f| {
            (f * 5..f * 5 + 5)
                .map(|id| (id, noise(id, 0, 1_000_000)))
                .collect()
        });
        write(&store, files).await;
        for memory in MEMORIES {
            let options = small(memory);
            let what = "500 rows of 1 MB";
            within(&turn, what, &store, options.clone(), async |table, db| {
                for reverse in [false, true] {
                    let scan = table.scan().reverse(reverse).stream().unwrap();
                    let mut rows = drain(scan, &options).await;
                    if reverse {
                        rows.reverse();
                    }
                    let wanted: Vec<_> = (0..500).map(|id| (id, 1_000_000)).collect();
                    assert_eq!(rows, wanted, "reverse {reverse}");
                }
                for id in [0, 77, 499] {
                    let row = table.get(&key(id), None).await.unwrap().unwrap();
                    assert_eq!(
                        row.column(1).as_binary::<i32>().value(0),
                        noise(id, 0, 1_000_000)
                    );
                }
                db
            })
            .await;
        }
    });
}

/// More than the offsets of one column reach: they compress well, so that all are in few files.
#[test]
fn two_thousand_three_hundred_rows_of_a_megabyte_are_scanned() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let ids = (0..2300).collect::<Vec<i64>>();
        let files = ids
            .chunks(50)
            .map(|ids| ids.iter().map(|id| (*id, plain(*id, 1 << 20))).collect());
        write(&store, files).await;
        for memory in MEMORIES {
            let options = small(memory);
            let what = "2,300 rows of 1 MiB";
            within(&turn, what, &store, options.clone(), async |table, db| {
                let rows = drain(table.scan().stream().unwrap(), &options).await;
                assert_eq!(rows.len(), 2300);
                assert!(rows.iter().zip(0..).all(|(row, id)| *row == (id, 1 << 20)));
                db
            })
            .await;
        }
    });
}

#[test]
fn large_values_with_random_keys_over_many_files_are_merged() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let seed = seed();
        let mut random = Random::new(seed);
        let mut model = BTreeMap::new();
        let mut files = Vec::new();
        for version in 0..96 {
            let mut rows = BTreeMap::new();
            for _ in 0..20 {
                let id = random.below(100_000) as i64;
                rows.insert(id, noise(id, version, 64 * KIB + random.below(100)));
            }
            model.extend(rows.iter().map(|(id, value)| (*id, value.len())));
            files.push(rows.into_iter().collect::<Vec<_>>());
        }
        write(&store, files).await;
        let wanted: Vec<_> = model.into_iter().collect();
        for memory in MEMORIES {
            let options = small(memory);
            let what = "64 KiB values with random keys in 96 files";
            within(&turn, what, &store, options.clone(), async |table, db| {
                for reverse in [false, true] {
                    let scan = table.scan().reverse(reverse).stream().unwrap();
                    let mut rows = drain(scan, &options).await;
                    if reverse {
                        rows.reverse();
                    }
                    assert_eq!(rows, wanted, "SEED={seed} reverse {reverse}");
                }
                db
            })
            .await;
        }
    });
}

#[test]
fn thirty_two_scans_at_once_share_what_there_is() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = (0..14).map(|f| {
            (f * 3000..(f + 1) * 3000)
                .map(|id| (id, noise(id, 0, 1000)))
                .collect()
        });
        write(&store, files).await;
        for memory in MEMORIES {
            let options = small(memory);
            let what = "32 scans of 42 MB";
            within(&turn, what, &store, options.clone(), async |table, db| {
                let scans = (0..32).map(|_| {
                    let (scan, options) = (table.scan().stream().unwrap(), options.clone());
                    tokio::spawn(async move { count(scan, &options).await })
                });
                for scan in scans.collect::<Vec<_>>() {
                    assert_eq!(scan.await.unwrap(), 42_000);
                }
                db
            })
            .await;
        }
    });
}

#[test]
fn scans_that_nobody_asks_do_not_keep_others_from_reading() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = (0..8).map(|f| {
            (f * 3000..(f + 1) * 3000)
                .map(|id| (id, noise(id, 0, 1000)))
                .collect()
        });
        write(&store, files).await;
        for memory in MEMORIES {
            let options = small(memory);
            let what = "40 scans, all begun and left, then taken up in turn";
            within(&turn, what, &store, options.clone(), async |table, db| {
                let mut scans = Vec::new();
                for i in 0..40 {
                    let mut scan = table.scan().reverse(i % 2 == 1).stream().unwrap();
                    let rows = scan.next().await.unwrap().unwrap().num_rows();
                    scans.push((scan, rows));
                }
                let mut left = scans.len();
                while left > 0 {
                    for (scan, rows) in &mut scans {
                        match scan.next().await.unwrap() {
                            Some(batch) => *rows += batch.num_rows(),
                            None if *rows == usize::MAX => {}
                            None => {
                                assert_eq!(*rows, 24_000);
                                (*rows, left) = (usize::MAX, left - 1);
                            }
                        }
                    }
                }
                db
            })
            .await;
        }
    });
}

#[test]
fn eight_hundred_small_files_that_overlap_are_merged() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let mut model = BTreeMap::new();
        let files = (0..800).map(|f| {
            let rows: Vec<_> = (0..16)
                .map(|i| (i * 801 + f, noise(i, f as u64, 1000)))
                .collect();
            model.extend(rows.iter().map(|(id, value)| (*id, value.len())));
            rows
        });
        write(&store, files.collect::<Vec<_>>()).await;
        let wanted: Vec<_> = model.into_iter().collect();
        for memory in MEMORIES {
            let options = small(memory);
            let what = "800 small files that overlap";
            within(&turn, what, &store, options.clone(), async |table, db| {
                let rows = drain(table.scan().stream().unwrap(), &options).await;
                assert_eq!(rows, wanted);
                db
            })
            .await;
        }
    });
}

#[test]
fn of_a_chain_of_files_a_limit_opens_only_what_it_reaches() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        // Each overlaps the next one.
        let files = (0..64).map(|f| {
            (f * 100..f * 100 + 110)
                .map(|id| (id, noise(id, f as u64, 1000)))
                .collect()
        });
        write(&store, files).await;
        for (reverse, first) in [(false, 0), (true, 63 * 100 + 109)] {
            let what = "a chain of 64 files";
            within(
                &turn,
                what,
                &store,
                small(MEMORIES[0]),
                async |table, db| {
                    let before = db.stats().data.get;
                    let scan = table.scan().reverse(reverse).limit(1).stream().unwrap();
                    let batches = scan.collect().await.unwrap();
                    assert_eq!(ids(&batches[0]), [first]);
                    let took = db.stats().data.get - before;
                    assert!(took <= 4, "it took {took} requests, reverse {reverse}");
                    db
                },
            )
            .await;
        }
    });
}

#[test]
fn a_limit_reads_little_of_a_large_file() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = [(0..20_000).map(|id| (id, noise(id, 0, 1000))).collect()];
        write(&store, files).await;
        for reverse in [false, true] {
            let what = "ten rows of 20 MB";
            within(
                &turn,
                what,
                &store,
                small(MEMORIES[0]),
                async |table, db| {
                    let before = db.stats().data;
                    let scan = table.scan().reverse(reverse).limit(10).stream().unwrap();
                    assert_eq!(scan.collect().await.unwrap()[0].num_rows(), 10);
                    let read = db.stats().data.bytes_read - before.bytes_read;
                    assert!(read < MIB as u64, "it read {read} bytes, reverse {reverse}");
                    db
                },
            )
            .await;
        }
    });
}

#[test]
fn a_cold_file_is_opened_once_for_fifty_reads_and_large_rows_are_read_alone() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = [(0..3000).map(|id| (id, noise(id, 0, 10_000))).collect()];
        write(&store, files).await;
        let what = "50 reads of a cold file";
        within(
            &turn,
            what,
            &store,
            small(MEMORIES[0]),
            async |table, db| {
                let before = db.stats().data;
                let reads = (0..50).map(|id| {
                    let table = table.clone();
                    tokio::spawn(
                        async move { table.get(&key(id * 50), None).await.unwrap().unwrap() },
                    )
                });
                for (read, id) in reads.collect::<Vec<_>>().into_iter().zip(0..) {
                    assert_eq!(ids(&read.await.unwrap()), [id * 50]);
                }
                let (now, reads) = (db.stats().data, 50);
                let took = now.get - before.get;
                assert!(took <= 1 + 2 * reads, "it took {took} requests");
                let read = (now.bytes_read - before.bytes_read) / reads;
                assert!(
                    read < 2_000_000,
                    "a read of a row of 10 KB read {read} bytes"
                );
                db
            },
        )
        .await;
    });
}

/// As in Workers: no call is woken by another.
#[test]
fn scans_that_may_not_wait_for_each_other_share_what_there_is() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = (0..8).map(|f| {
            (f * 1000..(f + 1) * 1000)
                .map(|id| (id, noise(id, 0, 1000)))
                .collect()
        });
        write(&store, files).await;
        let options = Options {
            detached_tasks: false,
            ..small(MEMORIES[1])
        };
        let what = "16 scans without waiting";
        within(&turn, what, &store, options.clone(), async |table, db| {
            let scans = (0..16).map(|_| {
                let (scan, options) = (table.scan().stream().unwrap(), options.clone());
                tokio::spawn(async move { count(scan, &options).await })
            });
            for scan in scans.collect::<Vec<_>>() {
                assert_eq!(scan.await.unwrap(), 8000);
            }
            db
        })
        .await;
    });
}

#[test]
fn a_scan_that_is_dropped_while_it_reads_reads_no_more() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = (0..8).map(|f| {
            (f * 1000..(f + 1) * 1000)
                .map(|id| (id, noise(id, 0, 1000)))
                .collect()
        });
        write(&store, files).await;
        let what = "a dropped scan";
        within(
            &turn,
            what,
            &store,
            small(MEMORIES[0]),
            async |table, db| {
                for polls in 1..20 {
                    let mut scan = table.scan().stream().unwrap();
                    let mut given = 0;
                    {
                        let mut next = std::pin::pin!(scan.next());
                        for _ in 0..polls {
                            if let Some(batch) = poll_immediate(next.as_mut()).await {
                                given = batch.unwrap().unwrap().num_rows();
                                break;
                            }
                        }
                    }
                    // A call that was given up may be made again, and misses nothing.
                    if polls % 2 == 0 {
                        assert_eq!(given + count(scan, &small(MEMORIES[0])).await, 8000);
                        continue;
                    }
                    drop(scan);
                    let before = db.stats().data.get;
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    assert_eq!(db.stats().data.get, before, "after {polls} polls");
                }
                db
            },
        )
        .await;
    });
}

/// Every row is deleted in other files: batches pass through the merge and no row comes out.
#[test]
fn a_merge_that_gives_nothing_holds_nothing() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = (0..20).map(|f| {
            (f * 2000..(f + 1) * 2000)
                .map(|id| (id, noise(id, 0, 2000)))
                .collect()
        });
        write(&store, files).await;
        let db = open(&store, plenty()).await;
        let table = db.table("t").unwrap();
        let all: ArrayRef = Arc::new(Int64Array::from_iter_values(0..40_000));
        let keys = RecordBatch::try_from_iter([("id", all)]).unwrap();
        table.delete(&[keys]).await.unwrap();
        db.flush().await.unwrap();
        db.close().await.unwrap();
        for memory in MEMORIES {
            let what = "80 MB, all deleted";
            within(&turn, what, &store, small(memory), async |table, db| {
                let mut scan = table.scan().stream().unwrap();
                assert!(scan.next().await.unwrap().is_none());
                assert_eq!(table.scan().count().await.unwrap(), 0);
                db
            })
            .await;
        }
    });
}

/// A random table, read in every way at once.
#[test]
fn random_tables_read_in_every_way_at_once_keep_within_the_bound() {
    let turn = turn();
    let (seed, until) = (seed(), seconds(10));
    let mut random = Random::new(seed);
    let mut rounds = 0;
    while rounds == 0 || until.left() {
        rounds += 1;
        run(async {
            let store = Memory::new();
            let mut model = BTreeMap::new();
            let keys = [100, 10_000, 1_000_000][random.below(3)];
            let mut files = Vec::new();
            for version in 0..1 + random.below(30) as u64 {
                let most = [10, 1000, 100_000, 1_000_000][random.below(4)];
                let count = (2_000_000 / most).clamp(1, 3000);
                let mut rows = BTreeMap::new();
                for _ in 0..1 + random.below(count) {
                    let id = random.below(keys) as i64;
                    let bytes = random.below(most);
                    let value = match random.chance(0.5) {
                        true => noise(id, version, bytes),
                        false => plain(id, bytes),
                    };
                    rows.insert(id, value);
                }
                model.extend(rows.iter().map(|(id, value)| (*id, value.len())));
                files.push(rows.into_iter().collect::<Vec<_>>());
            }
            write(&store, files).await;
            let memory = [64, 16, 8][random.below(3)] * MIB;
            let options = Options {
                batch_bytes: [64 * KIB, MIB, 8 * MIB][random.below(3)],
                batch_rows: [10, 1000, 16_384][random.below(3)],
                ..small(memory)
            };
            let what = format!("SEED={seed} round {rounds}, {} rows", model.len());
            let model = Arc::new(model);
            within(&turn, &what, &store, options.clone(), async |table, db| {
                let mut tasks = Vec::new();
                for _ in 0..1 + random.below(8) {
                    let (from, to) = (random.below(keys) as i64, random.below(keys) as i64);
                    let (reverse, limit) = (random.chance(0.5), 1 + random.below(5000));
                    let mut scan = table.scan().reverse(reverse);
                    let mut wanted: Vec<_> = model.iter().map(|(id, len)| (*id, *len)).collect();
                    if random.chance(0.5) && from <= to {
                        scan = scan
                            .from(Bound::Included(key(from)))
                            .to(Bound::Excluded(key(to)));
                        wanted.retain(|(id, _)| (from..to).contains(id));
                    }
                    if reverse {
                        wanted.reverse();
                    }
                    if random.chance(0.3) {
                        scan = scan.limit(limit as u64);
                        wanted.truncate(limit);
                    }
                    let (options, what) = (options.clone(), what.clone());
                    tasks.push(tokio::spawn(async move {
                        let rows = drain(scan.stream().unwrap(), &options).await;
                        assert!(rows == wanted, "{what}: other rows");
                    }));
                }
                for task in tasks {
                    task.await.unwrap();
                }
                db
            })
            .await;
        });
    }
    println!("{rounds} tables, SEED={seed}");
}
