//! One agent holds a certificate directory; another one stands by and takes over.

use std::{fs, path::Path, time::Duration};

use super::rig::{Rig, secs};
use crate::{exit::Exit, publish::HELD, testing::ca::Authority};

/// A second agent on the same directory, with the same issuer and clock.
fn second(first: &Rig) -> Rig {
    let mut rig = Rig::new();
    rig.clock = std::sync::Arc::clone(&first.clock);
    rig.issuer = std::sync::Arc::clone(&first.issuer);
    rig.ca = std::sync::Arc::clone(&first.ca);
    rig.configs.clone_from(&first.configs);
    rig
}

#[tokio::test(start_paused = true)]
async fn a_second_agent_does_nothing_until_the_first_ends_and_then_takes_over_at_once() {
    let mut first = Rig::new();
    first.start();
    let live = first.until_live().await.live;
    let mut next = second(&first);
    next.start();
    tokio::time::sleep(secs(3_600)).await;
    let waiting = next.status();
    assert!(waiting.live.is_none() && waiting.failure.is_none());
    let holder = waiting.standby.unwrap();
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    assert_eq!(waiting.counts.issuance_requests + waiting.counts.repairs, 0);
    // a wish is answered, not kept
    next.running.as_ref().unwrap().force.all();
    let asked = next
        .until(secs(5), |status| status.manual_renewal.is_some())
        .await;
    assert_eq!(
        asked.manual_renewal.unwrap().outcome.unwrap_err().code,
        HELD
    );
    // damage is put right once, by the holder
    fs::remove_file(first.dir().join("key.pem")).unwrap();
    tokio::time::sleep(secs(120)).await;
    assert_eq!(first.status().counts.repairs, 1);
    assert_eq!(next.status().counts.repairs, 0);
    assert_eq!(first.stop().await, Exit::Done);
    let taken = next.until(secs(3), |status| status.live.is_some()).await;
    assert_eq!(taken.live, live, "the same certificate");
    assert_eq!((taken.standby, first.issuer.count()), (None, 1));
    next.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_never_gives_up_although_its_first_start_takes_long() {
    let mut first = Rig::new();
    first.start();
    first.until_live().await;
    let mut next = second(&first);
    next.configs[0].renew.startup_timeout = secs(5);
    next.start();
    tokio::time::sleep(secs(7_200)).await;
    first.stop().await;
    next.until(secs(3), |status| status.live.is_some()).await;
    next.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_removed_has_one_holder_again_and_no_second_issuance() {
    let mut first = Rig::new();
    first.start();
    first.until_live().await;
    let mut next = second(&first);
    next.start();
    tokio::time::sleep(secs(10)).await;
    for _ in 0..20 {
        fs::remove_dir_all(first.dir()).unwrap();
        tokio::time::sleep(secs(90)).await;
        let live = [&first, &next].map(|rig| u32::from(rig.status().live.is_some()));
        assert_eq!(live.iter().sum::<u32>(), 1, "{live:?}");
        assert!(first.dir().join("key.pem").exists());
    }
    assert!(first.issuer.count() <= 21);
    first.stop().await;
    next.stop().await;
}

/// A file of extra anchors, and how it is spoilt.
fn spoil(path: &Path, how: &str) {
    fs::remove_file(path).unwrap();
    match how {
        "gone" => {}
        "a directory" => fs::create_dir(path).unwrap(),
        "a FIFO" => {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        }
        "cut" => fs::write(path, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap(),
        _ => fs::write(path, how).unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn extra_anchors_that_cannot_be_read_stop_nothing_and_stay_as_they_were() {
    for how in ["gone", "a directory", "a FIFO", "cut", "nonsense", ""] {
        let mut rig = Rig::of_ttl(secs(3_600));
        let path = rig.temp.path().join("extra.pem");
        let extra = Authority::root("Extra Root", super::rig::EPOCH);
        fs::write(&path, extra.pem()).unwrap();
        rig.configs[0].extra_ca = Some(path.clone());
        rig.start();
        assert_eq!(rig.until_live().await.extra_ca, None);
        assert_eq!(rig.status().anchors.len(), 2, "{how}");
        spoil(&path, how);
        // while it runs, and over a restart
        for restart in [false, true] {
            if restart {
                rig.stop().await;
                rig.start();
                rig.until_live().await;
            }
            let before = rig.status().counts.published;
            let status = rig
                .until(secs(3_600), |status| status.counts.published > before)
                .await;
            assert_eq!(status.extra_ca.unwrap().code, "extra-ca", "{how}");
            assert_eq!(status.anchors.len(), 2, "{how}");
        }
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_start_without_its_extra_anchors_gets_its_certificate() {
    let mut rig = Rig::new();
    let path = rig.temp.path().join("extra.pem");
    rig.configs[0].extra_ca = Some(path.clone());
    rig.configs[0].ca_poll_interval = Duration::ZERO;
    rig.start();
    let status = rig.until_live().await;
    assert_eq!(status.extra_ca.unwrap().code, "extra-ca");
    assert_eq!(status.anchors.len(), 1);
    // it is taken up when it comes
    let extra = Authority::root("Extra Root", super::rig::EPOCH);
    fs::write(&path, extra.pem()).unwrap();
    let status = rig
        .until(secs(700), |status| status.anchors.len() == 2)
        .await;
    assert_eq!(status.extra_ca, None);
    rig.stop().await;
}
