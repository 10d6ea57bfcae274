//! The blocking half of [`Directory`](super::Directory): plain functions over `std::fs`.
//!
//! Layout: object `a/b/c` is the file `<root>/a/b/c`. Beside the objects only a store's own files may
//! lie: `.tmp-<32 hex>` (being written; abandoned if older than an hour) and `<name>.lock`. The
//! Node store (`js/src/host/node.ts`) keeps the same layout.
//!
//! Invariants: a file gets its final name only after its bytes are synced; a write returns only
//! after that name, and those of all directories down from the root's parent, are synced.

use super::runtime::fill_random;
use crate::{
    env::{ObjectMeta, PutOutcome},
    error::{Error, ErrorKind, Result},
    platform::{
        io_error::{io_error, is_missing},
        key::{TEMPORARY, check_key, ends_early, is_own},
    },
};
use bytes::Bytes;
use std::{
    collections::HashSet,
    fmt::Write as _,
    fs::{self, DirEntry, File, OpenOptions},
    io::{self, ErrorKind as Io, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// After this long nobody is still writing a temporary file.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A directory as a store of objects; every call blocks.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Directories that exist, durably, as far as this handle made sure.
    durable: Mutex<HashSet<PathBuf>>,
}

/// Makes the entries of `directory` durable. Only Unix lets a directory be synced.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            durable: Mutex::default(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        key.split('/')
            .fold(self.root.clone(), |path, segment| path.join(segment))
    }

    fn open(&self, key: &str) -> Result<Option<(File, u64)>> {
        let opened = File::open(self.path(key)).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        match opened {
            Ok((_, metadata)) if metadata.is_dir() => Ok(None),
            Ok((file, metadata)) => Ok(Some((file, metadata.len()))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(io_error(format_args!("open {key}"), error)),
        }
    }

    /// The range that `pick` chooses, given the size, and the size.
    pub(super) fn read(
        &self,
        key: &str,
        pick: impl FnOnce(u64) -> Range<u64>,
    ) -> Result<Option<(Bytes, u64)>> {
        let Some((mut file, size)) = self.open(key)? else {
            return Ok(None);
        };
        let range = pick(size);
        if range.start > range.end || range.end > size {
            return Err(ends_early(key, &range, size));
        }
        let length = range.end - range.start;
        let mut bytes = Vec::with_capacity(length as usize);
        file.seek(SeekFrom::Start(range.start))
            .and_then(|_| file.take(length).read_to_end(&mut bytes))
            .map_err(|error| io_error(format_args!("read {key}"), error))?;
        if (bytes.len() as u64) < length {
            return Err(ends_early(key, &range, range.start + bytes.len() as u64));
        }
        Ok(Some((bytes.into(), size)))
    }

    /// Makes sure that the directory of `path` exists durably; at the first write to it, removes
    /// abandoned temporary files there.
    fn prepare(&self, path: &Path) -> io::Result<PathBuf> {
        let directory = path.parent().unwrap_or(&self.root).to_path_buf();
        let known = |of: &Path| self.durable().contains(of);
        if known(&directory) {
            return Ok(directory);
        }
        let missing_from = directory.ancestors().find(|one| one.is_dir());
        let missing_from = missing_from.map(Path::to_path_buf);
        fs::create_dir_all(&directory)?;
        for one in directory.ancestors() {
            if known(one) {
                break;
            }
            let Some(parent) = one.parent().filter(|p| !p.as_os_str().is_empty()) else {
                break;
            };
            // Within the root another process may have made it and not synced it yet; above the root
            // only what was made just now is ours to sync.
            let above = !one.starts_with(&self.root);
            if above
                && missing_from
                    .as_deref()
                    .is_some_and(|had| had.starts_with(one))
            {
                break;
            }
            match sync_directory(parent) {
                Err(error) if one == self.root && error.kind() == Io::PermissionDenied => {}
                done => done?,
            }
        }
        remove_abandoned(&directory);
        let mut durable = self.durable();
        let inside = directory
            .ancestors()
            .take_while(|one| one.starts_with(&self.root));
        durable.extend(inside.map(Path::to_path_buf));
        Ok(directory)
    }

    fn durable(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an object: a temporary file in the directory of `key`.
    pub(super) fn begin(&self, key: &str) -> Result<Temporary> {
        let path = self.path(key);
        let begun = self.prepare(&path).and_then(|directory| {
            let mut random = [0; 16];
            fill_random(&mut random);
            let mut name = TEMPORARY.to_owned();
            for byte in random {
                let _ = write!(name, "{byte:02x}");
            }
            let temporary = directory.join(name);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)?;
            Ok((directory, temporary, file))
        });
        let (directory, temporary, file) =
            begun.map_err(|error| io_error(format_args!("write {key}"), error))?;
        Ok(Temporary {
            key: key.to_owned(),
            path,
            directory,
            temporary,
            file,
        })
    }

    pub(super) fn put(&self, key: &str, body: &[u8]) -> Result<()> {
        let mut temporary = self.begin(key)?;
        temporary.write(body)?;
        temporary.replace()
    }

    pub(super) fn put_if_absent(&self, key: &str, body: &[u8]) -> Result<PutOutcome> {
        let path = self.path(key);
        if path.is_file() {
            // Whoever made it may not have synced its name yet; the caller may build on it.
            let synced = self
                .prepare(&path)
                .and_then(|directory| sync_directory(&directory));
            synced.map_err(|error| io_error(format_args!("sync {key}"), error))?;
            return Ok(PutOutcome::Exists);
        }
        let mut temporary = self.begin(key)?;
        temporary.write(body)?;
        temporary.link()
    }

    pub(super) fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        let directory = prefix.rsplit_once('/').map(|(directory, _)| directory);
        let wanted = Wanted {
            prefix,
            start_after,
        };
        let mut found = Vec::new();
        let top = directory.map_or_else(|| self.root.clone(), |directory| self.path(directory));
        let top_key = directory.map_or_else(String::new, |directory| format!("{directory}/"));
        wanted
            .walk(&top, &top_key, &mut found)
            .map_err(|error| io_error(format_args!("list {prefix:?}"), error))?;
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    pub(super) fn delete(&self, key: &str) -> Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if !is_missing(&error) => Err(io_error(format_args!("delete {key}"), error)),
            _ => Ok(()),
        }
    }

    /// Opens an append file, creating it if need be: the file, its directory and its length.
    pub(super) fn append(&self, key: &str) -> Result<(File, PathBuf, u64)> {
        let path = self.path(key);
        self.prepare(&path)
            .and_then(|directory| {
                let file = OpenOptions::new().append(true).create(true).open(&path)?;
                let length = file.metadata()?.len();
                Ok((file, directory, length))
            })
            .map_err(|error| io_error(format_args!("append to {key}"), error))
    }

    /// Opens (and creates) the lock file `name`.
    pub(super) fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.prepare(path)?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    }
}

/// `Closed` if `file` was removed, with its directory perhaps, or is not as long as we wrote it.
pub(super) fn check_append(file: &File, key: &str, length: u64) -> Result<()> {
    let found = file
        .metadata()
        .map_err(|error| io_error(format_args!("look at {key}"), error))?;
    let gone = |what: &str| Err(Error::new(ErrorKind::Closed, format!("{key}: {what}")));
    match (is_named(&found), found.len() == length) {
        (false, _) => gone("the file was removed, and what was written to it is lost"),
        (true, false) => gone("somebody else wrote to the file: the WAL is in use twice"),
        (true, true) => Ok(()),
    }
}

#[cfg(unix)]
fn is_named(found: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(found) > 0
}

#[cfg(not(unix))]
fn is_named(_: &fs::Metadata) -> bool {
    true // An open file cannot be removed there.
}

/// Syncs an append file, and its name when it is the first time.
pub(super) fn sync_append(file: &File, directory: Option<&Path>) -> io::Result<()> {
    file.sync_data()?;
    directory.map_or(Ok(()), sync_directory)
}

#[allow(clippy::disallowed_methods)] // a file's age: the seam itself
fn remove_abandoned(directory: &Path) {
    // Best effort: what cannot be removed now is never listed either.
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let now = SystemTime::now();
    for entry in entries.flatten() {
        let named = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(TEMPORARY));
        let age = || {
            now.duration_since(entry.metadata().ok()?.modified().ok()?)
                .ok()
        };
        if named && age().is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// In microseconds since the Unix epoch.
fn micros(time: SystemTime) -> Option<i64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}

struct Wanted<'a> {
    prefix: &'a str,
    start_after: Option<&'a str>,
}

impl Wanted<'_> {
    /// Whether some key that begins with `directory` (it ends with `/`) may be wanted.
    fn may_be_in(&self, directory: &str) -> bool {
        (directory.starts_with(self.prefix) || self.prefix.starts_with(directory))
            && self
                .start_after
                .is_none_or(|after| after.starts_with(directory) || directory > after)
    }

    fn is_wanted(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.start_after.is_none_or(|after| key > after)
    }

    fn walk(&self, path: &Path, key: &str, found: &mut Vec<ObjectMeta>) -> io::Result<()> {
        let entries = match fs::read_dir(path) {
            Err(error) if is_missing(&error) => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            match self.visit(&entry?, key, found) {
                // Deleted or renamed since the directory was read.
                Err(error) if error.kind() == Io::NotFound => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn visit(&self, entry: &DirEntry, parent: &str, found: &mut Vec<ObjectMeta>) -> io::Result<()> {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !is_own(name)) else {
            return Ok(());
        };
        let key = format!("{parent}{name}");
        // What is not a key was put there by somebody else.
        if check_key(&key).is_err() {
            return Ok(());
        }
        let mut kind = entry.file_type()?;
        if kind.is_symlink() {
            kind = fs::metadata(entry.path())?.file_type();
        }
        if kind.is_dir() {
            let directory = format!("{key}/");
            if self.may_be_in(&directory) {
                self.walk(&entry.path(), &directory, found)?;
            }
        } else if kind.is_file() && self.is_wanted(&key) {
            let metadata = fs::metadata(entry.path())?;
            found.push(ObjectMeta {
                key,
                size: metadata.len(),
                modified: metadata.modified().ok().and_then(micros),
            });
        }
        Ok(())
    }
}

/// An object being written; dropped, it leaves nothing.
#[derive(Debug)]
pub(super) struct Temporary {
    key: String,
    path: PathBuf,
    directory: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Temporary {
    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.file
            .write_all(chunk)
            .map_err(|error| io_error(format_args!("write {}", self.key), error))
    }

    /// Makes the object durable under its name, replacing one that is there.
    pub(super) fn replace(self) -> Result<()> {
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .and_then(|()| sync_directory(&self.directory))
            .map_err(|error| io_error(format_args!("write {}", self.key), error))
    }

    /// Makes the object durable under its name unless one is there.
    pub(super) fn link(self) -> Result<PutOutcome> {
        let what = || format!("create {}", self.key);
        self.file
            .sync_all()
            .map_err(|error| io_error(what(), error))?;
        let outcome = match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => PutOutcome::Created,
            Err(error) if error.kind() == Io::AlreadyExists && !self.path.is_dir() => {
                PutOutcome::Exists
            }
            Err(error) if error.kind() == Io::AlreadyExists => {
                let error = io::Error::new(Io::IsADirectory, error);
                return Err(io_error(what(), error));
            }
            Err(error) if no_hard_links(&error) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{}: the file system has no hard links: use another", what()),
                )
                .with_source(error));
            }
            Err(error) => return Err(io_error(what(), error)),
        };
        sync_directory(&self.directory).map_err(|error| io_error(what(), error))?;
        Ok(outcome)
    }
}

fn no_hard_links(error: &io::Error) -> bool {
    const EPERM: i32 = 1;
    error.kind() == Io::Unsupported || (cfg!(unix) && error.raw_os_error() == Some(EPERM))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After `replace` the name is gone already.
        let _ = fs::remove_file(&self.temporary);
    }
}
