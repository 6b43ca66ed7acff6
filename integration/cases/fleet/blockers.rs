//! What keeps a step of a change of the CA back because of how an application is set up, by a built agent on a real
//! OpenBao. The other blockers are in `ca`.

use std::{collections::BTreeMap, fs};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    ca::{Fleet, certificate},
    text, wait_until,
};
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
    let arguments = [&["ca", "-o", "json"], more].concat();
    wait_until(&(phase.to_owned(), wanted), || {
        let output = fleet.ask(&arguments);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let blockers = found["blockers"].as_array().into_iter().flatten();
        let blockers = blockers.map(|one| {
            let (name, _) = one["instance"].as_str().unwrap().split_once(' ').unwrap();
            (name.to_owned(), one["why"].as_str().unwrap().to_owned())
        });
        let phase = found["phase"].as_str().unwrap_or_default();
        (phase.to_owned(), blockers.collect())
    });
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
    let shown = text(&fleet.ask(&[&["ca"], assumed.as_slice()].concat()).stdout);
    let second = fleet.server.read("pki/issuer/second")["data"]["issuer_id"].clone();
    let next = format!(
        "\n  bao write pki/config/issuers default={}\n",
        second.as_str().unwrap()
    );
    assert!(shown.contains(&next), "{shown}");
    assert!(
        shown.contains("\nby the renewal times this is over in "),
        "{shown}"
    );

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

#[test]
#[ignore = "needs openbao"]
fn a_root_that_is_nowhere_or_not_in_every_file_keeps_the_step_back() {
    let fleet = Fleet::of(1, |place, _| {
        let each = ["polls", "late"].map(|name| certificate(place, name, "2s", Some("true")));
        let [polls, late] = each;
        polls + &late.replace("ca_poll_interval = \"2s\"", "ca_poll_interval = \"1h\"")
    });
    let shown = || text(&fleet.ask(&["ca"]).stdout);
    let line = |name: &str| {
        let all = shown();
        let found = all.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("{all}")).to_owned()
    };
    let none = fleet.ask(&["ca", "--wait", "trusted", "--timeout", "1s"]);
    assert_eq!(none.status.code(), Some(7), "{none:?}");
    let said = text(&none.stdout);
    assert!(
        said.contains("  the fleet: no new root is seen anywhere\n"),
        "{said}"
    );
    let wait = &["--wait", "trusted", "--timeout", "1s"];
    until(&fleet, "one-root", wait, &[("the", "no-new")]);
    assert!(line("no change is under way").contains("`certagent fleet ca rotate`"));

    let root = json!({ "common_name": "Second Root", "key_type": "ec" });
    fleet.server.write("pki/root/generate/internal", &root);
    until(&fleet, "not-trusted", &[], &[("late", "not-on-disk")]);
    assert_eq!(code(&fleet, "trusted", &[]), Some(7));
    // the new one is the first column
    assert!(line("polls ").ends_with("  ●         ●✓"), "{}", shown());
    assert!(line("late ").ends_with("            ●✓"), "{}", shown());
    assert!(line("  certagent fleet ca --wait trusted").contains("--target "));
}
