//! The second loop with a fake application: reloaded, proven, escalated, in alarm, back; never in the
//! way of a renewal, and no issuer in its way.

use std::{sync::Arc, time::Duration};

use super::rig::{DAY, EPOCH, Rig, good, secs};
use crate::{
    clock::Clock as _,
    config::{App, ProbeConfig, ProbeTarget, ReloadConfig, ReloadStep},
    exit::Exit,
    model::{
        failure::FailureClass,
        reload::{Action, ReloadFailure, ReloadState},
        time::Timestamp,
    },
    reload::loki::Version,
    testing::{
        application::{FakeApplication, Habit},
        ca::TestCa,
        issuer::Outage,
    },
};

pub(in crate::agent) fn restart() -> ReloadStep {
    ReloadStep::Do(Action::NomadRestart {
        task: "loki".to_owned(),
    })
}

/// A probe that a test's application answers.
pub(in crate::agent) fn probe(interval: Duration) -> ProbeConfig {
    ProbeConfig {
        target: ProbeTarget {
            address: "127.0.0.1:1".to_owned(),
            server_name: "localhost".to_owned(),
            alpn: Vec::new(),
            mtls: true,
            starttls: None,
            grpc_health: false,
            timeout: secs(5),
        },
        interval,
    }
}

/// Loki, told by these lists.
pub(in crate::agent) fn reload(
    on_cert_change: Vec<ReloadStep>,
    on_ca_change: Vec<ReloadStep>,
) -> ReloadConfig {
    ReloadConfig {
        app: App::Loki,
        on_cert_change,
        on_ca_change,
        task: Some("loki".to_owned()),
        version_url: Some("http://127.0.0.1:1".to_owned()),
        verify_timeout: secs(60),
        kill_timeout: secs(5),
        stagger: None,
        lock: None,
        min_healthy_time: secs(15),
    }
}

/// One certificate that is probed every five minutes and reloaded by these lists.
pub(super) fn rig_with(
    on_cert_change: Vec<ReloadStep>,
    on_ca_change: Vec<ReloadStep>,
) -> (Rig, Arc<FakeApplication>) {
    let mut rig = Rig::new();
    let config = &mut rig.configs[0];
    config.probe = Some(probe(secs(300)));
    config.reload = Some(reload(on_cert_change, on_ca_change));
    config.rollback = Some(secs(3_600));
    let app = Arc::new(FakeApplication::new(Arc::clone(&rig.clock), rig.dir()));
    rig.application = Some(Arc::clone(&app) as _);
    (rig, app)
}

/// Published, started, verified.
pub(super) async fn verified(rig: &mut Rig, app: &FakeApplication) -> String {
    rig.start();
    let generation = rig.until_live().await.live.unwrap().generation;
    app.load();
    until_verified(rig, &generation, secs(120)).await;
    generation
}

pub(super) async fn until_verified(rig: &mut Rig, generation: &str, limit: Duration) {
    let generation = generation.to_owned();
    rig.until(limit, |status| {
        let seen = status.app.last_verified.as_ref();
        seen.is_some_and(|seen| seen.generation == generation)
    })
    .await;
}

/// Renews by force; the new generation.
pub(super) async fn renew(rig: &mut Rig) -> String {
    // no two sets come in one instant
    tokio::time::sleep(secs(10)).await;
    let before = rig.status().live.unwrap().generation;
    rig.running.as_ref().unwrap().force.all();
    let changed = |status: &crate::status::Status| {
        status
            .live
            .as_ref()
            .is_some_and(|live| live.generation != before)
    };
    let status = rig.until(secs(60), changed).await;
    status.live.unwrap().generation
}

#[tokio::test(start_paused = true)]
async fn a_new_leaf_is_told_once_and_verified_and_the_first_one_not_reloaded() {
    let (mut rig, app) = rig_with(vec![restart()], vec![restart()]);
    verified(&mut rig, &app).await;
    assert!(app.heard().is_empty(), "it read the files at its start");
    let second = renew(&mut rig).await;
    until_verified(&mut rig, &second, secs(30)).await;
    tokio::time::sleep(DAY).await;
    let heard = app.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(
        (heard[0].event, heard[0].action.as_str()),
        ("leaf", "nomad_restart")
    );
    let status = rig.status();
    assert_eq!(heard[0].serial, status.live.unwrap().serial);
    assert_eq!(status.app.reloads[&("nomad_restart", "ok")], 1);
    assert_eq!(status.app.reload_exhausted, None);
    assert_eq!(status.app.last_reload.unwrap().generation, second);
    let probes = app.probes();
    assert!(
        (280..=320).contains(&probes),
        "every five minutes: {probes}"
    );
}

#[tokio::test(start_paused = true)]
async fn auto_follows_lokis_version() {
    let version = |minor| Some(Version { major: 3, minor });
    // what it says, whether it reads the leaf by itself, how often it is restarted
    for (version, hot, restarts) in [
        (version(7), true, 0),
        (version(1), true, 1),
        (None, true, 0),
        (None, false, 1),
    ] {
        let (mut rig, app) = rig_with(vec![ReloadStep::Auto], vec![ReloadStep::Auto]);
        app.behave(|one| {
            one.version = version;
            one.hot = hot;
        });
        verified(&mut rig, &app).await;
        let second = renew(&mut rig).await;
        until_verified(&mut rig, &second, secs(200)).await;
        tokio::time::sleep(secs(3_600)).await;
        assert_eq!(app.heard().len(), restarts, "{version:?} {hot}");
        assert!(app.heard().iter().all(|one| one.action == "nomad_restart"));
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn new_anchors_are_told_by_their_own_list() {
    let (mut rig, app) = rig_with(vec![ReloadStep::Do(Action::None)], vec![restart()]);
    verified(&mut rig, &app).await;
    let next = TestCa::new(EPOCH);
    rig.issuer
        .set_anchors(Ok([rig.ca.issuers(), next.issuers()].concat()));
    rig.until(secs(1_300), |status| status.counts.published == 2)
        .await;
    tokio::time::sleep(secs(60)).await;
    let heard = app.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(
        (heard[0].event, heard[0].action.as_str()),
        ("trust", "nomad_restart")
    );
    assert_eq!(rig.issuer.count(), 1, "leaf and key stay");
    let status = rig.status();
    let live = status.live.unwrap().generation;
    assert_eq!(status.app.last_verified.unwrap().generation, live);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_away_holds_back_no_telling() {
    let (mut rig, app) = rig_with(vec![restart()], vec![restart()]);
    verified(&mut rig, &app).await;
    app.behave(|one| one.habit = Habit::Ignores);
    let second = renew(&mut rig).await;
    let now = rig.clock.now();
    rig.issuer.add_outage(Outage {
        from: now,
        until: Timestamp::MAX,
        class: FailureClass::Transport,
        retry_after: None,
    });
    rig.issuer.set_latency(secs(900));
    rig.running.as_ref().unwrap().force.all();
    let alarm = rig
        .until(secs(120), |status| status.app.reload_exhausted.is_some())
        .await;
    assert!(
        alarm
            .app
            .reload_exhausted
            .unwrap()
            .contains("restart the application")
    );
    app.load();
    until_verified(&mut rig, &second, secs(310)).await;
    assert_eq!(rig.status().app.reload_exhausted, None);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_hangs_holds_back_no_renewal() {
    let (mut rig, app) = rig_with(vec![restart()], vec![restart()]);
    verified(&mut rig, &app).await;
    app.behave(|one| one.latency = DAY);
    let second = renew(&mut rig).await;
    let third = renew(&mut rig).await;
    assert_ne!(second, third);
    until_verified(&mut rig, &third, 3 * DAY).await;
    assert_eq!(rig.status().app.reload_exhausted, None);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_refused_is_an_alarm_and_tried_again() {
    let (mut rig, app) = rig_with(vec![restart()], vec![restart()]);
    verified(&mut rig, &app).await;
    let refused =
        ReloadFailure::lasting("nomad-denied", "Nomad answered 403".to_owned(), "a policy");
    app.behave(|one| one.habit = Habit::Fails(refused));
    let second = renew(&mut rig).await;
    let status = rig
        .until(secs(120), |status| status.app.reload_exhausted.is_some())
        .await;
    assert!(
        status
            .app
            .reload_exhausted
            .unwrap()
            .contains("Nomad answered 403")
    );
    assert!(status.app.reloads[&("nomad_restart", "nomad-denied")] >= 1);
    // the policy is attached
    app.behave(|one| one.habit = Habit::Reloads);
    until_verified(&mut rig, &second, secs(1_800)).await;
    assert_eq!(rig.status().app.reload_exhausted, None);
}

#[tokio::test(start_paused = true)]
async fn without_a_probe_a_reload_that_fails_is_never_shown_as_done() {
    let (mut rig, app) = rig_with(vec![restart()], vec![restart()]);
    rig.configs[0].probe = None;
    rig.start();
    let refused =
        ReloadFailure::lasting("nomad-denied", "Nomad answered 403".to_owned(), "a policy");
    app.behave(|one| one.habit = Habit::Fails(refused));
    rig.until_live().await;
    let failed = rig
        .until(secs(5), |status| status.app.reload == ReloadState::Failed)
        .await;
    let last = failed.app.last_reload.clone().unwrap();
    assert!(last.outcome.unwrap().unwrap_err().contains("403"));
    assert_eq!(failed.app.reloaded, None);
    assert_eq!(failed.app.last_verified, None);
    app.behave(|one| one.habit = Habit::Reloads);
    let done = rig
        .until(secs(1_800), |status| {
            status.app.reload == ReloadState::Successful
        })
        .await;
    assert_eq!(done.app.reloaded, Some(done.live.unwrap().generation));
    assert_eq!(done.app.last_verified, None, "no probe is configured");
}

#[tokio::test(start_paused = true)]
async fn without_a_reload_block_nothing_is_shown_as_reloaded() {
    let (mut rig, _app) = rig_with(vec![restart()], vec![restart()]);
    let config = &mut rig.configs[0];
    (config.probe, config.reload) = (None, None);
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(secs(10)).await;
    let app = rig.status().app;
    assert_eq!(app.reload, ReloadState::NotNeeded);
    assert_eq!((app.last_reload, app.reloaded), (None, None));
    assert_eq!(app.last_verified, None);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_never_free_holds_back_an_action_but_not_for_ever() {
    let (mut rig, app) = rig_with(vec![restart()], vec![restart()]);
    let lock = Some("nomad/jobs/loki/lock".to_owned());
    rig.configs[0].reload.as_mut().unwrap().lock = lock;
    verified(&mut rig, &app).await;
    let ends = rig.status().live.unwrap().not_after;
    app.behave(|one| one.locked = true);
    let second = renew(&mut rig).await;
    tokio::time::sleep(DAY).await;
    assert!(app.heard().is_empty());
    // the renewal in between does not begin the patience anew
    let newer = |status: &crate::status::Status| {
        let seen = status.app.last_verified.as_ref();
        seen.is_some_and(|seen| seen.generation >= second)
    };
    rig.until(10 * DAY, newer).await;
    let reloaded = app.heard()[0].at;
    assert!(
        reloaded < ends.minus(DAY / 2),
        "well before the old one ends"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_agent_repeats_no_word_and_no_proof() {
    let (mut rig, app) = rig_with(vec![restart()], vec![restart()]);
    verified(&mut rig, &app).await;
    let second = renew(&mut rig).await;
    until_verified(&mut rig, &second, secs(30)).await;
    for _ in 0..3 {
        rig.stop().await;
        rig.start();
        rig.until_live().await;
        until_verified(&mut rig, &second, secs(30)).await;
        tokio::time::sleep(secs(400)).await;
    }
    assert_eq!(app.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn sets_that_break_the_application_are_taken_back_and_few_are_tried() {
    let (mut rig, app) = rig_with(vec![restart()], vec![restart()]);
    rig.look = secs(300);
    let first = verified(&mut rig, &app).await;
    let (serial, ends) = {
        let live = rig.status().live.unwrap();
        (live.serial, live.not_after)
    };
    static GOOD: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    GOOD.set(serial.clone()).unwrap();
    app.behave(|one| one.breaks_on = Some(|serial| GOOD.get().unwrap() != serial));
    rig.until(8 * DAY, |status| status.app.rollbacks == 1).await;
    let back = |status: &crate::status::Status| {
        status
            .live
            .as_ref()
            .is_some_and(|live| live.generation == first)
            && status
                .app
                .last_verified
                .as_ref()
                .is_some_and(|seen| seen.generation == first)
    };
    let status = rig.until(secs(600), back).await;
    let orders = rig.issuer.count();
    rig.stop().await;
    // as if a crash had come between the record and the switch
    let link = rig.dir().join("..data");
    std::fs::remove_file(&link).unwrap();
    let broken = format!("..gen-{}", status.app.rollback_active.unwrap());
    assert!(rig.dir().join(&broken).exists());
    std::os::unix::fs::symlink(broken, &link).unwrap();
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(DAY / 2).await;
    assert_eq!(rig.status().live.unwrap().serial, serial);
    assert_eq!(
        rig.issuer.count(),
        orders,
        "held back, also after a restart"
    );
    let left = rig.clock.now().until(ends.minus(secs(7_200)));
    tokio::time::sleep(left).await;
    assert_eq!(
        rig.status().live.unwrap().serial,
        serial,
        "the good one to the end"
    );
    let tried = rig.issuer.count() - orders;
    assert!((1..=8).contains(&tried), "{tried} in three days");
}

#[tokio::test(start_paused = true)]
async fn after_an_expiry_the_same_ca_is_no_new_trust_and_another_one_is() {
    for other in [false, true] {
        let (mut rig, app) = rig_with(vec![ReloadStep::Do(Action::None)], vec![restart()]);
        verified(&mut rig, &app).await;
        rig.stop().await;
        tokio::time::sleep(DAY * 11).await;
        if other {
            let ca = Arc::new(TestCa::new(rig.clock.now()));
            rig.issuer.set_anchors(Ok(ca.issuers()));
            rig.issuer.set_script(good(&ca));
        }
        rig.start();
        let generation = rig.until_live().await.live.unwrap().generation;
        if !other {
            app.load();
            until_verified(&mut rig, &generation, secs(120)).await;
        }
        tokio::time::sleep(secs(60)).await;
        assert_eq!(app.heard().len(), usize::from(other), "another CA: {other}");
        assert_eq!(rig.stop().await, Exit::Done);
    }
}
