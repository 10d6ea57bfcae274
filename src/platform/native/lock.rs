//! The lock file `<name>.lock` of a directory, shared with the Node store.
//!
//! Content: `<pid> <start> <kind>\n`, or nothing if free; Node appends a nonce. `start` is field 22 of `/proc/<pid>/stat`
//! (`-` where there is none), `kind` is `native` or `node`. Natively the operating system's lock on
//! the file decides, between processes and between handles of one process, and dies with its
//! holder. Node has no such locks: it goes by the content, replaces the file when its holder is
//! dead, and looks again at what it replaced. So after taking the lock and writing the content the
//! native side checks that the file still bears its name.
//! Known limit: a Node process in another container (PID namespace) looks dead.

use super::files::Files;
use crate::{
    env::{BoxFuture, LockGuard},
    error::{Error, ErrorKind, Result},
    platform::{io_error::io_error, key::LOCK_SUFFIX},
};
use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::Path,
    process,
};

/// How often the file may be replaced under our hands before we call it busy.
const ATTEMPTS: usize = 5;

/// A held lock: the open file holds it.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

struct Holder {
    pid: u32,
    start: String,
    kind: String,
}

fn parse(content: &str) -> Option<Holder> {
    let mut words = content.split_whitespace();
    Some(Holder {
        pid: words.next()?.parse().ok()?,
        start: words.next()?.to_owned(),
        kind: words.next()?.to_owned(),
    })
}

fn read_holder(mut file: &File) -> Option<Holder> {
    let mut content = String::new();
    file.rewind().ok()?;
    file.take(256).read_to_string(&mut content).ok()?;
    parse(&content)
}

/// When process `pid` started, in clock ticks since the boot; `None` if there is no such process, or
/// no `/proc` to tell.
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_whitespace().nth(19)?.to_owned())
}

fn is_alive(holder: &Holder) -> bool {
    if Path::new("/proc/self/stat").exists() {
        return start_of(holder.pid)
            .is_some_and(|start| holder.start == "-" || holder.start == start);
    }
    let listed = process::Command::new("ps")
        .args(["-o", "pid=", "-p", &holder.pid.to_string()])
        .output();
    // Where nobody can tell, it counts as alive: a wrong `Busy` loses no data.
    listed.map_or(true, |output| output.status.success())
}

fn busy(path: &Path, holder: Option<&Holder>) -> Error {
    let who = match holder {
        Some(holder) if holder.pid == process::id() => {
            format!("this process (pid {})", holder.pid)
        }
        Some(holder) => format!("process {} ({})", holder.pid, holder.kind),
        None => "another process".to_owned(),
    };
    let path = path.display();
    Error::new(
        ErrorKind::Busy,
        format!("{path} is held by {who}: close it there first"),
    )
}

#[cfg(unix)]
fn bears_name(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => ours.dev() == named.dev() && ours.ino() == named.ino(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn bears_name(_: &File, _: &Path) -> bool {
    true // An open file cannot be replaced there.
}

fn write_holder(mut file: &File) -> io::Result<()> {
    let pid = process::id();
    let start = start_of(pid).unwrap_or_else(|| "-".to_owned());
    let content = format!("{pid} {start} native\n");
    file.rewind()?;
    file.write_all(content.as_bytes())?;
    file.set_len(content.len() as u64)
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
        // A native holder's lock would still be there; only a Node holder lives without one.
        let holder = read_holder(&file).filter(|holder| holder.kind == "node");
        if let Some(holder) = holder.filter(is_alive) {
            return Err(busy(&path, Some(&holder)));
        }
        if !bears_name(&file, &path) {
            continue;
        }
        write_holder(&file).map_err(failed)?;
        if bears_name(&file, &path) {
            return Ok(Lock { file });
        }
    }
    Err(busy(&path, None))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Empty means free, to Node too. Closing the file frees the lock whatever happens here.
        let _ = self.file.set_len(0);
    }
}

impl LockGuard for Lock {
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}
