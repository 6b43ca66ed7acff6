//! Every setting, through every place it can be written.

use super::super::{
    Config, Environment, Flags, ReloadStep,
    file::parse,
    layers::{Gathered, Layers},
    problem::{Problems, Source},
    table::{SETTINGS, Section, Setting, ValueKind},
};
use super::{env, least, load, try_load};
use crate::model::reload::Action;

/// A block with only this setting in it.
fn file_with(setting: &Setting, text: &str) -> String {
    let word = setting.section.name();
    if setting.section.parent().is_some() {
        let line = format!("{} = {}", setting.key, literal(setting, text));
        let outer = surroundings(setting.section);
        let heads = outer.iter().rev().map(|one| {
            let label = one.label().map_or("", |_| "\"label\"");
            format!("{} {label} {{\n", one.name())
        });
        let heads: String = heads.collect();
        let tails = "}\n".repeat(outer.len());
        return format!("{heads}{word} {{\n  {line}\n}}\n{tails}");
    }
    match setting.section.label() {
        Some(key) if key == setting.key => format!("{word} \"{text}\" {{\n}}\n"),
        Some(_) => format!(
            "{word} \"label\" {{\n  {} = {}\n}}\n",
            setting.key,
            literal(setting, text)
        ),
        None => format!(
            "{word} {{\n  {} = {}\n}}\n",
            setting.key,
            literal(setting, text)
        ),
    }
}

/// The blocks around it, the innermost first.
fn surroundings(section: Section) -> Vec<Section> {
    std::iter::successors(section.parent(), |one| one.parent()).collect()
}

fn literal(setting: &Setting, text: &str) -> String {
    match setting.kind {
        ValueKind::Headers => format!("{{ \"X-A\" = {text:?} }}"),
        _ => format!("{text:?}"),
    }
}

fn strongest(
    setting: &Setting,
    file: &str,
    environment: &Environment,
    flags: &Flags,
) -> Option<String> {
    let written = parse(file, "f").unwrap();
    let mut all = Gathered {
        environment,
        flags,
        problems: Problems::default(),
        table: None,
        notes: Vec::new(),
    };
    let layers = Layers {
        all: &mut all,
        section: setting.section,
        block: surroundings(setting.section)
            .into_iter()
            .rev()
            .skip(1)
            .chain(setting.section.parent().map(|_| setting.section))
            .try_fold(written.blocks.first(), |block, section| {
                Some(block.and_then(|block| block.inner(section)))
            })
            .flatten(),
        certificate: None,
        outer: true,
    };
    layers.written(setting.key).map(|source| source.to_string())
}

#[test]
fn flag_beats_variable_beats_file_for_every_setting() {
    for setting in SETTINGS {
        let path = setting.path();
        let none = (Environment::new(), Flags::default());
        let in_file = !setting.is_secret() || setting.kind == ValueKind::Headers;
        let file = if in_file {
            file_with(setting, "one")
        } else {
            String::new()
        };
        let line = match setting.section {
            section if section.label() == Some(setting.key) => 1,
            section => 2 + surroundings(section).len(),
        };
        let wanted = in_file.then(|| format!("f:{line}"));
        assert_eq!(
            strongest(setting, &file, &none.0, &none.1),
            wanted,
            "{path}"
        );

        let mut environment = Environment::new();
        for client in setting.issuer.iter().rev() {
            for prefix in ["VAULT_", "BAO_"] {
                let name = format!("{prefix}{client}");
                environment.insert(name.clone(), "two".to_owned());
                assert_eq!(
                    strongest(setting, &file, &environment, &none.1),
                    Some(name),
                    "{path}"
                );
            }
        }
        let own = setting.variable();
        environment.insert(own.clone(), "three".to_owned());
        assert_eq!(
            strongest(setting, &file, &environment, &none.1),
            Some(own),
            "{path}"
        );

        if let Some(long) = setting.long() {
            let flags = Flags::default().with(setting.flag, "four");
            assert_eq!(
                strongest(setting, &file, &environment, &flags),
                Some(long),
                "{path}"
            );
        }
    }
}

#[test]
fn an_empty_variable_is_not_set_but_hides_the_other_clients() {
    let environment = env(&[
        ("VAULT_ADDR", "https://v"),
        ("BAO_ADDR", ""),
        ("CERTAGENT_VAULT_ADDR", ""),
    ]);
    let address = SETTINGS.iter().find(|one| one.key == "address").unwrap();
    assert_eq!(
        strongest(address, "", &environment, &Flags::default()),
        None
    );
}

/// Flag, a value that is not the default, and the other flags that it needs.
type Sample = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const SAMPLES: &[Sample] = &[
    ("name", "other", &[]),
    ("component", "querier", &[]),
    ("common-name", "other.consul", &[]),
    ("dns-sans", "a.consul,b.consul", &[]),
    ("ip-sans", "192.0.2.1,::1", &[]),
    ("node-ip", "192.0.2.2", &[]),
    ("uri-sans", "spiffe://a/b", &[]),
    ("mount", "pki_int", &[]),
    ("role", "other", &[]),
    ("mode", "sign", &[]),
    ("ttl", "1h", &[]),
    ("key-type", "ed25519", &[]),
    ("reuse-key", "true", &[("mode", "sign")]),
    (
        "issuer-sha256",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        &[],
    ),
    ("renew-at", "50%", &[]),
    ("splay", "1m", &[]),
    ("splay-seed", "other", &[]),
    ("min-remaining", "7s", &[]),
    ("max-issuances-per-hour", "77", &[]),
    ("startup-timeout", "77s", &[]),
    ("dir", "/other", &[]),
    ("cert-perms", "0640", &[]),
    ("key-perms", "0640", &[]),
    ("uid", "77", &[]),
    ("gid", "77", &[]),
    ("ready-file", "/other/ready.json", &[]),
    ("extra-ca", "/ca.pem", &[]),
    ("trust", "chain", &[]),
    ("trust-issuers", "root-1", &[]),
    ("distrust", "old-root", &[]),
    ("ca-poll-interval", "0", &[]),
    ("ca-retention", "1h", &[]),
    ("probe", "false", PROBE),
    ("probe-address", "other:1", &[]),
    ("probe-server-name", "other", PROBE),
    ("probe-alpn", "h2,other", PROBE),
    ("probe-mtls", "false", PROBE),
    ("probe-starttls", "smtp", PROBE),
    ("probe-grpc-health", "true", PROBE),
    ("probe-interval", "7s", PROBE),
    ("probe-timeout", "7s", PROBE),
    ("app", "loki", &[]),
    ("on-cert-change", "none", &[]),
    ("on-ca-change", "none", &[]),
    ("reload-task", "other", &[("app", "loki")]),
    ("reload-signal", "SIGUSR1", &[("on-cert-change", "signal")]),
    ("reload-pid", "7", SIGNAL),
    ("reload-pid-file", "/pid", SIGNAL),
    ("reload-command", "a,b", &[("on-cert-change", "exec")]),
    ("reload-env", "A=b", EXEC),
    ("reload-exec-timeout", "7s", EXEC),
    (
        "reload-url",
        "http://127.0.0.1:1/x",
        &[("on-cert-change", "http")],
    ),
    ("reload-method", "PUT", HTTP),
    ("reload-expect-status", "204", HTTP),
    ("reload-http-timeout", "7s", HTTP),
    ("reload-version-url", "http://127.0.0.1:1", &[]),
    ("verify-timeout", "7s", &[]),
    ("kill-timeout", "7s", &[]),
    ("reload-lock", "a/b", &[]),
    ("reload-min-healthy-time", "7s", &[]),
    (
        "stagger-window",
        "7s",
        &[("stagger-count", "3"), ("stagger-index", "1")],
    ),
    ("stagger-count", "3", &[("stagger-index", "1")]),
    ("stagger-index", "1", &[("stagger-count", "3")]),
    ("rollback", "false", PROBE),
    ("rollback-min-previous-validity", "7s", PROBE),
    ("vault-addr", "https://a,https://b", &[]),
    ("vault-allow-plain-http", "true", &[]),
    ("vault-namespace", "team", &[]),
    ("vault-ca-cert", "/ca.pem", &[]),
    ("vault-ca-cert-bytes", "-----BEGIN CERTIFICATE-----", &[]),
    ("vault-ca-path", "/cas", &[]),
    (
        "vault-client-cert",
        "/c.pem",
        &[("vault-client-key", "/k.pem")],
    ),
    (
        "vault-client-key",
        "/k.pem",
        &[("vault-client-cert", "/c.pem")],
    ),
    ("vault-tls-server-name", "vault.example", &[]),
    ("vault-timeout", "7s", &[]),
    ("vault-max-retries", "7", &[]),
    ("vault-rate-limit", "7:9", &[]),
    ("vault-proxy", "http://proxy:3128", &[]),
    ("vault-disable-redirects", "true", &[]),
    ("vault-headers", "{\"X-A\": \"b\"}", &[]),
    ("auth", "token_file", &[("auth-path", "/token")]),
    (
        "auth-mount",
        "other",
        &[("auth", "jwt"), ("auth-path", "/jwt")],
    ),
    (
        "auth-role",
        "other",
        &[("auth", "jwt"), ("auth-path", "/jwt")],
    ),
    ("auth-path", "/jwt", &[("auth", "jwt")]),
    (
        "auth-file-uid",
        "100",
        &[("auth", "jwt"), ("auth-path", "/jwt")],
    ),
    ("auth-role-id", "other", &[("auth", "approle")]),
    (
        "auth-secret-id-path",
        "/id",
        &[("auth", "approle"), ("auth-role-id", "r")],
    ),
    (
        "auth-secret-id-wrapped",
        "true",
        &[
            ("auth", "approle"),
            ("auth-role-id", "r"),
            ("auth-secret-id-path", "/id"),
        ],
    ),
    (
        "auth-secret-id",
        "hunter2",
        &[("auth", "approle"), ("auth-role-id", "r")],
    ),
    ("auth-token", "hunter2", &[]),
    ("log-format", "json", &[]),
    ("log-level", "trace", &[]),
    ("http-listen", "127.0.0.1:9464", &[]),
    (
        "http-allow-remote",
        "true",
        &[("http-listen", "0.0.0.0:9464")],
    ),
    ("status-socket", "/run/s.sock", &[]),
    ("hardening", "off", &[]),
];

const PROBE: &[(&str, &str)] = &[("probe-address", "a:1")];

const SIGNAL: &[(&str, &str)] = &[("on-cert-change", "signal"), ("reload-signal", "SIGHUP")];
const EXEC: &[(&str, &str)] = &[("on-cert-change", "exec"), ("reload-command", "a")];
const HTTP: &[(&str, &str)] = &[
    ("on-cert-change", "http"),
    ("reload-url", "http://127.0.0.1:1/"),
];

fn debug(text: &str, environment: &Environment, flags: &Flags) -> String {
    shown(&load(text, environment, flags))
}

/// With what an action does not show in a log.
fn shown(config: &Config) -> String {
    let reloads = config
        .certificates
        .iter()
        .filter_map(|one| one.reload.as_ref());
    let actions = reloads
        .flat_map(|reload| &reload.on_cert_change)
        .map(|step| match step {
            ReloadStep::Do(Action::Exec { argv, timeout, env }) => {
                format!("{argv:?} {timeout:?} {env:?}")
            }
            ReloadStep::Do(Action::Http {
                method,
                url,
                expect,
                timeout,
            }) => format!("{method} {url} {expect:?} {timeout:?}"),
            other => format!("{other:?}"),
        });
    format!("{config:?} {:?}", actions.collect::<Vec<_>>())
}

#[test]
fn every_setting_reaches_the_program_from_every_place() {
    let all: Vec<_> = SETTINGS.iter().map(|one| one.flag).collect();
    let sampled: Vec<_> = SAMPLES.iter().map(|one| one.0).collect();
    assert_eq!(all, sampled);
    for (setting, (flag, value, needs)) in SETTINGS.iter().zip(SAMPLES) {
        let base = |skip: &str| {
            let mut flags = Flags::default();
            for (flag, value) in needs.iter().filter(|one| one.0 != skip) {
                flags = flags.with(flag, value);
            }
            flags
        };
        let mut environment = least();
        environment.insert(setting.variable(), (*value).to_owned());
        let by_variable = debug("", &environment, &base(""));
        if *flag != "auth-token" {
            // Without it the rest may be incomplete; where it is not, it must make a difference.
            let without = try_load("", &least(), &base(""));
            let same = without.is_ok_and(|loaded| shown(&loaded.config) == by_variable);
            assert!(!same, "--{flag} changes nothing");
        }
        if !setting.is_secret() {
            let by_flag = debug("", &least(), &base("").with(flag, value));
            assert_eq!(by_flag, by_variable, "--{flag}");
        }
        // In the file; what auth blocks need beside it is given there too.
        if setting.section == Section::Vault || setting.section == Section::Log {
            let value = match setting.kind {
                ValueKind::Headers => "{ X-A = \"b\" }".to_owned(),
                ValueKind::List => format!("{:?}", value.split(',').collect::<Vec<_>>()),
                _ => format!("{value:?}"),
            };
            let text = format!(
                "{} {{\n  {} = {value}\n}}\n",
                setting.section.name(),
                setting.key
            );
            assert_eq!(
                debug(&text, &least(), &base("")),
                by_variable,
                "{}",
                setting.path()
            );
        }
    }
}

#[test]
fn a_flag_is_named_as_the_source_of_its_problem() {
    let loaded = try_load("", &least(), &Flags::default().with("ttl", "soon"));
    let problems = loaded.unwrap_err();
    assert_eq!(problems.list().len(), 1);
    assert_eq!(
        problems.list()[0].source,
        Some(Source::Flag("--ttl".to_owned()))
    );
    assert_eq!(problems.list()[0].key, "certificate.ttl");
}
