//! sstables through the module's public API: what is written is read back, whatever the types, the
//! range and the direction; damage is found; requests are few.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/sstable.rs"]
mod make;

use bytes::Bytes;
use lakeshore::{
    ErrorKind, Options,
    data::{
        key::KeyRange,
        rows::{Rows, Stamps, Tombstones},
    },
    env::Storage,
    sstable::read::{ScanRequest, is_missing},
};
use make::*;
use std::{ops::Bound, sync::Arc};

fn small() -> Options {
    Options {
        row_group_rows: 300,
        page_rows: 40,
        ..Options::default()
    }
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let table = kv_schema();
    let rows = kv_rows(0..1000);
    let file = File::write(&table, &[rows.clone()], &small(), true).await;
    assert_eq!(file.meta.rows, 1000);
    assert_eq!(file.meta.min_key, rows.keys.get(0));
    assert_eq!(file.meta.max_key, rows.keys.get(999));
    let reader = file.open(Some(7)).await.unwrap();
    let all = everything(&reader, file.request(KeyRange::all()))
        .await
        .unwrap();
    assert_eq!(show(&all), show(&[with_stamp(&rows, 7)]));
}
