//! Those who wait where no call may wake another: each looks again by a timer of its own. Pure. Invariant: the first in
//! line is the one who asked first of those who still look: who does not has no place, by the clock, or, where that
//! stands still, by how often another looked meanwhile. Should it look again it has its place again.

use std::{collections::BTreeMap, time::Duration};

/// Who did not look for so long keeps nobody waiting.
const LEFT: Duration = Duration::from_secs(2);

/// Places, by number in the order of asking.
#[derive(Default)]
pub(super) struct Line {
    /// When each was there last, and at which look.
    places: BTreeMap<u64, (Duration, u64)>,
    next: u64,
    looks: u64,
    granted: u64,
}

impl Line {
    /// The number of a place behind all others.
    pub(super) fn next_place(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// It is there now. How often somebody in line got what it asked for so far.
    pub(super) fn look(&mut self, place: u64, now: Duration) -> u64 {
        self.looks += 1;
        self.places.insert(place, (now, self.looks));
        self.granted
    }

    /// The first that is there.
    pub(super) fn first(&self, now: Duration) -> Option<u64> {
        let mut places = self.places.iter();
        let first = places.find(|(_, (seen, _))| now.saturating_sub(*seen) <= LEFT);
        first.map(|(place, _)| *place)
    }

    /// How often anybody looked.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    /// Those who did not look since then have left.
    pub(super) fn forget_the_gone(&mut self, since: u64) {
        self.places.retain(|_, (_, look)| *look > since);
    }

    /// It got what it asked for; nothing to note of who has no place.
    pub(super) fn granted(&mut self, place: Option<u64>) {
        self.granted += u64::from(place.is_some());
    }

    pub(super) fn leave(&mut self, place: u64) {
        self.places.remove(&place);
    }
}
