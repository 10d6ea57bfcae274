//! The write path: what is kept is counted, a delete costs its keys, and the queue, the decoding, the
//! memtables and a flush stay within their bound.

use super::measure::*;
use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Int32Array, StringArray, types::Int32Type,
};
use arrow_schema::DataType;
use lakeshore::{Db, ErrorKind, Options, Table};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Values of `bytes` bytes that do not compress.
fn noise(rows: usize, bytes: usize, seed: u64) -> ArrayRef {
    let mut state = seed | 1;
    let mut value = || {
        let mut out = Vec::with_capacity(bytes + 8);
        while out.len() < bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.extend_from_slice(&state.to_le_bytes());
        }
        out.truncate(bytes);
        out
    };
    Arc::new(BinaryArray::from_iter_values((0..rows).map(|_| value())))
}

async fn binary_table(db: &Db) -> Table {
    let schema = schema(vec![field("v", DataType::Binary)]);
    db.create_table("t", schema).await.unwrap()
}

/// So many rows the table has.
async fn count(table: &Table) -> u64 {
    table.scan().stream().unwrap().count().await.unwrap()
}

#[test]
fn rows_of_a_large_batch_keep_no_more_than_themselves() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let db = open(place.path(), true, small(64 * MIB)).await;
        let table = binary_table(&db).await;
        let counting = Count::begin();
        let large = batch(0, &[("v", noise(4000, 1024, 1))]);
        for row in 0..20 {
            table.ingest(&[large.slice(row * 200, 1)]).await.unwrap();
        }
        drop(large);
        let (kept, counted) = (counting.now(), db.stats().memtable_bytes);
        assert!(kept < MIB, "20 KiB of rows keep {:.1} MiB", mib(kept));
        assert!((20 * 1024..MIB as u64).contains(&counted), "{counted}");
        db.close().await.unwrap();
    });
}

#[test]
fn values_of_a_dictionary_that_no_row_has_are_not_kept() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let db = open(place.path(), true, small(64 * MIB)).await;
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let columns = vec![field("c", dictionary)];
        let table = db.create_table("t", schema(columns)).await.unwrap();
        let names = (0..100_000).map(|i| format!("a category with a long name, number {i}"));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
        let counting = Count::begin();
        for from in 0..20 {
            let keys = Int32Array::from(vec![from * 5, 99_999 - from]);
            let values = DictionaryArray::<Int32Type>::new(keys, names.clone());
            let rows = batch(i64::from(from) * 2, &[("c", Arc::new(values))]);
            table.ingest_ipc(given(&rows)).await.unwrap();
        }
        // What was given away stays for ever, and is not the engine's.
        let given: usize = 20 * (names.get_buffer_memory_size());
        let kept = counting.now().saturating_sub(given);
        assert!(kept < MIB, "40 rows keep {:.1} MiB", mib(kept));
        assert!(db.stats().memtable_bytes < MIB as u64);
        let rows = table.scan().stream().unwrap().collect().await.unwrap();
        let text = |row: usize| {
            let column = rows[0].column(1).as_any();
            let column = column.downcast_ref::<DictionaryArray<Int32Type>>().unwrap();
            let column = column.downcast_dict::<StringArray>().unwrap();
            use arrow_array::ArrayAccessor;
            column.value(row).to_owned()
        };
        assert_eq!(text(0), "a category with a long name, number 0");
        assert_eq!(text(39), "a category with a long name, number 99980");
        db.close().await.unwrap();
    });
}

#[test]
fn a_delete_costs_its_keys_whatever_the_columns() {
    for memory in [64 * MIB, 16 * MIB] {
        alone(async {
            let place = tempfile::tempdir().unwrap();
            let db = open(place.path(), true, small(memory)).await;
            let item = Arc::new(arrow_schema::Field::new("item", DataType::Float32, true));
            let embedding = DataType::FixedSizeList(item, 1536);
            let columns = vec![field("e", embedding)];
            let table = db.create_table("t", schema(columns)).await.unwrap();
            let counting = Count::begin();
            for call in 0..100 {
                table.delete(&[keys(call * 1000, 1000)]).await.unwrap();
            }
            // 100,000 keys of 8 bytes, encoded once more for the order.
            let (kept, counted) = (counting.now(), db.stats().memtable_bytes);
            assert!(kept < 4 * MIB, "they keep {:.1} MiB", mib(kept));
            assert!(counted < 4 * MIB as u64, "{counted}");
            // One row that is there among them, so that both meet in one file.
            let one = arrow_array::new_null_array(&table_type(&table), 1);
            table.ingest(&[batch(500, &[("e", one)])]).await.unwrap();
            db.flush().await.unwrap();
            counting.holds("100,000 deletes", memory);
            assert_eq!(count(&table).await, 1);
            db.close().await.unwrap();
        });
    }
}

fn table_type(table: &Table) -> DataType {
    let schema = table.schema().unwrap();
    schema.user().field(1).data_type().clone()
}

#[test]
fn commits_that_nobody_awaits_wait_within_the_bound_and_keep_their_order() {
    for (memory, wal) in [(64 * MIB, true), (16 * MIB, true), (16 * MIB, false)] {
        alone(async {
            let place = tempfile::tempdir().unwrap();
            let db = open(place.path(), wal, small(memory)).await;
            let table = binary_table(&db).await;
            // Each call writes its own rows, and row -1, which the last one wins.
            let rows = |call: i64| {
                let own = batch(call * 1000, &[("v", noise(960, 1024, call as u64 + 1))]);
                let mark = call.to_le_bytes().to_vec();
                let shared = batch(-1, &[("v", Arc::new(BinaryArray::from_vec(vec![&mark])))]);
                let all = arrow_select::concat::concat_batches(&own.schema(), [&own, &shared]);
                given(&all.unwrap())
            };
            let calls: Vec<_> = (0..150).map(rows).collect();
            let counting = Count::begin();
            let commits: Vec<_> = calls.iter().map(|c| table.ingest_ipc(c.clone())).collect();
            counting.holds("150 calls of 1 MiB", memory);
            let mut last = i64::MIN;
            for commit in commits {
                let done = commit.await.unwrap();
                assert!(done.ts >= last, "out of order");
                last = done.ts;
            }
            counting.holds("150 commits of 1 MiB that nobody awaited", memory);
            db.flush().await.unwrap();
            counting.holds("the same, flushed", memory);
            let row = table.get(&keys(-1, 1), None).await.unwrap().unwrap();
            let value = row.column(1).as_any().downcast_ref::<BinaryArray>();
            assert_eq!(value.unwrap().value(0), 149i64.to_le_bytes());
            assert_eq!(count(&table).await, 150 * 960 + 1);
            let stats = db.stats();
            assert_eq!(stats.memory_bytes, memory as u64);
            assert!(stats.memory_peak <= stats.memory_bytes, "{stats:?}");
            db.close().await.unwrap();
        });
    }
}

#[test]
fn a_commit_that_can_never_fit_is_refused_and_says_what_to_do() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let db = open(place.path(), true, small(64 * MIB)).await;
        let table = binary_table(&db).await;
        let large = batch(0, &[("v", noise(60, MIB, 1))]);
        let ipc = given(&large);
        let counting = Count::begin();
        for refused in [
            table.ingest_ipc(ipc).await.unwrap_err(),
            table.ingest(&[large]).await.unwrap_err(),
        ] {
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            for word in ["commit_bytes", "memory_bytes", "split it"] {
                assert!(refused.message().contains(word), "{refused}");
            }
        }
        counting.holds("two refused commits of 60 MiB", MIB);
        assert_eq!(count(&table).await, 0);
        db.close().await.unwrap();
    });
}

#[test]
fn the_largest_commit_takes_about_twice_its_bytes() {
    for (memory, wal) in [(64 * MIB, true), (64 * MIB, false), (16 * MIB, true)] {
        alone(async {
            let place = tempfile::tempdir().unwrap();
            let db = open(place.path(), wal, small(memory)).await;
            let table = binary_table(&db).await;
            let bytes = memory / 8 - memory / 256;
            // The last rows first: it has to be sorted.
            let rows = bytes / 8192;
            let values = noise(rows, 8192 - 32, 7);
            let backwards = (0..rows as i64).rev();
            let ids: ArrayRef = Arc::new(arrow_array::Int64Array::from_iter_values(backwards));
            let all = [("id", ids), ("v", values)];
            let all = arrow_array::RecordBatch::try_from_iter(all).unwrap();
            let ipc = given(&all);
            assert!(ipc.len() > bytes * 9 / 10 && ipc.len() <= memory / 8);
            let counting = Count::begin();
            table.ingest_ipc(ipc.clone()).await.unwrap();
            // Without a WAL it is written as an sstable, too: upkeep has a share of its own.
            let upkeep = if wal { 0 } else { memory / 4 };
            counting.holds("an IPC stream, unsorted", ipc.len() * 9 / 4 + upkeep + MIB);
            table.ingest(&[all]).await.unwrap();
            counting.holds("the same as a batch, beside it", memory);
            db.flush().await.unwrap();
            counting.holds("the largest commits", memory);
            db.close().await.unwrap();
        });
    }
}

#[test]
fn a_wide_table_whose_rows_repeat_is_flushed_within_the_bound() {
    for memory in [64 * MIB, 16 * MIB] {
        alone(async {
            let place = tempfile::tempdir().unwrap();
            let db = open(place.path(), true, small(memory)).await;
            let name = |i: usize| format!("column {i}");
            let columns = (0..4000).map(|i| field(&name(i), DataType::Int32));
            let columns = schema(columns.collect());
            let sevens: ArrayRef = Arc::new(Int32Array::from(vec![7; 50]));
            let names: Vec<String> = (0..4000).map(name).collect();
            let values: Vec<_> = (names.iter())
                .map(|name| (name.as_str(), sevens.clone()))
                .collect();
            let ipc = given(&batch(0, &values));
            let table = db.create_table("t", columns).await.unwrap();
            let counting = Count::begin();
            table.ingest_ipc(ipc).await.unwrap();
            counting.holds("4,000 columns of 50 equal rows, committed", memory);
            db.flush().await.unwrap();
            counting.holds("4,000 columns of 50 equal rows", memory);
            drop(table);
            db.close().await.unwrap();
        });
    }
}

#[test]
fn wide_rows_are_flushed_within_the_bound_and_cut_by_bytes() {
    for (memory, value) in [(64 * MIB, MIB), (16 * MIB, MIB / 2)] {
        alone(async {
            let place = tempfile::tempdir().unwrap();
            let db = open(place.path(), true, small(memory)).await;
            let table = binary_table(&db).await;
            let commits: Vec<_> = (0..60)
                .map(|i| given(&batch(i, &[("v", noise(1, value, i as u64 + 1))])))
                .collect();
            let counting = Count::begin();
            for commit in commits {
                table.ingest_ipc(commit).await.unwrap();
            }
            db.flush().await.unwrap();
            counting.holds("60 large rows", memory);
            assert_eq!(count(&table).await, 60);
            db.close().await.unwrap();
        });
    }
}

#[test]
fn a_large_wal_is_replayed_within_what_it_holds_and_offline_too() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let large = Options {
            wal_segment_bytes: MIB as u64,
            ..small(512 * MIB)
        };
        let db = open(place.path(), true, large).await;
        let table = binary_table(&db).await;
        for call in 0..24 {
            let rows = batch(call * 1000, &[("v", noise(500, 1024, call as u64 + 1))]);
            table.ingest(&[rows]).await.unwrap();
        }
        db.close().await.unwrap();
        drop((db, table));
        let counting = Count::begin();
        // 12 MiB are more than the eighth of 16 MiB that may wait for upload: they are there all the same.
        let db = open(place.path(), true, small(16 * MIB)).await;
        counting.holds("12 MiB replayed", 16 * MIB);
        let table = db.table("t").unwrap();
        table
            .ingest(&[batch(-5, &[("v", noise(1, 10, 9))])])
            .await
            .unwrap();
        counting.holds("a commit after that, which uploads first", 16 * MIB);
        assert_eq!(count(&table).await, 24 * 500 + 1);
        db.close().await.unwrap();
    });
}

#[test]
fn a_flush_of_several_files_keeps_none_of_them() {
    alone(async {
        let place = tempfile::tempdir().unwrap();
        let options = Options {
            sstable_bytes: 4096,
            ..small(16 * MIB)
        };
        let db = open(place.path(), true, options).await;
        let names: Vec<String> = (0..300).map(|i| format!("c{i}")).collect();
        let fields = names.iter().map(|name| field(name, DataType::Binary));
        let table = db
            .create_table("t", schema(fields.collect()))
            .await
            .unwrap();
        let values = noise(40, 30, 5);
        let columns: Vec<_> = names.iter().map(|n| (n.as_str(), values.clone())).collect();
        let calls: Vec<_> = (0..4).map(|i| given(&batch(i * 40, &columns))).collect();
        let counting = Count::begin();
        for call in calls {
            table.ingest_ipc(call).await.unwrap();
        }
        db.flush().await.unwrap();
        let files = db.stats().tables[0].files;
        counting.holds(&format!("{files} files"), 16 * MIB);
        assert!(files > 4, "{files}");
        db.close().await.unwrap();
    });
}

#[test]
fn random_writes_to_wide_and_narrow_tables_stay_within_the_bound() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let seconds = std::env::var("TEST_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(10));
    let mut seed: u64 = seed.unwrap_or(1);
    loop {
        println!("SEED={seed}");
        alone(random_writes(seed));
        seed += 1;
        if Instant::now() > until {
            return;
        }
    }
}

async fn random_writes(seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % most
    };
    let memory = [64 * MIB, 16 * MIB][below(2)];
    let place = tempfile::tempdir().unwrap();
    let db = open(place.path(), below(3) > 0, small(memory)).await;
    let mut tables = Vec::new();
    let mut rows_of = Vec::new();
    for (name, columns) in [("narrow", 1), ("middle", 40), ("wide", 1000)] {
        let names: Vec<String> = (0..columns).map(|i| format!("c{i}")).collect();
        let types = [DataType::Int32, DataType::Utf8, DataType::Binary];
        let fields = names.iter().enumerate();
        let fields = fields.map(|(i, name)| field(name, types[i % 3].clone()));
        tables.push(
            db.create_table(name, schema(fields.collect()))
                .await
                .unwrap(),
        );
        rows_of.push(names);
    }
    // What callers give is made beforehand.
    let mut calls = Vec::new();
    for _ in 0..40 {
        let at = below(3);
        let from = below(100_000) as i64;
        if below(4) == 0 {
            calls.push((at, None, keys(from, 1 + below(3000))));
            continue;
        }
        let names = &rows_of[at];
        let rows = 1 + below([20_000, 500, 20][at]);
        let wide = 1 + below((memory / 16 / rows / names.len()).clamp(1, 4000));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![below(100) as i32; rows]));
        let texts = (0..rows).map(|i| format!("text {}", i % 7));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let bytes = noise(rows, wide, seed + 1);
        let columns = [numbers, texts, bytes];
        let columns: Vec<_> = (names.iter().enumerate())
            .map(|(i, name)| (name.as_str(), columns[i % 3].clone()))
            .collect();
        let all = batch(from, &columns);
        if all.get_array_memory_size() < memory / 8 {
            calls.push((at, Some(given(&all)), keys(0, 1)));
        }
    }
    let counting = Count::begin();
    let mut commits: Vec<std::pin::Pin<Box<dyn Future<Output = _>>>> = Vec::new();
    for (at, rows, gone) in calls {
        commits.push(match rows {
            Some(ipc) => Box::pin(tables[at].ingest_ipc(ipc)),
            None => Box::pin(tables[at].delete(&[gone])),
        });
        if below(5) == 0 {
            for commit in commits.drain(..) {
                commit.await.unwrap();
            }
        }
        if below(20) == 0 {
            db.flush().await.unwrap();
        }
    }
    for commit in commits {
        commit.await.unwrap();
    }
    db.flush().await.unwrap();
    counting.holds(&format!("seed {seed}"), memory);
    db.close().await.unwrap();
}

/// Each commit takes most of what writes have: while one is made ready, another finds no room.
#[test]
fn threads_that_ingest_the_largest_commits_at_once_wait_for_each_other() {
    let place = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let memory = 16 * MIB;
        let db = open(place.path(), true, small(memory)).await;
        let table = binary_table(&db).await;
        let writers: Vec<_> = (0..4i64)
            .map(|writer| {
                let table = table.clone();
                tokio::spawn(async move {
                    for turn in 0..12 {
                        let values = noise(memory / 8 / 8192 - 4, 8192 - 32, 9);
                        let rows = batch((writer * 100 + turn) * 1000, &[("v", values)]);
                        table.ingest(&[rows]).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let rows = memory / 8 / 8192 - 4;
        assert_eq!(count(&table).await, 48 * rows as u64);
        db.close().await.unwrap();
    });
}
