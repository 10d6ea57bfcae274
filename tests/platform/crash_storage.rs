//! The crash store itself: it conforms, it loses exactly what was not durable, and it can be made to
//! stop anywhere. A checker that cannot fail proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use bytes::Bytes;
use futures_executor::block_on;
use lakeshore::{Result, env::Storage};
use std::{collections::BTreeSet, sync::Arc};
use support::{
    conformance::{self, Excused},
    crash::{CrashStorage, When},
};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn read(store: &CrashStorage, key: &str) -> Option<String> {
    let bytes = store.objects().remove(key)?;
    Some(String::from_utf8(bytes).unwrap())
}

/// A small protocol: an intent in a log, an object, the intent's end.
async fn commit(store: &dyn Storage, acknowledged: &mut Vec<u32>) -> Result<()> {
    let mut log = store.append("wal/1").await?;
    for i in 0..4 {
        log.write(bytes(&format!("{i};"))).await?;
        log.sync().await?;
        acknowledged.push(i);
        if i == 1 {
            store.put("CURRENT", bytes("1")).await?;
        }
    }
    Ok(())
}

#[test]
fn it_conforms() {
    let make = || Arc::new(CrashStorage::new(1)) as Arc<dyn Storage>;
    block_on(conformance::run(make, Excused::default()));
    let world = CrashStorage::new(1);
    let turn = std::cell::Cell::new(0);
    let make = || {
        turn.set(turn.get() + 1);
        world.at(&format!("store{}", turn.get())) as Arc<dyn Storage>
    };
    block_on(conformance::run(make, Excused::default()));
}

#[test]
fn what_was_acknowledged_survives_a_stop_at_every_operation_and_every_crash() {
    let whole = CrashStorage::new(0);
    block_on(commit(&whole, &mut Vec::new())).unwrap();
    assert_eq!(whole.operations(), 10);
    assert_eq!(losses(false), 0);
}

#[test]
fn the_planted_mutant_loses_what_was_acknowledged() {
    assert!(losses(true) > 100);
}

/// How often an acknowledged write was lost, over every operation, way to stop and some seeds.
fn losses(ignore_sync: bool) -> usize {
    let mut lost = 0;
    for at in 0..=10 {
        for when in [When::Before, When::Within, When::After] {
            for seed in 0..16 {
                let store = CrashStorage::new(seed);
                store.ignore_sync(ignore_sync);
                store.stop_at(at, when);
                let mut acknowledged = Vec::new();
                let done = block_on(commit(&store, &mut acknowledged));
                assert_eq!(done.is_ok(), at == 10, "{:#?}", store.trace());
                assert!(at == 10 || block_on(store.get("CURRENT")).is_err());
                let after = store.crash(seed);
                let log = after.objects().remove("wal/1").unwrap_or_default();
                let wanted: String = acknowledged.iter().map(|i| format!("{i};")).collect();
                lost += usize::from(!log.starts_with(wanted.as_bytes()));
                if acknowledged.len() > 2 {
                    assert_eq!(read(&after, "CURRENT").as_deref(), Some("1"));
                }
            }
        }
    }
    lost
}

#[test]
fn a_power_cut_tears_zeroes_drops_or_keeps_what_was_not_synced() {
    let store = CrashStorage::new(0);
    block_on(async {
        let mut log = store.append("wal/1").await.unwrap();
        log.write(bytes("synced ")).await.unwrap();
        log.sync().await.unwrap();
        log.write(bytes("not synced")).await.unwrap();
        let mut unnamed = store.append("wal/2").await.unwrap();
        unnamed.write(bytes("x")).await.unwrap();
    });
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let after = store.crash(seed);
        let log = read(&after, "wal/1").unwrap();
        let rest = log.strip_prefix("synced ").unwrap();
        let kept = rest.trim_end_matches('\0');
        assert!("not synced".starts_with(kept), "{rest:?}");
        seen.insert(match (kept.len(), rest.len()) {
            (0, 0) => "dropped",
            (10, 10) => "kept",
            (_, 10) => "zeroed",
            _ => "torn",
        });
        seen.insert(match read(&after, "wal/2").as_deref() {
            None => "no name",
            Some("") => "only a name",
            Some(_) => "a name and bytes",
        });
        assert_eq!(
            after.objects(),
            store.crash(seed).objects(),
            "the seed decides"
        );
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    // A killed process loses nothing, and what it leaves is still not durable.
    let killed = store.kill();
    assert_eq!(killed.objects(), store.objects());
    assert!((0..50).any(|seed| read(&killed.crash(seed), "wal/2").is_none()));
}

#[test]
fn deletions_come_back_until_the_directory_is_written_again() {
    let store = CrashStorage::new(0);
    let undone = |store: &CrashStorage| {
        let back = |seed: &u64| read(&store.crash(*seed), "wal/1").is_some();
        (0..50).filter(back).count()
    };
    block_on(async {
        store.put("wal/1", bytes("1")).await.unwrap();
        store.delete("wal/1").await.unwrap();
        assert_eq!(store.get("wal/1").await.unwrap(), None);
        store.put("elsewhere/2", bytes("2")).await.unwrap();
        assert!((1..50).contains(&undone(&store)));
        store.put("wal/2", bytes("2")).await.unwrap();
        assert_eq!(undone(&store), 0);
    });
}

#[test]
fn one_fault_leaves_the_effect_or_not_and_the_store_goes_on() {
    for (when, expected) in [(When::Before, None), (When::After, Some("x"))] {
        let store = CrashStorage::new(0);
        store.fail_at(1, when);
        block_on(async {
            store.put("a", bytes("a")).await.unwrap();
            store.put_if_absent("k", bytes("x")).await.unwrap_err();
            assert_eq!(read(&store, "k").as_deref(), expected);
            store.put("b", bytes("b")).await.unwrap();
        });
        assert!(!store.is_stopped());
        assert!(store.trace()[1].contains("FAIL"), "{:?}", store.trace());
    }
    let outcome = |seed| {
        let store = CrashStorage::new(seed);
        store.fail_at(0, When::Within);
        block_on(store.put("k", bytes("x"))).unwrap_err();
        read(&store, "k").is_some()
    };
    let outcomes: BTreeSet<bool> = (0..20).map(outcome).collect();
    assert_eq!(outcomes.len(), 2);
}
