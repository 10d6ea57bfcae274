//! The runtime of a process: its own idea of the time, randomness from the seed, sleep on virtual time.
//! A wall clock is off and drifts and may be set; a monotonic one may stand still while the device is
//! suspended. Never both at once, for then nothing on the device knows that time went by (PROTOCOL F1).

use super::world::{Event, Pid, START, Sim, World};
use lakeshore::env::{BoxFuture, Runtime};
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How far the wall clock is off, in microseconds.
    pub skew: i64,
    /// How much too fast both clocks go, in millionths.
    pub drift: i64,
    /// Whether the monotonic clock stands still in suspend.
    pub stops: bool,
    /// True time when the monotonic clock was 0.
    pub origin: u64,
    /// How long it stood still.
    pub stood: u64,
}

impl Clock {
    fn own(&self, micros: u64) -> i64 {
        micros as i64 + micros as i64 / 1000 * self.drift / 1000
    }
}

#[derive(Clone, Debug)]
pub struct SimRuntime {
    pub sim: Sim,
    pub pid: Pid,
}

impl Runtime for SimRuntime {
    fn now_micros(&self) -> i64 {
        let world = self.sim.world();
        let clock = &world.processes[self.pid].clock;
        START + clock.own(world.now) + clock.skew
    }

    fn monotonic(&self) -> Duration {
        self.sim.world().monotonic(self.pid)
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut world = self.sim.world();
        bytes.fill_with(|| world.random.next() as u8);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let sim = self.sim.clone();
        Box::pin(async move { sim.pause(duration.as_micros() as u64).await })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.sim.spawn(self.pid, task);
    }
}

impl World {
    pub fn monotonic(&self, pid: Pid) -> Duration {
        let clock = &self.processes[pid].clock;
        let ran = self.now - clock.origin - clock.stood;
        Duration::from_micros(clock.own(ran) as u64 + 1_000_000)
    }

    pub fn suspend(&mut self, pid: Pid, micros: u64) {
        if !self.is_alive(pid) || self.processes[pid].suspended.is_some() {
            return;
        }
        let name = self.name(pid);
        self.note(format_args!("{name} sleeps for {} s", micros / 1_000_000));
        self.report.sleeps += 1;
        let now = self.now;
        self.processes[pid].suspended = Some(now);
        self.after(micros, Event::Resume(pid));
    }

    pub fn resume(&mut self, pid: Pid) {
        let now = self.now;
        let process = &mut self.processes[pid];
        let Some(since) = process.suspended.take() else {
            return;
        };
        if process.clock.stops {
            process.clock.stood += now - since;
        }
        let parked = std::mem::take(&mut process.parked);
        self.ready.extend(parked);
        let name = self.name(pid);
        self.note(format_args!("{name} wakes up"));
    }

    pub fn set_clock(&mut self, pid: Pid, by: i64) {
        if self.is_alive(pid) && !self.processes[pid].clock.stops {
            self.processes[pid].clock.skew += by;
            let name = self.name(pid);
            self.note(format_args!(
                "{name} sets its clock by {} s",
                by / 1_000_000
            ));
        }
    }
}
