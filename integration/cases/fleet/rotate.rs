//! `certagent fleet ca rotate` on one agent: at a terminal, and for an intermediate. With many agents it is in `ca`.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    ca::{Fleet, certificate},
    text,
};
use crate::rig::{PATIENCE, Process};

fn one(mount: &str) -> Fleet {
    Fleet::of(1, |place, _| {
        let block = certificate(place, "one", "2s", Some("true"));
        block.replace("mount = \"pki\"", &format!("mount = {mount:?}"))
    })
}

fn issuers(fleet: &Fleet, mount: &str) -> usize {
    let path = format!("{mount}/issuers");
    let listed = fleet.server.request("LIST", &path, None).json();
    listed["data"]["keys"].as_array().unwrap().len()
}

/// At a terminal of its own (script(1)) with 60 columns: each question gets its answer, and leaves are renewed
/// when that is waited for.
fn answered(fleet: &Fleet, answers: &[&str]) -> (Option<i32>, String) {
    let old = fleet.root();
    let rotate = fleet.command(&["ca", "rotate", "--from", &old]);
    let words = [rotate.get_program()].into_iter().chain(rotate.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut command = Command::new("script");
    fleet.place.fit_out(&mut command);
    let line = format!("stty cols 60; exec {}", words.join(" "));
    let mut terminal = command
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = terminal.stdin.take().unwrap();
    let mut output = terminal.stdout.take().unwrap();
    let (mut said, mut given, mut renewed) = (Vec::new(), 0, false);
    let mut chunk = [0; 1024];
    while let Some(count) = output.read(&mut chunk).ok().filter(|count| *count > 0) {
        said.extend(&chunk[..count]);
        if text(&said).matches("do it? [y/N] ").count() > given {
            writeln!(input, "{}", answers[given]).unwrap();
            given += 1;
        }
        if !renewed && text(&said).contains("waiting until the leaves are new") {
            fleet.renew();
            renewed = true;
        }
    }
    assert_eq!(given, answers.len(), "{}", text(&said));
    (terminal.wait().unwrap().code(), text(&said))
}

#[test]
#[ignore = "needs openbao"]
fn at_a_terminal_each_step_is_shown_and_asked_for() {
    let fleet = one("pki");
    let first = fleet.default_issuer();
    let (exit, said) = answered(&fleet, &["n"]);
    assert_eq!(exit, Some(1), "{said}");
    for wanted in [
        "make a root beside CN=test root",
        "do it? [y/N]",
        "stopped before that step",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(issuers(&fleet, "pki"), 1, "nothing was done");

    let (exit, said) = answered(&fleet, &["y", "no"]);
    assert_eq!(exit, Some(1), "{said}");
    for wanted in [
        "new: CN=test root ",
        "the default issuer: every instance trusts it",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(issuers(&fleet, "pki"), 2);
    assert_eq!(fleet.default_issuer(), first, "the second answer was no");

    let old = fleet.root();
    let (exit, said) = answered(&fleet, &["y", "yes"]);
    assert_eq!(exit, Some(0), "{said}");
    let (none, all) = ("░".repeat(30), "█".repeat(30));
    for goal in ["the leaves are new", "the old root is out"] {
        let begun = format!("waiting until {goal} {none} 0 of 1\r\n");
        let over = format!("\u{1b}[2A\u{1b}[Jwaiting until {goal} ");
        assert!(said.contains(&begun) && said.contains(&over), "{said}");
    }
    assert_eq!(
        said.matches(&format!("{all}\u{1b}[0m 1 of 1")).count(),
        2,
        "{said}"
    );
    let blockers: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("  one "))
        .collect();
    assert!(
        !blockers.is_empty() && blockers.iter().all(|line| line.len() < 60),
        "{said}"
    );
    assert_ne!(fleet.root(), old);
}

/// Runs it to its end, and says the subject of the root that there is then.
fn replaced(fleet: &Fleet) -> String {
    let root = fleet.root();
    let mut rotating =
        Process::start(&mut fleet.command(&["ca", "rotate", "--yes", "--from", &root]));
    rotating.wait_for_line("waiting until the leaves are new", 2 * PATIENCE);
    fleet.renew();
    let exit = rotating.wait(2 * PATIENCE).code();
    assert_eq!(exit, Some(0), "{}", rotating.output());
    let said = rotating.stdout();
    for goal in [
        "the new root is trusted",
        "the leaves are new",
        "the old root is out",
    ] {
        let whole = format!("waiting until {goal} {} 1 of 1\n", "█".repeat(30));
        assert!(said.contains(&whole), "{said}");
    }
    assert!(!said.contains('\u{1b}'), "no terminal: {said}");
    let found: Value = serde_json::from_slice(&fleet.ask(&["-o", "json"]).stdout).unwrap();
    found["rows"][0]["leaf"]["issuer"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
#[ignore = "needs openbao"]
fn two_changes_of_one_day_leave_two_names_and_bars_in_a_log() {
    let fleet = one("pki");
    let (first, second) = (replaced(&fleet), replaced(&fleet));
    assert_ne!(first, second);
    for name in [&first, &second] {
        let time = name
            .strip_prefix("CN=test root ")
            .unwrap_or_else(|| panic!("{name}"));
        assert!(time.len() == 20 && time.ends_with('Z'), "{name}");
    }
}

#[test]
#[ignore = "needs openbao"]
fn an_intermediate_is_replaced_below_the_same_root() {
    let (fleet, mount) = (one("pki_int"), "pki_int");
    let write = |path: &str, body| fleet.server.write(path, &body)["data"].clone();
    let name = json!({ "common_name": "second intermediate", "key_type": "ec" });
    let made = write("pki_int/intermediate/generate/internal", name);
    let signed = json!({ "csr": made["csr"], "format": "pem_bundle", "ttl": "43800h" });
    let signed = write("pki/root/sign-intermediate", signed);
    let set = json!({ "certificate": signed["certificate"] });
    let set = write("pki_int/intermediate/set-signed", set);
    let new = set["imported_issuers"][0].as_str().unwrap();
    let (before, root) = (issuers(&fleet, mount), fleet.root());

    let rotate = ["ca", "rotate", "--yes", "--mount", mount, "--to", new];
    let mut rotating = Process::start(&mut fleet.command(&rotate));
    rotating.wait_for_line("waiting until the leaves are new", PATIENCE);
    // Vault away for a moment ends nothing
    fleet.server.process().signal(Signal::STOP);
    rotating.wait_for_line("trying again: ", 2 * PATIENCE);
    fleet.server.process().signal(Signal::CONT);
    fleet.renew();
    let exit = rotating.wait(2 * PATIENCE).code();
    assert_eq!(exit, Some(0), "{}", rotating.output());
    let default = &fleet.server.read("pki_int/config/issuers")["data"]["default"];
    assert_eq!(default, new);
    assert_eq!(issuers(&fleet, mount), before - 1);
    assert_eq!(fleet.root(), root);
}
