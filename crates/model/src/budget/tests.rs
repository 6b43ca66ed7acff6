//! How many issuances an hour may hold, and which are counted.

use proptest::prelude::*;

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

#[test]
fn the_budget_is_free_again_an_hour_after_the_oldest_that_fills_it() {
    let issued = [at(0), at(100), at(200)];
    assert_eq!(allowed(&issued, 4, at(300)), Ok(()));
    assert_eq!(allowed(&issued, 3, at(300)), Err(at(3_600)));
    assert_eq!(allowed(&issued, 2, at(300)), Err(at(3_700)));
    assert_eq!(allowed(&issued, 3, at(3_600)), Ok(()));
    assert_eq!(allowed(&issued, 0, at(10_000)), Ok(()));
}

#[test]
fn a_record_from_the_future_blocks_for_its_distance_and_an_hour_at_most() {
    let near = [at(1_800)];
    assert_eq!(allowed(&near, 1, at(0)), Err(at(3_600)));
    assert_eq!(allowed(&near, 1, at(3_600)), Err(at(5_400)));
    assert_eq!(allowed(&near, 1, at(5_400)), Ok(()));
    assert_eq!(allowed(&[Timestamp::MAX], 1, at(0)), Ok(()));
}

#[test]
fn pruning_moves_the_future_to_the_present_and_drops_what_is_over() {
    let mut issued = vec![at(0), at(4_000), at(90_000), Timestamp::MAX];
    prune(&mut issued, at(5_000));
    assert_eq!(issued, [at(4_000), at(5_000), at(5_000)]);
    assert_eq!(allowed(&issued, 3, at(5_000)), Err(at(7_600)));
    assert_eq!(allowed(&issued, 3, at(7_600)), Ok(()));
}

#[test]
fn only_failures_after_an_issuance_stay_in_the_record() {
    let kept: Vec<_> = FailureClass::ALL
        .into_iter()
        .filter(|class| keeps(*class))
        .collect();
    assert_eq!(kept, [FailureClass::BadAnswer, FailureClass::Local]);
}

proptest! {
    #[test]
    fn waiting_until_it_is_free_frees_it(
        issued in proptest::collection::vec(0..20_000_i64, 0..40),
        per_hour in 1..20_u32,
        now in 0..20_000_i64,
    ) {
        let issued: Vec<_> = issued.into_iter().map(at).collect();
        let mut now = at(now);
        let mut waits = 0;
        while let Err(free) = allowed(&issued, per_hour, now) {
            prop_assert!(free > now);
            now = free;
            waits += 1;
            prop_assert!(waits <= 20);
        }
    }

    #[test]
    fn no_time_panics(issued in any::<Vec<i64>>(), per_hour: u32, now: i64) {
        let mut issued: Vec<_> = issued.into_iter().map(Timestamp::from_unix_millis).collect();
        let now = Timestamp::from_unix_millis(now);
        let _ = allowed(&issued, per_hour, now);
        prune(&mut issued, now);
        prop_assert!(issued.is_sorted() && issued.iter().all(|at| *at <= now));
    }
}
