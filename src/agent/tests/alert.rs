//! Whoever watches knows in time: each fault changes what is shown long before the end, and nothing
//! is shown in healthy runs.

use super::rig::{EPOCH, Rig, secs};
use crate::{
    clock::Clock as _,
    model::{failure::FailureClass, time::Timestamp},
    observe::{
        metrics,
        readiness::readiness,
        view::{AgentIdentity, View},
    },
    status::Status,
    testing::issuer::Outage,
};

fn exposition(status: &Status, now: Timestamp) -> String {
    let view = View {
        identity: AgentIdentity::default(),
        started: EPOCH,
        now,
        statuses: vec![status.clone()],
        log_lines_dropped: 0,
        vault_plain_http: false,
    };
    metrics::exposition(view, metrics::Format::Text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_shown_a_quarter_of_life_before_the_end() {
    let ttl = secs(36_000);
    for class in FailureClass::ALL {
        if class == FailureClass::IssuanceLimit {
            continue; // shown in budget.free_at, see the tests of observe/readiness.rs
        }
        let mut rig = Rig::of_ttl(ttl);
        rig.start();
        let live = rig.until_live().await.live.unwrap();
        rig.issuer.add_outage(Outage {
            from: EPOCH.plus(ttl / 4),
            until: live.not_after.plus(ttl),
            class,
            retry_after: None,
        });
        let quarter = live.not_after.since(live.not_before) / 4;
        let at = live.not_after.minus(quarter);
        tokio::time::sleep(rig.clock.now().until(at)).await;
        let (status, now) = (rig.status(), rig.clock.now());
        let found = readiness(&status, now);
        assert!(found.is_ready(), "{class}: the set still holds");
        assert_eq!(found.degraded[0].code, "failing", "{class}");
        let text = exposition(&status, now);
        let sample = format!("certagent_failures_total{{certificate=\"main\",class=\"{class}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&sample));
        assert!(count.is_some_and(|count| count != "0"), "{class}\n{text}");
        assert!(status.renewal_attempts_remaining.unwrap() > 0, "{class}");
        tokio::time::sleep(now.until(live.not_after) + secs(31)).await;
        let found = readiness(&rig.status(), rig.clock.now());
        assert_eq!(found.reasons[0].code, "expired", "{class}");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_shown_in_a_healthy_life_with_its_renewals() {
    let ttl = secs(36_000);
    let mut rig = Rig::of_ttl(ttl);
    rig.start();
    let runway = rig.until_live().await.renewal_attempts_remaining;
    for _ in 0..120 {
        tokio::time::sleep(ttl / 40).await;
        let (status, now) = (rig.status(), rig.clock.now());
        let found = readiness(&status, now);
        assert!(found.is_ready() && found.degraded.is_empty(), "{found:?}");
        assert_eq!(status.counts.failures, 0);
        // the splay differs a little from life to life
        let change = status
            .renewal_attempts_remaining
            .unwrap()
            .abs_diff(runway.unwrap());
        assert!(
            change <= 1,
            "{runway:?} {:?}",
            status.renewal_attempts_remaining
        );
    }
    assert!(rig.status().counts.published >= 4);
}
