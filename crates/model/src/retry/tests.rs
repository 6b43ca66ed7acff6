//! The retry plan of each class: tables, and properties of its bounds.

use proptest::prelude::*;

use super::*;
use crate::{failure::Failure, testing};

const DAY: i64 = 86_400;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn life(secs: i64) -> Validity {
    Validity {
        not_before: at(0),
        not_after: at(secs),
    }
}

fn failure(class: FailureClass, retry_after: Option<u64>) -> Failure {
    Failure {
        retry_after: retry_after.map(Duration::from_secs),
        ..testing::failure(class, "x")
    }
}

fn run(class: FailureClass, total: u32, when: Timestamp) -> FailureRun {
    FailureRun {
        last: failure(class, None),
        count: total,
        total,
        at: when,
    }
}

/// All attempts of one class from a first failure at `from` until `until`.
fn attempts(
    class: FailureClass,
    validity: Option<Validity>,
    (from, until): (Timestamp, Timestamp),
    seed: &str,
) -> Vec<Timestamp> {
    let mut all = vec![from];
    loop {
        let last = *all.last().unwrap();
        let total = u32::try_from(all.len()).unwrap();
        let next = next_attempt(&run(class, total, last), validity, seed, last);
        assert!(next > last, "{class} stands still at {last}");
        if next > until {
            return all;
        }
        all.push(next);
    }
}

#[test]
fn a_ten_day_leaf_gets_some_tries_at_once_then_few_then_many() {
    let tries = attempts(
        FailureClass::Transport,
        Some(life(10 * DAY)),
        (at(576_000), at(10 * DAY)),
        "alloc",
    );
    let between = |from: i64, until: i64| {
        tries
            .iter()
            .filter(|time| (at(from)..at(until)).contains(time))
            .count()
    };
    assert!((4..=6).contains(&between(576_000, 576_030)), "{tries:?}");
    assert!((10..=14).contains(&between(600_000, 603_600)));
    assert!((5..=10).contains(&between(10 * DAY - 10, 10 * DAY)));
    assert!(tries.len() <= 1_040, "{}", tries.len());
}

#[test]
fn the_stated_bounds_of_a_ten_day_leaf_from_due_to_its_end() {
    let from = at(576_000);
    let bounds = FailureClass::ALL.map(|class| {
        (
            class.name(),
            most_requests(class, life(10 * DAY), from, at(10 * DAY)),
        )
    });
    assert_eq!(
        bounds,
        [
            ("transport", 1_015),
            ("throttled", 508),
            ("unavailable", 1_015),
            ("denied", 194),
            ("misconfigured", 117),
            ("bad_answer", 90),
            ("local", 4_841),
            ("issuance_limit", 1_011),
        ]
    );
}

#[test]
fn the_runway_counts_down_to_zero() {
    let validity = life(10 * DAY);
    let left = |secs: i64| runway(FailureClass::Transport, validity, at(10 * DAY - secs));
    assert!(left(3 * DAY) > left(DAY) && left(DAY) > left(60));
    assert!(left(60) > 10);
    assert_eq!((left(1), left(0), left(-60)), (0, 0, 0));
}

#[test]
fn a_denied_login_is_tried_again_once_soon_and_then_slowly() {
    let tries = attempts(
        FailureClass::Denied,
        Some(life(10 * DAY)),
        (at(576_000), at(576_000 + 4 * 3_600)),
        "alloc",
    );
    assert!(tries[1].since(tries[0]) <= Duration::from_secs(3));
    assert!((7..=11).contains(&tries.len()), "{tries:?}");
}

#[test]
fn classes_that_take_turns_are_not_quick_for_ever() {
    let validity = Some(life(10 * DAY));
    let mut previous: Option<FailureRun> = None;
    let mut now = at(576_000);
    let mut sent = 0;
    while now < at(576_000 + 6 * 3_600) {
        sent += 1;
        let class = if sent % 2 == 0 {
            FailureClass::Transport
        } else {
            FailureClass::Unavailable
        };
        let next = FailureRun::after(previous.as_ref(), failure(class, None), now);
        now = next_attempt(&next, validity, "alloc", now);
        previous = Some(next);
    }
    assert!(sent <= 80, "{sent} requests in six hours");
}

#[test]
fn retry_after_is_obeyed_and_spread() {
    let validity = Some(life(10 * DAY));
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..50 {
        let mut run = run(FailureClass::Throttled, 1, at(600_000));
        run.last = failure(FailureClass::Throttled, Some(7_200));
        let next = next_attempt(&run, validity, &format!("alloc-{number}"), run.at);
        assert!((at(607_200)..=at(607_920)).contains(&next), "{next}");
        seen.insert(next);
    }
    assert!(seen.len() > 45);
}

#[test]
fn retry_after_never_costs_the_certificate_its_last_try() {
    let validity = life(DAY);
    for (left, wait) in [
        (20_000, 1 << 40),
        (3_600, 7_200),
        (1_000, 1_000),
        (20, 86_400),
        (6, 60),
    ] {
        let mut run = run(FailureClass::Throttled, 9, at(DAY - left));
        run.last = failure(FailureClass::Throttled, Some(wait));
        let next = next_attempt(&run, Some(validity), "alloc", run.at);
        assert!(next < at(DAY) && next > run.at, "{left} s left: {next}");
    }
}

#[test]
fn after_the_end_it_goes_on_and_obeys_an_hour_at_most() {
    let tries = attempts(
        FailureClass::Unavailable,
        Some(life(3_600)),
        (at(3_590), at(2 * 3_600)),
        "alloc",
    );
    assert!(tries.len() > 120, "{}", tries.len());
    let mut late = run(FailureClass::Throttled, 9, at(4_000));
    late.last = failure(FailureClass::Throttled, Some(86_400));
    for validity in [Some(life(3_600)), None] {
        let next = next_attempt(&late, validity, "alloc", late.at);
        assert!((at(7_600)..=at(7_960)).contains(&next), "{next}");
    }
}

#[test]
fn before_the_first_success_delays_grow_to_a_cap() {
    for class in FailureClass::ALL {
        let tries = attempts(class, None, (at(0), at(3_600)), "alloc");
        let most = match class {
            FailureClass::BadAnswer => 20,
            FailureClass::Misconfigured => 70,
            FailureClass::Denied | FailureClass::Throttled => 130,
            _ => 260,
        };
        assert!(
            (5..=most).contains(&tries.len()),
            "{class}: {}",
            tries.len()
        );
    }
}

#[test]
fn a_failure_from_the_future_is_followed_up_at_once() {
    let run = run(FailureClass::Misconfigured, 3, at(9_000));
    for validity in [Some(life(DAY)), None] {
        assert_eq!(next_attempt(&run, validity, "alloc", at(1_000)), at(1_000));
    }
}

#[test]
fn an_attempt_may_take_a_quarter_of_what_remains() {
    let of = |left: i64| patience(Some(life(DAY)), at(DAY - left)).map(|limit| limit.as_secs());
    assert_eq!(
        [of(400), of(8), of(0), of(-5)],
        [Some(100), Some(3), None, None]
    );
    assert_eq!(patience(None, at(0)), None);
}

fn any_class() -> impl Strategy<Value = FailureClass> {
    proptest::sample::select(FailureClass::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn requests_stay_below_the_stated_bound(
        class in any_class(),
        exponent in 0.8..6.0_f64,
        start in 0.0..1.2_f64,
        span in 0.0..1.0_f64,
        seed in "[a-f0-9]{8}",
    ) {
        let secs = 10_f64.powf(exponent);
        let validity = life(secs as i64);
        let from = Timestamp::from_unix_millis((secs * start * 1000.0) as i64);
        let until = from.plus(Duration::from_secs_f64(secs * span));
        let sent = attempts(class, Some(validity), (from, until), &seed).len();
        let bound = most_requests(class, validity, from, until);
        prop_assert!(sent <= bound as usize, "{} > {}", sent, bound);
    }

    #[test]
    fn every_hundredth_of_life_and_every_five_seconds_before_the_end_hold_an_attempt(
        class in any_class(),
        exponent in 1.4..6.5_f64,
        seed in "[a-f0-9]{8}",
    ) {
        let secs = 10_f64.powf(exponent);
        let validity = life(secs as i64);
        let reserve = reserve(validity);
        let from = validity.not_after.minus(reserve * 3);
        let tries = attempts(class, Some(validity), (from, validity.not_after), &seed);
        let in_time = Duration::from_millis(LAST_ATTEMPT_MARGIN_MILLIS)..reserve;
        let held = tries.iter().any(|time| in_time.contains(&validity.remaining(*time)));
        prop_assert!(held, "{:?}", tries);
    }

    #[test]
    fn slots_join_without_gap_or_overlap(class in any_class(), away in 0..u64::MAX / 4) {
        for grid in [plan(class).before(), plan(class).after()] {
            let slot = Slot::around(grid, away);
            prop_assert!((slot.near..slot.far).contains(&away));
            let next = slot.further(grid);
            prop_assert_eq!((next.near, next.number), (slot.far, slot.number + 1));
            prop_assert_eq!(next.nearer(grid), Some(slot));
        }
    }

    #[test]
    fn no_time_panics(
        class in any_class(),
        total: u32,
        when: i64,
        now: i64,
        ends: [i64; 2],
        wait: Option<u64>,
    ) {
        let validity = Validity {
            not_before: Timestamp::from_unix_millis(ends[0]),
            not_after: Timestamp::from_unix_millis(ends[1]),
        };
        let (when, now) = (Timestamp::from_unix_millis(when), Timestamp::from_unix_millis(now));
        let mut run = run(class, total, when);
        run.last.retry_after = wait.map(Duration::from_secs);
        for validity in [Some(validity), None] {
            let _ = next_attempt(&run, validity, "alloc", now);
        }
        let _ = most_requests(class, validity, when, now);
        let _ = runway(class, validity, now);
    }
}
