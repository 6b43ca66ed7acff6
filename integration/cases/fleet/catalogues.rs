//! `certagent fleet` on a real Consul and a real Nomad; what it does on false ones is in `fleet`.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use super::{Peer, agent, fleet, rows, text};
use crate::{
    apps::Authority,
    cases::reload::agent::{NomadAgent, ROOT},
    rig::{PATIENCE, Place, Process, free_ports, http, tool, wait_for},
};

/// A token with all rights.
const TOKEN: &str = "5e1f0d0a-0000-4000-8000-000000000002";

const ALLOCATIONS: [&str; 2] = [
    "1f0c2d9a-0000-4000-8000-000000000001",
    "2f0c2d9a-0000-4000-8000-000000000001",
];

fn states(output: &std::process::Output) -> Vec<(String, String)> {
    let field = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = rows(output);
    let each = rows
        .iter()
        .map(|row| (field(row, "state"), field(row, "component")));
    each.collect()
}

#[track_caller]
fn one_line(arguments: &[&str], environment: &[(&str, &str)], wanted: &str) {
    let output = fleet(arguments, environment);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(wanted) && said.lines().count() == 1, "{said}");
}

/// In development mode, with ACLs that deny; its second port wants TLS with a certificate of that directory.
fn consul(certs: &Path) -> (Process, String, String) {
    let ((api, lan), (server, secure)) = (free_ports(), free_ports());
    let file = |name: &str| certs.join(name).display().to_string();
    let (ca, cert, key) = (file("CA.pem"), file("cert.pem"), file("key.pem"));
    let tls = format!(
        "tls {{ https {{ ca_file = {ca:?}, cert_file = {cert:?}, key_file = {key:?}, verify_incoming = true }} }}"
    );
    let rules = format!(
        "acl {{ enabled = true, default_policy = \"deny\", tokens {{ initial_management = \"{TOKEN}\" }} }}"
    );
    let mut command = Command::new(tool("consul"));
    command
        .args(["agent", "-dev", "-bind=127.0.0.1", "-log-level=warn"])
        .args([format!("-http-port={api}"), format!("-serf-lan-port={lan}")])
        .args([format!("-server-port={server}"), format!("-hcl={rules}")])
        .args([
            "-dns-port=-1",
            "-grpc-port=-1",
            "-grpc-tls-port=-1",
            "-serf-wan-port=-1",
        ])
        .args([format!("-https-port={secure}"), format!("-hcl={tls}")])
        .arg("-hcl=disable_update_check = true");
    let process = Process::start(&mut command);
    let address = format!("127.0.0.1:{api}");
    let secure = format!("127.0.0.1:{secure}");
    wait_for("Consul", 2 * PATIENCE, || {
        ask(&address, "catalog/services", "GET", None).filter(|known| known.contains("consul"))
    });
    (process, address, secure)
}

fn ask(address: &str, path: &str, method: &str, body: Option<&Value>) -> Option<String> {
    let (url, path) = (format!("http://{address}"), format!("/v1/{path}"));
    let token = [("X-Consul-Token", TOKEN)];
    let answer = http::request(&url, None, method, &path, &token, body).ok()?;
    (answer.status == 200).then_some(answer.text)
}

#[test]
#[ignore = "needs consul"]
fn a_real_consul_names_agents_and_says_why_it_does_not() {
    let place = Place::new();
    let certs = place.path("consul");
    Authority::new().publish(&certs, None);
    let (_consul, at, secure) = consul(&certs);
    let (_agent, address) = agent(&place);
    let known = [
        ("CONSUL_HTTP_ADDR", at.as_str()),
        ("CONSUL_HTTP_TOKEN", TOKEN),
    ];
    one_line(&[], &known, "it knows consul; use --service");

    let register = |name: &str, allocation: &str, address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap();
        let service = json!({ "Name": name, "ID": format!("{name}-{allocation}"), "Address": host, "Port": port.parse::<u16>().unwrap(),
            "Meta": { "alloc_id": allocation } });
        ask(&at, "agent/service/register", "PUT", Some(&service)).unwrap();
    };
    let [one, two] = ALLOCATIONS;
    register("loki-certagent", one, &address);
    register("loki-write", one, "127.0.0.1:3100");
    register("loki-read", two, "127.0.0.1:3101");
    let other = Peer::saying("<html>");
    register("web", two, &other.at());
    let wanted = [("no-agent", "loki-read"), ("ready", "ingester")];
    let wanted = wanted.map(|(state, name)| (state.to_owned(), name.to_owned()));
    // Consul keeps connections open, and several questions follow each other
    for _ in 0..10 {
        assert_eq!(states(&fleet(&["-o", "json"], &known)), wanted);
    }
    let file = |name: &str| certs.join(name).display().to_string();
    let (ca, cert, key) = (file("CA.pem"), file("cert.pem"), file("key.pem"));
    let address = format!("https://{secure}");
    let tls = [
        ("CONSUL_HTTP_ADDR", address.as_str()),
        known[1],
        ("CONSUL_CACERT", &ca),
        ("CONSUL_CLIENT_CERT", &cert),
        ("CONSUL_CLIENT_KEY", &key),
    ];
    assert_eq!(states(&fleet(&["-o", "json"], &tls)), wanted);
    one_line(&[], &tls[..3], "ertificate");
    one_line(&[], &tls[..2], "ertificate");
    let web = fleet(&["--service", "web"], &known);
    assert!(text(&web.stdout).contains("not certagent's"), "{web:?}");

    one_line(&[], &known[..1], "it shows no service at all to this token");
    let made = ask(
        &at,
        "acl/token",
        "PUT",
        Some(&json!({ "Description": "no rights" })),
    );
    let made: Value = serde_json::from_str(&made.unwrap()).unwrap();
    let poor = [
        known[0],
        ("CONSUL_HTTP_TOKEN", made["SecretID"].as_str().unwrap()),
    ];
    one_line(&[], &poor, "the token lacks the rights");
    let stranger = [known[0], ("CONSUL_HTTP_TOKEN", ALLOCATIONS[0])];
    one_line(&[], &stranger, "403: ");
}

#[test]
#[ignore = "needs nomad"]
fn a_real_nomad_names_agents_and_says_why_it_does_not() {
    let nomad = NomadAgent::start();
    let place = Place::new();
    let (_agent, address) = agent(&place);
    let known = [
        ("NOMAD_ADDR", nomad.address.as_str()),
        ("NOMAD_TOKEN", ROOT),
    ];
    one_line(&["--nomad"], &known, "it shows no service at all");

    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    nomad.run_services(&[
        ("write", port, &["loki-certagent", "loki-write"]),
        ("read", free_ports().0, &["loki-read"]),
    ]);
    let wanted = [("no-agent", "loki-read"), ("ready", "ingester")];
    let wanted = wanted.map(|(state, name)| (state.to_owned(), name.to_owned()));
    wait_for("both services", PATIENCE, || {
        let found = fleet(&["--nomad", "-o", "json"], &known);
        (!found.stdout.is_empty() && states(&found) == wanted).then_some(())
    });

    one_line(
        &["--nomad"],
        &known[..1],
        "403: Permission denied; check NOMAD_TOKEN",
    );
    let stranger = [known[0], ("NOMAD_TOKEN", ALLOCATIONS[0])];
    one_line(&["--nomad"], &stranger, "403: ");
}
