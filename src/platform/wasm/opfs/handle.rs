//! One sync access handle held open: how the WAL and new objects are written.
//!
//! Invariants: writes go to the known end; what the browser writes short is written on; after a
//! failure the handle refuses to go on, because what became of the file is not known; dropped or
//! released by a trap, the file is closed, which does not flush. A file that went with all of the
//! origin's data is not closed: Chromium would not return from that call, ever.

use super::{
    sys::{Access, FileHandle, Held, is_named, object},
    tree::{Tree, length},
};
use crate::{
    env::Runtime,
    error::{Error, ErrorKind, Result},
};
use std::time::Duration;
use wasm_bindgen::JsValue;

/// How long to wait for a handle that another worker holds: that of a page just reloaded ends late.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Handle {
    access: Access,
    held: Held,
    key: String,
    place: String,
    end: u64,
    failed: bool,
    gone: bool,
}

impl Handle {
    /// Opens `file`, which `key` names in messages.
    pub(super) async fn open(
        tree: &Tree,
        runtime: &dyn Runtime,
        held: &Held,
        file: &FileHandle,
        key: &str,
    ) -> Result<Self> {
        let start = runtime.monotonic();
        let mut pause = Duration::from_millis(2);
        let access: Access = loop {
            let thrown = match file.open(&JsValue::UNDEFINED, held).await {
                Ok(access) => break access,
                Err(thrown) => thrown,
            };
            if !is_named(&thrown, "NoModificationAllowedError") {
                return Err(tree.failed(key, &thrown));
            }
            if runtime.monotonic().saturating_sub(start) >= PATIENCE {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "{}: {key} is open in another tab or worker of this origin: close it \
                         there, or retry when that has ended",
                        tree.place()
                    ),
                ));
            }
            runtime.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        };
        held.add(&access);
        let mut handle = Self {
            access,
            held: held.clone(),
            key: key.to_owned(),
            place: tree.place().to_owned(),
            end: 0,
            failed: false,
            gone: false,
        };
        let size = handle.access.size();
        handle.end = length(size.map_err(|thrown| tree.failed(key, &thrown))?)?;
        Ok(handle)
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The file is not there any more: the handle is left to the end of the worker.
    pub(super) fn give_up(&mut self) {
        self.gone = true;
        self.held.delete(&self.access);
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(self.error("an earlier write failed: open it again and read"));
        }
        Ok(())
    }

    fn error(&self, what: &str) -> Error {
        let Self { place, key, .. } = self;
        Error::new(ErrorKind::Unavailable, format!("{place}: {key}: {what}"))
    }

    fn thrown(&mut self, thrown: &JsValue) -> Error {
        self.failed = true;
        let place = format!("{}: {}", self.place, self.key);
        super::super::host_error::host_error(&place, thrown)
    }

    /// Writes all of `bytes` at the end, straight from wasm memory.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.usable()?;
        let mut at = self.end;
        while !bytes.is_empty() {
            let written = match self.access.write(bytes, &object("at", at as f64)) {
                Ok(written) => written as usize,
                Err(thrown) => return Err(self.thrown(&thrown)),
            };
            if written == 0 || written > bytes.len() {
                self.failed = true;
                return Err(self.error(&format!(
                    "of {} bytes {written} were written: free storage of this origin and reopen",
                    bytes.len()
                )));
            }
            at += written as u64;
            bytes = &bytes[written..];
        }
        self.end = at;
        Ok(())
    }

    /// Makes what was written as durable as the browser can.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.usable()?;
        match self.access.flush() {
            Ok(()) => Ok(()),
            Err(thrown) => Err(self.thrown(&thrown)),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        self.held.delete(&self.access);
        let _ = self.access.close();
    }
}
