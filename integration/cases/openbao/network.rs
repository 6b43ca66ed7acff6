//! Ways to a server: TLS, sockets, several addresses, namespaces, proxies in the environment.

use certagent::model::failure::FailureClass;
use serde_json::json;

use super::*;
use crate::rig::{Difference, Options, Product, free_ports, wait_for};

#[tokio::test]
#[ignore = "needs openbao"]
async fn the_configured_ca_is_the_only_one_that_is_trusted() {
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let server = OpenBao::start_with(&options);
    server.set_up();
    let mut by_file = config(&server.address);
    by_file.tls.ca_cert = Some(server.ca());
    let mut by_text = config(&server.address);
    by_text.tls.ca_cert_bytes = Some(std::fs::read_to_string(server.ca()).unwrap());
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(server.ca(), dir.path().join("a.pem")).unwrap();
    let mut by_dir = config(&server.address);
    by_dir.tls.ca_path = Some(dir.path().to_owned());
    for config in [&by_file, &by_text, &by_dir] {
        let vault = Vault::new(config, token(&server.token)).unwrap();
        issue(&vault).await.unwrap();
    }
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut wrong = config(&server.address);
    wrong.tls.ca_cert_bytes = Some(stranger.cert.pem());
    let failure = issue(&Vault::new(&wrong, token(&server.token)).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Transport, "tls-untrusted")
    );

    let mut plain = config(&server.address.replace("https", "http"));
    plain.max_retries = 2;
    let failure = issue(&Vault::new(&plain, token(&server.token)).unwrap())
        .await
        .unwrap_err();
    // The server resets the connection behind its refusal, so that its words may be lost.
    let known = ["https-expected", "not-vault"].contains(&failure.code.as_str());
    let hint = failure.hint.clone().unwrap_or_default();
    assert!(known && hint.contains("https"), "{failure}");
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn the_server_name_decides_what_is_verified() {
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let server = OpenBao::start_with(&options);
    server.set_up();
    let by_name = server.address.replace("127.0.0.1", "localhost");
    for (address, name, code) in [
        (&server.address, "localhost", None),
        (&server.address, "vault.example", Some("tls-name")),
        (&by_name, "127.0.0.1", None),
        (&server.address, "192.0.2.9", Some("tls-name")),
    ] {
        let mut config = config(address);
        config.tls.ca_cert = Some(server.ca());
        config.tls.server_name = Some(name.to_owned());
        let vault = Vault::new(&config, token(&server.token)).unwrap();
        let failed = issue(&vault).await.err().map(|failure| failure.code);
        assert_eq!(failed.as_deref(), code, "{name}");
    }
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_unix_socket_is_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bao.sock");
    let listener = format!(
        "listener \"unix\" {{\n address = \"{}\"\n tls_disable = true\n}}\n",
        socket.display()
    );
    let options = Options {
        config: Some(listener),
        ..Options::default()
    };
    let server = OpenBao::start_with(&options);
    server.set_up();
    let config = config(&format!("unix://{}", socket.display()));
    let vault = Vault::new(&config, token(&server.token)).unwrap();
    issue(&vault).await.unwrap();
    assert_eq!(vault.issuers("pki").await.unwrap().issuers.len(), 1);
    drop(server);
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Transport, "connect-refused")
    );
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn dead_and_sealed_addresses_are_passed_over() {
    let options = Options {
        skip_init: true,
        ..Options::default()
    };
    let sealed = OpenBao::start_with(&options);
    let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
    let answer = sealed.request_as("", "POST", "sys/init", Some(&shares));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let server = OpenBao::ready();
    let (port, _) = free_ports();
    let dead = format!("http://127.0.0.1:{port}");
    let mut config = config(&dead);
    config.addresses.push(sealed.address.clone());
    let vault = Vault::new(&config, token(&server.token)).unwrap();
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Unavailable, "sealed")
    );
    assert!(failure.message.contains(&dead), "{failure}");
    assert_eq!(vault.able().await.unwrap_err().code, "sealed");

    config.addresses.push(server.address.clone());
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::new(&config, identity(dir.path(), &Claims::default())).unwrap();
    issue(&vault).await.unwrap();
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_server_that_is_sealed_stopped_and_gone_is_told_apart() {
    let server = OpenBao::ready();
    let mut config = config(&server.address);
    config.timeout = Duration::from_millis(400);
    let vault = Vault::new(&config, token(&server.token)).unwrap();
    issue(&vault).await.unwrap();
    server.process().signal(rustix::process::Signal::STOP);
    wait_for("the stop", Duration::from_secs(10), || {
        is_stopped(server.process().pid()).then_some(())
    });
    let failure = issue(&vault).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Transport, "timeout")
    );
    assert_eq!(vault.able().await.unwrap_err().code, "timeout");
    server.process().signal(rustix::process::Signal::CONT);
    server.write("sys/seal", &json!({}));
    wait_for("the seal", Duration::from_secs(10), || {
        let answer = server.request("GET", "sys/health", None);
        (answer.status == 503).then_some(())
    });
    assert_eq!(issue(&vault).await.unwrap_err().code, "sealed");
    drop(server);
    assert_eq!(issue(&vault).await.unwrap_err().code, "connect-refused");
}

/// A stop takes effect thread by thread, some time after the signal.
fn is_stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| {
        std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| {
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        })
    })
}

#[tokio::test]
#[ignore = "needs openbao"]
async fn a_namespace_has_its_own_mounts() {
    let server = OpenBao::ready();
    let made = server.request("POST", "sys/namespaces/team-a", Some(&json!({})));
    let wanted = Product::tested().expected(Difference::Namespaces);
    assert!(
        made.status == 200 || made.text.contains(wanted),
        "{}",
        made.text
    );
    if made.status != 200 {
        return;
    }
    server.write("team-a/sys/mounts/pki", &json!({ "type": "pki" }));
    let root = json!({ "common_name": "team root", "key_type": "ec", "ttl": "700h" });
    server.write("team-a/pki/root/generate/internal", &root);
    let role = json!({ "allow_any_name": true, "allowed_uri_sans": ["*"], "key_type": "ec" });
    server.write("team-a/pki/roles/ec", &role);
    let policy = json!({ "policy": "path \"pki/issue/ec\" { capabilities = [\"update\"] }" });
    server.write("team-a/sys/policies/acl/certagent", &policy);
    server.write("team-a/sys/auth/approle", &json!({ "type": "approle" }));
    let role = json!({ "token_policies": ["certagent"] });
    server.write("team-a/auth/approle/role/certagent", &role);
    let id = server.read("team-a/auth/approle/role/certagent/role-id");
    let secret = server.write("team-a/auth/approle/role/certagent/secret-id", &json!({}));
    let auth = Auth::AppRole {
        mount: "approle".to_owned(),
        role_id: id["data"]["role_id"].as_str().unwrap().to_owned(),
        secret_id_path: None,
        secret_id: Some(Secret::new(
            secret["data"]["secret_id"].as_str().unwrap().to_owned(),
        )),
        wrapped: false,
    };
    let mut config = config(&server.address);
    assert!(
        issue(&Vault::new(&config, auth.clone()).unwrap())
            .await
            .is_err()
    );
    config.namespace = Some("team-a".to_owned());
    let vault = Vault::new(&config, auth.clone()).unwrap();
    issue(&vault).await.unwrap();
    vault.able().await.unwrap();
    let team = vault.issuers("pki").await.unwrap();
    assert_eq!(team.issuers.len(), 1);
    config.namespace = Some("typo".to_owned());
    let failure = issue(&Vault::new(&config, auth).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Misconfigured, "namespace-not-found")
    );
}

/// Run again below with proxy variables that lead nowhere.
#[tokio::test]
#[ignore = "needs openbao"]
async fn an_order_to_a_plain_server() {
    let server = OpenBao::ready();
    issue(&vault(&server, token(&server.token))).await.unwrap();
}

#[test]
#[ignore = "needs openbao"]
fn proxy_variables_of_the_environment_are_not_obeyed() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "cases::openbao::network::an_order_to_a_plain_server",
        ])
        .envs(
            ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"]
                .map(|name| (name, "http://127.0.0.1:1")),
        )
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}
