//! Chains of many shapes, as OpenSSL and Go judge them: the two other columns of the model's table.
//!
//! What stays true: a row that one of them judges otherwise than the table says fails the test.

use std::{path::Path, process::Command};

use certagent::model::{request::Request, time::Timestamp};
use certagent_model::testing::ca::{Hierarchy, hierarchies};

use crate::rig::tool;

const NOW: Timestamp = Timestamp::from_unix_secs(1_795_600_000);
/// The program that asks Go.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/integration/cases/hierarchies/verify.go"
);

/// The rows, each in a directory of its number.
fn written(dir: &Path) -> Vec<Hierarchy> {
    let rows = hierarchies(&Request::example(), NOW);
    for (at, row) in rows.iter().enumerate() {
        let dir = dir.join(at.to_string());
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("CA.pem"), &row.ca_pem).unwrap();
        std::fs::write(dir.join("cert.pem"), &row.cert_pem).unwrap();
    }
    rows
}

#[test]
#[ignore = "needs openssl"]
fn openssl_judges_the_hierarchies_as_the_table_says() {
    let openssl = tool("openssl");
    let temp = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (at, row) in written(temp.path()).iter().enumerate() {
        let dir = temp.path().join(at.to_string());
        let mut said = String::new();
        let accepted = ["sslserver", "sslclient"].iter().all(|purpose| {
            let output = Command::new(&openssl)
                .current_dir(&dir)
                .args(["verify", "-no-CApath", "-no-CAstore", "-purpose", purpose])
                .args(["-attime", &NOW.unix_secs().to_string()])
                .args(["-CAfile", "CA.pem", "-untrusted", "cert.pem", "cert.pem"])
                .output()
                .unwrap();
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            output.status.success()
        });
        if accepted != row.openssl {
            wrong.push(format!("{}: {accepted}: {said}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs go"]
fn go_judges_the_hierarchies_as_the_table_says() {
    let temp = tempfile::tempdir().unwrap();
    let rows = written(temp.path());
    let mut command = Command::new(tool("go"));
    command
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod");
    if std::env::var_os("HOME").is_none() {
        command.env("GOCACHE", temp.path().join("cache"));
    }
    command.current_dir(temp.path()).args([
        "run",
        PROGRAM,
        &NOW.unix_secs().to_string(),
        &rows.len().to_string(),
    ]);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<&str> = text.lines().collect();
    assert_eq!(said.len(), rows.len(), "{text}");
    let wrong: Vec<String> = rows
        .iter()
        .zip(said)
        .filter(|(row, said)| (*said == "ok") != row.go)
        .map(|(row, said)| format!("{}: {said}", row.name))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
