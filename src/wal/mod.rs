//! The device WAL: what makes a commit durable on this device before it is uploaded (PROTOCOL W1-W5).
//!
//! A WAL is a chain of segment files, `<number:020>.wal`, each a header and frames; a commit is one
//! or more frames, the last of which carries the end-of-commit flag. Byte maps: `segment` (header)
//! and `frame`; FORMAT.md repeats them.
//!
//! Invariants:
//! - Opening and replaying write nothing. The first append of a handle begins a new segment under a
//!   new random session (W1), so a copied WAL or a lost tail can never reuse a frame's name.
//! - A segment is begun only when its predecessor is synced, and its header says where that one
//!   validly ends. So only the *last* segment may be torn; anything else broken is `Corrupt`.
//! - Replay yields whole commits only, in order, exactly once each.
//! - A commit is never split over two segments.
//!
//! A WAL that was cut at its end, between two commits or within the last, cannot be told from one
//! in which the rest never happened: replay then gives an exact earlier state.

mod frame;
mod replay;
mod segment;
mod writer;

pub use frame::{FrameBody, FrameKind};
pub use replay::{Replayed, Tail, replay, replay_with};
pub use writer::WalWriter;

use crate::env::LockGuard;
use std::{
    fmt,
    sync::{Arc, Mutex},
};

/// The lock of a WAL's directory, while it is held.
pub type HeldLock = Arc<Mutex<Option<Box<dyn LockGuard>>>>;

/// Names one opening of a WAL: random, drawn anew each time (W1).
pub type SessionId = [u8; 16];

/// Names a database: random, drawn by its first log record.
pub type DatabaseId = [u8; 16];

/// The stable name of a local commit: the last of its frames (W2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The session that wrote it.
    pub session: SessionId,
    /// The number of the commit's last frame; frames of a session are numbered from 1.
    pub frame: u64,
}

/// A commit as replay found it: whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The session that wrote it.
    pub session: SessionId,
    /// The number of its first frame.
    pub first: u64,
    /// The number of its last frame: with the session, the commit's [`Position`].
    pub last: u64,
    /// Its provisional timestamp, in microseconds since the Unix epoch.
    pub stamp: i64,
    /// Its frames, never empty. Payloads are slices of the segment as it was read: holding one
    /// holds the segment's memory.
    pub frames: Vec<FrameBody>,
}

/// An id in messages: 32 hexadecimal digits.
struct Hex<'a>(&'a [u8; 16]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads `N` bytes at `at`; the caller has checked that they are there.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        out.copy_from_slice(found);
    }
    out
}
