//! Many writers, one log: what a commit costs, in virtual time, so that the counts are exact and the
//! same on every machine (DESIGN section 7). Each run checks, too, that every acknowledged row is there.

use crate::support;

use std::time::Duration;
use support::{
    contention::{Race, run},
    far::Faults,
};

#[test]
fn a_single_writer_takes_one_request_a_commit_and_never_waits() {
    for seed in 0..3 {
        let outcome = run(&Race {
            spread: 0,
            ..Race::of(1, seed)
        });
        assert_eq!(outcome.requests, outcome.total(), "seed {seed}");
        assert_eq!(outcome.percentile(50), Duration::from_millis(20));
    }
}

#[test]
fn eight_writers_take_at_most_four_requests_a_commit() {
    for (seed, spread) in [(0, 20), (1, 20), (2, 0), (3, 1), (4, 50), (5, 80)] {
        let outcome = run(&Race {
            spread,
            ..Race::of(8, seed)
        });
        let each = outcome.requests_a_commit();
        println!(
            "seed {seed}, latency ± {spread} %: {each:.2} requests a commit, {:.1} commits/s",
            outcome.commits_a_second()
        );
        assert!(each <= 4.0, "seed {seed}, ± {spread} %: {each:.2}");
        assert_eq!(outcome.errors, Vec::<String>::new(), "seed {seed}");
        // Faster than if they took turns one request at a time, each knowing when (3 requests).
        assert!(outcome.commits_a_second() > 1000.0 / 60.0, "seed {seed}");
    }
}

/// Every writer gets its share, newcomers included, and no commit gives up.
#[test]
fn no_writer_starves() {
    for (writers, seed) in [(2, 1), (2, 2), (4, 3), (8, 4), (16, 5)] {
        let outcome = run(&Race {
            time: Duration::from_secs(60),
            ..Race::of(writers, seed)
        });
        let (least, most) = (outcome.commits.iter().min(), outcome.commits.iter().max());
        let (least, most) = (*least.unwrap(), *most.unwrap());
        println!("{writers} writers, seed {seed}: {least} to {most} commits of each");
        assert!(least * 5 > most, "{writers} writers: {least} to {most}");
        assert_eq!(outcome.errors, Vec::<String>::new(), "{writers} writers");
    }
}

/// A writer alone leaves a gap now and then, so that another comes in even where all requests take equally long.
#[test]
fn a_second_writer_soon_gets_its_turn_whatever_the_latencies() {
    let mut longest = Vec::new();
    for (seed, spread) in [
        (1, 0),
        (2, 0),
        (3, 1),
        (4, 5),
        (5, 20),
        (6, 50),
        (7, 0),
        (8, 1),
    ] {
        let outcome = run(&Race {
            spread,
            ..Race::of(2, seed)
        });
        longest.push(outcome.percentile(100));
    }
    println!("the longest commits of 8 runs took {longest:?}");
    // It took 5 to 20 s in each where the first left no gaps.
    longest.sort();
    assert!(longest[4] < Duration::from_secs(4), "{longest:?}");
    assert!(longest[7] < Duration::from_secs(15), "{longest:?}");
}

/// Turns are guesses: whatever clocks and callers do, commits go on.
#[test]
fn commits_go_on_when_clocks_stand_still_and_when_writers_come_and_go() {
    for (seed, stopped, detached_tasks, think) in [
        (1, true, true, 0),
        (2, true, false, 0),
        (3, false, false, 0),
        (4, false, true, 500),
        (5, true, true, 100),
    ] {
        let outcome = run(&Race {
            stopped,
            detached_tasks,
            think: Duration::from_millis(think),
            time: Duration::from_secs(10),
            ..Race::of(4, seed)
        });
        println!(
            "seed {seed}: {:?} commits, {:?}",
            outcome.commits, outcome.errors
        );
        assert!(outcome.total() > 60, "seed {seed}: {:?}", outcome.commits);
        // A clock that stands still measures no pace, so luck decides: some may have to try again.
        assert!(outcome.errors.is_empty() || stopped, "seed {seed}");
        assert!(outcome.errors.iter().all(|e| e.starts_with("Unavailable")));
    }
}

/// A request that was refused, or whose reply was lost, takes as long as its client's pauses: that says little of the
/// next, and turns are reckoned by what a request takes (`MOST_SLOWER` in db/turn.rs).
#[test]
fn faults_do_not_make_a_writer_wait_for_many_seconds() {
    let mut slowest = Vec::new();
    for seed in 1..=4 {
        let outcome = run(&Race {
            latency: Duration::from_millis(10),
            faults: Faults {
                refused: 8,
                lost: 8,
            },
            time: Duration::from_secs(60),
            ..Race::of(8, seed)
        });
        println!(
            "seed {seed}: {} commits, {:.1} a second, {:.2} requests a commit, {} faults; they took {:?}, {:?}, {:?}",
            outcome.total(),
            outcome.commits_a_second(),
            outcome.requests_a_commit(),
            outcome.faults,
            outcome.percentile(50),
            outcome.percentile(99),
            outcome.percentile(100),
        );
        let (rate, most) = (outcome.commits_a_second(), outcome.percentile(99));
        assert!(rate > 16.0, "seed {seed}: {rate:.1} commits a second");
        assert!(most < Duration::from_secs(5), "seed {seed}: {most:?}");
        slowest.push(outcome.percentile(100));
        // Five in a row, and the client gives up: the caller has to ask again.
        let gave_up = outcome.errors.iter().all(|e| e.starts_with("Unavailable"));
        assert!(gave_up && outcome.errors.len() < 3, "{:?}", outcome.errors);
    }
    // Of a single run that is chance: one writer may meet many faults.
    slowest.sort();
    assert!(slowest[2] < Duration::from_secs(9), "{slowest:?}");
}

/// A device that slept while a request was under way believes for a while that requests take hours. It must not
/// wait for hours because of that. Found by the simulation, seed 7829 at 233ab19.
#[test]
fn who_slept_during_a_request_does_not_wait_for_long_afterwards() {
    let outcome = run(&Race {
        nap: Duration::from_secs(3 * 3600),
        ..Race::of(4, 1)
    });
    let longest = outcome.percentile(100);
    println!("{} commits, the longest took {longest:?}", outcome.total());
    assert!(longest < Duration::from_secs(40), "{longest:?}");
    assert!(outcome.total() > 300, "{}", outcome.total());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let race = Race {
        time: Duration::from_secs(5),
        ..Race::of(8, 7)
    };
    let (one, two) = (run(&race), run(&race));
    assert_eq!(one.latencies, two.latencies);
    assert_eq!(
        (one.puts, one.gets, one.lists),
        (two.puts, two.gets, two.lists)
    );
}
