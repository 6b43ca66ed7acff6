//! Several agents of one job: a lock lets one at a time be between reload and proof, slots give
//! each its turn in the window.

use std::{sync::Arc, time::Duration};

use super::{
    reload::{renew, restart, rig_with, until_verified, verified},
    rig::{Rig, secs},
};
use crate::{
    clock::Clock as _,
    model::{stagger::Stagger, time::Timestamp},
    reload::nomad::Taken,
    testing::{
        application::{FakeApplication, Habit},
        lock::FakeLock,
    },
};

const PATH: &str = "nomad/jobs/loki/lock";

/// One agent and its application.
struct Member {
    rig: Rig,
    app: Arc<FakeApplication>,
}

impl Member {
    fn told_at(&self) -> Timestamp {
        self.app.heard()[0].at
    }

    fn verified_at(&self) -> Timestamp {
        self.rig.status().app.last_verified.unwrap().at
    }
}

/// So many agents, each with a set that its application serves; all go by one time.
async fn fleet(count: u32, change: impl Fn(u32, &mut Member)) -> Vec<Member> {
    let mut fleet = Vec::new();
    for index in 0..count {
        let (rig, app) = rig_with(vec![restart()], vec![restart()]);
        let mut member = Member { rig, app };
        change(index, &mut member);
        fleet.push(member);
    }
    for member in &mut fleet {
        verified(&mut member.rig, &member.app).await;
    }
    fleet
}

/// Renews all at the same moment and waits until each new set is served.
async fn renew_all(fleet: &mut [Member], limit: Duration) {
    let mut generations = Vec::new();
    for member in fleet.iter_mut() {
        generations.push(renew(&mut member.rig).await);
    }
    for (member, generation) in fleet.iter_mut().zip(generations) {
        until_verified(&mut member.rig, &generation, limit).await;
    }
}

fn with_lock(member: &mut Member, index: u32, lock: &Arc<FakeLock>) {
    let reload = member.rig.configs[0].reload.as_mut().unwrap();
    reload.lock = Some(PATH.to_owned());
    let lock = Arc::clone(lock);
    member.app.behave(|one| {
        one.latency = secs(25);
        one.lock = Some((format!("alloc-{index}"), lock));
    });
}

#[tokio::test(start_paused = true)]
async fn who_holds_the_lock_keeps_it_until_the_peers_had_time_after_the_proof_and_the_next_one_waits()
 {
    let clock = Rig::new().clock;
    let lock = Arc::new(FakeLock::new(clock));
    let mut fleet = fleet(3, |index, member| with_lock(member, index, &lock)).await;
    renew_all(&mut fleet, secs(600)).await;
    tokio::time::sleep(secs(30)).await;
    let mut turns: Vec<_> = fleet
        .iter()
        .map(|member| (member.told_at(), member.verified_at()))
        .collect();
    turns.sort();
    for pair in turns.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{turns:?}");
    }
    let spans = lock.spans();
    assert_eq!(spans.len(), 3, "once each: {spans:?}");
    for (span, (told, proven)) in spans.iter().zip(&turns) {
        assert!(span.from < *told && span.until.unwrap() >= *proven);
        let kept = span.until.unwrap().since(*proven);
        assert!(
            kept >= secs(15) && kept < secs(16),
            "min_healthy_time: {kept:?}"
        );
    }
    assert!(fleet.iter().all(|member| member.app.heard().len() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_kept_alive_until_the_alarm_and_lets_the_others_go_on_then() {
    let clock = Rig::new().clock;
    let lock = Arc::new(FakeLock::new(clock));
    let mut fleet = fleet(2, |index, member| {
        with_lock(member, index, &lock);
        member.rig.configs[0].rollback = None;
        let reload = member.rig.configs[0].reload.as_mut().unwrap();
        reload.verify_timeout = secs(300);
    })
    .await;
    fleet[0].app.behave(|one| one.habit = Habit::Ignores);
    renew(&mut fleet[0].rig).await;
    tokio::time::sleep(secs(20)).await;
    let second = renew(&mut fleet[1].rig).await;
    until_verified(&mut fleet[1].rig, &second, secs(900)).await;
    let spans = lock.spans();
    assert_eq!(spans[0].holder, "alloc-0");
    assert!(spans[0].renewals >= 1, "{spans:?}");
    assert!(fleet[0].rig.status().app.reload_exhausted.is_some());
    assert!(spans[0].until.unwrap() <= spans[1].from);
    assert!(spans[1].from <= fleet[1].told_at());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_killed_blocks_nobody_for_longer_than_the_lock_lasts() {
    let clock = Rig::new().clock;
    let lock = Arc::new(FakeLock::new(Arc::clone(&clock)));
    let mut fleet = fleet(2, |index, member| with_lock(member, index, &lock)).await;
    fleet[0].app.behave(|one| one.habit = Habit::Ignores);
    renew(&mut fleet[0].rig).await;
    tokio::time::sleep(secs(30)).await;
    fleet[0].rig.stop().await;
    let killed = clock.now();
    assert_eq!(lock.spans()[0].until, None, "what is held lapses");
    let second = renew(&mut fleet[1].rig).await;
    until_verified(&mut fleet[1].rig, &second, secs(300)).await;
    let told = fleet[1].told_at();
    // the lock lasts twice as long as a proof may take; asked for every ten seconds
    let longest = killed.plus(secs(120 + 10 + 25));
    assert!(killed < told && told <= longest, "{told} {longest}");
    assert_eq!(lock.spans()[1].holder, "alloc-1");
}

#[tokio::test(start_paused = true)]
async fn allocations_act_in_their_own_slots_and_never_together() {
    let stagger = |index| Stagger {
        window: secs(600),
        count: 3,
        index,
    };
    let mut fleet = fleet(3, |index, member| {
        member.app.behave(|one| one.latency = secs(40));
        member.rig.configs[0].reload.as_mut().unwrap().stagger = Some(stagger(index));
    })
    .await;
    let began = fleet[0].rig.clock.now();
    renew_all(&mut fleet, secs(700)).await;
    let mut turns = Vec::new();
    for (index, member) in (0..).zip(&fleet) {
        // the log has the end of the action
        let told = member.told_at().minus(secs(40));
        assert_eq!(stagger(index).free_at(told), told, "in its own slot");
        assert!(told <= began.plus(secs(600 + 60)), "within one window");
        assert_eq!(member.app.heard().len(), 1);
        turns.push((told, member.verified_at()));
    }
    turns.sort();
    for pair in turns.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{turns:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_lapsed_is_asked_for_anew_before_the_next_step() {
    let clock = Rig::new().clock;
    let lock = Arc::new(FakeLock::new(clock));
    let mut fleet = fleet(1, |index, member| {
        with_lock(member, index, &lock);
        member.rig.configs[0].rollback = None;
        let reload = member.rig.configs[0].reload.as_mut().unwrap();
        reload.on_cert_change = vec![restart(), restart()];
        reload.verify_timeout = secs(300);
    })
    .await;
    let one = &mut fleet[0];
    one.app.behave(|one| one.habit = Habit::Ignores);
    renew(&mut one.rig).await;
    tokio::time::sleep(secs(60)).await;
    lock.lapse();
    let Taken::Mine(theirs) = lock.take("somebody", PATH, secs(3_600)) else {
        panic!("it has lapsed")
    };
    tokio::time::sleep(secs(900)).await;
    assert_eq!(one.app.heard().len(), 1, "the second step waits");
    lock.release(&theirs);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(one.app.heard().len(), 2);
    assert_eq!(lock.spans().len(), 3);
}
