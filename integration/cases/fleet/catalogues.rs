//! `certagent fleet` on a real Consul and a real Nomad, and on false ones.

use std::{
    io::Write as _,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::{Peer, agent, fleet, rows, say, text, wait_until};
use crate::{
    apps::Authority,
    cases::reload::agent::{NomadAgent, ROOT},
    rig::{PATIENCE, Place, Process, certagent, free_ports, http, tool, wait_for},
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
    wait_until(&wanted.to_vec(), || {
        let found = fleet(&["--nomad", "-o", "json"], &known);
        if found.stdout.is_empty() {
            Vec::new()
        } else {
            states(&found)
        }
    });

    one_line(
        &["--nomad"],
        &known[..1],
        "403: Permission denied; check NOMAD_TOKEN",
    );
    let stranger = [known[0], ("NOMAD_TOKEN", ALLOCATIONS[0])];
    one_line(&["--nomad"], &stranger, "403: ");
}

/// What Consul would say: two agents, an application beside one of them, and one without an agent.
fn catalogue(head: &str, agents: [&str; 2]) -> (&'static str, String) {
    let allocation = |number: u8| format!("{number}f0c2d9a-0000-4000-8000-000000000001");
    let entry = |service: &str, number: u8, address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap();
        json!({ "Node": format!("node-{number}"), "Address": "192.0.2.9", "ServiceAddress": host, "ServicePort": port.parse::<u16>().unwrap(),
            "ServiceName": service, "ServiceID": format!("_nomad-task-{}-group-g-{service}-http", allocation(number)), "New": [] })
    };
    if head.starts_with("GET /v1/catalog/services?ns=team ") {
        return (
            "200 OK",
            json!({ "consul": [], "loki-certagent": [], "loki-read": ["a"], "web": [] })
                .to_string(),
        );
    }
    if head.starts_with("GET /v1/catalog/service/loki-certagent?") {
        return (
            "200 OK",
            json!([
                entry("loki-certagent", 1, agents[0]),
                entry("loki-certagent", 2, agents[1])
            ])
            .to_string(),
        );
    }
    if head.starts_with("GET /v1/catalog/service/loki-read?") {
        return (
            "200 OK",
            json!([
                entry("loki-read", 1, "127.0.0.1:3100"),
                entry("loki-read", 3, "127.0.0.1:3101")
            ])
            .to_string(),
        );
    }
    ("404 Not Found", head.to_owned())
}

#[test]
fn consuls_catalogue_finds_agents_and_applications_without_one() {
    let place = Place::new();
    let (_agent, address) = agent(&place);
    let agents = address.clone();
    let consul = Peer::start(move |stream, head, _| {
        let head_lower = head.to_ascii_lowercase();
        let known = head_lower.contains("x-consul-token: its-token\r\n")
            && head_lower.contains("authorization: basic bwu6cgfzcw==\r\n");
        let (status, body) = if known {
            catalogue(head, [&agents, "127.0.0.1:1"])
        } else {
            ("403 Forbidden", "Permission \u{1b}denied".to_owned())
        };
        say(stream, status, &body);
    });
    let file = place.path("token");
    std::fs::write(&file, "its-token\n").unwrap();
    let (at, file) = (consul.at(), file.display().to_string());
    let environment = [
        ("CONSUL_HTTP_ADDR", at.as_str()),
        ("CONSUL_HTTP_TOKEN", "not this one"),
        ("CONSUL_HTTP_TOKEN_FILE", &file),
        ("CONSUL_HTTP_AUTH", "me:pass"),
        ("CONSUL_NAMESPACE", "team"),
    ];
    let output = fleet(&["-o", "json"], &environment);
    let found: Vec<(String, String, String)> = rows(&output)
        .iter()
        .map(|row| {
            let field = |name: &str| row[name].as_str().unwrap().to_owned();
            (field("state"), field("node"), field("component"))
        })
        .collect();
    let wanted = [
        ("no-answer", "node-2", ""),
        ("no-agent", "node-3", "loki-read"),
        ("ready", "node-1", "ingester"),
    ];
    let wanted =
        wanted.map(|(state, node, name)| (state.to_owned(), node.to_owned(), name.to_owned()));
    assert_eq!(found, wanted);
    let refused = fleet(&[], &environment[..2]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains("403: Permission \\u001bdenied; check CONSUL_HTTP_TOKEN")
            && said.lines().count() == 1,
        "{said}"
    );
    let other = fleet(&["--service", "web"], &environment);
    assert!(
        text(&other.stderr).contains("404"),
        "{}",
        text(&other.stderr)
    );
}

#[test]
fn a_catalogue_that_says_nothing_useful_is_one_line() {
    let empty = Peer::start(|stream, head, _| {
        say(
            stream,
            "200 OK",
            if head.contains("/services") {
                "{\"web\":[]}"
            } else {
                "[]"
            },
        )
    });
    let filtered = Peer::start(|stream, head, _| {
        let body = if head.contains("/services") {
            "{}"
        } else {
            "[]"
        };
        let _gone = write!(
            stream,
            "HTTP/1.1 200 OK\r\nX-Consul-Results-Filtered-By-ACLs: true\r\nContent-Length: 2\r\n\r\n{body}"
        );
    });
    let odd = Peer::saying("<html>");
    let silent = "127.0.0.1:1".to_owned();
    for (address, why) in [
        (empty.at(), "it knows web; use --service"),
        (filtered.at(), "the token lacks the rights"),
        (odd.at(), "can't be read"),
        (silent, "cannot connect"),
    ] {
        let output = fleet(&[], &[("CONSUL_HTTP_ADDR", &address)]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    }
    for (name, value) in [
        ("CONSUL_HTTP_SSL_VERIFY", "0"),
        ("CONSUL_HTTP_SSL_VERIFY", "no"),
        ("CONSUL_CACERT", "/none.pem"),
        ("CONSUL_CLIENT_CERT", "/none.pem"),
        ("CONSUL_HTTP_TOKEN_FILE", "/none"),
    ] {
        let output = fleet(
            &[],
            &[("CONSUL_HTTP_ADDR", "https://127.0.0.1:1"), (name, value)],
        );
        assert_eq!(
            output.status.code(),
            Some(2),
            "{name}: {}",
            text(&output.stderr)
        );
    }
    let nomad = fleet(&["--nomad"], &[("NOMAD_SKIP_VERIFY", "true")]);
    assert_eq!(nomad.status.code(), Some(2), "{}", text(&nomad.stderr));
    // TLS that was asked for is not given up for a plain address
    let secure = fleet(
        &[],
        &[
            ("CONSUL_HTTP_ADDR", &format!("http://{}", empty.at())),
            ("CONSUL_HTTP_SSL", "true"),
        ],
    );
    assert!(
        text(&secure.stderr).contains("https://"),
        "{}",
        text(&secure.stderr)
    );
}

#[test]
fn nomads_service_discovery_finds_agents_too() {
    let place = Place::new();
    let (_agent, address) = agent(&place);
    let nomad = Peer::start(move |stream, head, _| {
        let (host, port) = address.rsplit_once(':').unwrap();
        let entry = |name: &str, alloc: &str| json!({ "Address": host, "Port": port.parse::<u16>().unwrap(), "AllocID": alloc, "NodeID": "0123456789", "ServiceName": name });
        let all = head
            .to_ascii_lowercase()
            .contains("x-nomad-token: secret-id\r\n");
        let body = match head.split(' ').nth(1).unwrap() {
            "/v1/services?namespace=*" if all => {
                json!([{ "Namespace": "default", "Services": [{ "ServiceName": "loki-certagent" }, { "ServiceName": "loki-write" }] }])
            }
            "/v1/service/loki-certagent?namespace=*" if all => {
                json!([entry("loki-certagent", "aa")])
            }
            "/v1/service/loki-write?namespace=*" if all => {
                json!([entry("loki-write", "aa"), entry("loki-write", "bb")])
            }
            _ => json!([]),
        };
        say(stream, "200 OK", &body.to_string());
    });
    let url = format!("http://{}", nomad.at());
    let environment = [
        ("NOMAD_ADDR", url.as_str()),
        ("NOMAD_NAMESPACE", "*"),
        ("NOMAD_TOKEN", "secret-id"),
    ];
    let output = fleet(&["--nomad", "-o", "json"], &environment);
    let states: Vec<Value> = rows(&output)
        .iter()
        .map(|row| row["state"].clone())
        .collect();
    assert_eq!(states, ["no-agent", "ready"]);
    let refused = fleet(&["--nomad"], &environment[..2]);
    assert!(
        text(&refused.stderr).contains("no service at all to this token"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn a_catalogue_that_is_away_for_a_moment_ends_no_watch_and_no_wait() {
    let place = Place::new();
    let (_agent, address) = agent(&place);
    // each asks for itself; the second answer is a failure
    let consul = || {
        let (agent, asked) = (address.clone(), AtomicUsize::new(0));
        Peer::start(move |stream, head, _| {
            if head.contains("/catalog/services") && asked.fetch_add(1, Ordering::SeqCst) == 1 {
                return say(stream, "500 Oh", "no leader");
            }
            let body = match head.contains("/services") {
                true => json!({ "loki-certagent": [] }),
                false => {
                    let (host, port) = agent.rsplit_once(':').unwrap();
                    json!([{ "Node": "n", "ServiceAddress": host, "ServicePort": port.parse::<u16>().unwrap() }])
                }
            };
            say(stream, "200 OK", &body.to_string());
        })
    };
    let (for_watch, for_wait) = (consul(), consul());
    let mut watch = certagent(["fleet", "--watch", "-o", "json"]);
    watch.env("CONSUL_HTTP_ADDR", for_watch.at());
    let mut watching = Process::start(&mut watch);
    let environment = [("CONSUL_HTTP_ADDR", for_wait.at())];
    let environment = environment
        .each_ref()
        .map(|(name, at)| (*name, at.as_str()));
    let wait = ["ca", "--wait", "trusted", "--timeout", "5s"];
    let waited = fleet(&wait, &environment);
    assert_eq!(waited.status.code(), Some(7), "{waited:?}");
    assert!(
        text(&waited.stderr).contains("trying again: Consul at"),
        "{waited:?}"
    );
    assert!(
        text(&waited.stdout).contains("no new root is seen"),
        "{waited:?}"
    );

    watching.wait_for_line("500: no leader", PATIENCE);
    wait_until(&2, || {
        watching
            .stdout()
            .matches("\"state\":\"ready\"")
            .count()
            .min(2)
    });

    // one that was never there is not waited for
    let never = fleet(&wait, &[("CONSUL_HTTP_ADDR", "127.0.0.1:1")]);
    assert_eq!(never.status.code(), Some(1), "{never:?}");
    let usual = fleet(&[], &[("CONSUL_HTTP_SSL", "true")]);
    assert!(
        text(&usual.stderr).contains("(CONSUL_HTTP_ADDR is not set)"),
        "{usual:?}"
    );
}
