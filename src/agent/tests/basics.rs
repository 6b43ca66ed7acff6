//! Start, renew, reuse, stop; several certificates; the first deadline.

use super::rig::{DAY, Rig, config, good, secs};
use crate::{
    clock::Clock as _,
    exit::Exit,
    model::{
        decide::{self, ActionReason, Next},
        failure::FailureClass,
        issuance_limit::IssuanceLimit,
        leaf::CertFacts,
        pem,
        request::Mode,
        schedule,
    },
    publish::ready_file::ReadyFile,
    testing::issuer::failure,
};

#[tokio::test(start_paused = true)]
async fn a_start_publishes_a_set_and_marks_it_ready() {
    let mut rig = Rig::new();
    rig.start();
    let status = rig.until_live().await;
    let [ca, cert, key] = rig.files();
    let leaf = CertFacts::read(&pem::parse(&cert).unwrap()[0].der).unwrap();
    let live = status.live.unwrap();
    assert_eq!(live.serial, leaf.serial);
    assert!(ca.ends_with('\n') && cert.ends_with('\n') && key.ends_with('\n'));
    let ready_file = ReadyFile::read(rig.configs[0].ready_file.as_ref().unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(
        (ready_file.serial, ready_file.generation),
        (leaf.serial, live.generation)
    );
    assert_eq!(status.counts.issuance_requests, 1);
    assert_eq!(rig.stop().await, Exit::Done);
    assert_eq!(rig.files(), [ca, cert, key], "files stay");
}

#[tokio::test(start_paused = true)]
async fn ten_days_certificates_are_renewed_at_two_thirds_for_months() {
    let mut rig = Rig::new();
    rig.look = secs(7_200);
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(60 * DAY).await;
    let calls = rig.issuer.calls();
    assert_eq!(calls.len(), 10, "sixty days are nine thirds of twenty days");
    for pair in calls.windows(2) {
        let between = pair[1].at.since(pair[0].at);
        let two_thirds = 10 * DAY * 2 / 3;
        assert!(
            between <= two_thirds && between >= two_thirds - secs(300),
            "{between:?}"
        );
    }
    assert_eq!(rig.stop().await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_restart_uses_what_is_on_disk_and_keeps_the_due_time() {
    let mut rig = Rig::new();
    rig.start();
    let before = rig.until_live().await;
    let tree = rig.tree();
    for _ in 0..5 {
        rig.stop().await;
        tokio::time::sleep(secs(600)).await;
        rig.start();
        let after = rig.until_live().await;
        assert_eq!((after.live, after.due), (before.live.clone(), before.due));
        assert_eq!(rig.tree(), tree);
    }
    assert_eq!(rig.issuer.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_request_is_asked_for_at_once_and_the_old_set_stays_until_then() {
    let mut rig = Rig::new();
    rig.start();
    rig.until_live().await;
    rig.stop().await;
    let old = rig.files();
    rig.configs[0]
        .request
        .names
        .dns
        .insert("more.service.consul".to_owned());
    rig.issuer
        .set_script(|_| Err(failure(FailureClass::Transport, "connect")));
    rig.start();
    tokio::time::sleep(secs(3_600)).await;
    assert_eq!(rig.files(), old);
    assert!(
        rig.status().live.is_some(),
        "it stays in use and the process goes on"
    );
    rig.issuer.set_script(good(&rig.ca));
    rig.until(secs(600), |status| status.counts.published == 1)
        .await;
    let leaf = pem::parse(&rig.files()[1]).unwrap();
    let leaf = CertFacts::read(&leaf[0].der).unwrap();
    assert!(leaf.names.dns.contains("more.service.consul"));
}

#[tokio::test(start_paused = true)]
async fn sign_mode_makes_a_new_key_each_time_unless_told_to_keep_it() {
    for reuse_key in [false, true] {
        let mut rig = Rig::new();
        rig.configs[0].request.mode = Mode::Sign;
        rig.configs[0].request.reuse_key = reuse_key;
        rig.look = secs(7_200);
        rig.start();
        rig.until_live().await;
        let [_, cert, key] = rig.files();
        rig.until(10 * DAY, |status| status.counts.published == 2)
            .await;
        let [_, new_cert, new_key] = rig.files();
        assert_ne!(cert, new_cert);
        assert_eq!(key == new_key, reuse_key);
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_made_for_a_lost_order_serves_the_next_one() {
    let mut rig = Rig::new();
    rig.configs[0].request.mode = Mode::Sign;
    rig.issuer
        .set_script(|_| Err(failure(FailureClass::Unavailable, "sealed")));
    rig.start();
    tokio::time::sleep(secs(20)).await;
    let csrs: Vec<_> = rig
        .issuer
        .calls()
        .into_iter()
        .map(|call| call.csr)
        .collect();
    assert!(csrs.len() > 2);
    let keys: std::collections::BTreeSet<_> = csrs
        .iter()
        .map(|csr| {
            let csr =
                rcgen::CertificateSigningRequestParams::from_pem(csr.as_ref().unwrap()).unwrap();
            rcgen::PublicKeyData::der_bytes(&csr.public_key).to_vec()
        })
        .collect();
    assert_eq!(keys.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_every_certificate_fails_its_first_start_the_process_ends_with_the_firsts_code() {
    for (class, exit) in [
        (FailureClass::Transport, Exit::VaultUnavailable),
        (FailureClass::Denied, Exit::Denied),
        (FailureClass::BadAnswer, Exit::Refused),
    ] {
        let mut rig = Rig::new();
        rig.configs.push(config(&rig.temp, "second"));
        rig.issuer.set_script(move |_| Err(failure(class, "no")));
        rig.start();
        let began = tokio::time::Instant::now();
        assert_eq!(rig.ended().await, exit);
        assert!(began.elapsed() >= secs(600) && began.elapsed() < secs(602));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_succeeds_keeps_the_process_and_the_others_go_on_trying() {
    let mut rig = Rig::new();
    rig.configs.push(config(&rig.temp, "second"));
    rig.configs[1].request.role = "other".to_owned();
    rig.look = secs(600);
    let (mut works, ca) = (good(&rig.ca), std::sync::Arc::clone(&rig.ca));
    rig.issuer
        .set_script(move |call| match call.request.role.as_str() {
            "other" => Err(failure(FailureClass::Denied, "permission-denied")),
            _ => works(call),
        });
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(2 * DAY).await;
    assert!(rig.status_of(0).failure.is_none());
    let other = rig.status_of(1);
    assert_eq!(other.failure.unwrap().last.class, FailureClass::Denied);
    assert!(
        other.counts.issuance_requests > 1_000,
        "{} in two days",
        other.counts.issuance_requests
    );
    rig.issuer.set_script(good(&ca));
    tokio::time::sleep(secs(300)).await;
    assert!(rig.status_of(1).live.is_some());
    assert_eq!(rig.stop().await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_forced_renewal_comes_at_once_and_once() {
    let mut rig = Rig::new();
    rig.start();
    let before = rig.until_live().await;
    tokio::time::sleep(secs(3_600)).await;
    rig.running.as_ref().unwrap().force.all();
    let after = rig
        .until(secs(5), |status| status.counts.published == 2)
        .await;
    assert_ne!(before.live, after.live);
    tokio::time::sleep(secs(7_200)).await;
    assert_eq!(rig.issuer.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn wishes_for_a_renewal_that_come_together_are_one_order_and_have_one_answer() {
    let mut rig = Rig::new();
    rig.start();
    rig.until_live().await;
    let force = rig.running.as_ref().unwrap().force.clone();
    rig.issuer.set_latency(secs(10));
    force.all();
    tokio::time::sleep(secs(5)).await;
    assert!(
        force.one("main", crate::control::Wish::default()),
        "while the first is under way"
    );
    let answer = rig
        .until(secs(60), |status| status.manual_renewal.is_some())
        .await;
    let forced = answer.manual_renewal.unwrap();
    assert_eq!(forced.number, 1);
    assert_eq!(forced.outcome.unwrap(), answer.live.unwrap().serial);
    tokio::time::sleep(secs(3_600)).await;
    assert_eq!(rig.issuer.count(), 2);
    assert_eq!(rig.status().manual_renewal.unwrap().number, 1);
}

#[tokio::test(start_paused = true)]
async fn a_forced_renewal_that_fails_leaves_the_schedule_alone() {
    let mut rig = Rig::new();
    rig.start();
    let before = rig.until_live().await;
    rig.issuer
        .set_script(|_| Err(failure(FailureClass::Denied, "permission-denied")));
    rig.running.as_ref().unwrap().force.all();
    let after = rig
        .until(secs(60), |status| status.manual_renewal.is_some())
        .await;
    let refused = after.manual_renewal.unwrap().outcome.unwrap_err();
    assert_eq!(refused.code, "permission-denied");
    tokio::time::sleep(secs(86_400)).await;
    let now = rig.status();
    assert_eq!(
        (&now.live, now.due, now.next),
        (&before.live, before.due, before.due)
    );
    assert_eq!(now.failure, None);
    assert_eq!(now.counts.failures, 1);
    assert_eq!(rig.issuer.count(), 2, "it is not repeated by itself");
    rig.issuer.set_script(good(&rig.ca));
    let renewed = rig
        .until(10 * DAY, |status| status.counts.published == 2)
        .await;
    assert!(renewed.live.unwrap().obtained_at >= before.due);
}

#[tokio::test(start_paused = true)]
async fn forced_renewals_have_an_allowance_of_their_own_and_are_refused_beyond_it_at_once() {
    let mut rig = Rig::new();
    rig.configs[0].renew.max_issuances_per_hour = IssuanceLimit::Configured(1);
    rig.start();
    rig.until_live().await;
    for number in 1..=11 {
        rig.running.as_ref().unwrap().force.all();
        let after = rig
            .until(secs(60), |status| {
                status
                    .manual_renewal
                    .as_ref()
                    .is_some_and(|last| last.number == number)
            })
            .await;
        let outcome = after.manual_renewal.unwrap().outcome;
        assert_eq!(outcome.is_ok(), number <= 10, "{number}: {outcome:?}");
        if let Err(refused) = outcome {
            assert_eq!(refused.class, FailureClass::IssuanceLimit);
            assert_eq!(refused.code, "manual_limit");
        }
    }
    tokio::time::sleep(secs(7_200)).await;
    assert_eq!(rig.issuer.count(), 11, "nor later");
}

#[tokio::test(start_paused = true)]
async fn idle_loops_wake_at_most_four_times_a_minute() {
    let mut rig = Rig::new();
    for name in ["b", "c", "d"] {
        let config = config(&rig.temp, name);
        rig.configs.push(config);
    }
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(secs(60)).await;
    let before = rig.clock.moments();
    tokio::time::sleep(secs(3_000)).await;
    let wakes = rig.clock.moments() - before;
    assert!(
        wakes >= 90,
        "{wakes} looks in fifty minutes: it sleeps too long"
    );
    assert!(wakes <= 4 * 50, "{wakes} wake-ups in fifty minutes");
}

#[tokio::test(start_paused = true)]
async fn explain_reads_from_disk_what_the_loop_waits_for() {
    let mut rig = Rig::new();
    rig.start();
    let status = rig.until_live().await;
    for days in [0, 3, 4] {
        tokio::time::sleep(DAY * days).await;
        let status = rig.status();
        let config = &rig.configs[0];
        let facts = crate::agent::on_disk(config, rig.clock.now());
        let live = facts.live.clone().unwrap();
        let due = schedule::due(live.validity, live.obtained_at, &config.renew);
        assert_eq!(Some(due.at), status.due);
        let next = decide::decide(&facts, &config.renew, rig.clock.now());
        assert_eq!(next, Next::WaitUntil(due.at, ActionReason::Due));
    }
    assert_ne!(rig.status().live, status.live, "it was renewed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_until_a_hundredth_of_life_is_left_costs_no_certificate() {
    let life = secs(3_600);
    for seed in 0..4 {
        let mut rig = Rig::of_ttl(life);
        rig.configs[0].renew.splay_seed = format!("alloc-{seed}/main");
        rig.start();
        let ends = rig.until_live().await.live.unwrap().not_after;
        rig.issuer.set_latency(secs(60));
        rig.issuer
            .set_script(|_| Err(failure(FailureClass::Transport, "timeout")));
        tokio::time::sleep(rig.clock.now().until(ends) - life / 100).await;
        assert_eq!(rig.status().counts.published, 1, "the issuer hangs");
        rig.issuer.set_latency(secs(0));
        rig.issuer.set_script(good(&rig.ca));
        tokio::time::sleep(rig.clock.now().until(ends)).await;
        assert_eq!(rig.status().counts.published, 2, "seed {seed}");
    }
}
