//! A manual renewal that replaces a key which others may know.

use super::rig::*;
use crate::{control::Wish, model::failure::FailureClass, testing::issuer::failure};

const LEAKED: Wish = Wish {
    new_key: true,
    revoke_old: true,
};

fn ask(rig: &Rig, wish: Wish) {
    assert!(rig.running.as_ref().unwrap().force.one("main", wish));
}

#[tokio::test(start_paused = true)]
async fn the_old_certificate_is_revoked_once_the_new_one_is_published() {
    let mut rig = Rig::new();
    rig.start();
    let before = rig.until_live().await.live.unwrap();
    ask(&rig, LEAKED);
    let after = rig
        .until(secs(60), |status| status.manual_renewal.is_some())
        .await;
    let answer = after.manual_renewal.unwrap();
    let new = after.live.unwrap();
    assert_eq!(answer.outcome.unwrap(), new.serial);
    assert_eq!(answer.revoked.len(), 1);
    assert_eq!(answer.revoked[0].serial, before.serial);
    assert_eq!(answer.revoked[0].outcome, Ok(()));
    assert_eq!(
        rig.issuer.revoked(),
        [answer.revoked[0].certificate.clone()]
    );
    // once: a plain renewal revokes nothing
    ask(&rig, Wish::default());
    rig.until(secs(60), |status| status.counts.published == 3)
        .await;
    assert_eq!(rig.issuer.revoked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_fails_leaves_the_new_certificate_and_is_answered() {
    let mut rig = Rig::new();
    rig.start();
    rig.until_live().await;
    rig.issuer
        .set_revocation(Err(failure(FailureClass::Denied, "permission-denied")));
    ask(&rig, LEAKED);
    let after = rig
        .until(secs(60), |status| status.manual_renewal.is_some())
        .await;
    let answer = after.manual_renewal.unwrap();
    assert_eq!(answer.outcome.unwrap(), after.live.unwrap().serial);
    let refused = answer.revoked[0].outcome.as_ref().unwrap_err();
    assert_eq!(refused.code, "permission-denied");
    assert!(answer.revoked[0].certificate.starts_with("-----BEGIN CERT"));
    assert_eq!(after.failure, None, "the renewal itself is fine");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_revoked_when_the_renewal_fails() {
    let mut rig = Rig::new();
    rig.start();
    rig.until_live().await;
    rig.issuer
        .set_script(|_| Err(failure(FailureClass::Denied, "permission-denied")));
    ask(&rig, LEAKED);
    let after = rig
        .until(secs(60), |status| status.manual_renewal.is_some())
        .await;
    assert!(after.manual_renewal.unwrap().outcome.is_err());
    rig.issuer.set_script(good(&rig.ca));
    rig.until(10 * DAY, |status| status.counts.published == 2)
        .await;
    assert_eq!(rig.issuer.revoked().len(), 0, "the wish was answered");
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_comes_during_a_renewal_revokes_what_was_published_then() {
    let mut rig = Rig::new();
    rig.start();
    let before = rig.until_live().await.live.unwrap();
    rig.issuer.set_latency(secs(10));
    ask(&rig, Wish::default());
    tokio::time::sleep(secs(5)).await;
    ask(&rig, LEAKED);
    let after = rig
        .until(secs(60), |status| status.manual_renewal.is_some())
        .await;
    let revoked = after.manual_renewal.unwrap().revoked;
    let serials: Vec<&str> = revoked.iter().map(|one| one.serial.as_str()).collect();
    assert_eq!(serials, [before.serial.as_str()]);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_comes_although_keys_are_kept() {
    let mut rig = Rig::new();
    let request = &mut rig.configs[0].request;
    (request.mode, request.reuse_key) = (crate::model::request::Mode::Sign, true);
    rig.start();
    rig.until_live().await;
    let file = rig.configs[0].files.dir.join("key.pem");
    let key = || std::fs::read_to_string(&file).unwrap();
    let mut keys = vec![key()];
    for (wish, published) in [(Wish::default(), 2), (LEAKED, 3), (Wish::default(), 4)] {
        ask(&rig, wish);
        rig.until(secs(60), |status| status.counts.published == published)
            .await;
        keys.push(key());
    }
    assert_eq!(keys[0], keys[1], "kept");
    assert_ne!(keys[1], keys[2], "others may know it");
    assert_eq!(keys[2], keys[3], "kept again");
}
