//! A FIFO where a file is expected: each command ends with an error that names it.
//!
//! Needs no other user. What stays true: nobody ever writes into the pipes, so whatever opened one
//! would wait for ever.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::rig::{Process, certagent};

/// Far longer than a command that asks nobody takes.
const LIMIT: Duration = Duration::from_secs(20);

fn fifo(temp: &TempDir, name: &str) -> PathBuf {
    let path = temp.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    path
}

fn issue(path: &Path, variable: &str) -> Command {
    let mut command = certagent(["issue", "--mount", "pki_int", "--role", "internal"]);
    command
        .args(["--common-name", "loki.example", "--vault-timeout", "2s"])
        .env("VAULT_ADDR", "https://127.0.0.1:1")
        .env("VAULT_TOKEN", "s.none")
        .env(variable, path);
    command
}

fn refused(mut command: Command, path: &Path) {
    let shown = format!("{command:?}");
    let mut process = Process::start(command.stdin(Stdio::null()));
    let status = process.wait(LIMIT);
    let output = process.output();
    assert!(!status.success(), "{shown}: {output}");
    assert!(output.contains("not a regular file"), "{shown}: {output}");
    assert!(output.contains(path.to_str().unwrap()), "{shown}: {output}");
}

#[test]
fn a_fifo_as_a_tls_file_of_vault_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = fifo(&temp, "pipe.pem");
    refused(issue(&path, "VAULT_CACERT"), &path);
    for (pipe, other) in [
        ("VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"),
        ("VAULT_CLIENT_KEY", "VAULT_CLIENT_CERT"),
    ] {
        let mut command = issue(&path, pipe);
        command.env(other, "/etc/hosts");
        refused(command, &path);
    }
}

#[test]
fn a_fifo_as_configuration_file_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = fifo(&temp, "certagent.hcl");
    for name in ["check-config", "run", "issue", "doctor"] {
        let mut command = certagent([name, "--config"]);
        command.arg(&path);
        refused(command, &path);
    }
}

#[test]
fn a_fifo_as_a_file_to_look_at_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = fifo(&temp, "cert.pem");
    let mut command = certagent(["inspect"]);
    command.arg(&path);
    refused(command, &path);
    let mut command = certagent(["inspect"]);
    command.arg(temp.path());
    refused(command, &path);

    let path = fifo(&temp, "CA.pem");
    let mut command = certagent(["probe", "127.0.0.1:1", "--dir"]);
    command.arg(temp.path());
    refused(command, &path);
}

/// `run` goes on, or ends, in time; SIGTERM ends it at once, and nothing was opened.
#[test]
fn a_fifo_in_the_place_of_a_directory_or_a_socket_stops_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let path = fifo(&temp, "pipe");
    let url = format!("unix://{}", path.display());
    let directory = path.to_str().unwrap();
    for settings in [
        ["--dir", directory],
        ["--http-listen", &url],
        ["--status-socket", directory],
    ] {
        let mut command = certagent(["run", "--component", "read", "--vault-timeout", "1s"]);
        command
            .args(settings)
            .env("VAULT_ADDR", "http://127.0.0.1:1")
            .env("VAULT_TOKEN", "s.none")
            .env("CERTAGENT_STARTUP_TIMEOUT", "2s");
        let mut process = Process::start(&mut command);
        let status = process.wait(LIMIT);
        assert!(!status.success(), "{settings:?}: {}", process.output());
        assert!(process.output().contains(directory), "{}", process.output());
    }
}

#[test]
fn a_fifo_among_the_trust_anchors_of_vault_is_not_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    fifo(&temp, "pipe.pem");
    let mut process = Process::start(&mut issue(temp.path(), "VAULT_CAPATH"));
    let status = process.wait(LIMIT);
    assert!(!status.success(), "{}", process.output());
    let output = process.output();
    assert!(output.contains("no certificate in it"), "{output}");
}
