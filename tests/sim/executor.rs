//! Polls what can go on, in the order of the seed; when nothing can, time goes on to what happens next.

use super::{
    boot, device, work,
    world::{Event, Pid, Sim, Task, TaskId, Waking},
};
use futures_channel::oneshot;
use lakeshore::env::BoxFuture;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

/// A world that takes so many turns does not come to an end.
const MOST_TURNS: u64 = 3_000_000;

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, SeqCst) {
            self.line.lock().unwrap().push(self.id);
        }
    }
}

impl Sim {
    /// Starts a task of a process; one of a process that is gone never begins.
    pub fn spawn(&self, pid: Pid, future: BoxFuture<'static, ()>) -> TaskId {
        let mut world = self.world();
        let id = world.id();
        if !world.is_alive(pid) {
            drop(world);
            return id;
        }
        let waker = Arc::new(Waking {
            id,
            queued: AtomicBool::new(true),
            line: self.line.clone(),
        });
        world.tasks.insert(id, Task { pid, future, waker });
        world.ready.push(id);
        id
    }

    /// Resolves after `micros` of true time.
    pub async fn pause(&self, micros: u64) {
        let (sender, receiver) = oneshot::channel();
        self.world().after(micros, Event::Wake(sender));
        let _ = receiver.await;
    }

    /// Runs until `done`, a violation, or nothing is left to happen.
    pub fn run_until(&self, mut done: impl FnMut(&Sim) -> bool) {
        for _ in 0..MOST_TURNS {
            if self.world().report.violation.is_some() || done(self) {
                return;
            }
            match self.pick() {
                Some((id, task)) => self.poll(id, task),
                None if !self.next_event() => return,
                None => {}
            }
        }
        self.violation("it does not come to an end");
    }

    /// Takes out a task that can go on.
    fn pick(&self) -> Option<(TaskId, Task)> {
        let mut world = self.world();
        world.ready.append(&mut self.line.lock().unwrap());
        while !world.ready.is_empty() {
            let n = world.ready.len();
            let at = world.random.below(n);
            let id = world.ready.swap_remove(at);
            let Some(task) = world.tasks.get(&id) else {
                continue;
            };
            let pid = task.pid;
            if world.processes[pid].suspended.is_some() {
                world.processes[pid].parked.push(id);
                continue;
            }
            return world.tasks.remove(&id).map(|task| (id, task));
        }
        None
    }

    fn poll(&self, id: TaskId, mut task: Task) {
        task.waker.queued.store(false, SeqCst);
        let waker = Waker::from(task.waker.clone());
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut world = self.world();
        world.report.polls += 1;
        // The process may have ended itself.
        if polled == Poll::Pending && world.is_alive(task.pid) {
            world.tasks.insert(id, task);
            return;
        }
        drop(world);
        drop(task);
    }

    fn next_event(&self) -> bool {
        let mut world = self.world();
        let Some(((at, _), event)) = world.events.pop_first() else {
            return false;
        };
        world.now = world.now.max(at);
        match event {
            Event::Wake(sender) => _ = sender.send(()),
            Event::Effect(id) => world.effect(id),
            Event::Reply(id) => world.reply(id),
            Event::Suspend(pid, micros) => world.suspend(pid, micros),
            Event::Resume(pid) => world.resume(pid),
            Event::SetClock(pid, by) => world.set_clock(pid, by),
            Event::Crash(pid) => {
                drop(world);
                device::crash(self, pid);
            }
            Event::Boot(device) => {
                drop(world);
                boot::boot(self, device);
            }
            Event::Errand(errand) => {
                drop(world);
                work::errand(self, errand);
            }
            Event::CopyWal(device) => {
                drop(world);
                device::copy_wal(self, device);
            }
        }
        true
    }

    /// Ends a process: its tasks go at whatever await they were, and requests that have not left yet may
    /// never do so.
    pub fn end(&self, pid: Pid) {
        let gone: Vec<Task> = {
            let mut world = self.world();
            world.processes[pid].alive = false;
            let mine = |(id, task): (&TaskId, &Task)| (task.pid == pid).then_some(*id);
            let ids: Vec<TaskId> = world.tasks.iter().filter_map(mine).collect();
            world.lose_requests(pid);
            ids.iter().filter_map(|id| world.tasks.remove(id)).collect()
        };
        drop(gone);
    }

    /// A task vanishes as in a Worker whose client is gone: never polled again, and not dropped either.
    pub fn vanish(&self, id: TaskId) {
        let mut world = self.world();
        let task = world.tasks.remove(&id);
        world.vanished.extend(task);
    }

    /// A task is dropped, as by a caller that stops waiting.
    pub fn abandon(&self, id: TaskId) {
        let task = self.world().tasks.remove(&id);
        drop(task);
    }
}
