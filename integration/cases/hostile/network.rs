//! Who is on the way to Vault, or answers at its address.

use std::process::Output;

use super::*;
use crate::rig::{Embedded, Liar, OpenBao, Options, Proxy, free_ports, http::request};

const ANOTHER: &str = "http://192.0.2.1:8200";
const ALLOW: (&str, &str) = ("CERTAGENT_VAULT_ALLOW_PLAIN_HTTP", "true");

/// A command in an empty directory; nothing is set but this.
fn with(temp: &tempfile::TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
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
    let liar = Liar::start(|_| Ok(()));
    let http = &liar.address;
    let mixed = format!("https://127.0.0.1:1,{http}");
    for arguments in COMMANDS.iter().chain([&["doctor"][..]].iter()) {
        let both = [("VAULT_ADDR", &*mixed), ALLOW];
        let output = ended(with(&temp, arguments, &both));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("mixes http:// and https://"), "{text}");
    }
    assert_eq!(liar.connections(), 0);
    // alone it is reached: the test would see it
    let alone = [("VAULT_ADDR", &**http), ("VAULT_CLIENT_TIMEOUT", "1s")];
    ended(with(&temp, &["issue"], &alone));
    assert!(liar.connections() > 0);
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

/// `me:p@ss/word` (RFC 7617), and as it is written in a URL.
const BASIC: &str = "bWU6cEBzcy93b3Jk";
const USER: &str = "me:p%40ss%2Fword";

/// No part of the password, in any of its notations.
fn shows_no_password(text: &str) {
    for part in ["p%40ss", "p@ss", "2Fword", "s/word", BASIC] {
        assert!(!text.contains(part), "{part} in {text}");
    }
}

/// L9, F08: with the user the proxy passes everything on, without or with a wrong one the message
/// says what it wants. `server` is the issuer, `through` what the proxy shall have seen.
fn through_a_proxy(address: &str, token: &str, more: &[(&str, &str)], through: &str) {
    let temp = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(BASIC);
    let ask = |user: &str, arguments: &[&str]| {
        let url = format!("http://{user}{}", proxy.address);
        let mut command = with(&temp, arguments, more);
        command
            .env("VAULT_ADDR", address)
            .env("VAULT_TOKEN", token)
            .env("VAULT_PROXY_ADDR", url)
            .env("CERTAGENT_MOUNT", "pki_int")
            .env("CERTAGENT_IP_SANS", "127.0.0.1")
            .env("CERTAGENT_LOG_LEVEL", "trace");
        let output = ended(command);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        shows_no_password(&text);
        (output.status, text)
    };
    let (status, text) = ask(&format!("{USER}@"), &["issue"]);
    assert!(status.success(), "{text}");
    assert!(proxy.seen().iter().any(|seen| seen.starts_with(through)));
    let (_, text) = ask(&format!("{USER}@"), &["doctor"]);
    assert!(
        text.contains("0 failed") || !text.contains("proxy-auth"),
        "{text}"
    );
    let (status, text) = ask(&format!("{USER}@"), &["check-config"]);
    assert!(
        status.success() && text.contains("http://[secret]@127.0.0.1"),
        "{text}"
    );
    for wrong in ["", "me@", "me:wrong@"] {
        let (status, text) = ask(wrong, &["issue"]);
        assert!(!status.success(), "{text}");
        assert!(text.contains("the proxy wants a user"), "{wrong}: {text}");
        assert_eq!(proxy.seen().last().map(String::as_str), Some("407"));
    }
}

#[test]
fn a_proxy_with_user_and_password_works_for_http_and_stays_secret() {
    let server = Embedded::start();
    let through = format!("POST {}", server.address);
    through_a_proxy(&server.address, &server.token, &[], &through);
}

#[test]
#[ignore = "needs openbao"]
fn a_proxy_with_user_and_password_works_for_connect_and_stays_secret() {
    let server = OpenBao::start_with(&Options {
        tls: true,
        ..Options::default()
    });
    server.set_up();
    let ca = server.ca().display().to_string();
    let through = format!("CONNECT {}", server.address.trim_start_matches("https://"));
    through_a_proxy(
        &server.address,
        &server.token,
        &[("VAULT_CACERT", &ca)],
        &through,
    );
}
