//! Objects: written as temporary files that move to their name.
//!
//! Invariants: an object appears whole or not at all, because it is flushed and closed before the
//! browser moves it, in one step, over what bore the name; a temporary file belongs to the store
//! whose id it bears, which holds a lock for as long as it may have any: what bears the id of no
//! living store is a leftover, and the next store to write removes it.

use super::{
    Inner,
    handle::Handle,
    sys::{Directory, FileHandle, class_has, is_named, settled},
    tree::{is_absent, split},
};
use crate::{
    env::{BoxFuture, ObjectWriter, PutOutcome, Runtime},
    error::{Error, ErrorKind, Result},
    platform::key::TEMPORARY,
};
use bytes::Bytes;
use send_wrapper::SendWrapper;
use std::{rc::Rc, time::Duration};
use wasm_bindgen::JsValue;

/// How long to wait until nobody reads what is to be replaced.
const PATIENCE: Duration = Duration::from_secs(3);

impl Inner {
    /// The id that this store's temporary files bear; the first call removes leftovers.
    async fn owner(&self) -> Result<&str> {
        let make = async || {
            let id = super::random_id(&*self.runtime);
            let lock = self.locks.take(&self.lock_name("tmp", &id)).await?;
            self.remove_leftovers().await?;
            Ok::<_, Error>((id, lock))
        };
        Ok(&self.owner.get_or_try_init(make).await?.0)
    }

    async fn remove_leftovers(&self) -> Result<()> {
        // Listed before the locks: who makes a file has its lock by then.
        let found = self.tree.temporaries().await?;
        if found.is_empty() {
            return Ok(());
        }
        let living = self.locks.all().await?;
        for name in found {
            let owner = name[TEMPORARY.len()..].split('-').next().unwrap_or("");
            let lock = self.lock_name("tmp", owner);
            if !living.iter().any(|(held, _)| *held == lock) {
                // Best effort: the next store will try again.
                let _ = self.delete(&name).await;
            }
        }
        Ok(())
    }

    /// A new temporary file, open.
    async fn temporary(self: &Rc<Self>) -> Result<Temporary> {
        if !class_has("FileSystemFileHandle", "move") {
            return Err(Error::unsupported(
                "opfs() cannot keep objects in this browser, which has no FileSystemFileHandle.move: \
                 use it for `wal` only, or update the browser",
            ));
        }
        let owner = self.owner().await?;
        let number = self.temporaries.get();
        self.temporaries.set(number + 1);
        let name = format!("{TEMPORARY}{owner}-{number}");
        let file = self.tree.make_file(&name).await?;
        let mut temporary = Temporary {
            inner: self.clone(),
            name,
            file,
            handle: None,
            done: false,
        };
        temporary.handle = Some(self.open(&temporary.file, &temporary.name).await?);
        Ok(temporary)
    }

    /// Does `action` to the file `key`, which must not be open: ours are closed, others' waited for.
    async fn undisturbed(
        &self,
        key: &str,
        action: impl AsyncFn() -> Result<JsValue, JsValue>,
    ) -> Result<JsValue, JsValue> {
        let start = self.runtime.monotonic();
        loop {
            self.readers.forget(key);
            match action().await {
                Err(thrown)
                    if is_named(&thrown, "NoModificationAllowedError")
                        && self.runtime.monotonic().saturating_sub(start) < PATIENCE =>
                {
                    self.runtime.sleep(Duration::from_millis(50)).await;
                }
                done => return done,
            }
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let (path, name) = split(key);
        // Looked for first: an empty directory would be removed as well.
        if self.tree.file(key).await?.is_none() {
            return Ok(());
        }
        let Some(directory) = self.tree.directory(path, false).await? else {
            return Ok(());
        };
        let act = async || settled(directory.remove(name)).await;
        match self.undisturbed(key, act).await {
            Ok(_) => Ok(()),
            Err(thrown) if is_absent(&thrown) => Ok(()),
            Err(thrown) => Err(self.tree.failed(key, &thrown)),
        }
    }

    async fn write_temporary(self: &Rc<Self>, body: &[u8]) -> Result<Temporary> {
        let mut temporary = self.temporary().await?;
        temporary.write(body)?;
        temporary.end()?;
        Ok(temporary)
    }

    pub(super) async fn put(self: &Rc<Self>, key: &str, body: &[u8]) -> Result<()> {
        let temporary = self.write_temporary(body).await?;
        temporary.replace(key).await
    }

    pub(super) async fn put_if_absent(
        self: &Rc<Self>,
        key: &str,
        body: &[u8],
    ) -> Result<PutOutcome> {
        if self.tree.file(key).await?.is_some() {
            return Ok(PutOutcome::Exists);
        }
        let temporary = self.write_temporary(body).await?;
        let _lock = self.lock_object(key).await?;
        if self.tree.file(key).await?.is_some() {
            return Ok(PutOutcome::Exists);
        }
        temporary.move_to(key).await?;
        Ok(PutOutcome::Created)
    }

    pub(super) async fn create(self: &Rc<Self>, key: &str) -> Result<Writer> {
        Ok(Writer {
            temporary: SendWrapper::new(self.temporary().await?),
            key: key.to_owned(),
        })
    }
}

/// A file that has no name of its own yet. Dropped before it has, it is removed.
struct Temporary {
    inner: Rc<Inner>,
    name: String,
    file: FileHandle,
    handle: Option<Handle>,
    done: bool,
}

impl Temporary {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let handle = self.handle.as_mut();
        handle
            .ok_or_else(|| Error::internal("written after its end"))?
            .write(bytes)
    }

    /// Flushes and closes it.
    fn end(&mut self) -> Result<()> {
        match self.handle.take() {
            Some(mut handle) => handle.flush(),
            None => Ok(()),
        }
    }

    /// Gives it its name under the lock that `put_if_absent` holds, too.
    async fn replace(self, key: &str) -> Result<()> {
        let inner = self.inner.clone();
        let _lock = inner.lock_object(key).await?;
        self.move_to(key).await
    }

    async fn move_to(mut self, key: &str) -> Result<()> {
        let (path, name) = split(key);
        let (inner, file) = (&self.inner, &self.file);
        let act = async |directory: Directory| {
            let act = async || settled(file.move_to(&directory, name)).await;
            inner.undisturbed(key, act).await
        };
        let moved = self.inner.tree.within(path, act).await;
        if let Err(error) = moved {
            // `Busy` is for locks: whoever has this file open will close it.
            let kind = match error.kind() {
                ErrorKind::Busy => ErrorKind::Unavailable,
                kind => kind,
            };
            let message = format!("writing {key}: {}", error.message());
            return Err(Error::new(kind, message));
        }
        self.done = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.handle = None;
        if !self.done {
            let (inner, name) = (self.inner.clone(), std::mem::take(&mut self.name));
            // Best effort: if the worker ends before, it is a leftover.
            wasm_bindgen_futures::spawn_local(async move {
                let _ = inner.delete(&name).await;
            });
        }
    }
}

pub(super) struct Writer {
    temporary: SendWrapper<Temporary>,
    key: String,
}

impl ObjectWriter for Writer {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        let written = self.temporary.write(&chunk);
        Box::pin(async { written })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        super::local(async move {
            let mut temporary = self.temporary.take();
            temporary.end()?;
            temporary.replace(&self.key).await
        })
    }
}
