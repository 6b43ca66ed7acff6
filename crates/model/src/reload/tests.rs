//! The decisions in tables, and whole stories with crashes in a simulation.

use proptest::prelude::*;

use super::*;

mod sim;

use sim::{App, Sim};

const START: Timestamp = Timestamp::from_unix_secs(1_795_514_400);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn hup() -> Action {
    Action::Signal {
        target: SignalTarget::Child,
        signal: "SIGHUP".parse().unwrap(),
    }
}

fn restart() -> Action {
    Action::NomadRestart {
        task: "app".to_owned(),
    }
}

fn policy(leaf: Vec<Action>) -> ReloadPolicy {
    ReloadPolicy {
        leaf,
        trust: vec![restart()],
        attest_within: MINUTE,
        probed: true,
        probe_every: 5 * MINUTE,
        slots: None,
        rollback: None,
    }
}

fn published(event: EventKind) -> ReloadRecord {
    let publication = Publication {
        generation: "g2".to_owned(),
        serial: "02".to_owned(),
        sha256: String::new(),
        event,
        first: false,
        previous: Some(Previous {
            generation: "g1".to_owned(),
            serial: "01".to_owned(),
            not_after: START.plus(DAY).unix_millis(),
            served: true,
        }),
    };
    ReloadRecord::new(publication, None, START)
}

fn serves(serial: &str, at: Timestamp) -> Probed {
    Probed {
        at,
        finding: Finding::Serves {
            serial: serial.to_owned(),
            sha256: String::new(),
        },
    }
}

fn finding(finding: Finding, at: Timestamp) -> Probed {
    Probed { at, finding }
}

fn failure(lasting: bool, reached: bool) -> Failed {
    Failed {
        code: "x".to_owned(),
        message: "x".to_owned(),
        at: 0,
        lasting,
        reached,
    }
}

fn later(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

#[test]
fn a_leaf_that_the_application_took_up_by_itself_is_not_told() {
    let policy = policy(vec![hup()]);
    let mut outbox = published(EventKind::Leaf);
    assert_eq!(next(&outbox, &policy, None, START), ReloadNext::Probe);
    let seen = serves("02", START);
    assert_eq!(outbox.saw(&seen, &policy, START), Verdict::Attested);
    let then = next(&outbox, &policy, Some(&seen), START);
    assert_eq!(then, ReloadNext::WaitUntil(later(300), Why::Attested));
    assert_eq!(
        next(&outbox, &policy, Some(&seen), later(300)),
        ReloadNext::Probe,
        "and it is looked at again"
    );
}

#[test]
fn a_probe_from_before_the_publication_proves_nothing() {
    let policy = policy(vec![hup()]);
    let mut outbox = published(EventKind::Leaf);
    let old = serves("02", START.minus(MINUTE));
    assert_eq!(outbox.saw(&old, &policy, START), Verdict::Unchanged);
    assert_eq!(next(&outbox, &policy, Some(&old), START), ReloadNext::Probe);
}

#[test]
fn new_anchors_are_attested_only_after_the_application_was_told() {
    let policy = policy(vec![Action::None]);
    let mut outbox = published(EventKind::Trust);
    // The leaf is the same one: that it is served says nothing.
    assert_eq!(
        outbox.saw(&serves("02", later(1)), &policy, later(1)),
        Verdict::Unchanged
    );
    assert_eq!(next(&outbox, &policy, None, later(1)), ReloadNext::Act(0));
    outbox.begin(0, later(1));
    assert_eq!(
        outbox.saw(&serves("02", later(2)), &policy, later(2)),
        Verdict::Unchanged,
        "it is not known whether it was told"
    );
    outbox.answered(Ok(Delivery::Delivered), &policy, later(3));
    assert_eq!(
        outbox.saw(&serves("02", later(4)), &policy, later(4)),
        Verdict::Attested
    );
}

#[test]
fn without_a_probe_the_success_of_the_action_is_the_proof() {
    let policy = ReloadPolicy {
        probed: false,
        ..policy(vec![hup()])
    };
    for told in [Delivery::Delivered, Delivery::NotRunning] {
        let mut outbox = published(EventKind::Leaf);
        assert_eq!(next(&outbox, &policy, None, START), ReloadNext::Act(0));
        outbox.begin(0, START);
        outbox.answered(Ok(told), &policy, START);
        assert_eq!(next(&outbox, &policy, None, START), ReloadNext::Done);
    }
}

#[test]
fn a_failed_attempt_is_repeated_until_the_deadline_and_then_the_next_step_comes() {
    let policy = ReloadPolicy {
        probed: false,
        ..policy(vec![hup(), restart()])
    };
    let mut outbox = published(EventKind::Leaf);
    let (mut now, mut attempts) = (START, 0);
    loop {
        match next(&outbox, &policy, None, now) {
            ReloadNext::Act(0) => {
                attempts += 1;
                outbox.begin(0, now);
                outbox.answered(Err(failure(false, false)), &policy, now);
            }
            ReloadNext::WaitUntil(at, _) => now = at,
            other => {
                assert_eq!(other, ReloadNext::Act(1));
                break;
            }
        }
    }
    // At 0, 1, 3, 7, 15 and 31 seconds.
    assert_eq!((attempts, now), (6, later(60)));
}

#[test]
fn a_lasting_failure_goes_on_at_once_and_to_the_alarm() {
    let policy = policy(vec![hup(), restart()]);
    let mut outbox = published(EventKind::Leaf);
    for step in 0..2 {
        outbox.begin(step, START);
        outbox.answered(Err(failure(true, false)), &policy, START);
        let seen = serves("01", START);
        let wanted = [ReloadNext::Act(1), ReloadNext::Alarm(Why::NotTold)][step];
        assert_eq!(next(&outbox, &policy, Some(&seen), START), wanted);
    }
}

#[test]
fn after_the_alarm_who_could_not_be_told_is_tried_again_and_who_was_told_is_not() {
    for delivered in [true, false] {
        let policy = ReloadPolicy {
            probed: delivered,
            ..policy(vec![hup()])
        };
        let mut outbox = published(EventKind::Leaf);
        outbox.begin(0, START);
        let answer = if delivered {
            Ok(Delivery::Delivered)
        } else {
            Err(failure(false, false))
        };
        outbox.answered(answer, &policy, START);
        outbox.alarmed(later(60));
        let mut acts = 0;
        for minute in 1..600 {
            let now = START.plus(MINUTE * minute);
            let seen = serves("01", now);
            if next(&outbox, &policy, Some(&seen), now) == ReloadNext::Act(0) {
                acts += 1;
                outbox.begin(0, now);
                outbox.answered(Err(failure(false, false)), &policy, now);
            }
        }
        if delivered {
            assert_eq!(acts, 0);
        } else {
            assert!((30..60).contains(&acts), "{acts} in ten hours");
        }
    }
}

#[test]
fn an_application_that_has_not_started_is_not_told_but_looked_for() {
    let policy = policy(vec![restart()]);
    let mut outbox = published(EventKind::Trust);
    outbox.first = true;
    let down = finding(Finding::Down, START);
    let ReloadNext::WaitUntil(at, Why::NotStarted) = next(&outbox, &policy, Some(&down), START)
    else {
        panic!("not told");
    };
    assert!(at <= later(1));
    let seen = serves("02", later(20));
    assert_eq!(outbox.saw(&seen, &policy, later(20)), Verdict::Attested);

    let mut outbox = published(EventKind::Leaf);
    outbox.first = true;
    let late = later(300);
    let down = finding(Finding::Down, late);
    assert_eq!(
        next(&outbox, &policy, Some(&down), late),
        ReloadNext::Alarm(Why::NotStarted)
    );
    // The state was lost and the application runs with older files.
    let other = serves("01", late);
    assert_eq!(
        next(&outbox, &policy, Some(&other), late),
        ReloadNext::Act(0)
    );
}

#[test]
fn who_restarts_on_old_files_is_told_again_and_ever_more_slowly() {
    let policy = policy(vec![hup()]);
    let mut outbox = published(EventKind::Leaf);
    let mut now = START;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        assert_eq!(
            outbox.saw(&serves("02", now), &policy, now),
            Verdict::Attested
        );
        now = now.plus(MINUTE);
        assert_eq!(outbox.saw(&serves("01", now), &policy, now), Verdict::Lost);
        assert_eq!(outbox.attested_at, None);
        let lost = now;
        while next(&outbox, &policy, Some(&serves("01", now)), now) != ReloadNext::Act(0) {
            now = now.plus(Duration::from_secs(1));
        }
        pauses.push(lost.until(now).as_secs());
    }
    assert_eq!(pauses, [0, 60, 120, 240, 480, 960]);
}

#[test]
fn a_leaf_that_wants_a_restart_is_not_attested_before_it() {
    // Loki before 3.2 serves a new leaf by itself and goes on showing the old one as a client
    let policy = policy(vec![restart()]);
    let mut outbox = published(EventKind::Leaf);
    let early = serves("02", later(1));
    assert_eq!(outbox.saw(&early, &policy, later(1)), Verdict::Unchanged);
    assert_eq!(
        next(&outbox, &policy, Some(&early), later(1)),
        ReloadNext::Act(0)
    );
    outbox.begin(0, later(1));
    outbox.answered(Ok(Delivery::Delivered), &policy, later(3));
    let late = serves("02", later(4));
    assert_eq!(outbox.saw(&late, &policy, later(4)), Verdict::Attested);
}

#[test]
fn an_application_that_is_down_after_it_was_attested_is_left_to_its_supervisor() {
    let policy = policy(vec![hup()]);
    let mut outbox = published(EventKind::Leaf);
    outbox.saw(&serves("02", START), &policy, START);
    let down = finding(Finding::Down, later(300));
    assert_eq!(outbox.saw(&down, &policy, later(300)), Verdict::Unchanged);
    assert_eq!(
        next(&outbox, &policy, Some(&down), later(300)),
        ReloadNext::WaitUntil(later(600), Why::Attested)
    );
}

#[test]
fn what_was_not_told_yet_is_carried_over_to_the_next_generation() {
    let old = published(EventKind::Trust);
    let again = |old: &ReloadRecord| {
        let publication = Publication {
            generation: "g3".to_owned(),
            serial: "03".to_owned(),
            event: EventKind::Leaf,
            ..Publication::default()
        };
        ReloadRecord::new(publication, Some(old), later(10))
    };
    let next = again(&old);
    assert_eq!((next.event, next.step, next.told), (EventKind::Trust, 0, 0));
    assert_eq!(
        next.old_ends_at, old.old_ends_at,
        "it still serves the first one"
    );
    let mut done = old;
    done.attested_at = Some(0);
    assert_eq!(again(&done).event, EventKind::Leaf);
}

#[test]
fn a_turn_is_waited_for_until_the_certificate_would_end() {
    let slots = Slots {
        window: 10 * MINUTE,
        count: 5,
        index: 3,
    };
    let policy = ReloadPolicy {
        slots: Some(slots),
        probed: false,
        ..policy(vec![hup()])
    };
    let mut outbox = published(EventKind::Leaf);
    let turn = slots.free_at(START);
    assert!(turn > START);
    assert_eq!(
        next(&outbox, &policy, None, START),
        ReloadNext::WaitUntil(turn, Why::Slot)
    );
    assert_eq!(next(&outbox, &policy, None, turn), ReloadNext::Act(0));
    outbox.old_ends_at = Some(later(90).unix_millis());
    assert!(!may_wait(&outbox, &policy, START));
    assert_eq!(next(&outbox, &policy, None, START), ReloadNext::Act(0));
    let nothing = ReloadPolicy {
        leaf: vec![Action::None],
        ..policy
    };
    outbox.old_ends_at = None;
    assert_eq!(next(&outbox, &nothing, None, START), ReloadNext::Act(0));
}

#[test]
fn a_held_lock_is_waited_for_but_not_until_the_certificate_ends() {
    let policy = policy(vec![hup(), restart()]);
    let outbox = published(EventKind::Leaf);
    assert!(may_wait(&outbox, &policy, later(3600)));
    // A day was left: a quarter of it is kept.
    assert!(may_wait(
        &outbox,
        &policy,
        START.plus(DAY * 3 / 4).minus(MINUTE)
    ));
    assert!(!may_wait(&outbox, &policy, START.plus(DAY * 3 / 4)));
    let unknown = ReloadRecord {
        old_ends_at: None,
        ..outbox
    };
    assert!(may_wait(&unknown, &policy, later(60)));
    assert!(!may_wait(&unknown, &policy, later(3600)));
}

#[test]
fn a_clock_that_was_set_back_delays_no_deadline() {
    let policy = policy(vec![hup()]);
    let mut outbox = published(EventKind::Leaf);
    outbox.begin(0, START);
    outbox.answered(Ok(Delivery::Delivered), &policy, START);
    let back = START.minus(Duration::from_secs(7200));
    outbox.settle(back);
    let seen = serves("01", back.plus(MINUTE));
    let now = back.plus(MINUTE);
    assert_eq!(
        next(&outbox, &policy, Some(&seen), now),
        ReloadNext::Alarm(Why::NotServed)
    );
}

#[test]
fn a_broken_application_goes_back_within_one_step_and_the_set_is_kept_away() {
    let margin = 60 * MINUTE;
    let policy = ReloadPolicy {
        rollback: Some(margin),
        ..policy(vec![hup(), restart()])
    };
    let mut outbox = published(EventKind::Leaf);
    outbox.begin(0, START);
    outbox.answered(Ok(Delivery::Delivered), &policy, START);
    let now = later(60);
    for broken in [Finding::Down, Finding::Refused, Finding::Unhealthy] {
        let seen = finding(broken, now);
        assert_eq!(
            next(&outbox, &policy, Some(&seen), now),
            ReloadNext::Rollback
        );
    }
    let (back, bad) = outbox.roll_back("print", "down", margin, now).unwrap();
    assert_eq!(
        (back.generation.as_str(), back.serial.as_str()),
        ("g1", "01")
    );
    assert_eq!(back.event, EventKind::Trust, "it has to load all of it");
    assert_eq!(back.previous, None, "and never goes back further");
    let mut list = Vec::new();
    quarantine(&mut list, bad);
    assert!(is_quarantined(&list, "02") && !is_quarantined(&list, "01"));
    let hold = held_until(&list, "print", now).unwrap();
    assert!(hold > now.plus(10 * 60 * MINUTE) && hold < START.plus(DAY).minus(margin));
    assert_eq!(held_until(&list, "another request", now), None);
    assert_eq!(held_until(&list, "print", hold), None);
}

#[test]
fn going_back_needs_a_broken_application_and_a_good_generation() {
    let margin = 60 * MINUTE;
    let policy = ReloadPolicy {
        rollback: Some(margin),
        ..policy(vec![hup()])
    };
    let now = later(60);
    let down = finding(Finding::Down, now);
    let told = |change: fn(&mut ReloadRecord)| {
        let mut outbox = published(EventKind::Leaf);
        outbox.begin(0, START);
        outbox.answered(Ok(Delivery::Delivered), &policy, START);
        change(&mut outbox);
        outbox
    };
    let alarm = ReloadNext::Alarm(Why::NotServed);
    let cases: [fn(&mut ReloadRecord); 3] = [
        |outbox| outbox.previous.as_mut().unwrap().served = false,
        |outbox| outbox.previous.as_mut().unwrap().not_after = later(3_600).unix_millis(),
        ReloadRecord::forget_previous,
    ];
    for change in cases {
        assert_eq!(next(&told(change), &policy, Some(&down), now), alarm);
    }
    let good = told(|_| {});
    let stale = serves("01", now);
    assert_eq!(
        next(&good, &policy, Some(&stale), now),
        alarm,
        "it only did not reload"
    );
    let off = ReloadPolicy {
        rollback: None,
        ..policy.clone()
    };
    assert_eq!(next(&good, &off, Some(&down), now), alarm);
    assert_eq!(next(&good, &policy, Some(&down), now), ReloadNext::Rollback);
}

#[test]
fn a_row_of_an_older_version_is_read_and_never_panics() {
    let outbox: ReloadRecord =
        serde_json::from_str(r#"{"generation":"g","step":18446744073709551615,"told":9}"#).unwrap();
    let policy = policy(vec![hup()]);
    for now in [Timestamp::MIN, START, Timestamp::MAX] {
        let _ = next(&outbox, &policy, None, now);
        let mut outbox = outbox.clone();
        outbox.settle(now);
        outbox.begin(usize::MAX, now);
        let _ = next(&outbox, &policy, Some(&serves("", now)), now);
    }
}

#[test]
fn for_every_number_of_ignored_signals_it_ends_attested_or_in_alarm_in_time() {
    for ignored in 0..=5 {
        for signals in 1..=7 {
            let policy = policy(vec![hup(); signals]);
            let mut sim = Sim::new(policy, App::ignoring(ignored));
            sim.run(None);
            let taken = ignored < signals;
            assert_eq!(sim.attested(), taken, "{ignored} of {signals}");
            assert_eq!(sim.alarmed(), !taken, "{ignored} of {signals}");
            assert_eq!(sim.app.told, (ignored + 1).min(signals));
            let limit = sim.policy.deadline(EventKind::Leaf);
            assert!(sim.elapsed() <= limit, "{:?} > {limit:?}", sim.elapsed());
        }
    }
}

proptest! {
    #[test]
    fn after_crashes_at_any_point_a_step_is_told_at_most_twice_and_the_end_is_true(
        crashes in proptest::collection::vec(0_usize..40, 0..8),
        ignored in 0_usize..=5,
        steps in 1_usize..=4,
        quiet in any::<bool>(),
    ) {
        let mut list = vec![hup(); steps];
        if quiet {
            list.insert(0, Action::None);
        }
        let mut sim = Sim::new(policy(list), App::ignoring(ignored));
        sim.crashes = crashes;
        sim.run(None);
        for (step, count) in &sim.app.by_step {
            prop_assert!(*count <= 2, "step {step:?} was told {count} times");
        }
        prop_assert!(sim.attested() || sim.alarmed());
        // It never says so without seeing it.
        prop_assert_eq!(sim.attested(), sim.app.serves == "02");
    }

    #[test]
    fn nothing_is_attested_that_the_application_does_not_serve(
        seed in any::<u64>(),
        steps in 1_usize..=3,
        trust in any::<bool>(),
    ) {
        let mut policy = policy(vec![hup(); steps]);
        policy.trust = vec![hup(); steps];
        policy.rollback = Some(MINUTE);
        let mut sim = Sim::new(policy, App::wild(seed));
        sim.outbox.event = if trust { EventKind::Trust } else { EventKind::Leaf };
        sim.run(Some(400));
        prop_assert_eq!(sim.lies, 0);
    }
}
