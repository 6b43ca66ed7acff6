//! Lives from seconds to years, clock steps, suspended machines, clocks that differ.

use std::{sync::Arc, time::Duration};

use super::rig::{DAY, EPOCH, Rig, answer, secs};
use crate::{agent::wall::TICK, model::time::Timestamp, testing::issuer::Call};

const SOON: Duration = secs(5);

#[tokio::test(start_paused = true)]
async fn a_life_of_seconds_is_renewed_without_gap_and_without_loop() {
    for ttl in [5, 7, 20, 61] {
        let mut rig = Rig::of_ttl(secs(ttl));
        rig.start();
        rig.until_live().await;
        let watched = 60 * ttl;
        for _ in 0..watched {
            tokio::time::sleep(secs(1)).await;
            let live = rig.status().live.unwrap();
            let now = crate::clock::Clock::now(&*rig.clock);
            assert!(live.not_after > now, "ttl {ttl} s: a gap at {now}");
        }
        let orders = rig.issuer.count() as u64;
        assert!(orders >= watched / ttl, "ttl {ttl} s: {orders} orders");
        assert!(orders <= 3 * watched / ttl, "ttl {ttl} s: {orders} orders");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_of_years_is_renewed_a_few_times() {
    let year = 365 * DAY;
    let mut rig = Rig::of_ttl(10 * year);
    rig.look = 2 * DAY;
    rig.configs[0].ca_poll_interval = 30 * DAY;
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(4 * year).await;
    assert_eq!(
        rig.issuer.count(),
        2,
        "the CA of five years is due at two thirds of them"
    );
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_renews_at_most_a_look_and_five_seconds_after_it_resumes() {
    for days in [1, 7, 30] {
        let mut rig = Rig::new();
        rig.start();
        let due = rig.until_live().await.due.unwrap();
        let asleep = days * DAY;
        // just before it is due, so that the slice in progress was meant to be longer
        let lead = EPOCH.until(due) - secs(3_600);
        rig.clock.suspend(lead);
        tokio::time::sleep(secs(40)).await;
        assert_eq!(rig.issuer.count(), 1);
        rig.clock.suspend(asleep);
        let resumed = crate::clock::Clock::now(&*rig.clock);
        rig.until(TICK + SOON, |status| status.counts.published == 2)
            .await;
        let asked = rig.issuer.calls()[1].at;
        assert!(resumed.until(asked) <= TICK + SOON);
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_of_two_hours_either_way_makes_neither_a_loop_nor_a_late_renewal() {
    for step in [7_200_000_i64, -7_200_000] {
        for after in [1, 600, 3 * 3_600, 4 * 3_600 - 200] {
            let mut rig = Rig::of_ttl(secs(6 * 3_600));
            rig.start();
            let status = rig.until_live().await;
            let due = status.due.unwrap();
            tokio::time::sleep(secs(after)).await;
            let before = rig.issuer.count();
            rig.clock.step(step);
            let stepped = crate::clock::Clock::now(&*rig.clock);
            let wait = stepped.until(due).max(Duration::ZERO) + TICK + SOON;
            rig.until(wait, |status| status.counts.published > 1).await;
            assert!(
                rig.issuer.count() - before <= 2,
                "step {step}, after {after} s"
            );
            tokio::time::sleep(secs(3_600)).await;
            assert!(
                rig.issuer.count() - before <= 3,
                "step {step}, after {after} s"
            );
            rig.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_while_it_retries_does_not_stop_the_retries() {
    for step in [7_200_000_i64, -7_200_000] {
        let mut rig = Rig::new();
        let script = super::rig::good(&rig.ca);
        rig.issuer.set_script(|_| {
            let class = crate::model::failure::FailureClass::Transport;
            Err(crate::testing::issuer::failure(class, "connect"))
        });
        rig.start();
        tokio::time::sleep(secs(300)).await;
        rig.clock.step(step);
        rig.issuer.set_script(script);
        rig.until(TICK + SOON, |status| status.live.is_some()).await;
        rig.stop().await;
    }
}

/// Issues as an issuer whose clock is off by so many seconds.
fn skewed(rig: &Rig, ahead: i64) {
    let ca = Arc::clone(&rig.ca);
    rig.issuer.set_clock_offset(ahead * 1_000);
    rig.issuer.set_script(move |call| {
        let at = Timestamp::from_unix_millis(call.at.unix_millis() + ahead * 1_000);
        Ok(answer(&ca, &Call { at, ..call.clone() }))
    });
}

#[tokio::test(start_paused = true)]
async fn an_issuer_fifteen_minutes_ahead_is_waited_for_and_the_difference_is_known() {
    let mut rig = Rig::new();
    skewed(&rig, 900);
    rig.configs[0].renew.startup_timeout = secs(60);
    rig.start();
    tokio::time::sleep(secs(300)).await;
    let status = rig.status();
    assert!(
        status.live.is_none() && status.publish_pending,
        "not valid yet: staged, not published"
    );
    assert_eq!(status.vault_clock_offset_millis, Some(900_000));
    assert!(!rig.dir().join("cert.pem").exists());
    rig.until(secs(3_600), |status| status.live.is_some()).await;
    let live = rig.status().live.unwrap();
    let now = crate::clock::Clock::now(&*rig.clock);
    assert!(live.not_before <= now);
    assert!(rig.issuer.count() <= 10, "{}", rig.issuer.count());
}

#[tokio::test(start_paused = true)]
async fn a_staged_set_survives_a_restart() {
    let mut rig = Rig::new();
    skewed(&rig, 100);
    rig.start();
    rig.until(secs(5), |status| status.publish_pending).await;
    rig.stop().await;
    rig.start();
    rig.until(secs(5), |status| status.publish_pending).await;
    rig.until(secs(80), |status| status.live.is_some()).await;
    let live = rig.status().live.unwrap();
    assert_eq!(live.not_before, EPOCH.plus(secs(70)));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_fifteen_minutes_behind_makes_neither_a_loop_nor_a_late_renewal() {
    let mut rig = Rig::of_ttl(secs(3_600));
    skewed(&rig, -900);
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(DAY).await;
    let live = rig.status().live.unwrap();
    assert!(live.not_after > crate::clock::Clock::now(&*rig.clock));
    let orders = rig.issuer.count();
    assert!(
        (32..=60).contains(&orders),
        "{orders} orders of 45 useful minutes in a day"
    );
}
