//! The whole table of the clients' variables (research: vault.md 2.9): none is silently dropped.

use super::super::Flags;
use super::{least, load, refused, try_load};

/// What has to become of a variable.
enum Fate {
    /// Changes the configuration.
    Obeyed(&'static str),
    /// Stops the start; the message names the variable and holds this.
    Refused(&'static str, &'static str),
    /// Does nothing, and a note says so.
    Noted(&'static str),
}

use Fate::{Noted, Obeyed, Refused};

const TABLE: &[(&str, Fate)] = &[
    ("ADDR", Obeyed("https://vault.example:8200/prefix")),
    ("AGENT_ADDR", Obeyed("unix:///run/agent.sock")),
    ("TOKEN", Refused("a b", "no token has")),
    ("NAMESPACE", Obeyed("team/a")),
    ("CACERT", Obeyed("/ca.pem")),
    ("CACERT_BYTES", Obeyed("-----BEGIN CERTIFICATE-----")),
    ("CAPATH", Obeyed("/cas")),
    ("CLIENT_CERT", Refused("/c.pem", "needs client_key")),
    ("CLIENT_KEY", Refused("/k.pem", "needs client_cert")),
    ("CLIENT_CERT_BYTES", Refused("x", "set CLIENT_CERT")),
    ("CLIENT_KEY_BYTES", Refused("x", "set CLIENT_KEY")),
    ("TLS_SERVER_NAME", Obeyed("vault.example")),
    ("SKIP_VERIFY", Refused("true", "cannot verify")),
    ("SKIP_VERIFY", Refused("yes", "not true or false")),
    ("CLIENT_TIMEOUT", Obeyed("7")),
    ("CLIENT_TIMEOUT", Obeyed("7s")),
    ("CLIENT_TIMEOUT", Refused("soon", "vault.timeout")),
    ("MAX_RETRIES", Obeyed("0")),
    ("RATE_LIMIT", Obeyed("10:20")),
    ("PROXY_ADDR", Obeyed("http://proxy:3128")),
    ("HTTP_PROXY", Obeyed("http://proxy:3128")),
    ("SRV_LOOKUP", Refused("1", "list the addresses")),
    ("DISABLE_REDIRECTS", Obeyed("true")),
    ("WRAP_TTL", Refused("5m", "contains no certificate")),
    ("MFA", Refused("x", "MFA request")),
    ("HEADERS", Obeyed("{\"X-A\": \"b\"}")),
    ("HEADERS", Refused("[]", "vault.headers")),
    ("FORMAT", Noted("json")),
    ("LOG_LEVEL", Noted("debug")),
    ("CLUSTER_ADDR", Noted("https://x")),
    ("REDIRECT_ADDR", Noted("https://x")),
    ("SOMETHING_NEW", Noted("x")),
];

#[test]
fn each_variable_is_obeyed_refused_or_noted_under_both_names() {
    let before = format!("{:?}", load("", &least(), &Flags::default()));
    for (name, fate) in TABLE {
        for prefix in ["VAULT_", "BAO_"] {
            let name = format!("{prefix}{name}");
            let set = |value: &str| {
                let mut environment = least();
                environment.insert(name.clone(), value.to_owned());
                environment
            };
            match fate {
                Obeyed(value) => {
                    let after = format!("{:?}", load("", &set(value), &Flags::default()));
                    assert_ne!(before, after, "{name}");
                }
                Refused(value, why) => {
                    let text = refused("", &set(value), &Flags::default());
                    assert!(text.contains(&name) && text.contains(why), "{name}: {text}");
                }
                Noted(value) => {
                    let loaded = try_load("", &set(value), &Flags::default()).unwrap();
                    assert_eq!(before, format!("{:?}", loaded.config), "{name}");
                    let noted = loaded.notes.iter().any(|note| note.starts_with(&name));
                    assert!(noted, "{name}: {:?}", loaded.notes);
                }
            }
        }
    }
}

#[test]
fn a_harmless_value_of_a_dangerous_variable_is_taken() {
    for value in ["", "0", "f", "false", "FALSE"] {
        let mut environment = least();
        environment.insert("VAULT_SKIP_VERIFY".to_owned(), value.to_owned());
        environment.insert("VAULT_SRV_LOOKUP".to_owned(), value.to_owned());
        load("", &environment, &Flags::default());
    }
}

#[test]
fn bao_hides_vault_even_when_it_is_empty() {
    let mut environment = least();
    environment.insert("VAULT_SKIP_VERIFY".to_owned(), "1".to_owned());
    environment.insert("BAO_SKIP_VERIFY".to_owned(), String::new());
    environment.insert("VAULT_NAMESPACE".to_owned(), "a".to_owned());
    environment.insert("BAO_NAMESPACE".to_owned(), "b".to_owned());
    let config = load("", &environment, &Flags::default());
    assert_eq!(config.vault.namespace.as_deref(), Some("b"));
}

#[test]
fn one_source_of_trust_counts_and_the_others_are_noted() {
    let mut environment = least();
    environment.insert("VAULT_CAPATH".to_owned(), "/cas".to_owned());
    environment.insert("VAULT_CACERT".to_owned(), "/ca.pem".to_owned());
    let loaded = try_load("", &environment, &Flags::default()).unwrap();
    let tls = &loaded.config.vault.tls;
    assert!(tls.ca_cert.is_some() && tls.ca_path.is_none());
    assert!(
        loaded
            .notes
            .iter()
            .any(|note| note.starts_with("VAULT_CAPATH"))
    );

    // A stronger place beats the order of the names.
    let flags = Flags::default().with("vault-ca-path", "/mine");
    let tls = load("", &environment, &flags).vault.tls;
    assert!(tls.ca_cert.is_none() && tls.ca_path.is_some());
}

#[test]
fn the_proxies_of_the_web_are_noted_and_not_obeyed() {
    for name in ["HTTP_PROXY", "https_proxy"] {
        let mut environment = least();
        environment.insert(name.to_owned(), "http://proxy:3128".to_owned());
        let loaded = try_load("", &environment, &Flags::default()).unwrap();
        assert_eq!(loaded.config.vault.proxy, None);
        assert!(loaded.notes.iter().any(|note| note.starts_with(name)));
    }
}

/// Addresses, proxy, allowed in words; what the problem holds, or nothing.
type Plain = (&'static str, &'static str, bool, Option<&'static str>);

const PLAIN: [Plain; 21] = [
    ("https://vault.example:8200", "", false, None),
    ("unix:///run/vault.sock", "", false, None),
    ("http://127.0.0.1:8200", "", false, None),
    ("http://127.9.9.9", "", false, None),
    ("http://[::1]:8200", "", false, None),
    ("http://LOCALHOST:8200", "", false, None),
    ("http://127.0.0.1:1,unix:///run/v.sock", "", false, None),
    ("http://127.0.0.1:1", "http://127.0.0.1:3128", false, None),
    ("https://vault", "http://proxy:3128", false, None),
    ("http://vault.example:8200", "", true, None),
    ("http://vault.example", "", false, Some("allow_plain_http")),
    ("HTTP://vault.example", "", false, Some("allow_plain_http")),
    (
        "http://10.0.0.1:8200/v",
        "",
        false,
        Some("10.0.0.1:8200/v is another host"),
    ),
    ("http://[2001:db8::1]", "", false, Some("allow_plain_http")),
    (
        "http://localhost.example",
        "",
        false,
        Some("allow_plain_http"),
    ),
    ("http://0.0.0.0:8200", "", false, Some("allow_plain_http")),
    (
        "http://127.0.0.1.example",
        "",
        false,
        Some("allow_plain_http"),
    ),
    ("http://127.0.0.1:1", "HTTP://proxy:3128", false, Some("")),
    // the proxy is on the way
    (
        "http://127.0.0.1:1",
        "http://proxy:3128",
        false,
        Some("allow_plain_http"),
    ),
    (
        "https://127.0.0.1:1,http://127.0.0.1:2",
        "",
        false,
        Some("mixes"),
    ),
    ("https://a,http://b", "", true, Some("mixes")),
];

#[test]
fn http_leaves_the_host_only_when_that_was_written_and_never_beside_https() {
    for (addresses, proxy, allowed, wrong) in PLAIN {
        let mut environment = least();
        environment.insert("VAULT_ADDR".to_owned(), addresses.to_owned());
        environment.insert("VAULT_PROXY_ADDR".to_owned(), proxy.to_owned());
        let allow = "CERTAGENT_VAULT_ALLOW_PLAIN_HTTP".to_owned();
        environment.insert(allow, allowed.to_string());
        match (try_load("", &environment, &Flags::default()), wrong) {
            (Ok(loaded), None) => {
                let plain = loaded.config.vault.plain_addresses().count();
                assert_eq!(plain > 0, allowed, "{addresses}");
            }
            (Err(problems), Some(wrong)) => {
                let text = problems.to_string();
                assert!(text.contains("vault.address: "), "{addresses}: {text}");
                assert!(text.contains(wrong), "{addresses}: {text}");
            }
            (found, _) => panic!("{addresses}: {found:?}"),
        }
    }
}
