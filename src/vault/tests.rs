//! The traps of vaultrs and of the network, each against a scripted server on loopback.

mod able;
mod interim;
mod issuers;
mod script;
mod tokens;

use std::{path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::Instant,
};

use self::script::{Script, Seen, answer, json};
use super::*;
use crate::issuer::OrderedKey;
use crate::{
    config::TlsConfig,
    model::{
        failure::FailureClass,
        request::{Names, Request},
        secret::Secret,
    },
};

const TOKEN: &str = "s.hunter2";

fn config(addresses: &[&str]) -> VaultConfig {
    VaultConfig {
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        allow_plain_http: true,
        namespace: None,
        tls: TlsConfig::default(),
        timeout: Duration::from_secs(5),
        proxy: None,
        rate_limit: None,
        max_retries: 0,
        headers: Vec::new(),
        disable_redirects: false,
    }
}

fn with_token(config: &VaultConfig) -> Vault {
    Vault::new(config, Auth::Token(Secret::new(TOKEN.to_owned()))).unwrap()
}

fn request() -> Request {
    Request {
        names: Names {
            common_name: "loki-read.service.consul".to_owned(),
            dns: ["a.service.consul".to_owned(), "b.service.consul".to_owned()].into(),
            ips: ["10.0.0.1".parse().unwrap()].into(),
            uris: ["spiffe://a,b".to_owned()].into(),
        },
        ..Request::example()
    }
}

async fn issue(vault: &Vault) -> Result<Reply, Failure> {
    let request = request();
    let order = IssuanceRequest {
        request: &request,
        key: OrderedKey::Asked(request.key_type),
    };
    vault.issue(order).await
}

fn good(_: &Seen) -> String {
    json(200, r#"{"lease_id":"","data":{"certificate":"x"}}"#)
}

#[tokio::test]
async fn an_order_goes_out_as_documented() {
    let server = Script::start(|_| {
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        answer(200, date, r#"{"data":{}}"#)
    })
    .await;
    let mut config = config(&[&server.url("/prefix/")]);
    config.namespace = Some("team-a".to_owned());
    let extra = ("X-Extra".to_owned(), Secret::new("one".to_owned()));
    config.headers.push(extra);
    let reply = issue(&with_token(&config)).await.unwrap();
    assert_eq!(reply.server_time.unwrap().unix_secs(), 784_111_777);
    let seen = server.seen();
    let [seen] = seen.as_slice() else {
        panic!("one request")
    };
    assert_eq!(seen.line, "POST /prefix/v1/pki/issue/internal HTTP/1.1");
    let headers = [
        ("x-vault-token", TOKEN),
        ("x-vault-request", "true"),
        ("x-vault-namespace", "team-a"),
        ("x-extra", "one"),
        ("content-type", "application/json"),
    ];
    for (name, value) in headers {
        assert_eq!(seen.header(name), [value], "{name}");
    }
    let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    let wanted = serde_json::json!({
        "common_name": "loki-read.service.consul", "alt_names": "a.service.consul,b.service.consul",
        "ip_sans": ["10.0.0.1"], "uri_sans": ["spiffe://a,b"], "ttl": 864_000, "format": "pem",
        "private_key_format": "pkcs8", "key_type": "ec", "key_bits": 256,
    });
    assert_eq!(body, wanted);
}

#[tokio::test]
async fn a_redirect_takes_the_token_to_listed_addresses_only() {
    let thief = Script::start(good).await;
    let to = thief.url("/v1/pki/issue/internal");
    let standby = Script::start(move |_| answer(307, &format!("Location: {to}\r\n"), "")).await;
    let failure = issue(&with_token(&config(&[&standby.url("")])))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Unavailable, "redirect")
    );
    assert!(failure.message.contains(&thief.url("")), "{failure}");
    assert!(thief.seen().is_empty(), "the token went elsewhere");

    let listed = config(&[&standby.url(""), &thief.url("")]);
    issue(&with_token(&listed)).await.unwrap();
    let seen = thief.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("x-vault-token"), [TOKEN]);
    assert!(seen[0].body.contains("common_name"));

    let never = VaultConfig {
        disable_redirects: true,
        ..config(&[&standby.url("")])
    };
    assert_eq!(
        issue(&with_token(&never)).await.unwrap_err().code,
        "redirect"
    );
}

/// Not even to a listed address: the request went without TLS already.
#[tokio::test]
async fn a_redirect_to_https_is_not_followed_and_the_hint_says_what_to_write() {
    let to = "https://127.0.0.1:1";
    for status in [301, 302, 307, 308] {
        let location = format!("Location: {to}/v1/x\r\n");
        let http = Script::start(move |_| answer(status, &location, "")).await;
        let failure = issue(&with_token(&config(&[&http.url(""), to]))).await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.code, "redirect", "{status}");
        let hint = failure.hint.unwrap();
        assert!(hint.contains("write https://"), "{status}: {hint}");
    }
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let slot = Arc::new(Mutex::new(String::new()));
    let other = Arc::clone(&slot);
    let a = Script::start(move |_| {
        answer(307, &format!("Location: {}\r\n", other.lock().unwrap()), "")
    })
    .await;
    let to = a.url("/v1/x");
    let b = Script::start(move |_| answer(307, &format!("Location: {to}\r\n"), "")).await;
    *slot.lock().unwrap() = b.url("/v1/x");
    let failure = issue(&with_token(&config(&[&a.url(""), &b.url("")])))
        .await
        .unwrap_err();
    assert_eq!(failure.code, "redirect");
    assert!(a.seen().len() + b.seen().len() <= 4);
}

#[tokio::test]
async fn a_silent_server_times_out_and_an_order_is_not_sent_twice() {
    let silent = Script::start(|_| String::new()).await;
    let alive = Script::start(good).await;
    let mut config = config(&[&silent.url(""), &alive.url("")]);
    config.timeout = Duration::from_millis(300);
    config.max_retries = 2;
    let vault = with_token(&config);
    let start = Instant::now();
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Transport, "timeout")
    );
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(silent.seen().len(), 1);
    assert!(alive.seen().is_empty(), "it may have been issued");
    // The next attempt begins with the other address.
    issue(&vault).await.unwrap();
    assert_eq!(alive.seen().len(), 1);
}

#[tokio::test]
async fn an_address_that_a_call_was_broken_off_at_comes_last_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let jwt = dir.path().join("jwt");
    script::write(&jwt, "e30.e30.c2ln");
    let auth = Auth::Jwt {
        mount: "jwt".to_owned(),
        role: None,
        path: jwt.into(),
    };
    for auth in [Auth::Token(Secret::new(TOKEN.to_owned())), auth] {
        let silent = Script::start(|_| String::new()).await;
        let alive = Script::start(|seen| match seen.path() {
            "/v1/auth/jwt/login" => json(200, r#"{"auth":{"client_token":"s.t"}}"#),
            _ => good(seen),
        })
        .await;
        let vault = Vault::new(&config(&[&silent.url(""), &alive.url("")]), auth).unwrap();
        // the agent's patience near the end of a certificate, shorter than the connection's
        let patience = Duration::from_millis(300);
        assert!(tokio::time::timeout(patience, issue(&vault)).await.is_err());
        let again = tokio::time::timeout(patience * 10, issue(&vault)).await;
        again.expect("it asks the other one first").unwrap();
        assert_eq!(silent.seen().len(), 1);
    }
}

#[tokio::test]
async fn what_cannot_have_arrived_is_repeated_over_all_addresses() {
    let sealed = Script::start(|_| json(503, r#"{"errors":["Vault is sealed"]}"#)).await;
    let alive = Script::start(good).await;
    let dead = script::dead_url().await;
    let config = config(&[&dead, &sealed.url(""), &alive.url("")]);
    let vault = with_token(&config);
    issue(&vault).await.unwrap();
    issue(&vault).await.unwrap();
    assert_eq!(sealed.seen().len(), 1, "the one that worked comes first");
}

#[tokio::test]
async fn when_all_addresses_fail_each_is_named_and_the_telling_one_leads() {
    let sealed = Script::start(|_| json(503, r#"{"errors":["Vault is sealed"]}"#)).await;
    let dead = script::dead_url().await;
    let mut config = config(&[&dead, &sealed.url("")]);
    config.max_retries = 1;
    let failure = issue(&with_token(&config)).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Unavailable, "sealed")
    );
    assert!(failure.message.contains("connect-refused"), "{failure}");
    assert!(failure.hint.is_some());
    assert_eq!(
        sealed.seen().len(),
        2,
        "one repetition for the transport error"
    );
}

#[tokio::test]
async fn a_refusal_is_not_tried_elsewhere() {
    let acl = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
    let strict = Script::start(move |_| json(403, acl)).await;
    let other = Script::start(good).await;
    let config = config(&[&strict.url(""), &other.url("")]);
    let failure = issue(&with_token(&config)).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Denied, "permission-denied")
    );
    assert!(other.seen().is_empty());
    assert_eq!(
        strict.seen().len(),
        2,
        "one delayed retry, because the token is new"
    );
}

#[tokio::test]
async fn no_message_repeats_the_token_that_a_server_sends_back() {
    let echo = Script::start(|seen| {
        let token = seen.header("x-vault-token").join("");
        json(400, &format!(r#"{{"errors":["unknown token {token}"]}}"#))
    })
    .await;
    let failure = issue(&with_token(&config(&[&echo.url("")])))
        .await
        .unwrap_err();
    let text = format!("{failure} {failure:?}");
    assert!(text.contains("[secret]") && !text.contains(TOKEN), "{text}");
}

#[tokio::test]
async fn retry_after_is_read_in_both_forms() {
    let quota = r#"{"errors":["request path \"pki\": rate limit quota exceeded"]}"#;
    for (header, secs) in [
        ("Retry-After: 7\r\n", 7),
        (
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:50 GMT\r\n",
            13,
        ),
    ] {
        let server = Script::start(move |_| answer(429, header, quota)).await;
        let failure = issue(&with_token(&config(&[&server.url("")])))
            .await
            .unwrap_err();
        assert_eq!(failure.class, FailureClass::Throttled);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(secs)));
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn junk_instead_of_http_is_a_transport_failure() {
    for junk in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
    ] {
        let server = Script::start(move |_| junk.to_owned()).await;
        let failure = issue(&with_token(&config(&[&server.url("")])))
            .await
            .unwrap_err();
        assert_eq!(failure.class, FailureClass::Transport, "{junk:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = Script::start(|_| json(200, &"x".repeat(5 << 20))).await;
    let failure = issue(&with_token(&config(&[&server.url("")])))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::BadAnswer, "answer-too-large")
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_the_reason() {
    let with = |change: fn(&mut VaultConfig)| {
        let mut config = config(&["https://127.0.0.1:8200"]);
        change(&mut config);
        Vault::new(&config, Auth::Token(Secret::new("t".to_owned()))).map(drop)
    };
    type Change = fn(&mut VaultConfig);
    let table: [(Change, &str); 9] = [
        (|c| c.addresses.clear(), "address"),
        (|c| c.namespace = Some("a\nb".to_owned()), "namespace"),
        (
            |c| c.headers = vec![("X-Vault-Token".to_owned(), Secret::new("x".to_owned()))],
            "header",
        ),
        (
            |c| c.headers = vec![("a b".to_owned(), Secret::new("x".to_owned()))],
            "header",
        ),
        (
            |c| c.tls.ca_cert = Some(PathBuf::from("/nowhere/ca.pem")),
            "tls-files",
        ),
        (
            |c| c.tls.ca_cert_bytes = Some("no certificate".to_owned()),
            "tls-files",
        ),
        (
            |c| c.tls.client_cert = Some(PathBuf::from("/nowhere")),
            "tls-files",
        ),
        (|c| c.proxy = Some("::".to_owned().into()), "proxy"),
        (
            |c| c.tls.server_name = Some("a b".to_owned()),
            "server-name",
        ),
    ];
    for (number, (change, code)) in table.into_iter().enumerate() {
        let failure = with(change).unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Misconfigured, code),
            "{number}"
        );
    }
}

#[tokio::test]
async fn our_own_rate_limit_does_not_hold_a_call_beyond_its_time() {
    let server = Script::start(good).await;
    let mut config = config(&[&server.url("")]);
    config.rate_limit = Some((0.01, 1));
    config.timeout = Duration::from_millis(200);
    let vault = with_token(&config);
    issue(&vault).await.unwrap();
    let start = Instant::now();
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Throttled, "own-rate-limit")
    );
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn an_explicit_proxy_gets_the_requests() {
    let proxy = Script::start(good).await;
    let mut config = config(&["http://vault.invalid:8200"]);
    config.proxy = Some(proxy.url("").into());
    issue(&with_token(&config)).await.unwrap();
    assert!(
        proxy.seen()[0]
            .line
            .starts_with("POST http://vault.invalid:8200/v1/pki/issue/internal ")
    );
}

/// What a client of ours gets from this address.
async fn code(address: &str) -> String {
    let failure = issue(&with_token(&config(&[address]))).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Transport, "{failure}");
    assert!(failure.hint.is_some(), "{failure}");
    failure.code
}

#[tokio::test]
async fn each_way_to_get_no_answer_has_its_code() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", plain.local_addr().unwrap());
    let answering = async {
        let (mut client, _) = plain.accept().await.unwrap();
        client
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let _left = client.read_to_end(&mut Vec::new()).await;
    };
    assert_eq!(tokio::join!(code(&address), answering).0, "tls-none");
    assert_eq!(code(&script::dead_url().await).await, "connect-refused");
    assert_eq!(code("unix:///no/such/socket").await, "connect-refused");
    assert_eq!(
        code("http://no-such-host.invalid:8200").await,
        "name-not-found"
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut hurry = config(&[&format!("http://{}", silent.local_addr().unwrap())]);
    hurry.timeout = Duration::from_millis(300);
    let failure = issue(&with_token(&hurry)).await.unwrap_err();
    assert_eq!(failure.code, "timeout");
}
