//! The lock file `<name>.lock` of a directory, shared with the Node store.
//!
//! Content: one line that says who holds it and how to see whether that lives (`presence.rs`), or nothing
//! if free. Between native processes of one kernel, and between handles of one process, the operating
//! system's lock on the file decides, and dies with its holder, whatever containers they are in. Node
//! has no such locks: it goes by the content, replaces the file when its holder is dead, and looks again
//! at what it replaced. So after taking the lock and writing the content the native side checks that
//! the file still bears its name.
//!
//! Fence: a holder that was called dead and was not (it slept longer than anybody's patience, on a machine of its
//! own) finds another's content under the name. `confirm` says so, before anything is acknowledged.

use super::{
    files::Files,
    presence::{Holder, Presence},
    runtime::fill_random,
};
use crate::{
    env::{BoxFuture, LockGuard},
    error::{Error, ErrorKind, Result},
    platform::{io_error::io_error, key::LOCK_SUFFIX},
};
use std::{
    fmt::Write as _,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// How often the file may be replaced under our hands before we call it busy.
const ATTEMPTS: usize = 5;
/// Longer than any content.
const MOST: u64 = 512;

/// A held lock: the open file holds it.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    presence: Presence,
}

fn read_content(mut file: &File) -> io::Result<String> {
    let mut content = String::new();
    file.rewind()?;
    file.take(MOST).read_to_string(&mut content)?;
    Ok(content)
}

fn read_holder(file: &File) -> Option<Holder> {
    Holder::parse(&read_content(file).ok()?)
}

fn busy(path: &Path, holder: Option<&Holder>) -> Error {
    let who = holder.map_or_else(|| "another process".to_owned(), Holder::who);
    let path = path.display();
    Error::new(
        ErrorKind::Busy,
        format!("{path} is held by {who}: close it there first"),
    )
}

#[cfg(unix)]
fn bears_name(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (ours, named) = (file.metadata()?, fs::metadata(path)?);
    Ok(ours.dev() == named.dev() && ours.ino() == named.ino())
}

#[cfg(not(unix))]
fn bears_name(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true) // An open file cannot be replaced there.
}

fn write_content(mut file: &File, content: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(content.as_bytes())?;
    file.set_len(content.len() as u64)
}

/// So many random bytes, in hexadecimal.
pub(super) fn random_name(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    fill_random(&mut random);
    random.iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

pub(super) fn take(files: &Files, name: &str) -> Result<Lock> {
    let path = files.path(&format!("{name}{LOCK_SUFFIX}"));
    let failed = |error| io_error(format_args!("lock {}", path.display()), error);
    for _ in 0..ATTEMPTS {
        let file = files.open_lock(&path).map_err(failed)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(busy(&path, read_holder(&file).as_ref()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Ok(()) => {}
        }
        let mut presence = Presence::announce(&path);
        // A native holder on this kernel would still have its lock.
        let before = read_holder(&file);
        let unsure = before.as_ref().filter(|holder| !holder.is_told_by_lock());
        if let Some(holder) = unsure.filter(|holder| holder.is_alive(&path, &presence)) {
            return Err(busy(&path, Some(holder)));
        }
        if !bears_name(&file, &path).unwrap_or(false) {
            continue;
        }
        write_content(&file, presence.content()).map_err(failed)?;
        if bears_name(&file, &path).unwrap_or(false) {
            if let Some(before) = before {
                before.clear(&path);
            }
            presence.keep();
            presence.sweep(&path);
            return Ok(Lock {
                file,
                path,
                presence,
            });
        }
    }
    Err(busy(&path, None))
}

impl Lock {
    /// Whether the file under the name is ours, with what we wrote.
    fn is_ours(&self) -> io::Result<bool> {
        Ok(bears_name(&self.file, &self.path)?
            && read_content(&self.file)? == self.presence.content())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Empty means free, to Node too; what is another's stays. Closing the file frees the lock whatever
        // happens here.
        if self.is_ours().unwrap_or(false) {
            let _ = self.file.set_len(0);
        }
        // Closing alone leaves it to a process that was forked off and has not begun its program yet.
        let _ = self.file.unlock();
    }
}

impl LockGuard for Lock {
    fn confirm(&self) -> Result<()> {
        let path = self.path.display();
        match self.is_ours() {
            Ok(true) => Ok(()),
            Ok(false) => {
                let taken = fs::read_to_string(&self.path).unwrap_or_default();
                let who = Holder::parse(&taken).map_or_else(
                    || "somebody emptied or replaced it".to_owned(),
                    |holder| format!("{} took it over", holder.who()),
                );
                let message = format!("{path} is not held any more: {who}");
                Err(Error::new(ErrorKind::Closed, message))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("{path} is not held any more: it was removed");
                Err(Error::new(ErrorKind::Closed, message))
            }
            Err(error) => Err(io_error(format_args!("look at {path}"), error)),
        }
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}
