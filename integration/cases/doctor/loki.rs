//! Seeds in Loki's configuration: the example of this repository with one block spoiled.
//!
//! Never starts Loki.

use std::{fs, path::Path};

use super::{Seed, bench::Bench, seed};

pub(super) const SEEDS: &[Seed] = &[
    seed("loki-file", &[], |bench| {
        let file = bench.write("loki.yaml", "server: [", 0o644);
        bench.args(&["--loki-config", &file.display().to_string()]);
    }),
    seed("loki-server-no-tls", &[], |bench| {
        spoiled(bench, "    key_file: ${CERTS}/key.pem\n", "");
    }),
    seed("loki-server-open", &[], |bench| {
        spoiled(
            bench,
            "RequireAndVerifyClientCert",
            "VerifyClientCertIfGiven",
        );
    }),
    seed("loki-client-no-tls", &[], |bench| {
        spoiled(bench, "  ruler_client: *mtls", "  ruler_client: {}");
    }),
    seed("loki-skip-verify", &[], |bench| {
        spoiled(
            bench,
            "    tls_server_name: loki-query-frontend.service.consul\n\nfrontend:",
            "    tls_insecure_skip_verify: true\n\nfrontend:",
        );
    }),
    seed("loki-memberlist-tls", &[], |bench| {
        spoiled(
            bench,
            "auth_enabled: false\n",
            "auth_enabled: false\nmemberlist: {tls_enabled: true}\n",
        );
    }),
    seed("loki-http-tls", &[], |bench| {
        spoiled(
            bench,
            "  grpc_tls_config:\n",
            "  http_tls_config: {cert_file: c, key_file: k}\n  grpc_tls_config:\n",
        );
    }),
];

/// A file of the example.
pub(super) fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("nomad")
        .join(name);
    path.display().to_string()
}

fn spoiled(bench: &mut Bench<'_>, good: &str, bad: &str) {
    let text = fs::read_to_string(example("loki.yaml")).unwrap();
    assert!(
        text.contains(good),
        "nomad/loki.yaml has no {good:?} any more"
    );
    let file = bench.write("loki.yaml", &text.replacen(good, bad, 1), 0o644);
    bench.args(&["--loki-config", &file.display().to_string()]);
}
