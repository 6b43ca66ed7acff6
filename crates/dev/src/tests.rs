//! The embedded PKI as a server: logins, issuance, the seal.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::*;

/// A running server, and a one-request-per-connection client for it.
struct Rig {
    addr: SocketAddr,
    root: Secret,
    unseal_key: Secret,
    workload: Workload,
    log: RequestLog,
    _serving: JoinSet<io::Result<()>>,
}

impl Rig {
    async fn start() -> Self {
        let server = DevServer::bind("127.0.0.1:0").await.unwrap();
        let (addr, root) = (server.addr, server.root_token().clone());
        let (workload, log) = (server.workload().clone(), server.log());
        let unseal_key = server.unseal_key().clone();
        let mut serving = JoinSet::new();
        serving.spawn(server.run(CancellationToken::new()));
        Self {
            addr,
            root,
            unseal_key,
            workload,
            log,
            _serving: serving,
        }
    }

    /// Status and body of one request.
    async fn send(&self, token: &str, request: &str, body: &Value) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let (method, path) = request.split_once(' ').unwrap();
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let text = format!(
            "{method} /v1/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-vault-token: {token}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn as_root(&self, request: &str, body: &Value) -> (u16, Value) {
        self.send(self.root.expose(), request, body).await
    }

    /// The token of a login with these claims in place of the good ones.
    async fn log_in(&self, life: Duration, begins: Duration) -> (u16, Value) {
        let jwt = self.workload.token("loki", http::now().plus(begins), life);
        let body = json!({ "role": JWT_ROLE, "jwt": jwt.unwrap().expose() });
        let path = format!("POST auth/{JWT_MOUNT}/login");
        self.send("", &path, &body).await
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn order() -> Value {
    json!({"common_name": "a.service.consul", "ip_sans": "10.0.0.1", "ttl": 30, "key_type": "ec"})
}

#[tokio::test]
async fn a_login_may_issue_and_ask_about_itself_and_nothing_else() {
    let rig = Rig::start().await;
    let (status, login) = rig.log_in(MINUTE, Duration::ZERO).await;
    assert_eq!(status, 200, "{login}");
    assert_eq!(login["auth"]["policies"], json!(["certagent", "default"]));
    let token = login["auth"]["client_token"].as_str().unwrap().to_owned();
    for mount in MOUNTS {
        let path = format!("POST {mount}/issue/{ROLE}");
        let (status, issued) = rig.send(&token, &path, &order()).await;
        assert_eq!(status, 200, "{issued}");
        let chain = issued["data"]["ca_chain"].as_array().unwrap().len();
        assert_eq!(chain, if mount == "pki" { 1 } else { 2 });
    }
    let nothing = Value::Null;
    for (request, expected) in [
        ("GET auth/token/lookup-self", 200),
        ("POST auth/token/renew-self", 200),
        ("GET pki/roles/internal", 403),
        ("POST pki/issue/other", 403),
        ("PUT sys/seal", 403),
        ("POST auth/token/revoke-self", 204),
        ("GET auth/token/lookup-self", 403),
    ] {
        let (status, answer) = rig.send(&token, request, &nothing).await;
        assert_eq!(status, expected, "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_token_ends_with_its_period_and_a_renewal_begins_another() {
    let workload = Workload::new().unwrap();
    let start = http::now();
    let later = |secs| start.plus(Duration::from_secs(secs));
    let jwt = workload.token("loki", start, MINUTE).unwrap();
    let identity = workload.check(jwt.expose(), start).unwrap();
    let mut store = store::Store::new("root", "key", workload, start).unwrap();
    let id = store.log_in(&identity, start).id;
    assert!(store.tokens.renew(&id, later(1_000)).is_some());
    assert!(store.tokens.find(&id, later(2_799)).is_some());
    assert!(store.tokens.find(&id, later(2_800)).is_none());
    assert!(store.tokens.renew(&id, later(2_801)).is_none());
    assert!(store.tokens.find("root", later(999_999)).is_some());
    assert!(store.tokens.renew("root", start).is_none());
}

#[tokio::test]
async fn a_jwt_that_is_old_early_or_strange_does_not_log_in() {
    let rig = Rig::start().await;
    let hour = 60 * MINUTE;
    for (begins, text) in [(hour, "not yet valid"), (Duration::ZERO, "")] {
        let (status, answer) = rig.log_in(MINUTE, begins).await;
        let refused = answer["errors"][0].as_str().unwrap_or_default();
        assert!(refused.contains(text), "{answer}");
        assert_eq!(status, if text.is_empty() { 200 } else { 400 });
    }
    let now = http::now();
    let jwt = rig.workload.token("loki", now, MINUTE).unwrap();
    let late = rig.workload.check(jwt.expose(), now.plus(hour));
    assert!(late.is_err());
    let other = Workload::new().unwrap();
    assert!(other.check(jwt.expose(), now).is_err());
    let claims = json!({"aud": "other", "nomad_job_id": "x", "nomad_task": "y", "exp": now.plus(hour).unix_secs()});
    let strange = rig.workload.sign(&claims).unwrap();
    assert!(rig.workload.check(strange.expose(), now).is_err());
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let refused = DevServer::bind("0.0.0.0:0").await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(io::ErrorKind::InvalidInput)
    );
}

#[tokio::test]
async fn the_seal_stops_everything_until_the_key_is_given() {
    let rig = Rig::start().await;
    assert_eq!(rig.as_root("PUT sys/seal", &Value::Null).await.0, 204);
    let sealed = (503, json!({"errors": ["Vault is sealed"]}));
    assert_eq!(
        rig.as_root("POST pki/issue/internal", &order()).await,
        sealed
    );
    let (status, health) = rig.send("", "GET sys/health", &Value::Null).await;
    assert_eq!((status, &health["sealed"]), (503, &json!(true)));
    for (key, expected) in [("wrong", 400), (rig.unseal_key.expose(), 200)] {
        let (status, _) = rig.send("", "PUT sys/unseal", &json!({ "key": key })).await;
        assert_eq!(status, expected);
    }
    let (status, _) = rig.as_root("POST pki/issue/internal", &order()).await;
    assert_eq!(status, 200);
    let mut seen = 0;
    let lines = rig.log.since(&mut seen);
    assert_eq!(lines[1], "POST pki/issue/internal 503");
    assert_eq!(seen, 6);
    assert!(rig.log.since(&mut seen).is_empty());
}
