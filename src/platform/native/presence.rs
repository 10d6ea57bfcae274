//! How a holder of a lock file shows that it lives, to processes that may not see its pid: in another
//! container, or on another machine. Shared with the Node store (`js/src/host/node/presence.ts`).
//!
//! Beside `<name>.lock` a holder keeps `<name>.<nonce>.socket.lock`, a listening Unix socket, and
//! `<name>.<nonce>.beat.lock`, which it writes anew every second. The kernel closes the socket when its
//! process dies: on the kernel that the holder is on, who is refused there knows that it is dead. A kernel that
//! cannot tell (another machine's, a file system without sockets) watches the beat. Invariant: a
//! holder is called dead only if its kernel says so, or if no beat came for [`PATIENCE`], by the clock of the file system.
//! Who tries to take the lock shows itself in the same way; what it leaves if it is killed then, the next holder removes.

use crate::platform::key::LOCK_SUFFIX;
use std::{
    fs,
    io::{self, ErrorKind as Io},
    path::{Path, PathBuf},
    process,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

/// How often a holder says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// After so long without a beat it does not.
const PATIENCE: Duration = Duration::from_secs(10);
/// Files of who did not beat for so long are nobody's, unless it holds the lock.
const ABANDONED: Duration = Duration::from_secs(3600);
/// How often a watcher looks.
const LOOK: Duration = Duration::from_millis(200);
/// How many random bytes name a holder's files.
const NONCE: usize = 8;
/// Longest path that a socket can have everywhere, less what libraries add.
#[cfg(unix)]
const MAX_SOCKET_PATH: usize = 100;

/// Who holds a lock, as its file says: `<pid> <start> <kind> <nonce> <boot> <space> <socket>`.
pub(super) struct Holder {
    pub(super) pid: u32,
    start: String,
    pub(super) kind: String,
    nonce: String,
    boot: String,
    space: String,
    socket: bool,
}

/// The kernel we run on and the pids we see, `-` where that cannot be told.
struct Place {
    boot: String,
    space: String,
}

impl Place {
    fn here() -> Self {
        let unknown = || "-".to_owned();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot = boot.or_else(|_| {
            let asked = process::Command::new("sysctl")
                .args(["-n", "kern.bootsessionuuid"])
                .output()?;
            String::from_utf8(asked.stdout).map_err(io::Error::other)
        });
        let space = fs::read_link("/proc/self/ns/pid");
        let space = space.map(|link| link.to_string_lossy().into_owned());
        Self {
            boot: word(&boot.unwrap_or_default()).unwrap_or_else(unknown),
            space: word(&space.unwrap_or_default()).unwrap_or_else(unknown),
        }
    }

    fn is_same_kernel(&self, holder: &Holder) -> bool {
        self.boot != "-" && self.boot == holder.boot
    }
}

fn word(text: &str) -> Option<String> {
    text.split_whitespace().next().map(str::to_owned)
}

impl Holder {
    pub(super) fn parse(content: &str) -> Option<Self> {
        let mut words = content.split_whitespace();
        let (pid, start, kind) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        let mut next = || words.next().unwrap_or("-").to_owned();
        Some(Self {
            pid,
            start: start.to_owned(),
            kind: kind.to_owned(),
            nonce: next(),
            boot: next(),
            space: next(),
            socket: next() == "socket",
        })
    }

    pub(super) fn is_here(&self) -> bool {
        let here = Place::here();
        self.pid == process::id() && here.is_same_kernel(self) && here.space == self.space
    }

    /// Whether the operating system's lock on the file tells all about it: only another native process on
    /// this kernel.
    pub(super) fn is_told_by_lock(&self) -> bool {
        self.kind == "native" && Place::here().is_same_kernel(self)
    }

    /// For messages.
    pub(super) fn who(&self) -> String {
        if self.is_here() {
            return format!("this process (pid {})", self.pid);
        }
        let Place { boot, space } = Place::here();
        let place = match () {
            () if boot != self.boot => " on another machine",
            () if space != self.space => " in another container",
            () => "",
        };
        format!("process {} ({}){place}", self.pid, self.kind)
    }

    /// Whether it lives, which may take [`PATIENCE`] to be known. `own` is what we show ourselves.
    pub(super) fn is_alive(&self, lock: &Path, own: &Presence) -> bool {
        let here = Place::here();
        let same = here.is_same_kernel(self);
        if self.socket {
            match connect(&beside(lock, &self.nonce, "socket")) {
                Ok(()) => return true,
                Err(error) if same && error.kind() == Io::ConnectionRefused => return false,
                Err(_) => {}
            }
        } else if same && here.space == self.space && here.space != "-" {
            let start = start_of(self.pid);
            return start.is_some_and(|start| self.start == "-" || self.start == start);
        }
        self.beats(lock, own)
    }

    /// Watches its beat: true as soon as there is one.
    fn beats(&self, lock: &Path, own: &Presence) -> bool {
        let path = beside(lock, &self.nonce, "beat");
        let mut last = modified(&path);
        let mut watched = Duration::ZERO;
        while watched < PATIENCE {
            // By the clock of the file system: ours may be another.
            if let (Some(last), Some(now)) = (last, own.now())
                && now.duration_since(last).is_ok_and(|age| age >= PATIENCE)
            {
                return false;
            }
            thread::sleep(LOOK);
            watched += LOOK;
            let beat = modified(&path);
            if beat.is_some() && beat != last {
                return true;
            }
            last = beat.or(last);
        }
        false
    }

    /// What it left beside the lock file.
    pub(super) fn clear(&self, lock: &Path) {
        for what in ["socket", "beat"] {
            let _ = fs::remove_file(beside(lock, &self.nonce, what));
        }
    }
}

/// When process `pid` started, in clock ticks since the boot; `None` if there is no such process, or
/// no `/proc` to tell.
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_whitespace().nth(19)?.to_owned())
}

/// Whose file beside `lock` the file `name` is, if it is one.
fn nonce_of<'a>(lock: &Path, name: &'a str) -> Option<&'a str> {
    let own = lock.file_name()?.to_str()?.strip_suffix(LOCK_SUFFIX)?;
    let rest = name.strip_prefix(own)?.strip_prefix('.')?;
    let (nonce, rest) = rest.split_once('.')?;
    let kind = rest.strip_suffix(LOCK_SUFFIX)?;
    let is_nonce = nonce.len() == 2 * NONCE && nonce.bytes().all(|b| b.is_ascii_hexdigit());
    (is_nonce && ["socket", "beat"].contains(&kind)).then_some(nonce)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// The file of a holder beside the lock file: `wal.lock` has `wal.<nonce>.beat.lock`.
fn beside(lock: &Path, nonce: &str, what: &str) -> PathBuf {
    // A nonce comes from a file: it must not lead elsewhere.
    let nonce: String = nonce.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = lock.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(LOCK_SUFFIX).unwrap_or(&name).to_owned();
    lock.with_file_name(format!("{name}.{nonce}.{what}{LOCK_SUFFIX}"))
}

/// What we show for as long as we hold a lock, or try to. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Presence {
    beat: PathBuf,
    socket: Option<Socket>,
    /// Ends the beat when it is dropped.
    stop: Option<mpsc::Sender<()>>,
    beating: Option<JoinHandle<()>>,
    content: String,
}

impl Presence {
    /// Shows that we live, beside the file `lock`.
    pub(super) fn announce(lock: &Path) -> Self {
        let nonce = &super::lock::random_name(NONCE);
        let beat = beside(lock, nonce, "beat");
        let _ = fs::write(&beat, BEAT_TEXT);
        let socket = Socket::listen(beside(lock, nonce, "socket"));
        let pid = process::id();
        let start = start_of(pid).unwrap_or_else(|| "-".to_owned());
        let Place { boot, space } = Place::here();
        let shown = if socket.is_some() { "socket" } else { "-" };
        Self {
            content: format!("{pid} {start} native {nonce} {boot} {space} {shown}\n"),
            beat,
            socket,
            stop: None,
            beating: None,
        }
    }

    /// What the lock file says of us.
    pub(super) fn content(&self) -> &str {
        &self.content
    }

    /// The lock is ours: from now on there is a beat.
    pub(super) fn keep(&mut self) {
        let (stop, stopped) = mpsc::channel();
        let beat = self.beat.clone();
        let beating = thread::Builder::new()
            .name("lakeshore-lock".to_owned())
            .spawn(move || {
                while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(BEAT) {
                    let _ = fs::write(&beat, BEAT_TEXT);
                }
            });
        // Without one, who cannot see us would take the lock; the fence would tell us.
        self.beating = beating.ok();
        self.stop = Some(stop);
    }

    /// Removes what is left beside the lock file, which we hold, of those who were killed while they waited for it.
    pub(super) fn sweep(&self, lock: &Path) {
        let entries = lock.parent().and_then(|parent| fs::read_dir(parent).ok());
        let (Some(entries), Some(now)) = (entries, self.now()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(nonce) = name.to_str().and_then(|name| nonce_of(lock, name)) else {
                continue;
            };
            let beat = modified(&beside(lock, nonce, "beat"));
            let seen = beat.or_else(|| modified(&entry.path()));
            if seen.is_some_and(|seen| now.duration_since(seen).is_ok_and(|age| age > ABANDONED)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// What time it is in the file system.
    fn now(&self) -> Option<SystemTime> {
        fs::write(&self.beat, BEAT_TEXT).ok()?;
        modified(&self.beat)
    }
}

const BEAT_TEXT: &str = "alive\n";

impl Drop for Presence {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(beating) = self.beating.take() {
            let _ = beating.join();
        }
        self.socket = None;
        let _ = fs::remove_file(&self.beat);
    }
}

/// A listening Unix socket. Nobody accepts: that it takes connections says enough.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    #[cfg(unix)]
    _listener: std::os::unix::net::UnixListener,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
impl Socket {
    /// `None` where the file system has none.
    fn listen(path: PathBuf) -> Option<Self> {
        let bind = |short: &Path| std::os::unix::net::UnixListener::bind(short);
        let _listener = by_short_path(&path, bind).ok()?;
        Some(Self { path, _listener })
    }
}

#[cfg(not(unix))]
impl Socket {
    fn listen(_: PathBuf) -> Option<Self> {
        None
    }
}

/// Whether somebody listens there.
#[cfg(unix)]
fn connect(path: &Path) -> io::Result<()> {
    let (answer, answered) = mpsc::channel();
    let path = path.to_path_buf();
    // A process that is stopped and was asked too often lets us wait: it lives.
    let asking = move || {
        let connect = |short: &Path| std::os::unix::net::UnixStream::connect(short).map(drop);
        let _ = answer.send(by_short_path(&path, connect));
    };
    thread::Builder::new().spawn(asking)?;
    answered.recv_timeout(BEAT).unwrap_or(Ok(()))
}

#[cfg(not(unix))]
fn connect(_: &Path) -> io::Result<()> {
    Err(Io::Unsupported.into())
}

/// A socket's path is short: that of a long directory leads through a link to it.
#[cfg(unix)]
fn by_short_path<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return act(path);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Io::InvalidInput.into());
    };
    let link = std::env::temp_dir().join(format!("lk-{}", super::lock::random_name(4)));
    std::os::unix::fs::symlink(directory, &link)?;
    let done = act(&link.join(name));
    let _ = fs::remove_file(&link);
    done
}
