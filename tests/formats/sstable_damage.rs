//! Damage to an sstable is found, with its place; never wrong rows, never a panic.
#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use lakeshore::{
    Error, ErrorKind, Options, Result,
    data::{
        key::KeyRange,
        rows::{Rows, Tombstones},
    },
    env::Storage,
    sstable::{
        meta::SstableMeta,
        read::{ScanRequest, is_missing},
    },
};
use std::sync::Arc;
use support::{
    random::{Random, seed},
    sstable::*,
};

/// Everything that can be read of the file, in words.
async fn read_all(file: &File) -> Result<Vec<String>> {
    let reader = file.open(None).await?;
    let forward = everything(&reader, file.request(KeyRange::all())).await?;
    let request = ScanRequest {
        reverse: true,
        ..file.request(KeyRange::all())
    };
    let backward = everything(&reader, request).await?;
    let mut words = show(&forward);
    assert_eq!(words, show(&backward));
    for key in [0, 11, 23] {
        if let Some(rows) = reader.get(&kv_key(key), &[0, 1, 2, 3]).await? {
            words.extend(show(&[rows]));
        }
        let mut absent = kv_key(key);
        absent.push(1);
        assert!(reader.get(&absent, &[0]).await?.is_none());
    }
    Ok(words)
}

fn check(error: Error, file: &File, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    assert!(error.message().contains(&file.object()), "{what}: {error}");
}

/// Two row groups of a few pages, two timestamps, one tombstone (without any, `_op` is not read).
async fn small_file() -> File {
    let options = Options {
        row_group_rows: 16,
        page_rows: 8,
        ..Options::default()
    };
    let dead = Tombstones::from_bits((20..24).map(|i| i == 22).collect());
    let last = Rows {
        tombstones: dead,
        ..with_stamp(&kv_rows(20..24), 4)
    };
    let rows = [with_stamp(&kv_rows(0..20), 3), last];
    File::write(&kv_schema(), &rows, &options, false).await
}

/// The file was written by the first version; its footer is what the log said then.
#[tokio::test]
async fn a_file_of_the_first_version_is_read() {
    let mut file = small_file().await;
    let words = read_all(&file).await.unwrap();
    let golden: &[u8] = include_bytes!("../golden/sstable-v1.parquet");
    file.store
        .put(&file.object(), Bytes::from_static(golden))
        .await
        .unwrap();
    file.meta = Arc::new(SstableMeta {
        bytes: golden.len() as u64,
        footer_bytes: 3933,
        footer_crc: 0x902b_195c,
        ..file.meta.as_ref().clone()
    });
    assert_eq!(read_all(&file).await.unwrap(), words);
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_found() {
    let file = small_file().await;
    let good = file.store.get(&file.object()).await.unwrap().unwrap();
    let words = read_all(&file).await.unwrap();
    let mut unseen = Vec::new();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        file.store.put(&file.object(), bad.into()).await.unwrap();
        match read_all(&file).await {
            Err(error) => check(error, &file, &format!("byte {at}")),
            Ok(found) => {
                assert!(found == words, "byte {at}: wrong rows");
                unseen.push(at);
            }
        }
    }
    // The magic at the beginning is nobody's data.
    assert_eq!(unseen, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_damaged_page_is_named_by_its_offset() {
    let file = File::write(
        &kv_schema(),
        &[kv_rows(0..5000)],
        &Options::default(),
        false,
    )
    .await;
    let mut bad = file
        .store
        .get(&file.object())
        .await
        .unwrap()
        .unwrap()
        .to_vec();
    bad[9000] ^= 0x40;
    file.store.put(&file.object(), bad.into()).await.unwrap();
    let error = read_all(&file).await.unwrap_err();
    check(error.duplicate(), &file, "a page");
    let place = error.message().split("offset ").nth(1).unwrap();
    let offset: u64 = place.split(',').next().unwrap().parse().unwrap();
    assert!(offset <= 9000, "{error}");
    assert!(error.message().contains("crc32c"), "{error}");
}

#[tokio::test]
async fn a_cut_replaced_or_missing_file_is_found() {
    let seed = seed();
    let mut random = Random::new(seed);
    let file = File::write(&kv_schema(), &[kv_rows(0..300)], &Options::default(), false).await;
    let good = file.store.get(&file.object()).await.unwrap().unwrap();
    let footer = file.meta.footer_bytes as usize;
    let lengths = [0, 1, 4, footer - 1, footer, good.len() - 1];
    for length in lengths
        .into_iter()
        .chain((0..50).map(|_| random.below(good.len())))
    {
        for cut in [good.slice(..length), good.slice(good.len() - length..)] {
            file.store.put(&file.object(), cut).await.unwrap();
            let error = read_all(&file).await.unwrap_err();
            check(error, &file, &format!("SEED={seed}, {length} bytes"));
        }
    }
    for _ in 0..50 {
        let junk: Bytes = (0..good.len()).map(|_| random.next() as u8).collect();
        file.store.put(&file.object(), junk).await.unwrap();
        check(read_all(&file).await.unwrap_err(), &file, "junk");
    }
    file.store.put(&file.object(), good).await.unwrap();
    let reader = file.open(None).await.unwrap();
    file.store.delete(&file.object()).await.unwrap();
    let opened = file.open(None).await.unwrap_err();
    let scanned = everything(&reader, file.request(KeyRange::all()))
        .await
        .unwrap_err();
    let got = reader.get(&kv_key(1), &[0]).await.unwrap_err();
    for error in [opened, scanned, got] {
        assert!(is_missing(&error), "{error}");
        check(error, &file, "missing");
    }
}
