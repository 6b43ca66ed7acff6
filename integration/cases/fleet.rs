//! `certagent fleet`: many agents from outside, of the built binary, beside places that lie or say nothing.
//!
//! What stays true: the statuses are made by real agents; whatever else answers is a row.

mod blockers;
mod ca;
mod catalogues;
mod page;
mod rotate;

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream},
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    apps::{
        Authority,
        stubborn::{Behaviour, Stubborn},
    },
    rig::{PATIENCE, Place, Process, certagent, free_ports, http, wait_for},
};

/// Answers each connection by what `answer` writes; on every address of loopback.
struct Peer {
    port: u16,
    most: Arc<AtomicUsize>,
}

impl Peer {
    fn start(answer: impl Fn(&mut TcpStream, &str, IpAddr) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, now, most) = (
            Arc::new(answer),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        let seen = Arc::clone(&most);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, now, seen) =
                    (Arc::clone(&answer), Arc::clone(&now), Arc::clone(&seen));
                thread::spawn(move || {
                    seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let mut stream = stream;
                    let mut head = vec![0; 4096];
                    let count = stream.read(&mut head).unwrap_or(0);
                    let head = String::from_utf8_lossy(&head[..count]).into_owned();
                    let at = stream.local_addr().unwrap().ip();
                    answer(&mut stream, &head, at);
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, most }
    }

    fn saying(body: &str) -> Self {
        let body = body.to_owned();
        Self::start(move |stream, _, _| say(stream, "200 OK", &body))
    }

    fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn say(stream: &mut TcpStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _gone = stream.write_all(format!("{head}{body}").as_bytes());
}

/// An agent of one certificate, and where it answers.
fn agent(place: &Place) -> (Process, String) {
    let mut agent = Process::start(&mut place.agent(&["--http-listen", "127.0.0.1:0"]));
    let line = agent.wait_for_line("health and metrics at ", PATIENCE);
    let address = line.rsplit('/').next().unwrap().to_owned();
    wait_for("a ready agent", PATIENCE, || {
        let ready = http::request(
            &format!("http://{address}"),
            None,
            "GET",
            "/ready",
            &[],
            None,
        )
        .ok()?;
        (ready.status == 200).then_some(())
    });
    (agent, address)
}

fn fleet(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = certagent(["fleet"]);
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn rows(output: &Output) -> Vec<Value> {
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)));
    found["rows"].as_array().unwrap().clone()
}

/// Peers that lie or are silent, and what is said of each.
fn hostile() -> Vec<(Peer, &'static str)> {
    let many = json!({ "version": "1", "certificates": vec![json!({}); 300] }).to_string();
    let endless = |text: &'static [u8]| {
        Peer::start(move |stream, _, _| {
            let _head = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&text.repeat(4096)).is_ok() {}
        })
    };
    let heads = Peer::start(|stream, _, _| {
        let _head = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(&b"X-More: yes\r\n".repeat(512)).is_ok() {}
    });
    let silent = Peer::start(|_, _, _| thread::sleep(Duration::from_secs(20)));
    let drip = Peer::start(|stream, _, _| {
        while stream.write_all(b"H").is_ok() {
            thread::sleep(Duration::from_millis(300));
        }
    });
    let gone = Peer::start(|stream, _, _| say(stream, "404 Not Found", ""));
    vec![
        (endless(b"[[[["), "more than"),
        (endless(b"    "), "more than"),
        (heads, ""),
        (silent, "no answer within 2s"),
        (drip, ""),
        (gone, "older certagent"),
        (Peer::saying("[]"), "not certagent's"),
        (Peer::saying("{}"), "not certagent's"),
        (Peer::saying(&"[".repeat(100_000)), "not certagent's"),
        (Peer::saying(&many), "not believed"),
    ]
}

#[test]
fn a_hostile_or_silent_place_costs_one_row_and_agents_of_other_versions_are_read() {
    let place = Place::new();
    let (_agent, address) = agent(&place);
    let status = http::request(
        &format!("http://{address}"),
        None,
        "GET",
        "/status",
        &[],
        None,
    )
    .unwrap()
    .text;
    let mut bold: Value = serde_json::from_str(&status).unwrap();
    bold["certificates"][0]["name"] = json!("\u{1b}[2J<script>\u{202e}");
    bold["new"] = json!({ "field": 1 });
    let peers = hostile();
    let (older, bold) = (
        Peer::saying(r#"{"version":"0.0","certificates":[{"name":"old","ready":true}]}"#),
        Peer::saying(&bold.to_string()),
    );
    let mut targets: Vec<String> = peers.iter().map(|(peer, _)| peer.at()).collect();
    targets.extend([address, older.at(), bold.at(), "127.0.0.1:1".to_owned()]);
    let began = Instant::now();
    let output = fleet(&["--target", &targets.join(","), "-o", "json"], &[]);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(output.status.code(), Some(1));
    let rows = rows(&output);
    assert_eq!(rows.len(), targets.len(), "{rows:#?}");
    let at = |address: &str| rows.iter().find(|row| row["address"] == address).unwrap();
    for (peer, why) in &peers {
        let row = at(&peer.at());
        assert_eq!(row["state"], "no-answer", "{why}: {row}");
        assert!(
            row["troubles"][0].as_str().unwrap().contains(why),
            "{why}: {row}"
        );
    }
    assert_eq!(at(&older.at())["component"], "old");
    assert_eq!(at(&targets[10])["state"], "ready");
    let table = fleet(&["--target", &targets.join(","), "-o", "wide"], &[]);
    let table = text(&table.stdout);
    assert!(
        !table.contains('\u{1b}') && !table.contains('\u{202e}'),
        "{table}"
    );
    assert!(
        table.lines().last().unwrap().starts_with("of 14: "),
        "{table}"
    );
}

#[test]
fn filters_choose_rows_and_a_component_that_is_nowhere_is_said() {
    let place = Place::new();
    let (_agent, address) = agent(&place);
    let targets = [address];
    let only = fleet(
        &[
            "--target",
            &targets[0],
            "--component",
            "ingester",
            "--state",
            "expired",
        ],
        &[],
    );
    assert_eq!(
        only.status.code(),
        Some(0),
        "all is well, and no row has that state"
    );
    let none = fleet(&["--target", &targets[0], "--component", "nobody"], &[]);
    assert!(
        text(&none.stderr).contains("no instance has the component nobody"),
        "{none:?}"
    );
}

#[test]
fn watched_it_shows_each_change() {
    let place = Place::new();
    let (mut agent, address) = agent(&place);
    let mut command = certagent(["fleet", "--watch", "-o", "json", "--target", &address]);
    let mut watching = Process::start(&mut command);
    watching.wait_for_line("\"state\":\"ready\"", PATIENCE);
    agent.signal(rustix::process::Signal::TERM);
    agent.wait(PATIENCE);
    watching.wait_for_line("\"state\":\"no-answer\"", PATIENCE);
    let lines = watching.stdout();
    assert!(lines.lines().count() >= 2, "a line each time: {lines}");
    let last = lines.lines().last().unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["summary"]["no-answer"], 1);
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures of a run")]
fn five_hundred_agents_take_seconds_and_little_memory() {
    let place = Place::new();
    let (_agent, address) = agent(&place);
    let status = http::request(
        &format!("http://{address}"),
        None,
        "GET",
        "/status",
        &[],
        None,
    )
    .unwrap()
    .text;
    let peer = Peer::start(move |stream, _, _| {
        thread::sleep(Duration::from_millis(10));
        say(stream, "200 OK", &status);
    });
    let targets: Vec<String> = (0..500)
        .map(|at| format!("127.0.{}.{}:{}", at / 250 + 1, at % 250 + 1, peer.port))
        .collect();
    // the machine may have others to serve: what counts is the time on its processors
    let mut best = (Duration::MAX, u64::MAX, Duration::MAX);
    for _ in 0..3 {
        let began = Instant::now();
        let mut command = certagent(["fleet", "--target", &targets.join(","), "-o", "json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut output = child.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            output.read_to_end(&mut all).unwrap();
            all
        });
        let (mut peak, mut worked) = (0, Duration::ZERO);
        while child.try_wait().unwrap().is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))
                .unwrap_or("0 kB");
            peak = peak.max(line.split_whitespace().next().unwrap().parse().unwrap());
            let stat =
                std::fs::read_to_string(status.replace("status", "stat")).unwrap_or_default();
            let after = stat
                .rsplit(") ")
                .next()
                .unwrap()
                .split(' ')
                .skip(11)
                .take(2);
            let ticks: u64 = after.map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
            worked = worked.max(Duration::from_millis(ticks * 10)); // proc_pid_stat(5): 100 a second
            thread::sleep(Duration::from_millis(2));
        }
        let took = began.elapsed();
        let found: Value = serde_json::from_slice(&reader.join().unwrap()).unwrap();
        assert_eq!(found["summary"]["ready"], 500, "{}", found["summary"]);
        best = (best.0.min(worked), best.1.min(peak), best.2.min(took));
    }
    println!(
        "500 instances: {:?}, of it {:?} of processors, {} kB",
        best.2, best.0, best.1
    );
    assert!(best.0 <= Duration::from_secs(3), "{best:?}");
    assert!((1..=60 << 10).contains(&best.1), "{best:?} kB");
    assert!(
        peer.most.load(Ordering::SeqCst) <= 40,
        "some are counted until their thread has run"
    );
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
fn a_look_from_outside_counts_more_than_what_the_agent_believes() {
    let place = Place::new();
    let app = format!("127.0.0.1:{}", free_ports().0);
    let settings = ["--http-listen", "127.0.0.1:0", "--probe-address", &app];
    let mut agent = Process::start(&mut place.agent(&settings));
    let line = agent.wait_for_line("health and metrics at ", PATIENCE);
    let target = line.rsplit('/').next().unwrap();
    wait_for("certificate files", PATIENCE, || place.files());
    let dir = place.certs().display().to_string();
    let looked = || fleet(&["--target", target, "--probe", &dir, "-o", "json"], &[]);
    let serving = Stubborn::start_on(&place.certs(), Behaviour::default(), &app);
    wait_for("all to be well", PATIENCE, || {
        looked().status.success().then_some(())
    });
    drop(serving);
    let said = |wanted: &str| {
        let output = looked();
        assert_eq!(output.status.code(), Some(1));
        let row = &rows(&output)[0];
        let trouble = row["troubles"][0].as_str().unwrap();
        assert!(trouble.starts_with("seen from here: "), "{row}");
        assert!(trouble.contains(wanted), "{row}");
    };
    said("");
    let other = place.path("other");
    let stranger = Authority::new().publish(&other, None);
    let _serving = Stubborn::start_on(&other, Behaviour::default(), &app);
    said(stranger.wanted().serial);
}
