//! What holds for every outage, every ttl, every step of the clock and every bad answer.

use proptest::prelude::*;

use super::{
    world::{Answer, LOOK, Outage, World},
    *,
};

fn remote_class() -> impl Strategy<Value = FailureClass> {
    proptest::sample::select(vec![
        FailureClass::Transport,
        FailureClass::Throttled,
        FailureClass::Unavailable,
        FailureClass::Denied,
        FailureClass::Misconfigured,
    ])
}

/// A ttl between five seconds and `10^most` seconds, evenly over the orders of magnitude.
fn ttl(most: f64) -> impl Strategy<Value = Duration> {
    (5_f64.log10()..most)
        .prop_map(|exponent| Duration::from_millis((1000.0 * 10_f64.powf(exponent)) as u64))
}

fn last_moment(life: Duration) -> Duration {
    (life / 100).max(Duration::from_secs(5))
}

/// Runs one outage from just before the due time until `reserve` before the end.
fn outage(ttl: Duration, reserve: Duration, key: &str, outage: Outage) -> World {
    let mut world = World::with_live(ttl, at(1_000_000));
    world.policy.splay_seed = key.to_owned();
    let end = world.facts.live.as_ref().unwrap().validity.not_after;
    world.outages.push(Outage {
        from: at(1_000_000),
        until: end.minus(reserve),
        ..outage
    });
    world.run(end, 1_000_000);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_outage_that_ends_in_time_is_survived_within_the_stated_bound(
        ttl in ttl(6.8),
        classes in proptest::collection::vec(remote_class(), 1..4),
        early in 0.0..1.0_f64,
        wait in proptest::option::of(0..1_000_000_u64),
        key in "[a-f0-9]{8}",
    ) {
        let least = last_moment(ttl);
        let reserve = least + (ttl / 3).saturating_sub(least).mul_f64(early);
        let first = Outage {
            from: at(0),
            until: at(0),
            classes: classes.clone(),
            retry_after: wait.map(Duration::from_secs),
        };
        let world = outage(ttl, reserve, &key, first);
        let start = at(1_000_000);
        let validity = Validity { not_before: start.minus(Duration::from_secs(30)), not_after: start.plus(ttl) };
        let renewed = world.published.first().copied();
        prop_assert!(renewed.is_some_and(|time| time < validity.not_after), "{:?}", world.sent);
        let due = schedule::due(validity, Some(start), &world.policy).at;
        let over = validity.not_after.minus(reserve);
        let bound: u32 = classes
            .iter()
            .collect::<std::collections::HashSet<_>>()
            .into_iter()
            .map(|class| retry::most_requests(*class, validity, due, over))
            .sum();
        let failed = world.sent.iter().filter(|(time, _)| *time < over).count();
        let taking_turns = classes.len() > 1 && classes.contains(&FailureClass::Denied);
        let bound = if taking_turns { 2 * bound } else { bound };
        prop_assert!(failed <= bound as usize, "{} > {}", failed, bound);
    }

    #[test]
    fn bad_answers_that_end_in_time_are_survived_within_the_budget(
        secs in 3_600..864_000_u64,
        key in "[a-f0-9]{8}",
    ) {
        let ttl = Duration::from_secs(secs);
        let first = Outage {
            from: at(0),
            until: at(0),
            classes: vec![FailureClass::BadAnswer],
            retry_after: None,
        };
        let world = outage(ttl, last_moment(ttl), &key, first);
        prop_assert!(!world.published.is_empty(), "{:?}", world.sent);
        prop_assert!(world.most_in_an_hour() <= issuance_limit::MOST_REFUSED as usize);
    }

    #[test]
    fn no_ttl_from_five_seconds_to_ten_years_loops(
        ttl in ttl(8.5),
        share in prop_oneof![Just(schedule::DEFAULT_SHARE), 0.1..0.95_f64],
        splay in 0..1_000_000_u64,
        latency in 0..200_u64,
        key in "[a-f0-9]{8}",
    ) {
        let mut world = World::new(ttl, at(1_000_000));
        world.policy = RenewPolicy {
            at: RenewAt::Share(share),
            splay: Duration::from_secs(splay),
            splay_seed: key,
            ..policy(ttl.as_secs())
        };
        world.latency = Duration::from_millis(latency);
        world.run(Timestamp::MAX, 300);
        prop_assert!(world.published.len() >= 99, "{:?}", world.published.len());
        for pair in world.published.windows(2) {
            let gap = pair[1].since(pair[0]);
            prop_assert!(gap >= Duration::from_secs(2), "{:?}", gap);
            prop_assert!(gap < ttl, "{:?}: a gap in service", gap);
        }
        prop_assert_eq!(world.sent.len() - world.published.len(), 0);
        let per_hour = world.policy.max_issuances_per_hour.per_hour(Some(ttl));
        // Due ones are bounded by the schedule: twice an hour's share of it, for the splay.
        let planned = 2.0 * issuance_limit::WINDOW.as_secs_f64() / (ttl.as_secs_f64() * share);
        let most = f64::from(per_hour).max(planned);
        prop_assert!(world.most_in_an_hour() as f64 <= most, "{} {most}", world.most_in_an_hour());
    }

    #[test]
    fn no_bad_answer_gets_more_than_the_budget_or_takes_what_is_live(
        answer in proptest::sample::select(vec![
            Answer::Expired,
            Answer::OneSecond,
            Answer::Ahead(Duration::from_secs(120)),
            Answer::Ahead(Duration::from_secs(7_200)),
            Answer::Ahead(Duration::from_secs(1 << 40)),
            Answer::Refused,
        ]),
        ttl in ttl(6.0),
        per_hour in 1..40_u32,
        published: bool,
        short_accepted: bool,
    ) {
        let start = at(1_000_000);
        let mut world = if published { World::with_live(ttl, start) } else { World::new(ttl, start) };
        world.policy.max_issuances_per_hour = IssuanceLimit::Configured(per_hour);
        if short_accepted {
            world.policy.min_remaining = MinRemaining::Configured(Duration::ZERO);
        }
        world.answer = answer;
        let live = world.facts.live.clone();
        let end = start.plus(ttl).plus(Duration::from_secs(6 * 3_600));
        world.run(end, 200_000);
        prop_assert!(world.now >= end, "loops until {}", world.now);
        let most = per_hour + issuance_limit::MOST_REFUSED;
        prop_assert!(world.most_in_an_hour() <= most as usize, "{:?}", world.sent);
        prop_assert!(!world.sent.is_empty());
        if matches!(answer, Answer::Expired | Answer::Refused) {
            prop_assert_eq!(live, world.facts.live);
        }
    }

    #[test]
    fn steps_and_suspends_start_a_due_renewal_at_the_next_look(
        ttl in ttl(6.5),
        moves in proptest::collection::vec(
            prop_oneof![(-7_200..7_200_i64), (0..30 * 86_400_i64)],
            1..12,
        ),
        broken in proptest::option::of(remote_class()),
    ) {
        let mut world = World::with_live(ttl, at(10_000_000));
        if let Some(class) = broken {
            world.outages.push(Outage {
                from: at(0),
                until: Timestamp::MAX,
                classes: vec![class],
                retry_after: Some(Duration::from_secs(86_400)),
            });
        }
        for secs in moves {
            // Some undisturbed looks, then the clock moves while the loop sleeps.
            for _ in 0..20 {
                look(&mut world);
            }
            let before = world.sent.len();
            world.now = if secs < 0 {
                world.now.minus(Duration::from_secs(secs.unsigned_abs()))
            } else {
                world.now.plus(Duration::from_secs(secs.unsigned_abs()))
            };
            let resumed = world.now;
            let due = world.due() <= resumed && world.facts.staged.is_none();
            // What the plan says after a step forward is in the past, or it is still to come.
            let planned = world.facts.failure.as_ref().is_some_and(|run| run.at <= resumed);
            look(&mut world);
            if due && !planned {
                prop_assert!(world.sent.len() > before, "due, but nothing was sent");
                prop_assert!(world.sent[before].0.since(resumed) <= LOOK + Duration::from_secs(5));
            }
            prop_assert!(world.sent.len() - before <= 25, "loops after a step");
        }
    }
}

/// Sleeps at most a look interval, then decides until there is nothing to do.
fn look(world: &mut World) {
    for _ in 0..50 {
        if let Some(wake) = world.act() {
            world.now = wake.min(world.now.plus(LOOK));
            return;
        }
    }
    panic!("fifty actions without a wait");
}

#[test]
fn ten_years_in_an_outage_stay_within_the_bound() {
    let ttl = Duration::from_secs(3_650 * 86_400);
    let first = Outage {
        from: at(0),
        until: at(0),
        classes: vec![FailureClass::Misconfigured],
        retry_after: None,
    };
    let world = outage(ttl, last_moment(ttl), "alloc", first);
    assert_eq!(world.published.len(), 1);
    assert!(world.sent.len() < 30_000, "{}", world.sent.len());
}
