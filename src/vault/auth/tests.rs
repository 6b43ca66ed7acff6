//! Credentials as they are read from files, and tokens as they are kept.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::*;

const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln";

fn jwt_auth(path: PathBuf) -> Auth {
    Auth::Jwt {
        mount: "jwt-nomad".to_owned(),
        role: Some("certagent".to_owned()),
        path: path.into(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test plays the other program")]
fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_partly_written_jwt_is_read_again_until_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nomad_certagent.jwt");
    for partial in [
        "",
        "eyJhbGciOiJSUzI1NiJ9",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOi",
        "a.b.",
    ] {
        write(&path, partial);
        let auth = jwt_auth(path.clone());
        let reader = prepare(&auth);
        let writer = async {
            tokio::time::sleep(Duration::from_millis(350)).await;
            write(&path, JWT);
        };
        let (way, ()) = tokio::join!(reader, writer);
        let Way::Login(login) = way.unwrap() else {
            panic!("a login was expected")
        };
        assert_eq!(login.path, "auth/jwt-nomad/login");
        assert!(String::from_utf8_lossy(&login.body).contains(JWT));
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_junk_jwt_is_given_up_after_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwt");
    let start = Instant::now();
    let failure = prepare(&jwt_auth(path.clone())).await.unwrap_err();
    assert_eq!(failure.code, "credential-missing");
    assert!(start.elapsed() <= Duration::from_secs(2));

    write(&path, "hunter2 is no jwt");
    let failure = prepare(&jwt_auth(path)).await.unwrap_err();
    assert_eq!(failure.code, "credential-unreadable");
    assert!(!failure.to_string().contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_header_can_carry_is_refused_not_sent() {
    for text in ["s.abc\ndef", "s.abc\u{7}", "s.\u{fc}ber", "two words", ""] {
        let failure = prepare(&Auth::Token(Secret::new(text.to_owned())))
            .await
            .unwrap_err();
        assert!(failure.code.starts_with("credential-"), "{text:?}");
        assert!(text.is_empty() || !failure.to_string().contains(text));
    }
}

#[test]
fn an_auth_block_without_token_policies_is_read() {
    let body = br#"{"auth":{"client_token":"s.1","lease_duration":1800,"renewable":true,"token_type":"service"}}"#;
    let now = Instant::now();
    let token = Token::from_login(body, now).unwrap();
    assert_eq!(token.lease(), Some(Duration::from_secs(1800)));
    assert_eq!(token.renew_at(), Some(now + Duration::from_secs(1200)));
}

#[test]
fn no_debug_output_shows_a_credential() {
    let body = br#"{"auth":{"client_token":"hunter2","accessor":"acc"}}"#;
    let token = Token::from_login(body, Instant::now()).unwrap();
    assert!(!format!("{token:?}").contains("hunter2"));
    let secret = Secret::new("hunter2".to_owned());
    let login = Login::approle("approle", "r", Some(&secret));
    assert!(
        !format!(
            "{login:?} {:?}",
            Way::Login(Login::approle("a", "r", Some(&secret)))
        )
        .contains("hunter2")
    );
}

#[test]
fn a_lease_of_zero_never_ends_and_limited_uses_run_out() {
    let now = Instant::now();
    let late = now + Duration::from_secs(1_000_000);
    let root = Token::from_login(br#"{"auth":{"client_token":"r"}}"#, now).unwrap();
    assert!(root.usable(late) && root.renew_at().is_none());

    let body =
        br#"{"auth":{"client_token":"r","num_uses":2,"lease_duration":100,"renewable":true}}"#;
    let limited = Token::from_login(body, now).unwrap();
    assert!(limited.renew_at().is_none(), "a renewal would eat a use");
    limited.used();
    assert!(limited.usable(now));
    limited.used();
    assert!(!limited.usable(now));
}

#[test]
fn a_batch_or_leased_token_is_not_revoked() {
    let now = Instant::now();
    let batch = Token::from_login(
        br#"{"auth":{"client_token":"b","token_type":"batch","lease_duration":9}}"#,
        now,
    );
    assert!(!batch.unwrap().revocable(now));
    let leased =
        Token::from_login(br#"{"auth":{"client_token":"b","lease_duration":9}}"#, now).unwrap();
    assert!(leased.revocable(now));
    leased.note_lease();
    assert!(!leased.revocable(now));
}

/// Every number that an answer may hold instead of a lease or a number of uses.
const NUMBERS: [&str; 9] = [
    "18446744073709551615",
    "9223372036854775808",
    "9223372036854775807",
    "18446744073709551616",
    "-1",
    "-9223372036854775808",
    "1.5",
    "1e308",
    "0",
];

/// Uses every duration and moment that a token has.
fn ask_everything(token: &Token, now: Instant) {
    for later in [0, 1, 86_400, 100 * 365 * 86_400] {
        let now = now + Duration::from_secs(later);
        token.usable(now);
        token.left(now);
        token.revocable(now);
        token.renew_at();
        assert!(token.lease() < Some(Duration::from_secs(11 * 365 * 86_400)));
    }
}

#[test]
fn no_number_of_an_answer_ends_the_process() {
    let now = Instant::now();
    let given = Token::given(Secret::new("t".to_owned()), now);
    for number in NUMBERS {
        for field in ["lease_duration", "num_uses"] {
            let other = ["num_uses", "lease_duration"][usize::from(field == "num_uses")];
            let body = format!(
                r#"{{"auth":{{"client_token":"t","renewable":true,"{field}":{number},"{other}":0}}}}"#
            );
            if let Ok(token) = Token::from_login(body.as_bytes(), now) {
                ask_everything(&token, now);
            }
            if let Some((lease, renewable)) = parse_renewal(body.as_bytes()) {
                ask_everything(&given.renewed(lease, renewable, now), now);
            }
        }
        for field in ["ttl", "num_uses"] {
            let body = format!(r#"{{"data":{{"renewable":true,"{field}":{number}}}}}"#);
            ask_everything(&given.looked_up(body.as_bytes(), now), now);
        }
    }
    let body =
        br#"{"auth":{"client_token":"t","renewable":true,"lease_duration":18446744073709551615}}"#;
    let token = Token::from_login(body, now).unwrap();
    assert!(token.usable(now) && token.renew_at().is_some(), "{token:?}");
}
