//! Every store that runs natively keeps the invariants of `Storage`: the same checks over each.
#![allow(clippy::unwrap_used)]

use crate::support;

use fusio::{disk::TokioFs, mem::fs::InMemoryFs};
use lakeshore::{
    env::Storage,
    platform::{memory::Memory, native::Directory, over_fusio::OverFusio},
};
use std::{cell::RefCell, path::PathBuf, sync::Arc};
use support::conformance::{self, Excused};
use tempfile::TempDir;

/// For all but one of the stores that wait for a disk.
const SLOW: Excused = Excused {
    replacing_hides: false,
    slow: true,
    no_wal: false,
};

/// Fresh directories that live as long as the test.
#[derive(Default)]
struct Directories(RefCell<Vec<TempDir>>);

impl Directories {
    fn fresh(&self) -> PathBuf {
        let made = tempfile::tempdir().unwrap();
        let path = made.path().join("not/yet/there");
        self.0.borrow_mut().push(made);
        path
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conformance::run(|| Memory::new(), Excused::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_conforms() {
    let directories = Directories::default();
    conformance::run(|| Directory::open(directories.fresh()), Excused::default()).await;
}

#[test]
fn a_directory_conforms_outside_of_tokio() {
    let directories = Directories::default();
    let make = || Directory::open(directories.fresh()) as Arc<dyn Storage>;
    futures_executor::block_on(conformance::run(make, SLOW));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_as_a_fusio_store_conforms() {
    conformance::run(
        || OverFusio::new((*Memory::new()).clone()),
        Excused::default(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_as_a_fusio_store_conforms() {
    let directories = Directories::default();
    let make =
        || OverFusio::new((*Directory::open(directories.fresh())).clone()) as Arc<dyn Storage>;
    conformance::run(make, SLOW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fusios_own_memory_conforms() {
    conformance::run(|| OverFusio::new(InMemoryFs::new()), Excused::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fusios_own_disk_conforms() {
    let directories = Directories::default();
    let make = || {
        let root = directories.fresh();
        OverFusio::linking(TokioFs, root.to_str().unwrap()) as Arc<dyn Storage>
    };
    let excused = Excused {
        replacing_hides: true,
        ..SLOW
    };
    conformance::run(make, excused).await;
}

#[tokio::test]
async fn a_directory_and_a_memory_with_a_clock_tell_when_objects_were_written() {
    use conformance::a_listing_tells_when_objects_were_written_or_nothing as tells;
    let directories = Directories::default();
    assert!(tells(Directory::open(directories.fresh())).await);
    let memory = Memory::new();
    assert!(!tells(memory.clone()).await);
    memory.set_clock(|| 1_700_000_000_000_007);
    memory.put("x", bytes::Bytes::new()).await.unwrap();
    let listed = memory.list("x", None).await.unwrap();
    assert_eq!(listed[0].modified, Some(1_700_000_000_000_007));
    assert!(!tells(OverFusio::new((*memory).clone())).await);
}
