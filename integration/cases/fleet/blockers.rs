//! What keeps a step of a change of the CA back because of how an application is set up, by a built agent on a real
//! OpenBao. The other blockers are in `ca`.

use std::{collections::BTreeMap, fs};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::ca::{Fleet, certificate};
use crate::rig::{PATIENCE, Place, wait_for};

/// One application that keeps what left the mount, one whose reload can be made to fail, one without reload and probe.
fn applications(place: &Place, _: usize) -> String {
    let hook = format!("test ! -e {}", place.path("fail").display());
    [
        certificate(place, "keeps", "1h", Some("true")),
        certificate(place, "deaf", "2s", Some(&hook)),
        certificate(place, "silent", "2s", None),
    ]
    .concat()
}

/// Until exactly these keep the next step back.
fn until(fleet: &Fleet, phase: &str, more: &[&str], wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> = wanted
        .iter()
        .map(|(name, why)| ((*name).to_owned(), (*why).to_owned()))
        .collect();
    let mut last = Value::Null;
    let arguments = [&["ca", "-o", "json"], more].concat();
    let began = std::time::Instant::now();
    loop {
        let output = fleet.ask(&arguments);
        last = serde_json::from_slice(&output.stdout).unwrap_or(last);
        let blockers = last["blockers"].as_array().into_iter().flatten();
        let found: BTreeMap<String, String> = blockers
            .map(|one| {
                let (name, _) = one["instance"].as_str().unwrap().split_once(' ').unwrap();
                (name.to_owned(), one["why"].as_str().unwrap().to_owned())
            })
            .collect();
        if (last["phase"].as_str(), &found) == (Some(phase), &wanted) {
            return;
        }
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "wanted {phase} {wanted:?}, was {last:#}"
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

fn code(fleet: &Fleet, goal: &str, more: &[&str]) -> Option<i32> {
    let arguments = [&["ca", "--timeout", "1s", "--wait", goal], more].concat();
    fleet.ask(&arguments).status.code()
}

#[test]
#[ignore = "needs openbao"]
fn what_an_application_is_not_known_to_have_loaded_keeps_the_step_back() {
    let fleet = Fleet::of(1, applications);
    let (first, old) = (fleet.default_issuer(), fleet.root());
    let plain = &["--from", &old];
    let assumed = &["--from", &old, "--assume-loaded"];
    until(&fleet, "one-root", plain, &[]);

    let root = json!({ "common_name": "Second Root", "key_type": "ec", "issuer_name": "second" });
    fleet.server.write("pki/root/generate/internal", &root);
    until(&fleet, "not-trusted", plain, &[("silent", "load-unknown")]);
    assert_eq!(code(&fleet, "trusted", plain), Some(7));
    assert_eq!(code(&fleet, "trusted", assumed), Some(0));
    let all = ["keeps", "deaf", "silent"].map(|name| (name, "old-leaf"));
    until(&fleet, "trusted", assumed, &all);

    let default = json!({ "default": "second" });
    fleet.server.write("pki/config/issuers", &default);
    fleet.agents[0].signal(Signal::USR1);
    wait_for("new leaves", PATIENCE, || {
        (code(&fleet, "renewed", assumed) == Some(0)).then_some(())
    });
    fs::write(fleet.place.path("fail"), "").unwrap();
    let path = format!("pki/issuer/{first}");
    let gone = fleet.server.request("DELETE", &path, None);
    assert!(gone.status < 300, "{}", gone.text);
    let mut left = vec![("keeps", "old-on-disk"), ("deaf", "old-loaded")];
    until(&fleet, "renewed", assumed, &left);
    assert_eq!(code(&fleet, "removed", assumed), Some(7));

    fs::remove_file(fleet.place.path("fail")).unwrap();
    left.pop();
    until(&fleet, "renewed", assumed, &left);
}
