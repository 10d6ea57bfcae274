//! Object semantics as the core sees them. Invariants every store keeps (the conformance suite in
//! `tests/` shows them): an object appears whole or not at all; when `put`, `put_if_absent` or
//! `ObjectWriter::finish` returned `Ok`, object *and name* survive a power cut; `put_if_absent` has
//! one winner; `list` is complete and ascending by key bytes. Keys are relative, `/`-separated
//! segments of `[A-Za-z0-9._-]`, never empty, never `.` or `..`; others are `Invalid`, and so are a
//! segment that begins with `.tmp-` and a key that ends with `.lock`, which name a store's own files.

use super::{BoxFuture, Requests};
use crate::error::Result;
use bytes::Bytes;
use std::{fmt, ops::Range, time::Duration};

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The key, relative to the store's root.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was written, by the *store's* clock: microseconds since the Unix epoch. `None` where the
    /// store does not say; then only what is inside the object tells its age. Whole seconds on S3, and an
    /// object that was moved into place may have the time its bytes were written.
    pub modified: Option<i64>,
}

/// The store's own clock, as its newest answer said (PROTOCOL T1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreClock {
    /// What it said: microseconds since the Unix epoch.
    pub date: i64,
    /// [`Runtime::monotonic`](super::Runtime::monotonic) when the answer arrived.
    pub heard: Duration,
}

/// What became of a `put_if_absent` whose outcome is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object was not there and now is.
    Created,
    /// An object of that name exists (it may be our own, of an earlier attempt: PROTOCOL C2).
    Exists,
}

/// A store of objects, and of append files for the WAL.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Kind and place for messages and `stats()`, e.g. `directory /var/db`. Never a secret.
    fn describe(&self) -> String;

    /// What tells this store from others of this process: two handles on the same have the same. `None` where
    /// that is not known.
    fn identity(&self) -> Option<String> {
        None
    }

    /// The store's clock, if it has one of its own and has answered yet.
    fn clock(&self) -> Option<StoreClock> {
        None
    }

    /// What the store counted itself since it was made, if it knows better than its caller: every
    /// attempt and every page of a listing is a request.
    fn requests(&self) -> Option<Requests> {
        None
    }

    /// The whole object, or `None` if there is none.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Exactly `range` of the object (`Corrupt` if it ends before), or `None` if there is no object.
    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// The last `length` bytes (all, if it is shorter) and the object's size.
    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>>;

    /// Creates or replaces an object, atomically and durably.
    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>>;

    /// Creates an object if there is none of that name. Errors `Unavailable` and `Unknown` leave
    /// open whether it was created: read back.
    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>>;

    /// Starts an object that is written in pieces; it appears, whole, at `finish`.
    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>>;

    /// All objects whose key starts with `prefix` and is greater than `start_after`, ascending.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>>;

    /// Deletes an object; one that is not there is no error. The deletion need not be durable.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Opens an append file, creating it if need be; writes go to its end. The *name* of a created
    /// file is durable when the first `sync` returned.
    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>>;

    /// Takes the exclusive lock `name` of this store, or fails with `Busy` naming the holder. It is
    /// held until the guard is dropped or released, and freed by the death of the process.
    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>>;
}

/// An object being written in pieces. Dropped before `finish`, it leaves nothing visible.
pub trait ObjectWriter: Send {
    /// Adds bytes to the end.
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>>;

    /// Makes the object durable and visible, replacing one of the same name.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

/// A file that grows at its end: a WAL segment.
pub trait AppendFile: Send {
    /// Writes all of `chunk` at the end. On an error an unknown part of it may have been written.
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>>;

    /// Makes all that was written, and the file's name, durable.
    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>>;

    /// Whether what is written here is still found under the file's name; `Closed`, saying what became of
    /// it, if not: it was removed, or somebody else wrote to it. What was written before the call counts
    /// as found if it was so within the last second.
    fn confirm<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// The length in bytes, of what was there and what was written.
    fn len(&self) -> u64;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Releases the file. Does not sync.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

/// A held lock. Dropping it frees it at the latest when the process ends; `release` frees it now.
pub trait LockGuard: Send + Sync {
    /// Whether it is still held; `Closed`, saying who took it, if not. Where the death of a holder can only
    /// be presumed, one that lives may lose its lock: it asks before it acknowledges anything. An error of
    /// another kind leaves it open.
    fn confirm(&self) -> Result<()> {
        Ok(())
    }

    /// Frees the lock now.
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}
