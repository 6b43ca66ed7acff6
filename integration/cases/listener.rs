//! What Vault's listener may offer that rustls does not take: each refusal says what to change.

use std::{net::TcpStream, path::Path, process::Command};

use crate::rig::{PATIENCE, Place, Process, free_ports, tool, wait_for};

/// A listener: its certificate, how it is started, and the advice.
type Listener = (&'static str, &'static [&'static str], &'static str);

const LISTENERS: [Listener; 6] = [
    // taken, and then it says nothing
    ("good", &["-tls1_3"], "the server does not answer"),
    ("ca", &[], "basicConstraints CA:FALSE"),
    ("v1", &[], "issue it again as v3"),
    (
        "good",
        &["-tls1_2", "-cipher", "AES256-GCM-SHA384"],
        "TLS 1.2 with ECDHE",
    ),
    (
        "good",
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        "no TLS version or cipher in common",
    ),
    ("good", &["-Verify", "1"], "set client_cert and client_key"),
];

fn openssl(dir: &Path, arguments: &str) {
    let mut command = Command::new(tool("openssl"));
    let output = command.current_dir(dir).args(arguments.split(' ')).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments}: {output:?}");
}

/// NAME.crt and NAME.key of a CA's leaf, of a CA that shows itself, and of the first X.509.
fn certificates(dir: &Path) {
    let request = "req -newkey rsa:2048 -nodes -days 9 -subj /CN=localhost -addext subjectAltName=DNS:localhost";
    let own = "-x509 -addext basicConstraints=critical,CA";
    openssl(
        dir,
        &format!("{request} -keyout ca.key -out ca.crt {own}:TRUE"),
    );
    let signed = "-CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:FALSE -x509";
    openssl(
        dir,
        &format!("{request} -keyout good.key -out good.crt {signed}"),
    );
    openssl(
        dir,
        "req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout v1.key -out v1.csr",
    );
    openssl(
        dir,
        "x509 -req -in v1.csr -signkey v1.key -days 9 -out v1.crt",
    );
}

/// F10, F11, F12.
#[test]
#[ignore = "needs openssl"]
fn what_rustls_does_not_take_of_a_listener_is_named() {
    for (name, how, advice) in LISTENERS {
        let port = free_ports().0.to_string();
        let mut place = Place::of(&format!("https://localhost:{port}"), "s.none");
        certificates(place.home());
        let mut command = Command::new(tool("openssl"));
        command
            .current_dir(place.home())
            .args(["s_server", "-www", "-accept", &port])
            .args([
                "-cert",
                &format!("{name}.crt"),
                "-key",
                &format!("{name}.key"),
            ])
            .args(how);
        let _listener = Process::start(&mut command);
        wait_for("the listener", PATIENCE, || {
            TcpStream::connect(format!("127.0.0.1:{port}")).ok()
        });
        let anchor = match name {
            "v1" => "v1.crt",
            _ => "ca.crt",
        };
        place.set("VAULT_CACERT", place.path(anchor));
        place.set("VAULT_MAX_RETRIES", "0");
        place.set("VAULT_CLIENT_TIMEOUT", "5s");
        place.set("CERTAGENT_COMMON_NAME", "a.example");
        let output = place.ask(&["issue"]);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(text.contains(advice), "{name} {how:?}: {text}");
    }
}
