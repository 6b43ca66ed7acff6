//! HealthHistory and what they bring forward: tables, and properties of their bounds.

use proptest::prelude::*;

use super::*;
use crate::{
    failure::Failure,
    retry::{self, next_attempt},
    schedule::Validity,
    testing,
};

const LIFE: i64 = 864_000;
const ACTIVE: Option<IssuerHealth> = Some(IssuerHealth::Active);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn validity() -> Validity {
    Validity {
        not_before: at(0),
        not_after: at(LIFE),
    }
}

fn failed(class: FailureClass, retry_after: Option<u64>) -> Failure {
    Failure {
        retry_after: retry_after.map(Duration::from_secs),
        ..testing::failure(class, "x")
    }
}

fn run(class: FailureClass, retry_after: Option<u64>, when: Timestamp) -> FailureRun {
    FailureRun {
        total: 20,
        ..FailureRun::after(None, failed(class, retry_after), when)
    }
}

#[test]
fn only_a_vault_that_was_unavailable_is_checked() {
    let watched = FailureClass::ALL.into_iter().filter(|class| {
        let run = run(*class, None, at(100));
        next_check(&run, &HealthHistory::default(), at(400), "seed", at(100)).is_some()
    });
    let watched: Vec<_> = watched.collect();
    assert_eq!(
        watched,
        [FailureClass::Transport, FailureClass::Unavailable]
    );
    let mut history = HealthHistory::default();
    history.record(
        ACTIVE,
        &run(FailureClass::Transport, None, at(100)),
        "seed",
        at(101),
    );
    for class in FailureClass::ALL {
        let moved = attempt(&run(class, None, at(100)), &history, at(400), "seed") < at(400);
        assert_eq!(moved, watches(class), "{class}");
    }
}

#[test]
fn health_checks_come_every_four_seconds_in_a_phase_of_the_seeds_own() {
    let run = run(FailureClass::Transport, None, at(100));
    let mut phases = std::collections::BTreeSet::new();
    for number in 0..100 {
        let seed = format!("alloc-{number}");
        let mut history = HealthHistory::default();
        let first = next_check(&run, &history, at(400), &seed, at(100)).unwrap();
        assert!(at(100) < first && first <= at(104));
        history.record(None, &run, &seed, first);
        let second = next_check(&run, &history, at(400), &seed, first).unwrap();
        assert_eq!(second, first.plus(Duration::from_secs(4)));
        phases.insert(first.unix_millis() / 500);
    }
    assert_eq!(phases.len(), 8, "each half second has its share");
}

#[test]
fn a_missed_health_check_is_due_at_once_and_never_two() {
    let run = run(FailureClass::Transport, None, at(100));
    let mut history = HealthHistory::default();
    let late = at(300);
    assert!(next_check(&run, &history, at(400), "seed", late).unwrap() <= late);
    history.record(None, &run, "seed", late);
    assert!(next_check(&run, &history, at(400), "seed", late).unwrap() > late);
    // the clock is set back: the note from the future counts as of now
    let back = at(110);
    let next = next_check(&run, &history, at(400), "seed", back).unwrap();
    assert!(back < next && next <= back.plus(CHECK_INTERVAL));
}

#[test]
fn the_attempts_of_a_fleet_spread_evenly_over_eight_seconds() {
    let run = run(FailureClass::Unavailable, None, at(100));
    let mut history = HealthHistory::default();
    history.record(ACTIVE, &run, "seed", at(200));
    let mut seconds = [0_u32; 8];
    for number in 0..10_000 {
        let seed = format!("alloc-{number}");
        let moment = attempt(&run, &history, at(400), &seed);
        seconds[usize::try_from(moment.unix_secs() - 200).unwrap()] += 1;
    }
    let even = 10_000 / 8;
    let (least, most) = (even * 9 / 10, even * 11 / 10);
    assert!(
        seconds.iter().all(|count| (least..=most).contains(count)),
        "{seconds:?}"
    );
}

#[test]
fn what_was_seen_before_a_failure_says_nothing_after_it() {
    let mut history = HealthHistory::default();
    let run = run(FailureClass::Transport, None, at(99));
    history.record(ACTIVE, &run, "seed", at(100));
    history.failed(at(105));
    let run = FailureRun { at: at(105), ..run };
    assert_eq!(attempt(&run, &history, at(400), "seed"), at(400));
}

#[test]
fn attempts_in_vain_are_followed_by_doubling_gaps() {
    let gaps: Vec<u64> = (1..=10).map(|count| backoff(count).as_secs()).collect();
    assert_eq!(gaps, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    assert_eq!(backoff(u32::MAX), MAX_BACKOFF);
}

#[test]
fn the_stated_bounds() {
    let of = |secs| {
        let span = Duration::from_secs(secs);
        (most_attempts(span), most_checks(span))
    };
    assert_eq!(of(0), (2, 2));
    assert_eq!(of(60), (10, 17));
    assert_eq!(of(3 * 3_600), (84, 2_702));
    assert_eq!(longest_recovery(), Duration::from_secs(12));
}

/// The loop without a runtime: what was done from `from` until `until`.
struct Seen {
    attempts: Vec<Timestamp>,
    checks: Vec<Timestamp>,
}

/// Every order fails; `able` is what Vault says of itself.
fn live(
    (from, until): (Timestamp, Timestamp),
    seed: &str,
    class: FailureClass,
    retry_after: Option<u64>,
    able: impl Fn(Timestamp) -> Option<IssuerHealth>,
) -> Seen {
    let (mut now, mut history) = (from, HealthHistory::default());
    let mut seen = Seen {
        attempts: vec![from],
        checks: Vec::new(),
    };
    let mut run = FailureRun::after(None, failed(class, retry_after), now);
    while now <= until {
        let planned = next_attempt(&run, Some(validity()), seed, now);
        let next = attempt(&run, &history, planned, seed);
        assert!(next <= planned, "never later than planned");
        let asked = run.at.plus(Duration::from_secs(retry_after.unwrap_or(0)));
        assert!(
            next == planned || next >= asked,
            "never before a Retry-After"
        );
        match next_check(&run, &history, planned, seed, now) {
            Some(look) if next > now && look < next => {
                now = look.max(now);
                seen.checks.push(now);
                history.record(able(now), &run, seed, now);
            }
            _ => {
                now = next.max(now);
                seen.attempts.push(now);
                history.failed(now);
                run = FailureRun::after(Some(&run), run.last.clone(), now);
            }
        }
    }
    seen
}

/// The leader of a cluster is gone, and a standby continues to name it; hours later one is elected.
#[test]
fn an_active_node_is_believed_at_once_after_a_standby_was_wrong_for_hours() {
    let (from, back) = (at(600_000), at(600_000 + 3 * 3_600));
    for seed in ["a", "b", "c", "d"] {
        let able = |now| {
            Some(if now < back {
                IssuerHealth::Standby
            } else {
                IssuerHealth::Active
            })
        };
        let span = (from, back.plus(longest_recovery()));
        let seen = live(span, seed, FailureClass::Unavailable, None, able);
        let first = seen.attempts.iter().find(|time| **time >= back).unwrap();
        assert!(*first <= back.plus(longest_recovery()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_return_is_followed_within_twelve_seconds(
        away in 60..200_000_i64,
        millis in 0..4_000_u64,
        seed in "[a-f0-9]{8}",
        unavailable: bool,
    ) {
        let class = if unavailable { FailureClass::Unavailable } else { FailureClass::Transport };
        let from = at(600_000);
        let back = at(600_000 + away).plus(Duration::from_millis(millis));
        let seen = live((from, back.plus(longest_recovery())), &seed, class, None, |now| (now >= back).then_some(IssuerHealth::Active));
        let first = seen.attempts.iter().find(|time| **time >= back).unwrap();
        prop_assert!(*first <= back.plus(longest_recovery()));
        // while it was unavailable, health checks brought nothing about
        let before = seen.attempts.iter().filter(|time| **time < back).count();
        let planned = retry::most_requests(class, validity(), from, back);
        prop_assert!(before <= planned as usize);
    }

    #[test]
    fn whatever_the_issuer_says_of_itself_requests_keep_the_stated_bound(
        period in 1..3_000_i64,
        share in 0..=100_i64,
        wait in proptest::option::of(0..10_000_u64),
        hours in 1..60_i64,
        seed in "[a-f0-9]{8}",
    ) {
        let (from, until) = (at(600_000), at(600_000 + hours * 3_600));
        let class = FailureClass::Unavailable;
        let able = |now: Timestamp| {
            let up = now.unix_secs().rem_euclid(period) * 100 < share * period;
            up.then(|| if now.unix_secs() % 3 == 0 { IssuerHealth::Active } else { IssuerHealth::Standby })
        };
        let seen = live((from, until), &seed, class, wait, able);
        let span = from.until(until);
        let bound = retry::most_requests(class, validity(), from, until) + most_attempts(span);
        // the last one of the walk lies behind `until`
        prop_assert!(seen.attempts.len() <= bound as usize + 1, "{} > {bound}", seen.attempts.len());
        prop_assert!(seen.checks.len() as u64 <= most_checks(span) + 1, "{}", seen.checks.len());
        for pair in seen.checks.windows(2) {
            prop_assert!(pair[1].since(pair[0]) >= CHECK_INTERVAL);
        }
    }
}
