//! Logins and the life of a token, against a scripted server.

use super::*;

fn jwt(dir: &std::path::Path) -> Auth {
    let path = dir.join("jwt");
    script::write(&path, "e30.e30.c2ln");
    Auth::Jwt {
        mount: "jwt".to_owned(),
        role: None,
        path: path.into(),
    }
}

#[tokio::test]
async fn a_login_with_html_for_an_answer_is_a_bad_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Script::start(|_| json(200, "<html>welcome</html>")).await;
    let vault = Vault::new(&config(&[&server.url("")]), jwt(dir.path())).unwrap();
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::BadAnswer, "login-answer")
    );
}

#[tokio::test]
async fn a_token_that_is_refused_from_the_start_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let server = Script::start(|seen| match seen.path() {
        "/v1/auth/jwt/login" => json(
            200,
            r#"{"auth":{"client_token":"s.t","lease_duration":60}}"#,
        ),
        _ => json(403, r#"{"errors":["permission denied","invalid token"]}"#),
    })
    .await;
    let vault = Vault::new(&config(&[&server.url("")]), jwt(dir.path())).unwrap();
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(failure.code, "token-invalid");
    assert!(failure.message.contains("has just brought"), "{failure}");
    let hint = failure.hint.unwrap();
    assert!(hint.contains("token_bound_cidrs"), "{hint}");
    assert_eq!(server.count("/v1/auth/jwt/login"), 1);
    // the next attempt begins with a login
    issue(&vault).await.unwrap_err();
    assert_eq!(server.count("/v1/auth/jwt/login"), 2);
}

#[tokio::test]
async fn a_token_that_is_no_longer_known_is_replaced_once() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Script::start(move |seen| match seen.path() {
        "/v1/auth/jwt/login" => json(
            200,
            r#"{"auth":{"client_token":"s.t","lease_duration":60}}"#,
        ),
        // the first one is answered, later ones are not
        _ => match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => good(seen),
            _ => json(403, r#"{"errors":["permission denied","invalid token"]}"#),
        },
    })
    .await;
    let vault = Vault::new(&config(&[&server.url("")]), jwt(dir.path())).unwrap();
    issue(&vault).await.unwrap();
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(failure.code, "token-invalid");
    assert_eq!(server.count("/v1/auth/jwt/login"), 2);
}

#[tokio::test]
async fn concurrent_orders_share_one_login_and_connections_close_when_idle() {
    let dir = tempfile::tempdir().unwrap();
    let server = Script::start(|seen| match seen.path() {
        "/v1/auth/jwt/login" => json(
            200,
            r#"{"auth":{"client_token":"s.t","lease_duration":60}}"#,
        ),
        _ => good(seen),
    })
    .await;
    let vault = Vault::new(&config(&[&server.url("")]), jwt(dir.path())).unwrap();
    let (a, b, c) = tokio::join!(issue(&vault), issue(&vault), issue(&vault));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(server.count("/v1/auth/jwt/login"), 1);
    tokio::time::timeout(Duration::from_secs(5), server.all_closed())
        .await
        .unwrap();
    vault.close().await;
    assert_eq!(server.count("/v1/auth/token/revoke-self"), 1);
}

#[tokio::test]
async fn a_silent_server_does_not_hold_up_the_exit() {
    let dir = tempfile::tempdir().unwrap();
    let server = Script::start(|seen| match seen.path() {
        "/v1/auth/jwt/login" => json(
            200,
            r#"{"auth":{"client_token":"s.t","lease_duration":60}}"#,
        ),
        _ => String::new(),
    })
    .await;
    let vault = Vault::new(&config(&[&server.url("")]), jwt(dir.path())).unwrap();
    vault.token().await.unwrap();
    let start = Instant::now();
    vault.close().await;
    assert!(start.elapsed() < Duration::from_millis(2500));
}

#[tokio::test]
async fn a_given_token_is_not_revoked_and_a_changed_file_is_used_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    script::write(&path, "s.one\n");
    let server = Script::start(good).await;
    let vault = Vault::new(
        &config(&[&server.url("")]),
        Auth::TokenFile(path.clone().into()),
    )
    .unwrap();
    issue(&vault).await.unwrap();
    script::write(&path, "s.two");
    issue(&vault).await.unwrap();
    vault.close().await;
    let tokens: Vec<_> = server
        .seen()
        .iter()
        .map(|s| s.header("x-vault-token").join(""))
        .collect();
    assert_eq!(tokens, ["s.one", "s.two"]);
}

#[tokio::test]
async fn a_given_token_is_looked_up_and_renewed_two_thirds_into_its_lease() {
    let server = Script::start(|seen| match seen.path() {
        "/v1/auth/token/lookup-self" => json(
            200,
            r#"{"data":{"ttl":2,"renewable":true,"type":"service"}}"#,
        ),
        "/v1/auth/token/renew-self" => json(
            200,
            r#"{"auth":{"client_token":"s.t","lease_duration":2,"renewable":true}}"#,
        ),
        _ => good(seen),
    })
    .await;
    // No order is sent: the first one may be days away.
    let vault = with_token(&config(&[&server.url("")]));
    let _ = tokio::time::timeout(Duration::from_millis(3400), vault.tend()).await;
    assert_eq!(server.count("/v1/auth/token/lookup-self"), 1);
    assert_eq!(
        server.count("/v1/auth/token/renew-self"),
        2,
        "at 1.3 s and 2.7 s"
    );
}

#[tokio::test]
async fn a_token_file_that_is_replaced_is_cared_for_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    script::write(&path, "s.one");
    let server = Script::start(
        |seen| match seen.header("x-vault-token").join("").as_str() {
            "s.two" => json(200, r#"{"data":{"ttl":60,"renewable":true}}"#),
            _ => json(403, r#"{"errors":["permission denied"]}"#),
        },
    )
    .await;
    let vault = Vault::new(
        &config(&[&server.url("")]),
        Auth::TokenFile(path.clone().into()),
    )
    .unwrap();
    let replace = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(
            server.seen().len(),
            1,
            "a refused token is not asked for again and again"
        );
        let new = dir.path().join("new");
        script::write(&new, "s.two");
        std::fs::rename(&new, &path).unwrap();
        while server.seen().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(5);
    tokio::select! {
        () = vault.tend() => {}
        done = tokio::time::timeout(limit, replace) => done.unwrap(),
    }
    assert_eq!(server.seen()[1].header("x-vault-token"), ["s.two"]);
}

#[tokio::test]
async fn a_token_from_a_login_is_not_kept_alive_unless_a_certificate_hangs_on_it() {
    for (lease, renewals) in [("", 0), ("pki/issue/internal/x", 1)] {
        let dir = tempfile::tempdir().unwrap();
        let body = format!(r#"{{"lease_id":"{lease}","data":{{}}}}"#);
        let server = Script::start(move |seen| match seen.path() {
            "/v1/auth/jwt/login" => json(
                200,
                r#"{"auth":{"client_token":"s.t","lease_duration":2,"renewable":true}}"#,
            ),
            "/v1/auth/token/renew-self" => json(
                200,
                r#"{"auth":{"client_token":"s.t","lease_duration":60,"renewable":true}}"#,
            ),
            _ => json(200, &body),
        })
        .await;
        let vault = Vault::new(&config(&[&server.url("")]), jwt(dir.path())).unwrap();
        issue(&vault).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(1600), vault.tend()).await;
        assert_eq!(
            server.count("/v1/auth/token/renew-self"),
            renewals,
            "{lease:?}"
        );
        vault.close().await;
        if renewals > 0 {
            assert_eq!(
                server.count("/v1/auth/token/revoke-self"),
                0,
                "that would revoke it"
            );
        }
    }
}

#[tokio::test]
async fn a_jwt_that_was_rewritten_during_the_login_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let auth = jwt(dir.path());
    let path = dir.path().join("jwt");
    let server = Script::start(move |seen| {
        if seen.body.contains("c2lnbmF0dXJl") {
            return json(
                200,
                r#"{"auth":{"client_token":"s.t","lease_duration":60}}"#,
            );
        }
        script::write(&path, "e30.e30.c2lnbmF0dXJl");
        json(400, r#"{"errors":["error verifying token signature"]}"#)
    })
    .await;
    let vault = Vault::new(&config(&[&server.url("")]), auth).unwrap();
    vault.token().await.unwrap();
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn an_order_does_not_wait_for_a_renewal_of_the_token_that_hangs() {
    let server = Script::start(|seen| match seen.path() {
        "/v1/auth/token/lookup-self" => String::new(),
        _ => good(seen),
    })
    .await;
    let vault = with_token(&config(&[&server.url("")]));
    let order = async {
        while server.count("/v1/auth/token/lookup-self") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::timeout(Duration::from_secs(2), issue(&vault)).await
    };
    tokio::select! {
        () = vault.tend() => panic!("it runs for ever"),
        answer = order => {
            answer.expect("it uses the token meanwhile").unwrap();
        }
    }
}
