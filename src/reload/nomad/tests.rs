//! Against a fake Task API on a unix socket: every answer there is.

use std::sync::Arc;

use super::*;
use crate::testing::fake_http::{FakeHttp, Reply};

const ALLOC: &str = "5e1f0d0a-0000-4000-8000-00000000000a";
const SECRET: &str = "eyJhbGciOiJ.eyJhdWQ.c2ln";

struct Rig {
    dir: tempfile::TempDir,
    server: FakeHttp,
    nomad: Nomad,
}

fn config(dir: &Path) -> NomadConfig {
    let environment = Environment::from(
        [
            ("NOMAD_ALLOC_ID", ALLOC.to_owned()),
            ("NOMAD_NAMESPACE", "logs".to_owned()),
            ("NOMAD_SECRETS_DIR", dir.display().to_string()),
        ]
        .map(|(name, text)| (name.to_owned(), text)),
    );
    NomadConfig::of(&environment, Duration::from_secs(5)).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test plays Nomad")]
fn token(dir: &Path, text: &str) {
    std::fs::write(dir.join("nomad_token"), text).unwrap();
}

fn rig(answers: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    token(dir.path(), SECRET);
    let server = FakeHttp::unix(&dir.path().join("api.sock"), Arc::new(answers));
    let nomad = Nomad::new(config(dir.path())).unwrap();
    Rig { dir, server, nomad }
}

fn hup() -> SignalName {
    "SIGHUP".parse().unwrap()
}

#[tokio::test]
async fn signal_and_restart_are_asked_for_as_nomad_wants_it() {
    let rig = rig(|_| Reply::new(200, "{}"));
    assert_eq!(
        rig.nomad.signal("loki", hup()).await,
        Ok(Delivery::Delivered)
    );
    // The token is read anew for each call.
    token(rig.dir.path(), "fresh\n");
    assert_eq!(rig.nomad.restart("loki").await, Ok(Delivery::Delivered));
    let seen = rig.server.seen();
    let lower = |text: &str| text.to_ascii_lowercase();
    assert!(seen[0].starts_with(&format!("PUT /v1/client/allocation/{ALLOC}/signal ")));
    assert!(
        seen[0].ends_with(r#"{"Signal":"SIGHUP","Task":"loki"}"#),
        "{}",
        seen[0]
    );
    assert!(lower(&seen[0]).contains(&lower(&format!("x-nomad-token: {SECRET}\r\n"))));
    assert!(lower(&seen[0]).contains("x-nomad-namespace: logs\r\n"));
    assert!(seen[1].starts_with(&format!("PUT /v1/client/allocation/{ALLOC}/restart ")));
    assert!(seen[1].ends_with(r#"{"TaskName":"loki"}"#), "{}", seen[1]);
    assert!(lower(&seen[1]).contains("x-nomad-token: fresh\r\n"));
}

#[tokio::test]
async fn every_refusal_has_its_name() {
    for (status, body, code, lasting) in [
        (401, "Missing auth token", "nomad-token-missing", true),
        (403, "Permission denied", "nomad-denied", true),
        (403, "ACL token not found", "nomad-token-unknown", true),
        (403, "Forbidden", "nomad-token-unknown", true),
        (404, "Unknown allocation \"x\"", "nomad-alloc-unknown", true),
        (500, "Unknown allocation \"x\"", "nomad-alloc-unknown", true),
        (
            500,
            "1 error occurred:\n * Task not found",
            "nomad-task-unknown",
            true,
        ),
        (500, "Task not found", "nomad-task-unknown", true),
        (
            500,
            "Could not find task runner for task: x",
            "nomad-task-unknown",
            true,
        ),
        (
            500,
            "Server error authenticating request\n",
            "nomad-token-unverified",
            false,
        ),
        (
            500,
            "rpc error: No cluster leader",
            "nomad-no-leader",
            false,
        ),
        (500, "else", "nomad-failed", false),
        (429, "", "nomad-busy", false),
        (400, "bad", "nomad-refused", true),
        (302, "", "nomad-failed", false),
    ] {
        let rig = rig(move |_| Reply::new(status, body));
        for failure in [
            rig.nomad.signal("loki", hup()).await.unwrap_err(),
            rig.nomad.restart("loki").await.unwrap_err(),
        ] {
            assert_eq!(
                (failure.code, failure.lasting),
                (code, lasting),
                "{status} {body}"
            );
            assert!(!failure.reached, "{status} {body}");
            assert!(failure.message.contains(&status.to_string()), "{failure}");
            assert!(!failure.to_string().contains(SECRET));
        }
    }
}

#[tokio::test]
async fn a_task_that_does_not_run_is_no_failure() {
    let rig = rig(|_| Reply::new(500, "Task not running"));
    assert_eq!(
        rig.nomad.signal("loki", hup()).await,
        Ok(Delivery::NotRunning)
    );
    assert_eq!(rig.nomad.restart("loki").await, Ok(Delivery::NotRunning));
}

#[tokio::test]
async fn a_restart_is_given_longer_than_kill_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let long = NomadConfig {
        kill_timeout: Duration::from_secs(3600),
        ..config(dir.path())
    };
    let nomad = Nomad::new(long).unwrap();
    assert!(nomad.restart_limit() > Duration::from_secs(3600));
}

#[tokio::test]
async fn a_missing_socket_or_token_is_named_and_the_address_stands_in() {
    let dir = tempfile::tempdir().unwrap();
    let nomad = Nomad::new(config(dir.path())).unwrap();
    let failure = nomad.restart("loki").await.unwrap_err();
    assert_eq!(failure.code, "nomad-token-missing");
    token(dir.path(), SECRET);
    let failure = nomad.restart("loki").await.unwrap_err();
    assert_eq!(failure.code, "nomad-socket-missing");
    assert!(failure.message.contains("api.sock"), "{failure}");

    let server = FakeHttp::tcp(Arc::new(|_| Reply::new(200, ""))).await;
    let with_address = NomadConfig {
        address: Some(server.address.clone()),
        ..config(dir.path())
    };
    let nomad = Nomad::new(with_address).unwrap();
    assert_eq!(nomad.restart("loki").await, Ok(Delivery::Delivered));
    assert_eq!(server.seen().len(), 1);

    let deep = dir.path().join("x".repeat(100));
    let nomad = NomadConfig {
        socket: Some(deep.join("api.sock")),
        ..config(dir.path())
    };
    let failure = Nomad::new(nomad).unwrap().restart("x").await.unwrap_err();
    assert!(failure.message.contains("at most 107"), "{failure}");
}

#[tokio::test]
async fn a_fifo_as_token_or_ca_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = |name: &str| {
        let path = dir.path().join(name);
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        path
    };
    let with_ca = NomadConfig {
        address: Some("https://127.0.0.1:1".to_owned()),
        ca_cert: Some(pipe("ca.pem")),
        ..config(dir.path())
    };
    token(dir.path(), SECRET);
    let failure = Nomad::new(with_ca).unwrap().restart("loki").await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, "nomad-ca");
    assert!(failure.message.contains("not a regular file"), "{failure}");

    let with_token = NomadConfig {
        token_file: Some(pipe("pipe")),
        ..config(dir.path())
    };
    let failure = Nomad::new(with_token).unwrap().restart("loki").await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, "file-not-regular");
    assert!(failure.message.contains("not a regular file"), "{failure}");
}

#[tokio::test]
async fn a_socket_that_nobody_serves_is_unreachable() {
    let rig = rig(|_| Reply::new(200, ""));
    let Rig { dir, server, nomad } = rig;
    drop(server);
    tokio::task::yield_now().await;
    let failure = nomad.restart("loki").await.unwrap_err();
    assert_eq!(
        (failure.code, failure.reached),
        ("nomad-unreachable", false)
    );
    drop(dir);
}

#[test]
fn no_other_allocation_and_never_all_tasks() {
    let dir = tempfile::tempdir().unwrap();
    for id in ["", "5e1f0d0a", "../../../acl/bootstrap/xxxxxxxxxxxxxxx"] {
        let short = NomadConfig {
            alloc_id: id.to_owned(),
            ..config(dir.path())
        };
        assert_eq!(Nomad::new(short).unwrap_err().code, "nomad-alloc-id");
    }
    assert_eq!(named("").unwrap_err().code, "nomad-task-unknown");
    let outside = NomadConfig::of(&Environment::new(), Duration::ZERO);
    assert_eq!(outside.unwrap_err().code, "nomad-missing");
}

#[tokio::test]
async fn a_lock_is_taken_held_renewed_and_given_back() {
    let rig = rig(|request| {
        if request.contains("other-lock") {
            Reply::new(409, "{}")
        } else if request.contains("denied") {
            Reply::new(403, "Permission denied")
        } else {
            Reply::new(200, r#"{"Path":"p","Lock":{"ID":"abc","TTL":"15s"}}"#)
        }
    });
    let ttl = Duration::from_secs(1);
    let Taken::Mine(lock) = rig
        .nomad
        .acquire("nomad/jobs/loki/lock", ttl)
        .await
        .unwrap()
    else {
        panic!("it was free");
    };
    assert_eq!(
        lock.ttl,
        Duration::from_secs(10),
        "the shortest that Nomad takes"
    );
    assert_eq!(rig.nomad.renew(&lock).await, Ok(true));
    assert_eq!(rig.nomad.release(lock).await, Ok(()));
    assert_eq!(rig.nomad.acquire("other-lock", ttl).await, Ok(Taken::Held));
    let failure = rig.nomad.acquire("denied", ttl).await.unwrap_err();
    assert_eq!(failure.code, "nomad-lock-denied");
    for path in ["", "a?b", "a b", "ä", "../x"] {
        let failure = rig.nomad.acquire(path, ttl).await.unwrap_err();
        assert_eq!(failure.code, "nomad-lock", "{path}");
    }
    let operations: Vec<_> = rig
        .server
        .seen()
        .iter()
        .map(|request| request.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        operations[0],
        "PUT /v1/var/nomad/jobs/loki/lock?lock-acquire HTTP/1.1"
    );
    assert_eq!(
        operations[1],
        "PUT /v1/var/nomad/jobs/loki/lock?lock-renew HTTP/1.1"
    );
    assert_eq!(
        operations[2],
        "PUT /v1/var/nomad/jobs/loki/lock?lock-release HTTP/1.1"
    );
}
