//! A key that others may know: `certagent renew --revoke-old`, on a real OpenBao with a role that stores nothing.

use std::{fs, process::Output};

use certagent::model::{leaf::CertFacts, pem};
use rustix::process::Signal;
use serde_json::json;

use crate::rig::{OpenBao, PATIENCE, Place, Process, wait_for};

/// OpenBao whose role is that of `nomad/vault/setup.sh` in what counts here; the policy may revoke by
/// private key or not.
fn server(may_revoke: bool) -> OpenBao {
    let server = OpenBao::ready();
    let role =
        json!({ "allow_any_name": true, "key_type": "any", "key_bits": 0, "no_store": true });
    server.write("pki_int/roles/internal", &role);
    if may_revoke {
        let policy = r#"path "pki_int/revoke-with-key" { capabilities = ["update"] }"#;
        server.write("sys/policies/acl/revoke", &json!({ "policy": policy }));
    }
    server
}

fn start(server: &OpenBao, settings: &[&str]) -> (Place, Process) {
    let body = json!({ "policies": ["certagent", "revoke"], "ttl": "1h" });
    let made = server.write("auth/token/create", &body);
    let mut place = Place::at(server);
    place.set(
        "VAULT_TOKEN",
        made["auth"]["client_token"].as_str().unwrap(),
    );
    place.set("CERTAGENT_STATUS_SOCKET", place.path("s/status.sock"));
    let process = Process::start(&mut place.agent(settings));
    wait_for("certificate files", PATIENCE, || place.files());
    (place, process)
}

fn serial(cert: &str) -> String {
    CertFacts::read(&pem::certificates(cert).unwrap()[0])
        .unwrap()
        .serial
}

fn crl_has(server: &OpenBao, serial: &str) -> bool {
    let crl = server.request("GET", "pki_int/crl/pem", None).text;
    let text = std::process::Command::new("openssl")
        .args(["crl", "-noout", "-text"])
        .stdin({
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), &crl).unwrap();
            fs::File::open(file.path()).unwrap()
        })
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap().to_lowercase();
    text.contains(&serial.replace(':', ""))
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

fn finish(mut process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(
        process.wait(PATIENCE).code(),
        Some(0),
        "{}",
        process.output()
    );
}

#[test]
#[ignore = "needs openbao"]
fn a_leaked_key_is_replaced_and_its_certificate_revoked_by_one_command() {
    let server = &server(true);
    for settings in [
        &["--ttl", "1h"][..],
        &["--ttl", "1h", "--mode", "sign", "--reuse-key"],
    ] {
        let (place, process) = start(server, settings);
        let [_, old, old_key] = place.files().unwrap();
        let done = place.ask(&["renew", "--revoke-old"]);
        let [_, new, new_key] = place.files().unwrap();
        let text = said(&done);
        assert_eq!(done.status.code(), Some(0), "{text}\n{}", process.output());
        assert!(
            text.contains(&format!("renewed, serial {}", serial(&new))),
            "{text}"
        );
        assert!(
            text.contains(&format!("revoked, serial {}", serial(&old))),
            "{text}"
        );
        assert_ne!(old_key, new_key);
        assert!(crl_has(server, &serial(&old)));
        assert!(!crl_has(server, &serial(&new)));
        // a plain renewal revokes nothing, and keeps the key where that is configured
        let plain = place.ask(&["renew"]);
        assert_eq!(plain.status.code(), Some(0), "{}", said(&plain));
        let [_, _, kept] = place.files().unwrap();
        assert_eq!(kept == new_key, settings.contains(&"--reuse-key"));
        assert!(!crl_has(server, &serial(&new)));
        let log = process.output();
        assert!(!log.contains("PRIVATE KEY"), "{log}");
        finish(process);
    }
}

#[test]
#[ignore = "needs openbao"]
fn a_revocation_that_is_denied_is_said_and_loses_nothing() {
    let server = &server(false);
    let (place, process) = start(server, &["--ttl", "1h"]);
    let [_, old, _] = place.files().unwrap();
    let done = place.ask(&["renew", "--revoke-old"]);
    let text = said(&done);
    let [_, new, _] = place.files().unwrap();
    assert_eq!(done.status.code(), Some(4), "{text}");
    assert_ne!(serial(&old), serial(&new), "the new set is published");
    assert!(
        text.contains(&format!("NOT revoked, serial {}", serial(&old))),
        "{text}"
    );
    assert!(
        text.contains("bao write pki/revoke certificate=@old.pem"),
        "{text}"
    );
    // what is printed is enough to do it by hand
    let printed = &text[text.find("-----BEGIN").unwrap()..];
    let by_hand = server.write("pki_int/revoke", &json!({ "certificate": printed.trim() }));
    assert!(by_hand["data"]["revocation_time"].as_i64().unwrap() > 0);
    assert!(crl_has(server, &serial(&old)));
    finish(process);
}

#[test]
#[ignore = "needs openbao"]
fn nothing_is_revoked_when_nothing_new_comes() {
    let server = &server(true);
    let (place, process) = start(server, &["--ttl", "1h"]);
    let [_, old, _] = place.files().unwrap();
    let gone = server.request("DELETE", "pki_int/roles/internal", None);
    assert!(matches!(gone.status, 200 | 204), "{}", gone.text);
    let done = place.ask(&["renew", "--revoke-old"]);
    let text = said(&done);
    assert_eq!(done.status.code(), Some(4), "{text}");
    assert!(text.contains("not renewed, and nothing revoked"), "{text}");
    assert_eq!(place.files().unwrap()[1], old);
    assert!(!crl_has(server, &serial(&old)));
    finish(process);
}
