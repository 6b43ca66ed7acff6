//! Who is on the way to Vault, or answers at its address.

use std::{
    net::TcpListener,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;
use crate::rig::{free_ports, http::request};

const ANOTHER: &str = "http://192.0.2.1:8200";
const ALLOW: (&str, &str) = ("CERTAGENT_VAULT_ALLOW_PLAIN_HTTP", "true");

/// A command in an empty directory; nothing is set but this.
fn with(temp: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = certagent(arguments);
    command
        .env("CERTAGENT_COMPONENT", "ingester")
        .env("CERTAGENT_DIR", temp.path().join("certs"))
        .env("VAULT_TOKEN", "s.thetokenthetokenthetoken")
        .envs(variables.iter().copied());
    command
}

/// Ends by itself, soon.
fn ended(mut command: Command) -> Output {
    let mut process = Process::start(&mut command);
    let status = process.wait(PATIENCE);
    Output {
        status,
        stdout: process.stdout().into_bytes(),
        stderr: process.stderr().into_bytes(),
    }
}

const COMMANDS: [&[&str]; 5] = [
    &["run"],
    &["exec", "--", "true"],
    &["issue"],
    &["issue", "--dry-run"],
    &["check-config"],
];

/// M9: nothing is sent in clear text to another host unless that was written down.
#[test]
fn plain_http_to_another_host_is_refused_by_every_command() {
    let temp = tempfile::tempdir().unwrap();
    for arguments in COMMANDS {
        let output = ended(with(&temp, arguments, &[("VAULT_ADDR", ANOTHER)]));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("allow_plain_http"), "{text}");
        assert!(text.contains("is another host without TLS"), "{text}");
    }
    let output = ended(with(&temp, &["doctor"], &[("VAULT_ADDR", ANOTHER)]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("allow_plain_http"), "{text}");
}

/// M9: whoever blocks the address with TLS would get the token over the other one.
#[test]
fn a_list_with_http_and_https_is_refused_and_no_connection_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mixed = format!("https://127.0.0.1:1,{http}");
    for arguments in COMMANDS.iter().chain([&["doctor"][..]].iter()) {
        let both = [("VAULT_ADDR", &*mixed), ALLOW];
        let output = ended(with(&temp, arguments, &both));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("mixes http:// and https://"), "{text}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    // alone it is reached: the test would see it
    let alone = [("VAULT_ADDR", &*http), ("VAULT_CLIENT_TIMEOUT", "1s")];
    ended(with(&temp, &["issue"], &alone));
    assert!(connections.load(Ordering::SeqCst) > 0);
}

/// What is allowed is said: at each start, as a metric, and by doctor.
#[test]
fn plain_http_that_is_allowed_is_shown() {
    let temp = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_ports().0);
    let metric = || {
        let url = format!("http://{address}");
        let answer = request(&url, None, "GET", "/metrics", &[], None).ok()?;
        let name = "certagent_vault_plain_http ";
        let mut lines = answer.text.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
    };
    let cases = [
        (&[("VAULT_ADDR", "http://127.0.0.1:1")][..], "0"),
        (&[("VAULT_ADDR", ANOTHER), ALLOW], "1"),
    ];
    for (variables, value) in cases {
        let mut command = with(&temp, &["run", "--http-listen", &address], variables);
        let mut process = Process::start(&mut command);
        let found = wait_for("the metric", PATIENCE, || {
            assert!(process.ended().is_none(), "{}", process.output());
            metric()
        });
        assert_eq!(found, value);
        let warned = process.output().contains("is another host without TLS");
        assert_eq!(warned, value == "1", "{}", process.output());
        ends(process);
    }
    let quick = [
        ("VAULT_ADDR", ANOTHER),
        ALLOW,
        ("VAULT_CLIENT_TIMEOUT", "1s"),
    ];
    let output = ended(with(&temp, &["doctor"], &quick));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("address-plain"), "{text}");
}
