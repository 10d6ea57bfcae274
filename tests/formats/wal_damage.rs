//! Crashes and damage: a WAL that was cut, torn or zeroed at its end gives an exact earlier state; any
//! other damage is `Corrupt` with its place.
// Tests may; and they are boxed by real time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use crate::support::wal as support;

use lakeshore::{
    Error, ErrorKind, SyncPolicy,
    wal::{Commit, replay},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use support::{HEADER, TestRuntime, Wal, WalStore, body, key, noise, now, one};

/// Three segments of two sessions; the last one holds three appends.
fn three_segments() -> Wal {
    let mut wal = Wal::new(SyncPolicy::Always, 800);
    for i in 0..4 {
        let frames = vec![body(1, noise(50, i)), body(2, noise(130, i + 9))];
        wal.append(&[(i as i64, frames)]).unwrap();
    }
    wal.reopen();
    for i in 4..7 {
        wal.append(&[one(i as i64, noise(60, i))]).unwrap();
    }
    assert_eq!(wal.keys(), [key(1), key(2), key(3)]);
    wal
}

fn outcome(store: &WalStore) -> Result<Vec<Commit>, Error> {
    now(replay(store)).map(|replayed| replayed.commits)
}

fn assert_corrupt(error: &Error, name: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let place = [name, "test memory", "offset"];
    assert!(place.iter().all(|p| error.message().contains(p)), "{error}");
}

#[test]
fn a_wal_cut_at_any_byte_of_its_last_segment_gives_an_exact_earlier_state() {
    let wal = three_segments();
    let (name, last) = wal.store.files().pop().unwrap();
    let each = 64 + 64;
    for cut in 0..=last.len() {
        for zeros in [0, 1, 600] {
            let mut bytes = last[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            wal.store.set(&name, bytes);
            // The zeros of a cut padding were zeros before.
            let whole = (HEADER..=cut).step_by(each).skip(1).count();
            let found = outcome(&wal.store).unwrap();
            let padded = (cut + zeros).saturating_sub(HEADER) / each;
            assert!(found.len() == 4 + whole || zeros > 0 && found.len() <= 4 + padded);
            assert_eq!(found, wal.written[..found.len()], "cut at {cut}");
        }
    }
    wal.store.remove(&name);
    assert_eq!(outcome(&wal.store).unwrap(), wal.written[..4]);
}

#[test]
fn writing_goes_on_behind_any_torn_tail() {
    let full = three_segments();
    let (name, last) = full.store.files().pop().unwrap();
    for cut in (0..last.len()).step_by(7) {
        let mut wal = three_segments();
        wal.store.set(&name, last[..cut].to_vec());
        for round in 0..3 {
            wal.written = wal.reopen();
            wal.append(&[one(100 + round, noise(40, 1)), one(200 + round, "b")])
                .unwrap();
            wal.check();
        }
        let sessions = wal.written.iter().map(|c| (c.session, u64::MAX));
        now(wal.writer.truncate(&sessions.collect())).unwrap();
        assert_eq!(wal.keys().len(), 0, "debris goes, too");
    }
}

#[test]
fn a_flipped_bit_is_corrupt_with_its_place_or_the_last_append_is_not_there() {
    let wal = three_segments();
    let files = wal.store.files();
    let last_append = files[2].1.len() - 128;
    for (index, (name, bytes)) in files.iter().enumerate() {
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            wal.store.set(name, flipped);
            match outcome(&wal.store) {
                Err(error) => assert_corrupt(&error, name),
                Ok(found) => {
                    assert!(
                        index == 2 && at >= last_append,
                        "{name} byte {at} was missed"
                    );
                    assert_eq!(found, wal.written[..6], "{name} byte {at}");
                }
            }
        }
        wal.store.set(name, bytes.clone());
    }
}

#[test]
fn damage_before_the_last_segment_is_corrupt() {
    let wal = three_segments();
    let files = wal.store.files();
    for (name, bytes) in &files[..2] {
        for cut in 0..bytes.len() {
            wal.store.set(name, bytes[..cut].to_vec());
            assert_corrupt(&outcome(&wal.store).unwrap_err(), name);
        }
        wal.store.set(name, vec![0; bytes.len()]);
        assert_corrupt(&outcome(&wal.store).unwrap_err(), name);
        wal.store.set(name, bytes.clone());
    }
    wal.store.set(&key(1), files[1].1.clone());
    assert_corrupt(&outcome(&wal.store).unwrap_err(), &key(1));
    wal.store.set(&key(1), files[0].1.clone());

    wal.store.remove(&key(2));
    assert_corrupt(&outcome(&wal.store).unwrap_err(), &key(2));
    wal.store.remove(&key(1));
    let found = outcome(&wal.store).unwrap();
    assert_eq!(found, wal.written[4..], "as after a truncation");
}

#[test]
fn what_follows_the_end_that_a_successor_names_is_never_read() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a")]).unwrap();
    let (name, mut bytes) = wal.store.files().pop().unwrap();
    bytes.extend(noise(500, 1));
    wal.store.set(&name, bytes);
    assert_eq!(wal.reopen(), wal.written);
    wal.append(&[one(2, "b")]).unwrap();
    wal.check();
}

#[test]
fn half_a_commit_is_dropped() {
    let mut wal = Wal::new(SyncPolicy::Always, 1 << 20);
    wal.append(&[one(1, "a")]).unwrap();
    wal.append(&[(2, vec![body(1, "left"), body(2, "right")])])
        .unwrap();
    let (name, bytes) = wal.store.files().pop().unwrap();
    // Both frames are whole, then only the first one is.
    wal.check();
    wal.store.set(&name, bytes[..bytes.len() - 80].to_vec());
    wal.written.pop();
    assert_eq!(wal.reopen(), wal.written);
    wal.append(&[one(3, "b")]).unwrap();
    wal.check();
    // The same debris that no successor explains is damage.
    let (second, _) = wal.store.files().pop().unwrap();
    wal.store.remove(&second);
    assert_eq!(wal.replayed(), wal.written[..1]);
}

#[test]
fn an_unsynced_sector_that_never_reached_the_disk_ends_replay() {
    let build = |policy| {
        let mut wal = Wal::new(policy, 1 << 20);
        for i in 0..12 {
            wal.append(&[one(i, noise(400, i as usize))]).unwrap();
        }
        wal
    };
    let wal = build(SyncPolicy::Never);
    let (name, bytes) = wal.store.files().pop().unwrap();
    for sector in (0..bytes.len()).step_by(512) {
        let mut holed = bytes.clone();
        let end = bytes.len().min(sector + 512);
        holed[sector..end].fill(0);
        wal.store.set(&name, holed);
        let found = outcome(&wal.store).unwrap();
        let whole = sector.saturating_sub(HEADER) / (64 + 400);
        assert_eq!(found, wal.written[..whole], "sector at {sector}");
    }

    // A frame that was written, but not as it is now, is no hole.
    let (at, mut flipped) = (HEADER + 700, bytes.clone());
    flipped[at] ^= 1;
    wal.store.set(&name, flipped);
    assert_corrupt(&outcome(&wal.store).unwrap_err(), &name);

    // What had been synced cannot have been missing.
    let wal = build(SyncPolicy::Always);
    let (name, bytes) = wal.store.files().pop().unwrap();
    for sector in (0..bytes.len() - 1024).step_by(512) {
        let mut holed = bytes.clone();
        holed[sector..sector + 512].fill(0);
        wal.store.set(&name, holed);
        assert_corrupt(&outcome(&wal.store).unwrap_err(), &name);
    }
}

/// Changes a header's bytes at `at` and its checksum.
fn patch(store: &WalStore, name: &str, at: usize, value: &[u8]) {
    let (_, mut bytes) = store.files().into_iter().find(|f| f.0 == name).unwrap();
    bytes[at..at + value.len()].copy_from_slice(value);
    let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
    store.set(name, bytes);
}

#[test]
fn a_header_that_says_what_cannot_be_is_an_error_with_its_place() {
    let check = |number: u64, at, value: u64, place: u64, kind| {
        let wal = three_segments();
        patch(&wal.store, &key(number), at, &value.to_le_bytes());
        let error = outcome(&wal.store).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(&key(place)), "{error}");
    };
    let corrupt = ErrorKind::Corrupt;
    let (version, number, first, prev, prev_end) = (8, 48, 56, 64, 72);
    check(3, version, 2, 3, ErrorKind::Unsupported);
    check(3, number, 2, 3, corrupt);
    check(2, first, 1, 2, corrupt);
    check(3, prev, 3, 3, corrupt);
    check(3, prev, u64::MAX, 3, corrupt);
    let wal = three_segments();
    wal.store.remove(&key(3));
    let header = wal.store.files()[1].1[..HEADER].to_vec();
    wal.store.set(&key(2), header);
    assert_eq!(outcome(&wal.store).unwrap(), wal.written[..2]);
    patch(&wal.store, &key(2), first, &[4]);
    assert_corrupt(&outcome(&wal.store).unwrap_err(), &key(2));
    // Ends within a frame, between two frames of a commit, within the header, far beyond.
    for end in [112 + 100, 112 + 128, 3, u64::MAX] {
        check(3, prev_end, end, 2, corrupt);
    }
}

#[test]
fn random_bytes_never_panic() {
    let runtime = TestRuntime::new(seed());
    let until = Instant::now() + Duration::from_millis(700);
    while Instant::now() < until {
        let wal = three_segments();
        for _ in 0..1 + runtime.below(4) {
            let files = wal.store.files();
            let (name, mut bytes) = files[runtime.below(files.len())].clone();
            if bytes.len() < 16 {
                continue;
            }
            let at = runtime.below(bytes.len());
            match runtime.below(4) {
                0 => bytes.truncate(at),
                1 => bytes[at] = runtime.below(256) as u8,
                2 => bytes.rotate_left(16),
                _ => bytes[at..].fill(runtime.below(256) as u8),
            }
            wal.store.set(&name, bytes);
        }
        match outcome(&wal.store) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            Ok(found) => assert_eq!(found, wal.written[..found.len()]),
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 7919 + 1);
    eprintln!("SEED={seed}");
    seed
}

/// What must be in the WAL, by stamps: `written` up to any point at or behind `durable`, and there,
/// perhaps, some commits of an append that was not acknowledged.
struct Model {
    wal: Wal,
    random: std::sync::Arc<TestRuntime>,
    durable: usize,
    /// Commits that are certainly not truncated start here.
    floor: usize,
    ghosts: Vec<(usize, Vec<i64>)>,
    stamp: i64,
    /// Since it was opened: only then does closing make what was there before durable.
    appended: bool,
}

impl Model {
    fn new(random: std::sync::Arc<TestRuntime>) -> Self {
        let policies = [
            SyncPolicy::Always,
            SyncPolicy::Never,
            SyncPolicy::Bytes(1500),
            SyncPolicy::Interval(Duration::from_secs(3)),
        ];
        let policy = policies[random.below(4)];
        let wal = Wal::new(policy, 512 + random.below(3000) as u64);
        Self {
            wal,
            random,
            durable: 0,
            floor: 0,
            ghosts: Vec::new(),
            stamp: 0,
            appended: false,
        }
    }

    fn append(&mut self) {
        let mut commits = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            self.stamp += 1;
            let frames = 0..1 + self.random.below(3) as u32;
            let bytes = |r: &TestRuntime| noise(r.below(400), r.below(99));
            let frames = frames.map(|t| body(t, bytes(&self.random))).collect();
            commits.push((self.stamp, frames));
        }
        let before = self.wal.written.len();
        let result = self.wal.append(&commits);
        self.appended |= result.is_ok();
        match result {
            Ok(_) if self.wal.options.sync == SyncPolicy::Always => {
                self.durable = self.wal.written.len();
            }
            Ok(_) => {}
            Err(error) => {
                let kinds = [ErrorKind::Unavailable, ErrorKind::Unknown];
                assert!(kinds.contains(&error.kind()), "{error}");
                let stamps = commits.iter().map(|c| c.0).collect();
                self.ghosts.push((before, stamps));
            }
        }
    }

    fn sync(&mut self) {
        match now(self.wal.writer.sync()) {
            Ok(()) => self.durable = self.wal.written.len(),
            Err(_) => self.reopen(false),
        }
    }

    fn truncate(&mut self) {
        let written = &self.wal.written;
        if written.is_empty() {
            return;
        }
        let until = 1 + self.random.below(written.len());
        let commits = written[..until].iter();
        let floors: HashMap<_, _> = commits.map(|c| (c.session, c.last)).collect();
        if now(self.wal.writer.truncate(&floors)).is_ok() {
            self.floor = self.floor.max(until);
        }
    }

    fn reopen(&mut self, power_cut: bool) {
        self.wal.store.fail_syncs(0);
        self.wal.store.space(None);
        if power_cut {
            let random = self.random.clone();
            self.wal.store.power_cut(|unsynced| {
                let zeros = [0, 0, 16, 700][random.below(4)];
                match random.below(3) {
                    _ if unsynced == 0 => (0, 0),
                    0 => (unsynced, 0),
                    _ => (random.below(unsynced + 1), zeros),
                }
            });
        }
        let found = self.wal.reopen();
        let start = self.check(&found, power_cut);
        // Go on from what was found.
        self.durable = if power_cut { found.len() } else { 0 };
        self.wal.written = found;
        self.floor = 0;
        self.appended = false;
        // One that was cut may yet be completed, by zeros that follow it.
        let rest = |(at, ghost): &(usize, Vec<i64>)| {
            let found = |stamp: &&i64| self.wal.written.iter().any(|c| c.stamp == **stamp);
            let some = ghost.iter().take_while(found).count();
            Some(((at + some).checked_sub(start)?, ghost[some..].to_vec()))
        };
        self.ghosts = self.ghosts.iter().filter_map(rest).collect();
    }

    fn check(&self, found: &[Commit], power_cut: bool) -> usize {
        let written = &self.wal.written;
        let least = if power_cut {
            self.durable
        } else {
            written.len()
        };
        let stamps: Vec<i64> = found.iter().map(|c| c.stamp).collect();
        let nothing = (written.len(), Vec::new());
        let fits = |end: usize, ghost: &[i64]| {
            let known = found.len().checked_sub(ghost.len())?;
            let start = end.checked_sub(known)?;
            let same = found[..known] == written[start..end] && stamps[known..] == *ghost;
            (start <= self.floor && same).then_some(start)
        };
        let explained = (least..=written.len()).find_map(|end| {
            let here = self.ghosts.iter().filter(|(at, _)| *at == end);
            here.chain([&nothing])
                .find_map(|(_, ghost)| (0..=ghost.len()).find_map(|some| fits(end, &ghost[..some])))
        });
        let all: Vec<i64> = written.iter().map(|c| c.stamp).collect();
        let floor = self.floor;
        explained.unwrap_or_else(|| {
            let ghosts = &self.ghosts;
            panic!("found {stamps:?}\nof {all:?} from {floor}, durable {least}, ghosts {ghosts:?}")
        })
    }

    fn step(&mut self) {
        *self.wal.runtime.clock.lock().unwrap() += Duration::from_millis(400);
        match self.random.below(20) {
            0..11 => self.append(),
            11 => self.sync(),
            12 => self.truncate(),
            13 => self.wal.store.space(Some(self.random.below(2000))),
            14 => self.wal.store.space(None),
            15 => self.wal.store.fail_syncs(self.random.below(2)),
            16 | 17 => self.reopen(false),
            18 => self.reopen(true),
            _ => {
                if now(self.wal.writer.close()).is_ok() && self.appended {
                    self.durable = self.durable.max(self.wal.written.len());
                }
                let power_cut = self.random.below(2) == 0;
                self.reopen(power_cut);
            }
        }
    }
}

#[test]
fn random_crashes_lose_nothing_that_was_acknowledged_as_durable() {
    let random = TestRuntime::new(seed());
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let mut model = Model::new(random.clone());
        for _ in 0..60 {
            model.step();
        }
        model.reopen(true);
    }
}
