//! Real commands.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::model::reload::EventKind;

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn event() -> Event {
    Event {
        certificate: "grpc".to_owned(),
        kind: EventKind::Trust,
        generation: "g7".to_owned(),
        serial: "0a:0b".to_owned(),
        dir: "/secrets/certs".into(),
    }
}

/// Runs a shell script; returns the result and what was logged.
async fn shell(script: &str, limit: Duration) -> (Result<Delivery, ReloadFailure>, String) {
    let environment = Environment::from([
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ("VAULT_TOKEN".to_owned(), "very-secret-text".to_owned()),
        ("NOMAD_TOKEN".to_owned(), "another-secret".to_owned()),
        ("CERTAGENT_TTL".to_owned(), "1h".to_owned()),
    ]);
    let (inherited, secrets) = split(&environment);
    let argv = ["sh", "-c", script].map(str::to_owned);
    let own = BTreeMap::from([("OWN".to_owned(), "mine".to_owned())]);
    let order = HookCommand {
        argv: &argv,
        limit,
        variables: variables(&inherited, &event(), &own),
        secrets: &secrets,
    };
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let result = run(order).await;
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

#[tokio::test]
async fn a_command_gets_paths_and_serial_and_none_of_our_secrets() {
    let (told, log) = shell(
        "echo $CERTAGENT_NAME $CERTAGENT_EVENT $CERTAGENT_GENERATION $CERTAGENT_SERIAL; \
         echo $CERTAGENT_CA_FILE $CERTAGENT_CERT_FILE $CERTAGENT_KEY_FILE $CERTAGENT_DIR $OWN >&2; \
         env | grep -c -e TOKEN -e CERTAGENT_TTL",
        LIMIT,
    )
    .await;
    // grep found nothing, and says so by its status.
    assert_eq!(told.unwrap_err().code, "exec-failed");
    assert!(log.contains("grpc trust g7 0a:0b"), "{log}");
    let files =
        "/secrets/certs/CA.pem /secrets/certs/cert.pem /secrets/certs/key.pem /secrets/certs mine";
    assert!(log.contains(files), "{log}");
    assert!(log.lines().any(|line| line.contains("exec: 0 ")), "{log}");
}

#[tokio::test]
async fn the_log_shows_neither_key_nor_token() {
    let (told, log) = shell(
        "echo before; echo '-----BEGIN PRIVATE KEY-----'; echo MIIEsecret; echo '-----END PRIVATE KEY-----'; \
         echo 'token=hvs.CAESIJcountless_letters_more'; echo very-secret-text; \
         echo '{\"jwt\":\"eyJhbGciOiJ.eyJhdWQiOiJ.c2lnbmF0dXJl\"}'; echo after",
        LIMIT,
    )
    .await;
    assert_eq!(told, Ok(Delivery::Delivered));
    for secret in ["MIIEsecret", "hvs.", "very-secret-text", "eyJ"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    assert!(log.contains("before") && log.contains("after") && log.contains("[private key]"));
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    let script = format!("sh -c 'echo $$ > {place}/pid; sleep 60' & wait");
    let (told, _) = shell(&script, Duration::from_millis(700)).await;
    let failure = told.unwrap_err();
    assert_eq!((failure.code, failure.reached), ("exec-timeout", true));
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let began = tokio::time::Instant::now();
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
        assert!(began.elapsed() < LIMIT, "it lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_command_that_leaves_a_daemon_or_a_flood_behind_is_not_waited_for() {
    let began = tokio::time::Instant::now();
    let (told, _) = shell("sleep 30 & echo started", LIMIT).await;
    assert_eq!(told, Ok(Delivery::Delivered));
    let (told, log) = shell("yes 0123456789 | head -c 3000000; yes | head -200", LIMIT).await;
    assert_eq!(told, Ok(Delivery::Delivered));
    assert!(log.lines().count() <= MAX_LOGGED_LINES);
    assert!(began.elapsed() < LIMIT);
}

#[tokio::test]
async fn a_program_that_cannot_start_is_named() {
    for argv in [vec![], vec!["/no/such/program".to_owned()]] {
        let order = HookCommand {
            argv: &argv,
            limit: LIMIT,
            variables: BTreeMap::new(),
            secrets: &[],
        };
        let failure = run(order).await.unwrap_err();
        assert!(failure.lasting && failure.code.starts_with("exec-"));
    }
}
