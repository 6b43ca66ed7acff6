//! Whatever Vault answers: the published files stay, and requests keep the limit.

use std::{sync::Arc, time::Duration};

use super::rig::{DAY, Rig, answer, good, secs};
use crate::{
    model::{
        failure::FailureClass,
        issuance_limit::{self, IssuanceLimit},
        schedule::MinRemaining,
        time::Timestamp,
    },
    testing::{
        ca,
        issuer::{Answer, Call, failure},
    },
};

type Script = Box<dyn FnMut(&Call) -> Answer + Send>;
type Make = Box<dyn Fn(&ca::TestCa, &Call) -> Vec<u8> + Send>;

/// Issuers that always answer, and never usefully.
fn useless(rig: &Rig) -> Vec<(&'static str, Script)> {
    let script = |make: Make| -> Script {
        let ca = Arc::clone(&rig.ca);
        Box::new(move |call| Ok(make(&ca, call)))
    };
    let moved = |call: &Call, millis: i64| Call {
        at: Timestamp::from_unix_millis(call.at.unix_millis() + millis),
        ..call.clone()
    };
    let of_ttl = |call: &Call, ttl: Duration| {
        let mut call = call.clone();
        call.request.ttl = ttl;
        call
    };
    let once = rig.ca.answer(&rig.configs[0].request, super::rig::EPOCH);
    let month = 30 * 86_400_000_i64;
    vec![
        (
            "expired leaf",
            script(Box::new(move |ca, call| answer(ca, &moved(call, -month)))),
        ),
        (
            "ttl of 1 s",
            script(Box::new(move |ca, call| answer(ca, &of_ttl(call, secs(1))))),
        ),
        (
            "ttl of 2 s",
            script(Box::new(move |ca, call| answer(ca, &of_ttl(call, secs(2))))),
        ),
        (
            "future notBefore",
            script(Box::new(move |ca, call| answer(ca, &moved(call, month)))),
        ),
        (
            "the same serial",
            script(Box::new(move |_, _| once.clone())),
        ),
        (
            "wrong key",
            script(Box::new(|ca, call| {
                let mut body = ca.answer_json(&call.request, call.at);
                let other = ca.answer_json(&call.request, call.at);
                body["data"]["private_key"] = other["data"]["private_key"].clone();
                body.to_string().into_bytes()
            })),
        ),
        ("junk", script(Box::new(|_, _| b"<html>".to_vec()))),
    ]
}

pub(super) fn most_in_an_hour(calls: &[Call]) -> usize {
    let hour = secs(3_600);
    let after = |first: &Call| {
        calls
            .iter()
            .filter(|call| call.at >= first.at && call.at < first.at.plus(hour))
            .count()
    };
    calls.iter().map(after).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn no_answer_makes_more_issuances_than_the_budget_and_a_good_set_stays() {
    let names: Vec<&str> = useless(&Rig::new()).iter().map(|(name, _)| *name).collect();
    for (index, name) in names.into_iter().enumerate() {
        let mut rig = Rig::of_ttl(DAY);
        rig.configs[0].renew.min_remaining = MinRemaining::Derived(secs(300));
        rig.look = secs(1_800);
        rig.start();
        let live = rig.until_live().await.live;
        let files = rig.files();
        let (_, script) = useless(&rig).swap_remove(index);
        rig.issuer.set_script(script);
        tokio::time::sleep(DAY - secs(120)).await;
        let most = most_in_an_hour(&rig.issuer.calls());
        let limit = 10 + issuance_limit::MOST_REFUSED as usize;
        assert!(most <= limit, "{name}: {most} in an hour");
        assert!(rig.issuer.count() > 1, "{name}: it was asked");
        if name == "the same serial" {
            assert_eq!(
                rig.status().counts.published,
                2,
                "the first time it is a new one"
            );
        } else {
            assert!(rig.files() == files, "{name}");
            assert_eq!(rig.status().live, live, "{name}");
        }
        tokio::time::sleep(DAY).await;
        let most = most_in_an_hour(&rig.issuer.calls());
        assert!(most <= limit, "{name}: {most} in an hour after the end");
        rig.issuer.set_script(good(&rig.ca));
        tokio::time::sleep(secs(3_700)).await;
        assert!(rig.status().failure.is_none(), "{name}: it recovers");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn from_nothing_and_over_restarts_the_budget_holds_too() {
    let names = useless(&Rig::new()).len();
    for index in 0..names {
        let mut rig = Rig::new();
        rig.configs[0].renew.min_remaining = MinRemaining::Derived(secs(300));
        rig.look = secs(300);
        let (name, script) = useless(&rig).swap_remove(index);
        rig.issuer.set_script(script);
        for _ in 0..40 {
            rig.start();
            tokio::time::sleep(secs(20)).await;
            rig.stop().await;
        }
        let most = most_in_an_hour(&rig.issuer.calls());
        let limit = 10 + issuance_limit::MOST_REFUSED as usize;
        assert!(most <= limit, "{name}: {most} in an hour of restarts");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_is_a_failed_start() {
    let mut rig = Rig::new();
    rig.issuer.set_script(|_| Ok(b"junk".to_vec()));
    for _ in 0..12 {
        rig.start();
        tokio::time::sleep(secs(1)).await;
        rig.stop().await;
    }
    rig.start();
    assert_eq!(rig.ended().await, crate::exit::Exit::Failure);
    assert_eq!(rig.issuer.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_use_up_the_budget() {
    let mut rig = Rig::new();
    rig.issuer
        .set_script(|_| Err(failure(FailureClass::Unavailable, "sealed")));
    rig.configs[0].renew.startup_timeout = DAY;
    rig.start();
    tokio::time::sleep(secs(1_800)).await;
    assert!(rig.issuer.count() > 20);
    assert_eq!(rig.status().issuance_limit.used, 0);
    rig.issuer.set_script(good(&rig.ca));
    rig.until(secs(60), |status| status.live.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn every_wrong_answer_leaves_the_live_set_as_it_is_and_has_its_code() {
    let mut rig = Rig::new();
    rig.configs[0].renew.max_issuances_per_hour = IssuanceLimit::Configured(3_600);
    let body = rig.ca.answer(&rig.configs[0].request, super::rig::EPOCH);
    let first = body.clone();
    rig.issuer.set_script(move |_| Ok(first.clone()));
    rig.start();
    rig.until_live().await;
    let tree = rig.tree();
    let made = |rig: &Rig| {
        let now = crate::clock::Clock::now(&*rig.clock);
        ca::mutations(&rig.ca, &rig.configs[0].request, now, &body)
    };
    let mut mutations = made(&rig);
    assert!(mutations.len() >= 60, "{}", mutations.len());
    let most = issuance_limit::MANUAL_AT_ONCE as usize;
    for index in 0..mutations.len() {
        if index % most == most - 1 {
            // as many as the allowance for wishes gives
            tokio::time::sleep(issuance_limit::MANUAL_PACE * issuance_limit::MANUAL_AT_ONCE).await;
            mutations = made(&rig);
        }
        let mutation = &mutations[index];
        let before = rig.status().counts.failures;
        let body = mutation.body.clone();
        rig.issuer.set_script(move |_| Ok(body.clone()));
        rig.running.as_ref().unwrap().force.all();
        let status = rig
            .until(secs(5), |status| status.counts.failures > before)
            .await;
        let failed = status.manual_renewal.unwrap().outcome.unwrap_err();
        assert_eq!(failed.class, FailureClass::BadAnswer, "{}", mutation.name);
        assert_eq!(failed.code, mutation.code, "{}: {failed}", mutation.name);
        assert!(
            rig.tree() == tree,
            "{}: the live set changed",
            mutation.name
        );
    }
}
