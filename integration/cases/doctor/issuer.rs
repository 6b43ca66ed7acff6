//! Seeds at the issuer, in the login and in the configuration.
//!
//! Each spoils one thing of a healthy place, at a real OpenBao.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;

use super::{Seed, bench::Bench, seed};
use crate::cases::trust::import;
use crate::rig::{Claims, Liar, OpenBao, Options, liar::closed_port};

pub(super) const SEEDS: &[Seed] = &[
    seed("trust-unknown", &[], |bench| {
        bench.roots("mount", &["ours"]);
        bench.set("CERTAGENT_DISTRUST", "no-such-issuer");
    }),
    seed("trust-unused", &[], |bench| {
        bench.roots("mount", &["ours", "next"]);
    }),
    seed("trust-still-needed", &[], |bench| {
        bench.roots("mount", &["ours"]);
        bench.set("CERTAGENT_DISTRUST", "ours");
    }),
    seed("trust-revoked", &[], |bench| {
        let mount = bench.roots("mount", &["ours", "theirs"]);
        bench
            .server()
            .write(&format!("{mount}/issuer/theirs/revoke"), &json!({}));
        bench.set("CERTAGENT_TRUST_ISSUERS", "theirs");
    }),
    seed("trust-unseen", &["trust-unused"], |bench| {
        let mount = bench.roots("hidden", &["ours"]);
        import(bench.server(), &mount, "imported", true);
    }),
    seed("config-invalid", &[], |bench| {
        bench.set("CERTAGENT_TTL", "soon")
    }),
    seed("variable-ignored", &[], |bench| {
        bench.set("VAULT_FORMAT", "json")
    }),
    seed("config-doubtful", &[], |bench| {
        bench.set("CERTAGENT_APP", "loki");
        bench.set("CERTAGENT_ON_CERT_CHANGE", "nomad_signal");
        bench.set("CERTAGENT_RELOAD_SIGNAL", "SIGHUP");
    }),
    seed("directory-shared", &[], two_names_for_one_directory),
    seed("address-plain", &["address-dead"], |bench| {
        bench.set("CERTAGENT_VAULT_ALLOW_PLAIN_HTTP", "true");
        let address = format!("{},http://vault.invalid:8200", bench.server().address);
        bench.set("VAULT_ADDR", address);
    }),
    seed("hardening-off", &[], |bench| {
        bench.set("CERTAGENT_HARDENING", "off")
    }),
    seed("socket-path-long", &["address-dead"], |bench| {
        let address = format!(
            "{},unix:///run/{}.sock",
            bench.server().address,
            "x".repeat(100)
        );
        bench.set("VAULT_ADDR", address);
    }),
    seed("issuance-limit-small", &[], |bench| {
        bench.set("CERTAGENT_TTL", "10m");
        bench.set("CERTAGENT_MAX_ISSUANCES_PER_HOUR", "2");
    }),
    seed("issuance-limit-reached", &[], |bench| {
        let now = now_millis();
        fs::create_dir(bench.certs()).unwrap();
        let state = json!({ "form": 1, "issuances": vec![now; 10] });
        bench.write("secrets/certs/..state.json", &state.to_string(), 0o640);
    }),
    seed("vault-unreachable", &[], |bench| {
        bench.set("VAULT_ADDR", closed_port())
    }),
    seed("vault-tls", &[], |bench| {
        let options = Options {
            tls: true,
            ..Options::default()
        };
        let server = OpenBao::start_with(&options);
        // A CA of somebody else.
        let ca = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
        let ca = bench.write("ca.pem", &ca.cert.pem(), 0o644);
        bench.set("VAULT_CACERT", ca.display());
        bench.set("VAULT_ADDR", &server.address);
        bench.keep(server);
    }),
    seed("address-dead", &[], |bench| {
        let address = format!("{},{}", closed_port(), bench.server().address);
        bench.set("VAULT_ADDR", address);
    }),
    seed("vault-sealed", &[], |bench| {
        let server = OpenBao::start();
        assert_eq!(server.request("POST", "sys/seal", None).status, 204);
        bench.set("VAULT_ADDR", &server.address);
        bench.keep(server);
    }),
    seed("vault-uninitialized", &[], |bench| {
        let options = Options {
            skip_init: true,
            ..Options::default()
        };
        let server = OpenBao::start_with(&options);
        bench.set("VAULT_ADDR", &server.address);
        bench.keep(server);
    }),
    seed("clock-off", &[], |bench| {
        let liar = Liar::of_an_earlier_year(&bench.server().address);
        bench.set("VAULT_ADDR", liar.address);
    }),
    seed("credential-missing", &[], |bench| {
        fs::remove_file(bench.path("jwt")).unwrap()
    }),
    seed("credential-unreadable", &[], |bench| {
        bench.as_nobody();
        std::os::unix::fs::chown(bench.path("jwt"), Some(0), Some(0)).unwrap();
    }),
    seed("credential-open", &[], |bench| {
        fs::set_permissions(bench.path("jwt"), fs::Permissions::from_mode(0o644)).unwrap();
    }),
    seed("jwt-malformed", &[], |bench| {
        bench.write("jwt", "eyJhbGciOiJSUzI1NiJ9.eyJhdWQi", 0o600);
    }),
    seed("jwt-expired", &[], |bench| {
        bench.identity(&Claims {
            expires_in: -120,
            starts_in: -3600,
            ..Claims::default()
        });
    }),
    seed("jwt-not-yet-valid", &[], |bench| {
        bench.identity(&Claims {
            starts_in: 600,
            ..Claims::default()
        });
    }),
    seed("jwt-audience", &[], |bench| {
        bench.identity(&Claims {
            audience: "consul.io".to_owned(),
            ..Claims::default()
        });
    }),
    seed("login-refused", &[], |bench| {
        bench.set("CERTAGENT_AUTH_ROLE", "nobody")
    }),
    seed("token-invalid", &[], |bench| {
        bench.given_token("s.thisTokenHasNeverBeenIssued")
    }),
    seed("token-uses", &[], |bench| {
        bench.token(&json!({ "num_uses": 50 }))
    }),
    seed("token-ends", &[], |bench| {
        bench.token(&json!({ "renewable": false, "ttl": "10m" }))
    }),
    seed("mount-missing", &[], |bench| {
        bench.set("CERTAGENT_MOUNT", "nowhere")
    }),
    seed("mount-without-issuer", &[], |bench| {
        bench.empty_mount();
        bench.open_role(&json!({}));
    }),
    seed("policy-missing", &[], |bench| bench.forbidden_role()),
    seed("key-travels", &[], |bench| bench.issuing_role()),
    seed("role-missing", &[], |bench| {
        bench.set("CERTAGENT_ROLE", "nobody")
    }),
    seed("name-not-allowed", &[], |bench| {
        bench.open_role(&json!({ "allowed_domains": ["example.com"] }));
    }),
    seed("ip-not-allowed", &[], |bench| {
        bench.open_role(&json!({ "allow_ip_sans": false }))
    }),
    seed("uri-not-allowed", &[], |bench| {
        bench.set("CERTAGENT_URI_SANS", "spiffe://prod/loki");
        bench.open_role(&json!({ "allowed_uri_sans": [] }));
    }),
    seed("key-not-allowed", &[], |bench| {
        bench.set("CERTAGENT_KEY_TYPE", "ec-p256");
        bench.open_role(&json!({ "key_type": "rsa", "key_bits": 2048 }));
    }),
    seed("usage-missing", &[], |bench| {
        bench.open_role(&json!({ "client_flag": false }))
    }),
    seed("role-not-after", &[], |bench| {
        bench.open_role(&json!({ "not_after": "2040-01-01T00:00:00Z" }));
    }),
    seed("ttl-above-role", &[], |bench| {
        bench.open_role(&json!({ "max_ttl": "30m" }))
    }),
    seed("role-leases", &[], |bench| {
        bench.open_role(&json!({ "generate_lease": true }))
    }),
    seed("ttl-above-ca", &[], |bench| bench.short_ca("30m")),
    seed("ca-ends-soon", &[], |bench| bench.short_ca("100m")),
    seed("issuance-refused", &[], |bench| {
        bench.blind_role(&json!({ "allowed_domains": ["example.com"] }));
        bench.args(&["--test-issue"]);
    }),
    seed("answer-refused", &[], |bench| {
        bench.blind_role(&json!({ "client_flag": false }));
        bench.args(&["--test-issue"]);
    }),
];

fn two_names_for_one_directory(bench: &mut Bench<'_>) {
    let secrets = bench.path("secrets");
    let link = bench.path("link");
    std::os::unix::fs::symlink(&secrets, &link).unwrap();
    let block = |name: &str, place: &Path| {
        format!(
            "certificate \"{name}\" {{\n  common_name = \"loki-{name}.service.consul\"\n  \
             ip_sans = [\"127.0.0.1\"]\n  ttl = \"1h\"\n  dir = \"{}\"\n  ready_file = \"{}\"\n}}\n",
            place.join("certs").display(),
            bench.path(&format!("alloc/{name}.json")).display()
        )
    };
    let text = block("one", &secrets) + &block("two", &link);
    let file = bench.write("certagent.hcl", &text, 0o644);
    bench.unset(&[
        "CERTAGENT_COMMON_NAME",
        "CERTAGENT_IP_SANS",
        "CERTAGENT_TTL",
        "CERTAGENT_DIR",
        "CERTAGENT_READY_FILE",
        "CERTAGENT_SPLAY_SEED",
    ]);
    bench.args(&["-c", &file.display().to_string()]);
}

fn now_millis() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}
