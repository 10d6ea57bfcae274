//! Reading. Small whole objects come from snapshots of their files; parts of objects, and large ones,
//! from sync access handles that share (Chromium has them: a point read takes microseconds instead of
//! a millisecond, a large one a fifth of the time), elsewhere from snapshots as well.
//!
//! Invariants: only a part's handle stays open, for a second after its last use, because while it is
//! nobody can replace or delete the object, which those who want to wait for; what cannot be opened
//! so is read from a snapshot; a snapshot that is replaced under our hands is taken anew.

use super::{
    Inner,
    sys::{Access, FileHandle, Held, Snapshot, class_has, is_named, object, settled},
    tree::{Tree, length},
};
use crate::{
    env::Runtime,
    error::{Error, Result},
};
use bytes::Bytes;
use js_sys::Uint8Array;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
    time::Duration,
};
use wasm_bindgen::{JsCast, JsValue};

/// Most handles kept.
const KEPT: usize = 32;
/// How long an unused one is kept.
const IDLE: Duration = Duration::from_secs(1);
/// From this size on a whole object is worth a handle.
const LARGE: u64 = 256 * 1024;
/// How often to read anew what was replaced under our hands.
const READS: u32 = 10;

/// A file open for reading, beside other readers.
struct Reader {
    access: Access,
    held: Held,
    size: u64,
    used: Cell<Duration>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.held.delete(&self.access);
        let _ = self.access.close();
    }
}

impl Reader {
    /// `None` where handles don't share, or the file is open to be written.
    async fn open(held: &Held, file: &FileHandle, now: Duration) -> Option<Self> {
        let shared = file.open(&object("mode", "read-only"), held).await;
        let mut reader = Self {
            access: shared.ok()?,
            held: held.clone(),
            size: 0,
            used: Cell::new(now),
        };
        held.add(&reader.access);
        reader.size = length(reader.access.size().ok()?).ok()?;
        Some(reader)
    }

    fn read(&self, tree: &Tree, key: &str, range: Range<u64>) -> Result<Bytes> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut done = 0;
        while done < bytes.len() {
            let at = object("at", (range.start + done as u64) as f64);
            let read = self.access.read(&mut bytes[done..], &at);
            match read.map_err(|thrown| tree.failed(key, &thrown))? as usize {
                0 => return Err(short(tree, key, done as u64, &range)),
                read => done = (done + read).min(bytes.len()),
            }
        }
        Ok(bytes.into())
    }
}

fn short(tree: &Tree, key: &str, came: u64, range: &Range<u64>) -> Error {
    let place = tree.place();
    Error::corrupt(format!(
        "{place}: object {key}: {came} bytes came where {}..{} were asked for",
        range.start, range.end
    ))
}

/// The handles kept open.
pub(super) struct Readers {
    share: bool,
    open: RefCell<BTreeMap<String, Rc<Reader>>>,
    sweeping: Cell<bool>,
}

impl Readers {
    pub(super) fn new() -> Self {
        Self {
            // Elsewhere the mode would be ignored, and the handle be exclusive.
            share: class_has("FileSystemSyncAccessHandle", "mode"),
            open: RefCell::default(),
            sweeping: Cell::new(false),
        }
    }

    /// Closes the file `key`, if it is open here.
    pub(super) fn forget(&self, key: &str) {
        self.open.borrow_mut().remove(key);
    }

    fn keep(&self, key: &str, reader: Rc<Reader>) {
        let mut open = self.open.borrow_mut();
        if open.len() >= KEPT {
            let oldest = open.iter().min_by_key(|(_, reader)| reader.used.get());
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| open.remove(&key));
        }
        open.insert(key.to_owned(), reader);
    }

    /// Closes what has not been used lately; whether anything is open still.
    fn sweep(&self, now: Duration) -> bool {
        let mut open = self.open.borrow_mut();
        open.retain(|_, reader| now.saturating_sub(reader.used.get()) < IDLE);
        !open.is_empty()
    }
}

impl Inner {
    /// Reads the range that `pick` chooses, given the size; more of the object is likely to be read.
    pub(super) async fn read_part(
        self: &Rc<Self>,
        key: &str,
        pick: impl Fn(u64) -> Result<Range<u64>>,
    ) -> Result<Option<(Bytes, u64)>> {
        if !self.readers.share {
            return self.read(key, pick).await;
        }
        let kept = self.readers.open.borrow().get(key).cloned();
        let reader = match kept {
            Some(kept) => kept,
            None => {
                let Some(file) = self.tree.file(key).await? else {
                    return Ok(None);
                };
                let now = self.runtime.monotonic();
                let Some(opened) = Reader::open(&self.held, &file, now).await else {
                    return self.read(key, pick).await;
                };
                let opened = Rc::new(opened);
                self.readers.keep(key, opened.clone());
                self.sweep_in_time();
                opened
            }
        };
        reader.used.set(self.runtime.monotonic());
        let bytes = reader.read(&self.tree, key, pick(reader.size)?)?;
        Ok(Some((bytes, reader.size)))
    }

    fn sweep_in_time(self: &Rc<Self>) {
        if self.readers.sweeping.replace(true) {
            return;
        }
        let (inner, runtime) = (Rc::downgrade(self), self.runtime.clone());
        wasm_bindgen_futures::spawn_local(async move {
            loop {
                runtime.sleep(IDLE).await;
                let Some(inner) = inner.upgrade() else { return };
                if !inner.readers.sweep(runtime.monotonic()) {
                    inner.readers.sweeping.set(false);
                    return;
                }
            }
        });
    }

    /// Reads the range that `pick` chooses, given the size.
    pub(super) async fn read(
        &self,
        key: &str,
        pick: impl Fn(u64) -> Result<Range<u64>>,
    ) -> Result<Option<(Bytes, u64)>> {
        let mut attempt = 0;
        loop {
            let Some(file) = self.tree.file(key).await? else {
                return Ok(None);
            };
            let thrown = match settled(file.snapshot()).await {
                Err(thrown) => thrown,
                Ok(snapshot) => {
                    let snapshot: Snapshot = snapshot.unchecked_into();
                    match self.take(key, &file, &snapshot, &pick).await? {
                        Ok(taken) => return Ok(Some(taken)),
                        Err(thrown) => thrown,
                    }
                }
            };
            // Replaced or deleted meanwhile; Firefox says that it aborted the read.
            let moved = ["NotFoundError", "NotReadableError", "AbortError"];
            if attempt == READS || !moved.iter().any(|name| is_named(&thrown, name)) {
                return Err(self.tree.failed(key, &thrown));
            }
            let pause = Duration::from_millis(attempt.into());
            self.runtime.sleep(pause).await;
            attempt += 1;
        }
    }

    /// The bytes of a snapshot, or what the browser threw.
    async fn take(
        &self,
        key: &str,
        file: &FileHandle,
        snapshot: &Snapshot,
        pick: impl Fn(u64) -> Result<Range<u64>>,
    ) -> Result<Result<(Bytes, u64), JsValue>> {
        let size = length(snapshot.size())?;
        let range = pick(size)?;
        if range.is_empty() {
            return Ok(Ok((Bytes::new(), size)));
        }
        if self.readers.share
            && range.end - range.start >= LARGE
            && let Some(reader) = Reader::open(&self.held, file, Duration::ZERO).await
        {
            let bytes = reader.read(&self.tree, key, pick(reader.size)?)?;
            return Ok(Ok((bytes, reader.size)));
        }
        let part = snapshot.slice(range.start as f64, range.end as f64);
        let part = part.map_err(|thrown| self.tree.failed(key, &thrown))?;
        let buffer = match settled(part.bytes()).await {
            Ok(buffer) => buffer,
            Err(thrown) => return Ok(Err(thrown)),
        };
        let bytes = Bytes::from(Uint8Array::new(&buffer).to_vec());
        if bytes.len() as u64 != range.end - range.start {
            return Err(short(&self.tree, key, bytes.len() as u64, &range));
        }
        Ok(Ok((bytes, size)))
    }
}
