//! A secret in every setting, in every notation, well formed and not: it is shown nowhere.

use super::{Flags, env, least, try_load};
use crate::config::table::{SETTINGS, Setting, Shown, ValueKind};

const SECRET: &str = "hunter2hunter2hunter2hunter2";

/// The notations that hold a secret wherever they stand.
fn notations() -> Vec<String> {
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n{SECRET}\n-----END PRIVATE KEY-----\n");
    vec![
        format!("hvs.{SECRET}"),
        format!("s.{SECRET}"),
        format!("eyJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJ2YXVsdCJ9.{SECRET}"),
        format!("http://me:{SECRET}@127.0.0.1:1"),
        format!("https://me:{SECRET}@127.0.0.1:1/path"),
        format!("unix://me:{SECRET}@/x"),
        format!("http://127.0.0.1:1/?token={SECRET}"),
        format!("http://127.0.0.1:1/?{SECRET}"),
        format!("http://127.0.0.1:1/#{SECRET}"),
        format!("http://127.0.0.1:{SECRET}"),
        format!("password={SECRET}"),
        format!("X_TOKEN: {SECRET} and more"),
        pem.replace('\n', "\\n"),
        pem.replace('\n', " "),
        pem[..50].to_owned(),
        pem.clone(),
        // cut in the middle, or with what no value has
        format!("http://me:{SECRET}@"),
        format!("http://me:{SECRET} x@127.0.0.1"),
        format!("hvs.{SECRET}\u{1}"),
        format!("http://me:{SECRET}\u{7f}@127.0.0.1"),
    ]
}

/// Those that hold one because of the setting they are in.
fn of_kind(setting: &Setting) -> Vec<String> {
    match setting.shown {
        Shown::Nothing => vec![
            SECRET.to_owned(),
            format!("{SECRET}\n"),
            format!("{{\"X\": \"{SECRET}\"}}"),
        ],
        Shown::Names => vec![
            SECRET.to_owned(),
            format!("A={SECRET}"),
            format!("={SECRET}"),
        ],
        Shown::Program => vec![
            format!("prog,{SECRET},-p{SECRET}"),
            format!("prog,{SECRET}\u{1}"),
        ],
        Shown::Url => vec![
            format!("me:{SECRET}@127.0.0.1:1"),
            format!("http://me:a,{SECRET}@127.0.0.1:1"),
            format!("127.0.0.1:{SECRET}"),
        ],
        Shown::Text => Vec::new(),
    }
}

/// What is said about it, wherever it was written.
fn said(text: &str, variables: &[(&str, &str)], flags: &Flags) -> String {
    let mut environment = least();
    environment.extend(env(variables));
    match try_load(text, &environment, flags) {
        Ok(loaded) => format!("{loaded:?} {:?}", loaded.config),
        Err(problems) => format!("{problems} {problems:?}"),
    }
}

fn in_file(setting: &Setting, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    let value = value
        .replace('\n', "\\n")
        .replace('\u{1}', "\\u0001")
        .replace('\u{7f}', "\\u007f");
    let value = match setting.kind {
        ValueKind::List => format!("[\"{}\"]", value.replace(',', "\", \"")),
        _ => format!("\"{value}\""),
    };
    let (key, mut block) = (setting.key, String::new());
    let path = setting.section.path();
    let words: Vec<&str> = path.split('.').collect();
    for word in &words {
        let label = if *word == "certificate" || *word == "auth" {
            " \"token\""
        } else {
            ""
        };
        block.push_str(&format!("{word}{label} {{\n"));
    }
    block.push_str(&format!("{key} = {value}\n{}", "}\n".repeat(words.len())));
    block
}

#[test]
fn a_secret_planted_into_any_setting_is_shown_nowhere() {
    let mut told = 0;
    for setting in SETTINGS {
        for value in notations().into_iter().chain(of_kind(setting)) {
            if setting.key == "uri_sans" && value.starts_with("http://127.0.0.1:") {
                continue; // public: a certificate says it to everybody
            }
            let mut all: Vec<(String, String)> = setting
                .variables()
                .into_iter()
                .map(|name| (said("", &[(&name, &value)], &Flags::default()), name))
                .collect();
            let flags = Flags::default().with(setting.flag, &value);
            all.push((
                format!("{} {flags:?}", said("", &[], &flags)),
                "flag".to_owned(),
            ));
            let file = in_file(setting, &value);
            all.push((said(&file, &[], &Flags::default()), "file".to_owned()));
            if let Ok(written) = crate::config::parse(&file, "f") {
                all.push((format!("{written:?}"), "Debug".to_owned()));
            }
            for (text, place) in all {
                told += 1;
                let path = setting.path();
                // half of it is a leak too
                assert!(
                    !text.contains("hunter2"),
                    "{path} by {place}, {value:?}: {text}"
                );
            }
        }
    }
    assert!(told > 4_000, "{told}");
}

#[test]
fn variables_of_the_clients_that_are_refused_do_not_show_their_value() {
    for (name, _) in crate::config::issuer_env::OTHERS {
        for value in notations() {
            let name = format!("VAULT_{name}");
            let text = said("", &[(&name, &value)], &Flags::default());
            assert!(!text.contains("hunter2"), "{name}: {text}");
        }
    }
}

#[test]
fn what_holds_no_secret_is_shown_as_it_is() {
    for (name, value) in [
        ("VAULT_ADDR", "https://vault.example:8200/prefix"),
        ("CERTAGENT_DIR", "/srv/app@2/certs"),
        ("CERTAGENT_URI_SANS", "spiffe://example/loki"),
        ("CERTAGENT_PROBE_ADDRESS", "[::1]:9095"),
        ("VAULT_PROXY_ADDR", "http://proxy.example:3128"),
    ] {
        let mut environment = least();
        environment.extend(env(&[(name, value)]));
        let loaded = try_load("", &environment, &Flags::default()).unwrap();
        let shown = loaded
            .table
            .iter()
            .any(|row| row.values.iter().any(|one| one.as_str() == value));
        assert!(shown, "{name}: {:?}", loaded.table);
    }
}
