//! Signing requests, good and bad.

use rcgen::{CertificateParams, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

use super::{Case, post};

const CN: &str = "a.service.consul";

/// Name, role, body.
type Order = (&'static str, &'static str, Value);

pub(super) fn cases() -> Vec<Case> {
    let ec = KeyPair::generate().unwrap();
    names(&ec)
        .into_iter()
        .chain(keys_and_roles(&ec))
        .map(|(name, role, body)| {
            post(&format!("sign: {name}"), &format!("pki/sign/{role}"), &body)
        })
        .collect()
}

fn of(csr: &str) -> Value {
    json!({"csr": csr, "ttl": "1h"})
}

fn with(csr: &str, more: &Value) -> Value {
    let mut body = of(csr);
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more.clone());
    }
    body
}

fn names(ec: &KeyPair) -> Vec<Order> {
    let cn = CN;
    let plain = csr(cn, &[cn, "10.0.0.1"], ec, false);
    let cut = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----";
    let fields = json!({"common_name": "b.service.consul", "alt_names": "c.service.consul",
                        "ip_sans": "10.0.0.9", "uri_sans": "spiffe://x"});
    vec![
        ("empty", "internal", json!({})),
        ("no pem", "internal", of("junk")),
        ("truncated csr", "internal", of(cut)),
        ("plain", "internal", of(&plain)),
        ("fields ignored", "internal", with(&plain, &fields)),
        (
            "pem_bundle",
            "internal",
            with(&plain, &json!({"format": "pem_bundle"})),
        ),
        ("crlf", "internal", of(&plain.replace('\n', "\r\n"))),
        (
            "evil name",
            "internal",
            of(&csr("evil.com", &[], ec, false)),
        ),
        (
            "evil san",
            "internal",
            of(&csr(cn, &["evil.com"], ec, false)),
        ),
        ("no name", "internal", of(&csr("", &[], ec, false))),
        (
            "uri san",
            "internal",
            of(&csr(cn, &["spiffe://x/y"], ec, false)),
        ),
        (
            "good uri san",
            "uri",
            of(&csr(cn, &["spiffe://x/y"], ec, false)),
        ),
        (
            "bad uri san",
            "uri",
            of(&csr(cn, &["spiffe://z/y"], ec, false)),
        ),
    ]
}

fn keys_and_roles(ec: &KeyPair) -> Vec<Order> {
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let cn = CN;
    let plain = csr(cn, &[cn, "10.0.0.1"], ec, false);
    let api = json!({"common_name": "b.service.consul", "alt_names": "c.service.consul",
                     "ip_sans": "10.0.0.9"});
    vec![
        (
            "cn not in sans",
            "internal",
            of(&csr(cn, &["b.service.consul"], ec, false)),
        ),
        ("cn only", "internal", of(&csr(cn, &[], ec, false))),
        (
            "wants to be a ca",
            "internal",
            of(&csr(cn, &[cn], ec, true)),
        ),
        (
            "rsa key for ec",
            "internal",
            of(&csr(cn, &[cn], &rsa, false)),
        ),
        (
            "p384 key for 256",
            "internal",
            of(&csr(cn, &[cn], &p384, false)),
        ),
        ("p256 key for 384", "p384", of(&plain)),
        ("ec key for rsa", "rsa", of(&plain)),
        ("rsa", "rsa", of(&csr(cn, &[cn], &rsa, false))),
        ("ed", "ed", of(&csr(cn, &[cn], &ed, false))),
        ("ec key for ed", "ed", of(&plain)),
        ("any key", "anyk", of(&plain)),
        ("no ip allowed", "noip", of(&plain)),
        ("no usages", "ku", of(&plain)),
        ("server only", "srv", of(&plain)),
        ("leased", "lease", of(&plain)),
        ("no cn needed", "nocn", of(&csr("", &[cn], ec, false))),
        ("api names", "csrno", with(&plain, &api)),
        ("api names missing", "csrno", of(&plain)),
    ]
}

fn csr(cn: &str, sans: &[&str], key: &KeyPair, is_ca: bool) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !cn.is_empty() {
        params.distinguished_name.push(DnType::CommonName, cn);
    }
    for san in sans {
        params.subject_alt_names.push(match san.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) if san.contains("://") => SanType::URI((*san).try_into().unwrap()),
            Err(_) => SanType::DnsName((*san).try_into().unwrap()),
        });
    }
    if is_ca {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    params.serialize_request(key).unwrap().pem().unwrap()
}
