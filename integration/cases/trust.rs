//! Which anchors CA.pem holds as the mount's issuers come, change and go; on a real OpenBao.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use certagent::model::{leaf::CertFacts, pem};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{OpenBao, PATIENCE, Place, Process, wait_for};

const POLLING: [&str; 6] = [
    "--ca-poll-interval",
    "1s",
    "--ca-retention",
    "1h",
    "--ttl",
    "1h",
];

/// Polls in which something that should not come could have come.
const SOME_POLLS: Duration = Duration::from_secs(4);

/// Common names in CA.pem, sorted.
fn trusted(place: &Place) -> Vec<String> {
    let [ca, ..] = place.files().unwrap_or_default();
    let ders = pem::certificates(&ca).unwrap_or_default();
    let names = ders
        .iter()
        .map(|der| CertFacts::read(der).unwrap().common_name);
    let mut names: Vec<String> = names.flatten().collect();
    names.sort();
    names
}

fn sha256(certificate: &Value) -> String {
    let ders = pem::certificates(certificate.as_str().unwrap()).unwrap();
    CertFacts::read(&ders[0]).unwrap().sha256
}

fn wait_for_trust(place: &Place, process: &Process, wanted: &[&str]) {
    let began = Instant::now();
    while trusted(place) != wanted {
        let over = began.elapsed() > PATIENCE;
        assert!(
            !over,
            "{:?}, not {wanted:?}\n{}",
            trusted(place),
            process.output()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// It is so, and stays so for some polls.
fn stays(place: &Place, process: &Process, wanted: &[&str]) {
    wait_for_trust(place, process, wanted);
    thread::sleep(SOME_POLLS);
    assert_eq!(trusted(place), wanted, "{}", process.output());
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

/// A new root with its key in `mount`; its certificate.
fn new_root(server: &OpenBao, mount: &str, name: &str) -> Value {
    let root = json!({ "common_name": name, "issuer_name": name.replace(' ', "-"), "key_type": "ec", "ttl": "8760h" });
    let made = server.write(&format!("{mount}/root/generate/internal"), &root);
    made["data"]["certificate"].clone()
}

/// A root made outside, imported with its key or without; its id.
pub(super) fn import(server: &OpenBao, mount: &str, name: &str, with_key: bool) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (key, cert) = (dir.path().join("key"), dir.path().join("cert"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "90",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-subj",
        ])
        .arg(format!("/CN={name}"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let mut bundle = read(&cert);
    if with_key {
        bundle.push_str(&read(&key));
    }
    let path = format!("{mount}/issuers/import/bundle");
    let done = server.write(&path, &json!({ "pem_bundle": bundle }));
    done["data"]["imported_issuers"][0]
        .as_str()
        .unwrap()
        .to_owned()
}

fn delete(server: &OpenBao, path: &str) {
    let answer = server.request("DELETE", path, None);
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text);
}

/// A place whose token has these policies and no others.
fn place_with(server: &OpenBao, policies: &[&str]) -> Place {
    let body = json!({ "policies": policies, "ttl": "1h" });
    let made = server.write("auth/token/create", &body);
    let mut place = Place::at(server);
    place.set(
        "VAULT_TOKEN",
        made["auth"]["client_token"].as_str().unwrap(),
    );
    place
}

fn may_read_issuers(server: &OpenBao) {
    let policy = r#"path "pki_int/issuer/+" { capabilities = ["read"] }"#;
    server.write("sys/policies/acl/see", &json!({ "policy": policy }));
}

#[test]
#[ignore = "needs openbao"]
fn strangers_are_named_and_revoked_or_keyless_roots_are_left_out() {
    let server = &OpenBao::ready();
    new_root(server, "pki_int", "team-b");
    new_root(server, "pki_int", "revoked");
    server.write("pki_int/issuer/revoked/revoke", &json!({}));
    import(server, "pki_int", "keyless", false);
    let imported = import(server, "pki_int", "imported-revoked", true);
    server.write(&format!("pki_int/issuer/{imported}/revoke"), &json!({}));
    may_read_issuers(server);

    let place = place_with(server, &["certagent", "see"]);
    let mut process = Process::start(&mut place.agent(&POLLING));
    stays(&place, &process, &["team-b", "test root"]);
    let warned = process.wait_for_line(
        "in which the chain of this certificate does not end",
        PATIENCE,
    );
    assert!(warned.contains("`CN=team-b` (issuer team-b)"), "{warned}");
    finish(process);

    for (scope, wanted) in [
        ("chain", vec!["test root"]),
        ("mount", vec!["keyless", "team-b", "test root"]),
    ] {
        let place = place_with(server, &["certagent", "see"]);
        let mut command = place.agent(&POLLING);
        let process = Process::start(command.args(["--trust", scope]));
        stays(&place, &process, &wanted);
        finish(process);
    }
    // by choice, although it has no key
    let place = place_with(server, &["certagent", "see"]);
    let keyless = server
        .request("GET", "pki_int/issuers?list=true", None)
        .json();
    let info = keyless["data"]["key_info"].as_object().unwrap();
    let ids = info
        .iter()
        .filter(|(_, one)| one["key_id"] == "" && one["issuer_name"] == "");
    let ids: Vec<&str> = ids.map(|(id, _)| id.as_str()).collect();
    let mut command = place.agent(&POLLING);
    command
        .args(["--trust", "chain", "--trust-issuers"])
        .arg(ids.join(","));
    let process = Process::start(&mut command);
    stays(&place, &process, &["keyless", "test root"]);
    finish(process);
}

#[test]
#[ignore = "needs openbao"]
fn a_policy_that_denies_the_reads_hides_imported_revocations_and_stops_nothing() {
    let server = &OpenBao::ready();
    new_root(server, "pki_int", "made-and-revoked");
    server.write("pki_int/issuer/made-and-revoked/revoke", &json!({}));
    let imported = import(server, "pki_int", "imported-revoked", true);
    server.write(&format!("pki_int/issuer/{imported}/revoke"), &json!({}));
    may_read_issuers(server);

    let place = place_with(server, &["certagent"]);
    let mut process = Process::start(&mut place.agent(&POLLING));
    let warned = process.wait_for_line("is revoked can't be seen", PATIENCE);
    assert!(warned.contains("`CN=imported-revoked`"), "{warned}");
    assert!(warned.contains("issuer/+"), "{warned}");
    // one that the mount made itself is called revoked to everybody
    stays(&place, &process, &["imported-revoked", "test root"]);
    finish(process);

    // with the grant it leaves at once, and without the grant it does not come back
    let seeing = place_with(server, &["certagent", "see"]);
    let mut command = place.agent(&POLLING);
    command.env("VAULT_TOKEN", token_of(&seeing));
    let process = Process::start(&mut command);
    wait_for_trust(&place, &process, &["test root"]);
    finish(process);
    let process = Process::start(&mut place.agent(&POLLING));
    stays(&place, &process, &["test root"]);
    finish(process);
}

/// The token that commands of this place get.
fn token_of(place: &Place) -> String {
    let command = place.certagent(&[]);
    let set = command
        .get_envs()
        .filter(|(name, _)| *name == "VAULT_TOKEN");
    let last = set.last().and_then(|(_, value)| value);
    last.unwrap().to_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs openbao"]
fn a_planned_change_of_the_root_is_trusted_before_it_is_used_and_as_long() {
    let server = &OpenBao::ready();
    let mut place = Place::at(server);
    let socket = place.path("s/status.sock");
    place.set("CERTAGENT_STATUS_SOCKET", &socket);
    let mut command =
        place.certagent(&["run", "--component", "ingester", "--ip-sans", "127.0.0.1"]);
    command.args([
        "--ca-poll-interval",
        "1s",
        "--ca-retention",
        "3s",
        "--ttl",
        "1h",
    ]);
    command.arg("--dir").arg(place.certs());
    let process = Process::start(&mut command);
    wait_for_trust(&place, &process, &["test root"]);
    let old = server.read("pki/config/issuers")["data"]["default"].clone();
    let next = new_root(server, "pki", "next root");
    wait_for_trust(&place, &process, &["next root", "test root"]);
    let id = server.read("pki/issuer/next-root");
    server.write(
        "pki/config/issuers",
        &json!({ "default": id["data"]["issuer_id"] }),
    );
    let renewed = place.ask(&["renew"]);
    assert!(renewed.status.success(), "{renewed:?}");
    let [ca, cert, _] = place.files().unwrap();
    let leaf = CertFacts::read(&pem::certificates(&cert).unwrap()[0]).unwrap();
    assert_eq!(leaf.issuer, "CN=next root");
    assert!(ca.contains(next.as_str().unwrap().trim()));
    delete(server, &format!("pki/issuer/{}", old.as_str().unwrap()));
    wait_for_trust(&place, &process, &["next root"]);
    finish(process);
}

#[test]
#[ignore = "needs openbao"]
fn a_distrusted_anchor_leaves_the_disk_and_the_record_and_stays_away() {
    let server = &OpenBao::ready();
    let stranger = sha256(&new_root(server, "pki_int", "team-b"));
    let place = Place::at(server);
    let process = Process::start(&mut place.agent(&POLLING));
    wait_for_trust(&place, &process, &["team-b", "test root"]);
    wait_for("the record", PATIENCE, || {
        place.state()["trust"].get(&stranger).map(drop)
    });
    finish(process);
    // by name, before the mount was asked
    let mut without = place.agent(&POLLING);
    let mut process = Process::start(without.args(["--distrust", "team-b"]));
    process.wait_for_line("using the certificate files on disk", PATIENCE);
    stays(&place, &process, &["test root"]);
    assert!(place.state()["trust"].get(&stranger).is_none());
    finish(process);
    // the issuer is gone, and the setting too: nothing brings it back
    delete(server, "pki_int/issuer/team-b");
    let process = Process::start(&mut place.agent(&POLLING));
    stays(&place, &process, &["test root"]);
    finish(process);
}

#[test]
#[ignore = "needs openbao"]
fn our_own_anchor_stays_until_another_issuer_signs() {
    let server = &OpenBao::ready();
    new_root(server, "pki", "next root");
    let mut place = Place::at(server);
    place.set("CERTAGENT_STATUS_SOCKET", place.path("s/status.sock"));
    let mut command =
        place.certagent(&["run", "--component", "ingester", "--ip-sans", "127.0.0.1"]);
    command.args(POLLING).arg("--dir").arg(place.certs());
    command.args(["--distrust", "root"]);
    let mut process = Process::start(&mut command);
    process.wait_for_line(
        "it leaves CA.pem with the next certificate from another issuer",
        PATIENCE,
    );
    stays(&place, &process, &["next root", "test root"]);
    let id = server.read("pki/issuer/next-root");
    server.write(
        "pki/config/issuers",
        &json!({ "default": id["data"]["issuer_id"] }),
    );
    let renewed = place.ask(&["renew"]);
    assert!(renewed.status.success(), "{renewed:?}");
    wait_for_trust(&place, &process, &["next root"]);
    finish(process);
}

#[test]
#[ignore = "needs openbao"]
fn a_name_that_means_nothing_is_a_clear_error() {
    let server = &OpenBao::ready();
    let mut place = Place::at(server);
    place.set("CERTAGENT_STATUS_SOCKET", place.path("s/status.sock"));
    let mut command = place.agent(&POLLING);
    let settings = ["--trust-issuers", "roo"];
    let mut process = Process::start(command.args(settings));
    let said = process.wait_for_line("trust_issuers names roo", PATIENCE);
    assert!(
        said.contains("neither the mount nor CA.pem has such an issuer"),
        "{said}"
    );
    let status = place.ask(&["status", "-o", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let one = &status["certificates"][0];
    assert_eq!(one["ready"], true, "it stops nothing");
    assert_eq!(one["degraded"][0]["code"], "trust-unknown", "{one}");
    finish(process);
    let mut doctor = place.one("doctor");
    let doctor = doctor
        .args(settings)
        .arg("--dir")
        .arg(place.certs())
        .output()
        .unwrap();
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(2), "{text}");
    let failed = text.lines().find(|line| line.contains("trust-unknown"));
    assert!(failed.is_some_and(|line| line.contains("FAIL")), "{text}");
    for bad in ["ab:cd", "0123456789abcdef0123456789abcdef01234567"] {
        let refused = place
            .one("check-config")
            .args(["--distrust", bad])
            .output()
            .unwrap();
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{text}");
        assert!(
            text.contains("not a SHA-256 fingerprint: 64 hexadecimal digits"),
            "{text}"
        );
    }
}
