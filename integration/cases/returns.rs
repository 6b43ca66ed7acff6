//! A real OpenBao that stops, comes back sealed and is unsealed: the renewal follows within seconds,
//! although the retry plan alone would have waited for minutes.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{PATIENCE, Place, Process, Stored, wait_for};

/// From the return to the new certificate.
const PROMISE: Duration = Duration::from_secs(15);

/// As long as the first four failures are followed up quickly.
const QUICK: Duration = Duration::from_secs(16);

/// One place, in which an agent is started anew for each outage.
struct Agent {
    process: Process,
    place: Place,
}

impl Agent {
    fn start(server: &Stored) -> Self {
        let place = Place::at(&server.server);
        let mut process = Self::launch(&place, "2h");
        process.wait_for_line("published a certificate", PATIENCE);
        Self { process, place }
    }

    /// Another ttl is another request: a new certificate is due at once, and the one on disk has
    /// hours left, so that the plan is wide.
    fn launch(place: &Place, ttl: &str) -> Process {
        let socket = Self::socket(place);
        let mut command = place.agent(&["--log-level", "debug", "--ttl", ttl]);
        Process::start(command.arg("--status-socket").arg(socket))
    }

    fn socket(place: &Place) -> PathBuf {
        place.path("run/s.sock")
    }

    fn start_again(&mut self, ttl: &str) {
        self.stop();
        self.process = Self::launch(&self.place, ttl);
        let socket = Self::socket(&self.place);
        wait_for("the status", PATIENCE, || {
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
    }

    fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        assert_eq!(self.process.wait(PATIENCE).code(), Some(0));
    }

    fn cert(&self) -> String {
        fs::read_to_string(self.place.certs().join("cert.pem")).unwrap()
    }

    fn status(&self) -> Value {
        let mut command = self.place.certagent(&["status", "-o", "json", "--socket"]);
        let output = command.arg(Self::socket(&self.place)).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["certificates"][0].clone()
    }

    /// Waits until only the plan's wide slots are left; the next one must be minutes away.
    fn wait_for_wide_slots(&self) {
        wait_for("a failure", PATIENCE, || {
            self.status()["failure"].is_object().then_some(())
        });
        thread::sleep(QUICK);
        let status = self.status();
        assert!(
            status["failure"]["in_a_row"].as_u64().unwrap() >= 5,
            "{status}"
        );
    }

    fn renewed_within(&self, before: &str, began: Instant) {
        wait_for("a new certificate", PROMISE + PATIENCE, || {
            (self.cert() != before).then_some(())
        });
        let took = began.elapsed();
        assert!(took < PROMISE, "{took:?}\n{}", self.process.output());
    }
}

#[test]
#[ignore = "needs openbao"]
fn a_vault_that_was_stopped_and_one_that_was_sealed_are_followed_within_seconds() {
    let mut vault = Stored::start();
    vault.server.set_up();
    let mut agent = Agent::start(&vault);

    vault.stop();
    agent.start_again("3h");
    agent.wait_for_wide_slots();
    let before = agent.cert();
    let orders = agent.status()["counts"]["issuance_requests"].clone();
    vault.start_again();
    wait_for("a look at the sealed one", PATIENCE, || {
        let trouble = agent.status()["last_health_check"]["trouble"].to_string();
        trouble.contains("it is sealed").then_some(())
    });
    assert_eq!(
        agent.status()["counts"]["issuance_requests"],
        orders,
        "a look is no order"
    );
    vault.unseal();
    vault.wait_until_active();
    agent.renewed_within(&before, Instant::now());

    vault.server.write("sys/seal", &json!({}));
    agent.start_again("4h");
    agent.wait_for_wide_slots();
    let before = agent.cert();
    vault.unseal();
    vault.wait_until_active();
    agent.renewed_within(&before, Instant::now());
    let log = agent.process.output();
    assert!(log.contains("Vault is available again"), "{log}");
    assert!(!log.contains(&vault.server.token));
    agent.stop();
}

#[test]
#[ignore = "needs openbao"]
fn an_outage_leaves_a_dozen_lines_however_many_attempts_it_takes() {
    let mut vault = Stored::start();
    vault.server.set_up();
    let place = Place::at(&vault.server);
    let mut command = place.agent(&["--ttl", "15s"]);
    let mut agent = Process::start(command.arg("--status-socket").arg(place.path("run/s.sock")));
    agent.wait_for_line("published a certificate", PATIENCE);
    vault.stop();
    let (before, began) = (agent.output().lines().count(), Instant::now());
    thread::sleep(Duration::from_secs(70));
    vault.start_again();
    vault.unseal();
    agent.wait_for_line(" had failed since ", PROMISE + PATIENCE);
    let output = agent.output();
    let lines: Vec<_> = output.lines().skip(before).collect();
    let end = lines
        .iter()
        .position(|line| line.contains(" had failed since "));
    let lines = &lines[..=end.unwrap()];
    let told = lines.last().unwrap();
    let (_, failed) = told.split_once("; ").unwrap();
    let (_, failed) = failed.rsplit_once("; ").unwrap();
    let failed: usize = failed.split(' ').next().unwrap().parse().unwrap();
    let took = began.elapsed();
    let shown = format!("{took:?}, {failed} attempts\n{}", lines.join("\n"));
    assert!(failed > 12, "{shown}");
    assert!(lines.len() <= 12, "{} lines, {shown}", lines.len());
    agent.signal(Signal::TERM);
    agent.wait(PATIENCE);
}
