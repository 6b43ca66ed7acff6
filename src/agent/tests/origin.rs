//! Mode auto: who makes the key, what is remembered, and how many orders that takes.

use std::sync::{Arc, Mutex};

use super::rig::{DAY, Rig, answer, secs};
use crate::{
    model::{
        failure::{Failure, FailureClass},
        origin::{KEY_NOT_ALLOWED, KeyOrigin, PERMISSION_DENIED},
        request::{KeyType, Mode},
    },
    testing::issuer::failure,
};

/// What the token's policy grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grants {
    Both,
    Sign,
    Issue,
    Neither,
}

/// An agent in mode auto, and the policy, to be changed while it runs.
fn auto(grants: Grants) -> (Rig, Arc<Mutex<Grants>>) {
    let mut rig = Rig::new();
    rig.look = secs(7_200);
    rig.configs[0].request.mode = Mode::Auto;
    rig.configs[0].request.key_type_open = true;
    let policy = Arc::new(Mutex::new(grants));
    let (ca, now) = (Arc::clone(&rig.ca), Arc::clone(&policy));
    rig.issuer.set_script(move |call| {
        let granted = match *now.lock().unwrap() {
            Grants::Both => true,
            Grants::Sign => call.csr.is_some(),
            Grants::Issue => call.csr.is_none(),
            Grants::Neither => false,
        };
        if granted {
            Ok(answer(&ca, call))
        } else {
            Err(failure(FailureClass::Denied, PERMISSION_DENIED))
        }
    });
    (rig, policy)
}

/// One letter an order: s for a CSR, i for a key that Vault makes.
fn orders(rig: &Rig) -> String {
    let calls = rig.issuer.calls().into_iter();
    calls
        .map(|call| if call.csr.is_some() { 's' } else { 'i' })
        .collect()
}

async fn renewed(rig: &mut Rig, times: u64) {
    rig.until(10 * DAY, |status| status.counts.published == times)
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_grants_is_found_out_once() {
    for (grants, wanted) in [
        (Grants::Both, "sss"),
        (Grants::Sign, "sss"),
        (Grants::Issue, "siii"),
    ] {
        let (mut rig, _policy) = auto(grants);
        rig.start();
        for times in 1..=3 {
            renewed(&mut rig, times).await;
        }
        assert_eq!(orders(&rig), wanted, "{grants:?}");
        let learned = rig.status().key_origin.unwrap();
        let because = (grants == Grants::Issue).then(|| PERMISSION_DENIED.to_owned());
        assert_eq!(learned.because, because, "{grants:?}");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_neither_is_granted_each_attempt_tries_both_and_the_plan_paces_them() {
    let (mut rig, policy) = auto(Grants::Neither);
    rig.configs[0].renew.startup_timeout = 10 * DAY;
    rig.start();
    tokio::time::sleep(secs(3_600)).await;
    let tried = orders(&rig);
    assert_eq!(tried.replace("si", ""), "", "{tried}");
    // Refused logins and requests are planned at most a minute apart before there is a certificate.
    assert!((60..=150).contains(&(tried.len() / 2)), "{}", tried.len());
    let failure = rig.status().failure.unwrap().last;
    assert_eq!(failure.class, FailureClass::Denied);
    let hint = failure.hint.unwrap();
    assert!(
        hint.contains("pki/sign/internal") && hint.contains("pki/issue/internal"),
        "{hint}"
    );
    *policy.lock().unwrap() = Grants::Issue;
    renewed(&mut rig, 1).await;
    assert!(orders(&rig).ends_with("si"));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changes_in_mid_life_costs_one_refused_order() {
    let (mut rig, policy) = auto(Grants::Sign);
    rig.start();
    renewed(&mut rig, 1).await;
    let mut wanted = "s".to_owned();
    for (times, grants, more) in [
        (2, Grants::Issue, "si"),
        (3, Grants::Issue, "i"),
        // what works stays in use, also when more is granted
        (4, Grants::Both, "i"),
        (5, Grants::Sign, "is"),
        (6, Grants::Sign, "s"),
    ] {
        *policy.lock().unwrap() = grants;
        renewed(&mut rig, times).await;
        wanted.push_str(more);
        assert_eq!(orders(&rig), wanted, "{grants:?}");
    }
    let status = rig.status();
    assert_eq!(status.counts.failures, 0, "no attempt failed");
    assert_eq!(status.key_origin.unwrap().because, None);
}

#[tokio::test(start_paused = true)]
async fn a_manual_renewal_signs_again_where_that_is_granted_now() {
    let (mut rig, policy) = auto(Grants::Issue);
    rig.start();
    renewed(&mut rig, 1).await;
    *policy.lock().unwrap() = Grants::Both;
    rig.running.as_ref().unwrap().force.all();
    renewed(&mut rig, 2).await;
    assert_eq!(orders(&rig), "sis");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_wants_another_key_gets_it_without_its_leaving_the_machine() {
    let (mut rig, _policy) = auto(Grants::Both);
    let ca = Arc::clone(&rig.ca);
    let mut first = true;
    rig.issuer.set_script(move |call| {
        if std::mem::take(&mut first) {
            let text = "400 role requires a minimum of a 384-bit key, but CSR's key is 256 bits";
            return Err(Failure {
                message: text.to_owned(),
                ..failure(FailureClass::Misconfigured, KEY_NOT_ALLOWED)
            });
        }
        Ok(answer(&ca, call))
    });
    rig.start();
    renewed(&mut rig, 1).await;
    renewed(&mut rig, 2).await;
    assert_eq!(orders(&rig), "sss");
    let learned = rig.status().key_origin.unwrap();
    assert_eq!(learned.origin, KeyOrigin::Here(KeyType::EcP384));
}
