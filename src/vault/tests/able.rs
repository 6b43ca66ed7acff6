//! Whether Vault can serve: what it says of itself, and what is asked of it.

use crate::model::health::IssuerHealth;

use super::{
    script::{Script, answer, dead_url, json},
    *,
};

const ACTIVE: &str = r#"{"initialized":true,"sealed":false,"standby":false}"#;
const SEALED: &str = r#"{"initialized":true,"sealed":true}"#;
const DR: &str =
    r#"{"initialized":true,"sealed":false,"standby":true,"replication_dr_mode":"secondary"}"#;
const STANDBY: &str = r#"{"initialized":true,"sealed":false,"standby":true}"#;

/// What `sys/health` and `sys/leader` answer: status and body each.
async fn said(
    health: (u16, &'static str),
    leader: (u16, &'static str),
) -> Result<IssuerHealth, String> {
    let server = Script::start(move |seen| {
        let path = seen.path().split('?').next().unwrap();
        let (status, body) = match path {
            "/v1/sys/health" => health,
            "/v1/sys/leader" => leader,
            other => panic!("it asks {other}"),
        };
        json(status, body)
    })
    .await;
    let able = with_token(&config(&[&server.url("")])).able().await;
    able.map_err(|failure| failure.code)
}

#[tokio::test]
async fn it_is_able_when_it_or_the_node_behind_it_is_active() {
    let leader = (200, r#"{"leader_address":"https://b:8200"}"#);
    let performance =
        r#"{"initialized":true,"sealed":false,"standby":true,"performance_standby":true}"#;
    let cases = [
        ((200, ACTIVE), (500, ""), None),
        ((200, STANDBY), leader, None),
        ((200, STANDBY), (404, r#"{"errors":[]}"#), None),
        (
            (200, STANDBY),
            (200, r#"{"leader_address":""}"#),
            Some("standby"),
        ),
        ((200, performance), (500, ""), None),
        ((200, DR), leader, Some("standby")),
        ((200, SEALED), leader, Some("sealed")),
        (
            (200, r#"{"initialized":false,"sealed":true}"#),
            leader,
            Some("not-initialized"),
        ),
        // codes that the query does not ask for all the same, and those that it can't ask for
        ((503, SEALED), leader, Some("sealed")),
        ((429, STANDBY), leader, Some("busy")),
        ((530, "{}"), leader, Some("not-vault")),
        ((200, "<html>welcome</html>"), leader, Some("not-json")),
        (
            (502, "<html>bad gateway</html>"),
            leader,
            Some("bad-gateway"),
        ),
    ];
    for (health, leader, code) in cases {
        let found = said(health, leader).await;
        let standby = health.0 == 200 && [STANDBY].contains(&health.1);
        if let (Ok(able), None) = (&found, code) {
            assert_eq!(*able == IssuerHealth::Standby, standby, "{health:?}");
        }
        assert_eq!(found.err().as_deref(), code, "{health:?} {leader:?}");
    }
}

#[tokio::test]
async fn it_is_asked_without_token_namespace_or_order() {
    let server = Script::start(|_| json(200, ACTIVE)).await;
    let mut config = config(&[&server.url("/prefix")]);
    config.namespace = Some("team-a".to_owned());
    with_token(&config).able().await.unwrap();
    let seen = server.seen();
    let [seen] = seen.as_slice() else {
        panic!("one request: {seen:?}")
    };
    assert!(
        seen.line
            .starts_with("GET /prefix/v1/sys/health?standbyok=true&")
    );
    assert!(seen.header("x-vault-token").is_empty());
    assert!(seen.header("x-vault-namespace").is_empty());
}

#[tokio::test]
async fn all_addresses_are_asked_at_once_and_the_order_begins_with_the_able_one() {
    let silent = Script::start(|_| String::new()).await;
    let sealed = Script::start(|_| json(503, r#"{"sealed":true}"#)).await;
    let able = Script::start(|seen| {
        let health = seen.path().starts_with("/v1/sys/health");
        if health {
            json(200, ACTIVE)
        } else {
            good(seen)
        }
    })
    .await;
    let dead = dead_url().await;
    let config = config(&[&dead, &silent.url(""), &sealed.url(""), &able.url("")]);
    let vault = with_token(&config);
    let began = Instant::now();
    vault.able().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "it does not wait for the silent one"
    );
    issue(&vault).await.unwrap();
    assert_eq!((silent.seen().len(), sealed.seen().len()), (1, 1));
    assert_eq!(able.seen().len(), 2);
}

#[tokio::test]
async fn a_silent_server_costs_a_look_three_seconds() {
    let silent = Script::start(|_| String::new()).await;
    let vault = with_token(&config(&[&silent.url("")]));
    let began = Instant::now();
    assert_eq!(vault.able().await.unwrap_err().code, "timeout");
    let took = began.elapsed();
    assert!((3..5).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn looks_and_the_order_after_them_share_a_connection_and_leave_none() {
    let server = Script::start(|seen| {
        if seen.path().starts_with("/v1/sys/health") {
            json(200, ACTIVE)
        } else {
            answer(200, "Content-Type: application/json\r\n", r#"{"data":{}}"#)
        }
    })
    .await;
    let vault = with_token(&config(&[&server.url("")]));
    for _ in 0..3 {
        vault.able().await.unwrap();
    }
    issue(&vault).await.unwrap();
    assert_eq!(server.accepted(), 1);
    tokio::time::timeout(Duration::from_secs(5), server.all_closed())
        .await
        .expect("an idle agent keeps no connection");
}

#[tokio::test]
async fn an_active_node_is_a_better_answer_than_a_standby() {
    let standby = Script::start(|seen| {
        let leader = seen.path() == "/v1/sys/leader";
        let body = if leader {
            r#"{"leader_address":"http://gone"}"#
        } else {
            STANDBY
        };
        json(200, body)
    })
    .await;
    let active = Script::start(|_| json(200, ACTIVE)).await;
    let both = with_token(&config(&[&standby.url(""), &active.url("")]));
    assert_eq!(both.able().await, Ok(IssuerHealth::Active));
    let dead = dead_url().await;
    let one = with_token(&config(&[&standby.url(""), &dead]));
    assert_eq!(one.able().await, Ok(IssuerHealth::Standby));
}

#[tokio::test(start_paused = true)]
async fn a_quick_good_answer_waits_for_the_best_one_and_the_best_for_none() {
    async fn later(millis: u64, able: Option<IssuerHealth>) -> Result<IssuerHealth, FailedCall> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        able.ok_or_else(|| classify::misconfigured("x", "x".to_owned(), "").into())
    }
    let vault = with_token(&config(&["http://a:1", "http://b:1", "http://c:1"]));
    let hold = vault.wire.hold().unwrap();
    let (standby, active) = (Some(IssuerHealth::Standby), Some(IssuerHealth::Active));
    // what each address says and when; the answer and when
    for (checks, answer, millis) in [
        ([(1, standby), (50, active), (900, None)], active, 50),
        ([(1, standby), (50, None), (900, standby)], standby, 900),
        ([(1, None), (900, None), (50, None)], None, 900),
    ] {
        let began = Instant::now();
        let checks = checks.into_iter().map(|(millis, able)| later(millis, able));
        let best = |able: &IssuerHealth| *able == IssuerHealth::Active;
        let found = vault
            .wire
            .any(&hold, &Ask::new("x", "x"), checks, best)
            .await;
        assert_eq!(found.ok(), answer);
        assert_eq!(began.elapsed(), Duration::from_millis(millis));
    }
}
