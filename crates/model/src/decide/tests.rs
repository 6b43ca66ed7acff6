//! One decision for each kind of facts, and a simulated world that runs through many.

use super::*;
use crate::{
    failure::Failure,
    issuance_limit::{self, IssuanceLimit},
    schedule::{MinRemaining, RenewAt},
    testing,
};

mod properties;
mod world;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn policy(ttl: u64) -> RenewPolicy {
    RenewPolicy {
        at: RenewAt::Share(schedule::DEFAULT_SHARE),
        splay: Duration::from_secs(300),
        splay_seed: "alloc/loki".to_owned(),
        min_remaining: MinRemaining::Configured(Duration::from_secs(1)),
        max_issuances_per_hour: IssuanceLimit::Derived {
            ttl: Duration::from_secs(ttl),
        },
        startup_timeout: Duration::from_secs(300),
    }
}

fn valid(from: i64, until: i64) -> Validity {
    Validity {
        not_before: at(from),
        not_after: at(until),
    }
}

fn live() -> LiveLeaf {
    LiveLeaf {
        validity: valid(-30, 864_000),
        obtained_at: Some(at(0)),
        fingerprint: "f".to_owned(),
        serial: "01".to_owned(),
    }
}

fn staged(validity: Validity, came: i64) -> Staged {
    Staged {
        validity,
        obtained_at: at(came),
        fingerprint: "f".to_owned(),
        serial: "02".to_owned(),
    }
}

fn facts() -> Facts {
    Facts {
        live: Some(live()),
        fingerprint: "f".to_owned(),
        ..Facts::default()
    }
}

fn run(class: FailureClass, when: i64) -> FailureRun {
    FailureRun::after(None, failed(class, None), at(when))
}

fn failed(class: FailureClass, retry_after: Option<Duration>) -> Failure {
    Failure {
        retry_after,
        ..testing::failure(class, "x")
    }
}

fn decided(facts: &Facts, now: i64) -> Next {
    decide(facts, &policy(864_000), at(now))
}

#[test]
fn nothing_published_is_issued_at_once() {
    let facts = Facts::default();
    assert_eq!(
        decided(&facts, 0),
        Next::Issue(ActionReason::NothingPublished)
    );
}

#[test]
fn a_valid_set_that_fits_waits_until_it_is_due_and_not_a_second_longer() {
    let facts = facts();
    let due = schedule::due(live().validity, live().obtained_at, &policy(864_000)).at;
    assert_eq!(decided(&facts, 10), Next::WaitUntil(due, ActionReason::Due));
    assert_eq!(
        decide(&facts, &policy(864_000), due),
        Next::Issue(ActionReason::Due)
    );
    assert_eq!(decided(&facts, 864_000), Next::Issue(ActionReason::Expired));
}

#[test]
fn a_changed_request_or_a_force_is_issued_at_once() {
    let mut facts = facts();
    facts.fingerprint = "g".to_owned();
    assert_eq!(
        decided(&facts, 10),
        Next::Issue(ActionReason::RequestChanged)
    );
    facts.fingerprint = "f".to_owned();
    facts.forced = true;
    assert_eq!(decided(&facts, 10), Next::Issue(ActionReason::Forced));
}

#[test]
fn a_failure_waits_for_its_plan() {
    let mut facts = facts();
    facts.failure = Some(run(FailureClass::Misconfigured, 700_000));
    let Next::WaitUntil(until, why) = decided(&facts, 700_000) else {
        panic!("issues at once");
    };
    assert_eq!(why, ActionReason::Retry(FailureClass::Misconfigured));
    assert_eq!(
        decide(&facts, &policy(864_000), until),
        Next::Issue(ActionReason::Due)
    );
}

#[test]
fn a_used_up_budget_waits_until_it_is_free_or_the_plan_is_later() {
    let mut facts = facts();
    facts.live = None;
    facts.requests.counted = (0..10).map(|number| at(1_000 + number)).collect();
    assert_eq!(
        decided(&facts, 1_100),
        Next::WaitUntil(at(4_600), ActionReason::IssuanceLimit)
    );
    assert_eq!(
        decided(&facts, 4_600),
        Next::Issue(ActionReason::NothingPublished)
    );
    let mut failure = run(FailureClass::BadAnswer, 4_500);
    failure.total = 20;
    facts.failure = Some(failure);
    let Next::WaitUntil(until, why) = decided(&facts, 4_550) else {
        panic!("issues at once");
    };
    assert_eq!(why, ActionReason::Retry(FailureClass::BadAnswer));
    assert!(until > at(4_600));
}

#[test]
fn a_staged_set_is_published_before_another_is_asked_for() {
    let mut facts = facts();
    facts.staged = Some(staged(valid(600_000, 1_500_000), 600_000));
    assert_eq!(
        decided(&facts, 700_000),
        Next::Publish(ActionReason::Staged)
    );
    facts.forced = true;
    assert_eq!(
        decided(&facts, 700_000),
        Next::Publish(ActionReason::Staged)
    );
    facts.live = None;
    assert_eq!(
        decided(&facts, 700_000),
        Next::Publish(ActionReason::Staged)
    );
}

#[test]
fn a_disk_that_refuses_a_staged_set_is_tried_again_and_nothing_is_issued() {
    let mut facts = facts();
    facts.staged = Some(staged(valid(600_000, 1_500_000), 600_000));
    facts.failure = Some(run(FailureClass::Local, 700_000));
    let Next::WaitUntil(until, why) = decided(&facts, 700_000) else {
        panic!("does not wait");
    };
    assert_eq!(why, ActionReason::Retry(FailureClass::Local));
    assert_eq!(
        decide(&facts, &policy(864_000), until),
        Next::Publish(ActionReason::Staged)
    );
}

#[test]
fn the_issuers_failures_do_not_hold_back_a_staged_set() {
    let mut facts = facts();
    facts.staged = Some(staged(valid(600_000, 1_500_000), 600_000));
    facts.failure = Some(run(FailureClass::Misconfigured, 700_000));
    assert_eq!(
        decided(&facts, 700_000),
        Next::Publish(ActionReason::Staged)
    );
}

#[test]
fn a_staged_set_for_another_request_or_left_over_or_at_its_end_is_ignored() {
    let wait = decided(&facts(), 10);
    let other = Staged {
        fingerprint: "g".to_owned(),
        ..staged(valid(0, 1_500_000), 5)
    };
    let left_over = Staged {
        serial: live().serial,
        ..staged(valid(-30, 864_000), 0)
    };
    let older = staged(valid(-40, 863_990), -10);
    let ended = staged(valid(-30, 11), 5);
    for staged in [other, left_over, older, ended] {
        let facts = Facts {
            staged: Some(staged),
            ..facts()
        };
        assert_eq!(decided(&facts, 10), wait);
    }
}

#[test]
fn a_set_that_came_in_the_live_ones_millisecond_or_after_a_step_back_is_no_left_over() {
    for came in [0, -3_600] {
        let facts = Facts {
            staged: Some(staged(valid(came - 30, came + 864_000), came)),
            forced: true,
            ..facts()
        };
        let now = came.min(0);
        assert_eq!(
            decided(&facts, now),
            Next::Publish(ActionReason::Staged),
            "{came}"
        );
    }
}

#[test]
fn health_checks_are_only_for_the_plan_of_an_issuer_that_is_away() {
    let mut facts = facts();
    assert_eq!(health_check_at(&facts, &policy(864_000), at(700_000)), None);
    let mut failure = run(FailureClass::Unavailable, 700_000);
    failure.total = 20;
    facts.failure = Some(failure);
    let look = health_check_at(&facts, &policy(864_000), at(700_000)).unwrap();
    assert!(at(700_000) < look && look <= at(700_004));
    let away = facts.failure.clone().unwrap();
    facts.health_checks.record(
        Some(health::IssuerHealth::Active),
        &away,
        "alloc/loki",
        look,
    );
    let Next::WaitUntil(until, ActionReason::Retry(_)) = decide(&facts, &policy(864_000), look)
    else {
        panic!("does not wait");
    };
    assert!(until < look.plus(Duration::from_secs(8)), "brought forward");
    assert_eq!(health_check_at(&facts, &policy(864_000), look), None);
    facts.requests.counted = vec![look; 10];
    assert!(matches!(
        decide(&facts, &policy(864_000), until),
        Next::WaitUntil(_, ActionReason::IssuanceLimit)
    ));
}

#[test]
fn a_staged_set_that_starts_before_the_live_one_ends_is_waited_for() {
    let mut facts = facts();
    facts.staged = Some(staged(valid(800_000, 1_700_000), 700_000));
    assert_eq!(
        decided(&facts, 790_000),
        Next::WaitUntil(at(800_000), ActionReason::Staged)
    );
    assert_eq!(
        decided(&facts, 800_000),
        Next::Publish(ActionReason::Staged)
    );
}

#[test]
fn a_staged_set_that_leaves_a_gap_is_asked_for_again_at_a_slow_pace() {
    let mut facts = facts();
    facts.staged = Some(staged(valid(900_000, 1_800_000), 700_000));
    assert_eq!(
        decided(&facts, 700_000),
        Next::WaitUntil(at(703_600), ActionReason::Staged)
    );
    assert_eq!(decided(&facts, 703_600), Next::Issue(ActionReason::Due));
    facts.live = None;
    facts.staged = Some(staged(valid(100, 864_000), 0));
    assert_eq!(
        decided(&facts, 1),
        Next::WaitUntil(at(30), ActionReason::Staged)
    );
    assert_eq!(
        decided(&facts, 30),
        Next::Issue(ActionReason::NothingPublished)
    );
}

#[test]
fn records_from_the_future_neither_block_nor_loop() {
    let ahead = 864_000 + 7_200;
    let mut facts = facts();
    facts.failure = Some(run(FailureClass::Denied, ahead));
    facts.requests.counted = vec![at(ahead); 10];
    assert_eq!(decided(&facts, 864_000), Next::Issue(ActionReason::Expired));
    // The attempt records itself, and from then on the plan and the budget hold again.
    facts.requests.sent(Share::Due, at(864_000));
    facts.failure = Some(run(FailureClass::Denied, 864_000));
    assert_eq!(
        decided(&facts, 864_000),
        Next::WaitUntil(at(867_600), ActionReason::IssuanceLimit)
    );
    facts.failure = None;
    facts.requests = Requests::default();
    facts.live = None;
    facts.staged = Some(staged(valid(ahead + 100, ahead + 9_000), ahead));
    assert_eq!(
        decided(&facts, 0),
        Next::Issue(ActionReason::NothingPublished)
    );
}

#[test]
fn every_reason_has_a_name_and_a_text() {
    for why in [
        ActionReason::NothingPublished,
        ActionReason::RequestChanged,
        ActionReason::Forced,
        ActionReason::Due,
        ActionReason::Expired,
        ActionReason::Staged,
        ActionReason::Retry(FailureClass::Denied),
        ActionReason::IssuanceLimit,
        ActionReason::ManualLimit,
        ActionReason::Quarantine,
    ] {
        assert!(!why.name().contains(' ') && why.to_string().contains(' '));
    }
}
