//! Versions in a table, and the question over HTTP.

use std::sync::Arc;

use super::*;
use crate::testing::fake_http::{FakeHttp, Reply};

#[test]
fn auto_follows_the_table_of_versions_and_never_sends_a_signal() {
    let restart = vec![Action::NomadRestart {
        task: "loki".to_owned(),
    }];
    let none = vec![Action::None];
    let escalate = vec![none[0].clone(), restart[0].clone()];
    for (version, leaf) in [
        ("2.7.5", &restart),
        ("2.9.17", &restart),
        ("3.0.0", &restart),
        ("3.1.2", &restart),
        ("3.2.0", &none),
        ("v3.2.0", &none),
        ("3.2.0-rc.0", &none),
        ("3.7.8", &none),
        ("3.10.1", &none),
        ("4.0.0", &none),
        ("main-8fb7b48", &escalate),
        ("", &escalate),
        ("HEAD", &escalate),
    ] {
        let parsed = Version::parse(version);
        assert_eq!(auto(parsed, EventKind::Leaf, "loki"), *leaf, "{version}");
        assert_eq!(auto(parsed, EventKind::Trust, "loki"), restart, "{version}");
    }
}

#[tokio::test]
async fn the_version_comes_from_the_build_information() {
    for (status, body, wanted) in [
        (
            200,
            r#"{"version":"3.7.8","revision":"x","goVersion":"go1.26"}"#,
            Ok(Version { major: 3, minor: 7 }),
        ),
        (200, r#"{"version":"main-1"}"#, Err("is none")),
        (200, "<html>", Err("names no version")),
        (404, "", Err("404")),
        (301, "", Err("301")),
    ] {
        let server = FakeHttp::tcp(Arc::new(move |_| Reply::new(status, body))).await;
        let found = version(&format!("{}/", server.address)).await;
        match wanted {
            Ok(wanted) => assert_eq!(found, Ok(wanted)),
            Err(part) => assert!(found.unwrap_err().contains(part), "{body}"),
        }
        assert!(server.seen()[0].starts_with("GET /loki/api/v1/status/buildinfo "));
    }
}

#[tokio::test]
async fn a_loki_that_does_not_answer_has_no_version() {
    let found = version("http://127.0.0.1:1").await.unwrap_err();
    assert!(found.starts_with("cannot connect"), "{found}");
}
