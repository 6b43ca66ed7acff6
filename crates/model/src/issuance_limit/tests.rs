//! How many issuance requests an hour may hold, and which are counted as what.

use proptest::prelude::*;

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn counted(issuances: &[Timestamp]) -> Requests {
    Requests {
        counted: issuances.to_vec(),
        ..Requests::default()
    }
}

fn limited(issuances: &[Timestamp], per_hour: u32, now: i64) -> Result<(), Timestamp> {
    counted(issuances).allowed(per_hour, None, at(now))
}

#[test]
fn the_limit_is_free_again_an_hour_after_the_oldest_that_fills_it() {
    let issued = [at(0), at(100), at(200)];
    assert_eq!(limited(&issued, 4, 300), Ok(()));
    assert_eq!(limited(&issued, 3, 300), Err(at(3_600)));
    assert_eq!(limited(&issued, 2, 300), Err(at(3_700)));
    assert_eq!(limited(&issued, 3, 3_600), Ok(()));
    assert_eq!(limited(&issued, 0, 10_000), Ok(()));
}

#[test]
fn a_record_from_the_future_blocks_for_its_distance_and_an_hour_at_most() {
    let near = [at(1_800)];
    assert_eq!(limited(&near, 1, 0), Err(at(3_600)));
    assert_eq!(limited(&near, 1, 3_600), Err(at(5_400)));
    assert_eq!(limited(&near, 1, 5_400), Ok(()));
    assert_eq!(limited(&[Timestamp::MAX], 1, 0), Ok(()));
}

#[test]
fn pruning_moves_the_future_to_the_present_and_drops_what_is_over() {
    let mut issued = vec![at(0), at(4_000), at(90_000), Timestamp::MAX];
    prune(&mut issued, at(5_000));
    assert_eq!(issued, [at(4_000), at(5_000), at(5_000)]);
    assert_eq!(limited(&issued, 3, 5_000), Err(at(7_600)));
    assert_eq!(limited(&issued, 3, 7_600), Ok(()));
}

#[test]
fn an_attempt_counts_only_when_a_certificate_may_have_been_made() {
    for class in FailureClass::ALL {
        let after = match class {
            FailureClass::BadAnswer => Aftermath::Refused,
            FailureClass::Local => Aftermath::Counted,
            _ => Aftermath::Withdrawn,
        };
        assert_eq!(Aftermath::from(class), after, "{class}");
    }
}

#[test]
fn a_derived_limit_follows_the_life_that_is_received() {
    let of = |ttl, life: Option<u64>| {
        let ttl = Duration::from_secs(ttl);
        IssuanceLimit::Derived { ttl }.per_hour(life.map(Duration::from_secs))
    };
    assert_eq!(of(864_000, None), 10);
    assert_eq!(of(864_000, Some(864_000)), 10);
    // the role or the CA cuts it short
    assert_eq!(of(864_000, Some(120)), 120);
    assert_eq!(of(864_000, Some(1)), 3_600);
    // longer than asked for changes nothing
    assert_eq!(of(60, Some(864_000)), 240);
    assert_eq!(
        IssuanceLimit::Configured(3).per_hour(Some(Duration::from_secs(60))),
        3
    );
    assert_eq!(IssuanceLimit::Configured(0).per_hour(None), 1);
}

#[test]
fn refused_answers_are_paced_and_take_nothing_from_the_limit() {
    let mut requests = Requests::default();
    for number in 0..5 {
        assert_eq!(requests.allowed(10, None, at(number)), Ok(()));
        requests.sent(Share::Other, at(number));
        requests.was_refused(Share::Other);
    }
    assert_eq!((requests.used(at(5)), requests.refused(at(5))), (0, 5));
    // without a certificate: one in twelve minutes
    assert_eq!(requests.allowed(10, None, at(5)), Err(at(4 + 720)));
    // with one: never later than half of what is left
    assert_eq!(requests.allowed(10, Some(at(104)), at(5)), Err(at(54)));
    assert_eq!(requests.allowed(10, Some(at(7)), at(5)), Err(at(6)));
    assert_eq!(requests.allowed(10, Some(at(3)), at(5)), Err(at(724)));
    assert_eq!(requests.manual_allowed(at(5)), Ok(()));
}

#[test]
fn manual_renewals_have_an_allowance_of_their_own() {
    let mut requests = Requests::default();
    for second in 0..10 {
        assert_eq!(requests.manual_allowed(at(second)), Ok(()));
        requests.sent(Share::Manual, at(second));
        requests.was_refused(Share::Manual);
    }
    assert_eq!(requests.manual_allowed(at(10)), Err(at(60)));
    assert_eq!(requests.manual_allowed(at(60)), Ok(()));
    assert_eq!(
        requests.allowed(1, None, at(10)),
        Ok(()),
        "due ones have theirs"
    );
    assert_eq!(requests.refused(at(10)), 0);
}

#[test]
fn a_storm_of_manual_renewals_is_one_a_minute_and_the_first_ten() {
    let mut requests = Requests::default();
    let mut sent = 0;
    for second in 0..3_600 {
        if requests.manual_allowed(at(second)).is_ok() {
            requests.sent(Share::Manual, at(second));
            sent += 1;
        }
    }
    assert_eq!(sent, 69);
    // whoever comes after the storm waits for a minute at most
    assert!(
        requests.manual_allowed(at(3_600)).is_ok() || requests.manual_allowed(at(3_660)).is_ok()
    );
}

#[test]
fn a_withdrawn_request_leaves_no_trace_in_its_own_share() {
    let mut requests = Requests::default();
    requests.sent(Share::Due, at(1));
    requests.sent(Share::Manual, at(2));
    assert_eq!(requests.newest(), Some(at(2)));
    requests.withdraw(Share::Manual);
    assert_eq!(requests.newest(), Some(at(1)));
    requests.withdraw(Share::Due);
    assert_eq!(requests, Requests::default());
}

proptest! {
    #[test]
    fn waiting_until_it_is_free_frees_it(
        issued in proptest::collection::vec(0..20_000_i64, 0..40),
        refused in proptest::collection::vec(0..20_000_i64, 0..40),
        manual in proptest::collection::vec(0..20_000_i64, 0..40),
        ends in proptest::option::of(0..20_000_i64),
        per_hour in 1..20_u32,
        now in 0..20_000_i64,
    ) {
        let times = |secs: Vec<i64>| secs.into_iter().map(at).collect();
        let requests = Requests { counted: times(issued), refused: times(refused), manual: times(manual) };
        for rule in 0..2 {
            let (mut now, mut waits) = (at(now), 0);
            let free = |now| if rule == 0 {
                requests.allowed(per_hour, ends.map(at), now)
            } else {
                requests.manual_allowed(now)
            };
            while let Err(free) = free(now) {
                prop_assert!(free > now);
                now = free;
                waits += 1;
                prop_assert!(waits <= 60);
            }
        }
    }

    #[test]
    fn restarts_at_any_moment_never_get_more_refused_answers_than_stated(
        gaps in proptest::collection::vec(0..900_i64, 1..400),
        ends in proptest::option::of(0..40_000_i64),
    ) {
        let (mut requests, mut now) = (Requests::default(), 0);
        for gap in gaps {
            now += gap;
            if requests.allowed(10, ends.map(at), at(now)).is_ok() {
                requests.sent(Share::Other, at(now));
                requests.was_refused(Share::Other);
            }
            prop_assert!(requests.refused(at(now)) <= MOST_REFUSED, "{:?}", requests.refused);
        }
    }

    #[test]
    fn a_ca_that_is_repaired_in_time_is_asked_in_time(
        life in 30..100_000_i64,
        before in prop_oneof![5..30_i64, 5..100_000_i64],
        step in 1..2_000_i64,
    ) {
        let (ends, repaired) = (at(life), life - before.min(life));
        let (mut requests, mut now) = (Requests::default(), 0);
        while now < repaired {
            if requests.allowed(10, Some(ends), at(now)).is_ok() {
                requests.sent(Share::Due, at(now));
                requests.was_refused(Share::Due);
            }
            now += step;
        }
        let next = match requests.allowed(10, Some(ends), at(repaired)) {
            Ok(()) => at(repaired),
            Err(free) => free,
        };
        prop_assert!(next < ends, "{:?} ends {}", requests.refused, life);
    }

    #[test]
    fn no_time_panics(issued in any::<Vec<i64>>(), ends: Option<i64>, per_hour: u32, now: i64) {
        let issued: Vec<_> = issued.into_iter().map(Timestamp::from_unix_millis).collect();
        let (now, ends) = (Timestamp::from_unix_millis(now), ends.map(Timestamp::from_unix_millis));
        let mut requests = Requests { counted: issued.clone(), refused: issued.clone(), manual: issued };
        let _ = requests.allowed(per_hour, ends, now);
        let _ = requests.manual_allowed(now);
        requests.sent(Share::Due, now);
        prop_assert!(requests.counted.is_sorted() && requests.counted.iter().all(|at| *at <= now));
        prop_assert!(requests.newest() == Some(now));
    }
}
