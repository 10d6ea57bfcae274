//! A directory as a [`Storage`]: the thin async half over `files.rs`.
//!
//! What may wait for the disk (syncs, large reads and writes, listings) runs on tokio's blocking
//! threads; what the page cache answers at once (small reads, the writes of an append file) runs in
//! place, because a change of threads costs more than the call. Outside of tokio all of it runs in
//! place. Invariant: an append file that failed once fails from then on, because what the kernel
//! kept of it is not known: open it again and read.

use super::{
    files::{Files, Temporary, check_append, sync_append},
    lock,
};
use crate::{
    env::{AppendFile, BoxFuture, Env, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    error::{Error, ErrorKind, Result},
    platform::{
        fusio_store::fusio_store,
        io_error::io_error,
        key::{check_key, check_lock_name, check_prefix},
    },
};
use bytes::Bytes;
use std::{
    fs::File,
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Up to this many bytes are read or written in place.
const SMALL: u64 = 64 * 1024;

/// Objects in a directory of the local file system. A clone is another handle on the same.
#[derive(Clone, Debug)]
pub struct Directory {
    files: Arc<Files>,
}

impl Directory {
    /// The store in the directory `path`, which the first write creates. Does no I/O.
    pub fn open(path: impl AsRef<Path>) -> Arc<Self> {
        let path = path.as_ref();
        // A later change of the working directory must not move the store.
        let root = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Arc::new(Self {
            files: Arc::new(Files::new(root)),
        })
    }
}

/// A database in the directory `data`, with its WAL in the directory `wal`, if there is one. Call it
/// within a tokio runtime.
pub fn env(data: impl AsRef<Path>, wal: Option<&Path>) -> Result<Env> {
    Ok(Env {
        data: Directory::open(data),
        wal: wal.map(|path| Directory::open(path) as Arc<dyn Storage>),
        runtime: super::TokioRuntime::current()?,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let Ok(handle) = tokio::runtime::Handle::try_current() else {
        return work();
    };
    match handle.spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Error::internal("a disk task panicked")),
        Err(_) => Err(Error::new(
            ErrorKind::Unavailable,
            "the tokio runtime is shutting down",
        )),
    }
}

fusio_store!(Directory, Local);

impl Storage for Directory {
    fn describe(&self) -> String {
        format!("directory {}", self.files.root().display())
    }

    fn identity(&self) -> Option<String> {
        Some(self.describe())
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            check_key(key)?;
            let (files, key) = (self.files.clone(), key.to_owned());
            let read = blocking(move || files.read(&key, |size| 0..size)).await?;
            Ok(read.map(|(bytes, _)| bytes))
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            check_key(key)?;
            let read = if range.end.saturating_sub(range.start) <= SMALL {
                self.files.read(key, |_| range)?
            } else {
                let (files, key) = (self.files.clone(), key.to_owned());
                blocking(move || files.read(&key, |_| range)).await?
            };
            Ok(read.map(|(bytes, _)| bytes))
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(async move {
            check_key(key)?;
            let pick = move |size: u64| size.saturating_sub(length)..size;
            if length <= SMALL {
                return self.files.read(key, pick);
            }
            let (files, key) = (self.files.clone(), key.to_owned());
            blocking(move || files.read(&key, pick)).await
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_key(key)?;
            let (files, key) = (self.files.clone(), key.to_owned());
            blocking(move || files.put(&key, &body)).await
        })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            check_key(key)?;
            let (files, key) = (self.files.clone(), key.to_owned());
            blocking(move || files.put_if_absent(&key, &body)).await
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(async move {
            check_key(key)?;
            let (files, key) = (self.files.clone(), key.to_owned());
            let temporary = Some(blocking(move || files.begin(&key)).await?);
            Ok(Box::new(Writer { temporary }) as Box<dyn ObjectWriter>)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(async move {
            check_prefix(prefix)?;
            let (files, prefix) = (self.files.clone(), prefix.to_owned());
            let start_after = start_after.map(str::to_owned);
            blocking(move || files.list(&prefix, start_after.as_deref())).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_key(key)?;
            let (files, key) = (self.files.clone(), key.to_owned());
            blocking(move || files.delete(&key)).await
        })
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(async move {
            check_key(key)?;
            let (files, name) = (self.files.clone(), key.to_owned());
            let (file, directory, length) = blocking(move || files.append(&name)).await?;
            let file = Appender {
                key: key.to_owned(),
                file: Arc::new(file),
                unsynced_name: Some(directory),
                length,
                failed: Arc::default(),
            };
            Ok(Box::new(file) as Box<dyn AppendFile>)
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        Box::pin(async move {
            check_lock_name(name)?;
            let (files, name) = (self.files.clone(), name.to_owned());
            let lock = blocking(move || lock::take(&files, &name)).await?;
            Ok(Box::new(lock) as Box<dyn LockGuard>)
        })
    }
}

struct Writer {
    /// `None` while a blocking thread has it, and after one lost it.
    temporary: Option<Temporary>,
}

impl ObjectWriter for Writer {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut temporary = self.temporary.take().ok_or_else(interrupted)?;
            let written = if chunk.len() as u64 <= SMALL {
                temporary.write(&chunk).map(|()| temporary)
            } else {
                blocking(move || temporary.write(&chunk).map(|()| temporary)).await
            };
            self.temporary = Some(written?);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let temporary = self.temporary.ok_or_else(interrupted)?;
            blocking(move || temporary.replace()).await
        })
    }
}

fn interrupted() -> Error {
    Error::invalid("an earlier write of this object failed or was dropped: start it again")
}

struct Appender {
    key: String,
    file: Arc<File>,
    /// The directory, until the first sync.
    unsynced_name: Option<PathBuf>,
    length: u64,
    /// Set by whatever failed, also by a sync whose future was dropped meanwhile.
    failed: Arc<AtomicBool>,
}

impl Appender {
    fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{}: an earlier write or sync failed: open it again",
                    self.key
                ),
            ));
        }
        Ok(())
    }
}

impl AppendFile for Appender {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.check()?;
            let mut file: &File = &self.file;
            file.write_all(&chunk).map_err(|error| {
                self.failed.store(true, Ordering::Release);
                io_error(format_args!("append to {}", self.key), error)
            })?;
            self.length += chunk.len() as u64;
            Ok(())
        })
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.check()?;
            let (file, directory) = (self.file.clone(), self.unsynced_name.clone());
            let (key, failed) = (self.key.clone(), self.failed.clone());
            blocking(move || {
                sync_append(&file, directory.as_deref()).map_err(|error| {
                    // The kernel may have dropped the pages: a later sync would lie.
                    failed.store(true, Ordering::Release);
                    io_error(format_args!("sync {key}"), error)
                })
            })
            .await?;
            self.unsynced_name = None;
            Ok(())
        })
    }

    fn confirm<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { check_append(&self.file, &self.key, self.length) })
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}
