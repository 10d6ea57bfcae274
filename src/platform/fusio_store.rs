//! Every store of ours as a fusio store: `Fs`, `FsCas` and the file traits, by the calls of
//! [`Storage`]. `fusio_store!(Type, Tag)` gives them to a type. The other direction is `over_fusio`.
//!
//! A file opened with `truncate` is a new object, which appears whole at `close` or `commit`; one
//! opened to write without it is an append file; and reads always see what the store has. A tag is
//! a hash of the bytes; `IfMatch` is `Unsupported`, because object stores do not all have it.

use crate::{
    env::{AppendFile, BoxFuture, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    error::{Error, ErrorKind},
};
use bytes::Bytes;
use fusio::{
    CasCondition, Error as FusioError, IoBuf, IoBufMut, OpenOptions, Read, Write,
    durability::FileCommit, fs::FileMeta, path::Path,
};
use futures_util::stream::{self, Stream};
use std::{io, sync::Mutex};

/// Ours as fusio's; `over_fusio` takes it out again.
pub(crate) fn to_fusio(error: Error) -> FusioError {
    FusioError::Other(Box::new(error))
}

fn io_kind(kind: io::ErrorKind, message: String) -> FusioError {
    FusioError::Io(io::Error::new(kind, message))
}

fn not_found(key: &str) -> FusioError {
    io_kind(io::ErrorKind::NotFound, format!("no object {key}"))
}

enum Mode {
    Read,
    Append(Box<dyn AppendFile>),
    Replace(Box<dyn ObjectWriter>),
    Closed,
}

/// A file of fusio's in a store of ours.
pub struct ObjectFile<S> {
    store: S,
    key: String,
    /// The writers are `Send` only; nothing shares them, the mutex is never contended.
    mode: Mutex<Mode>,
}

async fn size_of<S: Storage>(store: &S, key: &str) -> Result<Option<u64>, FusioError> {
    let tail = store.get_suffix(key, 1).await.map_err(to_fusio)?;
    Ok(tail.map(|(_, size)| size))
}

async fn start<S: Storage>(store: &S, key: &str) -> Result<Mode, FusioError> {
    Ok(Mode::Replace(store.create(key).await.map_err(to_fusio)?))
}

pub(crate) async fn open<S: Storage + Clone>(
    store: &S,
    path: &Path,
    options: OpenOptions,
) -> Result<ObjectFile<S>, FusioError> {
    let key = path.as_ref();
    if !options.create && size_of(store, key).await?.is_none() {
        return Err(not_found(key));
    }
    let mode = if options.truncate {
        start(store, key).await?
    } else if options.write || options.create {
        match store.append(key).await {
            Ok(file) => Mode::Append(file),
            // An object store: what is new is written at once.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                if size_of(store, key).await?.is_some() {
                    return Err(to_fusio(error));
                }
                start(store, key).await?
            }
            Err(error) => return Err(to_fusio(error)),
        }
    } else {
        Mode::Read
    };
    Ok(ObjectFile {
        store: store.clone(),
        key: key.to_owned(),
        mode: Mutex::new(mode),
    })
}

impl<S> ObjectFile<S> {
    fn mode(&mut self) -> &mut Mode {
        self.mode
            .get_mut()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), FusioError> {
        match self.mode() {
            Mode::Append(file) => file.write(chunk).await,
            Mode::Replace(object) => object.write(chunk).await,
            Mode::Read => Err(Error::new(
                ErrorKind::Invalid,
                "the file was opened to read: open it with `write`",
            )),
            Mode::Closed => Err(Error::closed()),
        }
        .map_err(to_fusio)
    }

    async fn finish(&mut self, close: bool) -> Result<(), FusioError> {
        let mode = self.mode();
        match mode {
            Mode::Append(file) => file.sync().await.map_err(to_fusio)?,
            Mode::Replace(_) => {
                if let Mode::Replace(object) = std::mem::replace(mode, Mode::Closed) {
                    object.finish().await.map_err(to_fusio)?;
                }
            }
            Mode::Read | Mode::Closed => {}
        }
        if close && let Mode::Append(file) = std::mem::replace(self.mode(), Mode::Closed) {
            file.close().await.map_err(to_fusio)?;
        }
        Ok(())
    }
}

impl<S: Storage + Clone + 'static> ObjectFile<S> {
    async fn fill(&self, buffer: &mut [u8], at: u64) -> Result<(), FusioError> {
        let range = at..at.saturating_add(buffer.len() as u64);
        match self.store.get_range(&self.key, range).await {
            Ok(Some(bytes)) if bytes.len() == buffer.len() => {
                buffer.copy_from_slice(&bytes);
                Ok(())
            }
            Ok(Some(_)) => Err(to_fusio(Error::internal("a ranged read of a wrong length"))),
            Ok(None) => Err(not_found(&self.key)),
            Err(error) if error.kind() == ErrorKind::Corrupt => Err(io_kind(
                io::ErrorKind::UnexpectedEof,
                error.message().to_owned(),
            )),
            Err(error) => Err(to_fusio(error)),
        }
    }
}

impl<S: Storage + Clone + 'static> Read for ObjectFile<S> {
    async fn read_exact_at<B: IoBufMut>(
        &mut self,
        mut buffer: B,
        at: u64,
    ) -> (Result<(), FusioError>, B) {
        let done = self.fill(buffer.as_slice_mut(), at).await;
        (done, buffer)
    }

    async fn read_to_end_at(
        &mut self,
        mut buffer: Vec<u8>,
        at: u64,
    ) -> (Result<(), FusioError>, Vec<u8>) {
        let size = match self.size().await {
            Ok(size) if at <= size => size,
            Ok(size) => {
                let message = format!("{} ends at {size}, before {at}", self.key);
                return (Err(io_kind(io::ErrorKind::UnexpectedEof, message)), buffer);
            }
            Err(error) => return (Err(error), buffer),
        };
        let read = self.store.get_range(&self.key, at..size).await;
        let done = match read {
            Ok(Some(bytes)) => {
                buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Ok(None) => Err(not_found(&self.key)),
            Err(error) => Err(to_fusio(error)),
        };
        (done, buffer)
    }

    async fn size(&self) -> Result<u64, FusioError> {
        let size = size_of(&self.store, &self.key).await?;
        size.ok_or_else(|| not_found(&self.key))
    }
}

impl<S: Storage + Clone + 'static> Write for ObjectFile<S> {
    async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (Result<(), FusioError>, B) {
        let done = self.write(buffer.as_bytes()).await;
        (done, buffer)
    }

    async fn flush(&mut self) -> Result<(), FusioError> {
        match self.mode() {
            Mode::Append(file) => file.sync().await.map_err(to_fusio),
            _ => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<(), FusioError> {
        self.finish(true).await
    }
}

impl<S: Storage + Clone + 'static> FileCommit for ObjectFile<S> {
    async fn commit(&mut self) -> Result<(), FusioError> {
        self.finish(false).await
    }
}

pub(crate) async fn list<S: Storage>(
    store: &S,
    path: &Path,
) -> Result<impl Stream<Item = Result<FileMeta, FusioError>> + Send + use<S>, FusioError> {
    let prefix = match path.as_ref() {
        "" => String::new(),
        directory => format!("{directory}/"),
    };
    let found = store.list(&prefix, None).await.map_err(to_fusio)?;
    let metas = found.into_iter().map(|ObjectMeta { key, size, .. }| {
        let path = Path::parse(&key).map_err(|error| FusioError::Path(Box::new(error)))?;
        Ok(FileMeta { path, size })
    });
    Ok(stream::iter(metas))
}

pub(crate) async fn link<S: Storage>(store: &S, from: &Path, to: &Path) -> Result<(), FusioError> {
    let body = store.get(from.as_ref()).await.map_err(to_fusio)?;
    let body = body.ok_or_else(|| not_found(from.as_ref()))?;
    match store
        .put_if_absent(to.as_ref(), body)
        .await
        .map_err(to_fusio)?
    {
        PutOutcome::Created => Ok(()),
        PutOutcome::Exists => Err(io_kind(
            io::ErrorKind::AlreadyExists,
            format!("{to} exists"),
        )),
    }
}

pub(crate) async fn copy<S: Storage>(store: &S, from: &Path, to: &Path) -> Result<(), FusioError> {
    let body = store.get(from.as_ref()).await.map_err(to_fusio)?;
    let body = body.ok_or_else(|| not_found(from.as_ref()))?;
    store.put(to.as_ref(), body).await.map_err(to_fusio)
}

pub(crate) async fn exists<S: Storage>(store: &S, path: &Path) -> Result<bool, FusioError> {
    Ok(size_of(store, path.as_ref()).await?.is_some())
}

fn tag(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

pub(crate) type Loaded = Result<Option<(Vec<u8>, String)>, FusioError>;

pub(crate) fn load_with_tag<'a, S: Storage>(store: &'a S, path: &Path) -> BoxFuture<'a, Loaded> {
    let path = path.clone();
    Box::pin(async move {
        let body = store.get(path.as_ref()).await.map_err(to_fusio)?;
        Ok(body.map(|bytes| (bytes.to_vec(), tag(&bytes))))
    })
}

pub(crate) fn put_conditional<'a, S: Storage>(
    store: &'a S,
    path: &Path,
    payload: &[u8],
    condition: CasCondition,
) -> BoxFuture<'a, Result<String, FusioError>> {
    let (path, body) = (path.clone(), Bytes::copy_from_slice(payload));
    Box::pin(async move {
        if condition != CasCondition::IfNotExists {
            return Err(FusioError::Unsupported {
                message: "only IfNotExists: not every object store can compare tags".to_owned(),
            });
        }
        let tag = tag(&body);
        match store
            .put_if_absent(path.as_ref(), body)
            .await
            .map_err(to_fusio)?
        {
            PutOutcome::Created => Ok(tag),
            PutOutcome::Exists => Err(FusioError::PreconditionFailed),
        }
    })
}

/// Implements `fusio::Fs` and `fusio::FsCas` for a [`Storage`] that is `Clone`.
macro_rules! fusio_store {
    ($store:ty, $tag:ident) => {
        const _: () = {
            use $crate::platform::fusio_store as by;
            use ::fusio::{Error, OpenOptions, fs, path::Path};
            use ::std::pin::Pin;

            impl fs::Fs for $store {
                type File = by::ObjectFile<Self>;

                fn file_system(&self) -> fs::FileSystemTag {
                    fs::FileSystemTag::$tag
                }

                async fn open_options(
                    &self,
                    path: &Path,
                    options: OpenOptions,
                ) -> Result<Self::File, Error> {
                    by::open(self, path, options).await
                }

                async fn create_dir_all(_: &Path) -> Result<(), Error> {
                    Ok(()) // Directories are only prefixes.
                }

                async fn list(
                    &self,
                    path: &Path,
                ) -> Result<
                    impl ::futures_util::Stream<Item = Result<fs::FileMeta, Error>> + Send,
                    Error,
                > {
                    by::list(self, path).await
                }

                async fn remove(&self, path: &Path) -> Result<(), Error> {
                    let deleted = $crate::env::Storage::delete(self, path.as_ref()).await;
                    deleted.map_err(by::to_fusio)
                }

                async fn copy(&self, from: &Path, to: &Path) -> Result<(), Error> {
                    by::copy(self, from, to).await
                }

                async fn link(&self, from: &Path, to: &Path) -> Result<(), Error> {
                    by::link(self, from, to).await
                }

                async fn exists(&self, path: &Path) -> Result<bool, Error> {
                    by::exists(self, path).await
                }
            }

            impl fs::FsCas for $store {
                fn load_with_tag(
                    &self,
                    path: &Path,
                ) -> Pin<Box<dyn ::fusio_core::MaybeSendFuture<Output = by::Loaded> + '_>> {
                    Box::pin(by::load_with_tag(self, path))
                }

                fn put_conditional(
                    &self,
                    path: &Path,
                    payload: &[u8],
                    _content_type: Option<&str>,
                    _metadata: Option<Vec<(String, String)>>,
                    condition: fs::CasCondition,
                ) -> Pin<Box<dyn ::fusio_core::MaybeSendFuture<Output = Result<String, Error>> + '_>> {
                    Box::pin(by::put_conditional(self, path, payload, condition))
                }
            }
        };
    };
}
pub(crate) use fusio_store;
