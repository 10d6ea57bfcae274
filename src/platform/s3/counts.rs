//! Counts every attempt, by kind, as the bill does.

use super::answer::Op;
use crate::env::Requests;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub(super) struct Counts {
    get: AtomicU64,
    put: AtomicU64,
    put_if_absent: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    retries: AtomicU64,
}

impl Counts {
    /// An attempt, about to be sent.
    pub(super) fn attempt(&self, op: &Op, bytes: usize, again: bool) {
        let counter = match op {
            Op::Get | Op::Range(_) | Op::Suffix(_) => &self.get,
            Op::Put => &self.put,
            Op::PutIfAbsent => &self.put_if_absent,
            Op::List => &self.list,
            Op::Delete => &self.delete,
        };
        counter.fetch_add(1, Relaxed);
        self.bytes_written.fetch_add(bytes as u64, Relaxed);
        self.retries.fetch_add(u64::from(again), Relaxed);
    }

    /// The body of an answer, also of an error or a listing.
    pub(super) fn answered(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn requests(&self) -> Requests {
        Requests {
            get: self.get.load(Relaxed),
            put: self.put.load(Relaxed),
            put_if_absent: self.put_if_absent.load(Relaxed),
            list: self.list.load(Relaxed),
            delete: self.delete.load(Relaxed),
            append: 0,
            sync: 0,
            bytes_read: self.bytes_read.load(Relaxed),
            bytes_written: self.bytes_written.load(Relaxed),
            retries: self.retries.load(Relaxed),
        }
    }
}
