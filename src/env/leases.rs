//! Who was heard of when: where a call may vanish with what it holds ([`super::Memory::without_waiting`]).
//! Pure. Invariant: a holder counts from its beginning to its end, or until it is written off; whoever is
//! heard of after that counts again.

use std::{collections::BTreeMap, time::Duration};

/// Holders by number.
#[derive(Default)]
pub(super) struct Leases {
    next: u64,
    held: BTreeMap<u64, Lease>,
}

struct Lease {
    bytes: usize,
    seen: Duration,
}

impl Leases {
    /// A new holder.
    pub(super) fn begin(&mut self, bytes: usize, now: Duration) -> u64 {
        self.next += 1;
        self.set(self.next, bytes, now);
        self.next
    }

    /// It is there, and holds so much; what it counted for until now.
    pub(super) fn set(&mut self, holder: u64, bytes: usize, now: Duration) -> usize {
        let lease = Lease { bytes, seen: now };
        let before = self.held.insert(holder, lease);
        before.map_or(0, |before| before.bytes)
    }

    /// It has ended; what it counted for.
    pub(super) fn end(&mut self, holder: u64) -> usize {
        self.held.remove(&holder).map_or(0, |lease| lease.bytes)
    }

    /// Writes off who was last heard of before `since`; the bytes.
    pub(super) fn write_off(&mut self, since: Duration) -> usize {
        let mut bytes = 0;
        self.held.retain(|_, lease| {
            let there = lease.seen >= since;
            bytes += if there { 0 } else { lease.bytes };
            there
        });
        bytes
    }
}
