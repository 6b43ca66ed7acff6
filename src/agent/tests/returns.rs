//! An issuer that was away and comes back: the renewal follows within seconds, and checks keep a bound.

use std::time::Duration;

use super::rig::{DAY, EPOCH, Rig, config, secs};
use crate::{
    exit::Exit,
    model::{
        failure::FailureClass::{self, Transport, Unavailable},
        health, retry,
        schedule::Validity,
        time::Timestamp,
    },
    testing::issuer::{Outage, failure},
};

/// What the stack's outages promise.
const PROMISE: Duration = secs(15);

/// Away from before the renewal is due until `hours` after it. Returns the moment of its return.
async fn away(rig: &mut Rig, class: FailureClass, hours: u64) -> (Timestamp, Timestamp) {
    let due = rig.until_live().await.due.unwrap();
    let back = due
        .plus(secs(hours * 3_600))
        .plus(Duration::from_millis(hours * 777));
    let outage = Outage {
        from: due.minus(secs(60)),
        until: back,
        class,
        retry_after: None,
    };
    rig.issuer.add_outage(outage);
    (due, back)
}

async fn sleep_until(rig: &Rig, at: Timestamp) {
    use crate::clock::Clock as _;
    tokio::time::sleep(rig.clock.now().until(at)).await;
}

#[tokio::test(start_paused = true)]
async fn after_hours_away_the_renewal_follows_within_seconds_of_the_return() {
    for (number, class) in [(1, Transport), (2, Unavailable), (3, Transport)] {
        let mut rig = Rig::new();
        rig.configs[0].renew.splay_seed = format!("alloc-{number}/main");
        rig.issuer.set_latency(Duration::from_millis(800));
        rig.look = secs(600);
        rig.start();
        let live = rig.until_live().await.live.unwrap();
        let (due, back) = away(&mut rig, class, number).await;
        sleep_until(&rig, back).await;
        let status = rig.status();
        assert_eq!(status.counts.published, 1);
        assert!(status.last_health_check.unwrap().found.is_err());
        let renewed = rig
            .until(PROMISE, |status| status.counts.published == 2)
            .await;
        assert!(renewed.failure.is_none() && renewed.last_health_check.is_none());
        assert_eq!(renewed.issuance_limit.used, 0, "failures used nothing up");

        let validity = Validity {
            not_before: live.not_before,
            not_after: live.not_after,
        };
        let orders = rig.issuer.count() - 2;
        let planned = retry::most_requests(class, validity, due, back);
        assert!(orders <= planned as usize, "{orders} > {planned}");
        let checks = rig.issuer.health_checks();
        let most = health::most_checks(due.until(back.plus(PROMISE)));
        assert!(checks.len() as u64 <= most, "{} checks", checks.len());
        assert!(checks[0] >= due, "no health check before something failed");
        sleep_until(&rig, back.plus(DAY)).await;
        assert_eq!(rig.issuer.health_checks(), checks, "nor after the renewal");
        assert_eq!(rig.stop().await, Exit::Done);
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_is_checked_all_the_same() {
    let mut rig = Rig::new();
    rig.look = secs(600);
    rig.start();
    let (_, back) = away(&mut rig, Transport, 1).await;
    sleep_until(&rig, back.minus(secs(1_800))).await;
    rig.issuer.set_latency(secs(55));
    sleep_until(&rig, back).await;
    // an order of the plan may hang in it until the limit of its connection
    rig.issuer.set_latency(Duration::ZERO);
    rig.until(secs(55) + PROMISE, |status| status.counts.published == 2)
        .await;
    let checks = rig.issuer.health_checks();
    let close = checks
        .windows(2)
        .filter(|pair| pair[1].since(pair[0]) < secs(4));
    // one that a common boundary broke off is made again at once
    assert!(close.count() <= 1_800 / 600 + 1, "{checks:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_start_follows_the_return_too() {
    let mut rig = Rig::new();
    rig.issuer.add_outage(Outage {
        from: EPOCH,
        until: EPOCH.plus(secs(300)),
        class: Transport,
        retry_after: None,
    });
    rig.look = secs(600);
    rig.start();
    tokio::time::sleep(secs(300)).await;
    rig.until(PROMISE, |status| status.live.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_says_it_is_well_and_fails_every_order_is_not_stormed() {
    let mut rig = Rig::new();
    rig.look = secs(600);
    rig.start();
    let live = rig.until_live().await;
    let (due, ends) = (live.due.unwrap(), live.live.unwrap().not_after);
    rig.issuer
        .set_script(|_| Err(failure(Unavailable, "no-leader")));
    let span = secs(6 * 3_600);
    sleep_until(&rig, due.plus(span)).await;
    let validity = Validity {
        not_before: EPOCH,
        not_after: ends,
    };
    let planned = retry::most_requests(Unavailable, validity, due, due.plus(span));
    let most = planned + health::most_attempts(span);
    let orders = rig.issuer.count() - 1;
    assert!(orders <= most as usize, "{orders} > {most}");
    let checks = rig.issuer.health_checks().len();
    assert!(
        checks <= orders,
        "{checks} checks: one that says yes is the last before an order"
    );
}

#[tokio::test(start_paused = true)]
async fn no_health_check_comes_before_the_time_that_the_issuer_asked_for() {
    let mut rig = Rig::new();
    rig.look = secs(600);
    rig.start();
    let due = rig.until_live().await.due.unwrap();
    let back = due.plus(secs(250));
    rig.issuer.add_outage(Outage {
        from: due.minus(secs(60)),
        until: back,
        class: Unavailable,
        retry_after: Some(secs(120)),
    });
    sleep_until(&rig, due.plus(secs(450))).await;
    let calls = rig.issuer.calls();
    let failed: Vec<_> = calls[1..].iter().filter(|call| call.at < back).collect();
    for (call, next) in failed.iter().zip(&calls[2..]) {
        assert!(next.at.since(call.at) >= secs(120));
        let asked = call.at..call.at.plus(secs(120));
        assert!(
            !rig.issuer
                .health_checks()
                .iter()
                .any(|check| asked.contains(check))
        );
    }
    assert_eq!(rig.status().counts.published, 2);
}

#[tokio::test(start_paused = true)]
async fn all_certificates_of_a_process_share_their_health_checks() {
    let mut rig = Rig::new();
    let names: Vec<String> = (0..8).map(|number| format!("cert-{number}")).collect();
    rig.configs = names.iter().map(|name| config(&rig.temp, name)).collect();
    rig.look = secs(600);
    rig.start();
    let (due, back) = away(&mut rig, Transport, 1).await;
    sleep_until(&rig, back.plus(PROMISE)).await;
    for (index, name) in names.iter().enumerate() {
        assert_eq!(rig.status_of(index).counts.published, 2, "{}", name);
    }
    let checks = rig.issuer.health_checks();
    let span = due.minus(secs(300)).until(back.plus(PROMISE)).as_secs();
    // one that came before a certificate's own failure does not answer for it
    let own = rig.issuer.count() as u64;
    let most = span / 2 + own;
    assert!(checks.len() as u64 <= most, "{} checks", checks.len());
    let alone = 8 * health::most_checks(secs(span));
    assert!(
        most < alone / 2,
        "{most} is less than {alone} of eight processes"
    );
}
