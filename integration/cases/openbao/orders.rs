//! Issue, sign, issuers, refusals and leases.

use certagent::{
    clock::{Clock as _, SystemClock},
    csr::{csr, new_key},
    model::{
        answer,
        failure::FailureClass,
        leaf::CertFacts,
        verify::{Expect, verify},
    },
};
use serde_json::{Value, json};

use super::*;

/// Ours by its CSR, or one that we ask for.
fn key_of<'a>(csr: &'a Option<String>, wanted: &Request) -> OrderedKey<'a> {
    match csr {
        Some(csr) => OrderedKey::Csr(csr),
        None => OrderedKey::Asked(wanted.key_type),
    }
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn issue_and_sign_give_every_key_type_with_all_names() {
    let server = OpenBao::ready();
    let vault = vault(&server, token(&server.token));
    for mode in [Mode::Issue, Mode::Sign] {
        for key_type in [
            KeyType::EcP256,
            KeyType::EcP384,
            KeyType::EcP521,
            KeyType::Ed25519,
            KeyType::Rsa2048,
        ] {
            let (kind, bits) = key_type.vault();
            let mut role = server.read("pki_int/roles/internal")["data"].clone();
            role["key_type"] = kind.into();
            role["key_bits"] = bits.into();
            server.write(&format!("pki_int/roles/{key_type}"), &role);
            let wanted = Request {
                mount: "pki_int".to_owned(),
                role: key_type.to_string(),
                mode,
                key_type,
                key_type_open: false,
                ..request()
            };
            let key = (mode == Mode::Sign).then(|| new_key(key_type).unwrap());
            let csr = key.as_ref().map(|key| csr(&wanted, key).unwrap());
            let order = IssuanceRequest {
                request: &wanted,
                key: key_of(&csr, &wanted),
            };
            let reply = vault.issue(order).await.unwrap();
            assert!(reply.server_time.is_some());
            let bundle = answer::parse(&reply.body, key).unwrap();
            let facts = CertFacts::read(&bundle.leaf).unwrap();
            assert_eq!(facts.key.kind(), Some(key_type), "{mode} {key_type}");
            assert!(facts.names.ips.is_superset(&wanted.names.ips), "{mode}");
            assert!(facts.names.uris.is_superset(&wanted.names.uris), "{mode}");
            assert!(facts.names.dns.contains("localhost"), "{mode}");
            assert!(
                facts.names.dns.contains(&wanted.names.common_name),
                "{mode}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn issuers_are_read_without_a_token_and_follow_a_rotation() {
    let server = OpenBao::ready();
    let vault = vault(&server, token("s.wrong"));
    let before = vault.issuers("pki").await.unwrap();
    assert_eq!(before.issuers.len(), 1);
    assert_eq!(
        before.default.as_ref(),
        before.issuers.first().map(|one| &one.certificate)
    );
    assert_eq!(
        vault.issuers("pki_int").await.unwrap().issuers.len(),
        2,
        "with the root"
    );
    let root = json!({ "common_name": "next root", "key_type": "ec", "ttl": "8760h" });
    server.write("pki/root/rotate/internal", &root);
    let after = vault.issuers("pki").await.unwrap();
    assert_eq!(after.default, before.default, "it is beside the default");
    let after = after.issuers;
    assert_eq!(after.len(), 2);
    assert!(after.contains(&before.issuers[0]));
    assert!(
        after
            .iter()
            .all(|one| one.certificate.contains("BEGIN CERT"))
    );
    server.write("sys/mounts/bare", &json!({ "type": "pki" }));
    let bare = vault.issuers("bare").await.unwrap();
    assert!(bare.issuers.is_empty() && bare.default.is_none());
    assert_eq!(vault.issuers("absent").await.unwrap_err().code, "forbidden");
}

/// Mount, role, common name, ttl in seconds; code. All are faults of the configuration.
const REFUSED: &[(&str, &str, &str, u64, &str)] = &[
    ("pki", "absent", "a.service.consul", 60, "unknown-role"),
    ("absent", "internal", "a.service.consul", 60, "no-such-path"),
    ("pki", "ec", "evil.example", 60, "name-not-allowed"),
    ("pki", "strict", "a.service.consul", 60, "name-not-allowed"),
    ("pki", "fixed", "a.service.consul", 60, "role-has-not-after"),
    ("pki", "ec", "", 60, "common-name-missing"),
    ("bare", "internal", "a.service.consul", 60, "no-issuer"),
    (
        "pki_int",
        "long",
        "a.service.consul",
        290_000_000,
        "ca-ends-first",
    ),
];

#[tokio::test]
#[ignore = "needs openbao"]
async fn each_refusal_has_its_class_and_code() {
    use FailureClass::Misconfigured;
    let server = OpenBao::ready();
    server.write("sys/mounts/bare", &json!({ "type": "pki" }));
    server.write(
        "bare/roles/internal",
        &json!({ "allow_any_name": true, "key_type": "ec" }),
    );
    let strict = json!({ "allowed_domains": ["service.consul"], "allow_subdomains": true, "allow_ip_sans": false,
        "allow_localhost": true, "key_type": "ec", "allowed_uri_sans": ["*"] });
    server.write("pki/roles/strict", &strict);
    server.write(
        "pki/roles/fixed",
        &json!({ "allow_any_name": true, "allowed_uri_sans": ["*"], "key_type": "ec",
        "not_after": "2030-01-01T00:00:00Z" }),
    );
    let vault = vault(&server, token(&server.token));
    server.write("pki_int/roles/long", &json!({ "allow_any_name": true, "allowed_uri_sans": ["*"], "key_type": "ec", "max_ttl": "87600h" }));
    for (mount, role, name, ttl, code) in REFUSED.iter().copied() {
        let mut wanted = request();
        (wanted.mount, wanted.role) = (mount.to_owned(), role.to_owned());
        wanted.names.common_name = name.to_owned();
        wanted.ttl = Duration::from_secs(ttl);
        let order = IssuanceRequest {
            request: &wanted,
            key: OrderedKey::Asked(wanted.key_type),
        };
        let failure = vault.issue(order).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (Misconfigured, code),
            "{failure}"
        );
        assert!(failure.message.contains(&server.address), "{failure}");
    }
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_token_without_the_right_and_an_unknown_one_are_told_apart() {
    use FailureClass::Denied;
    let server = OpenBao::ready();
    let poor = server.write("auth/token/create", &json!({ "policies": ["default"] }));
    let poor = poor["auth"]["client_token"].as_str().unwrap().to_owned();
    let failure = issue(&vault(&server, token(&poor))).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (Denied, "permission-denied")
    );
    let failure = issue(&vault(&server, token("s.none"))).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (Denied, "token-invalid")
    );
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_leased_certificate_keeps_its_token_and_survives_the_exit() {
    let server = OpenBao::ready();
    let mut role = server.read("pki/roles/ec")["data"].clone();
    role["generate_lease"] = Value::Bool(true);
    server.write("pki/roles/ec", &role);
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(&server, identity(dir.path(), &Claims::default()));
    let reply = issue(&vault).await.unwrap();
    let bundle = answer::parse(&reply.body, None).unwrap();
    assert!(bundle.lease_id.is_some_and(|id| !id.is_empty()));
    let kept = vault.token().await.unwrap();
    vault.close().await;
    assert!(
        lives(&server, kept.secret().expose()),
        "its end would revoke the certificate"
    );
    let facts = CertFacts::read(&bundle.leaf).unwrap();
    let read = server.read(&format!("pki/cert/{}", facts.serial.replace(':', "-")));
    assert_eq!(read["data"]["revocation_time"], 0);
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_rate_limit_gives_throttled_with_its_retry_after() {
    let server = OpenBao::ready();
    server.write(
        "sys/quotas/config",
        &json!({ "enable_rate_limit_response_headers": true }),
    );
    server.write(
        "sys/quotas/rate-limit/q",
        &json!({ "rate": 2, "interval": "30s", "path": "pki" }),
    );
    let vault = vault(&server, token(&server.token));
    let mut last = None;
    for _ in 0..6 {
        last = issue(&vault).await.err();
        if last.is_some() {
            break;
        }
    }
    let failure = last.expect("more than two a second were let through");
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Throttled, "rate-limited")
    );
    let wait = failure.retry_after.expect("no Retry-After");
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(30),
        "{wait:?}"
    );
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn capabilities_tell_what_a_token_may_do() {
    let server = OpenBao::ready();
    let given = server.new_token("10m");
    let vault = vault(&server, token(&given));
    assert_eq!(
        vault.capabilities("pki/issue/internal").await.unwrap(),
        ["update"]
    );
    assert_eq!(
        vault.capabilities("pki/issue/other").await.unwrap(),
        ["deny"]
    );
}

/// What the role allows: no common name, or one that is no host name.
#[tokio::test]
#[ignore = "needs openbao"]
async fn a_common_name_may_be_absent_or_no_host_name_where_the_role_allows_it() {
    let server = OpenBao::ready();
    let role = json!({ "allow_any_name": true, "enforce_hostnames": false, "require_cn": false,
        "cn_validations": ["disabled"], "key_type": "ec", "allowed_uri_sans": ["*"] });
    server.write("pki/roles/free", &role);
    let vault = vault(&server, token(&server.token));
    for mode in [Mode::Issue, Mode::Sign] {
        for common_name in ["", "system:node:x"] {
            let mut wanted = Request {
                mode,
                role: "free".to_owned(),
                key_type: KeyType::EcP256,
                ..request()
            };
            wanted.names.common_name = common_name.to_owned();
            let key = (mode == Mode::Sign).then(|| new_key(wanted.key_type).unwrap());
            let csr = key.as_ref().map(|key| csr(&wanted, key).unwrap());
            let order = IssuanceRequest {
                request: &wanted,
                key: key_of(&csr, &wanted),
            };
            let reply = vault.issue(order).await.unwrap();
            let bundle = answer::parse(&reply.body, key).unwrap();
            let now = SystemClock.now();
            let set = verify(bundle, &Expect::of(&wanted), now).unwrap();
            let found = set.leaf().common_name.clone().unwrap_or_default();
            assert_eq!(found, common_name, "{mode}");
        }
    }
}
