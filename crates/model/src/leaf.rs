//! Facts of one certificate: names, serial, validity, key, usages; read from DER.
//!
//! Never judges them. What stays true: facts are computed from the bytes alone, once.

mod recent;

use std::{collections::BTreeSet, fmt, net::IpAddr};

use aws_lc_rs::digest;
use x509_parser::{
    certificate::X509Certificate,
    der_parser::oid,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
        OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    prelude::FromDer,
    public_key::PublicKey,
    time::ASN1Time,
    x509::{SubjectPublicKeyInfo, X509Version},
};

use super::{
    request::{KeyType, hex},
    schedule::Validity,
    time::Timestamp,
};

/// Why bytes are not a certificate that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// Not an X.509 structure.
    #[error("not an X.509 certificate in DER")]
    Malformed,
    /// Bytes follow the certificate.
    #[error("{0} bytes follow the certificate")]
    Trailing(usize),
    /// An extension that cannot be parsed, or stands there twice.
    #[error("extension `{0}` cannot be read or is there twice")]
    Extension(&'static str),
    /// A subject alternative name that cannot be read.
    #[error("a subject alternative name cannot be read")]
    Name,
}

/// The family of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on P-224, P-256, P-384 or P-521 (distinguished by [`KeyFacts::bits`]).
    Ec,
    /// RSA.
    Rsa,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// Anything else.
    Other,
}

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its family.
    pub algorithm: KeyAlgorithm,
    /// Bits of the modulus or of the curve; 0 where unknown.
    pub bits: u32,
}

impl KeyFacts {
    /// The configured kind it is, when it is one of those.
    #[must_use]
    pub fn kind(self) -> Option<KeyType> {
        match (self.algorithm, self.bits) {
            (KeyAlgorithm::Ec, 256) => Some(KeyType::EcP256),
            (KeyAlgorithm::Ec, 384) => Some(KeyType::EcP384),
            (KeyAlgorithm::Ec, 521) => Some(KeyType::EcP521),
            (KeyAlgorithm::Ed25519, _) => Some(KeyType::Ed25519),
            (KeyAlgorithm::Rsa, 2048) => Some(KeyType::Rsa2048),
            (KeyAlgorithm::Rsa, 3072) => Some(KeyType::Rsa3072),
            (KeyAlgorithm::Rsa, 4096) => Some(KeyType::Rsa4096),
            _ => None,
        }
    }
}

impl From<KeyType> for KeyFacts {
    fn from(kind: KeyType) -> Self {
        let (algorithm, bits) = match kind {
            KeyType::EcP256 => (KeyAlgorithm::Ec, 256),
            KeyType::EcP384 => (KeyAlgorithm::Ec, 384),
            KeyType::EcP521 => (KeyAlgorithm::Ec, 521),
            KeyType::Ed25519 => (KeyAlgorithm::Ed25519, 256),
            KeyType::Rsa2048 => (KeyAlgorithm::Rsa, 2048),
            KeyType::Rsa3072 => (KeyAlgorithm::Rsa, 3072),
            KeyType::Rsa4096 => (KeyAlgorithm::Rsa, 4096),
        };
        Self { algorithm, bits }
    }
}

impl fmt::Display for KeyFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            KeyAlgorithm::Ec => write!(f, "ec-p{}", self.bits),
            KeyAlgorithm::Rsa => write!(f, "rsa-{}", self.bits),
            KeyAlgorithm::Ed25519 => f.write_str("ed25519"),
            KeyAlgorithm::Other => f.write_str("unknown"),
        }
    }
}

/// Subject alternative names, brought into the form in which they are compared.
/// RFC 5280 section 4.2.1.6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectNames {
    /// DNS names, lower case, without a trailing dot.
    pub dns: BTreeSet<String>,
    /// IP addresses.
    pub ips: BTreeSet<IpAddr>,
    /// URIs as written.
    pub uris: BTreeSet<String>,
    /// Every other kind, described for people.
    pub others: BTreeSet<String>,
}

/// A critical extension that rustls-webpki does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCritical {
    /// As `2.5.29.32`.
    pub oid: String,
    /// As `certificatePolicies`, where OpenSSL and Go know it.
    pub name: Option<&'static str>,
}

impl fmt::Display for UnknownCritical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{name} ({})", self.oid),
            None => f.write_str(&self.oid),
        }
    }
}

/// The extension extendedKeyUsage as a whole (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purposes {
    /// There is none, which permits every use.
    Open,
    /// anyExtendedKeyUsage without serverAuth and clientAuth: Go takes it, OpenSSL and rustls do not.
    Any,
    /// Uses one by one.
    Listed,
}

/// Facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFacts {
    /// Serial number as Vault prints it: lower-case hex with colons.
    pub serial: String,
    /// Subject, as `CN=loki-ingester.service.consul`.
    pub subject: String,
    /// Issuer's subject.
    pub issuer: String,
    /// DER of the subject name.
    pub subject_der: Vec<u8>,
    /// DER of the issuer's name.
    pub issuer_der: Vec<u8>,
    /// Subject key identifier, when present.
    pub key_id: Option<Vec<u8>>,
    /// Authority key identifier, when present.
    pub issuer_key_id: Option<Vec<u8>>,
    /// First common name of the subject.
    pub common_name: Option<String>,
    /// Subject alternative names.
    pub names: SubjectNames,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
    /// TLS servers may use it: extended key usage serverAuth, or none at all.
    pub server_auth: bool,
    /// TLS clients may use it: extended key usage clientAuth, or none at all.
    pub client_auth: bool,
    /// What its extended key usage says as a whole.
    pub purposes: Purposes,
    /// Critical extensions that rustls-webpki does not know: then it refuses the certificate, unless
    /// it is an anchor.
    pub unknown_critical: Vec<UnknownCritical>,
    /// It may make TLS signatures: no key usage extension, or one with digitalSignature.
    pub may_sign: bool,
    /// It may sign certificates: no key usage extension, or one with keyCertSign.
    pub may_certify: bool,
    /// Basic constraints say CA; or it is a self-signed root of version 1, which has no extensions
    /// and which OpenSSL and Go take as an anchor.
    pub is_ca: bool,
    /// How many intermediates a CA allows below itself, when it limits them.
    pub path_len: Option<u32>,
    /// What kind of key it certifies.
    pub key: KeyFacts,
    /// DER of the subject public key info.
    pub spki: Vec<u8>,
    /// The bare public key: curve point, Ed25519 key or `RSAPublicKey`.
    pub public_key: Vec<u8>,
    /// Subject and issuer are the same name and, where given, the same key.
    pub self_signed: bool,
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: String,
}

impl CertFacts {
    /// Reads one certificate.
    /// RFC 5280 section 4.1.
    ///
    /// # Errors
    /// When the bytes are not exactly one certificate whose names and usages can be read.
    pub fn read(der: &[u8]) -> Result<Self, CertError> {
        recent::facts(der, Self::parse)
    }

    fn parse(der: &[u8]) -> Result<Self, CertError> {
        let (rest, cert) = X509Certificate::from_der(der).map_err(|_| CertError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertError::Trailing(rest.len()));
        }
        let usage = Usage::read(&cert)?;
        let (key_id, issuer_key_id) = key_ids(&cert);
        let subject_der = cert.subject().as_raw().to_vec();
        let issuer_der = cert.issuer().as_raw().to_vec();
        let same_key = match (&key_id, &issuer_key_id) {
            (Some(own), Some(issuer)) => own == issuer,
            _ => true,
        };
        let root_v1 = cert.version() == X509Version::V1 && subject_der == issuer_der;
        Ok(Self {
            serial: colons(cert.raw_serial()),
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            self_signed: subject_der == issuer_der && same_key,
            subject_der,
            issuer_der,
            key_id,
            issuer_key_id,
            common_name: common_name(&cert),
            names: names(&cert)?,
            not_before: moment(cert.validity().not_before),
            not_after: moment(cert.validity().not_after),
            server_auth: usage.server_auth,
            client_auth: usage.client_auth,
            purposes: usage.purposes,
            unknown_critical: unknown_critical(&cert),
            may_sign: usage.may_sign,
            may_certify: usage.may_certify,
            is_ca: usage.is_ca || root_v1,
            path_len: usage.path_len,
            key: key_facts(cert.public_key()),
            spki: cert.public_key().raw.to_vec(),
            public_key: cert.public_key().subject_public_key.data.to_vec(),
            sha256: sha256(der),
        })
    }

    /// The span in which it is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        Validity {
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }

    /// True when names and key identifiers say that `issuer` made this certificate. Signatures are
    /// not checked here.
    /// RFC 5280 sections 4.2.1.1 and 4.2.1.2.
    #[must_use]
    pub fn names_as_issuer(&self, issuer: &Self) -> bool {
        let same_key = match (&self.issuer_key_id, &issuer.key_id) {
            (Some(wanted), Some(has)) => wanted == has,
            _ => true,
        };
        self.issuer_der == issuer.subject_der && same_key
    }
}

/// SHA-256 in lower-case hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// A DNS name in the form in which names are compared: lower case, no trailing dot.
/// RFC 4343 section 2.
#[must_use]
pub fn plain_dns(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

struct Usage {
    server_auth: bool,
    client_auth: bool,
    purposes: Purposes,
    may_sign: bool,
    may_certify: bool,
    is_ca: bool,
    path_len: Option<u32>,
}

impl Usage {
    fn read(cert: &X509Certificate<'_>) -> Result<Self, CertError> {
        let extended = cert
            .extended_key_usage()
            .map_err(|_| CertError::Extension("extendedKeyUsage"))?;
        let usage = cert
            .key_usage()
            .map_err(|_| CertError::Extension("keyUsage"))?;
        let basic = cert
            .basic_constraints()
            .map_err(|_| CertError::Extension("basicConstraints"))?;
        let extended = extended.map(|found| found.value);
        let purposes = match extended {
            None => Purposes::Open,
            Some(eku) if eku.any && !eku.server_auth && !eku.client_auth => Purposes::Any,
            Some(_) => Purposes::Listed,
        };
        Ok(Self {
            server_auth: extended.is_none_or(|eku| eku.server_auth),
            client_auth: extended.is_none_or(|eku| eku.client_auth),
            purposes,
            may_sign: usage
                .as_ref()
                .is_none_or(|found| found.value.digital_signature()),
            may_certify: usage.is_none_or(|found| found.value.key_cert_sign()),
            is_ca: basic.as_ref().is_some_and(|found| found.value.ca),
            path_len: basic.and_then(|found| found.value.path_len_constraint),
        })
    }
}

/// Extensions that rustls-webpki knows: keyUsage, subjectAltName, basicConstraints,
/// nameConstraints, cRLDistributionPoints, extKeyUsage, below 2.5.29 (its `cert.rs`).
const KNOWN_CRITICAL: [&str; 6] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.37",
];

/// Names of further extensions that CAs mark as critical (RFC 5280 section 4.2.1).
const EXTENSION_NAMES: [(&str, &str); 4] = [
    ("2.5.29.32", "certificatePolicies"),
    ("2.5.29.33", "policyMappings"),
    ("2.5.29.36", "policyConstraints"),
    ("2.5.29.54", "inhibitAnyPolicy"),
];

fn unknown_critical(cert: &X509Certificate<'_>) -> Vec<UnknownCritical> {
    let critical = cert.extensions().iter().filter(|found| found.critical);
    critical
        .map(|found| found.oid.to_id_string())
        .filter(|oid| !KNOWN_CRITICAL.contains(&oid.as_str()))
        .map(|oid| UnknownCritical {
            name: EXTENSION_NAMES
                .iter()
                .find(|known| known.0 == oid)
                .map(|known| known.1),
            oid,
        })
        .collect()
}

fn key_ids(cert: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let mut own = None;
    let mut issuer = None;
    for extension in cert.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => own = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                issuer = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            _ => {}
        }
    }
    (own, issuer)
}

fn names(cert: &X509Certificate<'_>) -> Result<SubjectNames, CertError> {
    let mut names = SubjectNames::default();
    let found = cert
        .subject_alternative_name()
        .map_err(|_| CertError::Extension("subjectAltName"))?;
    let Some(found) = found else {
        return Ok(names);
    };
    for name in &found.value.general_names {
        match name {
            GeneralName::DNSName(dns) => {
                names.dns.insert(plain_dns(dns));
            }
            GeneralName::IPAddress(bytes) => {
                names.ips.insert(ip(bytes).ok_or(CertError::Name)?);
            }
            GeneralName::URI(uri) => {
                names.uris.insert((*uri).to_owned());
            }
            GeneralName::Invalid(..) => return Err(CertError::Name),
            other => {
                names.others.insert(other.to_string());
            }
        }
    }
    Ok(names)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|bytes| IpAddr::from(bytes).to_canonical()),
        _ => None,
    }
}

fn common_name(cert: &X509Certificate<'_>) -> Option<String> {
    let first = cert.subject().iter_common_name().next()?;
    first.as_str().ok().map(str::to_owned)
}

fn moment(time: ASN1Time) -> Timestamp {
    Timestamp::from_unix_secs(time.timestamp())
}

/// RFC 5280 writes serials as signed numbers: a leading zero byte is only a sign and is not shown.
fn colons(serial: &[u8]) -> String {
    let digits = match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let pairs: Vec<String> = digits.chunks(1).map(hex).collect();
    pairs.join(":")
}

/// What kind of key a subject public key info holds.
pub(super) fn key_facts(spki: &SubjectPublicKeyInfo<'_>) -> KeyFacts {
    let algorithm = &spki.algorithm;
    let other = KeyFacts {
        algorithm: KeyAlgorithm::Other,
        bits: 0,
    };
    if algorithm.algorithm == OID_SIG_ED25519 {
        return KeyFacts::from(KeyType::Ed25519);
    }
    if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        let Ok(PublicKey::RSA(key)) = spki.parsed() else {
            return other;
        };
        return KeyFacts {
            algorithm: KeyAlgorithm::Rsa,
            bits: bit_length(key.modulus),
        };
    }
    if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return other;
    }
    let curve = algorithm
        .parameters
        .as_ref()
        .and_then(|any| any.as_oid().ok());
    let bits = match curve {
        Some(oid) if oid == oid!(1.3.132.0.33) => 224,
        Some(oid) if oid == OID_EC_P256 => 256,
        Some(oid) if oid == OID_NIST_EC_P384 => 384,
        Some(oid) if oid == OID_NIST_EC_P521 => 521,
        _ => return other,
    };
    KeyFacts {
        algorithm: KeyAlgorithm::Ec,
        bits,
    }
}

/// Bits of a big-endian number.
fn bit_length(number: &[u8]) -> u32 {
    let significant = number.iter().skip_while(|byte| **byte == 0);
    let mut bits = 0;
    for (at, byte) in significant.enumerate() {
        bits += if at == 0 { 8 - byte.leading_zeros() } else { 8 };
    }
    bits
}
