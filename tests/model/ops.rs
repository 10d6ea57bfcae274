//! What a case does: operations that make sense in any order and number, so that any may be left out.
//! They name things by small numbers, which mean what is there when it is their turn.

use crate::support::random::Random;

pub const TABLES: [&str; 2] = ["a", "b"];
pub const KEYS: i64 = 24;
/// Transactions that may be open at once.
pub const SLOTS: usize = 2;
pub const TAGS: usize = 2;

/// Rows carry the place in the list of the operation that wrote them.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Rows `from..from + n` of a table.
    Ingest(usize, i64, i64),
    /// The same key twice in one commit: the last counts.
    Twice(usize, i64),
    Delete(usize, Vec<i64>),
    /// Several commits under way at once, in this order; behind them, perhaps, those of all open transactions.
    Group(usize, Vec<i64>, bool),
    /// Another handle, without a WAL, writes rows.
    Foreign(usize, i64, i64),
    Alter(usize, Change),
    /// Drops a table and creates it again.
    Anew(usize),
    Flush,
    /// A part of what is pending (over a WAL).
    Upload,
    Checkpoint,
    Refresh,
    /// All clocks go on by so many hours (without a WAL only).
    Age(u64),
    Gc,
    /// Holds a snapshot of now.
    Hold,
    /// Holds one as of so many records back, by so many microseconds beside it.
    AsOf(usize, i64),
    /// Holds one as of the end of all time.
    Beyond,
    /// Tags now, or so many records back.
    Tag(usize, Option<usize>),
    AsOfTag(usize),
    Untag(usize),
    /// Starts a scan, which goes on after the next operation.
    Stream(usize),
    /// Begins a transaction; serializable or not.
    Begin(usize, bool),
    Within(usize, Step),
    Commit(usize),
    Rollback(usize),
    Close,
    Kill,
    PowerCut,
}

/// What is done within a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Put(usize, i64),
    Remove(usize, i64),
    Get(usize, i64),
    /// Keys from, up to but not.
    Range(usize, i64, i64),
    All(usize),
}

/// An alteration. Columns and types are counted modulo what there is; without any it is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Add(usize),
    Rename(usize),
    Widen(usize),
    Drop(usize),
    /// The same name, another column.
    Replace(usize, usize),
    /// Two columns change names.
    Swap(usize, usize),
}

/// How the device is set up, and what it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub local: bool,
    pub inline_commit_bytes: usize,
    pub detached: bool,
    /// Most turns that a request waits before its effect, and after it.
    pub stall: u64,
    pub ops: Vec<Op>,
}

impl Case {
    /// The simplest device.
    pub fn of(local: bool, ops: Vec<Op>) -> Self {
        Self {
            local,
            inline_commit_bytes: 256 * 1024,
            detached: true,
            stall: 0,
            ops,
        }
    }

    pub fn random(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let local = random.chance(0.5);
        let mut case = Self {
            local,
            inline_commit_bytes: *random.pick(&[64, 1200, 256 * 1024]),
            detached: local || random.chance(0.5),
            stall: *random.pick(&[0, 0, 3]),
            ops: Vec::new(),
        };
        let length = 4 + random.below(50);
        while case.ops.len() < length {
            match random.below(40) {
                0..6 => transaction(random, &mut case.ops),
                6 => old_age(random, &mut case.ops),
                _ => case.ops.push(plain(random)),
            }
        }
        case
    }

    /// As a named test, to be pasted into found.rs.
    pub fn code(&self) -> String {
        let ops = format!("{:?}", self.ops).replace('[', "vec![");
        let simplest = Self::of(self.local, self.ops.clone());
        let case = match *self == simplest {
            true => format!("Case::of({}, {ops})", self.local),
            false => format!(
                "Case {{ inline_commit_bytes: {}, detached: {}, stall: {}, ..Case::of({}, {ops}) }}",
                self.inline_commit_bytes, self.detached, self.stall, self.local
            ),
        };
        format!("#[test]\nfn a_sentence_about_it() {{\n    holds({case});\n}}\n")
    }
}

/// Half of the time one of a few.
fn key(random: &mut Random) -> i64 {
    let most = *random.pick(&[5, KEYS as usize]);
    random.below(most) as i64
}

fn change(random: &mut Random) -> Change {
    let (a, b) = (random.below(30), random.below(30));
    match random.below(8) {
        0 | 1 => Change::Add(a),
        2 => Change::Rename(a),
        3 | 4 => Change::Widen(a),
        5 => Change::Drop(a),
        6 => Change::Replace(a, b),
        _ => Change::Swap(a, b),
    }
}

fn plain(random: &mut Random) -> Op {
    let table = random.below(TABLES.len());
    let back = |random: &mut Random| random.below(30);
    match random.below(50) {
        0..10 => Op::Ingest(table, key(random), 1 + random.below(6) as i64),
        10 => Op::Twice(table, key(random)),
        11..14 => {
            let n = 1 + random.below(4);
            Op::Delete(table, (0..n).map(|_| key(random)).collect())
        }
        14..16 => {
            let n = 2 + random.below(3);
            let keys = (0..n).map(|_| key(random)).collect();
            Op::Group(table, keys, random.chance(0.5))
        }
        16..20 => Op::Foreign(table, key(random), 1 + random.below(4) as i64),
        20..23 => Op::Flush,
        23..25 => Op::Upload,
        25 => Op::Checkpoint,
        26 => Op::Refresh,
        27..29 => Op::Hold,
        29..33 => Op::AsOf(back(random), random.below(3) as i64 - 1),
        33 => Op::Beyond,
        34 | 35 => {
            let at = random.chance(0.5).then(|| back(random));
            Op::Tag(random.below(TAGS), at)
        }
        36 | 37 => Op::AsOfTag(random.below(TAGS)),
        38 => Op::Untag(random.below(TAGS)),
        39..43 => Op::Alter(table, change(random)),
        43 => Op::Anew(table),
        44..46 => Op::Stream(table),
        46 => Op::Close,
        47 => [Op::Kill, Op::PowerCut][random.below(2)].clone(),
        48 => Op::Age(*random.pick(&[1, 13, 30])),
        _ => Op::Gc,
    }
}

/// A transaction from its beginning to its end, with other operations between.
fn transaction(random: &mut Random, ops: &mut Vec<Op>) {
    let slot = random.below(SLOTS);
    ops.push(Op::Begin(slot, random.chance(0.5)));
    for _ in 0..2 + random.below(6) {
        if random.chance(0.35) {
            ops.push(plain(random));
        }
        if random.chance(0.15) {
            ops.push(Op::Begin((slot + 1) % SLOTS, random.chance(0.5)));
        }
        let of = if random.chance(0.8) {
            slot
        } else {
            (slot + 1) % SLOTS
        };
        let table = random.below(TABLES.len());
        let step = match random.below(8) {
            0..3 => Step::Put(table, key(random)),
            3 => Step::Remove(table, key(random)),
            4 | 5 => Step::Get(table, key(random)),
            6 => {
                let from = key(random);
                Step::Range(table, from, from + random.below(5) as i64)
            }
            _ => Step::All(table),
        };
        ops.push(Op::Within(of, step));
    }
    match random.below(8) {
        0 => ops.push(Op::Rollback(slot)),
        1..4 => ops.push(Op::Group(random.below(2), vec![key(random)], true)),
        _ => ops.push(Op::Commit(slot)),
    }
    if random.chance(0.5) {
        ops.push(Op::Commit((slot + 1) % SLOTS));
    }
}

/// So long that gc finds something, and not all of the past can be read any more.
fn old_age(random: &mut Random, ops: &mut Vec<Op>) {
    for hours in [30, 2] {
        ops.extend([Op::Checkpoint, Op::Age(hours), plain(random)]);
    }
    ops.extend([Op::Gc, Op::AsOf(random.below(60), 0)]);
}
