//! A directory of the browser's origin-private file system as a [`Storage`].
//!
//! For dedicated workers: only they have sync access handles, without which an append would copy
//! the whole file. WAL segments are append files, one handle held open each (`handle.rs`); objects
//! are temporary files that move to their name (`object.rs`) and are read by shared handles where the
//! browser has them (`read.rs`); Web Locks exclude other tabs and workers (`lock.rs`). A flush is as durable as the browser makes it, and unless it was persuaded
//! to persist them (`navigator.storage.persist()`), it may evict the data of origins not used lately.

mod handle;
mod lock;
mod object;
mod read;
mod sys;
mod tree;

use self::{
    handle::Handle,
    lock::{Guard, Lock, Locks},
    read::Readers,
    sys::{FileHandle, Held},
    tree::Tree,
};
use super::{WasmRuntime, call::property};
use crate::{
    env::{
        AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Runtime, Storage,
    },
    error::{Error, ErrorKind, Result},
    platform::{
        fusio_store::fusio_store,
        key::{check_key, check_lock_name, check_prefix, ends_early},
    },
};
use async_lock::OnceCell;
use bytes::Bytes;
use send_wrapper::SendWrapper;
use std::{cell::Cell, fmt, ops::Range, rc::Rc, sync::Arc, time::Duration};
use wasm_bindgen::JsValue;

/// An append file that was seen under its name so lately is taken to be there still: to look costs more than
/// to append.
const CONFIRM_EVERY: Duration = Duration::from_millis(500);

struct Inner {
    tree: Tree,
    locks: Locks,
    held: Held,
    readers: Readers,
    runtime: Arc<WasmRuntime>,
    /// Our id in the names of temporary files, with the lock that says we live.
    owner: OnceCell<(String, Lock)>,
    temporaries: Cell<u64>,
}

/// Objects and append files in OPFS. A clone is another handle on the same.
#[derive(Clone)]
pub struct Opfs {
    inner: SendWrapper<Rc<Inner>>,
}

/// A future that stays on its thread, as one that may move.
fn local<'a, T>(future: impl Future<Output = T> + 'a) -> BoxFuture<'a, T> {
    Box::pin(SendWrapper::new(future))
}

fn random_id(runtime: &dyn Runtime) -> String {
    let mut bytes = [0; 8];
    runtime.random(&mut bytes);
    format!("{:016x}", u64::from_le_bytes(bytes))
}

impl Opfs {
    /// The store in the directory `name` (it may be a path: `my-app/wal`), which the first write
    /// creates. `persist` asks the browser not to evict it, where it lets one ask. No I/O is done.
    /// `Unsupported` outside of a dedicated worker.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(name: &str, persist: bool) -> Result<Arc<Self>> {
        Self::with_held(name, persist, None)
    }

    /// The same; what must be released if this wasm instance traps is kept in `held`, a JS `Set`.
    pub(crate) fn with_held(name: &str, persist: bool, held: Option<JsValue>) -> Result<Arc<Self>> {
        check_key(name).map_err(|error| error.context("opfs(): the name of the directory"))?;
        let (storage, manager) = sys::find()?;
        let held = Held::new(held);
        let locks = Locks {
            manager,
            held: held.clone(),
        };
        let inner = Inner {
            tree: Tree::new(storage, name, persist),
            locks,
            held,
            readers: Readers::new(),
            runtime: WasmRuntime::new()?,
            owner: OnceCell::new(),
            temporaries: Cell::new(0),
        };
        Ok(Arc::new(Self {
            inner: SendWrapper::new(Rc::new(inner)),
        }))
    }

    /// From JavaScript: `{ name, persist?, held? }`.
    #[cfg_attr(not(feature = "js"), allow(dead_code))]
    pub(crate) fn from_js(options: &JsValue) -> Result<Arc<Self>> {
        let name = property(options, "name").and_then(|name| name.as_string());
        let name = name.ok_or_else(|| Error::invalid("opfs() takes the name of a directory"))?;
        let persist = property(options, "persist").is_some_and(|persist| persist == true);
        Self::with_held(&name, persist, property(options, "held"))
    }

    /// Whether the browser promised not to evict the data; `None` before the first request.
    pub fn persisted(&self) -> Option<bool> {
        self.inner.tree.persisted()
    }
}

impl fmt::Debug for Opfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.inner.tree.place())
    }
}

impl Inner {
    async fn open(&self, file: &FileHandle, key: &str) -> Result<Handle> {
        Handle::open(&self.tree, &*self.runtime, &self.held, file, key).await
    }

    /// The origin-wide name of a lock.
    fn lock_name(&self, kind: &str, name: &str) -> String {
        format!("lakeshore:{kind}:/{}/{name}", self.tree.path())
    }

    /// The lock that is held while an object gets its name.
    async fn lock_object(&self, key: &str) -> Result<Lock> {
        let name = self.lock_name("put", key);
        self.locks.wait(&*self.runtime, &name).await
    }
}

fusio_store!(Opfs, OPFS);

impl Storage for Opfs {
    fn describe(&self) -> String {
        let place = self.inner.tree.place();
        match self.persisted() {
            Some(true) => format!("{place} (persisted)"),
            Some(false) => format!("{place} (best effort)"),
            None => place.to_owned(),
        }
    }

    fn identity(&self) -> Option<String> {
        Some(self.inner.tree.place().to_owned())
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        local(async move {
            check_key(key)?;
            let read = self.inner.read(key, |size| Ok(0..size)).await?;
            Ok(read.map(|(bytes, _)| bytes))
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        local(async move {
            check_key(key)?;
            let pick = |size| {
                if range.start <= range.end && range.end <= size {
                    Ok(range.clone())
                } else {
                    Err(ends_early(key, &range, size))
                }
            };
            let read = self.inner.read_part(key, pick).await?;
            Ok(read.map(|(bytes, _)| bytes))
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        local(async move {
            check_key(key)?;
            let pick = |size: u64| Ok(size.saturating_sub(length)..size);
            self.inner.read_part(key, pick).await
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        local(async move {
            check_key(key)?;
            self.inner.put(key, &body).await
        })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        local(async move {
            check_key(key)?;
            self.inner.put_if_absent(key, &body).await
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        local(async move {
            check_key(key)?;
            let writer = self.inner.create(key).await?;
            Ok(Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        local(async move {
            check_prefix(prefix)?;
            self.inner.tree.list(prefix, start_after).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        local(async move {
            check_key(key)?;
            self.inner.delete(key).await
        })
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        local(async move {
            check_key(key)?;
            let file = self.inner.tree.make_file(key).await?;
            let handle = self.inner.open(&file, key).await?;
            let appender = Appender {
                handle: SendWrapper::new(handle),
                store: self.clone(),
                key: key.to_owned(),
                confirmed: self.inner.runtime.monotonic(),
            };
            Ok(Box::new(appender) as Box<dyn AppendFile>)
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        local(async move {
            check_lock_name(name)?;
            let inner = &self.inner;
            let what = format!("lock {name} of {}", inner.tree.place());
            let lock_name = inner.lock_name("lock", name);
            let lock = inner.locks.exclude(&*inner.runtime, &lock_name, &what);
            Ok(Box::new(Guard(SendWrapper::new(lock.await?))) as Box<dyn LockGuard>)
        })
    }
}

/// An append file: its calls are synchronous, straight from wasm memory.
struct Appender {
    handle: SendWrapper<Handle>,
    store: Opfs,
    key: String,
    /// When the file was last seen under its name.
    confirmed: Duration,
}

impl Appender {
    /// Whether the file is still under its name.
    async fn look(&mut self) -> Result<()> {
        let tree = &self.store.inner.tree;
        let gone = match tree.file(&self.key).await {
            Ok(found) => found.is_none(),
            Err(error) if error.kind() == ErrorKind::Corrupt => true,
            Err(error) => return Err(error),
        };
        if gone {
            self.handle.give_up();
            return Err(self.store.inner.tree.cleared());
        }
        Ok(())
    }
}

impl AppendFile for Appender {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.handle.write(&chunk) })
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.handle.flush() })
    }

    /// The handle goes on writing to a file that was removed with all of the origin's data.
    fn confirm<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        local(async move {
            let inner = &self.store.inner;
            let now = inner.runtime.monotonic();
            if now.saturating_sub(self.confirmed) < CONFIRM_EVERY {
                return Ok(());
            }
            self.look().await?;
            self.confirmed = now;
            Ok(())
        })
    }

    fn len(&self) -> u64 {
        self.handle.end()
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        // One whose file is gone must not be closed (`handle.rs`).
        local(async move { self.look().await })
    }
}
