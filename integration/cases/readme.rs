//! What README and the pages behind it say to type, as it stands there: the first certificate on a real
//! OpenBao, and the job on a real Nomad with Loki.
//!
//! Never has a copy of it. What stays true: only addresses and paths of programs are exchanged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::reload::agent::NomadAgent;
use crate::rig::{OpenBao, PATIENCE, Place, Process, certagent, tool, wait_for, wait_for_file};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn section(page: &str, heading: &str) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The lines of a section that begin with `program`, without comments, as words.
fn commands(page: &str, heading: &str, program: &str) -> Vec<Vec<String>> {
    let section = section(page, heading);
    let lines = section.lines();
    let lines = lines.map(|line| line.split(" #").next().unwrap_or_default());
    let words = lines.map(|line| line.split_whitespace().map(str::to_owned).collect());
    words
        .filter(|words: &Vec<String>| words.first().is_some_and(|first| first == program))
        .collect()
}

#[test]
#[ignore = "needs openbao"]
fn the_first_certificate_comes_as_readme_says() {
    let server = OpenBao::ready();
    let [role] = commands("README.md", "First certificate", "vault")
        .try_into()
        .unwrap();
    let fields = role[3..].iter().map(|field| field.split_once('=').unwrap());
    let fields: serde_json::Map<_, _> = fields
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    assert_eq!(role[1], "write");
    server.write(&role[2], &fields.into());
    let place = Place::at(&server);
    let [dry_run, run, inspect] = commands("README.md", "First certificate", "certagent")
        .try_into()
        .unwrap();
    let command = |words: &[String]| {
        let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let mut command = place.certagent(&words);
        command.current_dir(place.home());
        command
    };
    let checked = command(&dry_run).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let mut agent = Process::start(&mut command(&run));
    wait_for_file(&place.path("certs/cert.pem"), PATIENCE);
    let inspected = command(&inspect).output().unwrap();
    assert!(inspected.status.success(), "{inspected:?}");
    agent.signal(Signal::INT);
    assert!(agent.wait(PATIENCE).success(), "{}", agent.output());
}

/// One component, with gRPC over mTLS at the ports that Nomad gives.
const LOKI: &str = r#"
target: query-scheduler
auth_enabled: false
analytics: {reporting_enabled: false}
server:
  http_listen_address: 127.0.0.1
  http_listen_port: ${NOMAD_PORT_http}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: ${NOMAD_PORT_grpc}
  grpc_tls_config:
    client_auth_type: RequireAndVerifyClientCert
    client_ca_file: ${CERTS}/CA.pem
    cert_file: ${CERTS}/cert.pem
    key_file: ${CERTS}/key.pem
common:
  path_prefix: ${NOMAD_TASK_DIR}/data
  replication_factor: 1
  instance_addr: 127.0.0.1
  ring: {kvstore: {store: inmemory}}
schema_config:
  configs:
  - {from: "2024-01-01", store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}
storage_config:
  filesystem: {directory: "${NOMAD_TASK_DIR}/objects"}
"#;

/// The job as it stands there, with this machine's programs and addresses.
fn job(nomad: &NomadAgent, vault: &OpenBao) -> Value {
    let config = nomad.home.path().join("loki.yaml");
    fs::write(&config, LOKI).unwrap();
    let section = section("README.md", "In a Nomad job");
    let (_, block) = section.split_once("```hcl\n").unwrap();
    let mut text = block.split("\n```").next().unwrap().to_owned();
    for (there, here) in [
        ("https://vault.example:8200", vault.address.as_str()),
        ("/usr/local/bin/certagent", env!("CARGO_BIN_EXE_certagent")),
        ("/usr/local/bin/loki", tool("loki").to_str().unwrap()),
        ("/etc/loki.yaml", config.to_str().unwrap()),
    ] {
        assert!(text.contains(there), "{there}");
        text = text.replace(there, here);
    }
    nomad.call(
        "POST",
        "jobs/parse",
        Some(&json!({ "JobHCL": text, "Canonicalize": true })),
    )
}

fn set_up(vault: &OpenBao, nomad: &NomadAgent) {
    let output = Command::new(Path::new(ROOT).join("nomad/vault/setup.sh"))
        .env("VAULT_ADDR", &vault.address)
        .env("VAULT_TOKEN", &vault.token)
        .env(
            "NOMAD_JWKS_URL",
            format!("{}/.well-known/jwks.json", nomad.address),
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let policy = fs::read_to_string(Path::new(ROOT).join("nomad/policy.hcl")).unwrap();
    nomad.grant(&policy, "loki", "read", "certagent");
}

/// The allocation of the job.
struct Allocation<'a> {
    nomad: &'a NomadAgent,
    id: String,
    dir: PathBuf,
}

impl Allocation<'_> {
    fn started(&self, task: &str) -> Value {
        let allocation = self
            .nomad
            .call("GET", &format!("allocation/{}", self.id), None);
        allocation["TaskStates"][task]["StartedAt"].clone()
    }

    fn ask(&self, command: &[&str]) -> Output {
        let socket = self.dir.join("alloc/certagent/run/status.sock");
        certagent(command)
            .arg("--socket")
            .arg(socket)
            .output()
            .unwrap()
    }

    fn wait_until_served(&self) {
        wait_for("Loki to serve the certificate", 2 * PATIENCE, || {
            let output = self.ask(&["status", "-o", "json"]);
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            let serving = &status["certificates"][0]["app"]["serving"];
            (output.status.success() && serving == "current").then_some(())
        });
    }

    /// What is in a file that it published.
    fn published(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join("certagent/secrets/certs").join(name)).unwrap()
    }
}

#[test]
#[ignore = "needs nomad, loki, openbao"]
fn the_job_runs_on_what_setup_sh_made() {
    let (vault, nomad) = (OpenBao::start(), NomadAgent::start());
    set_up(&vault, &nomad);
    let (id, dir) = nomad.run(&job(&nomad, &vault), &["certagent", "loki"]);
    let allocation = Allocation {
        nomad: &nomad,
        id,
        dir,
    };
    allocation.wait_until_served();
    let leaf = certagent(["inspect", "-o", "json"])
        .arg(allocation.dir.join("certagent/secrets/certs"))
        .output()
        .unwrap();
    let leaf: Value = serde_json::from_slice(&leaf.stdout).unwrap();
    let leaf = &leaf["certificates"][0];
    assert_eq!(leaf["dns"], json!(["loki-read.service.consul"]));
    assert_eq!(leaf["ips"], json!(["127.0.0.1"]));
    a_new_ca_restarts_loki(&allocation, &vault);
    a_new_certagent_leaves_loki_alone(&allocation);
}

fn a_new_ca_restarts_loki(allocation: &Allocation<'_>, vault: &OpenBao) {
    let before = allocation.started("loki");
    let new = json!({ "common_name": "new", "issuer_name": "root-2", "key_type": "ec" });
    vault.write("pki/root/rotate/internal", &new);
    vault.write("pki/config/issuers", &json!({ "default": "root-2" }));
    let renewed = allocation.ask(&["renew"]);
    assert!(renewed.status.success(), "{renewed:?}");
    wait_for("a restart of Loki", 2 * PATIENCE, || {
        (allocation.started("loki") != before).then_some(())
    });
    let anchors = allocation.published("CA.pem");
    assert_eq!(anchors.matches("BEGIN CERTIFICATE").count(), 2);
    allocation.wait_until_served();
}

/// By Nomad's own program, as docs/operating.md says.
fn a_new_certagent_leaves_loki_alone(allocation: &Allocation<'_>) {
    let page = "docs/operating.md";
    let lines = commands(page, "A new certagent in a running job", "nomad");
    assert_eq!(lines.len(), 2, "{lines:?}");
    let loki_before = allocation.started("loki");
    let certagent_before = allocation.started("certagent");
    let serial = allocation.published("cert.pem");
    for words in lines {
        let words = words[1..].iter().map(|word| match word.as_str() {
            "ALLOCATION" => allocation.id.as_str(),
            "/usr/local/bin/certagent" => env!("CARGO_BIN_EXE_certagent"),
            word => word,
        });
        let words: Vec<_> = words.collect();
        // a certagent that has just started does not answer yet
        wait_for(&format!("{words:?}"), PATIENCE, || {
            let output = allocation.nomad.command(&words).output().unwrap();
            output.status.success().then_some(())
        });
    }
    wait_for("Nomad to say so", PATIENCE, || {
        (allocation.started("certagent") != certagent_before).then_some(())
    });
    allocation.wait_until_served();
    assert_eq!(allocation.started("loki"), loki_before);
    assert_eq!(allocation.published("cert.pem"), serial, "no issuance");
}
