//! The directories of a store and what is in them.
//!
//! Invariants: reading makes no directory; directory handles are kept, so that a warm request needs
//! one step to its file; the store's own directory, once seen, is never made anew: if it is gone,
//! the browser evicted the origin's data, and a log continued in an empty directory would hide that.

use super::{
    super::{
        call::{MAX_SAFE, micros, property},
        host_error::host_error,
    },
    sys::{Directory, Entry, FileHandle, Snapshot, StorageManager, is_named, object, settled},
};
use crate::{
    env::ObjectMeta,
    error::{Error, ErrorKind, Result},
    platform::key::{TEMPORARY, check_key, is_own},
};
use futures_util::stream::{self, StreamExt};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};
use wasm_bindgen::{JsCast, JsValue};

/// Most directory handles kept.
const KEPT: usize = 256;
/// How many sizes of a listing are asked for at once.
const SIZES: usize = 64;

pub(super) struct Tree {
    storage: StorageManager,
    /// Directories below the origin's root.
    path: String,
    /// For messages: `opfs my-app`.
    place: String,
    /// Whether to ask the browser to keep the data, where it lets a worker ask.
    persist: bool,
    persisted: Cell<Option<bool>>,
    seen: Cell<bool>,
    /// By path below the store's own directory, which is the empty one.
    kept: RefCell<BTreeMap<String, Directory>>,
}

/// The directory and the name of a key.
pub(super) fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

fn create(create: bool) -> JsValue {
    object("create", create)
}

/// Whether `thrown` says that there is nothing of the kind asked for.
pub(super) fn is_absent(thrown: &JsValue) -> bool {
    is_named(thrown, "NotFoundError") || is_named(thrown, "TypeMismatchError")
}

/// Whether a directory may have been removed below its handle. Firefox calls that unknown.
fn may_be_stale(thrown: &JsValue) -> bool {
    is_named(thrown, "NotFoundError") || is_named(thrown, "UnknownError")
}

impl Tree {
    pub(super) fn new(storage: StorageManager, path: &str, persist: bool) -> Self {
        Self {
            storage,
            path: path.to_owned(),
            place: format!("opfs {path}"),
            persist,
            persisted: Cell::new(None),
            seen: Cell::new(false),
            kept: RefCell::default(),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether the browser promised to keep the data; `None` until it was asked.
    pub(super) fn persisted(&self) -> Option<bool> {
        self.persisted.get()
    }

    /// Our error for what the browser threw when it was asked for `key`.
    pub(super) fn failed(&self, key: &str, thrown: &JsValue) -> Error {
        host_error(&format!("{}: {key}", self.place), thrown)
    }

    async fn root(&self, make: bool) -> Result<Option<Directory>> {
        if let Some(root) = self.kept.borrow().get("") {
            return Ok(Some(root.clone()));
        }
        if self.persisted.get().is_none() {
            self.ask().await;
        }
        let failed = |thrown| self.failed("the directory", &thrown);
        let mut found: Directory = settled(self.storage.directory())
            .await
            .map_err(failed)?
            .unchecked_into();
        let make = make && !self.seen.get();
        for segment in self.path.split('/') {
            match settled(found.directory(segment, &create(make))).await {
                Ok(directory) => found = directory.unchecked_into(),
                Err(thrown) if !is_named(&thrown, "NotFoundError") => return Err(failed(thrown)),
                Err(_) if self.seen.get() => return Err(self.evicted()),
                Err(_) => return Ok(None),
            }
        }
        self.seen.set(true);
        self.kept.borrow_mut().insert(String::new(), found.clone());
        Ok(Some(found))
    }

    async fn ask(&self) {
        let said = |answer: Result<JsValue, JsValue>| answer.is_ok_and(|value| value == true);
        let kept = said(settled(self.storage.persisted()).await)
            // Only a page may ask; a worker has no such method, which is an exception, too.
            || (self.persist && said(settled(self.storage.persist()).await));
        self.persisted.set(Some(kept));
    }

    /// The same of a file that is held open.
    pub(super) fn cleared(&self) -> Error {
        Error::new(ErrorKind::Closed, self.evicted().message())
    }

    fn evicted(&self) -> Error {
        Error::corrupt(format!(
            "{} is gone: the browser or its user cleared the site's data; what was not uploaded is lost: \
             reopen the database to go on with what there is elsewhere",
            self.place
        ))
    }

    /// The directory `path`, or `None` if it is not there and not to be made.
    pub(super) async fn directory(&self, path: &str, make: bool) -> Result<Option<Directory>> {
        if let Some(kept) = self.kept.borrow().get(path) {
            return Ok(Some(kept.clone()));
        }
        let Some(mut found) = self.root(make).await? else {
            return Ok(None);
        };
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let part = &path[..end];
            let kept = self.kept.borrow().get(part).cloned();
            found = match kept {
                Some(kept) => kept,
                None => match settled(found.directory(split(part).1, &create(make))).await {
                    Ok(directory) => self.keep(part, directory.unchecked_into()),
                    Err(thrown) if !make && is_absent(&thrown) => return Ok(None),
                    Err(thrown) => return Err(self.failed(part, &thrown)),
                },
            };
        }
        Ok(Some(found))
    }

    fn keep(&self, path: &str, directory: Directory) -> Directory {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT {
            kept.retain(|path, _| path.is_empty());
        }
        kept.insert(path.to_owned(), directory.clone());
        directory
    }

    /// Does `action` in the directory `path`, which is made; once more if a handle was stale.
    pub(super) async fn within(
        &self,
        path: &str,
        action: impl AsyncFn(Directory) -> Result<JsValue, JsValue>,
    ) -> Result<JsValue, Error> {
        let mut again = false;
        loop {
            let directory = self.directory(path, true).await?;
            let directory = directory.ok_or_else(|| Error::internal("a directory was not made"))?;
            match action(directory).await {
                Ok(value) => return Ok(value),
                Err(thrown) if !again && may_be_stale(&thrown) => {
                    self.kept.borrow_mut().clear();
                    again = true;
                }
                Err(thrown) => return Err(self.failed(path, &thrown)),
            }
        }
    }

    /// The file of `key`, or `None`.
    pub(super) async fn file(&self, key: &str) -> Result<Option<FileHandle>> {
        let (path, name) = split(key);
        let Some(directory) = self.directory(path, false).await? else {
            return Ok(None);
        };
        match settled(directory.file(name, &create(false))).await {
            Ok(file) => Ok(Some(file.unchecked_into())),
            Err(thrown) if is_absent(&thrown) => Ok(None),
            Err(thrown) => Err(self.failed(key, &thrown)),
        }
    }

    /// The file of `key`, made if need be.
    pub(super) async fn make_file(&self, key: &str) -> Result<FileHandle> {
        let (path, name) = split(key);
        let make = async |directory: Directory| settled(directory.file(name, &create(true))).await;
        Ok(self.within(path, make).await?.unchecked_into())
    }

    async fn entries(&self, directory: &Directory, path: &str) -> Result<Vec<Entry>> {
        let failed = |thrown| self.failed(path, &thrown);
        let iterator = directory.values().map_err(failed)?;
        let mut found = Vec::new();
        loop {
            let next = match settled(iterator.next()).await {
                Ok(next) => next,
                // The directory was removed meanwhile.
                Err(thrown) if is_named(&thrown, "NotFoundError") => return Ok(found),
                Err(thrown) => return Err(failed(thrown)),
            };
            if property(&next, "done").is_some_and(|done| done == true) {
                return Ok(found);
            }
            found.extend(property(&next, "value").map(JsCast::unchecked_into::<Entry>));
        }
    }

    /// The names of the temporary files, which are all in the store's own directory.
    pub(super) async fn temporaries(&self) -> Result<Vec<String>> {
        let Some(root) = self.directory("", false).await? else {
            return Ok(Vec::new());
        };
        let entries = self.entries(&root, "").await?;
        let names = entries.iter().map(Entry::name);
        Ok(names.filter(|name| name.starts_with(TEMPORARY)).collect())
    }

    pub(super) async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        let after = after.unwrap_or("");
        let start = split(prefix).0;
        let Some(directory) = self.directory(start, false).await? else {
            return Ok(Vec::new());
        };
        let mut pending = vec![(start.to_owned(), directory)];
        let mut files = Vec::new();
        while let Some((path, directory)) = pending.pop() {
            for entry in self.entries(&directory, &path).await? {
                let name = entry.name();
                if is_own(&name) {
                    continue;
                }
                let key = match path.as_str() {
                    "" => name,
                    path => format!("{path}/{name}"),
                };
                if entry.kind() == "directory" {
                    let below = format!("{key}/");
                    let passed = after > below.as_str() && !after.starts_with(&below);
                    if below.starts_with(prefix) && !passed {
                        pending.push((key, entry.unchecked_into()));
                    }
                } else if key.starts_with(prefix) && key.as_str() > after && check_key(&key).is_ok()
                {
                    files.push((key, entry.unchecked_into::<FileHandle>()));
                }
            }
        }
        let sizes = files.into_iter().map(async |(key, file)| {
            match settled(file.snapshot()).await {
                Ok(snapshot) => {
                    let snapshot = snapshot.unchecked_into::<Snapshot>();
                    Ok(Some(ObjectMeta {
                        key,
                        size: size(&snapshot)?,
                        modified: micros(snapshot.modified()),
                    }))
                }
                // Deleted meanwhile.
                Err(thrown) if is_absent(&thrown) => Ok(None),
                Err(thrown) => Err(self.failed(&key, &thrown)),
            }
        });
        let mut sizes = stream::iter(sizes).buffer_unordered(SIZES);
        let mut found = Vec::new();
        while let Some(entry) = sizes.next().await {
            found.extend(entry?);
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

/// A file's size.
pub(super) fn size(snapshot: &Snapshot) -> Result<u64> {
    length(snapshot.size())
}

/// A length as JavaScript has it.
pub(super) fn length(number: f64) -> Result<u64> {
    if number >= 0.0 && number <= MAX_SAFE as f64 {
        return Ok(number as u64);
    }
    Err(Error::new(
        ErrorKind::Internal,
        format!("the browser gave {number} as a length"),
    ))
}
