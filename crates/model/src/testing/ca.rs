//! An in-memory CA: roots, intermediates and leaves of any shape, also wrong ones.
//!
//! Answers look like Vault's: PEM without a final newline, `ca_chain` from the issuing CA upward.

mod hierarchies;
pub mod keys;
mod mutations;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SanType, SerialNumber,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

pub use hierarchies::{Hierarchy, hierarchies};
pub use mutations::{Mutation, Tolerated, mutations, tolerated};

use crate::{
    leaf::CertFacts,
    pem,
    request::{KeyType, Mode, Names, Request},
    time::Timestamp,
};

/// A CA that can sign.
pub struct Authority {
    /// Its certificate.
    pub der: Vec<u8>,
    /// Its parameters, to make a sibling of it.
    pub params: CertificateParams,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A self-signed root, valid for ten years from a day before `now`.
    pub fn root(name: &str, now: Timestamp) -> Self {
        Self::root_from(ca_params(name, now))
    }

    /// A self-signed root of any shape.
    pub fn root_from(params: CertificateParams) -> Self {
        let key = new_key(KeyType::EcP256);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self::join(der, params, key)
    }

    /// An intermediate below this CA, valid for five years from a day before `now`.
    pub fn intermediate(&self, name: &str, now: Timestamp) -> Self {
        let mut params = ca_params(name, now);
        params.not_after = moment(now.plus(5 * YEAR));
        self.intermediate_from(params)
    }

    /// An intermediate of any shape below this CA.
    pub fn intermediate_from(&self, params: CertificateParams) -> Self {
        let key = new_key(KeyType::EcP256);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self::join(der, params, key)
    }

    /// The certificate of `other`'s name and key, signed by this CA.
    pub fn cross_sign(&self, other: &Self) -> Vec<u8> {
        let mut params = other.params.clone();
        params.serial_number = Some(serial());
        let signed = params.signed_by(other.issuer.key(), &self.issuer);
        signed.unwrap().der().to_vec()
    }

    /// A leaf for that public key.
    pub fn sign(&self, spec: CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
        spec.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// Its certificate as Vault sends it: PEM without a final newline.
    pub fn pem(&self) -> String {
        vault_pem(&self.der)
    }

    /// A root of X.509 version 1, made elsewhere, with its key in PKCS#8.
    pub fn root_v1(cert: &str, key: &str, now: Timestamp) -> Self {
        let der = pem::parse(cert).unwrap()[0].der.to_vec();
        Self::join(
            der,
            ca_params("Root V1", now),
            KeyPair::from_pem(key).unwrap(),
        )
    }

    fn join(der: Vec<u8>, params: CertificateParams, key: KeyPair) -> Self {
        Self {
            der,
            params: params.clone(),
            issuer: Issuer::new(params, key),
        }
    }
}

/// A root with one intermediate, which signs, as in mount `pki_int`.
pub struct TestCa {
    /// The root.
    pub root: Authority,
    /// The intermediate that issues.
    pub int: Authority,
}

impl TestCa {
    /// A new CA with new keys.
    pub fn new(now: Timestamp) -> Self {
        let root = Authority::root("Test Root", now);
        let int = root.intermediate("Test Intermediate", now);
        Self { root, int }
    }

    /// What Vault answers to `issue`: everything in order, a new key and serial each time.
    pub fn answer(&self, request: &Request, now: Timestamp) -> Vec<u8> {
        self.answer_json(request, now).to_string().into_bytes()
    }

    /// As [`TestCa::answer`], still as JSON, to be changed.
    pub fn answer_json(&self, request: &Request, now: Timestamp) -> Value {
        let key = new_key(request.key_type);
        let leaf = self.int.sign(leaf_params(request, now), &key);
        self.envelope(&leaf, Some(&key))
    }

    /// What Vault answers to `sign`: no key.
    pub fn sign_answer(&self, request: &Request, csr: &str, now: Timestamp) -> Vec<u8> {
        let csr = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let leaf = self.int.sign(leaf_params(request, now), &csr.public_key);
        self.envelope(&leaf, None).to_string().into_bytes()
    }

    /// What GET issuers and GET issuer/:ref/json give, as PEM.
    pub fn issuers(&self) -> Vec<String> {
        vec![self.int.pem(), self.root.pem()]
    }

    /// Vault's envelope round a leaf of this CA.
    pub fn envelope(&self, leaf: &[u8], key: Option<&KeyPair>) -> Value {
        envelope(leaf, &[&self.int.der, &self.root.der], key)
    }
}

/// Vault's envelope round any leaf and chain; `issuing_ca` is the first of the chain.
pub fn envelope(leaf: &[u8], chain: &[&Vec<u8>], key: Option<&KeyPair>) -> Value {
    // A leaf that can't be read gets null there.
    let facts = CertFacts::read(leaf).ok();
    let facts = facts.as_ref();
    let chain: Vec<String> = chain.iter().map(|der| vault_pem(der)).collect();
    let mut data = json!({
        "certificate": vault_pem(leaf),
        "issuing_ca": chain.first(),
        "ca_chain": chain,
        "serial_number": facts.map(|facts| &facts.serial),
        "expiration": facts.map(|facts| facts.not_after.unix_secs()),
        "not_before": facts.map(|facts| facts.not_before.unix_secs()),
    });
    if let Some(key) = key {
        data["private_key"] = key.serialize_pem().trim_end().into();
        let kind = facts.map(|facts| facts.key.to_string());
        data["private_key_type"] = kind
            .as_deref()
            .and_then(|kind| kind.split('-').next())
            .into();
    }
    json!({
        "request_id": "5e6d8d0c-0000-4000-8000-000000000000",
        "lease_id": "",
        "renewable": false,
        "lease_duration": 0,
        "data": data,
        "wrap_info": null,
        "warnings": null,
        "auth": null,
    })
}

impl Request {
    /// What the tests ask for: every kind of name, ten days, a key on P-256 that the issuer makes.
    #[must_use]
    pub fn example() -> Self {
        Self {
            mount: "pki".to_owned(),
            role: "internal".to_owned(),
            mode: Mode::Issue,
            names: Names {
                common_name: "loki-ingester.service.consul".to_owned(),
                dns: ["loki.service.consul".to_owned()].into(),
                ips: [IpAddr::from(Ipv4Addr::new(10, 0, 0, 7))].into(),
                uris: ["spiffe://loki/ingester".to_owned()].into(),
            },
            ttl: Duration::from_secs(10 * 86_400),
            key_type: KeyType::EcP256,
            key_type_open: false,
            reuse_key: false,
            issuer_sha256: None,
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A CA's parameters: ten years from a day before `now`.
pub fn ca_params(name: &str, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = moment(now.minus(DAY));
    params.not_after = moment(now.plus(10 * YEAR));
    params.serial_number = Some(serial());
    params
}

/// The leaf that Vault makes of a request: notBefore 30 s back, both usages.
pub fn leaf_params(request: &Request, now: Timestamp) -> CertificateParams {
    let names = &request.names;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&names.common_name);
    let mut dns = names.dns.clone();
    dns.insert(names.common_name.clone());
    params.subject_alt_names = dns
        .iter()
        .map(|name| SanType::DnsName(name.as_str().try_into().unwrap()))
        .chain(names.ips.iter().map(|ip| SanType::IpAddress(*ip)))
        .chain(
            names
                .uris
                .iter()
                .map(|uri| SanType::URI(uri.as_str().try_into().unwrap())),
        )
        .collect();
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyAgreement,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.not_before = moment(now.minus(Duration::from_secs(30)));
    params.not_after = moment(now.plus(request.ttl));
    params.serial_number = Some(serial());
    params
}

/// A key of that kind. RSA takes up to some seconds for 4096 bits.
pub fn new_key(kind: KeyType) -> KeyPair {
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap();
    match kind {
        KeyType::EcP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        KeyType::EcP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyType::EcP521 => KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap(),
        KeyType::Ed25519 => KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyType::Rsa3072 => rsa(RsaKeySize::_3072),
        KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
    }
}

/// A subject of one common name.
pub fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Whole seconds, as certificates have them.
pub fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.unix_secs()).unwrap()
}

/// PEM as Vault sends it.
pub fn vault_pem(der: &[u8]) -> String {
    pem::encode(pem::CERTIFICATE, der).trim_end().to_owned()
}

/// 20 bytes, never the same twice in a process.
fn serial() -> SerialNumber {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let hash = digest::digest(&digest::SHA256, &count.to_be_bytes());
    let mut bytes = hash.as_ref()[..20].to_vec();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}
