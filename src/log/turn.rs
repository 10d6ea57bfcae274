//! Whose turn it is to take the next slot (PROTOCOL C3). Pure. It saves requests and is fair; the slot
//! alone decides who wins, so nothing here can do harm, however wrong its guesses are.
//!
//! The last records say who else writes. Nobody else lately: put, at once. Else writers take turns, each
//! a few slots in a row, who wrote longest ago first. So a writer that waits knows how many records come
//! before its own, and by their pace when; then it reads the last of them, which has copies of the
//! others, and puts. A newcomer is in nobody's order. It tries, after random waits. A writer that knows of
//! nobody leaves a gap after every round: whoever met it counts its records, and comes in there. Among
//! several writers a newcomer reads along until there is a gap.

use super::chain::{MAX_COPIES, Past, Recent};
use std::time::Duration;

/// What a writer knows before it puts a record.
#[derive(Debug)]
pub struct Situation<'a> {
    /// This handle.
    pub me: [u8; 16],
    /// The last records it knows of.
    pub recent: &'a Recent,
    /// The monotonic clock, by which they were seen.
    pub now: Duration,
    /// What a request takes; zero if the clock stands still.
    pub round_trip: Duration,
    /// Slots that this record lost so far.
    pub lost: usize,
    /// How often this call looked since, …
    pub looks: usize,
    /// … and how often of late without finding anything.
    pub misses: usize,
    /// A random number.
    pub random: u64,
}

/// What it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Puts its record.
    Put,
    /// Waits, then reads the record so far `ahead` of its position, with those before it.
    Look {
        /// How long it waits.
        after: Duration,
        /// 1 is the next.
        ahead: u64,
    },
    /// Waits.
    Wait {
        /// How long.
        after: Duration,
    },
    /// Waits, then lists the log.
    List {
        /// How long it waits.
        after: Duration,
    },
}

/// Records nearer to each other than so many round trips leave no gap for another writer's.
const NO_GAP_TRIPS: f64 = 1.75;
/// A store that answers sooner needs no gaps; timers would make them long.
const FAR: Duration = Duration::from_millis(2);
/// Who has not written for so many round trips, and for a second, is gone.
const GONE_TRIPS: u32 = 128;
/// Slots of one round, and the most a writer takes of them in a row.
const ROUND: usize = 32;
const MOST_IN_A_ROW: usize = 8;
/// Looks before a writer puts in any case; one that finds no gap takes more.
const MAX_LOOKS: usize = 16;
const MAX_READ_ALONG: usize = 200;
/// A record that lost so many slots tries no more: it reads along until there is a gap.
const TRIES: usize = 8;
/// The longest wait of a try, in round trips.
const MAX_TRY_WAIT: u64 = 16;
/// How much sooner than expected a writer looks, so that the pace quickens where it can.
const HASTE: f64 = 0.9;
/// After so much of a round trip it looks again for what was not there yet.
const AGAIN: f64 = 0.4;
/// From so many records on there is a pace.
const MIN_PACE: usize = 4;
/// Records further apart than so many round trips leave gaps: nobody need wait for a turn.
const IDLE_TRIPS: u32 = 3;

/// Decides.
pub fn next(s: &Situation<'_>) -> Next {
    let lately = (s.round_trip * GONE_TRIPS).max(Duration::from_secs(1));
    let live: Vec<&Past> = (s.recent.newest_first())
        .take_while(|p| p.seen.is_some_and(|seen| age(s, seen) <= lately))
        .collect();
    let order = order(&live);
    let mine = order.iter().position(|writer| *writer == s.me);
    let others = order.len() - usize::from(mine.is_some());
    let Some(newest) = live.first().filter(|_| others > 0) else {
        return match s.looks == 0 && leaves_a_gap(s, &live) {
            true => Next::Wait {
                after: s.round_trip,
            },
            false => Next::Put,
        };
    };
    match mine {
        Some(at) if s.lost < 2 => take_turn(s, &live, newest, (at, others)),
        _ if s.lost < 2 => Next::Put,
        _ => break_in(s, &live, newest),
    }
}

/// Nobody else is known; but one that comes can never win a slot while this writer's requests follow each
/// other without a gap, at equal latencies not ever.
fn leaves_a_gap(s: &Situation<'_>, live: &[&Past]) -> bool {
    let at = |past: &Past| past.seen.unwrap_or_default();
    let follows = |later: Duration, earlier: Duration| {
        later.saturating_sub(earlier) < s.round_trip.mul_f64(NO_GAP_TRIPS)
    };
    let in_a_row = |live: &[&Past]| live.windows(2).all(|w| follows(at(w[0]), at(w[1])));
    s.round_trip >= FAR
        && live
            .first()
            .is_some_and(|newest| follows(s.now, at(newest)))
        && live.get(..ROUND).is_some_and(in_a_row)
}

/// A writer that the others know; `at` is its place in the order, the newest first.
fn take_turn(
    s: &Situation<'_>,
    live: &[&Past],
    newest: &Past,
    (at, others): (usize, usize),
) -> Next {
    if s.looks >= MAX_LOOKS {
        return Next::Put;
    }
    let age = age(s, newest.seen.unwrap_or_default());
    let gap = mean_gap(live);
    // So many records came since, if things went on as before: one look costs less than a lost slot.
    let missed = match (gap, s.looks) {
        (Some(gap), 0) => age.as_secs_f64() / gap.as_secs_f64().max(1e-6),
        _ => 0.0,
    };
    let run = live
        .iter()
        .take_while(|p| p.writer == newest.writer)
        .count();
    let most = (ROUND / (others + 1)).clamp(1, MOST_IN_A_ROW);
    let runs = 1 + live
        .windows(2)
        .filter(|w| w[0].writer != w[1].writer)
        .count();
    let usual = (live.len() as f64 / runs as f64).min(most as f64);
    let idle = gap.is_none_or(|gap| gap > s.round_trip * IDLE_TRIPS);
    let before = match at {
        _ if idle => 0.0,
        0 if run < most => 0.0,
        0 => others as f64 * usual,
        _ => (usual - run as f64).max(0.0) + (others - at) as f64 * usual,
    };
    let pace = gap.unwrap_or_default().max(s.round_trip);
    let ahead = (before.ceil() as u64).min(MAX_COPIES as u64 + 1);
    match (ahead, s.misses) {
        (0, 0) if missed >= 1.0 => Next::Look {
            after: Duration::ZERO,
            ahead: 1,
        },
        (0, _) => Next::Put,
        (_, 0) => Next::Look {
            after: pace.mul_f64(ahead as f64 * HASTE).saturating_sub(age),
            ahead,
        },
        (_, 1) => Next::Look { after: pace, ahead },
        (_, 2) => Next::List { after: pace / 2 },
        _ => Next::Put,
    }
}

/// A writer that the others do not know, or whose turn did not come.
fn break_in(s: &Situation<'_>, live: &[&Past], newest: &Past) -> Next {
    // Records of one clock arrive this much later than they were made; the least is the way itself.
    let late = |p: &Past| p.seen.unwrap_or_default().as_micros() as i64 - p.ts;
    let theirs = live.iter().filter(|p| p.writer == newest.writer);
    let least = theirs.map(|p| late(p)).min().unwrap_or(0);
    let behind = late(newest) - least > s.round_trip.as_micros() as i64;
    let to_gap = records_to_gap(s, live).filter(|_| s.looks < MAX_LOOKS);
    let reads_along = s.lost >= TRIES && s.misses == 0 && s.looks < MAX_READ_ALONG;
    match s.looks {
        0 => {
            let most = (1 << s.lost.min(10)).min(MAX_TRY_WAIT) as f64;
            let share = (s.random >> 11) as f64 / (1u64 << 53) as f64;
            Next::List {
                after: s.round_trip.mul_f64(most * share),
            }
        }
        1 => Next::Look {
            after: Duration::ZERO,
            ahead: 1,
        },
        _ if let Some((ahead @ 1.., pace)) = to_gap => Next::Look {
            after: match s.misses {
                0 => pace
                    .mul_f64(ahead as f64)
                    .saturating_sub(age(s, newest.seen.unwrap_or_default()))
                    .mul_f64(HASTE),
                _ => s.round_trip.mul_f64(AGAIN),
            },
            ahead,
        },
        _ if reads_along => Next::Look {
            after: s
                .round_trip
                .mul_f64(0.5 * (s.random >> 11) as f64 / (1u64 << 53) as f64),
            ahead: 1 + u64::from(behind),
        },
        _ => Next::Put,
    }
}

/// One writer alone takes all slots: so many records until it leaves a gap, and its pace.
fn records_to_gap(s: &Situation<'_>, live: &[&Past]) -> Option<(u64, Duration)> {
    let newest = live.first()?;
    let pace = |w: &[&Past]| Duration::from_micros(u64::try_from(w[0].ts - w[1].ts).unwrap_or(0));
    let follows =
        |w: &&[&Past]| w[1].writer == newest.writer && pace(w) < s.round_trip.mul_f64(NO_GAP_TRIPS);
    let run: Vec<Duration> = live.windows(2).take_while(follows).map(pace).collect();
    let alone = live.iter().take(ROUND).all(|p| p.writer == newest.writer);
    let mean = run.iter().sum::<Duration>().checked_div(run.len() as u32)?;
    let left = ROUND.saturating_sub(run.len() + 1);
    alone.then_some((left.min(MAX_COPIES) as u64, mean))
}

/// The writers, who wrote last first.
fn order(live: &[&Past]) -> Vec<[u8; 16]> {
    let mut order = Vec::new();
    for past in live {
        if !order.contains(&past.writer) {
            order.push(past.writer);
        }
    }
    order
}

/// From record to record, on average; nothing while there are too few.
fn mean_gap(live: &[&Past]) -> Option<Duration> {
    let (newest, oldest) = (live.first()?.seen?, live.last()?.seen?);
    let gaps = live.len().checked_sub(1).filter(|n| *n + 1 >= MIN_PACE)?;
    Some(newest.saturating_sub(oldest) / gaps as u32)
}

fn age(s: &Situation<'_>, seen: Duration) -> Duration {
    s.now.saturating_sub(seen)
}
