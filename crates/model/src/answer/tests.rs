//! The parts of an issuer's answer, and answers that are refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    request::{KeyType, Request},
    testing::ca::{TestCa, keys, leaf_params, new_key},
    time::Timestamp,
};

const NOW: Timestamp = Timestamp::from_unix_secs(1_795_600_000);

fn own_key() -> PrivateKey {
    PrivateKey::from_pem(keys::EC_P256_PKCS8).unwrap()
}

#[test]
fn the_parts_of_a_good_answer_are_where_they_belong() {
    let ca = TestCa::new(NOW);
    let bundle = parse(&ca.answer(&Request::example(), NOW), None).unwrap();
    assert_eq!(bundle.chain, std::slice::from_ref(&ca.int.der));
    assert_eq!(bundle.anchors, std::slice::from_ref(&ca.root.der));
    assert_eq!(bundle.lease_id, None);
    assert_eq!(bundle.ca_pem().matches("BEGIN CERTIFICATE").count(), 1);
    assert_eq!(bundle.cert_pem().matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn a_key_in_the_answer_to_our_csr_is_refused() {
    let ca = TestCa::new(NOW);
    let refusal = parse(&ca.answer(&Request::example(), NOW), Some(own_key())).unwrap_err();
    assert_eq!(refusal.code(), "key-unexpected");
}

#[test]
fn sign_answers_may_send_no_key_null_or_nothing() {
    let ca = TestCa::new(NOW);
    let leaf = ca.int.sign(
        leaf_params(&Request::example(), NOW),
        &new_key(KeyType::EcP256),
    );
    let mut answer = ca.envelope(&leaf, None);
    for key in [None, Some(json!(null)), Some(json!(""))] {
        if let Some(key) = key {
            answer["data"]["private_key"] = key;
        }
        let bundle = parse(answer.to_string().as_bytes(), Some(own_key())).unwrap();
        assert_eq!(bundle.key, own_key());
    }
}

#[test]
fn warnings_and_lease_are_bounded_and_make_no_lines() {
    let ca = TestCa::new(NOW);
    let mut answer = ca.answer_json(&Request::example(), NOW);
    let mut warnings = vec![format!(
        "a\n2026 ERROR forged\u{1b}[2J{}",
        "w".repeat(5_000)
    )];
    warnings.extend(std::iter::repeat_n("w".to_owned(), 30_000));
    answer["warnings"] = json!(warnings);
    answer["lease_id"] = json!("l\n".repeat(10_000));
    let bundle = parse(answer.to_string().as_bytes(), Some(own_key()));
    let bundle = bundle
        .or_else(|_| parse(answer.to_string().as_bytes(), None))
        .unwrap();
    assert_eq!(bundle.warnings.len(), 22);
    assert_eq!(bundle.warnings[20], "29981 more warnings are left out");
    for warning in &bundle.warnings {
        assert!(warning.chars().count() < 1_000, "{warning}");
        assert!(!warning.chars().any(char::is_control), "{warning}");
    }
}

#[test]
fn no_number_of_an_answer_is_more_than_a_refusal() {
    let ca = TestCa::new(NOW);
    for number in [
        "18446744073709551615",
        "9223372036854775808",
        "18446744073709551616",
        "-9223372036854775808",
        "1.5",
        "1e308",
    ] {
        let mut answer = ca.answer_json(&Request::example(), NOW);
        answer["lease_duration"] = serde_json::from_str(number).unwrap();
        assert!(
            parse(answer.to_string().as_bytes(), None).is_ok(),
            "{number}"
        );
        answer["data"]["expiration"] = serde_json::from_str(number).unwrap();
        let refusal = parse(answer.to_string().as_bytes(), None).unwrap_err();
        assert_eq!(refusal.problems[0].code, "expiration-disagrees", "{number}");
    }
}

#[test]
fn all_faults_of_the_form_come_at_once_and_in_order() {
    let ca = TestCa::new(NOW);
    let mut answer = ca.answer_json(&Request::example(), NOW);
    answer["warnings"] = json!(1);
    answer["lease_id"] = json!(1);
    answer["data"]["ca_chain"] = json!([1, "x"]);
    answer["data"]["private_key"] = json!(1);
    answer["data"]["certificate"] = json!(1);
    let refusal = parse(answer.to_string().as_bytes(), None).unwrap_err();
    let codes: Vec<&str> = refusal
        .problems
        .iter()
        .map(|problem| problem.code)
        .collect();
    let expected = [
        "certificate-wrong-type",
        "key-wrong-type",
        "chain-entry-wrong-type",
        "chain-not-pem",
        "warnings-wrong-type",
        "lease-wrong-type",
    ];
    assert_eq!(codes, expected);
}

#[test]
fn no_refusal_repeats_any_of_a_key() {
    let ca = TestCa::new(NOW);
    let good = ca.answer_json(&Request::example(), NOW);
    let key = good["data"]["private_key"].as_str().unwrap().to_owned();
    let body_lines: Vec<&str> = key.lines().filter(|line| line.len() > 20).collect();
    let live = ca.answer(&Request::example(), NOW);
    let mut bodies: Vec<Vec<u8>> =
        crate::testing::ca::mutations(&ca, &Request::example(), NOW, &live)
            .into_iter()
            .map(|mutation| mutation.body)
            .collect();
    for field in ["certificate", "issuing_ca", "serial_number", "expiration"] {
        let mut answer = good.clone();
        answer["data"][field] = key.as_str().into();
        bodies.push(answer.to_string().into_bytes());
    }
    for body in &bodies {
        let Err(refusal) = parse(body, None) else {
            continue;
        };
        let shown = format!("{refusal} {refusal:?}");
        // Base64 of 16 bytes and more has no place in a message.
        let longest = shown
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '+' || c == '/'))
            .map(str::len)
            .max();
        assert!(longest < Some(30), "{shown}");
        assert!(
            !body_lines.iter().any(|line| shown.contains(line)),
            "{shown}"
        );
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just(keys::EC_P256_PKCS8.to_owned()),
        Just("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----".to_owned()),
        ".{0,20}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let field = prop_oneof![
        Just("data"),
        Just("certificate"),
        Just("ca_chain"),
        Just("issuing_ca"),
        Just("private_key"),
        Just("serial_number"),
        Just("expiration"),
        Just("warnings"),
        Just("lease_id"),
        Just("errors"),
        Just("wrap_info"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let object = prop::collection::vec((field.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|fields| {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                Value::Object(fields.collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&body, None).is_err());
    }

    #[test]
    fn any_json_is_refused_without_a_panic(root in any_json(), data in any_json()) {
        prop_assert!(parse(root.to_string().as_bytes(), None).is_err());
        let body = json!({ "data": data }).to_string();
        prop_assert!(parse(body.as_bytes(), None).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_bent_certificate_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        static DER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let ca = TestCa::new(NOW);
            ca.int.sign(leaf_params(&Request::example(), NOW), &new_key(KeyType::EcP256))
        });
        let mut der = DER.clone();
        let at = at.index(der.len());
        der[at] = byte;
        let _ = CertFacts::read(&der);
    }
}
