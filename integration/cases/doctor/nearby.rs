//! Seeds beside the agent: Nomad's Task API, the process to signal, the application that serves.
//!
//! Processes and TLS are real; the Task API is a socket that answers as Nomad does (its source, and
//! runs against a real one).

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
    sync::Arc,
};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{Seed, bench::Bench, seed};
use crate::{
    cases::reload::agent::NomadAgent,
    rig::{Liar, Process, liar},
};

pub(super) const SEEDS: &[Seed] = &[
    // Nothing listens on port 1. The machine of the tests has no Consul, so no name of it resolves.
    seed(
        "consul-unreachable",
        &["consul-names-unresolved"],
        |bench| {
            bench.set("CONSUL_HTTP_ADDR", "127.0.0.1:1");
        },
    ),
    seed(
        "consul-names-unresolved",
        &["consul-unreachable"],
        |bench| {
            bench.set("CONSUL_HTTP_ADDR", "http://localhost:1");
        },
    ),
    seed("nomad-socket-missing", &[], |bench| {
        allocation(bench);
        token(bench);
    }),
    seed("nomad-token-missing", &[], |bench| {
        allocation(bench);
        answering(bench, "200 OK", "{}");
    }),
    seed("nomad-token-refused", &[], |bench| {
        allocation(bench);
        token(bench);
        answering(bench, "403 Forbidden", "ACL token not found");
    }),
    seed("nomad-denied", &[], |bench| {
        allocation(bench);
        token(bench);
        answering(bench, "403 Forbidden", "Permission denied");
    }),
    seed("nomad-failing", &[], |bench| {
        allocation(bench);
        token(bench);
        answering(bench, "500 Internal Server Error", "No cluster leader");
    }),
    seed("process-missing", &[], |bench| {
        let process = Process::start(Command::new("sleep").arg("1000"));
        let pid = process.pid();
        drop(process);
        pid_file(bench, pid);
    }),
    seed("signal-not-caught", &[], |bench| {
        let process = Process::start(Command::new("sleep").arg("1000"));
        let file = bench.write("app.pid", &format!("{}\n", process.pid()), 0o644);
        bench.set("CERTAGENT_APP", "generic");
        bench.set("CERTAGENT_ON_CERT_CHANGE", "signal");
        bench.set("CERTAGENT_RELOAD_SIGNAL", "SIGUSR1");
        bench.set("CERTAGENT_RELOAD_PID_FILE", file.display());
        bench.keep(process);
    }),
    seed("sighup-for-loki", &["signal-not-caught"], |bench| {
        let named = bench.path("loki");
        fs::copy("/bin/sleep", &named).unwrap();
        let process = Process::start(Command::new(&named).arg("1000"));
        pid_file(bench, process.pid());
        bench.keep(process);
    }),
    served("probe-refused", |bench| {
        bench.publish();
        let address = liar::closed_port();
        probed(bench, address.trim_start_matches("http://"));
    }),
    served("probe-not-tls", |bench| {
        bench.publish();
        let liar = Liar::start(|mut client| client.write_all(b"220 mail.example\r\n"));
        probed(bench, liar.address.trim_start_matches("http://"));
    }),
    served("serves-other", |bench| {
        bench.publish();
        serve_published(bench);
        // Another one is published, and nobody told the application.
        bench.publish();
    }),
    served("client-refused", |bench| {
        bench.publish();
        let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
        serve(bench, &other.cert.pem());
    }),
];

/// The finding has the code that `certagent probe` gives.
const fn served(code: &'static str, plant: fn(&mut Bench<'_>)) -> Seed {
    Seed {
        finding: Some(code),
        ..seed("not-served", &[], plant)
    }
}

fn allocation(bench: &mut Bench<'_>) {
    bench.set("NOMAD_ALLOC_ID", "11111111-2222-3333-4444-555555555555");
    let secrets = bench.path("secrets");
    bench.set("NOMAD_SECRETS_DIR", secrets.display());
    bench.set("CERTAGENT_APP", "loki");
}

fn token(bench: &mut Bench<'_>) {
    bench.write(
        "secrets/nomad_token",
        "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
        0o600,
    );
}

/// A Task API that gives this answer to everything.
fn answering(bench: &mut Bench<'_>, status: &'static str, body: &'static str) {
    liar::nomad(&bench.path("secrets/api.sock"), status, body);
}

fn pid_file(bench: &mut Bench<'_>, pid: u32) {
    let file = bench.write("app.pid", &format!("{pid}\n"), 0o644);
    bench.args(&["--pid-file", &file.display().to_string()]);
}

fn probed(bench: &mut Bench<'_>, address: &str) {
    bench.set("CERTAGENT_PROBE_ADDRESS", address);
    bench.set("CERTAGENT_PROBE_TIMEOUT", "2s");
}

/// An application that serves the published set, and goes on with it.
pub(super) fn serve_published(bench: &mut Bench<'_>) {
    let ca = fs::read_to_string(bench.live("CA.pem")).unwrap();
    serve(bench, &ca);
}

/// As it, with this CA for its clients.
fn serve(bench: &mut Bench<'_>, client_ca: &str) {
    let chain: Vec<_> = CertificateDer::pem_file_iter(bench.live("cert.pem"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(bench.live("key.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    for anchor in CertificateDer::pem_slice_iter(client_ca.as_bytes()) {
        roots.add(anchor.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    probed(bench, &listener.local_addr().unwrap().to_string());
    std::thread::spawn(move || {
        let config = Arc::new(config);
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, client);
            // To the end of the connection, whoever ends it.
            let _what_comes = stream.read(&mut [0; 1024]);
        }
    });
}

#[test]
#[ignore = "needs nomad, openbao"]
fn a_real_nomad_denies_lets_through_and_signals_nobody() {
    let (shared, nomad) = (super::Shared::start(), NomadAgent::start());
    let allocation = nomad.run_job();
    let mut bench = Bench::new(&shared);
    bench.set("CERTAGENT_APP", "loki");
    bench.set("NOMAD_ALLOC_ID", &allocation.id);
    bench.set("NOMAD_SECRETS_DIR", allocation.secrets.display());
    let ran = bench.run();
    assert_eq!(ran.found(), ["nomad-denied"], "{}", ran.all());
    assert_eq!(ran.exit, 1);

    let before = fs::read_to_string(&allocation.log).unwrap();
    nomad.allow();
    let ran = bench.run();
    assert_eq!((ran.exit, ran.found()), (0, Vec::new()), "{}", ran.all());
    assert_eq!(ran.status("nomad-denied"), "ok");
    assert_eq!(before, fs::read_to_string(&allocation.log).unwrap());
}
