//! `npm run bench:contention`: writers that commit to one log at once, at 20 ms a request, in virtual
//! time: exact, and the same on every machine. tonbo's own published figures stand beside. `SMALL=1` leaves out
//! what takes long.

#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::Duration;
use support::contention::{Outcome, Race, run};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

fn main() {
    let small = std::env::var_os("SMALL").is_some();
    let (seeds, writers): (&[u64], &[usize]) = match small {
        true => (&SEEDS[..1], &[1, 4]),
        false => (&SEEDS, &[1, 2, 4, 8, 16, 32]),
    };
    println!(
        "20 ms a request, 30 s from a standing start, median of {} seeds.",
        seeds.len()
    );
    println!("tonbo publishes, for S3:");
    println!("      1 |       1.6 |            11 object operations a commit, 605 ms p50");
    println!("      8 |         - |            81, 7.2 x retries, 3.9 s p50");
    let mut lines = Vec::new();
    for (what, spread, think) in [
        ("one commit after another, latency ± 20 %", 20, 0),
        ("one commit after another, equal latencies", 0, 0),
        (
            "with up to 200 ms between a writer's commits, latency ± 20 %",
            20,
            200,
        ),
    ] {
        println!("\n{what}:");
        println!(
            "writers | commits/s | requests a commit, the most of a seed (PUT GET LIST) | + checkpoints | p50, p99, most | least and most commits of a writer"
        );
        for &writers in writers {
            let race = |&seed: &u64| {
                let think = Duration::from_millis(think);
                run(&Race {
                    think,
                    spread,
                    ..Race::of(writers, seed)
                })
            };
            let mut all: Vec<Outcome> = seeds.iter().map(race).collect();
            all.sort_by(|a, b| a.requests_a_commit().total_cmp(&b.requests_a_commit()));
            let most = all[all.len() - 1].requests_a_commit();
            let failed: usize = all.iter().map(|o| o.errors.len()).sum();
            lines.push(line(
                (writers, spread, think),
                &all[all.len() / 2],
                most,
                failed,
            ));
        }
    }
    println!(
        r#"{{"bench":"contention","latency_ms":20,"runs":[{}]}}"#,
        lines.join(",")
    );
}

type How = (usize, u64, u64);

fn line((writers, spread, think): How, o: &Outcome, most: f64, failed: usize) -> String {
    let each = |n: u64| n as f64 / o.total() as f64;
    let of_one = (
        o.commits.iter().min().unwrap_or(&0),
        o.commits.iter().max().unwrap_or(&0),
    );
    println!(
        "{writers:>7} | {:>9.1} | {:.2}, {most:.2} ({:.2} {:.2} {:.2}) | {:.2} | {}, {}, {} ms | {} {}{}",
        o.commits_a_second(),
        o.requests_a_commit(),
        each(o.puts),
        each(o.gets),
        each(o.lists),
        each(o.requests + o.checkpoints),
        o.percentile(50).as_millis(),
        o.percentile(99).as_millis(),
        o.percentile(100).as_millis(),
        of_one.0,
        of_one.1,
        if failed > 0 {
            format!(" | {failed} FAILED")
        } else {
            String::new()
        },
    );
    format!(
        r#"{{"writers":{writers},"spread_percent":{spread},"think_ms":{think},"commits_s":{:.1},"requests_a_commit":{:.2}}}"#,
        o.commits_a_second(),
        o.requests_a_commit()
    )
}
