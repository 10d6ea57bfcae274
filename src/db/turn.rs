//! Drives `log::turn`: a commit waits for its turn and catches up just before it, so that writers of one
//! log rarely lose slots to each other (PROTOCOL C3). None of it decides anything: the slot does.

use super::Inner;
use crate::{
    error::Result,
    log::{
        chain::unpack,
        turn::{self, Next, Situation},
    },
};
use std::time::Duration;

/// How much slower than the average a request may seem.
const MOST_SLOWER: u32 = 3;
/// No request counts for more: it was repeated, or the device slept meanwhile.
const SLOWEST: Duration = Duration::from_secs(1);
/// No wait is longer, whatever clocks and pace seem to say: looking once more costs one request.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Inner {
    /// Waits for this handle's turn, and catches up with what others commit meanwhile (PROTOCOL C3).
    pub(super) async fn await_turn(&self, lost: usize) -> Result<()> {
        let (mut looks, mut misses) = (0, 0);
        loop {
            let current = self.current();
            let next = turn::next(&Situation {
                me: self.writer,
                recent: &current.recent,
                now: self.runtime.monotonic(),
                round_trip: current.round_trip,
                lost,
                looks,
                misses,
                random: u64::from_le_bytes(self.random()),
            });
            let before = current.state.version.head.seq;
            match next {
                Next::Put => return Ok(()),
                Next::Wait { after } => self.pause(after).await,
                Next::Look { after, ahead } => {
                    self.pause(after).await;
                    self.look(ahead).await?;
                }
                Next::List { after } => {
                    self.pause(after).await;
                    self.follow().await?;
                }
            }
            looks += 1;
            misses = match self.state().version.head.seq == before {
                true => misses + 1,
                false => 0,
            };
        }
    }

    async fn pause(&self, time: Duration) {
        if time > Duration::ZERO {
            self.runtime.sleep(time.min(LONGEST_WAIT)).await;
        }
    }

    /// Reads the record `ahead` of the position, if it is there, and with it those between, of which it
    /// has copies. It is no proof of where the log ends, nor that it is live, whether there or not: after a
    /// fresh position no name was freed, after a stale one only a LIST counts (PROTOCOL F1).
    async fn look(&self, ahead: u64) -> Result<()> {
        let before = self.current();
        let head = before.state.version.head;
        let seq = head.seq + ahead;
        let asked = self.runtime.monotonic();
        let Some(bytes) = self.log.read_record(seq).await? else {
            return Ok(());
        };
        self.timed(asked, 1);
        if self.log.is_stale(&self.fence(&before)) {
            return self.follow().await;
        }
        let chain = unpack(seq, &bytes, head.seq + 1)?;
        match chain.first() {
            Some(first) if first.record.prev == head.digest => self.adopt_all(head, chain),
            _ => self.follow().await,
        }
    }

    /// Requests took so long. One that failed and was repeated says little of the next: it counts for
    /// `MOST_SLOWER` times the average at most, so that a fault does not make this writer wait for seconds.
    pub(super) fn timed(&self, asked: Duration, requests: u32) {
        let took = self.runtime.monotonic().saturating_sub(asked) / requests;
        let took = took.min(SLOWEST);
        self.change(|current| {
            current.round_trip = match current.round_trip {
                Duration::ZERO => took,
                before => (before * 3 + took.min(before * MOST_SLOWER)) / 4,
            };
        });
    }
}
