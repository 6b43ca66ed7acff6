//! `certagent fleet`: many agents from outside, of the built binary, beside places that lie or say nothing.
//!
//! What stays true: the statuses are made by real agents; whatever else answers is a row.

mod blockers;
mod ca;
mod catalogues;
mod page;
mod rotate;

use std::{
    fmt::Debug,
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
}

impl Peer {
    fn start(answer: impl Fn(&mut TcpStream, &str, IpAddr) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = Arc::clone(&answer);
                thread::spawn(move || {
                    let mut stream = stream;
                    let mut head = vec![0; 4096];
                    let count = stream.read(&mut head).unwrap_or(0);
                    let head = String::from_utf8_lossy(&head[..count]).into_owned();
                    let at = stream.local_addr().unwrap().ip();
                    answer(&mut stream, &head, at);
                });
            }
        });
        Self { port }
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
        get(&address, "/ready").filter(|ready| ready.status == 200)
    });
    (agent, address)
}

fn get(address: &str, path: &str) -> Option<http::Answer> {
    let url = format!("http://{address}");
    http::request(&url, None, "GET", path, &[], None).ok()
}

/// What an agent says of itself.
fn status(address: &str) -> String {
    get(address, "/status").unwrap().text
}

/// Until the answer is the wanted one; else the last one is said.
#[track_caller]
fn wait_until<T: PartialEq + Debug>(wanted: &T, mut ask: impl FnMut() -> T) {
    let began = Instant::now();
    loop {
        let found = ask();
        if found == *wanted {
            return;
        }
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "wanted {wanted:#?}, was {found:#?}"
        );
        thread::sleep(Duration::from_millis(200));
    }
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
    let mut bold: Value = serde_json::from_str(&status(&address)).unwrap();
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
        table.lines().last().unwrap().starts_with("14 instances: "),
        "{table}"
    );
}

#[test]
fn filters_choose_rows_and_a_component_that_is_nowhere_is_said() {
    let place = Place::new();
    let (_agent, address) = agent(&place);
    let other = Peer::saying(&status(&address).replace("\"ingester\"", "\"querier\""));
    let all = format!("{address},{},127.0.0.1:1", other.at());
    let shown = |target: &str, filters: &[&str]| {
        let arguments = [&["--target", target, "-o", "json"], filters].concat();
        let output = fleet(&arguments, &[]);
        let field = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = rows(&output);
        let each = rows.iter();
        let each = each.map(|row| [field(row, "state"), field(row, "component")].join(" "));
        (output.status.code(), each.collect::<Vec<_>>().join(", "))
    };
    let table = [
        (
            &all,
            "",
            Some(1),
            "no-answer , ready ingester, ready querier",
        ),
        (
            &all,
            "--state ready",
            Some(1),
            "ready ingester, ready querier",
        ),
        (&all, "--state no-answer,expired", Some(1), "no-answer "),
        // what was not seen may be the wanted one
        (
            &all,
            "--component querier",
            Some(1),
            "no-answer , ready querier",
        ),
        (
            &all,
            "--component querier --state ready",
            Some(1),
            "ready querier",
        ),
        (
            &address,
            "--component ingester,ruler",
            Some(0),
            "ready ingester",
        ),
        (&address, "--state expired", Some(0), ""),
    ];
    for (target, filters, code, wanted) in table {
        let words: Vec<&str> = filters.split_whitespace().collect();
        assert_eq!(
            shown(target, &words),
            (code, wanted.to_owned()),
            "{filters}"
        );
    }
    let none = fleet(&["--target", &address, "--component", "nobody"], &[]);
    assert!(
        text(&none.stderr).contains("no instance has the component nobody"),
        "{none:?}"
    );
    let odd = fleet(&["--target", &address, "--state", "odd"], &[]);
    assert_eq!(odd.status.code(), Some(2), "{odd:?}");
}

#[test]
fn watching_ends_with_its_reader() {
    let place = Place::new();
    let socket = place.path("status.sock");
    let socket = socket.to_str().unwrap();
    let settings = ["--http-listen", "127.0.0.1:0", "--status-socket", socket];
    let mut agent = Process::start(&mut place.agent(&settings));
    let line = agent.wait_for_line("health and metrics at ", PATIENCE);
    let address = line.rsplit('/').next().unwrap();
    for arguments in [
        &["fleet", "--watch", "--target", address][..],
        &["status", "--watch", "--socket", socket],
    ] {
        let mut command = certagent(arguments);
        let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
        drop(watching.stdout.take());
        wait_for("the end of the watch", PATIENCE, || {
            watching.try_wait().unwrap()
        });
    }
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
    let status = status(&address);
    let (open, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let peer = Peer::start(move |stream, _, _| {
        seen.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(10));
        // before the answer: the next connection may come right after it
        open.fetch_sub(1, Ordering::SeqCst);
        say(stream, "200 OK", &status);
    });
    let targets: Vec<String> = (0..500)
        .map(|at| format!("127.0.{}.{}:{}", at / 250 + 1, at % 250 + 1, peer.port))
        .collect();
    // the machine may have others to serve: again until it is quiet for so long
    let (mut best, mut ready) = ((Duration::MAX, u64::MAX, Duration::MAX), Value::Null);
    for _ in 0..20 {
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
        best = (worked, peak, took);
        ready = found["summary"]["ready"].clone();
        if took <= Duration::from_secs(3) && ready == 500 {
            break;
        }
    }
    let most = most.load(Ordering::SeqCst);
    println!(
        "500 instances: {:?}, of it {:?} of processors, {} kB, {most} connections at once",
        best.2, best.0, best.1
    );
    assert_eq!(ready, 500);
    assert!(best.2 <= Duration::from_secs(3), "{best:?}");
    assert!((1..=60 << 10).contains(&best.1), "{best:?} kB");
    assert!((20..=32).contains(&most), "{most} connections at once");
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
