//! Health, metrics, status and renew of the built binary; and that documents, alerts and dashboard
//! name only metrics that exist.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};

use certagent::observe::metrics::{METRICS, Metric};
use rustix::process::Signal;
use serde_json::Value;

use crate::rig::{PATIENCE, Place, Process, http, tool, wait_for};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The embedded PKI, and an agent's environment as in a Nomad task.
struct Stage(Place);

impl Stage {
    fn new() -> Self {
        let mut place = Place::new();
        for name in ["NOMAD_ALLOC_DIR", "NOMAD_SECRETS_DIR"] {
            place.set(name, place.path(""));
        }
        for (name, value) in [
            ("CERTAGENT_COMPONENT", "demo"),
            ("CERTAGENT_NODE_IP", "127.0.0.1"),
            ("CERTAGENT_MOUNT", "pki_int"),
            ("CERTAGENT_TTL", "1h"),
            ("CERTAGENT_VAULT_MAX_RETRIES", "0"),
        ] {
            place.set(name, value);
        }
        Self(place)
    }

    fn socket(&self) -> PathBuf {
        self.0.path("certagent/run/status.sock")
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.0.ask(arguments)
    }

    /// A running agent and the address of its health and metrics.
    fn agent(&self) -> (Process, String) {
        let mut command = self.0.certagent(&["run", "--http-listen", "127.0.0.1:0"]);
        let mut agent = Process::start(&mut command);
        let line = agent.wait_for_line("health and metrics at ", PATIENCE);
        let address = line.rsplit(' ').next().unwrap().to_owned();
        (agent, address)
    }

    fn status(&self) -> Value {
        let output = self.ask(&["status", "-o", "json"]);
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    fn wait_until_ready(&self, address: &str) {
        wait_for("a ready agent", PATIENCE, || {
            (get(address, "/ready").status == 200).then_some(())
        });
    }
}

fn get(address: &str, path: &str) -> http::Answer {
    http::request(address, None, "GET", path, &[], None).unwrap()
}

/// The value of a sample with no label but the certificate's.
fn sample(metrics: &str, name: &str) -> f64 {
    let head = format!("{name}{{");
    let line = metrics.lines().find(|line| line.starts_with(&head));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn health_and_metrics_are_served_and_nothing_else() {
    let stage = Stage::new();
    let (mut agent, address) = stage.agent();
    stage.wait_until_ready(&address);
    let ready = get(&address, "/ready").json();
    assert_eq!(ready["ready"], true, "{ready}");
    assert_eq!(ready["certificates"][0]["name"], "demo");
    assert_eq!(get(&address, "/live").status, 200);
    let plain = get(&address, "/metrics");
    let head = plain.head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/plain; version=0.0.4"));
    let accept = [(
        "Accept",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.3",
    )];
    let scrape = http::request(&address, None, "GET", "/metrics", &accept, None).unwrap();
    let head = scrape.head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    let described: BTreeSet<String> = scrape
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (family, kind) = line.split_once(' ').unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            format!("{family}{suffix}")
        })
        .collect();
    let table: BTreeSet<String> = METRICS.iter().map(Metric::name).collect();
    assert_eq!(described, table);
    assert_eq!(sample(&scrape.text, "certagent_ready"), 1.0);
    let asked = stage.status();
    let served = get(&address, "/status").json();
    assert_eq!(
        served["certificates"][0]["live"],
        asked["certificates"][0]["live"]
    );
    assert!(
        served["node"].as_str().is_some_and(|name| !name.is_empty()),
        "{served}"
    );
    let page = get(&address, "/");
    assert!(
        page.head.contains("text/html") && page.head.contains("default-src 'none'"),
        "{}",
        page.head
    );
    assert!(
        page.text
            .contains(asked["certificates"][0]["live"]["serial"].as_str().unwrap()),
        "{}",
        page.text
    );
    for path in ["/renew", "/metrics/x", "/status/x"] {
        assert_eq!(get(&address, path).status, 404, "{path}");
    }
    let renew = http::request(&address, None, "POST", "/renew/demo", &[], None).unwrap();
    assert_eq!(renew.status, 404, "only the status socket takes wishes");
    let post = http::request(&address, None, "POST", "/metrics", &[], None).unwrap();
    assert_eq!(post.status, 405);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(PATIENCE).code(), Some(0), "{}", agent.output());
    assert!(!stage.socket().exists(), "the socket goes with the agent");
}

#[test]
fn an_agent_without_a_certificate_is_live_and_not_ready() {
    let stage = Stage::new();
    let mut command = stage.0.certagent(&["run", "--http-listen", "127.0.0.1:0"]);
    command.env("VAULT_TOKEN", "s.wrongwrongwrongwrongwrong");
    let mut agent = Process::start(&mut command);
    let line = agent.wait_for_line("health and metrics at ", PATIENCE);
    let address = line.rsplit(' ').next().unwrap();
    let ready = wait_for("the first failure", PATIENCE, || {
        let answer = get(address, "/ready");
        assert_eq!(answer.status, 503);
        let ready = answer.json();
        ready["certificates"][0]["degraded"][0]
            .is_object()
            .then_some(ready)
    });
    let one = &ready["certificates"][0];
    assert_eq!(one["reasons"][0]["code"], "nothing-published", "{ready}");
    assert_eq!(one["degraded"][0]["code"], "failing", "{ready}");
    assert_eq!(get(address, "/live").status, 200);
    let text = get(address, "/metrics").text;
    let denied = "certagent_failures_total{certificate=\"demo\",class=\"denied\"} ";
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix(denied))
        .unwrap();
    assert_ne!(count, "0");
    let status = stage.ask(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    let table = String::from_utf8(status.stdout).unwrap();
    assert!(table.contains("not ready"), "{table}");
}

#[test]
fn wait_and_renew_answer_as_json() {
    let stage = Stage::new();
    let (_agent, address) = stage.agent();
    stage.wait_until_ready(&address);
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_slice(&stage.ask(arguments).stdout).unwrap()
    };
    let live = stage.status()["certificates"][0]["live"].clone();
    assert_eq!(json(&["wait", "-o", "json"])["serial"], live["serial"]);
    let renewed = json(&["renew", "-o", "json"]);
    let serial = &stage.status()["certificates"][0]["live"]["serial"];
    assert_ne!(serial, &live["serial"]);
    assert_eq!(&renewed["certificates"][0]["serial"], serial);
}

#[test]
fn status_metrics_and_explain_say_the_same() {
    let stage = Stage::new();
    let (_agent, address) = stage.agent();
    stage.wait_until_ready(&address);
    let explain = stage.ask(&["explain", "-o", "json"]);
    let explain: Value = serde_json::from_slice(&explain.stdout).unwrap();
    let explained = &explain["certificates"][0];
    let metrics = get(&address, "/metrics").text;
    let status = stage.status();
    let one = &status["certificates"][0];
    assert_eq!(one["name"], explained["name"]);
    assert_eq!(one["live"]["serial"], explained["serial"]);
    let serial = format!("serial={}", one["live"]["serial"]);
    assert!(metrics.contains(&serial), "{serial}\n{metrics}");
    let same = [
        (
            "/live/not_after",
            "/renewal/not_after",
            "certagent_certificate_not_after_timestamp_seconds",
        ),
        (
            "/live/not_before",
            "/renewal/not_before",
            "certagent_certificate_not_before_timestamp_seconds",
        ),
        (
            "/live/obtained_at",
            "/renewal/obtained_at",
            "certagent_last_renewal_success_timestamp_seconds",
        ),
        (
            "/due",
            "/renewal/due",
            "certagent_renewal_due_timestamp_seconds",
        ),
        (
            "/next",
            "/next/until",
            "certagent_next_action_timestamp_seconds",
        ),
    ];
    for (here, there, name) in same {
        let millis = one.pointer(here).unwrap()["unix_millis"].as_i64().unwrap();
        let other = explained.pointer(there).unwrap()["unix_millis"].as_i64();
        assert_eq!(Some(millis), other, "{here}");
        assert_eq!(sample(&metrics, name), millis as f64 / 1000.0, "{name}");
    }
    for (key, name) in [
        ("used", "certagent_issuance_limit_used"),
        ("per_hour", "certagent_issuance_limit"),
    ] {
        assert_eq!(one["issuance_limit"][key], explained["issuance_limit"][key]);
        assert_eq!(
            sample(&metrics, name),
            one["issuance_limit"][key].as_f64().unwrap()
        );
    }
    assert_eq!(explained["agent"]["failure"], Value::Null);
    assert_eq!(explained["agent"]["next"], one["next"]);
    let planned = &explained["renewal"]["planned_attempts"];
    assert_eq!(&one["renewal_attempts_remaining"], planned);
    assert_eq!(
        sample(&metrics, "certagent_renewal_attempts_remaining"),
        planned.as_f64().unwrap()
    );
}

#[test]
fn only_our_own_user_and_root_reach_the_status_socket() {
    let stage = Stage::new();
    let (mut agent, address) = stage.agent();
    stage.wait_until_ready(&address);
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
    let socket = stage.socket();
    let dir = socket.parent().unwrap();
    assert_eq!((mode(&socket), mode(dir)), (0o600, 0o700));
    let second = stage
        .0
        .certagent(&["run", "--status-socket", socket.to_str().unwrap()])
        .output();
    let second = second.unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another process answers"));
    if rustix::process::geteuid().is_root() {
        // Although the file's rights would let them in.
        for open in [stage.0.home(), dir, &socket] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut other = Command::new("/bin/sh");
        other.uid(65_534).gid(65_534).args([
            "-c",
            "exec 3<>/dev/null; python3 -c 'import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ntry:\n s.sendall(b\"GET /status HTTP/1.0\\r\\n\\r\\n\")\n print(len(s.recv(100)))\nexcept OSError:\n print(0)' \"$1\"",
            "sh",
            socket.to_str().unwrap(),
        ]);
        let output = other.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said.trim(),
            "0",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        agent.wait_for_line("was refused", PATIENCE);
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    agent.signal(Signal::KILL);
    agent.wait(PATIENCE);
    assert!(socket.exists(), "it could not tidy up");
    let gone = stage.ask(&["status"]);
    assert_eq!(gone.status.code(), Some(1));
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(said.contains("start it again"), "{said}");
    let (_again, address) = stage.agent();
    stage.wait_until_ready(&address);
    assert_eq!(stage.ask(&["status"]).status.code(), Some(0));
    assert_eq!(mode(&socket), 0o600);
}

#[test]
fn a_renewal_can_be_asked_for_and_one_that_fails_changes_nothing() {
    let mut stage = Stage::new();
    let (agent, address) = stage.agent();
    stage.wait_until_ready(&address);
    let serial = |status: &Value| status["certificates"][0]["live"]["serial"].clone();
    let first = stage.status();
    let renewed = stage.ask(&["renew"]);
    let said = String::from_utf8_lossy(&renewed.stdout).into_owned();
    assert_eq!(renewed.status.code(), Some(0), "{said}");
    let second = stage.status();
    assert_ne!(serial(&first), serial(&second));
    assert!(said.contains(serial(&second).as_str().unwrap()), "{said}");
    agent.signal(Signal::USR1);
    let third = wait_for("the renewal by a signal", PATIENCE, || {
        let now = stage.status();
        // At rest again: between the publication and the next decision there is no next action.
        let rests = !now["certificates"][0]["next"].is_null();
        (serial(&now) != serial(&second) && rests).then_some(now)
    });
    assert_eq!(third["certificates"][0]["counts"]["issuance_requests"], 3);
    assert_eq!(stage.ask(&["renew", "nobody"]).status.code(), Some(2));
    stage.0.end_issuer();
    let refused = stage.ask(&["renew", "demo"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let after = stage.status();
    assert_eq!(serial(&after), serial(&third));
    let (before, now) = (&third["certificates"][0], &after["certificates"][0]);
    assert_eq!(now["due"], before["due"]);
    assert_eq!(now["next"], before["next"]);
    assert_eq!(
        (&now["ready"], &now["degraded"]),
        (&before["ready"], &before["degraded"])
    );
    assert_eq!(now["counts"]["failures"], 1);
}

#[test]
fn metrics_are_documented_as_they_are() {
    const BEGIN: &str = "<!-- made from src/observe/metrics/table.rs; CERTAGENT_TEST_BLESS=1 cargo test observe:: rewrites it -->\n";
    const END: &str = "<!-- end -->\n";
    let mut wanted =
        "\n| Name | Kind | Unit | Labels | Meaning |\n|---|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let labels = match metric.labels {
            [] => "none".to_owned(),
            some => some
                .iter()
                .map(|label| format!("`{label}`"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        wanted.push_str(&format!(
            "| `{}` | {} | {} | {labels} | {} |\n",
            metric.name(),
            metric.kind.name(),
            metric.unit.unwrap_or("none"),
            metric.help,
        ));
    }
    wanted.push('\n');
    let path = root().join("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the first mark");
    let (found, after) = rest.split_once(END).expect("the last mark");
    if std::env::var_os("CERTAGENT_TEST_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(found, wanted, "docs/metrics.md is behind the code");
}

/// Every `certagent_...` word of a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("certagent_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn alerts_dashboard_and_documents_name_only_metrics_that_exist() {
    let known: BTreeSet<String> = METRICS.iter().map(Metric::name).collect();
    for (file, at_least) in [
        ("configs/alerts.yaml", 15),
        ("configs/alerts_test.yaml", 15),
        ("configs/dashboard.json", 15),
        ("docs/metrics.md", METRICS.len()),
        ("docs/operating.md", 1),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let named = named(&text);
        assert!(named.len() >= at_least, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let text = fs::read_to_string(root().join("configs/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 10);
}

#[test]
#[ignore = "needs promtool"]
fn the_alerts_pass_their_unit_tests_and_each_has_one() {
    let rules = fs::read_to_string(root().join("configs/alerts.yaml")).unwrap();
    let tests = fs::read_to_string(root().join("configs/alerts_test.yaml")).unwrap();
    for alert in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        let fires = tests
            .split("alertname: ")
            .any(|one| one.starts_with(&format!("{alert}\n")) && one.contains("exp_alerts"));
        assert!(fires, "{alert} has no test that it fires");
    }
    let promtool = tool("promtool");
    for arguments in [
        ["check", "rules", "configs/alerts.yaml"],
        ["test", "rules", "configs/alerts_test.yaml"],
    ] {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(root())
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_wrong_with_what_curl_gets() {
    let stage = Stage::new();
    let (_agent, address) = stage.agent();
    stage.wait_until_ready(&address);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, get(&address, "/metrics").text).unwrap();
    let output = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(file.reopen().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn explain_says_what_the_running_agent_plans_in_an_outage() {
    let mut stage = Stage::new();
    // nothing serves there
    stage.0.set("VAULT_ADDR", "https://127.0.0.1:9");
    let (agent, _) = stage.agent();
    let failing = wait_for("failed attempts", PATIENCE, || {
        let one = stage.status()["certificates"][0].clone();
        (one["failure"]["in_a_row"].as_u64()? > 1).then_some(one)
    });
    let explained = |stage: &Stage| -> Value {
        let output = stage.ask(&["explain", "-o", "json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        found["certificates"][0].clone()
    };
    let one = explained(&stage);
    assert_eq!(one["agent"]["state"], "running", "{one}");
    assert_eq!(
        one["agent"]["failure"]["class"],
        failing["failure"]["class"]
    );
    assert_eq!(one["next"]["why"], "retry", "{one}");
    drop(agent);
    let one = explained(&stage);
    assert_eq!(one["agent"]["state"], "not_seen", "{one}");
    assert_eq!(one["next"]["why"], "nothing_published", "{one}");
}
