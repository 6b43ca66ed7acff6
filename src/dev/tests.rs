//! The embedded PKI as a server: logins, issuance, faults.

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
    workload: Workload,
    faults: Faults,
    _serving: JoinSet<io::Result<()>>,
}

impl Rig {
    async fn start() -> Self {
        let server = DevServer::bind("127.0.0.1:0", DevOptions::default())
            .await
            .unwrap();
        let (addr, root) = (server.addr(), server.root_token().clone());
        let (workload, faults) = (server.workload().clone(), server.faults().clone());
        let mut serving = JoinSet::new();
        serving.spawn(server.run(CancellationToken::new()));
        Self {
            addr,
            root,
            workload,
            faults,
            _serving: serving,
        }
    }

    async fn raw(&self, request: &str, body: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.addr).await?;
        let text = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-vault-token: {}\r\n\
             content-length: {}\r\n\r\n{body}",
            self.root.expose(),
            body.len()
        );
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self
            .raw(&format!("POST /v1/{path}"), &body.to_string())
            .await
            .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

#[tokio::test]
async fn a_seeded_server_logs_in_by_jwt_and_issues() {
    let rig = Rig::start().await;
    let jwt = rig
        .workload
        .token("loki", SystemClock.now(), Duration::from_secs(60));
    let (status, login) = rig
        .post(
            &format!("auth/{JWT_MOUNT}/login"),
            json!({ "jwt": jwt.expose() }),
        )
        .await;
    assert_eq!(status, 200, "{login}");
    assert_eq!(
        login["auth"]["policies"],
        json!(["certagent", "default"]),
        "{login}"
    );
    let order = json!({"common_name": "a.service.consul", "ip_sans": "10.0.0.1", "ttl": 30,
        "key_type": "ec"});
    for mount in MOUNTS {
        let (status, issued) = rig
            .post(&format!("{mount}/issue/{ROLE}"), order.clone())
            .await;
        assert_eq!(status, 200, "{issued}");
        let chain = issued["data"]["ca_chain"].as_array().unwrap().len();
        assert_eq!(chain, if mount == "pki" { 1 } else { 2 });
    }
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let refused = DevServer::bind("0.0.0.0:0", DevOptions::default()).await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(io::ErrorKind::InvalidInput)
    );
}

#[tokio::test]
async fn faults_come_and_go() {
    let rig = Rig::start().await;
    let set = |fault| rig.faults.set(fault);
    set(Fault {
        throttled: Some(7),
        ..Fault::default()
    });
    let answer = rig.raw("GET /v1/pki/ca/pem", "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(answer.contains("retry-after: 7"), "{answer}");
    set(Fault {
        sealed: true,
        ..Fault::default()
    });
    let (status, body) = rig.post("pki/issue/internal", json!({})).await;
    assert_eq!(
        (status, body),
        (503, json!({"errors": ["Vault is sealed"]}))
    );
    for fault in [
        Fault {
            refuse: true,
            ..Fault::default()
        },
        Fault {
            lose_answers: true,
            ..Fault::default()
        },
    ] {
        set(fault);
        let answer = rig.raw("GET /v1/pki/ca/pem", "").await;
        assert!(
            answer.as_deref().unwrap_or_default().is_empty(),
            "{answer:?}"
        );
    }
    rig.faults.clear();
    let answer = rig.raw("GET /v1/pki/ca/pem", "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(rig.faults.count("pki/ca/pem 200"), 2);
}

#[test]
fn a_leased_certificate_is_revoked_when_its_token_ends() {
    use answer::Answer;
    use call::{Call, Op};
    let start = SystemClock.now();
    let root = Secret::new("root".to_owned());
    let mut store = store::Store::new("root", start);
    seed::seed(&mut store, &root, &Workload::default(), start).unwrap();
    let mut send = |op, path: &str, body: Value, token: &str, after: u64| {
        let call = Call {
            op,
            path: path.to_owned(),
            query: Vec::new(),
            input: body.as_object().cloned().unwrap_or_default(),
            token: Some(token.to_owned()),
            wrap: None,
            now: start.plus(Duration::from_secs(after)),
        };
        match store.answer(&call) {
            Ok(Answer::Envelope(envelope)) => envelope.into_json(),
            Ok(_) => Value::Null,
            Err(refused) => json!({"status": refused.status}),
        }
    };
    let role = json!({"allow_any_name": true, "key_type": "ec", "generate_lease": true});
    send(Op::Update, "pki/roles/lease", role, "root", 0);
    let policy = json!({"policy": "path \"pki/*\" { capabilities = [\"update\"] }"});
    send(Op::Update, "sys/policies/acl/all", policy, "root", 0);
    let grant = json!({"policies": ["all"], "ttl": "10s"});
    let token = send(Op::Update, "auth/token/create", grant, "root", 0);
    let token = token["auth"]["client_token"].as_str().unwrap().to_owned();
    let order = json!({"common_name": "a.b", "ttl": "1h"});
    let issued = send(Op::Update, "pki/issue/lease", order.clone(), &token, 1);
    let cert = format!(
        "pki/cert/{}",
        issued["data"]["serial_number"].as_str().unwrap()
    );
    let early = send(Op::Read, &cert, Value::Null, "", 9);
    assert_eq!(early["data"]["revocation_time"], 0, "{early}");
    let late = send(Op::Read, &cert, Value::Null, "", 11);
    assert_ne!(late["data"]["revocation_time"], 0, "{late}");
    let refused = send(Op::Update, "pki/issue/lease", order, &token, 11);
    assert_eq!(refused["status"], 403);
}
