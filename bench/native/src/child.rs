//! One measurement in one process, told as `name value` lines on stdout.

use crate::{
    Anyhow, Size,
    data::{BATCH_ROWS, Plain, Random, key, order, rows},
    lakeshore_engine::Lakeshore,
};
use std::{
    future::Future,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What a process measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Ingest, then scan and read what is there; fsync before every answer.
    Load,
    /// Ingest; fsync each 50 ms.
    LoadInterval,
    /// Ingest with flushes switched off.
    FillWal,
    /// Open what `FillWal` left.
    Reopen,
}

const JOBS: [(&str, Job); 4] = [
    ("load", Job::Load),
    ("load-interval", Job::LoadInterval),
    ("fill-wal", Job::FillWal),
    ("reopen", Job::Reopen),
];

impl Job {
    /// By its name.
    pub fn parse(name: &str) -> Anyhow<Self> {
        let found = JOBS.iter().find(|(n, _)| *n == name);
        found
            .map(|(_, job)| *job)
            .ok_or_else(|| format!("no job {name}").into())
    }

    fn name(self) -> &'static str {
        JOBS.iter()
            .find(|(_, job)| *job == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether an answer waits for an fsync.
    pub fn syncs(self) -> bool {
        matches!(self, Job::Load)
    }

    /// Whether memtables are flushed at the engine's own bounds.
    pub fn flushes(self) -> bool {
        matches!(self, Job::Load | Job::LoadInterval)
    }
}

/// What is measured: each call is timed by the caller, conversions to a batch are not.
pub trait Engine: Sized {
    type Batch;
    fn batch(plain: &Plain) -> Anyhow<Self::Batch>;
    fn open(directory: &Path, job: Job) -> impl Future<Output = Anyhow<Self>>;
    fn ingest(&self, batch: Self::Batch) -> impl Future<Output = Anyhow<()>>;
    /// Reads every row as Arrow batches; gives their number.
    fn scan(&self) -> impl Future<Output = Anyhow<usize>>;
    /// Rows found with that key.
    fn get(&self, key: &str) -> impl Future<Output = Anyhow<usize>>;
    /// Moves all rows into sstables; false if there is no such call.
    fn flush(&self) -> impl Future<Output = Anyhow<bool>>;
    fn close(self) -> impl Future<Output = Anyhow<()>>;
}

/// Starts a child and takes its figures.
pub fn measure(engine: &str, job: Job, directory: &Path) -> Anyhow<Vec<(String, f64)>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["child", engine, job.name()])
        .arg(directory)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", job.name(), output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let figure = |line: &str| -> Option<(String, f64)> {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(text.lines().filter_map(figure).collect())
}

/// The child's main function.
pub fn run(engine: &str, job: Job, directory: &str, size: Size) -> Anyhow<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let directory = Path::new(directory);
    match engine {
        "lakeshore" => runtime.block_on(drive::<Lakeshore>(directory, job, size))?,
        #[cfg(feature = "tonbo")]
        "tonbo" => runtime.block_on(drive::<crate::tonbo_engine::Tonbo>(directory, job, size))?,
        _ => return Err(format!("no engine {engine}").into()),
    }
    // Background tasks of the engine need not be waited for.
    std::process::exit(0);
}

async fn drive<E: Engine>(directory: &Path, job: Job, size: Size) -> Anyhow<()> {
    if job == Job::Reopen {
        return reopen::<E>(directory, job, size).await;
    }
    let engine = E::open(directory, job).await?;
    let name = if job == Job::Load {
        "ingest"
    } else {
        "ingest_only"
    };
    let spent = ingest(&engine, size).await?;
    say(
        &format!("{name}_rows_per_s"),
        size.rows as f64 / spent.as_secs_f64(),
    );
    say(&format!("{name}_peak_mib"), peak_mib()?);
    if job == Job::Load {
        settle().await?;
        scan(&engine, "scan", size).await?;
        read(&engine, size).await?;
        let start = Instant::now();
        if engine.flush().await? {
            say("flush_s", start.elapsed().as_secs_f64());
            scan(&engine, "scan_flushed", size).await?;
        }
        say("peak_mib", peak_mib()?);
    }
    engine.close().await
}

async fn ingest<E: Engine>(engine: &E, size: Size) -> Anyhow<Duration> {
    let mut spent = Duration::ZERO;
    for ids in order(size.rows).chunks(BATCH_ROWS) {
        let batch = E::batch(&rows(ids))?;
        let start = Instant::now();
        engine.ingest(batch).await?;
        spent += start.elapsed();
    }
    Ok(spent)
}

/// The second of two scans: files are in the system's cache, as for the point reads.
async fn scan<E: Engine>(engine: &E, name: &str, size: Size) -> Anyhow<()> {
    engine.scan().await?;
    let start = Instant::now();
    let rows = engine.scan().await?;
    let spent = start.elapsed();
    check(rows == size.rows, &format!("the scan gave {rows} rows"))?;
    say(
        &format!("{name}_rows_per_s"),
        rows as f64 / spent.as_secs_f64(),
    );
    Ok(())
}

async fn read<E: Engine>(engine: &E, size: Size) -> Anyhow<()> {
    let mut random = Random::new(3);
    let mut times = Vec::new();
    for n in 0..size.reads + 20 {
        let key = key(random.below(size.rows) as u32);
        let start = Instant::now();
        let found = engine.get(&key).await?;
        let spent = start.elapsed();
        check(found == 1, &format!("{key} was found {found} times"))?;
        if n >= 20 {
            times.push(spent);
        }
    }
    for time in times {
        say("point_ms", time.as_secs_f64() * 1000.0);
    }
    Ok(())
}

async fn reopen<E: Engine>(directory: &Path, job: Job, size: Size) -> Anyhow<()> {
    let start = Instant::now();
    let engine = E::open(directory, job).await?;
    say("reopen_s", start.elapsed().as_secs_f64());
    say("reopen_peak_mib", peak_mib()?);
    let rows = engine.scan().await?;
    check(
        rows == size.rows,
        &format!("{rows} rows were there after reopening"),
    )?;
    engine.close().await
}

/// Waits until the process uses next to no CPU: background work is over.
async fn settle() -> Anyhow<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let before = cpu_ticks()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if cpu_ticks()? <= before + 2 || Instant::now() > deadline {
            return Ok(());
        }
    }
}

fn cpu_ticks() -> Anyhow<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or("");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

fn peak_mib() -> Anyhow<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    let kib = line
        .and_then(|l| l.split_whitespace().nth(1))
        .ok_or("no VmHWM")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

fn say(name: &str, value: f64) {
    println!("{name} {value}");
}

fn check(right: bool, message: &str) -> Anyhow<()> {
    if right { Ok(()) } else { Err(message.into()) }
}
