//! Runs schedules by seed, those that once failed, and each planted fault.
//!
//! Never judges a run: `rules.rs` does. What stays true: a seed that fails is shown as a small schedule.

#![expect(
    clippy::print_stdout,
    reason = "says how many schedules were tried, and in which time"
)]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{driver::run, schedule::Schedule, shrink::shrink};
use crate::testing::planted::Planted;

/// Seeds of a run of all tests; `CERTAGENT_SEEDS` says another number, or `FROM..TO`.
const SEEDS: u64 = 200;
/// A planted fault is found within these.
const MOST_TO_FIND: u64 = 400;
/// So many failing seeds are shown at most.
const MOST_SHOWN: usize = 3;

/// What a failing schedule comes to, for people.
fn told(name: &str, schedule: &Schedule, planted: Option<Planted>) -> String {
    let small = shrink(schedule.clone(), planted);
    let run = run(&small, planted, true);
    let (broken, trace) = (run.broken.unwrap_or_default(), run.trace.join("\n  "));
    format!("# {name}: {broken}\n{small}\nwhat happened:\n  {trace}\n")
}

fn kept() -> Vec<Schedule> {
    let blocks = include_str!("kept.txt").split("\n\n");
    let lines = blocks.map(|block| block.lines().filter(|line| !line.starts_with('#')));
    let texts = lines.map(|lines| lines.collect::<Vec<_>>().join("\n"));
    texts
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().unwrap())
        .collect()
}

fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("CERTAGENT_SEEDS").unwrap_or_default();
    match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..asked.parse().unwrap_or(SEEDS),
    }
}

/// The seeds that fail and the rule that each breaks, on all cores.
fn failing(seeds: std::ops::Range<u64>) -> Vec<(u64, String)> {
    let (next, failing) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Some(broken) = run(&Schedule::of(seed), None, false).broken {
                        failing.lock().unwrap().push((seed, broken));
                    }
                }
            });
        }
    });
    let mut failing = failing.into_inner().unwrap();
    failing.sort_unstable();
    failing
}

#[test]
fn whatever_happens_no_rule_is_broken() {
    for (index, schedule) in kept().iter().enumerate() {
        let broken = run(schedule, None, false).broken;
        assert!(
            broken.is_none(),
            "{}",
            told(&format!("kept schedule {index}"), schedule, None)
        );
    }
    let (seeds, began) = (seeds(), Instant::now());
    let failing = failing(seeds.clone());
    println!(
        "{} schedules in {:?}, {} broke a rule",
        seeds.end - seeds.start,
        began.elapsed(),
        failing.len()
    );
    let shown = failing.iter().take(MOST_SHOWN);
    let shown = shown.map(|(seed, _)| told(&format!("seed {seed}"), &Schedule::of(*seed), None));
    let shown: Vec<String> = shown.collect();
    assert!(failing.is_empty(), "{failing:#?}\n{}", shown.join("\n"));
}

#[test]
fn a_seed_gives_the_same_trace_each_time() {
    for seed in 0..20 {
        let [one, other] = [(), ()].map(|()| run(&Schedule::of(seed), None, true));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.broken, other.broken, "seed {seed}");
    }
}

#[test]
fn what_is_printed_of_a_schedule_reads_back_as_the_same() {
    for seed in 0..500 {
        let schedule = Schedule::of(seed);
        assert_eq!(schedule.to_string().parse(), Ok(schedule), "seed {seed}");
    }
}

#[test]
fn without_a_fault_three_lives_pass_and_everything_is_well() {
    let run = run(&Schedule::quiet(Duration::from_secs(3_600)), None, true);
    assert_eq!(run.broken, None, "{}", run.trace.join("\n"));
    assert_eq!(run.made, 6);
}

/// Each fault that the agent once had is found within so many seeds when it is planted again.
#[test]
fn every_planted_fault_is_found() {
    thread::scope(|scope| {
        for planted in Planted::ALL {
            scope.spawn(move || {
                let breaks = |seed: &u64| {
                    run(&Schedule::of(*seed), Some(planted), false)
                        .broken
                        .is_some()
                };
                let found = (0..MOST_TO_FIND).find(breaks);
                let seed = found.unwrap_or_else(|| panic!("{planted:?} is not found"));
                let name = format!("{planted:?} by seed {seed}");
                println!("{}", told(&name, &Schedule::of(seed), Some(planted)));
            });
        }
    });
}
