//! What is covered, and what is left as it is.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{request::KeyType, testing::ca::new_key};

const SECRET: &str = "hunter2";

#[test]
fn tokens_are_known_by_their_form() {
    let token = "CAESIJ0123456789abcdefghijk";
    for text in [
        format!("hvs.{token}"),
        format!("x=hvs.{token} y"),
        format!("\"hvb.{token}\""),
        "s.thetokenthetokenthetoken".to_owned(),
        "s.thetokenthetokenthetoken.abcde".to_owned(),
        "eyJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJ2YXVsdCJ9.c2lnbmF0dXJl".to_owned(),
    ] {
        assert!(holds_secret(&text), "{text}");
        let shown = tokens(&text);
        assert!(
            shown.contains(COVERED) && shown.len() < text.len(),
            "{shown}"
        );
        assert!(
            !shown.contains("CAES") && !shown.contains("thetoken"),
            "{shown}"
        );
    }
    for text in [
        "loki-read.service.consul has names.of.many.parts",
        "logs.a-name-of-many-letters.example",
        "s.short",
        "spiffe://example/loki",
        "/var/lib/nomad/alloc/0b5a3c7e-1111-2222-3333-444455556666/secrets/certs",
        "ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12",
        "10d",
    ] {
        assert!(!holds_secret(text) && !holds_password(text), "{text}");
        assert_eq!(setting(text), text);
    }
}

#[test]
fn a_variable_that_holds_a_secret_is_known_by_its_name() {
    for name in [
        "VAULT_TOKEN",
        "ROLE_SECRET_ID",
        "db_password",
        "X_API_KEY",
        "VAULT_HEADERS",
    ] {
        assert!(names_secret(name), "{name}");
        assert!(!names_secret(&format!("{name}_FILE")), "{name}");
        assert_eq!(
            setting(&format!("{name}=hunter2")),
            format!("{name}={COVERED}")
        );
    }
    for name in ["PATH", "NOMAD_SECRETS_DIR", "CERTAGENT_SERIAL"] {
        assert!(!names_secret(name), "{name}");
    }
}

#[test]
fn a_url_is_shown_without_user_query_and_fragment() {
    let table = [
        ("https://vault:8200/a", "https://vault:8200/a"),
        ("http://[::1]:8200", "http://[::1]:8200"),
        ("unix:///run/v.sock", "unix:///run/v.sock"),
        ("http://me:hunter2@p:1", "http://[secret]@p:1"),
        ("me:hunter2@p:1", "[secret]@p:1"),
        ("http://me:hun@hunter2@p", "http://[secret]@p"),
        ("http://me:my hunter2@p", "http://[secret]@p"),
        ("http://me:hun?hunter2@p", "http://[secret]"),
        ("http://h/?a=me@hunter2", "http://[secret]"),
        ("http://h/x?hunter2", "http://h/x?[secret]"),
        ("http://h/x#hunter2", "http://h/x#[secret]"),
        ("http://me:hunter2", "http://me:[secret]"),
        ("http://[::1]:hunter2", "http://[::1]:[secret]"),
        ("h/password=hunter2", "h/password=[secret]"),
    ];
    for (text, shown) in table {
        assert_eq!(url(text), shown);
        assert!(!url(text).contains(SECRET));
    }
}

#[test]
fn only_a_user_with_a_password_is_a_secret_in_a_url() {
    assert!(holds_password("http://me:hunter2@p/x"));
    for text in ["http://me@p", "http://p:1/a@b:c", "mailto:me@p", "a@b"] {
        assert!(!holds_password(text), "{text}");
    }
}

#[test]
fn pem_is_covered_in_every_notation() {
    let key = new_key(KeyType::EcP256).serialize_pem();
    let body: String = key.lines().filter(|line| !line.contains('-')).collect();
    let base64 = STANDARD.encode(&key);
    for text in [
        key.clone(),
        key.replace('\n', "\\n"),
        key.replace('\n', " "),
        key.lines().take(2).collect::<Vec<_>>().join("\n"),
        format!("x {body}"),
        base64,
    ] {
        assert!(holds_secret(&text), "{text}");
        assert_eq!(setting(&text), PEM);
        assert_eq!(url(&text), PEM);
    }
}

#[test]
fn what_follows_a_word_for_secrets_is_covered_to_the_end() {
    for text in [
        "password=hunter2 hunter2",
        "{\"token\": \"hunter2\"}",
        "X_SECRET_ID=hunter2",
    ] {
        assert!(!setting(text).contains(SECRET), "{}", setting(text));
    }
    let harmless = ["/run/secrets/token", "secret/data/loki", "token"];
    for text in harmless {
        assert_eq!(setting(text), text);
    }
}

/// PEM of a key and of a certificate for it, and where in the key's DER the private part is.
fn pair(kind: KeyType) -> (String, String, Vec<u8>) {
    let key = new_key(kind);
    let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let der = key.serialize_der();
    // RFC 5958 and RFC 5915: behind version, algorithm and tags; RSA's primes are in the last half
    let private = match kind {
        KeyType::EcP256 => &der[36..68],
        KeyType::Ed25519 => &der[16..48],
        _ => &der[der.len() - 600..der.len() - 20],
    };
    (key.serialize_pem(), certificate, private.to_vec())
}

#[test]
fn every_line_of_a_key_is_known_in_every_notation() {
    for kind in [KeyType::EcP256, KeyType::Ed25519, KeyType::Rsa2048] {
        let (key, certificate, private) = pair(kind);
        let traces = KeyTraces::of(&key, &certificate);
        let hex = |bytes: &[u8]| -> Vec<String> {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        for at in 0..private.len() - 15 {
            let some = hex(&private[at..at + 15]);
            for line in [
                format!("    {}:", some.join(":")),
                some.concat().to_uppercase(),
                format!("0000: {}  .a.", some.join(" ")),
                STANDARD.encode(&private[at..at + 12]),
                STANDARD
                    .encode(&private[at..at + 12])
                    .replace('+', "-")
                    .replace('/', "_"),
            ] {
                assert!(traces.is_in(&line), "{kind:?} {line}");
            }
        }
        let twice = STANDARD.encode(&key);
        for at in (0..twice.len() - 76).step_by(19) {
            assert!(traces.is_in(&twice[at..at + 76]), "{kind:?} base64 of PEM");
        }
        assert!(traces.is_in(&key.replace('\n', "\\n")));
        let second = key.lines().nth(1).unwrap();
        assert!(traces.is_in(second), "{kind:?} {second}");
    }
}

#[test]
fn a_certificate_and_words_are_no_traces_of_its_key() {
    for kind in [KeyType::EcP256, KeyType::Ed25519, KeyType::Rsa2048] {
        let (key, certificate, _) = pair(kind);
        let traces = KeyTraces::of(&key, &certificate);
        let whole = STANDARD.encode(&certificate);
        let lines = certificate.lines().chain([&*whole]);
        for line in lines.chain(["reloaded 0123456789abcdef0123456789abcdef", ""]) {
            assert!(!traces.is_in(line), "{kind:?} {line}");
        }
    }
    let none = KeyTraces::of("", "");
    assert!(!none.is_in("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"));
}
