//! `certagent probe`: what it prints, its exit codes, and the default address.

use std::process::Output;

use certagent::exit::Exit;
use serde_json::Value;

use crate::{
    apps::{
        Authority,
        stubborn::{Behaviour, Stubborn},
    },
    rig::{PATIENCE, certagent, wait_for},
};

fn ran(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = certagent(arguments);
    command.envs(environment.iter().copied());
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

#[test]
fn it_shows_what_is_served_against_what_is_published() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let dir = home.path().join("certs");
    let certs = dir.to_str().unwrap();
    let old = authority.publish(&dir, None).wanted().serial.to_owned();
    let behaviour = Behaviour {
        mtls: true,
        ..Behaviour::default()
    };
    let app = Stubborn::start(&dir, behaviour);

    let arguments = [
        "probe",
        &app.address,
        "--client-cert-dir",
        certs,
        "--grpc-health",
    ];
    let (exit, out, err) = ran(&arguments, &[]);
    assert_eq!((exit, err.as_str()), (code(Exit::Done), ""), "{out}");
    for wanted in [
        old.as_str(),
        "current: the application serves the published certificate",
        "verified against CA.pem",
        "accepted",
        "serving",
        "TLSv1.3, h2",
    ] {
        assert!(out.contains(wanted), "{wanted}: {out}");
    }

    // On Nomad the address is known; the directory is too.
    let nomad = [("NOMAD_ADDR_grpc", app.address.as_str())];
    let (exit, out, _) = ran(&["probe", "--client-cert-dir", certs, "-o", "json"], &nomad);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(exit, code(Exit::Done));
    assert_eq!(report["serves_current"], true);
    assert_eq!(report["served"]["serial"], old.as_str());
    assert_eq!(report["served"]["client_certificate"], "yes");

    let new = authority.publish(&dir, None).wanted().serial.to_owned();
    let (exit, out, err) = ran(&["probe", &app.address, "--client-cert-dir", certs], &[]);
    assert_eq!((exit, err.as_str()), (code(Exit::Refused), ""));
    assert!(out.contains(&old) && out.contains(&new), "{out}");
    assert!(out.contains("serves-other: still serves"), "{out}");
    assert!(out.contains("hint: "), "{out}");

    app.process.signal(rustix::process::Signal::HUP);
    wait_for("the new certificate", PATIENCE, || {
        let (exit, ..) = ran(&["probe", &app.address, "--client-cert-dir", certs], &[]);
        (exit == code(Exit::Done)).then_some(())
    });

    let (exit, out, _) = ran(&["probe", &app.address, "--dir", certs, "-o", "json"], &[]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(exit, code(Exit::Refused));
    assert_eq!(report["code"], "client-refused");
    assert_eq!(report["served"]["serial"], new.as_str());
    let arguments = [
        "probe",
        &app.address,
        "--client-cert-dir",
        certs,
        "--server-name",
        "x.y",
    ];
    let (exit, out, _) = ran(&arguments, &[]);
    assert_eq!(exit, code(Exit::Refused));
    assert!(out.contains("served-untrusted"), "{out}");
}

#[test]
fn a_sick_application_serves_the_certificate_but_is_not_verified() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("certs");
    Authority::new().publish(&dir, None);
    let behaviour = Behaviour {
        sick: true,
        ..Behaviour::default()
    };
    let app = Stubborn::start(&dir, behaviour);
    let certs = dir.to_str().unwrap();
    let (exit, out, _) = ran(&["probe", &app.address, "--dir", certs], &[]);
    assert_eq!(exit, code(Exit::Done), "{out}");
    let arguments = ["probe", &app.address, "--dir", certs, "--grpc-health"];
    let (exit, out, _) = ran(&arguments, &[]);
    assert_eq!(exit, code(Exit::Refused));
    assert!(
        out.contains("not-healthy") && out.contains("NOT_SERVING"),
        "{out}"
    );
}

#[test]
fn what_can_not_be_probed_says_why_with_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("certs");
    Authority::new().publish(&dir, None);
    let certs = dir.to_str().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = silent.local_addr().unwrap().to_string();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = gone.local_addr().unwrap().to_string();
    drop(gone);
    let table: [(&[&str], Exit, &str); 7] = [
        (&["probe", "--dir", certs], Exit::Usage, "no address"),
        (
            &["probe", "x", "--dir", certs],
            Exit::Usage,
            "\"x\" is no address",
        ),
        (
            &["probe", &nobody, "--dir", "/none"],
            Exit::Failure,
            "cannot read /none",
        ),
        (
            &["probe", &nobody, "--dir", certs],
            Exit::Failure,
            "no process listens",
        ),
        (
            &["probe", &hangs, "--dir", certs, "--timeout", "200ms"],
            Exit::TimedOut,
            "no answer within 0.2 s while in the TLS handshake",
        ),
        (
            &["probe", &hangs, "--dir", certs, "--timeout", "soon"],
            Exit::Usage,
            "--timeout",
        ),
        (
            &[
                "probe",
                &hangs,
                "--dir",
                certs,
                "--grpc-health",
                "--alpn",
                "x",
            ],
            Exit::Usage,
            "gRPC needs h2",
        ),
    ];
    for (arguments, exit, wanted) in table {
        let (got, out, err) = ran(arguments, &[]);
        assert_eq!(got, code(exit), "{arguments:?} {err}");
        assert!(
            err.contains(wanted) && out.is_empty(),
            "{arguments:?}: {err}"
        );
    }
    let (exit, out, err) = ran(&["probe", &nobody, "--dir", certs, "-o", "json"], &[]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, err.as_str()), (code(Exit::Failure), ""));
    assert_eq!(report["code"], "probe-refused");
    assert_eq!(report["served"], Value::Null);
}

#[test]
fn every_code_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md");
    let text = std::fs::read_to_string(path).unwrap();
    let codes = certagent::model::served::CODES.iter();
    for code in codes.chain(&certagent::probe::ProbeFailure::CODES) {
        assert!(text.contains(&format!("`{code}`")), "{code}");
    }
}
