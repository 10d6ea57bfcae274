//! What a device keeps and frees, in which order, whatever broke off in between (PROTOCOL W3, W4).

use super::{
    settle,
    support::{
        devices::{World, copy, ingest, model},
        engine,
    },
};
use lakeshore::Options;

/// Every commit has a segment of its own.
fn segments() -> Options {
    Options {
        wal_segment_bytes: 3000,
        ..Options::default()
    }
}

/// The device knew of an upload that the version it kept lacked, and freed its segments offline.
#[tokio::test]
async fn a_checkpoint_offline_frees_no_row_that_the_kept_version_lacks() {
    let mut world = World::new();
    let device = world.device();
    let (db, table) = device.open_with(segments()).await;
    settle().await;
    for from in [0, 100] {
        ingest(&table, from, from + 50, 1).await;
        db.flush().await.unwrap();
    }
    let expected = model(&[(0, 50, 1), (100, 150, 1)]);
    // The process dies.
    let next = world.device_on(copy(&device.wal).await);
    next.cut(true);
    let (db, table) = next.open_with(segments()).await;
    assert_eq!(engine::content(&table).await.unwrap(), expected);
    let _ = db.checkpoint().await;
    db.close().await.unwrap();
    let (_, table) = next.open_with(segments()).await;
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}
