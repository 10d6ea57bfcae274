//! Whether a case fails, and what of it that takes.

use crate::{
    ops::{Case, Op},
    support::stage::{Stage, run},
    world::{Counts, perform},
};
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What happened in it, or why it fails.
pub fn outcome(case: &Case) -> Result<Counts, String> {
    let stage = Stage::new(7);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run(&stage, perform(case, stage.clone()))
    }));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_default()
    })
}

/// Fails as the case does.
pub fn holds(case: Case) {
    let stage = Stage::new(7);
    run(&stage, perform(&case, stage.clone()));
}

/// A smaller case that fails, too, and why. Panics are not printed meanwhile.
pub fn shrink(case: Case) -> (Case, String) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let mut small = Shrinking {
        why: outcome(&case).err().unwrap_or_default(),
        case,
    };
    while small.pass() {}
    QUIET.set(false);
    (small.case, small.why)
}

struct Shrinking {
    case: Case,
    why: String,
}

impl Shrinking {
    /// Takes a case if it fails.
    fn takes(&mut self, case: Case) -> bool {
        if case == self.case {
            return false;
        }
        match outcome(&case) {
            Ok(_) => false,
            Err(why) => {
                (self.case, self.why) = (case, why);
                true
            }
        }
    }

    /// Leaves out operations, then simplifies what is left; whether anything came of it.
    fn pass(&mut self) -> bool {
        let mut smaller = false;
        let mut size = self.case.ops.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.case.ops.len() {
                let mut case = self.case.clone();
                case.ops.drain(at..(at + size).min(case.ops.len()));
                match self.takes(case) {
                    true => smaller = true,
                    false => at += size,
                }
            }
            size /= 2;
        }
        let simplest = Case::of(self.case.local, self.case.ops.clone());
        for field in 0..4 {
            let mut case = self.case.clone();
            match field {
                0 => case.stall = simplest.stall,
                1 => case.detached = simplest.detached,
                2 => case.inline_commit_bytes = simplest.inline_commit_bytes,
                _ if case.local => case.local = false,
                _ => {}
            }
            smaller |= self.takes(case);
        }
        for at in 0..self.case.ops.len() {
            smaller |= simpler(&self.case.ops[at]).into_iter().any(|op| {
                let mut case = self.case.clone();
                case.ops[at] = op;
                self.takes(case)
            });
        }
        smaller
    }
}

/// Operations that do less.
fn simpler(op: &Op) -> Vec<Op> {
    match op {
        Op::Ingest(table, from, n) if *n > 1 => vec![Op::Ingest(*table, *from, 1)],
        Op::Foreign(table, from, n) if *n > 1 => vec![Op::Foreign(*table, *from, 1)],
        Op::Twice(table, key) => vec![Op::Ingest(*table, *key, 1)],
        Op::Delete(table, keys) if keys.len() > 1 => {
            let one = |key: &i64| Op::Delete(*table, vec![*key]);
            keys.iter().map(one).collect()
        }
        Op::Group(table, keys, transactions) if keys.len() > 1 => {
            let one = |key: &i64| Op::Group(*table, vec![*key], *transactions);
            keys.iter().map(one).collect()
        }
        Op::AsOf(back, beside) if (*back, *beside) != (0, 0) => {
            vec![Op::AsOf(0, *beside), Op::AsOf(*back, 0)]
        }
        Op::Age(hours) if *hours > 1 => vec![Op::Age(1)],
        Op::Begin(slot, true) => vec![Op::Begin(*slot, false)],
        Op::Kill | Op::PowerCut => vec![Op::Close],
        _ => Vec::new(),
    }
}
