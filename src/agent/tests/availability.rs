//! While the issuer would serve a request the certificate never expires, and a person's wish for a
//! renewal is granted at once: whatever the role, the mount or the CA did before.

use std::{sync::Arc, time::Duration};

use super::rig::{DAY, Rig, answer, good, secs};
use crate::{
    clock::Clock as _,
    model::{
        failure::FailureClass, issuance_limit, issuance_limit::IssuanceLimit,
        schedule::MinRemaining, time::Timestamp,
    },
    status::Forced,
    testing::{
        ca::TestCa,
        issuer::{Answer, Call},
    },
};

/// An issuer whose certificates last so long, whatever is asked for.
fn lasting(
    ca: &Arc<TestCa>,
    life: impl Fn(Timestamp) -> Duration + Send + 'static,
) -> impl FnMut(&Call) -> Answer + Send + 'static {
    let ca = Arc::clone(ca);
    move |call| {
        let mut call = call.clone();
        call.request.ttl = life(call.at);
        Ok(answer(&ca, &call))
    }
}

/// Looks each half second whether what is published is valid.
async fn never_expires(rig: &Rig, span: Duration) {
    let end = rig.clock.now().plus(span);
    while rig.clock.now() < end {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (now, status) = (rig.clock.now(), rig.status());
        let ends = status.live.as_ref().map(|live| live.not_after);
        assert!(
            ends.is_some_and(|ends| now < ends),
            "{now}: {ends:?}, {:?}, {:?}",
            status.failure,
            status.issuance_limit
        );
    }
}

/// Asks for a renewal, and returns what came of it.
async fn renew(rig: &mut Rig) -> Forced {
    let before = rig.status().manual_renewal.map_or(0, |last| last.number);
    rig.running.as_ref().unwrap().force.all();
    let status = rig
        .until(secs(2), |status| {
            status
                .manual_renewal
                .as_ref()
                .is_some_and(|last| last.number > before)
        })
        .await;
    status.manual_renewal.unwrap()
}

/// Sleeps without a renewal being asked for.
async fn restarts(rig: &mut Rig, times: usize, each: Duration) {
    for _ in 0..times {
        rig.stop().await;
        rig.start();
        tokio::time::sleep(each).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_cuts_the_life_to_minutes_or_seconds_costs_no_certificate() {
    for life in [secs(600), secs(90), secs(20), secs(6)] {
        let mut rig = Rig::new();
        rig.configs[0].renew.min_remaining = MinRemaining::Derived(secs(300));
        rig.issuer.set_script(lasting(&rig.ca, move |_| life));
        rig.start();
        rig.until_live().await;
        never_expires(&rig, (life * 60).min(secs(7_000))).await;
        let most = super::issuance_limit::most_in_an_hour(&rig.issuer.calls());
        let limit = IssuanceLimit::Derived { ttl: 10 * DAY }.per_hour(Some(life));
        assert!(most <= limit as usize, "{life:?}: {most} > {limit}");
        assert_eq!(rig.status().issuance_limit.free_at, None);
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn lives_that_change_cost_no_certificate_either() {
    let mut rig = Rig::new();
    let start = rig.clock.now();
    // half an hour of seconds, then hours
    rig.issuer.set_script(lasting(&rig.ca, move |now| {
        if start.until(now) < secs(1_800) {
            secs(12)
        } else {
            secs(3_600)
        }
    }));
    rig.start();
    rig.until_live().await;
    never_expires(&rig, secs(3 * 3_600)).await;
}

#[tokio::test(start_paused = true)]
async fn a_configured_limit_that_cannot_hold_is_said_and_costs_no_certificate() {
    let mut rig = Rig::new();
    rig.configs[0].renew.max_issuances_per_hour = IssuanceLimit::Configured(2);
    rig.issuer.set_script(lasting(&rig.ca, |_| secs(120)));
    rig.start();
    rig.until_live().await;
    never_expires(&rig, secs(2 * 3_600)).await;
    let needed = rig.status().issuance_limit.needed.unwrap();
    assert!((30..=62).contains(&needed), "{needed}");
}

#[tokio::test(start_paused = true)]
async fn manual_renewals_never_use_up_those_that_are_due() {
    let mut rig = Rig::of_ttl(secs(60));
    rig.start();
    rig.until_live().await;
    let mut granted = 0;
    for _ in 0..240 {
        granted += u32::from(renew(&mut rig).await.outcome.is_ok());
        never_expires(&rig, secs(1)).await;
    }
    assert!(granted >= issuance_limit::MANUAL_AT_ONCE + 3, "{granted}");
    assert!(granted <= issuance_limit::MANUAL_AT_ONCE + 6, "{granted}");
    never_expires(&rig, secs(3_600)).await;
    assert!(renew(&mut rig).await.outcome.is_ok());
}

#[tokio::test(start_paused = true)]
async fn after_hours_of_refused_answers_and_restarts_a_wish_is_granted_at_once() {
    let mut rig = Rig::of_ttl(3 * DAY);
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(DAY).await;
    rig.issuer.set_script(|_| Ok(b"<html>".to_vec()));
    tokio::time::sleep(DAY).await;
    for _ in 0..30 {
        assert_eq!(
            renew(&mut rig).await.outcome.unwrap_err().class,
            FailureClass::BadAnswer
        );
        restarts(&mut rig, 1, secs(70)).await;
    }
    assert!(rig.status().issuance_limit.free_at.is_some(), "paced");
    rig.issuer.set_script(good(&rig.ca));
    assert!(renew(&mut rig).await.outcome.is_ok());
}

#[tokio::test(start_paused = true)]
async fn refused_answers_and_restarts_leave_a_request_for_the_time_before_the_end() {
    for left in [5, 60, 900, 7_000] {
        let mut rig = Rig::of_ttl(secs(6 * 3_600));
        rig.start();
        let ends = rig.until_live().await.live.unwrap().not_after;
        rig.issuer.set_script(|_| Ok(b"<html>".to_vec()));
        tokio::time::sleep(secs(13_000)).await;
        // a restart each two minutes, and the repair some time before the end
        while rig.clock.now().until(ends) > secs(left + 120) {
            restarts(&mut rig, 1, secs(120)).await;
        }
        tokio::time::sleep(rig.clock.now().until(ends) - secs(left)).await;
        rig.issuer.set_script(good(&rig.ca));
        never_expires(&rig, secs(left + 60)).await;
        rig.stop().await;
    }
}

/// An issuer whose answers end with its CA; after that they are refused.
fn ending(ca: &Arc<TestCa>, ends: Timestamp) -> impl FnMut(&Call) -> Answer + Send + 'static {
    let ca = Arc::clone(ca);
    move |call| {
        let mut call = call.clone();
        let left = call.at.until(ends);
        if left.is_zero() {
            call.at = ends.minus(call.request.ttl);
        } else {
            call.request.ttl = left.min(call.request.ttl);
        }
        Ok(answer(&ca, &call))
    }
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_ends_leaves_requests_for_the_time_after_its_repair() {
    for repair in ["the mount", "renew", "restart"] {
        let mut rig = Rig::of_ttl(secs(7_200));
        rig.configs[0].renew.min_remaining = MinRemaining::Derived(secs(300));
        rig.configs[0].ca_poll_interval = secs(3_600);
        let ends = rig.clock.now().plus(secs(3_000));
        rig.issuer.set_script(ending(&rig.ca, ends));
        rig.start();
        rig.until_live().await;
        never_expires(&rig, secs(2_995)).await;
        tokio::time::sleep(secs(3_600)).await;
        restarts(&mut rig, 8, secs(20)).await;
        let asked = rig.issuer.count();
        assert!(asked < 60, "{repair}: {asked} requests");
        assert!(
            rig.status().issuance_limit.free_at.is_some(),
            "{repair}: paced"
        );
        // repaired: another CA is the default now
        let ca = Arc::new(TestCa::new(rig.clock.now()));
        if repair == "restart" {
            rig.stop().await;
        }
        rig.issuer.set_script(good(&ca));
        match repair {
            "renew" => assert!(renew(&mut rig).await.outcome.is_ok()),
            "restart" => {
                rig.issuer.set_anchors(Ok(ca.issuers()));
                rig.start();
                rig.until(secs(5), |status| status.counts.published > 0)
                    .await;
            }
            _ => {
                rig.issuer.set_anchors(Ok(ca.issuers()));
                let published = rig.status().counts.published;
                rig.until(secs(100), |status| status.counts.published > published)
                    .await;
            }
        }
        let live = rig.status().live.unwrap();
        assert!(
            live.not_after > rig.clock.now().plus(secs(7_000)),
            "{repair}"
        );
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_changes_again_and_again_gets_one_request_for_each_change() {
    let mut rig = Rig::of_ttl(secs(7_200));
    rig.start();
    rig.until_live().await;
    rig.issuer.set_script(|_| Ok(b"<html>".to_vec()));
    tokio::time::sleep(secs(7_200)).await;
    let before = rig.issuer.count();
    for number in 0..60 {
        let ca = TestCa::new(rig.clock.now());
        rig.issuer.set_anchors(Ok(ca.issuers()));
        tokio::time::sleep(secs(60)).await;
        let asked = rig.issuer.count() - before;
        assert!(asked <= number + 12, "{asked} after {number} changes");
    }
}
