//! Every auth method, and the life of a token.

use std::sync::{Arc, Mutex};

use certagent::{
    config::CredentialPath,
    model::failure::{Failure, FailureClass},
};
use serde_json::json;

use super::*;
use crate::rig::{Liar, Options, PATIENCE, Place, Process, liar};

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_jwt_login_issues_and_its_token_is_revoked_at_the_end() {
    let server = OpenBao::ready();
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(&server, identity(dir.path(), &Claims::default()));
    issue(&vault).await.unwrap();
    let had = vault.token().await.unwrap();
    assert_eq!(had.lease(), Some(Duration::from_secs(1800)));
    assert!(lives(&server, had.secret().expose()));
    vault.close().await;
    assert!(!lives(&server, had.secret().expose()));
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn each_jwt_refusal_has_its_code_and_is_cured_by_a_good_file() {
    let server = OpenBao::ready();
    let dir = tempfile::tempdir().unwrap();
    let bad = |claims: Claims| jwt(&claims);
    let mut forged = jwt(&Claims::default());
    forged.truncate(forged.rfind('.').unwrap());
    forged.push_str(".AAAA");
    let default = Claims::default;
    let table = [
        (
            bad(Claims {
                expires_in: -600,
                starts_in: -1200,
                ..default()
            }),
            "jwt-expired",
        ),
        (
            bad(Claims {
                starts_in: 600,
                ..default()
            }),
            "jwt-not-yet-valid",
        ),
        (
            bad(Claims {
                audience: "other".to_owned(),
                ..default()
            }),
            "jwt-audience",
        ),
        (forged, "jwt-signature"),
    ];
    let auth = identity(dir.path(), &Claims::default());
    let Auth::Jwt {
        path: CredentialPath { path, .. },
        ..
    } = auth.clone()
    else {
        unreachable!()
    };
    let vault = vault(&server, auth);
    for (text, code) in table {
        std::fs::write(&path, &text).unwrap();
        let failure = issue(&vault).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Denied, code),
            "{failure}"
        );
        assert!(!failure.to_string().contains(&text));
    }
    std::fs::write(&path, jwt(&Claims::default())).unwrap();
    issue(&vault).await.unwrap();
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_wrong_role_or_mount_is_denied_with_a_hint() {
    let server = OpenBao::ready();
    let dir = tempfile::tempdir().unwrap();
    let auth = identity(dir.path(), &Claims::default());
    let Auth::Jwt { path, .. } = auth else {
        unreachable!()
    };
    for (mount, role, code) in [
        ("jwt-nomad", Some("absent"), "login-role-unknown"),
        ("absent", Some("certagent"), "login-forbidden"),
        ("jwt-nomad", None, ""),
    ] {
        let auth = Auth::Jwt {
            mount: mount.to_owned(),
            role: role.map(str::to_owned),
            path: path.clone(),
        };
        match vault(&server, auth).token().await {
            Ok(_) => assert_eq!(code, "", "the mount's default role"),
            Err(failure) => {
                assert_eq!(
                    (failure.class, failure.code.as_str()),
                    (FailureClass::Denied, code)
                );
                assert!(failure.hint.is_some());
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_token_revoked_in_mid_life_is_had_anew() {
    let server = OpenBao::ready();
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(&server, identity(dir.path(), &Claims::default()));
    issue(&vault).await.unwrap();
    let first = vault.token().await.unwrap();
    server.write(
        "auth/token/revoke-accessor",
        &json!({ "accessor": first.accessor() }),
    );
    issue(&vault).await.unwrap();
    let second = vault.token().await.unwrap();
    assert!(first.secret() != second.secret());
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn tokens_with_few_uses_or_a_short_life_are_replaced_in_time() {
    let server = OpenBao::ready();
    let (role_id, secret_id) = server.approle();
    for limits in [
        json!({ "token_num_uses": 1 }),
        json!({ "token_num_uses": 0, "token_ttl": "1s", "token_max_ttl": "1s" }),
    ] {
        server.write("auth/approle/role/certagent", &limits);
        let vault = vault(&server, approle(&role_id, &secret_id, false));
        for _ in 0..3 {
            issue(&vault).await.unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_batch_token_works_and_is_left_alone() {
    let server = OpenBao::ready();
    server.write(
        "auth/approle/role/certagent",
        &json!({ "token_type": "batch", "token_ttl": "5m" }),
    );
    let (role_id, secret_id) = server.approle();
    let vault = vault(&server, approle(&role_id, &secret_id, false));
    issue(&vault).await.unwrap();
    vault.close().await;
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_given_token_is_kept_alive_beyond_its_lease() {
    let server = OpenBao::ready();
    let body = json!({ "policies": ["certagent"], "period": "3s" });
    let made = server.write("auth/token/create", &body);
    let given = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let vault = vault(&server, token(&given));
    issue(&vault).await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(5), vault.tend()).await;
    assert!(lives(&server, &given));
    issue(&vault).await.unwrap();
    vault.close().await;
    assert!(lives(&server, &given), "it is not ours to revoke");
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_token_file_is_read_anew_for_each_order() {
    let server = OpenBao::ready();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let first = server.new_token("10m");
    std::fs::write(&path, format!("{first}\n")).unwrap();
    let vault = vault(&server, Auth::TokenFile(path.clone().into()));
    issue(&vault).await.unwrap();
    server.write("auth/token/revoke", &json!({ "token": first }));
    assert_eq!(issue(&vault).await.unwrap_err().code, "token-invalid");
    std::fs::write(&path, server.new_token("10m")).unwrap();
    issue(&vault).await.unwrap();
}

fn approle(role_id: &str, secret_id: &str, wrapped: bool) -> Auth {
    Auth::AppRole {
        mount: "approle".to_owned(),
        role_id: role_id.to_owned(),
        secret_id_path: None,
        secret_id: Some(Secret::new(secret_id.to_owned())),
        wrapped,
    }
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn approle_logs_in_from_a_file_and_a_wrong_secret_id_is_denied() {
    let server = OpenBao::ready();
    let (role_id, secret_id) = server.approle();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret-id");
    std::fs::write(&path, format!("{secret_id}\n")).unwrap();
    let auth = Auth::AppRole {
        mount: "approle".to_owned(),
        role_id: role_id.clone(),
        secret_id_path: Some(path.into()),
        secret_id: None,
        wrapped: false,
    };
    issue(&vault(&server, auth)).await.unwrap();
    let failure = issue(&vault(&server, approle(&role_id, "nope", false)))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Denied, "secret-id-refused")
    );
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_token_bound_to_other_addresses_costs_one_login_and_is_named() {
    let server = OpenBao::ready();
    let role = json!({ "token_policies": ["certagent"], "token_bound_cidrs": ["10.9.9.0/24"] });
    server.write("auth/approle/role/bound", &role);
    let id = server.read("auth/approle/role/bound/role-id");
    let secret = server.write("auth/approle/role/bound/secret-id", &json!({}));
    let (id, secret) = (&id["data"]["role_id"], &secret["data"]["secret_id"]);
    let auth = approle(id.as_str().unwrap(), secret.as_str().unwrap(), false);
    let vault = vault(&server, auth);
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(failure.code, "token-invalid", "{failure}");
    assert!(failure.hint.unwrap().contains("token_bound_cidrs"));
    assert_eq!(vault.logins(), 1);
}

/// F42: a token whose policies let it neither look itself up nor be renewed.
#[test]
#[ignore = "needs openbao"]
fn a_token_that_may_not_be_renewed_says_what_it_needs_and_when_it_expires() {
    let server = OpenBao::ready();
    let policy = r#"path "pki_int/issue/*" { capabilities = ["update"] }"#;
    server.write("sys/policies/acl/bare", &json!({ "policy": policy }));
    let token = json!({ "policies": ["bare"], "period": "1h", "no_default_policy": true });
    let made = server.write("auth/token/create", &token);
    let mut place = Place::at(&server);
    let token = made["auth"]["client_token"].as_str().unwrap();
    place.set("VAULT_TOKEN", token);
    let mut process = Process::start(&mut place.agent(&["--ttl", "1h"]));
    let line = process.wait_for_line("the token was not renewed", PATIENCE);
    assert!(line.contains("on this path"), "{line}");
    assert!(line.contains("when it expires is not known"), "{line}");
}

/// Asks for something as root, response-wrapped, and gives the wrapping token.
fn wrapped(server: &OpenBao, path: &str) -> String {
    let headers = [
        ("X-Vault-Token", server.token.as_str()),
        ("X-Vault-Wrap-TTL", "60s"),
    ];
    let path = format!("/v1/{path}");
    let answer = crate::rig::http::request(
        &server.address,
        None,
        "POST",
        &path,
        &headers,
        Some(&json!({})),
    );
    answer.unwrap().json()["wrap_info"]["token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_wrapped_secret_id_is_unwrapped_once_and_a_used_one_is_a_loud_error() {
    let server = OpenBao::ready();
    let (role_id, _) = server.approle();
    let wrapping = wrapped(&server, "auth/approle/role/certagent/secret-id");
    let vault = vault(&server, approle(&role_id, &wrapping, true));
    let written: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&written);
    vault.record_spending(Arc::new(move |fingerprint| {
        kept.lock().unwrap().push(fingerprint.to_owned());
        Ok(())
    }));
    issue(&vault).await.unwrap();
    let had = vault.token().await.unwrap();
    server.write(
        "auth/token/revoke-accessor",
        &json!({ "accessor": had.accessor() }),
    );
    issue(&vault).await.unwrap();

    let late = super::vault(&server, approle(&role_id, &wrapping, true));
    let failure = issue(&late).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Denied, "wrapping-token-used")
    );
    assert!(
        failure
            .hint
            .as_deref()
            .unwrap_or_default()
            .contains("stolen"),
        "{failure}"
    );
    assert!(!failure.to_string().contains(&wrapping));

    // after a restart it is known that it was ourselves; of another one nothing is known
    let written = written.lock().unwrap().clone();
    assert_eq!(
        written.len(),
        1,
        "once, though it logged in twice: {written:?}"
    );
    let spent = &written[0];
    assert!(!spent.contains(&wrapping));
    for (known, code) in [
        (spent.as_str(), "wrapping-token-spent"),
        ("0123", "wrapping-token-used"),
    ] {
        let again = super::vault(&server, approle(&role_id, &wrapping, true));
        again.recall_spent(known);
        again.recall_spent("of another certificate's record");
        let failure = issue(&again).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Denied, code)
        );
        let hint = failure.hint.unwrap_or_default();
        assert_eq!(hint.contains("stolen"), code == "wrapping-token-used");
        assert!(!failure.message.contains(&wrapping));
    }
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_lost_answer_to_an_unwrapping_is_not_taken_for_a_theft() {
    let server = OpenBao::ready();
    let (role_id, _) = server.approle();
    let wrapping = wrapped(&server, "auth/approle/role/certagent/secret-id");
    let liar = Liar::losing(&server.address, "sys/wrapping/unwrap");
    let vault = Vault::new(&config(&liar.address), approle(&role_id, &wrapping, true)).unwrap();
    let lost = issue(&vault).await.unwrap_err();
    assert_eq!(lost.class, FailureClass::Transport, "{lost}");
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(failure.code, "wrapping-token-spent", "{failure}");
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_secret_id_is_unwrapped_only_once_that_is_on_record() {
    let server = OpenBao::ready();
    let (role_id, _) = server.approle();
    let wrapping = wrapped(&server, "auth/approle/role/certagent/secret-id");
    let vault = vault(&server, approle(&role_id, &wrapping, true));
    vault.record_spending(Arc::new(|_| {
        Err(Failure::local("disk-full", "no space".to_owned()))
    }));
    assert_eq!(issue(&vault).await.unwrap_err().code, "disk-full");
    vault.record_spending(Arc::new(|_| Ok(())));
    issue(&vault).await.unwrap();
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn something_else_that_was_wrapped_is_not_unwrapped() {
    let server = OpenBao::ready();
    let (role_id, _) = server.approle();
    let wrapping = wrapped(&server, "auth/token/create");
    let vault = vault(&server, approle(&role_id, &wrapping, true));
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(failure.code, "wrapping-token-strange");
    let body = json!({ "token": wrapping });
    let answer = server.request_as("", "POST", "sys/wrapping/lookup", Some(&body));
    assert_eq!(answer.status, 200, "it is still there for its owner");
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_tls_certificate_logs_in_by_the_named_role_only() {
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let server = OpenBao::start_with(&options);
    server.set_up();
    let dir = tempfile::tempdir().unwrap();
    let ca = client_certificate(dir.path());
    server.write("sys/auth/cert", &json!({ "type": "cert" }));
    let role = json!({ "certificate": ca, "token_policies": ["certagent"], "allowed_common_names": ["node-1"] });
    server.write("auth/cert/certs/node", &role);
    let mut config = config(&server.address);
    config.tls.ca_cert = Some(server.ca());
    config.tls.client_cert = Some(dir.path().join("client.pem"));
    config.tls.client_key = Some(dir.path().join("client.key"));
    let auth = |role: Option<&str>| Auth::Cert {
        mount: "cert".to_owned(),
        role: role.map(str::to_owned),
    };
    for role in [None, Some("node")] {
        issue(&Vault::new(&config, auth(role)).unwrap())
            .await
            .unwrap();
    }
    let failure = issue(&Vault::new(&config, auth(Some("absent"))).unwrap())
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::Denied, "{failure}");

    config.tls.client_cert = None;
    config.tls.client_key = None;
    let failure = Vault::new(&config, auth(None)).map(drop).unwrap_err();
    assert_eq!(failure.code, "auth-cert");
}

/// Writes client.pem and client.key; gives the CA.
fn client_certificate(dir: &Path) -> String {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "client CA");
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["node-1".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "node-1");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let cert = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("client.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("client.key"), key.serialize_pem()).unwrap();
    ca.pem()
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_kubernetes_service_account_logs_in() {
    let server = OpenBao::ready();
    let review = token_review();
    server.write("sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
    let any = rcgen::generate_simple_self_signed(vec!["k8s".to_owned()]).unwrap();
    let config = json!({ "kubernetes_ca_cert": any.cert.pem(), "kubernetes_host": review.address, "disable_local_ca_jwt": true, "token_reviewer_jwt": service_account() });
    server.write("auth/kubernetes/config", &config);
    let role = json!({ "bound_service_account_names": ["loki"], "bound_service_account_namespaces": ["logs"],
        "token_policies": ["certagent"], "audience": "" });
    server.write("auth/kubernetes/role/loki", &role);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, service_account()).unwrap();
    let auth = |role: &str| Auth::Kubernetes {
        mount: "kubernetes".to_owned(),
        role: role.to_owned(),
        path: path.clone().into(),
    };
    issue(&vault(&server, auth("loki"))).await.unwrap();
    let failure = issue(&vault(&server, auth("absent"))).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Denied, "login-role-unknown")
    );
}

fn service_account() -> String {
    let claims = json!({ "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:logs:loki",
        "kubernetes.io/serviceaccount/namespace": "logs", "kubernetes.io/serviceaccount/service-account.name": "loki",
        "kubernetes.io/serviceaccount/service-account.uid": "uid-1", "kubernetes.io/serviceaccount/secret.name": "s" });
    let key = jsonwebtoken::EncodingKey::from_ec_pem(
        rcgen::KeyPair::generate()
            .unwrap()
            .serialize_pem()
            .as_bytes(),
    );
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    jsonwebtoken::encode(&header, &claims, &key.unwrap()).unwrap()
}

/// As much of the Kubernetes API as a login needs: every token is good.
fn token_review() -> Liar {
    let user = json!({ "username": "system:serviceaccount:logs:loki", "uid": "uid-1",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:logs"] });
    let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "status": { "authenticated": true, "user": user } });
    Liar::issuer(move |_| liar::answer("201 Created", &body.to_string()))
}
