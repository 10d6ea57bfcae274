//! Lakeshore against tonbo, natively, in one run: same rows, same batches, same sync policy, rounds
//! interleaved, medians. Each measurement is a child process of its own, so that its peak memory is
//! its own. Last line: one line of JSON.
//!
//! `ROWS`, `READS` and `ROUNDS` change the size; `ENGINES=lakeshore` leaves the rival out.

mod child;
mod data;
mod lakeshore_engine;
mod report;
#[cfg(feature = "tonbo")]
mod tonbo_engine;

use child::{Job, measure};
use report::{Figures, report};
use std::{collections::BTreeMap, error::Error};

/// Whom to compare, in this order.
const ENGINES: &str = if cfg!(feature = "tonbo") {
    "tonbo,lakeshore"
} else {
    "lakeshore"
};

/// What everything here may fail with; a benchmark's reader wants the text.
pub type Anyhow<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Sizes of a run.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Rows ingested.
    pub rows: usize,
    /// Point reads in each round.
    pub reads: usize,
    /// Rounds.
    pub rounds: usize,
}

impl Size {
    fn from_env() -> Self {
        Self {
            rows: number("ROWS", 1_000_000),
            reads: number("READS", 334),
            rounds: number("ROUNDS", 3),
        }
    }
}

fn main() -> Anyhow<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", engine, job, directory] => {
            child::run(engine, Job::parse(job)?, directory, Size::from_env())
        }
        [] => compare(Size::from_env()),
        _ => Err("usage: lakeshore-bench".into()),
    }
}

fn compare(size: Size) -> Anyhow<()> {
    let engines = std::env::var("ENGINES").unwrap_or_else(|_| ENGINES.to_owned());
    let engines: Vec<&str> = engines.split(',').collect();
    let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
    for round in 1..=size.rounds {
        for &engine in &engines {
            let figures = figures.entry(engine.to_owned()).or_default();
            one_round(engine, figures).map_err(|e| format!("{engine}, round {round}: {e}"))?;
            eprintln!("# round {round} of {}: {engine} done", size.rounds);
        }
    }
    report(size, &figures);
    Ok(())
}

fn one_round(engine: &str, figures: &mut Figures) -> Anyhow<()> {
    // Defaults of each engine but for the sync policy, which both have: fsync before every answer.
    let directory = tempfile::tempdir()?;
    figures.add("", measure(engine, Job::Load, directory.path())?);
    // The same with what is tonbo's default, a sync each 50 ms: takes the disk out of the figure.
    let directory = tempfile::tempdir()?;
    figures.add(
        "interval_",
        measure(engine, Job::LoadInterval, directory.path())?,
    );
    // Nothing is flushed: all rows are in the WAL only.
    let directory = tempfile::tempdir()?;
    measure(engine, Job::FillWal, directory.path())?;
    figures.add("", measure(engine, Job::Reopen, directory.path())?);
    Ok(())
}

fn number(name: &str, default: usize) -> usize {
    let set = std::env::var(name).ok().and_then(|v| v.parse().ok());
    set.unwrap_or(default)
}
