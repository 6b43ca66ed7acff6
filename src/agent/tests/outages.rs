//! Issuers that are away, slow or in a bad mood: the set is renewed in time, requests keep a bound.

use std::time::Duration;

use super::rig::{DAY, EPOCH, Rig, secs};
use crate::{
    exit::Exit,
    model::{failure::FailureClass, retry, schedule::Validity, time::Timestamp},
    testing::issuer::Outage,
};

const CLASSES: [FailureClass; 5] = [
    FailureClass::Transport,
    FailureClass::Throttled,
    FailureClass::Unavailable,
    FailureClass::Denied,
    FailureClass::Misconfigured,
];

/// The outage lasts from before the renewal is due until max(5 s, 1 % of life) before the end.
async fn survives(ttl: Duration, class: FailureClass, retry_after: Option<Duration>) {
    let mut rig = Rig::of_ttl(ttl);
    rig.look = (ttl / 200).max(secs(30));
    rig.start();
    let live = rig.until_live().await.live.unwrap();
    let life = live.not_after.since(live.not_before);
    let from = EPOCH.plus(ttl / 4);
    let until = live.not_after.minus((life / 100).max(secs(5)));
    rig.issuer.add_outage(Outage {
        from,
        until,
        class,
        retry_after,
    });
    tokio::time::sleep(ttl).await;
    let status = rig.status();
    let renewed = status.live.unwrap();
    let what = format!("{class}, ttl {ttl:?}, Retry-After {retry_after:?}");
    assert_ne!(renewed.serial, live.serial, "{what}: not renewed");
    assert!(
        renewed.obtained_at.unwrap() < live.not_after,
        "{what}: renewed too late"
    );
    let validity = Validity {
        not_before: live.not_before,
        not_after: live.not_after,
    };
    let first = rig.issuer.calls()[1].at;
    let failed = rig
        .issuer
        .calls()
        .iter()
        .filter(|call| call.at >= first && call.at < until)
        .count();
    let bound = retry::most_requests(class, validity, first, until);
    assert!(
        failed >= 1 && failed <= bound as usize,
        "{what}: {failed} requests, bound {bound}"
    );
    assert_eq!(rig.stop().await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn every_outage_that_ends_in_time_is_survived_with_bounded_requests() {
    for ttl in [secs(60), secs(3_600), DAY, 10 * DAY] {
        for class in CLASSES {
            survives(ttl, class, None).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_end_does_not_let_the_certificate_end() {
    for ttl in [secs(120), DAY] {
        survives(ttl, FailureClass::Throttled, Some(30 * DAY)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_it_goes_on_trying_and_nothing_is_removed() {
    let mut rig = Rig::of_ttl(DAY);
    rig.look = secs(900);
    rig.start();
    rig.until_live().await;
    let files = rig.files();
    rig.issuer.add_outage(Outage {
        from: EPOCH.plus(secs(1)),
        until: EPOCH.plus(3 * DAY),
        class: FailureClass::Unavailable,
        retry_after: None,
    });
    tokio::time::sleep(3 * DAY - secs(30)).await;
    assert_eq!(rig.files(), files);
    let ready_file = rig.configs[0].ready_file.clone().unwrap();
    assert!(!ready_file.exists(), "an ended certificate is not ready");
    assert_eq!(rig.status().renewal_attempts_remaining, Some(0));
    let again = rig
        .until(secs(150), |status| status.counts.published == 2)
        .await;
    assert!(again.failure.is_none());
    assert!(ready_file.exists());
}

#[tokio::test(start_paused = true)]
async fn a_slow_issuer_is_waited_for_and_not_asked_twice() {
    let mut rig = Rig::new();
    rig.issuer.set_latency(secs(55));
    rig.start();
    rig.until(secs(56), |status| status.live.is_some()).await;
    assert_eq!(rig.issuer.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn flapping_between_classes_is_no_storm() {
    let mut rig = Rig::new();
    rig.look = secs(600);
    rig.start();
    rig.until_live().await;
    let from = EPOCH.plus(secs(1)).unix_secs();
    for second in (0..10 * 86_400).step_by(7) {
        let at = |offset: i64| Timestamp::from_unix_secs(from + second + offset);
        if second % 14 == 0 {
            continue;
        }
        rig.issuer.add_outage(Outage {
            from: at(0),
            until: at(7),
            class: FailureClass::Transport,
            retry_after: None,
        });
    }
    rig.issuer.set_script(|_| {
        Err(crate::testing::issuer::failure(
            FailureClass::Unavailable,
            "sealed",
        ))
    });
    tokio::time::sleep(8 * DAY).await;
    let orders = rig.issuer.count();
    assert!(orders > 100, "{orders}: it does try");
    assert!(
        orders < 800,
        "{orders} orders in a day and a third of failures"
    );
}
