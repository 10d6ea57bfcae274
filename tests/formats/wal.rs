//! The device WAL through its public door: what is written, when it is synced, what is truncated.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests may.

use crate::support::wal as support;

use bytes::Bytes;
use futures_util::FutureExt;
use lakeshore::{
    Error, ErrorKind, SyncPolicy,
    env::Storage,
    platform::{memory::Memory, native::Directory},
    wal::{FrameKind, WalWriter, replay, replay_with},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use support::{DB, TestRuntime, Wal, body, key, noise, now, one, options, writer};

#[test]
fn commits_come_back_as_they_were_appended() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    let empty = now(replay(&wal.store)).unwrap();
    assert!(empty.commits.is_empty() && empty.database.is_none() && empty.last_stamp.is_none());
    assert_eq!(wal.store.files(), [], "opening writes nothing");

    wal.append(&[one(10, "first"), one(12, "")]).unwrap();
    let mut delete = body(9, noise(100_000, 3));
    delete.kind = FrameKind::Delete;
    wal.append(&[(11, vec![body(1, "a"), delete, body(2, noise(33, 1))])])
        .unwrap();
    wal.append(&[]).unwrap();
    wal.check();
    let replayed = now(replay(&wal.store)).unwrap();
    assert_eq!(replayed.database, Some(DB));
    assert_eq!(replayed.last_stamp, Some(12));
    assert_eq!(replayed.bytes, wal.writer.bytes());
    assert_eq!(wal.keys(), [key(1)]);
    let commit = &replayed.commits[2];
    assert_eq!((commit.first, commit.last), (3, 5));
    assert_eq!(commit.session, wal.writer.session());
    for frame in &commit.frames {
        let aligned = frame.payload.as_ptr() as usize % 16;
        assert_eq!(aligned, 0, "Arrow needs no copy");
    }
}

#[test]
fn a_small_append_is_one_write_and_a_large_payload_is_not_copied() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a"), one(2, "b"), one(3, "c")])
        .unwrap();
    assert_eq!((wal.store.writes(), wal.store.syncs()), (1, 1));
    wal.append(&[one(4, noise(100_000, 1))]).unwrap();
    assert!(wal.store.writes() <= 4 && wal.store.syncs() == 2);
    wal.check();
}

#[test]
fn segments_rotate_by_size_and_never_split_a_commit() {
    let mut wal = Wal::new(SyncPolicy::Never, 512);
    for i in 0..20 {
        let frames = (0..1 + i % 4).map(|t| body(t, noise(70, i as usize)));
        wal.append(&[(i64::from(i), frames.collect())]).unwrap();
    }
    wal.append(&[one(20, noise(2_000, 1))]).unwrap();
    wal.append(&[one(21, "after a commit above the segment size")])
        .unwrap();
    wal.check();
    let keys = wal.keys();
    let expected: Vec<_> = (1..=keys.len() as u64).map(key).collect();
    assert!(keys.len() > 8);
    assert_eq!(keys, expected);
    let syncs = wal.store.syncs();
    assert_eq!(syncs, keys.len() - 1, "each predecessor, once");
    for (key, bytes) in wal.store.files() {
        assert!(bytes.len() <= 512 || wal.large(&key), "{key}");
    }
}

#[test]
fn each_opening_is_a_session_with_a_segment_of_its_own() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    for i in 0..4 {
        wal.reopen();
        assert_eq!(wal.keys().len(), i, "a segment is begun lazily");
        wal.append(&[one(i as i64, "x")]).unwrap();
        wal.check();
    }
    let mut sessions: Vec<_> = wal.written.iter().map(|c| c.session).collect();
    sessions.dedup();
    assert_eq!(sessions.len(), 4);
    assert!(wal.written.iter().all(|c| c.first == 1));
}

#[test]
fn what_replay_found_is_made_durable_before_anything_is_written_behind_it() {
    let mut wal = Wal::new(SyncPolicy::Never, 1 << 20);
    wal.append(&[one(1, "only in the page cache")]).unwrap();
    wal.reopen();
    assert_eq!(wal.store.syncs(), 0);
    wal.append(&[one(2, "next")]).unwrap();
    assert_eq!(wal.store.syncs(), 1);
    wal.store.power_cut(|_| (0, 0));
    assert_eq!(wal.replayed(), wal.written[..1]);

    let mut wal = Wal::new(SyncPolicy::Never, 1 << 20);
    wal.append(&[one(1, "only in the page cache")]).unwrap();
    wal.reopen();
    now(wal.writer.sync()).unwrap();
    wal.store.power_cut(|_| (0, 0));
    wal.check();
}

#[test]
fn policies_say_when_an_append_is_synced() {
    let syncs = |policy, step: Duration| {
        let mut wal = Wal::new(policy, 1 << 20);
        for i in 0..10 {
            *wal.runtime.clock.lock().unwrap() += step;
            wal.append(&[one(i, noise(1000 - 64, 1))]).unwrap();
        }
        let syncs = wal.store.syncs();
        now(wal.writer.close()).unwrap();
        wal.store.power_cut(|_| (0, 0));
        wal.check();
        syncs
    };
    let second = Duration::from_secs(1);
    assert_eq!(syncs(SyncPolicy::Always, second), 10);
    assert_eq!(syncs(SyncPolicy::Interval(3 * second), second), 3);
    assert_eq!(syncs(SyncPolicy::Interval(3 * second), 4 * second), 10);
    assert_eq!(syncs(SyncPolicy::Bytes(2500), second), 3);
    assert_eq!(syncs(SyncPolicy::Never, second), 0);
}

#[test]
fn truncation_deletes_covered_segments_and_leaves_an_empty_directory() {
    let mut wal = Wal::new(SyncPolicy::Always, 512);
    for i in 0..8 {
        wal.append(&[one(i, noise(100, i as usize))]).unwrap();
    }
    let first = wal.writer.session();
    wal.reopen();
    for i in 8..12 {
        wal.append(&[one(i, noise(100, i as usize))]).unwrap();
    }
    let second = wal.writer.session();
    let total = wal.writer.bytes();
    let truncate = |wal: &mut Wal, floors: &[([u8; 16], u64)]| {
        let floors: HashMap<_, _> = floors.iter().copied().collect();
        let (dead, before) = (wal.writer.dead_bytes(&floors), wal.writer.bytes());
        let freed = now(wal.writer.truncate(&floors)).unwrap();
        assert_eq!((freed, before - freed), (dead, wal.writer.bytes()));
        freed
    };
    assert_eq!(truncate(&mut wal, &[]), 0);
    assert_eq!(truncate(&mut wal, &[(second, 99)]), 0, "oldest first");
    assert_eq!(truncate(&mut wal, &[(first, 1)]), 0, "a frame is pending");
    let freed = truncate(&mut wal, &[(first, 5)]);
    assert!(freed > 0);
    assert_eq!(wal.replayed(), wal.written[4..], "two commits a segment");
    truncate(&mut wal, &[(first, 8), (second, 3)]);
    assert_eq!(wal.replayed(), wal.written[10..]);
    truncate(&mut wal, &[(first, 8), (second, 4)]);
    assert_eq!((wal.keys().len(), wal.writer.bytes()), (0, 0));
    assert!(total > 0);

    wal.written.clear();
    wal.append(&[one(12, "and on")]).unwrap();
    assert_eq!(wal.written[0].first, 5, "the session's numbers go on");
    wal.check();
    wal.reopen();
    wal.append(&[one(13, "and on")]).unwrap();
    wal.check();
}

#[test]
fn truncation_also_serves_segments_of_earlier_sessions_without_any_append() {
    let mut wal = Wal::new(SyncPolicy::Always, 512);
    for i in 0..8 {
        wal.append(&[one(i, noise(100, 1))]).unwrap();
    }
    let floors = HashMap::from([(wal.writer.session(), 8)]);
    wal.reopen();
    now(wal.writer.truncate(&floors)).unwrap();
    assert_eq!(wal.keys().len(), 0);
    wal.written.clear();
    wal.append(&[one(9, "x")]).unwrap();
    wal.check();
}

#[test]
fn a_full_disk_fails_the_append_and_the_next_one_goes_on() {
    for space in 0..400 {
        let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
        if space % 2 == 0 {
            wal.append(&[one(1, "before")]).unwrap();
        }
        wal.store.space(Some(space));
        let failed = wal.append(&[one(2, noise(100, 1)), one(3, noise(100, 2))]);
        if space < 112 + 64 {
            let failed = failed.as_ref().unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
            assert!(failed.message().contains("no space left"), "{failed}");
        }
        let nothing = failed.is_err() && wal.written.is_empty();
        wal.store.space(None);
        wal.append(&[one(4, "after")]).unwrap();
        assert!(
            !nothing || wal.keys().len() == 1,
            "a segment without commits is deleted"
        );
        wal.check();
        wal.reopen();
        wal.append(&[one(5, "after that")]).unwrap();
        wal.check();
    }
}

#[test]
fn frame_numbers_of_a_failed_append_are_not_used_again() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a")]).unwrap();
    wal.store.space(Some(30));
    wal.append(&[one(2, "b"), one(3, "c")]).unwrap_err();
    wal.store.space(None);
    assert_eq!(wal.append(&[one(4, "d")]).unwrap()[0].frame, 4);
    wal.check();
}

#[test]
fn a_dropped_append_is_not_continued() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a")]).unwrap();
    wal.store.stall(true);
    let commits = [one(2, "dropped")];
    assert!(wal.writer.append(DB, &commits).now_or_never().is_none());
    wal.store.stall(false);
    wal.append(&[one(3, "b")]).unwrap();
    wal.check();
    assert_eq!(wal.keys().len(), 2);
}

#[test]
fn after_a_failed_sync_the_writer_takes_no_more() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a")]).unwrap();
    wal.store.fail_syncs(1);
    let error = wal.append(&[one(2, "b")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    let refused = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("reopen the database"), "{error}");
    };
    refused(wal.append(&[one(3, "c")]).unwrap_err());
    refused(now(wal.writer.sync()).unwrap_err());
    refused(now(wal.writer.truncate(&HashMap::new())).unwrap_err());
    refused(now(wal.writer.close()).unwrap_err());
    wal.reopen();
    wal.append(&[one(4, "d")]).unwrap();
    assert_eq!(wal.replayed().len(), 3, "the unknown one was there");

    let mut wal = Wal::new(SyncPolicy::Never, 512);
    wal.append(&[one(1, noise(300, 1))]).unwrap();
    wal.store.fail_syncs(1);
    let not_written = wal.append(&[one(2, noise(300, 1))]).unwrap_err();
    assert_eq!(not_written.kind(), ErrorKind::Unavailable, "{not_written}");
    refused(wal.append(&[one(3, "c")]).unwrap_err());
    wal.check();
}

#[test]
fn a_closed_writer_takes_no_more() {
    let mut wal = Wal::new(SyncPolicy::Never, 1 << 20);
    wal.append(&[one(1, "a")]).unwrap();
    now(wal.writer.close()).unwrap();
    now(wal.writer.close()).unwrap();
    assert_eq!(wal.store.syncs(), 1);
    let error = wal.append(&[one(2, "b")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn a_wal_belongs_to_one_database() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a")]).unwrap();
    let before = wal.store.files();
    for _ in 0..2 {
        let error = now(wal.writer.append([0xee; 16], &[one(2, "b")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(&"ee".repeat(16)), "{error}");
        assert_eq!(wal.store.files(), before, "nothing was written");
        wal.reopen();
    }
}

#[test]
fn a_copied_wal_gives_its_frames_names_of_its_own() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "shared")]).unwrap();
    let copy = wal.store.copy();
    let tail = now(replay(&copy)).unwrap().tail;
    let runtime = TestRuntime::new(99);
    let options = options(SyncPolicy::Always, 1 << 20);
    let mut other = writer(&copy, &runtime, &options, tail);
    now(other.append(DB, &[one(2, "theirs")])).unwrap();
    wal.reopen();
    wal.append(&[one(2, "ours")]).unwrap();

    let [ours, theirs] = [wal.replayed(), now(replay(&copy)).unwrap().commits];
    assert_eq!(ours[0], theirs[0]);
    assert_eq!((ours[1].last, theirs[1].last), (1, 1));
    assert_ne!(ours[1].session, theirs[1].session);

    // A segment of the one in the directory of the other is noticed.
    let (name, bytes) = copy.files().pop().unwrap();
    wal.reopen();
    wal.append(&[one(3, "behind")]).unwrap();
    wal.store.set(&name, bytes);
    let error = now(replay(&wal.store)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&name), "{error}");
}

/// DESIGN promise 13. A holder that slept while another took the WAL begins a segment above the other's before
/// it hears of it: its late segment must not lead the chain away from what the other acknowledged.
#[test]
fn a_segment_that_a_holder_begins_after_it_lost_the_wal_counts_for_nothing() {
    let mut wal = Wal::new(SyncPolicy::Always, 256);
    wal.append(&[one(1, "of both")]).unwrap();
    let tail = now(replay(&wal.store)).unwrap().tail;
    let runtime = TestRuntime::new(99);
    let options = options(SyncPolicy::Always, 256);
    let mut next = writer(&wal.store, &runtime, &options, tail);
    now(next.append(DB, &[one(2, "acknowledged")])).unwrap();
    // The one before goes on, in the segment it has, and then in one above the other's.
    now(wal.writer.append(DB, &[one(3, "late")])).unwrap();
    now(wal.writer.append(DB, &[one(4, noise(300, 1))])).unwrap();
    assert!(wal.keys().len() > 2, "{:?}", wal.keys());
    now(next.append(DB, &[one(5, noise(300, 2))])).unwrap();
    let stamps = |commits: Vec<lakeshore::wal::Commit>| -> Vec<i64> {
        commits.iter().map(|commit| commit.stamp).collect()
    };
    assert_eq!(stamps(wal.replayed()), [1, 2, 5]);
    // Also before the other has written on, and for whoever comes after.
    assert_eq!(stamps(wal.reopen()), [1, 2, 5]);
    wal.append(&[one(6, "goes on")]).unwrap();
    assert_eq!(stamps(wal.replayed()), [1, 2, 5, 6]);
}

#[test]
fn segments_of_two_databases_are_told_apart() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a")]).unwrap();
    wal.reopen();
    wal.append(&[one(2, "b")]).unwrap();
    let mut other = Wal::new(SyncPolicy::Always, 1 << 20);
    now(other.writer.append([0xee; 16], &[one(1, "a")])).unwrap();
    wal.store.set(&key(1), other.store.files()[0].1.clone());
    let error = now(replay(&wal.store)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&"ee".repeat(16)), "{error}");
}

#[test]
fn other_files_beside_the_segments_are_left_alone() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    for name in ["lock", "1.wal", "99999999999999999999.wal", "x.wal"] {
        wal.store.set(name, b"not ours".to_vec());
    }
    wal.append(&[one(1, "a")]).unwrap();
    wal.check();
    let floors = HashMap::from([(wal.writer.session(), 1)]);
    now(wal.writer.truncate(&floors)).unwrap();
    assert_eq!(wal.keys().len(), 4);
}

#[test]
fn an_error_of_the_caller_ends_replay() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a"), one(2, "b"), one(3, "c")])
        .unwrap();
    let mut seen = 0;
    let result = now(replay_with(&wal.store, None, &mut |commit| {
        seen += 1;
        match commit.stamp {
            2 => Err(Error::new(ErrorKind::Invalid, "enough")),
            _ => Ok(()),
        }
    }));
    assert_eq!((result.unwrap_err().message(), seen), ("enough", 2));
}

#[test]
fn the_format_is_that_of_the_golden_file() {
    let mut wal = Wal::new(SyncPolicy::Always, 512);
    let mut delete = body(7, "keys to delete");
    delete.kind = FrameKind::Delete;
    delete.schema_version = 0x0102_0304;
    let stamp = 1_764_000_000_000_000;
    wal.append(&[(stamp, vec![body(5, "rows"), delete])])
        .unwrap();
    wal.append(&[one(stamp + 1, "sixteen bytes :)")]).unwrap();
    wal.append(&[
        one(stamp + 2, ""),
        one(stamp + 3, "the first segment is full, this begins another"),
    ])
    .unwrap();
    let mut found = String::new();
    for (name, bytes) in wal.store.files() {
        found += &format!("{name}\n");
        for line in bytes.chunks(16) {
            let hex: Vec<_> = line.iter().map(|b| format!("{b:02x}")).collect();
            found += &format!("{}\n", hex.join(" "));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wal-v1.hex");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        found, golden,
        "the format changed: old WALs become unreadable"
    );
}

/// Reading takes what was written by any version 1, so from the file, not from this writer.
#[test]
fn the_golden_file_is_read() {
    let store = support::WalStore::default();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wal-v1.hex");
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        match files.last_mut().filter(|_| !line.ends_with(".wal")) {
            Some((_, bytes)) => {
                let digits = line.split(' ').map(|b| u8::from_str_radix(b, 16).unwrap());
                bytes.extend(digits);
            }
            None => files.push((line.to_owned(), Vec::new())),
        }
    }
    assert_eq!(files.len(), 2);
    for (name, bytes) in files {
        store.set(&name, bytes);
    }
    let commits = now(replay(&store)).unwrap().commits;
    let payloads = commits.iter().flat_map(|c| &c.frames).map(|f| &f.payload);
    let expected = [
        "rows",
        "keys to delete",
        "sixteen bytes :)",
        "",
        "the first segment is full, this begins another",
    ];
    assert_eq!(
        payloads.collect::<Vec<&Bytes>>(),
        expected.map(Bytes::from).each_ref()
    );
    assert_eq!(commits[0].frames[1].schema_version, 0x0102_0304);
    let tail = now(replay(&store)).unwrap().tail;
    let runtime = TestRuntime::new(1);
    let mut writer = writer(&store, &runtime, &options(SyncPolicy::Always, 512), tail);
    now(writer.append(DB, &[one(1, "goes on")])).unwrap();
    assert_eq!(now(replay(&store)).unwrap().commits.len(), 5);
}

/// The same over the stores that ship, in memory and on disk.
#[tokio::test]
async fn the_stores_that_ship_hold_a_wal() {
    let folder = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn Storage>; 2] = [Memory::new(), Directory::open(folder.path())];
    for store in stores {
        let runtime = TestRuntime::new(5);
        let options = options(SyncPolicy::Always, 512);
        let mut written = Vec::new();
        for round in 0..4_u64 {
            let replayed = replay(&*store).await.unwrap();
            let stamps: Vec<_> = replayed.commits.iter().map(|c| c.stamp).collect();
            assert_eq!(stamps, written, "{store:?}");
            assert_eq!(replayed.bytes, store_bytes(&*store).await);
            let tail = replayed.tail;
            let mut writer = WalWriter::new(store.clone(), runtime.clone(), &options, tail);
            for _ in 0..5 {
                let stamp = written.len() as i64;
                let commit = one(stamp, noise(150, 1));
                writer.append(DB, &[commit]).await.unwrap();
                written.push(stamp);
            }
            assert_eq!(writer.bytes(), store_bytes(&*store).await);
            if round == 2 {
                writer.close().await.unwrap();
            }
        }
        let replayed = replay(&*store).await.unwrap();
        let floors = replayed.commits.iter().map(|c| (c.session, c.last));
        let floors = floors.collect();
        let mut writer = WalWriter::new(store.clone(), runtime, &options, replayed.tail);
        writer.truncate(&floors).await.unwrap();
        assert_eq!((store_bytes(&*store).await, writer.bytes()), (0, 0));
        assert_eq!(store.list("", None).await.unwrap(), []);
    }
}

async fn store_bytes(store: &dyn Storage) -> u64 {
    let listed = store.list("", None).await.unwrap();
    listed.iter().map(|object| object.size).sum()
}
