//! The issuers of a mount: what is listed, what is learned of their standing, and what that costs.

use super::{
    script::{Script, json},
    *,
};
use crate::model::trust::Standing;

const LIST: &str = r#"{"data":{"keys":["a","b","../x"],"key_info":{
    "a":{"issuer_name":"root-1","key_id":"k","serial_number":"0a:0b"},
    "b":{"issuer_name":"bad\nname","key_id":"","serial_number":"0c"}}}}"#;

fn login(uses: u32) -> String {
    format!(r#"{{"auth":{{"client_token":"s.t","lease_duration":600,"num_uses":{uses}}}}}"#)
}

/// A mount with two issuers; `settings` answers `issuer/a`, `stored` the certificate of `a`.
async fn mount(settings: (u16, &'static str), stored: (u16, &'static str), uses: u32) -> Script {
    Script::start(move |seen| match seen.path() {
        "/v1/pki/issuers?list=true" => json(200, LIST),
        "/v1/pki/issuer/a" => json(settings.0, settings.1),
        "/v1/pki/issuer/b" => json(200, r#"{"data":{"certificate":"B","revoked":false}}"#),
        "/v1/pki/issuer/a/json" => json(200, r#"{"data":{"certificate":"A\n"}}"#),
        "/v1/pki/issuer/b/json" => json(200, r#"{"data":{"certificate":"B"}}"#),
        "/v1/pki/cert/0a-0b" => json(stored.0, stored.1),
        "/v1/auth/jwt/login" | "/v1/auth/approle/login" => json(200, &login(uses)),
        "/v1/auth/token/lookup-self" => json(200, r#"{"data":{"ttl":0}}"#),
        _ => json(403, r#"{"errors":["permission denied"]}"#),
    })
    .await
}

const DENIED: (u16, &str) = (403, r#"{"errors":["permission denied"]}"#);
const GOOD: (u16, &str) = (200, r#"{"data":{"certificate":"A","revoked":false}}"#);
const REVOKED: (u16, &str) = (200, r#"{"data":{"certificate":"A","revoked":true}}"#);
const STORED: (u16, &str) = (200, r#"{"data":{"certificate":"A","revocation_time":0}}"#);
const STORED_REVOKED: (u16, &str) = (200, r#"{"data":{"certificate":"A","revocation_time":7}}"#);
const STORED_OTHER: (u16, &str) = (200, r#"{"data":{"certificate":"X","revocation_time":7}}"#);

fn standings(found: &MountIssuers) -> Vec<Standing> {
    found.issuers.iter().map(|one| one.standing).collect()
}

#[tokio::test]
async fn an_issuer_is_known_as_far_as_anybody_says_something() {
    use Standing::{Able, Keyless, Revoked, Unseen};
    for (settings, stored, wanted) in [
        (GOOD, DENIED, Able),
        (REVOKED, STORED, Revoked),
        (DENIED, STORED, Able),
        (DENIED, STORED_REVOKED, Revoked),
        (DENIED, STORED_OTHER, Unseen),
        (DENIED, DENIED, Unseen),
        // a server that does not say it
        ((200, r#"{"data":{"certificate":"A"}}"#), DENIED, Unseen),
    ] {
        let server = mount(settings, stored, 0).await;
        let vault = with_token(&config(&[&server.url("")]));
        let found = vault.issuers("pki").await.unwrap();
        assert_eq!(
            standings(&found),
            [wanted, Keyless],
            "{settings:?} {stored:?}"
        );
        assert_eq!(found.default, None, "it was refused");
        let [a, b] = found.issuers.as_slice() else {
            panic!("an id that is no id is left out: {found:?}")
        };
        assert_eq!((a.name.as_str(), b.name.as_str()), ("root-1", ""));
    }
}

#[tokio::test]
async fn a_poll_uses_no_credential_up() {
    let approle = |server: &Script| {
        let auth = Auth::AppRole {
            mount: "approle".to_owned(),
            role_id: "r".to_owned(),
            secret_id_path: None,
            secret_id: Some(Secret::new("s".to_owned())),
            wrapped: false,
        };
        Vault::new(&config(&[&server.url("")]), auth).unwrap()
    };
    let server = mount(GOOD, DENIED, 0).await;
    let vault = approle(&server);
    let found = vault.issuers("pki").await.unwrap();
    assert_eq!(standings(&found), [Standing::Unseen, Standing::Keyless]);
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("x-vault-token").is_empty())
    );
    assert_eq!(vault.logins(), 0, "a secret id may be good for one login");
    vault.token().await.unwrap();
    let found = vault.issuers("pki").await.unwrap();
    assert_eq!(
        standings(&found)[0],
        Standing::Able,
        "with the token that is there"
    );
    // one whose uses are counted is left alone
    let server = mount(GOOD, DENIED, 3).await;
    let vault = approle(&server);
    vault.token().await.unwrap();
    let found = vault.issuers("pki").await.unwrap();
    assert_eq!(standings(&found)[0], Standing::Unseen);
}

#[tokio::test]
async fn lists_that_are_empty_refused_or_too_long_are_told_apart() {
    let server = Script::start(|seen| match seen.path() {
        "/v1/empty/issuers?list=true" => json(404, r#"{"errors":[]}"#),
        "/v1/long/issuers?list=true" => {
            let ids: Vec<String> = (0..257).map(|at| format!("\"i{at}\"")).collect();
            json(
                200,
                &format!(r#"{{"data":{{"keys":[{}]}}}}"#, ids.join(",")),
            )
        }
        "/v1/odd/issuers?list=true" => json(200, r#"{"data":{"keys":"all"}}"#),
        _ => json(403, r#"{"errors":["permission denied"]}"#),
    })
    .await;
    let vault = with_token(&config(&[&server.url("")]));
    assert_eq!(
        vault.issuers("empty").await.unwrap(),
        MountIssuers::default()
    );
    assert_eq!(vault.issuers("none").await.unwrap_err().code, "forbidden");
    let long = vault.issuers("long").await.unwrap_err();
    assert_eq!(long.code, "too-many-issuers");
    assert!(long.message.contains("has 257, at most 256"), "{long}");
    let odd = vault.issuers("odd").await.unwrap_err();
    assert_eq!(odd.class, FailureClass::BadAnswer, "{odd}");
}
