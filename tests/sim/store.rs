//! The shared object store. A request is three moments of the world: it leaves, it takes effect, its
//! reply arrives; so that it may have an effect when nobody waits for it any more. Faults: an error before
//! or after the effect, an effect that comes late or never, a reply that a client's own retry spoiled, a
//! CURRENT overwritten by an older one, a listing of two pages at two moments.

use super::{
    work::Errand,
    world::{Event, GRACE, MINUTE, Pid, SECOND, START, World},
};
use bytes::Bytes;
use futures_channel::oneshot;
use lakeshore::{
    Error, ErrorKind, Result,
    env::{ObjectMeta, PutOutcome},
};
use std::{collections::BTreeMap, ops::Range};

#[derive(Clone, Debug)]
pub enum Op {
    Get(String, Part),
    Put(String, Bytes),
    PutIfAbsent(String, Bytes),
    List(String, String),
    Delete(String),
}

#[derive(Clone, Debug)]
pub enum Part {
    Whole,
    Range(Range<u64>),
    Suffix(u64),
}

#[derive(Clone, Debug)]
pub enum Answer {
    Object(Option<(Bytes, u64)>),
    Put(PutOutcome),
    Listed(Vec<ObjectMeta>),
    Done,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    /// No effect, an error.
    Before,
    /// An effect, an error.
    After,
    /// An error soon, the effect much later.
    Late,
    /// An effect, and another like it much later.
    Again,
    /// The client tried twice: it is told of its own object.
    Refused,
}

pub struct Request {
    pid: Pid,
    op: Op,
    fate: Fate,
    effect: Option<Result<Answer>>,
    /// How many effects are still to come.
    effects: u8,
    /// The first page of a listing, and the key it ends at.
    page: Option<(Vec<ObjectMeta>, String)>,
    reply: Option<oneshot::Sender<(Result<Answer>, i64)>>,
}

#[derive(Default)]
pub struct Store {
    /// Bytes, and when they were written.
    pub objects: BTreeMap<String, (Bytes, u64)>,
    /// Listings do not say when.
    pub untold: bool,
}

impl Store {
    fn read(&self, key: &str, part: &Part) -> Result<Answer> {
        let Some((bytes, _)) = self.objects.get(key) else {
            return Ok(Answer::Object(None));
        };
        let size = bytes.len() as u64;
        let range = match part {
            Part::Whole => 0..size,
            Part::Range(range) => range.clone(),
            Part::Suffix(length) => size.saturating_sub(*length)..size,
        };
        if range.end > size || range.start > range.end {
            let what = format!("object {key}: expected bytes {range:?}, but it ends at {size}");
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        let part = bytes.slice(range.start as usize..range.end as usize);
        Ok(Answer::Object(Some((part, size))))
    }

    pub fn list(&self, prefix: &str, after: &str) -> Vec<ObjectMeta> {
        let from = prefix.max(after).to_owned();
        (self.objects.range(from..))
            .take_while(|(key, _)| key.starts_with(prefix) || key.as_str() < prefix)
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after)
            .map(|(key, (bytes, at))| ObjectMeta {
                key: key.clone(),
                size: bytes.len() as u64,
                modified: (!self.untold).then(|| START + (at / SECOND * SECOND) as i64),
            })
            .collect()
    }
}

pub fn unavailable(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}

impl World {
    /// A request leaves.
    pub fn issue(&mut self, pid: Pid, op: Op, reply: oneshot::Sender<(Result<Answer>, i64)>) {
        let id = self.id();
        let mut fate = self.fate(&op);
        let (there, back) = self.latency();
        let (mut effect, mut answer) = (there, there + back);
        match fate {
            Fate::Fine | Fate::Again | Fate::Refused => {}
            Fate::Before | Fate::After if self.chance(500) => answer += 10 * SECOND,
            Fate::Before | Fate::After => {}
            Fate::Late => {
                answer += 10 * SECOND;
                let trap = matches!(op, Op::PutIfAbsent(..)) && self.chance(400);
                effect += match trap {
                    true => self.trap(),
                    false => self.late(),
                };
                if self.chance(if trap { 500 } else { 200 }) {
                    // Nobody knows what became of it; the reply comes when it does.
                    answer = effect + back;
                    fate = Fate::Fine;
                }
            }
        }
        if fate != Fate::Fine {
            self.report.faults += 1;
        }
        self.after(effect, Event::Effect(id));
        self.after(answer, Event::Reply(id));
        let request = Request {
            pid,
            op,
            fate,
            effect: None,
            effects: 1,
            page: None,
            reply: Some(reply),
        };
        self.requests.insert(id, request);
    }

    fn fate(&mut self, op: &Op) -> Fate {
        if !self.chance(self.weather.lost) {
            return Fate::Fine;
        }
        let die = self.random.below(10);
        match op {
            Op::Get(..) | Op::List(..) | Op::Delete(..) => match die {
                0..6 => Fate::Before,
                _ => Fate::Fine,
            },
            Op::Put(key, _) => match die {
                0..2 => Fate::Before,
                2..4 => Fate::After,
                4..6 => Fate::Late,
                _ if key == "CURRENT" => Fate::Again,
                _ => Fate::Fine,
            },
            Op::PutIfAbsent(..) => match die {
                0..2 => Fate::Before,
                2..4 => Fate::After,
                4..8 => Fate::Late,
                _ => Fate::Refused,
            },
        }
    }

    fn latency(&mut self) -> (u64, u64) {
        let most = match self.random.below(20) {
            0 => 3_000,
            1..5 => 200,
            _ => 30,
        };
        let mut half = || 1_000 + self.random.below(most * 500) as u64;
        (half(), half())
    }

    /// So late that gc may have freed the name when it comes: others write, a checkpoint covers that, and gc
    /// comes a grace time after it (PROTOCOL F1).
    fn trap(&mut self) -> u64 {
        let late = GRACE + 4 * MINUTE + self.random.below(GRACE as usize) as u64;
        for n in 0..2 + self.random.below(2) as u64 {
            self.after(20 * SECOND * (n + 1), Event::Errand(Errand::Commit));
        }
        self.after(90 * SECOND, Event::Errand(Errand::Checkpoint));
        self.after(late - MINUTE, Event::Errand(Errand::Gc));
        late
    }

    fn late(&mut self) -> u64 {
        let choices = [SECOND, 30 * SECOND, 5 * MINUTE, GRACE / 2, GRACE, 2 * GRACE];
        let most = *self.random.pick(&choices);
        most / 2 + self.random.below(most as usize) as u64
    }

    /// A request takes effect.
    pub fn effect(&mut self, id: u64) {
        let Some(mut request) = self.requests.remove(&id) else {
            return;
        };
        let op = request.op.clone();
        request.effects -= 1;
        if request.fate != Fate::Before {
            if request.fate == Fate::Again {
                let delay = self.late();
                self.after(delay, Event::Effect(id));
                request.effects += 1;
                request.fate = Fate::Fine;
            }
            let answer = match &op {
                Op::List(prefix, after) => self.list_page(id, &mut request, prefix, after),
                op => Some(self.apply(request.pid, op)),
            };
            if let Some(answer) = &answer {
                let name = self.name(request.pid);
                self.note(format_args!("{name}  {}", said(&op, answer)));
            }
            request.effect = answer;
            if request.fate == Fate::Refused
                && matches!(request.effect, Some(Ok(Answer::Put(PutOutcome::Created))))
            {
                request.effect = Some(Ok(Answer::Put(PutOutcome::Exists)));
            }
        }
        if request.reply.is_some() || request.effects > 0 {
            self.requests.insert(id, request);
        }
    }

    /// A listing may be two pages, the second asked for later.
    fn list_page(
        &mut self,
        id: u64,
        request: &mut Request,
        prefix: &str,
        after: &str,
    ) -> Option<Result<Answer>> {
        let found = self.store.list(prefix, after);
        if let Some((mut first, end)) = request.page.take() {
            first.extend(self.store.list(prefix, &end));
            return Some(Ok(Answer::Listed(first)));
        }
        if found.len() > 1 && self.chance(150) {
            let cut = 1 + self.random.below(found.len() - 1);
            let end = found[cut - 1].key.clone();
            request.page = Some((found[..cut].to_vec(), end));
            request.effects += 1;
            let (more, back) = self.latency();
            self.after(more, Event::Effect(id));
            self.after(more + back, Event::Reply(id));
            return None;
        }
        Some(Ok(Answer::Listed(found)))
    }

    fn apply(&mut self, pid: Pid, op: &Op) -> Result<Answer> {
        match op {
            Op::Get(key, part) => {
                let answer = self.store.read(key, part);
                if matches!(answer, Ok(Answer::Object(None))) && key.starts_with("data/") {
                    self.processes[pid].missing += 1;
                }
                answer
            }
            Op::Put(key, bytes) => {
                self.store
                    .objects
                    .insert(key.clone(), (bytes.clone(), self.now));
                Ok(Answer::Done)
            }
            Op::PutIfAbsent(key, _) if self.store.objects.contains_key(key) => {
                Ok(Answer::Put(PutOutcome::Exists))
            }
            Op::PutIfAbsent(key, bytes) => {
                self.store
                    .objects
                    .insert(key.clone(), (bytes.clone(), self.now));
                self.landed(key, bytes);
                Ok(Answer::Put(PutOutcome::Created))
            }
            Op::Delete(key) => {
                if self.store.objects.remove(key).is_some() {
                    self.deleted(key);
                }
                Ok(Answer::Done)
            }
            Op::List(..) => Err(unavailable("a listing has its own way")),
        }
    }

    /// A reply arrives.
    pub fn reply(&mut self, id: u64) {
        let date = self.date() / 1_000_000 * 1_000_000;
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if request.page.is_some() {
            return;
        }
        let answer = match (request.fate, request.effect.take()) {
            (Fate::Fine | Fate::Refused, Some(answer)) => answer,
            _ => Err(unavailable("the store did not answer in time")),
        };
        let reply = request.reply.take();
        if request.effects == 0 {
            self.requests.remove(&id);
        }
        if let Some(reply) = reply {
            let _ = reply.send((answer, date));
        }
    }

    /// A process is gone; half of what had no effect yet never left it.
    pub fn lose_requests(&mut self, pid: Pid) {
        let mine: Vec<u64> = (self.requests.iter())
            .filter_map(|(id, r)| (r.pid == pid && r.effect.is_none()).then_some(*id))
            .collect();
        for id in mine {
            if self.chance(500) {
                self.requests.remove(&id);
            }
        }
    }
}

/// For the trace.
fn said(op: &Op, answer: &Result<Answer>) -> String {
    let answer = match answer {
        Err(e) => format!("{e}"),
        Ok(Answer::Object(None)) => "nothing".to_owned(),
        Ok(Answer::Object(Some((bytes, _)))) => format!("{} B", bytes.len()),
        Ok(Answer::Put(outcome)) => format!("{outcome:?}"),
        Ok(Answer::Listed(found)) => format!("{} keys", found.len()),
        Ok(Answer::Done) => "ok".to_owned(),
    };
    let op = match op {
        Op::Get(key, Part::Whole) => format!("get {key}"),
        Op::Get(key, part) => format!("get {key} {part:?}"),
        Op::Put(key, bytes) => format!("put {key} {} B", bytes.len()),
        Op::PutIfAbsent(key, bytes) => format!("put if absent {key} {} B", bytes.len()),
        Op::List(prefix, after) => format!("list {prefix} after {after:?}"),
        Op::Delete(key) => format!("delete {key}"),
    };
    format!("{op}: {answer}")
}
