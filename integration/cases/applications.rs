//! The configurations of docs/applications.md, as they stand there, with the real applications.
//!
//! Never changes more of a block than paths, ports and ids. What stays true: an application serves the
//! renewed certificate without a word from the test.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::rig::{PATIENCE, Place, Process, free_ports, tool};

/// The HCL below a heading.
fn block(heading: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/applications.md");
    let text = fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, rest) = rest.split_once("```hcl\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// An agent by a documented block, and what it needs of the place.
fn agent(place: &Place, heading: &str, changes: &[(&str, &str)]) -> Process {
    let mut text = block(heading);
    let own = [
        ("https://vault.example:8200", place.address.as_str()),
        ("\"/run/", &format!("\"{}/run/", place.home().display())),
        (
            "role        = \"internal\"",
            "role = \"internal\"\n  mount = \"pki_int\"",
        ),
    ];
    for (from, to) in own.iter().chain(changes) {
        assert!(text.contains(from), "{heading}: {from}");
        text = text.replace(from, to);
    }
    let config = place.config(&text);
    let mut command = place.certagent(&["run", "-c"]);
    command
        .arg(config)
        .arg("--status-socket")
        .arg(place.path("s.sock"));
    let mut agent = Process::start(&mut command);
    agent.wait_for_line("published a certificate", PATIENCE);
    agent
}

fn status(place: &Place) -> Value {
    let socket = place.path("s.sock");
    let output = place.ask(&["status", "-o", "json", "--socket", socket.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["certificates"][0].clone()
}

/// Waits until the application is seen to serve what is published; its serial.
fn serves(place: &Place, agent: &Process, not: &Value) -> Value {
    let began = Instant::now();
    loop {
        let status = status(place);
        let serial = status["live"]["serial"].clone();
        if status["app"]["serving"] == "current" && serial != *not {
            return serial;
        }
        assert!(began.elapsed() < PATIENCE * 2, "{}", agent.output());
        thread::sleep(Duration::from_millis(100));
    }
}

fn renewed_and_served(place: &Place, mut agent: Process) {
    let first = serves(place, &agent, &Value::Null);
    let socket = place.path("s.sock");
    let renewed = place.ask(&["renew", "--socket", socket.to_str().unwrap()]);
    assert!(renewed.status.success(), "{renewed:?}");
    serves(place, &agent, &first);
    agent.signal(Signal::TERM);
    assert!(agent.wait(PATIENCE).success());
}

#[test]
#[ignore = "needs nginx"]
fn nginx_serves_each_renewal_by_the_documented_configuration() {
    let program = tool("nginx");
    let place = Place::new();
    let (port, _) = free_ports();
    fs::create_dir(place.path("run")).unwrap();
    let agent = agent(
        &place,
        "nginx",
        &[("127.0.0.1:8443", &format!("127.0.0.1:{port}"))],
    );
    let home = place.home().display();
    let config = format!(
        "daemon off;\npid {home}/run/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n access_log off;\n \
         client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;\n \
         uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;\n server {{\n  listen 127.0.0.1:{port} ssl;\n  \
         ssl_certificate {home}/run/certagent/nginx/cert.pem;\n  \
         ssl_certificate_key {home}/run/certagent/nginx/key.pem;\n }}\n}}\n"
    );
    let file = place.path("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(program);
    command
        .arg("-p")
        .arg(place.home())
        .arg("-c")
        .arg(&file)
        .args(["-e", "stderr"]);
    let mut nginx = Process::start(&mut command);
    renewed_and_served(&place, agent);
    nginx.signal(Signal::TERM);
    nginx.wait(PATIENCE);
}

#[test]
#[ignore = "needs postgresql"]
fn postgresql_serves_each_renewal_by_the_documented_configuration() {
    let program = tool("postgresql").canonicalize().unwrap();
    let place = Place::new();
    let (port, _) = free_ports();
    let user = crate::apps::postgres::postgres_user();
    fs::set_permissions(place.home(), fs::Permissions::from_mode(0o755)).unwrap();
    for dir in ["run", "run/certagent"] {
        fs::create_dir(place.path(dir)).unwrap();
        fs::set_permissions(place.path(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let data = place.path("data");
    fs::create_dir(&data).unwrap();
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&data, Some(uid), Some(gid)).unwrap();
    }
    let started = |path: &Path| {
        let mut command = Command::new(path);
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    let made = started(&program.with_file_name("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=postgres", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let group = rustix::process::getegid().as_raw();
    let group = user.map_or(group, |(_, gid)| gid);
    let agent = agent(
        &place,
        "PostgreSQL",
        &[
            ("127.0.0.1:5432", &format!("127.0.0.1:{port}")),
            ("= 106 ", &format!("= {group} ")),
            ("/var/lib/postgresql/15/main", data.to_str().unwrap()),
        ],
    );
    let certs = place.path("run/certagent/postgres");
    let mut command = started(&program);
    command.arg("-D").arg(&data);
    for (name, value) in [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", String::new()),
        ("fsync", "off".to_owned()),
        ("ssl", "on".to_owned()),
        ("ssl_ca_file", certs.join("CA.pem").display().to_string()),
        (
            "ssl_cert_file",
            certs.join("cert.pem").display().to_string(),
        ),
        ("ssl_key_file", certs.join("key.pem").display().to_string()),
    ] {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let mut postgres = Process::start(&mut command);
    renewed_and_served(&place, agent);
    postgres.signal(Signal::QUIT);
    postgres.wait(PATIENCE);
}
