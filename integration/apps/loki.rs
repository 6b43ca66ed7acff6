//! A real Loki: from 3.2 on it reads its files at every handshake, so that nothing has to be told.

use std::{fs, path::Path, process::Command};

use certagent::model::served::{Accepted, ApplicationHealth};

use super::{Authority, look, on_a_free_port, target, up, verified};
use crate::rig::{Process, tool};

/// One target with gRPC over mTLS, everything else on loopback and in memory.
fn config(home: &Path, port: u16) -> String {
    let home = home.display();
    format!(
        "auth_enabled: false
analytics: {{reporting_enabled: false}}
server:
  http_listen_address: 127.0.0.1
  http_listen_port: 0
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {port}
  grpc_tls_config:
    client_auth_type: RequireAndVerifyClientCert
    client_ca_file: {home}/certs/CA.pem
    cert_file: {home}/certs/cert.pem
    key_file: {home}/certs/key.pem
common:
  path_prefix: {home}/data
  replication_factor: 1
  instance_addr: 127.0.0.1
  ring: {{kvstore: {{store: inmemory}}}}
schema_config:
  configs:
  - {{from: \"2024-01-01\", store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: index_, period: 24h}}}}
storage_config:
  filesystem: {{directory: {home}/objects}}
"
    )
}

#[test]
#[ignore = "needs loki"]
fn loki_serves_a_republished_certificate_without_any_signal() {
    let program = tool("loki");
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let certs = home.path().join("certs");
    let old = authority.publish(&certs, None);
    let (mut process, target) = on_a_free_port(|port| {
        let file = home.path().join("loki.yaml");
        fs::write(&file, config(home.path(), port)).unwrap();
        let mut command = Command::new(&program);
        command.env_clear().arg("-target=query-scheduler");
        command.arg(format!("-config.file={}", file.display()));
        let mut process = Process::start(&mut command);
        let mut target = target(&format!("127.0.0.1:{port}"));
        target.alpn = vec!["h2".to_owned()];
        target.grpc_health = true;
        up(&mut process, &target, &old)?;
        Ok((process, target))
    });
    verified(&target, &old);
    let served = look(&target, &old).0.unwrap();
    assert_eq!(served.accepted, Accepted::Yes { sent: true });
    assert_eq!(served.health, Some(ApplicationHealth::Serving));

    let new = authority.publish(&certs, None);
    assert_eq!(look(&target, &new).1, Ok(()), "{}", process.output());
    assert_eq!(look(&target, &old).1, Err("serves-other"));

    // Without our certificate, and with one of another CA, it does not speak to us.
    let mut without = target.clone();
    without.mtls = false;
    assert_eq!(look(&without, &new).1, Err("client-refused"));
    let set = Authority::new().issue();
    let stranger = new.showing(set.cert_pem(), set.key_pem()).unwrap();
    assert_eq!(look(&target, &stranger).1, Err("client-refused"));
    assert!(process.ended().is_none());
}
