//! Requests to a server that does what it likes.

use std::sync::Arc;

use super::*;
use crate::testing::fake_http::{FakeHttp, Reply};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_status_decides_and_a_redirect_is_not_followed() {
    for (status, expect, good) in [
        (200, vec![], true),
        (204, vec![], true),
        (302, vec![], false),
        (500, vec![], false),
        (500, vec![500], true),
        (200, vec![202], false),
        (202, vec![200, 202], true),
    ] {
        let server = FakeHttp::tcp(Arc::new(move |_| Reply {
            head: "Location: /elsewhere\r\n".to_owned(),
            ..Reply::new(status, "")
        }))
        .await;
        let url = format!("{}/-/reload?key=hunter2", server.address);
        let reloaded = send("POST", &url, &expect, LIMIT).await;
        assert_eq!(reloaded.is_ok(), good, "{status} {expect:?}");
        if let Err(failure) = reloaded {
            assert_eq!((failure.code, failure.reached), ("http-status", false));
            assert!(
                failure
                    .message
                    .contains(&format!("/-/reload answered {status}"))
            );
            assert!(!failure.to_string().contains("hunter2"));
        }
        let seen = server.seen();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with("POST /-/reload?key=hunter2 "));
    }
}

#[tokio::test]
async fn silence_is_unclear_and_a_closed_port_is_not() {
    let server = FakeHttp::tcp(Arc::new(|_| Reply {
        after: LIMIT,
        ..Reply::new(200, "")
    }))
    .await;
    let short = Duration::from_millis(200);
    let failure = send("PUT", &server.address, &[], short).await.unwrap_err();
    assert_eq!((failure.code, failure.reached), ("http-timeout", true));
    let failure = send("PUT", "http://127.0.0.1:1/?key=hunter2", &[], LIMIT)
        .await
        .unwrap_err();
    assert_eq!((failure.code, failure.reached), ("http-unreachable", false));
    assert!(!failure.to_string().contains("hunter2"));
}

#[test]
fn only_plain_http_to_loopback_is_a_url() {
    for good in [
        "http://127.0.0.1/x",
        "http://localhost:80",
        "http://[::1]:8080/",
        "http://127.9.9.9",
    ] {
        assert!(check(good).is_ok(), "{good}");
    }
    for bad in [
        "https://127.0.0.1/",
        "http://10.0.0.1/",
        "http://example.com/",
        "http://user@127.0.0.1/",
        "http://localhost.example.com/",
        "unix:///x",
        "x",
        "",
    ] {
        let failure = check(bad).unwrap_err();
        assert_eq!((failure.code, failure.lasting), ("http-url", true), "{bad}");
    }
}
