//! `local` durability with the network cut: what is acknowledged stays and is uploaded once, in its own
//! order; the device opens and reads by what it has; foreign commits meanwhile are met (PROTOCOL W1 to
//! W5, T1, T2).
#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs, unreachable_pub)]
// Tests may, in their own functions, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod crash;
mod devices;
mod doubt;
mod kept;
mod lasting;
mod open;
mod order;
#[path = "../support/mod.rs"]
mod support;
mod upload;

use lakeshore::ErrorKind;
use std::time::Duration;
use support::devices::{Device, World, ingest};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: i64 = 365 * 24 * 3600 * 1_000_000;

/// Lets everything go on that can.
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

fn kind<T: std::fmt::Debug>(outcome: lakeshore::Result<T>) -> (ErrorKind, String) {
    let error = outcome.unwrap_err();
    (error.kind(), error.message().to_owned())
}

/// Rows 0 to 9 are in an sstable, 10 to 14 in the WAL; the handle is closed and the network cut.
async fn prepared(world: &mut World) -> Device {
    let device = world.device();
    let (db, table) = device.open().await;
    ingest(&table, 0, 10, 1).await;
    db.flush().await.unwrap();
    ingest(&table, 10, 15, 2).await;
    db.close().await.unwrap();
    device.cut(true);
    device
}
