//! Real commands.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::model::{reload::EventKind, request::KeyType, testing::ca::new_key};

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
    shell_with(script, limit, &KeyTraces::default()).await
}

/// As [`shell`], with a live key.
async fn shell_with(
    script: &str,
    limit: Duration,
    key: &KeyTraces,
) -> (Result<Delivery, ReloadFailure>, String) {
    let environment = Environment::from([
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ("VAULT_TOKEN".to_owned(), "very-secret-text".to_owned()),
        ("NOMAD_TOKEN".to_owned(), "another-secret".to_owned()),
        ("CERTAGENT_TTL".to_owned(), "1h".to_owned()),
        (
            "VAULT_PROXY_ADDR".to_owned(),
            "http://me:proxy-secret@p:1".to_owned(),
        ),
    ]);
    let (inherited, secrets) = split(&environment);
    let argv = ["sh", "-c", script].map(str::to_owned);
    let own = BTreeMap::from([("OWN".to_owned(), "mine".to_owned())]);
    let order = HookCommand {
        argv: &argv,
        limit,
        variables: variables(&inherited, &event(), &own),
        hidden: Hidden {
            secrets: &secrets,
            key,
        },
    };
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let guard = crate::testing::log::record(subscriber);
    let result = run(order).await;
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

#[tokio::test]
async fn a_command_gets_paths_and_serial_and_none_of_our_secrets() {
    let (reloaded, log) = shell(
        "echo $CERTAGENT_NAME $CERTAGENT_EVENT $CERTAGENT_GENERATION $CERTAGENT_SERIAL; \
         echo $CERTAGENT_CA_FILE $CERTAGENT_CERT_FILE $CERTAGENT_KEY_FILE $CERTAGENT_DIR $OWN >&2; \
         env | grep -c -e TOKEN -e CERTAGENT_TTL",
        LIMIT,
    )
    .await;
    // grep found nothing, and says so by its status.
    assert_eq!(reloaded.unwrap_err().code, "exec-failed");
    assert!(log.contains("grpc trust g7 0a:0b"), "{log}");
    let files =
        "/secrets/certs/CA.pem /secrets/certs/cert.pem /secrets/certs/key.pem /secrets/certs mine";
    assert!(log.contains(files), "{log}");
    assert!(log.lines().any(|line| line.contains("hook: 0 ")), "{log}");
}

#[tokio::test]
async fn the_log_shows_neither_key_nor_token() {
    let (reloaded, log) = shell(
        "echo before; echo '-----BEGIN PRIVATE KEY-----'; echo MIIEsecret; echo '-----END PRIVATE KEY-----'; \
         echo 'token=hvs.CAESIJcountless_letters_more'; echo very-secret-text; \
         echo '{\"jwt\":\"eyJhbGciOiJ.eyJhdWQiOiJ.c2lnbmF0dXJl\"}'; echo after",
        LIMIT,
    )
    .await;
    assert_eq!(reloaded, Ok(Delivery::Delivered));
    for secret in ["MIIEsecret", "hvs.", "very-secret-text", "eyJ"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    assert!(log.contains("before") && log.contains("after") && log.contains("[private key]"));
}

/// PEM of a key, without its first and last line.
fn body(key: &str) -> Vec<&str> {
    key.lines().filter(|line| !line.starts_with('-')).collect()
}

#[tokio::test]
async fn no_line_of_the_live_key_is_logged_in_any_form() {
    let key = new_key(KeyType::EcP256);
    let (pem, der) = (key.serialize_pem(), key.serialize_der());
    let traces = KeyTraces::of(&pem, "");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.pem");
    crate::publish::file::replace(&file, pem.as_bytes(), 0o600).unwrap();
    let place = file.display();
    let hex: Vec<String> = der.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex: Vec<String> = hex.chunks(15).map(|some| some.join(":")).collect();
    let one = hex.join("\n    ");
    let scripts = [
        format!("cat {place}"),
        format!("sed -n 2p {place}"),
        format!("base64 {place}"),
        format!("base64 -w0 {place}"),
        format!("printf '%1500s ' x; base64 -w0 {place}"),
        format!("od -An -tx1 {place}; od -An -v -tx1 {place} | tr -d ' \\n'"),
        format!("tr '\\n' '_' <{place}"),
        format!("echo 'priv:'; echo '    {one}'"),
    ];
    for script in scripts {
        let (reloaded, log) =
            shell_with(&format!("{script}; echo; echo the end"), LIMIT, &traces).await;
        assert_eq!(reloaded, Ok(Delivery::Delivered));
        assert!(log.contains("[private key]"), "{script}: {log}");
        assert!(log.contains("the end"), "{script}: {log}");
        for line in body(&pem).into_iter().chain(hex.iter().map(String::as_str)) {
            assert!(!log.contains(line), "{script}: {line} in {log}");
            assert!(!traces.is_in(&log), "{script}: {log}");
        }
    }
}

#[tokio::test]
async fn a_secret_at_the_end_of_a_long_line_is_covered_before_the_line_is_cut() {
    let script = "printf '%990s' x; echo very-secret-text; printf '%990s' x; \
                  echo ' hvs.CAESIJcountless_letters_more'";
    let (_, log) = shell(script, LIMIT).await;
    assert_eq!(log.matches("INFO").count(), 2, "{log}");
    for half in ["very", "hvs", "CAES"] {
        assert!(!log.contains(half), "{half} in {log}");
    }
}

#[tokio::test]
async fn a_command_does_not_inherit_the_proxys_password() {
    let script = "env | grep -c proxy-secret; echo me:proxy-secret http://me:other@p/x";
    let (_, log) = shell(script, LIMIT).await;
    assert!(log.lines().any(|line| line.contains("hook: 0 ")), "{log}");
    for secret in ["proxy-secret", "other"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    let script = format!("sh -c 'echo $$ > {place}/pid; sleep 60' & wait");
    let (reloaded, _) = shell(&script, Duration::from_millis(700)).await;
    let failure = reloaded.unwrap_err();
    assert_eq!((failure.code, failure.reached), ("exec-timeout", true));
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let began = tokio::time::Instant::now();
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
        assert!(began.elapsed() < LIMIT, "it lives on");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_command_that_leaves_a_daemon_or_a_flood_behind_is_not_waited_for() {
    let began = tokio::time::Instant::now();
    let (reloaded, _) = shell("sleep 30 & echo started", LIMIT).await;
    assert_eq!(reloaded, Ok(Delivery::Delivered));
    let (reloaded, log) = shell("yes 0123456789 | head -c 3000000; yes | head -200", LIMIT).await;
    assert_eq!(reloaded, Ok(Delivery::Delivered));
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
            hidden: Hidden {
                secrets: &[],
                key: &KeyTraces::default(),
            },
        };
        let failure = run(order).await.unwrap_err();
        assert!(failure.lasting && failure.code.starts_with("exec-"));
    }
}
