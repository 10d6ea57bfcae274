//! All there is in one simulated world, under one lock: true time, tasks, what is to happen, processes
//! with their clocks, the store, the truth about the log, the trace. Nothing in it knows a thread or a
//! real clock, so a seed decides everything.

use super::{
    clock::Clock,
    device::Device,
    log::Log,
    run::Report,
    store::{Request, Store},
    work::Errand,
};
use crate::support::random::Random;
use futures_channel::oneshot;
use lakeshore::env::BoxFuture;
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool},
};

pub const SECOND: u64 = 1_000_000;
pub const MINUTE: u64 = 60 * SECOND;
/// The shortest grace time that options allow.
pub const GRACE: u64 = 15 * MINUTE;
/// True time at the beginning, in microseconds since the Unix epoch.
pub const START: i64 = 1_700_000_000_000_000;

pub type TaskId = u64;
pub type Pid = usize;

pub struct Task {
    pub pid: Pid,
    pub future: BoxFuture<'static, ()>,
    pub waker: Arc<Waking>,
}

/// Puts a task into the line of those that can go on.
pub struct Waking {
    pub id: TaskId,
    pub queued: AtomicBool,
    pub line: Arc<Mutex<Vec<TaskId>>>,
}

/// What is to happen at some time.
pub enum Event {
    /// A sleep ends.
    Wake(oneshot::Sender<()>),
    /// A request takes effect; its reply arrives.
    Effect(u64),
    Reply(u64),
    /// A device is switched on.
    Boot(usize),
    /// A process is gone: nothing of it goes on.
    Crash(Pid),
    /// A process stands still, and goes on.
    Suspend(Pid, u64),
    Resume(Pid),
    /// A wall clock is set.
    SetClock(Pid, i64),
    /// Somebody copies the WAL of a device and opens it elsewhere.
    CopyWal(usize),
    /// Some device does something now.
    Errand(Errand),
}

/// One opening of the database by one device.
pub struct Process {
    pub device: usize,
    pub alive: bool,
    /// Until when it stands still.
    pub suspended: Option<u64>,
    pub parked: Vec<TaskId>,
    pub clock: Clock,
    /// Reads of sstables that were not there.
    pub missing: u64,
}

/// How much goes wrong, in a thousand.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    pub lost: usize,
    pub wal: usize,
    pub crash: usize,
    pub suspend: usize,
    pub clock: usize,
    pub copy: usize,
    /// How often a user alters a table.
    pub alter: usize,
}

impl Weather {
    /// Much worse; what is fair stays fair.
    pub fn storm(self) -> Self {
        Self {
            lost: self.lost * 2,
            wal: self.wal * 3,
            crash: self.crash * 3,
            suspend: self.suspend * 3,
            clock: self.clock * 3,
            copy: self.copy * 2,
            alter: self.alter * 2,
        }
    }
}

pub struct World {
    /// True time since the beginning, in microseconds.
    pub now: u64,
    pub random: Random,
    pub weather: Weather,
    /// Nothing goes wrong any more.
    pub draining: bool,
    /// Nothing may fail any more.
    pub calm: bool,
    pub ready: Vec<TaskId>,
    pub tasks: BTreeMap<TaskId, Task>,
    /// Never polled again, and not dropped before the run ends.
    pub vanished: Vec<Task>,
    pub events: BTreeMap<(u64, u64), Event>,
    pub next: u64,
    pub processes: Vec<Process>,
    pub devices: Vec<Device>,
    pub requests: BTreeMap<u64, Request>,
    pub store: Store,
    pub log: Log,
    pub report: Report,
    trace: bool,
    line: String,
}

/// The handle on a world.
#[derive(Clone)]
pub struct Sim {
    world: Arc<Mutex<World>>,
    pub line: Arc<Mutex<Vec<TaskId>>>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

impl Sim {
    pub fn new(seed: u64, trace: bool) -> Self {
        let world = World {
            now: 0,
            random: Random::new(seed),
            weather: Weather::default(),
            draining: false,
            calm: false,
            ready: Vec::new(),
            tasks: BTreeMap::new(),
            vanished: Vec::new(),
            events: BTreeMap::new(),
            next: 0,
            processes: Vec::new(),
            devices: Vec::new(),
            requests: BTreeMap::new(),
            store: Store::default(),
            log: Log::default(),
            report: Report::default(),
            trace,
            line: String::new(),
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            line: Arc::default(),
        }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A number below `n`, by the seed.
    pub fn below(&self, n: u64) -> u64 {
        self.world().random.below(n as usize) as u64
    }

    pub fn chance(&self, thousandth: usize) -> bool {
        self.world().chance(thousandth)
    }

    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.world().note(what);
    }

    /// A promise was broken.
    pub fn violation(&self, what: impl fmt::Display) {
        self.world().violation(what);
    }
}

impl World {
    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn chance(&mut self, thousandth: usize) -> bool {
        thousandth > 0 && self.random.below(1000) < thousandth
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        let at = (self.now + delay, self.id());
        self.events.insert(at, event);
    }

    /// The store's time.
    pub fn date(&self) -> i64 {
        START + self.now as i64
    }

    /// Adds to the trace; its hash says whether two runs were the same.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        self.line.clear();
        write!(self.line, "{:>12.3}  {what}", self.now as f64 / 1e6).unwrap();
        for byte in self.line.bytes() {
            self.report.hash = (self.report.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.report.events += 1;
        if self.trace {
            println!("{}", self.line);
        }
    }

    /// The first one counts: the others may follow from it.
    pub fn violation(&mut self, what: impl fmt::Display) {
        self.note(format_args!("VIOLATION {what}"));
        if self.report.violation.is_none() {
            self.report.violation = Some(what.to_string());
        }
    }

    pub fn is_alive(&self, pid: Pid) -> bool {
        self.processes[pid].alive
    }

    pub fn name(&self, pid: Pid) -> String {
        format!("d{}.{pid}", self.processes[pid].device)
    }
}
