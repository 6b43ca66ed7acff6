//! `certagent dev`: a newcomer sees the whole life of a certificate; others get a test server.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;

use crate::rig::{PATIENCE, Process, certagent, http};

#[test]
fn a_newcomer_sees_login_issue_publish_and_renewals() {
    let dir = tempfile::tempdir().unwrap();
    let dir_text = dir.path().to_str().unwrap();
    let mut dev = Process::start(&mut certagent([
        "dev",
        "--ttl",
        "4s",
        "--renewals",
        "2",
        "--dir",
        dir_text,
    ]));
    let status = dev.wait(Duration::from_secs(60));
    let output = dev.output();
    assert_eq!(status.code(), Some(0), "{output}");
    let stdout = dev.stdout();
    let verbs: Vec<&str> = stdout
        .lines()
        .filter_map(|line| line.split("s  ").nth(1)?.split_whitespace().next())
        .filter(|verb| ["login", "issue", "publish", "renew", "logout"].contains(verb))
        .collect();
    assert_eq!(
        verbs,
        [
            "login", "issue", "publish", "issue", "renew", "issue", "renew", "logout"
        ],
        "{output}"
    );
    assert!(stdout.contains("renewals   2"), "{output}");
    let certs = dir.path().join("secrets/certs");
    for name in ["CA.pem", "cert.pem", "key.pem"] {
        assert!(
            certs.join(name).is_file(),
            "{name} stays in a given directory"
        );
    }
    let root = fs::read_to_string(dir.path().join("root-token")).unwrap();
    assert!(!output.contains(root.trim()), "the root token is not shown");
}

#[test]
fn the_pki_alone_serves_others_until_a_signal() {
    let parent = tempfile::tempdir().unwrap();
    let mut command = certagent(["dev", "--pki-only"]);
    command.env("TMPDIR", parent.path());
    let mut dev = Process::start(&mut command);
    dev.wait_for_line("ready", PATIENCE);
    let stdout = dev.stdout();
    let after = |label: &str| {
        let line = stdout.lines().find(|line| line.starts_with(label));
        let value = line.unwrap_or_default()[label.len()..].trim();
        value.split([' ', ',']).next().unwrap().to_owned()
    };
    let address = after("address");
    let jwt = fs::read_to_string(PathBuf::from(after("jwt"))).unwrap();
    let body = json!({ "jwt": jwt });
    let path = "/v1/auth/jwt-nomad/login";
    let login = http::request(&address, None, "POST", path, &[], Some(&body)).unwrap();
    assert_eq!(login.status, 200, "{}", login.text);
    let token = fs::read_to_string(after("root token")).unwrap();
    let headers = [("X-Vault-Token", token.as_str())];
    let path = "/v1/pki/roles/internal";
    let role = http::request(&address, None, "GET", path, &headers, None).unwrap();
    assert_eq!(role.status, 200, "{}", role.text);
    dev.signal(Signal::TERM);
    assert_eq!(dev.wait(PATIENCE).code(), Some(0), "{}", dev.output());
    let left = fs::read_dir(parent.path()).unwrap().count();
    assert_eq!(left, 0, "the temporary directory is gone");
}

#[test]
fn the_pki_never_listens_beyond_loopback() {
    let parent = tempfile::tempdir().unwrap();
    let mut command = certagent(["dev", "--pki-only", "--listen", "0.0.0.0:0"]);
    command.env("TMPDIR", parent.path());
    let mut dev = Process::start(&mut command);
    assert_eq!(dev.wait(PATIENCE).code(), Some(2), "{}", dev.output());
    assert!(dev.stderr().contains("loopback only"), "{}", dev.output());
    assert!(is_empty(parent.path()));
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}
