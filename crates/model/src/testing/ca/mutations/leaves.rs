//! Certificates that are not what was asked for.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};
use serde_json::json;

use super::Bench;
use crate::{
    request::KeyType,
    testing::ca::{self, KeyPair, keys, leaf_params, moment, new_key},
};

impl Bench<'_> {
    /// A leaf of another shape, in an answer that agrees with it.
    fn leaf(
        &mut self,
        name: &'static str,
        code: &'static str,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let mut params = leaf_params(self.request, self.now);
        change(&mut params);
        let key = new_key(KeyType::EcP256);
        let leaf = self.ca.int.sign(params, &key);
        self.raw(name, code, self.ca.envelope(&leaf, Some(&key)).to_string());
    }

    /// A leaf without the names that `drop` picks.
    fn without(&mut self, name: &'static str, code: &'static str, drop: impl Fn(&SanType) -> bool) {
        self.leaf(name, code, |params| {
            params.subject_alt_names.retain(|san| !drop(san))
        });
    }

    /// A leaf for another kind of key.
    fn keyed(&mut self, name: &'static str, code: &'static str, key: &KeyPair) {
        let leaf = self.ca.int.sign(leaf_params(self.request, self.now), key);
        self.raw(name, code, self.ca.envelope(&leaf, Some(key)).to_string());
    }
}

pub(super) fn all(bench: &mut Bench<'_>) {
    kinds(bench);
    key_kinds(bench);
    times(bench);
    names(bench);
    usages(bench);
}

fn kinds(bench: &mut Bench<'_>) {
    let (int, root) = (bench.ca.int.pem(), bench.ca.root.pem());
    bench.bend("leaf and CA swapped", "leaf-is-ca", |answer| {
        let leaf = answer["data"]["certificate"].take();
        answer["data"]["certificate"] = int.into();
        answer["data"]["issuing_ca"] = leaf;
    });
    bench.set("the root as leaf", "leaf-is-ca", "certificate", root);
    bench.leaf("a CA with the right names", "leaf-is-ca", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let key = new_key(KeyType::EcP256);
    let params = leaf_params(bench.request, bench.now);
    let leaf = params.self_signed(&key).unwrap().der().to_vec();
    let answer = bench.ca.envelope(&leaf, Some(&key));
    bench.raw("a self-signed leaf", "leaf-self-signed", answer.to_string());
}

fn key_kinds(bench: &mut Bench<'_>) {
    bench.keyed("P-384 for P-256", "key-type", &new_key(KeyType::EcP384));
    bench.keyed("Ed25519 for P-256", "key-type", &new_key(KeyType::Ed25519));
    let rsa = KeyPair::from_pem(keys::RSA_2048_PKCS8).unwrap();
    bench.keyed("RSA 2048 for P-256", "key-type", &rsa);
    bench.keyed("P-521 for P-256", "key-type", &new_key(KeyType::EcP521));
    for (name, key) in [
        ("a key on P-224", keys::EC_P224_PKCS8),
        ("a key on P-224 in SEC1", keys::EC_P224_SEC1),
    ] {
        bench.set(name, "key-unsupported", "private_key", key);
    }
    let weak = SubjectPublicKeyInfo::from_pem(keys::RSA_1024_PUBLIC).unwrap();
    let leaf = bench
        .ca
        .int
        .sign(leaf_params(bench.request, bench.now), &weak);
    let mut answer = bench.ca.envelope(&leaf, None);
    answer["data"]["private_key"] = keys::RSA_1024_PKCS8.into();
    bench.raw("RSA 1024 throughout", "key-weak", answer.to_string());
    answer["data"]["private_key"] = keys::EC_P256_PKCS8.into();
    bench.raw(
        "RSA 1024 certificate, other key",
        "key-weak",
        answer.to_string(),
    );
}

fn times(bench: &mut Bench<'_>) {
    let now = bench.now;
    bench.leaf("expired a second ago", "expired", |params| {
        params.not_before = moment(now.minus(Duration::from_secs(3600)));
        params.not_after = moment(now.minus(Duration::from_secs(1)));
    });
    bench.leaf("expires now", "expired", |params| {
        params.not_after = moment(now)
    });
    bench.leaf("a second left", "too-short", |params| {
        params.not_after = moment(now.plus(Duration::from_secs(1)));
    });
    bench.leaf(
        "starts in an hour and ends at once",
        "too-short",
        |params| {
            params.not_before = moment(now.plus(Duration::from_secs(3600)));
            params.not_after = moment(now.plus(Duration::from_secs(3601)));
        },
    );
    bench.leaf("ends before it starts", "validity-inverted", |params| {
        std::mem::swap(&mut params.not_before, &mut params.not_after);
    });
}

fn names(bench: &mut Bench<'_>) {
    let cn = bench.request.names.common_name.clone();
    let dns = bench.request.names.dns.first().cloned().unwrap_or_default();
    bench.leaf("another common name", "common-name", |params| {
        params.distinguished_name = ca::subject("other.service.consul");
    });
    bench.leaf("names of another service", "common-name", |params| {
        params.distinguished_name = ca::subject("other.service.consul");
        params.subject_alt_names =
            vec![SanType::DnsName("other.service.consul".try_into().unwrap())];
    });
    bench.leaf("no names at all", "san-missing", |params| {
        params.subject_alt_names.clear()
    });
    bench.without(
        "common name is no SAN",
        "common-name-not-san",
        |san| matches!(san, SanType::DnsName(name) if name.as_str() == cn),
    );
    bench.without(
        "a DNS name short",
        "dns-missing",
        |san| matches!(san, SanType::DnsName(name) if name.as_str() == dns),
    );
    bench.without("the address short", "ip-missing", |san| {
        matches!(san, SanType::IpAddress(_))
    });
    bench.leaf("another address", "ip-missing", |params| {
        params
            .subject_alt_names
            .retain(|san| !matches!(san, SanType::IpAddress(_)));
        params
            .subject_alt_names
            .push(SanType::IpAddress(IpAddr::from([10, 0, 0, 8])));
    });
    bench.leaf("the address as a DNS name", "ip-missing", |params| {
        params
            .subject_alt_names
            .retain(|san| !matches!(san, SanType::IpAddress(_)));
        params
            .subject_alt_names
            .push(SanType::DnsName("10.0.0.7".try_into().unwrap()));
    });
    bench.without("the URI short", "uri-missing", |san| {
        matches!(san, SanType::URI(_))
    });
    bench.leaf(
        "an address of three bytes",
        "certificate-malformed",
        |params| {
            params.subject_alt_names.clear();
            let content = vec![0x30, 5, 0x87, 3, 10, 0, 0];
            let san = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
            params.custom_extensions.push(san);
        },
    );
    bench.leaf("two lists of names", "certificate-malformed", |params| {
        let content = vec![0x30, 3, 0x82, 1, b'x'];
        let san = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
        params.custom_extensions.push(san);
    });
}

fn usages(bench: &mut Bench<'_>) {
    let has = |usage: ExtendedKeyUsagePurpose| {
        move |params: &mut CertificateParams| params.extended_key_usages = vec![usage]
    };
    bench.leaf(
        "only client",
        "server-auth",
        has(ExtendedKeyUsagePurpose::ClientAuth),
    );
    bench.leaf(
        "only server",
        "client-auth",
        has(ExtendedKeyUsagePurpose::ServerAuth),
    );
    bench.leaf(
        "only code signing",
        "server-auth",
        has(ExtendedKeyUsagePurpose::CodeSigning),
    );
    bench.leaf(
        "any extended usage",
        "server-auth",
        has(ExtendedKeyUsagePurpose::Any),
    );
    bench.leaf("may not sign", "key-usage", |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    });
    bench.leaf(
        "unknown critical extension",
        "chain-critical-extension",
        |params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        },
    );
    bench.leaf("everything wrong at once", "leaf-is-ca", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names.clear();
        params.extended_key_usages.clear();
    });
    let empty = json!({}).to_string();
    bench.raw("an empty object", "data-missing", empty);
}
