//! The browser's objects, as far as the store calls them. Declared here instead of taken from
//! web-sys because every call may throw (`catch`): an exception that passes through wasm uncaught
//! counts as a trap. Calls are by name, so a method the browser lacks is such an exception, too.

use super::super::call::{Awaited, function, property};
use crate::error::{Error, Result};
use js_sys::{AsyncIterator, Function, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    /// `navigator.storage`.
    #[derive(Clone)]
    pub(super) type StorageManager;
    #[wasm_bindgen(method, catch, js_name = getDirectory)]
    pub(super) fn directory(this: &StorageManager) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn persist(this: &StorageManager) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn persisted(this: &StorageManager) -> Result<Promise, JsValue>;

    /// A `FileSystemDirectoryHandle`.
    #[derive(Clone)]
    pub(super) type Directory;
    #[wasm_bindgen(method, catch, js_name = getDirectoryHandle)]
    pub(super) fn directory(
        this: &Directory,
        name: &str,
        options: &JsValue,
    ) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getFileHandle)]
    pub(super) fn file(this: &Directory, name: &str, options: &JsValue)
    -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = removeEntry)]
    pub(super) fn remove(this: &Directory, name: &str) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn values(this: &Directory) -> Result<AsyncIterator, JsValue>;

    /// A `FileSystemHandle`: what `values` gives.
    pub(super) type Entry;
    #[wasm_bindgen(method, getter)]
    pub(super) fn kind(this: &Entry) -> String;
    #[wasm_bindgen(method, getter)]
    pub(super) fn name(this: &Entry) -> String;

    /// A `FileSystemFileHandle`.
    #[derive(Clone)]
    pub(super) type FileHandle;
    #[wasm_bindgen(method, catch, js_name = getFile)]
    pub(super) fn snapshot(this: &FileHandle) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createSyncAccessHandle)]
    fn access(this: &FileHandle, options: &JsValue) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = move)]
    pub(super) fn move_to(
        this: &FileHandle,
        directory: &Directory,
        name: &str,
    ) -> Result<Promise, JsValue>;

    /// A `FileSystemSyncAccessHandle`.
    #[derive(Clone)]
    pub(super) type Access;
    #[wasm_bindgen(method, catch)]
    pub(super) fn write(this: &Access, bytes: &[u8], options: &JsValue) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn read(this: &Access, into: &mut [u8], options: &JsValue) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn flush(this: &Access) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = getSize)]
    pub(super) fn size(this: &Access) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn close(this: &Access) -> Result<(), JsValue>;

    /// A `File`: what a file held when it was asked for.
    pub(super) type Snapshot;
    #[wasm_bindgen(method, getter)]
    pub(super) fn size(this: &Snapshot) -> f64;
    #[wasm_bindgen(method, getter, js_name = lastModified)]
    pub(super) fn modified(this: &Snapshot) -> f64;
    #[wasm_bindgen(method, catch)]
    pub(super) fn slice(this: &Snapshot, start: f64, end: f64) -> Result<Snapshot, JsValue>;
    #[wasm_bindgen(method, catch, js_name = arrayBuffer)]
    pub(super) fn bytes(this: &Snapshot) -> Result<Promise, JsValue>;

    /// `navigator.locks`.
    #[derive(Clone)]
    pub(super) type LockManager;
    #[wasm_bindgen(method, catch)]
    pub(super) fn request(
        this: &LockManager,
        name: &str,
        options: &JsValue,
        granted: &JsValue,
    ) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn query(this: &LockManager) -> Result<Promise, JsValue>;
}

/// Awaits what a call promised. The call itself is caught apart from its promise: an `async` import
/// would let a method that is missing, or that throws at once, through as a trap.
pub(super) async fn settled(called: Result<Promise, JsValue>) -> Result<JsValue, JsValue> {
    JsFuture::from(called?).await
}

impl FileHandle {
    /// Opens the file. A handle that comes when nobody waits for it any more is closed: while it is open nobody can
    /// write the file, or replace it.
    pub(super) async fn open(&self, options: &JsValue, held: &Held) -> Result<Access, JsValue> {
        let pending = self.access(options)?;
        held.add(&pending);
        let (held_later, promise) = (held.clone(), pending.clone());
        // Until then a trap releases it: nothing of ours runs after one.
        let close = move |late: JsValue| {
            drop(late.unchecked_into::<Access>().close());
            held_later.delete(&promise);
        };
        let access = Awaited::new(pending.clone(), close).await;
        held.delete(&pending);
        Ok(access?.unchecked_into())
    }
}

/// `{ [name]: value }`.
pub(super) fn object(name: &str, value: impl Into<JsValue>) -> JsValue {
    let object = Object::new();
    // It cannot fail: the object is plain and extensible.
    let _ = Reflect::set(&object, &name.into(), &value.into());
    object.into()
}

/// Whether `thrown` is an exception of that name.
pub(super) fn is_named(thrown: &JsValue, name: &str) -> bool {
    property(thrown, "name").is_some_and(|found| found == *name)
}

/// What this realm has for the store, or `Unsupported`, naming what is missing and the remedy.
pub(super) fn find() -> Result<(StorageManager, LockManager)> {
    let global = js_sys::global();
    let navigator = property(&global, "navigator");
    let part = |name| navigator.as_ref().and_then(|it| property(it, name));
    let storage = part("storage").filter(|it| function(it, "getDirectory").is_some());
    let (Some(storage), Some(locks)) = (storage, part("locks")) else {
        return Err(Error::unsupported(
            "opfs() needs a browser's origin-private file system and Web Locks: they are in browsers, \
             on pages served over https or from localhost",
        ));
    };
    if !class_has("FileSystemFileHandle", "createSyncAccessHandle") {
        return Err(Error::unsupported(
            "opfs() needs sync access handles, which browsers give to dedicated workers only: open \
             the database by the package's browser entry, which runs the engine in one, or from a \
             dedicated worker of your own",
        ));
    }
    Ok((storage.unchecked_into(), locks.unchecked_into()))
}

/// Whether objects of that class have that member here.
pub(super) fn class_has(class: &str, name: &str) -> bool {
    let class = property(&js_sys::global(), class);
    let prototype = class.and_then(|class| property(&class, "prototype"));
    prototype.is_some_and(|prototype| Reflect::has(&prototype, &name.into()).unwrap_or(false))
}

/// What is released when the instance traps: the set of `js/src/opfs.ts`, of functions to be called
/// and handles to be closed. Without one nothing is kept.
#[derive(Clone, Default)]
pub(super) struct Held(Option<JsValue>);

impl Held {
    pub(super) fn new(set: Option<JsValue>) -> Self {
        Self(set)
    }

    pub(super) fn add(&self, thing: &JsValue) {
        self.call("add", thing);
    }

    pub(super) fn delete(&self, thing: &JsValue) {
        self.call("delete", thing);
    }

    fn call(&self, method: &str, thing: &JsValue) {
        if let Some(set) = &self.0
            && let Some(method) = function(set, method)
        {
            let _: Result<JsValue, JsValue> = Function::call1(&method, set, thing);
        }
    }
}
