//! Certificates by rcgen with the facts that OpenBao's have.
//!
//! Never decides what goes in. What stays true: version 3, 20-byte serial, SHA-1 key identifiers
//! (RFC 5280 section 4.2.1.2, method 1), authority key identifier always present.

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::time::Timestamp;

use super::{
    super::{answer::Refused, random},
    names::Names,
};

/// OID of the subject key identifier.
const SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];

/// What goes into a certificate beside the key.
pub(super) struct Spec {
    pub(super) subject: DistinguishedName,
    pub(super) names: Names,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) key_usages: Vec<KeyUsagePurpose>,
    pub(super) extended_key_usages: Vec<ExtendedKeyUsagePurpose>,
    pub(super) is_ca: bool,
}

/// The facts of a certificate that chains and answers need.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) serial: String,
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) key_id: Vec<u8>,
    pub(super) authority_key_id: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

fn failed(error: &rcgen::Error) -> Refused {
    Refused::bad(format!("error creating certificate: {error}"))
}

fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.unix_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// SHA-1 of the public key's bits.
pub(super) fn key_id(key: &impl PublicKeyData) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes())
        .as_ref()
        .to_vec()
}

/// Signs a certificate for `key` with an issuer's certificate and key.
pub(super) fn signed(
    spec: &Spec,
    key: &impl PublicKeyData,
    issuer: &[u8],
    issuer_key: &KeyPair,
) -> Result<Vec<u8>, Refused> {
    let issuer = Issuer::from_ca_cert_der(&issuer.into(), issuer_key).map_err(|e| failed(&e))?;
    let params = params(spec, key).map_err(|error| failed(&error))?;
    let made = params.signed_by(key, &issuer).map_err(|e| failed(&e))?;
    Ok(made.der().to_vec())
}

/// Signs a root for its own key.
pub(super) fn self_signed(spec: &Spec, key: &KeyPair) -> Result<Vec<u8>, Refused> {
    let params = params(spec, key).map_err(|error| failed(&error))?;
    let made = params.self_signed(key).map_err(|error| failed(&error))?;
    Ok(made.der().to_vec())
}

fn params(spec: &Spec, key: &impl PublicKeyData) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.not_before = moment(spec.not_before);
    params.not_after = moment(spec.not_after);
    params.serial_number = Some(SerialNumber::from_slice(&random::serial()));
    params.subject_alt_names = sans(&spec.names)?;
    params.distinguished_name = spec.subject.clone();
    params.key_usages.clone_from(&spec.key_usages);
    params
        .extended_key_usages
        .clone_from(&spec.extended_key_usages);
    params.use_authority_key_identifier_extension = true;
    let id = key_id(key);
    if spec.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_identifier_method = KeyIdMethod::PreSpecified(id);
    } else {
        let length = u8::try_from(id.len()).unwrap_or_default();
        let content = [&[0x04, length], &id[..]].concat();
        let extension = CustomExtension::from_oid_content(SUBJECT_KEY_ID, content);
        params.custom_extensions.push(extension);
    }
    Ok(params)
}

fn sans(names: &Names) -> Result<Vec<SanType>, rcgen::Error> {
    let mut sans = Vec::new();
    for name in &names.dns {
        sans.push(SanType::DnsName(name.as_str().try_into()?));
    }
    for email in &names.emails {
        sans.push(SanType::Rfc822Name(email.as_str().try_into()?));
    }
    sans.extend(names.ips.iter().map(|ip| SanType::IpAddress(*ip)));
    for uri in &names.uris {
        sans.push(SanType::URI(uri.as_str().try_into()?));
    }
    Ok(sans)
}

/// One subject attribute, in the narrowest string type, as Go encodes it.
pub(super) fn push(subject: &mut DistinguishedName, kind: DnType, text: &str) {
    let value = match rcgen::string::PrintableString::try_from(text) {
        Ok(printable) => DnValue::PrintableString(printable),
        Err(_) => DnValue::Utf8String(text.to_owned()),
    };
    subject.push(kind, value);
}

/// Reads what we need of a certificate.
pub(super) fn facts(der: &[u8]) -> Option<Facts> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let mut ids = (Vec::new(), Vec::new());
    for extension in cert.extensions() {
        match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => {
                ids.0 = id.0.to_vec();
            }
            x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
                ids.1 = id
                    .key_identifier
                    .as_ref()
                    .map(|id| id.0.to_vec())
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(Facts {
        serial: serial_text(cert.raw_serial()),
        subject: cert.subject().as_raw().to_vec(),
        issuer: cert.issuer().as_raw().to_vec(),
        key_id: ids.0,
        authority_key_id: ids.1,
        not_before: Timestamp::from_unix_secs(cert.validity().not_before.timestamp()),
        not_after: Timestamp::from_unix_secs(cert.validity().not_after.timestamp()),
    })
}

/// Lower-case hex with colons.
fn serial_text(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// The serial of the first certificate in a PEM text.
pub(super) fn serial_of_pem(text: &str) -> Option<String> {
    let ders = ders(text);
    Some(facts(ders.first()?)?.serial)
}

/// All certificates of a PEM text.
pub(super) fn ders(text: &str) -> Vec<Vec<u8>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::pem_slice_iter(text.as_bytes())
        .filter_map(Result::ok)
        .map(|der| der.to_vec())
        .collect()
}

/// PEM without the final newline, as Vault writes it.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let body = base64(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----"));
    text
}

/// Standard base64 with padding (RFC 4648 section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (at, byte)| {
            word | u32::from(*byte) << (16 - 8 * at)
        });
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => {
                    let at = (word >> (18 - 6 * digit)) & 0x3f;
                    text.push(char::from(DIGITS[at as usize]));
                }
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
