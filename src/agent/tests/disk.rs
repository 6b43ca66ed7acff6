//! Files that another process changes, disks that refuse, ends in every state.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::rig::{DAY, Rig, answer, config, good, secs};
use crate::{
    exit::Exit,
    model::{failure::FailureClass, record::Record},
    testing::{ca::TestCa, issuer::failure},
};

/// What another process may do to the files, by name.
type Damage<'a> = (&'static str, Box<dyn Fn() + 'a>);

/// Another process holds the directory's lock until this is dropped: nothing can be written.
fn hold(dir: &std::path::Path) -> fs::File {
    let dir = fs::File::open(dir).unwrap();
    flock(&dir, FlockOperation::NonBlockingLockExclusive).unwrap();
    dir
}

#[tokio::test(start_paused = true)]
async fn an_issued_pair_that_cannot_be_written_is_kept_and_not_issued_again() {
    let mut rig = Rig::new();
    let held = Arc::new(Mutex::new(None));
    let (ca, dir, holder) = (Arc::clone(&rig.ca), rig.dir(), Arc::clone(&held));
    rig.issuer.set_script(move |call| {
        *holder.lock().unwrap() = Some(hold(&dir));
        Ok(answer(&ca, call))
    });
    rig.configs[0].renew.startup_timeout = 10 * DAY;
    rig.start();
    tokio::time::sleep(DAY).await;
    let status = rig.status();
    assert!(status.publish_pending && status.live.is_none());
    assert_eq!(status.failure.unwrap().last.class, FailureClass::Local);
    assert_eq!(rig.issuer.count(), 1, "it was paid for once");
    held.lock().unwrap().take();
    rig.until(secs(90), |status| status.live.is_some()).await;
    assert_eq!(rig.issuer.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_put_on_record_is_not_sent() {
    let mut rig = Rig::new();
    fs::create_dir_all(rig.dir()).unwrap();
    let held = hold(&rig.dir());
    rig.start();
    tokio::time::sleep(secs(300)).await;
    assert_eq!(rig.issuer.count(), 0);
    assert_eq!(
        rig.status().failure.unwrap().last.class,
        FailureClass::Local
    );
    drop(held);
    rig.until(secs(60), |status| status.live.is_some()).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_never_works_ends_the_first_start_with_its_code() {
    let mut rig = Rig::new();
    fs::create_dir_all(rig.dir().parent().unwrap()).unwrap();
    crate::publish::file::replace(&rig.dir(), b"a file", 0o600).unwrap();
    rig.start();
    assert_eq!(rig.ended().await, Exit::CannotPublish);
    assert_eq!(rig.issuer.count(), 0);
}

#[tokio::test]
async fn changed_files_are_put_right_within_two_seconds_without_an_order() {
    let mut rig = Rig::new();
    rig.watching = true;
    rig.start();
    rig.until_live().await;
    let files = rig.files();
    let dir = rig.dir();
    let damages: [Damage<'_>; 7] = [
        (
            "truncated",
            Box::new(|| {
                drop(
                    fs::File::options()
                        .write(true)
                        .truncate(true)
                        .open(dir.join("cert.pem"))
                        .unwrap(),
                )
            }),
        ),
        (
            "deleted link",
            Box::new(|| fs::remove_file(dir.join("key.pem")).unwrap()),
        ),
        (
            "deleted file",
            Box::new(|| fs::remove_file(dir.join("..data/key.pem")).unwrap()),
        ),
        (
            "mode",
            Box::new(|| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
                fs::set_permissions(dir.join("key.pem"), mode).unwrap();
            }),
        ),
        (
            "swapped",
            Box::new(|| {
                fs::copy(dir.join("..data/cert.pem"), dir.join("..data/CA.pem"))
                    .map(drop)
                    .unwrap();
            }),
        ),
        (
            "no ..data",
            Box::new(|| fs::remove_file(dir.join("..data")).unwrap()),
        ),
        (
            "whole directory",
            Box::new(|| fs::remove_dir_all(&dir).unwrap()),
        ),
    ];
    for (index, (name, damage)) in damages.iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(700)).await;
        damage();
        let repairs = index as u64 + 1;
        let fixed = rig
            .until(secs(2), |status| status.counts.repairs >= repairs)
            .await;
        assert_eq!(rig.files(), files, "{name}");
        assert_eq!(fixed.counts.issuance_requests, 1, "{name}");
    }
    assert_eq!(rig.stop().await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_start_repairs_what_was_damaged_meanwhile() {
    let mut rig = Rig::new();
    rig.start();
    rig.until_live().await;
    let files = rig.files();
    for name in ["CA.pem", "cert.pem", "key.pem"] {
        rig.stop().await;
        fs::remove_file(rig.dir().join(name)).unwrap();
        rig.start();
        rig.until_live().await;
        assert_eq!(rig.files(), files);
    }
    assert_eq!(rig.issuer.count(), 1);
    rig.stop().await;
    fs::remove_file(rig.dir().join("..state.json")).unwrap();
    rig.start();
    rig.until(secs(60), |status| status.counts.published == 1)
        .await;
    assert_eq!(
        rig.issuer.count(),
        2,
        "losing the record costs one early renewal"
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_of_the_old_form_is_set_aside_and_the_files_are_used_again() {
    let mut rig = Rig::new();
    rig.start();
    let before = rig.until_live().await.live.unwrap();
    let files = rig.files();
    rig.stop().await;
    let old = format!(
        r#"{{"generation":"{}","obtained_at":1,"outbox":{{"serial":"{}","reloaded":1,"delivered":true}}}}"#,
        before.generation, before.serial
    );
    crate::publish::file::replace(&rig.dir().join("..state.json"), old.as_bytes(), 0o600).unwrap();
    rig.issuer
        .set_script(|_| Err(failure(FailureClass::Transport, "connect")));
    rig.start();
    let status = rig.until(secs(60), |status| status.live.is_some()).await;
    assert_eq!(status.live.unwrap().serial, before.serial);
    assert_eq!(rig.files(), files);
    rig.stop().await;
    let text = fs::read_to_string(rig.dir().join("..state.json")).unwrap();
    assert!(Record::parse(text.as_bytes()).is_ok(), "{text}");
}

#[tokio::test(start_paused = true)]
async fn new_issuers_of_the_mount_reach_ca_pem_without_an_order() {
    let mut rig = Rig::new();
    rig.start();
    let before = rig.until_live().await;
    let [ca, cert, key] = rig.files();
    let next = TestCa::new(super::rig::EPOCH);
    rig.issuer
        .set_anchors(Ok([rig.ca.issuers(), next.issuers()].concat()));
    rig.until(secs(700), |status| {
        status.anchors.len() > before.anchors.len()
    })
    .await;
    let [more, same_cert, same_key] = rig.files();
    assert!(more.contains(ca.trim()) && more.contains(next.root.pem().trim()));
    assert_eq!((same_cert, same_key), (cert, key));
    rig.issuer
        .set_anchors(Err(failure(FailureClass::Transport, "connect")));
    tokio::time::sleep(DAY).await;
    assert_eq!(rig.files()[0], more, "a failed poll changes nothing");
    rig.issuer.set_anchors(Ok(rig.ca.issuers()));
    tokio::time::sleep(2 * DAY).await;
    assert_eq!(rig.files()[0], more, "the overlap is three days");
    tokio::time::sleep(2 * DAY).await;
    assert_eq!(rig.files()[0], ca);
    assert_eq!(rig.issuer.count(), 1);
    let polls = rig.issuer.polls().len();
    assert!(
        (600..=820).contains(&polls),
        "{polls} polls in five days, one each ten minutes"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_files_have_what_the_mount_has() {
    let next = TestCa::new(super::rig::EPOCH);
    for slow in [Duration::ZERO, secs(1)] {
        let mut rig = Rig::new();
        rig.issuer
            .set_anchors(Ok([rig.ca.issuers(), next.issuers()].concat()));
        rig.issuer.set_list_latency(slow);
        rig.start();
        rig.until_live().await;
        assert!(rig.files()[0].contains(next.root.pem().trim()), "{slow:?}");
        tokio::time::sleep(secs(60)).await;
        assert_eq!(rig.status().counts.published, 1, "{slow:?}");
    }
    // A list that never comes, or is refused, holds nothing back.
    for (slow, list) in [
        (DAY, Ok(next.issuers())),
        (Duration::ZERO, Err(failure(FailureClass::Denied, "policy"))),
    ] {
        let mut rig = Rig::new();
        rig.issuer.set_anchors(list);
        rig.issuer.set_list_latency(slow);
        rig.start();
        rig.until_live().await;
        assert_eq!(rig.issuer.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_issuer_is_in_ca_pem_right_after_the_poll_that_found_it() {
    let mut rig = Rig::new();
    rig.configs[0].ca_poll_interval = secs(5);
    rig.start();
    let before = rig.until_live().await;
    tokio::time::sleep(secs(60)).await;
    let next = TestCa::new(super::rig::EPOCH);
    rig.issuer
        .set_anchors(Ok([rig.ca.issuers(), next.issuers()].concat()));
    rig.until(secs(8), |status| {
        status.anchors.len() > before.anchors.len()
    })
    .await;
    assert_eq!(rig.issuer.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_within_a_second_in_every_state() {
    let hang = secs(86_400);
    // before anything happened, and with an order that never comes back
    for wait in [Duration::ZERO, Duration::from_millis(1), secs(5)] {
        let mut rig = Rig::new();
        rig.issuer.set_latency(hang);
        rig.start();
        tokio::time::sleep(wait).await;
        assert_eq!(rig.stop().await, Exit::Done, "after {wait:?}");
    }
    // more orders than may be under way at once
    let mut rig = Rig::new();
    for number in 0..80 {
        let config = config(&rig.temp, &number.to_string());
        rig.configs.push(config);
    }
    rig.issuer.set_latency(hang);
    rig.start();
    tokio::time::sleep(secs(5)).await;
    assert_eq!(rig.issuer.count(), crate::agent::MAX_CONCURRENT_ISSUANCES);
    assert_eq!(rig.stop().await, Exit::Done);
    // between retries, idle, out of budget
    let mut rig = Rig::new();
    rig.issuer
        .set_script(|_| Err(failure(FailureClass::Transport, "connect")));
    rig.start();
    tokio::time::sleep(secs(100)).await;
    assert_eq!(rig.stop().await, Exit::Done);
    rig.issuer.set_script(good(&rig.ca));
    rig.start();
    rig.until_live().await;
    tokio::time::sleep(secs(100)).await;
    assert_eq!(rig.stop().await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_just_after_the_signal_is_not_lost() {
    let mut rig = Rig::new();
    rig.issuer.set_latency(Duration::from_millis(300));
    rig.start();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.issuer.count(), 1);
    assert_eq!(rig.stop().await, Exit::Done);
    rig.start();
    let status = rig.until_live().await;
    assert_eq!(
        status.counts.issuance_requests, 0,
        "the set of the first run is used"
    );
}
