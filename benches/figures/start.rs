//! Time from process start to a complete published set, on the same OpenBao, in turns.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    rig::{self, OpenBao, Process},
    table::{Figure, Goal},
};

const ROUNDS: usize = 41;
const FILES: [&str; 3] = ["CA.pem", "cert.pem", "key.pem"];

/// The agent for one certificate in `dir`, with nothing but the environment.
pub(crate) fn certagent(server: &OpenBao, token: &str, dir: &Path) -> Command {
    let mut command = rig::certagent(["run"]);
    command
        .env("VAULT_ADDR", &server.address)
        .env("VAULT_TOKEN", token)
        .env("CERTAGENT_COMPONENT", "read")
        .env("CERTAGENT_NODE_IP", "10.0.0.1")
        .env("CERTAGENT_DIR", dir.join("certs"));
    command
}

/// consul-template with the three `secret` templates that certagent replaces.
pub(crate) fn consul_template(
    program: &Path,
    server: &OpenBao,
    token: &str,
    dir: &Path,
    once: bool,
) -> Command {
    let certs = dir.join("certs");
    let mut config = String::from("log_level = \"err\"\nvault { renew_token = false }\n");
    for (file, field) in FILES
        .iter()
        .zip(["issuing_ca", "certificate", "private_key"])
    {
        let call = r#"secret "pki/issue/internal" "ttl=10d" "key_type=ec" "key_bits=256" "common_name=loki-read.service.consul" "ip_sans=10.0.0.1""#;
        let contents = format!("{{{{ with {call} }}}}{{{{ .Data.{field} }}}}\n{{{{ end }}}}\n");
        let target = certs.join(file);
        config.push_str(&format!(
            "template {{\n destination = {target:?}\n contents = <<EOH\n{contents}EOH\n}}\n"
        ));
    }
    let file = dir.join("ct.hcl");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("-config={}", file.display()))
        .env_clear()
        .env("HOME", dir)
        .env("VAULT_ADDR", &server.address)
        .env("VAULT_TOKEN", token);
    if once {
        command.arg("-once");
    }
    command
}

/// True when all three files are there, not empty.
pub(crate) fn is_published(dir: &Path) -> bool {
    FILES.iter().all(|name| {
        std::fs::metadata(dir.join("certs").join(name)).is_ok_and(|data| data.len() > 0)
    })
}

fn published_after(mut command: Command, dir: &Path) -> Duration {
    let began = Instant::now();
    let mut process = Process::start(&mut command);
    while !is_published(dir) {
        assert!(
            began.elapsed() < rig::PATIENCE,
            "no set:\n{}",
            process.output()
        );
        if process.ended().is_some_and(|status| !status.success()) {
            panic!("ended without a set:\n{}", process.output());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    began.elapsed()
}

/// Milliseconds of the middle round.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

pub(crate) fn figure(rival: Option<&Path>) -> Figure {
    let server = OpenBao::ready();
    let token = server.new_token("1h");
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let dir = rig::memory_dir();
        let took = published_after(certagent(&server, &token, dir.path()), dir.path());
        let dir = rig::memory_dir();
        let other = rival.map(|program| {
            let command = consul_template(program, &server, &token, dir.path(), true);
            published_after(command, dir.path())
        });
        // The first round warms the page cache and the server.
        if round > 0 {
            ours.push(took);
            others.extend(other);
        }
    }
    Figure {
        name: "start to published files (median; consul-template -once)",
        unit: "ms",
        ours: median(&mut ours),
        other: rival.map(|_| median(&mut others)),
        goal: Goal::ShareOfOther(0.4),
    }
}
