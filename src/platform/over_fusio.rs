//! A [`Storage`] of any fusio store, ours or not: suffix read = size + read, start-after = filter.
//!
//! | | `OverFusio::new` (needs `FsCas`) | `OverFusio::linking` (file systems) |
//! |---|---|---|
//! | keys | are fusio's paths | lie under a root directory |
//! | `put_if_absent` | `put_conditional(IfNotExists)` | temporary file + `link` |
//! | `get` | `load_with_tag` | open and read |
//! | `put` over an object | `IfMatch`, or truncate where the store lacks that | remove, then `link` |
//! | `list` | one listing of a flat store | a walk: fusio lists one directory |
//!
//! Limits, which are fusio's: nothing is more durable than the store's `flush`, `commit` and
//! `close` make it (its traits cannot sync a directory: use `native::Directory` for real data); a
//! reader may miss an object while a linking store replaces it, and ranged reads are for objects
//! that nobody replaces; locks hold within this process,
//! among the clones of one `OverFusio`.

use super::{
    io_error::{io_error, is_missing},
    key::{TEMPORARY, check_key, check_lock_name, check_prefix, ends_early, is_own},
};
use crate::{
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    error::{Error, ErrorKind, Result},
};
use bytes::{Bytes, BytesMut};
use fusio::{
    CasCondition, Error as FusioError, Fs, FsCas, OpenOptions, Read, Write, durability::FileCommit,
    path::Path,
};
use futures_util::{StreamExt, pin_mut};
use std::{
    collections::BTreeSet,
    fmt,
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a store does with whole objects at once, so that nobody sees half of one.
trait Whole<F>: Send + Sync {
    fn get<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Bytes>>>;

    fn put_if_absent<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome>>;

    fn put<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<()>>;
}

/// A fusio store as a [`Storage`]. See the module's documentation.
pub struct OverFusio<F> {
    shared: Arc<Shared<F>>,
}

struct Shared<F> {
    fs: F,
    /// Before every key, with a `/` at its end; empty in a flat store.
    root: String,
    /// Whether a listing shows one directory only.
    walks: bool,
    whole: Box<dyn Whole<F>>,
    locks: Mutex<BTreeSet<String>>,
    temporaries: AtomicU64,
}

impl<F> Clone for OverFusio<F> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<F> fmt::Debug for OverFusio<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OverFusio({})", self.shared.root)
    }
}

/// fusio's error as ours.
fn of_fusio(what: &str, key: &str, error: FusioError) -> Error {
    let context = format!("{what} {key}");
    match error {
        FusioError::Io(error) => io_error(context, error),
        FusioError::Path(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => io_error(context, *error),
            Err(error) => Error::invalid(format!("{context}: {error}")),
        },
        FusioError::Other(error) => match error.downcast::<Error>() {
            Ok(error) => *error, // one of our own stores: it named the place already
            Err(error) => Error::new(ErrorKind::Unavailable, format!("{context}: {error}")),
        },
        FusioError::Unsupported { message } => {
            Error::unsupported(format!("{context}: the fusio store: {message}"))
        }
        error => Error::new(ErrorKind::Unavailable, format!("{context}: {error}")),
    }
}

fn says_missing(error: &FusioError) -> bool {
    match error {
        FusioError::Io(error) => is_missing(error),
        FusioError::Path(error) => error
            .downcast_ref::<std::io::Error>()
            .is_some_and(is_missing),
        _ => false,
    }
}

fn is_unsupported(error: &FusioError) -> bool {
    matches!(error, FusioError::Unsupported { .. })
}

/// Makes the bytes of a file durable, as far as the store can.
async fn commit<W: Write + FileCommit>(file: &mut W) -> Result<(), FusioError> {
    file.flush().await?;
    match file.commit().await {
        Err(error) if is_unsupported(&error) => Ok(()),
        done => done,
    }
}

impl<F> OverFusio<F>
where
    F: Fs + FsCas + 'static,
    F::File: FileCommit,
{
    /// The whole of a fusio store that has conditional writes.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(fs: F) -> Arc<Self> {
        Self::of(fs, String::new(), false, Box::new(Conditional))
    }
}

impl<F> OverFusio<F>
where
    F: Fs + 'static,
    F::File: FileCommit,
{
    /// The directory `root` (absolute, `/`-separated) of a fusio store that has hard links, such as
    /// `fusio::disk::TokioFs`.
    pub fn linking(fs: F, root: impl Into<String>) -> Arc<Self> {
        let mut root = root.into();
        if !root.ends_with('/') {
            root.push('/');
        }
        Self::of(fs, root, true, Box::new(Linked))
    }

    fn of(fs: F, root: String, walks: bool, whole: Box<dyn Whole<F>>) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::new(Shared {
                fs,
                root,
                walks,
                whole,
                locks: Mutex::default(),
                temporaries: AtomicU64::new(RandomState::new().hash_one("lakeshore")),
            }),
        })
    }

    fn fs(&self) -> &F {
        &self.shared.fs
    }

    fn path(&self, key: &str) -> Result<Path> {
        Path::parse(format!("{}{key}", self.shared.root))
            .map_err(|error| Error::invalid(format!("{key}: not a path of fusio's: {error}")))
    }

    /// Reads the range that `pick` chooses, given the size, and the size.
    async fn read(
        &self,
        key: &str,
        pick: impl FnOnce(u64) -> Range<u64> + Send,
    ) -> Result<Option<(Bytes, u64)>> {
        check_key(key)?;
        let mut file = match self.fs().open(&self.path(key)?).await {
            Err(error) if says_missing(&error) => return Ok(None),
            opened => opened.map_err(|error| of_fusio("open", key, error))?,
        };
        let size = match file.size().await {
            Err(error) if says_missing(&error) => return Ok(None),
            size => size.map_err(|error| of_fusio("open", key, error))?,
        };
        let range = pick(size);
        if range.start > range.end || range.end > size {
            return Err(ends_early(key, &range, size));
        }
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| Error::invalid(format!("{key}: the range is larger than memory")))?;
        if length == 0 {
            return Ok(Some((Bytes::new(), size)));
        }
        let (done, bytes) = file.read_exact_at(vec![0; length], range.start).await;
        match done {
            Ok(()) => Ok(Some((bytes.into(), size))),
            // Deleted since, or a directory, which some stores open.
            Err(error) if says_missing(&error) => Ok(None),
            Err(error) => Err(of_fusio("read", key, error)),
        }
    }

    /// Writes a whole file in place.
    async fn write(&self, key: &str, body: Bytes) -> Result<()> {
        let failed = |error| of_fusio("write", key, error);
        let options = OpenOptions::default().create(true).truncate(true);
        let opened = self.fs().open_options(&self.path(key)?, options).await;
        let mut file = opened.map_err(failed)?;
        if !body.is_empty() {
            file.write_all(body).await.0.map_err(failed)?;
        }
        commit(&mut file).await.map_err(failed)?;
        file.close().await.map_err(failed)
    }

    /// A new key in the directory of `key` that no listing shows.
    fn temporary(&self, key: &str) -> String {
        let number = self.shared.temporaries.fetch_add(1, Ordering::Relaxed);
        match key.rsplit_once('/') {
            Some((directory, _)) => format!("{directory}/{TEMPORARY}{number:016x}"),
            None => format!("{TEMPORARY}{number:016x}"),
        }
    }

    async fn remove(&self, key: &str) -> Result<()> {
        match self.fs().remove(&self.path(key)?).await {
            Err(error) if says_missing(&error) => Ok(()),
            done => done.map_err(|error| of_fusio("delete", key, error)),
        }
    }

    /// What one listing of `directory` shows: keys and sizes. `None`: it is not there, or an object.
    async fn entries(&self, directory: &str) -> Result<Option<Vec<ObjectMeta>>> {
        let failed = |error| of_fusio("list", directory, error);
        let path = self.path(directory)?;
        let listed = self.fs().list(&path).await;
        let stream = match listed {
            Err(error) if says_missing(&error) => return Ok(None),
            listed => listed.map_err(failed)?,
        };
        pin_mut!(stream);
        let root = self.shared.root.trim_start_matches('/');
        let mut found = Vec::new();
        while let Some(entry) = stream.next().await {
            let entry = match entry {
                Err(error) if says_missing(&error) => continue,
                entry => entry.map_err(failed)?,
            };
            if let Some(key) = entry.path.as_ref().strip_prefix(root) {
                found.push(ObjectMeta {
                    key: key.to_owned(),
                    size: entry.size,
                    // fusio does not say.
                    modified: None,
                });
            }
        }
        Ok(Some(found))
    }

    async fn all_in(&self, directory: &str) -> Result<Vec<ObjectMeta>> {
        let mut found = self.entries(directory).await?.unwrap_or_default();
        if !self.shared.walks {
            return Ok(found);
        }
        // fusio does not say which entry is a directory: only listing it tells.
        let mut objects = Vec::new();
        while let Some(entry) = found.pop() {
            if is_own(entry.key.rsplit('/').next().unwrap_or_default()) {
                continue;
            }
            match self.entries(&entry.key).await? {
                Some(inside) => found.extend(inside),
                None => objects.push(entry),
            }
        }
        Ok(objects)
    }
}

struct Conditional;

impl<F> Whole<F> for Conditional
where
    F: Fs + FsCas + 'static,
    F::File: FileCommit,
{
    fn get<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        // Not size and then read: between the two the object may be replaced.
        Box::pin(async move {
            let path = store.path(key)?;
            match store.fs().load_with_tag(&path).await {
                Ok(loaded) => Ok(loaded.map(|(bytes, _)| bytes.into())),
                Err(error) if says_missing(&error) => Ok(None),
                Err(error) => Err(of_fusio("read", key, error)),
            }
        })
    }

    fn put_if_absent<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            let path = store.path(key)?;
            let condition = CasCondition::IfNotExists;
            let put = store
                .fs()
                .put_conditional(&path, &body, None, None, condition);
            match put.await {
                Ok(_) => Ok(PutOutcome::Created),
                Err(FusioError::PreconditionFailed) => Ok(PutOutcome::Exists),
                Err(error) => Err(of_fusio("create", key, error)),
            }
        })
    }

    fn put<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = store.path(key)?;
            // Whoever loses a race here writes after the winner, which is all that `put` promises.
            loop {
                if self.put_if_absent(store, key, body.clone()).await? == PutOutcome::Created {
                    return Ok(());
                }
                let loaded = store.fs().load_with_tag(&path).await;
                let Some((_, tag)) = loaded.map_err(|error| of_fusio("write", key, error))? else {
                    continue;
                };
                let condition = CasCondition::IfMatch(tag);
                let put = store
                    .fs()
                    .put_conditional(&path, &body, None, None, condition);
                match put.await {
                    Ok(_) => return Ok(()),
                    Err(FusioError::PreconditionFailed) => {}
                    Err(error) if is_unsupported(&error) => return store.write(key, body).await,
                    Err(error) => return Err(of_fusio("write", key, error)),
                }
            }
        })
    }
}

struct Linked;

impl<F> Whole<F> for Linked
where
    F: Fs + 'static,
    F::File: FileCommit,
{
    fn get<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        // An open file stays the one it was when another takes its name.
        Box::pin(async move {
            let read = store.read(key, |size| 0..size).await?;
            Ok(read.map(|(bytes, _)| bytes))
        })
    }

    fn put_if_absent<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            let temporary = store.temporary(key);
            store.write(&temporary, body).await?;
            let (from, to) = (store.path(&temporary)?, store.path(key)?);
            let outcome = match store.fs().link(&from, &to).await {
                Ok(()) => Ok(PutOutcome::Created),
                Err(FusioError::Io(error)) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    Ok(PutOutcome::Exists)
                }
                Err(error) => Err(of_fusio("create", key, error)),
            };
            store.remove(&temporary).await?;
            outcome
        })
    }

    fn put<'a>(
        &'a self,
        store: &'a OverFusio<F>,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            while self.put_if_absent(store, key, body.clone()).await? == PutOutcome::Exists {
                store.remove(key).await?;
            }
            Ok(())
        })
    }
}

impl<F> Storage for OverFusio<F>
where
    F: Fs + 'static,
    F::File: FileCommit,
{
    fn describe(&self) -> String {
        format!("fusio {:?} {}", self.fs().file_system(), self.shared.root)
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            check_key(key)?;
            self.shared.whole.get(self, key).await
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let read = self.read(key, |_| range).await?;
            Ok(read.map(|(bytes, _)| bytes))
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(self.read(key, move |size| size.saturating_sub(length)..size))
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_key(key)?;
            self.shared.whole.put(self, key, body).await
        })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            check_key(key)?;
            self.shared.whole.put_if_absent(self, key, body).await
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(async move {
            check_key(key)?;
            let writer = Writer {
                store: self.clone(),
                key: key.to_owned(),
                body: BytesMut::new(),
            };
            Ok(Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(async move {
            check_prefix(prefix)?;
            let directory = prefix
                .rsplit_once('/')
                .map_or("", |(directory, _)| directory);
            let mut found = self.all_in(directory).await?;
            found.retain(|entry| {
                entry.key.starts_with(prefix)
                    && start_after.is_none_or(|after| entry.key.as_str() > after)
                    && check_key(&entry.key).is_ok()
            });
            found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(found)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_key(key)?;
            self.remove(key).await
        })
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(async move {
            check_key(key)?;
            let failed = |error| of_fusio("append to", key, error);
            let options = OpenOptions::default().create(true);
            let opened = self.fs().open_options(&self.path(key)?, options).await;
            let file = opened.map_err(failed)?;
            let length = file.size().await.map_err(failed)?;
            let key = key.to_owned();
            Ok(Box::new(Appender { file, key, length }) as Box<dyn AppendFile>)
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        Box::pin(async move {
            check_lock_name(name)?;
            let mut locks = self.locks();
            if !locks.insert(name.to_owned()) {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "lock {name} is held by another handle of this process: \
                         close that one first"
                    ),
                ));
            }
            let guard = Guard {
                store: self.clone(),
                name: name.to_owned(),
            };
            Ok(Box::new(guard) as Box<dyn LockGuard>)
        })
    }
}

impl<F> OverFusio<F> {
    fn locks(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        let locks = self.shared.locks.lock();
        locks.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gathers the pieces: fusio has no rename, so only a whole object can appear at once.
struct Writer<F> {
    store: OverFusio<F>,
    key: String,
    body: BytesMut,
}

impl<F> ObjectWriter for Writer<F>
where
    F: Fs + 'static,
    F::File: FileCommit,
{
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.body.extend_from_slice(&chunk);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move { self.store.put(&self.key, self.body.freeze()).await })
    }
}

struct Appender<T> {
    file: T,
    key: String,
    length: u64,
}

impl<T: Write + FileCommit + Send + 'static> AppendFile for Appender<T> {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let length = chunk.len() as u64;
            let (done, _) = self.file.write_all(chunk).await;
            done.map_err(|error| of_fusio("append to", &self.key, error))?;
            self.length += length;
            Ok(())
        })
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let synced = commit(&mut self.file).await;
            synced.map_err(|error| of_fusio("sync", &self.key, error))
        })
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let closed = self.file.close().await;
            closed.map_err(|error| of_fusio("close", &self.key, error))
        })
    }
}

struct Guard<F> {
    store: OverFusio<F>,
    name: String,
}

impl<F> Drop for Guard<F> {
    fn drop(&mut self) {
        self.store.locks().remove(&self.name);
    }
}

impl<F: Send + Sync + 'static> LockGuard for Guard<F> {
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}
