//! The due time and its splay: tables, and properties.

use proptest::prelude::*;

use super::*;
use crate::record::Record;

const DAY: Duration = Duration::from_secs(86_400);

fn policy(at: RenewAt, splay: Duration, key: &str) -> RenewPolicy {
    RenewPolicy {
        at,
        splay,
        splay_seed: key.to_owned(),
        min_remaining: MinRemaining::Configured(Duration::from_secs(1)),
        max_issuances_per_hour: IssuanceLimit::Configured(10),
        startup_timeout: Duration::from_secs(300),
    }
}

fn share(share: f64) -> RenewPolicy {
    policy(RenewAt::Share(share), Duration::ZERO, "a")
}

fn secs(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn issued(at: i64, ttl: i64) -> Validity {
    Validity {
        not_before: secs(at - 30),
        not_after: secs(at + ttl),
    }
}

#[test]
fn ten_days_are_renewed_at_two_thirds_of_what_was_left_when_it_came() {
    let due = due(issued(0, 864_000), Some(secs(0)), &share(DEFAULT_SHARE));
    assert_eq!(due.at, secs(576_000));
    assert_eq!(due.basis, Basis::Obtained);
    assert_eq!(due.life, Duration::from_secs(864_030));
    assert_eq!(due.clamps, []);
}

#[test]
fn without_a_record_life_counts_from_not_before() {
    let due = due(issued(0, 864_000), None, &share(DEFAULT_SHARE));
    assert_eq!(due.at, secs(575_990));
    assert_eq!(due.basis, Basis::NotBefore);
}

#[test]
fn a_backdated_five_second_leaf_is_not_due_when_it_comes() {
    let policy = policy(RenewAt::Share(DEFAULT_SHARE), DAY, "a");
    let due = due(issued(0, 5), Some(secs(0)), &policy);
    assert!(due.at >= Timestamp::from_unix_millis(2_000), "{due:?}");
    assert!(due.at <= Timestamp::from_unix_millis(3_334), "{due:?}");
}

#[test]
fn a_leaf_that_starts_later_counts_from_its_start() {
    let validity = Validity {
        not_before: secs(1_000),
        not_after: secs(4_000),
    };
    let due = due(validity, Some(secs(0)), &share(DEFAULT_SHARE));
    assert_eq!((due.basis, due.at), (Basis::NotBefore, secs(3_000)));
}

#[test]
fn before_is_obeyed_falls_back_and_keeps_a_margin() {
    let case = |before: u64, ttl: i64| {
        let policy = policy(
            RenewAt::Before(Duration::from_secs(before)),
            Duration::ZERO,
            "a",
        );
        let due = due(issued(0, ttl), Some(secs(0)), &policy);
        (due.at, due.clamps)
    };
    assert_eq!(case(86_400, 864_000), (secs(777_600), vec![]));
    assert_eq!(
        case(259_200, 86_400),
        (secs(57_600), vec![Clamp::BeforeTooLong])
    );
    assert_eq!(case(1, 864_000), (secs(855_360), vec![Clamp::SafetyMargin]));
}

#[test]
fn an_early_share_never_outruns_the_budget() {
    let due = due(issued(0, 1_440), Some(secs(0)), &share(0.1));
    assert_eq!(
        (due.at, due.clamps),
        (secs(360), vec![Clamp::ShortestInterval])
    );
}

#[test]
fn a_leaf_that_had_ended_when_it_came_is_due_at_once() {
    let due = due(issued(0, 5), Some(secs(100)), &share(DEFAULT_SHARE));
    assert_eq!((due.at, due.counted_life), (secs(5), Duration::ZERO));
}

#[test]
fn the_splay_window_is_capped_to_a_tenth_of_life() {
    let wide = policy(RenewAt::Share(DEFAULT_SHARE), DAY * 30, "a");
    let due = due(issued(0, 864_000), Some(secs(0)), &wide);
    assert_eq!(due.window, DAY);
    assert_eq!(due.at, due.point.minus(due.splay));
}

/// Kolmogorov-Smirnov at 1 %: the largest distance between the offsets and a uniform spread.
#[test]
fn offsets_of_ten_thousand_allocations_are_uniform() {
    const COUNT: usize = 10_000;
    let validity = issued(0, 864_000);
    for window in [DAY / 2, Duration::from_secs(300), Duration::from_secs(10)] {
        let mut offsets: Vec<f64> = (0..COUNT)
            .map(|number| {
                let alloc = format!("{:08x}-4a1c-8f2b-91d7-{:012x}/loki", number * 7_919, number);
                let policy = policy(RenewAt::Share(DEFAULT_SHARE), window, &alloc);
                let due = due(validity, Some(secs(0)), &policy);
                assert_eq!(due.point.since(due.at), due.splay);
                due.splay.as_secs_f64() / due.window.as_secs_f64()
            })
            .collect();
        offsets.sort_by(f64::total_cmp);
        let distance = offsets
            .iter()
            .enumerate()
            .map(|(index, offset)| {
                let (below, above) = (index as f64, (index + 1) as f64);
                (offset - below / COUNT as f64)
                    .abs()
                    .max((above / COUNT as f64 - offset).abs())
            })
            .fold(0.0, f64::max);
        let limit = 1.628 / (COUNT as f64).sqrt();
        assert!(distance < limit, "{window:?}: {distance} >= {limit}");
    }
}

#[test]
fn a_restart_moves_no_due_time() {
    for number in 0..1_000 {
        let key = format!("alloc-{number}/loki");
        let policy = policy(RenewAt::Share(DEFAULT_SHARE), DAY, &key);
        let came = Timestamp::from_unix_millis(1_795_514_400_123 + number);
        let validity = issued(came.unix_secs(), 864_000);
        let state = Record {
            obtained_at: Some(came),
            ..Record::default()
        };
        let text = serde_json::to_string(&state).unwrap();
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(
            due(validity, Some(came), &policy),
            due(validity, read.obtained_at, &policy)
        );
        // Losing the record costs no more than notBefore is dated back, and the splay stays.
        let lost = due(validity, None, &policy);
        assert!(due(validity, Some(came), &policy).at.since(lost.at) <= Duration::from_secs(31));
    }
}

fn any_rule() -> impl Strategy<Value = RenewAt> {
    prop_oneof![
        Just(RenewAt::Share(DEFAULT_SHARE)),
        (0.1..=0.95).prop_map(RenewAt::Share),
        (0..400_000_000_u64).prop_map(|secs| RenewAt::Before(Duration::from_secs(secs))),
    ]
}

proptest! {
    #[test]
    fn what_is_valid_when_it_comes_is_due_inside_its_life(
        rule in any_rule(),
        splay in 0..1_000_000_u64,
        exponent in 0.0..8.5_f64,
        backdated in 0..100_000_000_i64,
        late in 0.0..1.0_f64,
        per_hour in 1..3_600_u32,
    ) {
        let ttl = 5 + 10_f64.powf(exponent) as i64;
        let mut policy = policy(rule, Duration::from_secs(splay), "a");
        policy.max_issuances_per_hour = IssuanceLimit::Configured(per_hour);
        let validity = Validity { not_before: secs(-backdated), not_after: secs(ttl) };
        let came = Timestamp::from_unix_millis((ttl as f64 * late * 990.0) as i64);
        let due = due(validity, Some(came), &policy);
        let left = validity.remaining(came);
        prop_assert!(due.at.since(came) + Duration::from_millis(1) >= Duration::from_secs(2).min(left / 2), "{:?}", due);
        prop_assert!(validity.remaining(due.at) >= left / 101, "{:?}", due);
        prop_assert!(due.splay <= due.window && due.window <= left / 10, "{:?}", due);
    }

    #[test]
    fn no_time_panics(
        not_before in any::<i64>(),
        not_after in any::<i64>(),
        came in proptest::option::of(any::<i64>()),
        share in any::<f64>(),
        splay in any::<u64>(),
    ) {
        let validity = Validity {
            not_before: Timestamp::from_unix_millis(not_before),
            not_after: Timestamp::from_unix_millis(not_after),
        };
        for rule in [RenewAt::Share(share), RenewAt::Before(Duration::from_secs(splay))] {
            let mut policy = policy(rule, Duration::from_secs(splay), "a");
            policy.max_issuances_per_hour = IssuanceLimit::Configured((splay % 3) as u32);
            let came = came.map(Timestamp::from_unix_millis);
            drop(due(validity, came, &policy));
        }
    }
}

fn validity(from: i64, until: i64) -> Validity {
    Validity {
        not_before: secs(from),
        not_after: secs(until),
    }
}

#[test]
fn what_must_be_left_follows_the_life_that_is_received_unless_somebody_wrote_it() {
    let of = |rule: MinRemaining, life: i64| rule.of(validity(0, life)).as_secs();
    let derived = MinRemaining::Derived(Duration::from_secs(300));
    assert_eq!(of(derived, 864_000), 300);
    assert_eq!(of(derived, 600), 30);
    assert_eq!(of(derived, 20), 5);
    assert_eq!(of(MinRemaining::Derived(Duration::from_secs(1)), 20), 1);
    let written = MinRemaining::Configured(Duration::from_secs(300));
    assert_eq!(of(written, 600), 300);
}

proptest! {
    #[test]
    fn every_plan_fits_into_a_limit_that_was_derived(
        ttl in 1..40_000_000_u64,
        life in 2..40_000_000_i64,
        part in 0.1..0.95_f64,
        before in proptest::option::of(1..1_000_000_u64),
        splay in 0..1_000_000_u64,
        backdated in 0..60_i64,
    ) {
        let policy = RenewPolicy {
            at: before.map_or(RenewAt::Share(part), |secs| RenewAt::Before(Duration::from_secs(secs))),
            splay: Duration::from_secs(splay),
            max_issuances_per_hour: IssuanceLimit::Derived { ttl: Duration::from_secs(ttl) },
            ..share(0.5)
        };
        let due = due(validity(-backdated, life), Some(secs(0)), &policy);
        prop_assert_eq!(due.over_limit(policy.max_issuances_per_hour), None, "{:?}", due);
    }
}
