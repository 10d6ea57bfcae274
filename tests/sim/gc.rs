//! gc by the letter of PROTOCOL G3, of the test's own: the head by LIST, the highest checkpoint older than
//! the grace time by the store's time, LIST of the files, `OrphanFloor` through the log, the fence, then
//! deletions, ascending. It frees earlier than `Db::gc` may: records need not be a day old.

use super::{
    client::SimStore,
    clock::SimRuntime,
    device::Open,
    world::{GRACE, Sim},
};
use lakeshore::{
    Error, ErrorKind, GcOptions, Result,
    env::{Runtime, Storage},
    log::{
        checkpoint::decode_checkpoint,
        clock::StoreTime,
        edit::Edit,
        record::{Record, digest, encode_object, seq_of},
        store::{Fence, LogStore, Slot},
        version::Version,
    },
    sstable::meta::{Ulid, object_key},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// The engine's own, or this one.
pub async fn run(sim: &Sim, open: &Open) {
    if sim.chance(500) {
        if let Err(e) = open.db.gc(GcOptions::default()).await {
            sim.failed(open.pid, "gc", &e);
        }
        return;
    }
    early(sim, open).await;
}

/// This one.
pub async fn early(sim: &Sim, open: &Open) {
    let storage: Arc<dyn Storage> = Arc::new(SimStore::new(sim, open.pid));
    let runtime: Arc<dyn Runtime> = Arc::new(SimRuntime {
        sim: sim.clone(),
        pid: open.pid,
    });
    let log = LogStore::new(storage.clone(), runtime.clone(), 5, 4);
    let runtime = StoreTime::new(runtime, storage.clone());
    if let Err(e) = gc(sim, &log, &storage, &runtime).await {
        sim.failed(open.pid, "gc", &e);
    }
}

async fn gc(
    sim: &Sim,
    log: &LogStore,
    storage: &Arc<dyn Storage>,
    runtime: &Arc<dyn Runtime>,
) -> Result<()> {
    for _ in 0..8 {
        let loaded = log.load().await?;
        let fence = Fence {
            proof: loaded.proof,
            counts_for: Duration::from_micros(GRACE / 2),
        };
        let Some(old) = old_checkpoint(sim, storage).await? else {
            return Ok(());
        };
        let files = storage.list("data/", None).await?;
        let floor = floor(runtime.as_ref(), loaded.version.orphan_floor);
        let record = floor_record(&loaded.version, floor, runtime.as_ref());
        let body = record.encode();
        let (own, bytes) = ((record.seq, digest(&body)), encode_object(&body, &[]));
        match log.put_record(own, &bytes, &fence).await? {
            Slot::Won(_) => {}
            Slot::Lost(_) | Slot::Freed => continue,
        }
        let Some(live) = live(log, &old, loaded.version.head.seq).await? else {
            return Ok(());
        };
        return delete(
            sim,
            storage,
            &old,
            &live,
            files.into_iter().map(|f| f.key),
            floor,
        )
        .await;
    }
    Ok(())
}

/// The highest checkpoint that was written before the grace time began.
async fn old_checkpoint(sim: &Sim, storage: &Arc<dyn Storage>) -> Result<Option<Version>> {
    for object in storage.list("checkpoint/", None).await?.iter().rev() {
        let old = is_old(sim, &object.key);
        if let (true, Some(bytes)) = (old, storage.get(&object.key).await?) {
            return decode_checkpoint(&object.key, &bytes).map(Some);
        }
    }
    Ok(None)
}

/// By the store's time.
fn is_old(sim: &Sim, key: &str) -> bool {
    let world = sim.world();
    let written = world.store.objects.get(key).map(|(_, at)| *at);
    written.is_some_and(|at| at + GRACE < world.now)
}

fn floor(runtime: &dyn Runtime, least: Ulid) -> Ulid {
    let millis = (runtime.now_micros() - GRACE as i64).max(0) as u64 / 1000;
    let mut floor = [0xFF; 16];
    floor[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Ulid(floor).max(least)
}

fn floor_record(version: &Version, floor: Ulid, runtime: &dyn Runtime) -> Record {
    let mut random = [0; 8];
    runtime.random(&mut random);
    Record {
        database: version.database.unwrap_or_default(),
        seq: version.head.seq + 1,
        prev: version.head.digest,
        ts: runtime.now_micros().max(version.head.ts + 1),
        writer: [0; 16],
        nonce: u64::from_le_bytes(random),
        edits: vec![Edit::OrphanFloor { ulid: floor }],
    }
}

/// Files of the checkpoint, and those added after it up to the floor's record. Nothing where the log does
/// not lead there any more: somebody else's gc was quicker.
async fn live(log: &LogStore, old: &Version, head: u64) -> Result<Option<BTreeSet<String>>> {
    let Ok(found) = log.read_after(old.head.seq, old.head.digest).await? else {
        return Ok(None);
    };
    if old.head.seq + (found.len() as u64) < head {
        return Ok(None);
    }
    let of_old = old
        .files
        .iter()
        .flat_map(|(table, files)| files.iter().map(|file| object_key(*table, file.meta.id)));
    let mut live: BTreeSet<String> = of_old.collect();
    for edit in found.iter().flat_map(|f| &f.record.edits) {
        if let Edit::AddSstable { table, meta, .. } = edit {
            live.insert(object_key(*table, meta.id));
        }
    }
    Ok(Some(live))
}

async fn delete(
    sim: &Sim,
    storage: &Arc<dyn Storage>,
    old: &Version,
    live: &BTreeSet<String>,
    files: impl Iterator<Item = String>,
    floor: Ulid,
) -> Result<()> {
    for folder in ["log/", "checkpoint/"] {
        for object in storage.list(folder, None).await? {
            if seq_of(&object.key).is_some_and(|seq| seq < old.head.seq) {
                storage.delete(&object.key).await?;
            }
        }
    }
    for key in files {
        let name = key
            .rsplit('/')
            .next()
            .and_then(|n| n.strip_suffix(".parquet"));
        let name =
            name.ok_or_else(|| Error::new(ErrorKind::Internal, format!("{key} in data/")))?;
        if !live.contains(&key) && name <= floor.to_string().as_str() && is_old(sim, &key) {
            storage.delete(&key).await?;
        }
    }
    Ok(())
}
