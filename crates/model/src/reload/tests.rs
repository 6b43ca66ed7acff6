//! The decisions in tables, and whole stories with crashes in a simulation.

use proptest::prelude::*;

use super::*;

mod sim;
mod state;

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
        verify_timeout: MINUTE,
        probed: true,
        probe_interval: 5 * MINUTE,
        stagger: None,
        rollback: None,
    }
}

fn published(event: EventKind) -> ReloadRecord {
    let publication = Publication {
        generation: "g2".to_owned(),
        serial: "02".to_owned(),
        sha256: String::new(),
        event,
        start: Start::Before,
        previous: Some(Previous {
            generation: "g1".to_owned(),
            serial: "01".to_owned(),
            not_after: START.plus(DAY),
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

fn failure(lasting: bool, reached: bool) -> ReloadFailure {
    ReloadFailure {
        code: "x",
        message: "x".to_owned(),
        hint: "",
        lasting,
        reached,
    }
}

fn later(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

#[test]
fn a_leaf_that_the_application_took_up_by_itself_is_not_reloaded() {
    let policy = policy(vec![hup()]);
    let mut record = published(EventKind::Leaf);
    assert_eq!(next(&record, &policy, None, START), ReloadNext::Probe);
    let seen = serves("02", START);
    assert_eq!(record.saw(&seen, &policy, START), ProbeVerdict::Verified);
    let then = next(&record, &policy, Some(&seen), START);
    assert_eq!(then, ReloadNext::WaitUntil(Some(later(300)), Why::Verified));
    assert_eq!(
        next(&record, &policy, Some(&seen), later(300)),
        ReloadNext::Probe,
        "and it is looked at again"
    );
}

#[test]
fn new_anchors_are_verified_only_after_the_application_was_told() {
    let policy = policy(vec![Action::None]);
    let mut record = published(EventKind::Trust);
    // The leaf is the same one: that it is served says nothing.
    assert_eq!(
        record.saw(&serves("02", later(1)), &policy, later(1)),
        ProbeVerdict::Unchanged
    );
    assert_eq!(next(&record, &policy, None, later(1)), ReloadNext::Act(0));
    record.begin(0, later(1));
    assert_eq!(
        record.saw(&serves("02", later(2)), &policy, later(2)),
        ProbeVerdict::Unchanged,
        "it is not known whether it was told"
    );
    record.answered(Ok(Delivery::Delivered), &policy, later(3));
    assert_eq!(
        record.saw(&serves("02", later(4)), &policy, later(4)),
        ProbeVerdict::Verified
    );
}

#[test]
fn without_a_probe_the_success_of_the_action_is_the_proof() {
    let policy = ReloadPolicy {
        probed: false,
        ..policy(vec![hup()])
    };
    for reloaded in [Delivery::Delivered, Delivery::NotRunning] {
        let mut record = published(EventKind::Leaf);
        assert_eq!(next(&record, &policy, None, START), ReloadNext::Act(0));
        record.begin(0, START);
        record.answered(Ok(reloaded), &policy, START);
        assert_eq!(next(&record, &policy, None, START), ReloadNext::Done);
    }
}

#[test]
fn a_failed_attempt_is_repeated_until_the_deadline_and_then_the_next_step_comes() {
    let policy = ReloadPolicy {
        probed: false,
        ..policy(vec![hup(), restart()])
    };
    let mut record = published(EventKind::Leaf);
    let (mut now, mut attempts) = (START, 0);
    loop {
        match next(&record, &policy, None, now) {
            ReloadNext::Act(0) => {
                attempts += 1;
                record.begin(0, now);
                record.answered(Err(failure(false, false)), &policy, now);
            }
            ReloadNext::WaitUntil(Some(at), _) => now = at,
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
    let mut record = published(EventKind::Leaf);
    for step in 0..2 {
        record.begin(step, START);
        record.answered(Err(failure(true, false)), &policy, START);
        let seen = serves("01", START);
        let wanted = [ReloadNext::Act(1), ReloadNext::Alert(Why::NotReloaded)][step];
        assert_eq!(next(&record, &policy, Some(&seen), START), wanted);
    }
}

#[test]
fn after_the_alarm_who_could_not_be_told_is_tried_again_and_who_was_told_is_not() {
    for delivered in [true, false] {
        let policy = ReloadPolicy {
            probed: delivered,
            ..policy(vec![hup()])
        };
        let mut record = published(EventKind::Leaf);
        record.begin(0, START);
        let answer = if delivered {
            Ok(Delivery::Delivered)
        } else {
            Err(failure(false, false))
        };
        record.answered(answer, &policy, START);
        record.alerted(later(60));
        let mut acts = 0;
        for minute in 1..600 {
            let now = START.plus(MINUTE * minute);
            let seen = serves("01", now);
            if next(&record, &policy, Some(&seen), now) == ReloadNext::Act(0) {
                acts += 1;
                record.begin(0, now);
                record.answered(Err(failure(false, false)), &policy, now);
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
fn an_application_that_has_not_started_is_not_reloaded_but_looked_for() {
    let policy = policy(vec![restart()]);
    let mut record = published(EventKind::Trust);
    record.about.start = Start::AtFirst;
    let down = finding(Finding::Down, START);
    let ReloadNext::WaitUntil(Some(at), Why::NotStarted) =
        next(&record, &policy, Some(&down), START)
    else {
        panic!("not told");
    };
    assert!(at <= later(1));
    let seen = serves("02", later(20));
    assert_eq!(
        record.saw(&seen, &policy, later(20)),
        ProbeVerdict::Verified
    );

    let mut record = published(EventKind::Leaf);
    record.about.start = Start::AtFirst;
    let late = later(300);
    let down = finding(Finding::Down, late);
    assert_eq!(
        next(&record, &policy, Some(&down), late),
        ReloadNext::Alert(Why::NotStarted)
    );
    // The state was lost and the application runs with older files.
    let other = serves("01", late);
    assert_eq!(
        next(&record, &policy, Some(&other), late),
        ReloadNext::Act(0)
    );
}

#[test]
fn who_restarts_on_old_files_is_reloaded_again_and_ever_more_slowly() {
    let policy = policy(vec![hup()]);
    let mut record = published(EventKind::Leaf);
    let mut now = START;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        assert_eq!(
            record.saw(&serves("02", now), &policy, now),
            ProbeVerdict::Verified
        );
        now = now.plus(MINUTE);
        assert_eq!(
            record.saw(&serves("01", now), &policy, now),
            ProbeVerdict::Lost
        );
        assert!(!record.is_verified());
        let lost = now;
        while next(&record, &policy, Some(&serves("01", now)), now) != ReloadNext::Act(0) {
            now = now.plus(Duration::from_secs(1));
        }
        pauses.push(lost.until(now).as_secs());
    }
    assert_eq!(pauses, [0, 60, 120, 240, 480, 960]);
}

#[test]
fn a_leaf_that_wants_a_restart_is_not_verified_before_it() {
    // Loki before 3.2 serves a new leaf by itself and continues to show the old one as a client
    let policy = policy(vec![restart()]);
    let mut record = published(EventKind::Leaf);
    let early = serves("02", later(1));
    assert_eq!(
        record.saw(&early, &policy, later(1)),
        ProbeVerdict::Unchanged
    );
    assert_eq!(
        next(&record, &policy, Some(&early), later(1)),
        ReloadNext::Act(0)
    );
    record.begin(0, later(1));
    record.answered(Ok(Delivery::Delivered), &policy, later(3));
    let late = serves("02", later(4));
    assert_eq!(record.saw(&late, &policy, later(4)), ProbeVerdict::Verified);
}

#[test]
fn an_application_that_is_down_after_it_was_verified_is_left_to_its_supervisor() {
    let policy = policy(vec![hup()]);
    let mut record = published(EventKind::Leaf);
    record.saw(&serves("02", START), &policy, START);
    let down = finding(Finding::Down, later(300));
    assert_eq!(
        record.saw(&down, &policy, later(300)),
        ProbeVerdict::Unchanged
    );
    assert_eq!(
        next(&record, &policy, Some(&down), later(300)),
        ReloadNext::WaitUntil(Some(later(600)), Why::Verified)
    );
}

#[test]
fn what_was_not_reloaded_yet_is_carried_over_to_the_next_generation() {
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
    assert_eq!((next.about.event, next.attempt()), (EventKind::Trust, None));
    assert_eq!(
        next.old_expires_at, old.old_expires_at,
        "it still serves the first one"
    );
    let mut done = old;
    done.phase = Phase::Verified {
        at: START,
        attempt: None,
    };
    assert_eq!(again(&done).about.event, EventKind::Leaf);
}

#[test]
fn a_turn_is_waited_for_until_the_certificate_would_end() {
    let stagger = Stagger {
        window: 10 * MINUTE,
        count: 5,
        index: 3,
    };
    let policy = ReloadPolicy {
        stagger: Some(stagger),
        probed: false,
        ..policy(vec![hup()])
    };
    let mut record = published(EventKind::Leaf);
    let turn = stagger.free_at(START);
    assert!(turn > START);
    assert_eq!(
        next(&record, &policy, None, START),
        ReloadNext::WaitUntil(Some(turn), Why::Slot)
    );
    assert_eq!(next(&record, &policy, None, turn), ReloadNext::Act(0));
    record.old_expires_at = Some(later(90));
    assert!(!may_wait(&record, &policy, START));
    assert_eq!(next(&record, &policy, None, START), ReloadNext::Act(0));
    let nothing = ReloadPolicy {
        leaf: vec![Action::None],
        ..policy
    };
    record.old_expires_at = None;
    assert_eq!(next(&record, &nothing, None, START), ReloadNext::Act(0));
}

#[test]
fn a_held_lock_is_waited_for_but_not_until_the_certificate_ends() {
    let policy = policy(vec![hup(), restart()]);
    let record = published(EventKind::Leaf);
    assert!(may_wait(&record, &policy, later(3600)));
    // A day was left: a quarter of it is kept.
    assert!(may_wait(
        &record,
        &policy,
        START.plus(DAY * 3 / 4).minus(MINUTE)
    ));
    assert!(!may_wait(&record, &policy, START.plus(DAY * 3 / 4)));
    let unknown = ReloadRecord {
        old_expires_at: None,
        ..record
    };
    assert!(may_wait(&unknown, &policy, later(60)));
    assert!(!may_wait(&unknown, &policy, later(3600)));
}

#[test]
fn a_clock_that_was_set_back_delays_no_deadline() {
    let policy = policy(vec![hup()]);
    let mut record = published(EventKind::Leaf);
    record.begin(0, START);
    record.answered(Ok(Delivery::Delivered), &policy, START);
    let back = START.minus(Duration::from_secs(7200));
    record.clamp_times(back);
    let seen = serves("01", back.plus(MINUTE));
    let now = back.plus(MINUTE);
    assert_eq!(
        next(&record, &policy, Some(&seen), now),
        ReloadNext::Alert(Why::NotServed)
    );
}

#[test]
fn a_broken_application_goes_back_within_one_step_and_the_set_is_kept_away() {
    let margin = 60 * MINUTE;
    let policy = ReloadPolicy {
        rollback: Some(margin),
        ..policy(vec![hup(), restart()])
    };
    let mut record = published(EventKind::Leaf);
    record.begin(0, START);
    record.answered(Ok(Delivery::Delivered), &policy, START);
    let now = later(60);
    for broken in [Finding::Down, Finding::Refused, Finding::Unhealthy] {
        let seen = finding(broken, now);
        assert_eq!(
            next(&record, &policy, Some(&seen), now),
            ReloadNext::Rollback
        );
    }
    let (back, bad) = record.roll_back("print", "down", margin, now).unwrap();
    assert_eq!(
        (back.about.generation.as_str(), back.about.serial.as_str()),
        ("g1", "01")
    );
    assert_eq!(
        back.about.event,
        EventKind::Trust,
        "it has to load all of it"
    );
    assert_eq!(back.about.previous, None, "and never goes back further");
    let mut list = Vec::new();
    quarantine(&mut list, bad);
    assert_eq!(
        list.iter()
            .map(|one| one.serial.as_str())
            .collect::<Vec<_>>(),
        ["02"]
    );
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
    let reloaded = |change: fn(&mut ReloadRecord)| {
        let mut record = published(EventKind::Leaf);
        record.begin(0, START);
        record.answered(Ok(Delivery::Delivered), &policy, START);
        change(&mut record);
        record
    };
    let alarm = ReloadNext::Alert(Why::NotServed);
    let cases: [fn(&mut ReloadRecord); 3] = [
        |record| record.about.previous.as_mut().unwrap().served = false,
        |record| record.about.previous.as_mut().unwrap().not_after = later(3_600),
        ReloadRecord::forget_previous,
    ];
    for change in cases {
        assert_eq!(next(&reloaded(change), &policy, Some(&down), now), alarm);
    }
    let good = reloaded(|_| {});
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
fn a_record_comes_back_as_it_went_and_no_step_and_no_time_makes_it_panic() {
    let policy = policy(vec![hup()]);
    let mut tried = published(EventKind::Leaf);
    tried.begin(usize::MAX, START);
    tried.answered(Err(failure(false, true)), &policy, START);
    let mut alerted = tried.clone();
    alerted.alerted(START);
    let mut verified = published(EventKind::Trust);
    verified.phase = Phase::Verified {
        at: START,
        attempt: None,
    };
    let announced = published(EventKind::Leaf);
    for record in [announced, tried, alerted, verified] {
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<ReloadRecord>(&text).unwrap(), record);
        for now in [Timestamp::MIN, START, Timestamp::MAX] {
            let mut record = record.clone();
            record.clamp_times(now);
            let _ = next(&record, &policy, None, now);
            record.begin(usize::MAX, now);
            let _ = next(&record, &policy, Some(&serves("", now)), now);
        }
    }
}

#[test]
fn the_phase_on_disk_has_a_name_and_times_are_milliseconds() {
    let mut record = published(EventKind::Leaf);
    record.begin(1, START);
    let text = serde_json::to_string(&record.phase).unwrap();
    let millis = START.unix_millis();
    let attempt = format!(
        r#"{{"step":1,"step_began_at":{millis},"began_at":{millis},"reached":1,"failures":0,"#
    );
    let wanted =
        format!(r#"{{"name":"trying","attempt":{attempt}"outcome":{{"name":"unknown"}}}}}}"#);
    assert_eq!(text, wanted);
}

#[test]
fn an_alert_stands_while_what_failed_is_tried_again() {
    let policy = policy(vec![hup()]);
    let mut record = published(EventKind::Leaf);
    record.alerted(START);
    record.begin(0, later(1));
    assert!(matches!(record.phase, Phase::Exhausted { at, .. } if at == START));
    let seen = serves("02", later(2));
    assert_eq!(record.saw(&seen, &policy, later(2)), ProbeVerdict::Verified);
    assert!(record.is_verified());
}

#[test]
fn for_every_number_of_ignored_signals_it_ends_verified_or_in_alarm_in_time() {
    for ignored in 0..=5 {
        for signals in 1..=7 {
            let policy = policy(vec![hup(); signals]);
            let mut sim = Sim::new(policy, App::ignoring(ignored));
            sim.run(None);
            let taken = ignored < signals;
            assert_eq!(sim.verified(), taken, "{ignored} of {signals}");
            assert_eq!(sim.alarmed(), !taken, "{ignored} of {signals}");
            assert_eq!(sim.app.reloaded, (ignored + 1).min(signals));
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
        prop_assert!(sim.verified() || sim.alarmed());
        // It never says so without seeing it.
        prop_assert_eq!(sim.verified(), sim.app.serves == "02");
    }

    #[test]
    fn nothing_is_verified_that_the_application_does_not_serve(
        seed in any::<u64>(),
        steps in 1_usize..=3,
        trust in any::<bool>(),
    ) {
        let mut policy = policy(vec![hup(); steps]);
        policy.trust = vec![hup(); steps];
        policy.rollback = Some(MINUTE);
        let mut sim = Sim::new(policy, App::wild(seed));
        sim.record.about.event = if trust { EventKind::Trust } else { EventKind::Leaf };
        sim.run(Some(400));
        prop_assert_eq!(sim.lies, 0);
    }
}
