//! Private keys: made by type and size, and written in the PEM forms Vault uses.
//!
//! Never stores one. The embedded PKI hands out keys for tests and newcomers only.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize,
};
use zeroize::Zeroizing;

use super::super::answer::Refused;
use super::certs::pem;

/// How a private key is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// SEC1 for EC, PKCS#1 for RSA, PKCS#8 for Ed25519: Vault's default.
    Traditional,
    /// PKCS#8 for all.
    Pkcs8,
}

/// Makes a key.
pub(super) fn generate(key_type: &str, bits: u64) -> Result<KeyPair, Refused> {
    let made = match (key_type, bits) {
        ("rsa", 2048) => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        ("rsa", 3072) => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
        ("rsa", 4096) => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        ("ec", 256) => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        ("ec", 384) => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        ("ec", 521) => KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512),
        ("ed25519", _) => KeyPair::generate_for(&PKCS_ED25519),
        _ => {
            return Err(Refused::new(
                500,
                format!("the embedded PKI makes no {key_type} keys of {bits} bits"),
            ));
        }
    };
    made.map_err(|error| Refused::new(500, format!("no key: {error}")))
}

/// Vault's name for the kind of key.
pub(super) fn type_name(key: &KeyPair) -> &'static str {
    let alg = key.algorithm();
    if *alg == PKCS_ED25519 {
        "ed25519"
    } else if *alg == PKCS_RSA_SHA256 {
        "rsa"
    } else {
        "ec"
    }
}

/// Label and DER of a key in a form.
pub(super) fn encode(key: &KeyPair, form: Form) -> (&'static str, Zeroizing<Vec<u8>>) {
    let pkcs8 = key.serialized_der();
    let inner = inner_key(pkcs8).unwrap_or_default();
    match (type_name(key), form) {
        ("ed25519", _) => ("PRIVATE KEY", plain_ed25519(inner, pkcs8)),
        ("rsa", Form::Traditional) => ("RSA PRIVATE KEY", Zeroizing::new(inner.to_vec())),
        ("ec", Form::Traditional) => ("EC PRIVATE KEY", sec1(inner, pkcs8)),
        _ => ("PRIVATE KEY", Zeroizing::new(pkcs8.to_vec())),
    }
}

/// The PEM text of a key, without the final newline, as Vault writes it.
pub(super) fn encode_pem(key: &KeyPair, form: Form) -> String {
    let (label, der) = encode(key, form);
    pem(label, &der)
}

/// Reads one DER element: its content and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count)?;
            let length = bytes
                .iter()
                .fold(0, |sum: usize, byte| (sum << 8) | usize::from(*byte));
            (length, rest.get(count..)?)
        }
    };
    Some((rest.get(..length)?, rest.get(length..)?))
}

/// The content of a PKCS#8 structure's `privateKey` octet string (RFC 5958).
fn inner_key(pkcs8: &[u8]) -> Option<&[u8]> {
    let (body, _) = element(pkcs8)?;
    let (_version, rest) = element(body)?;
    let (_algorithm, rest) = element(rest)?;
    Some(element(rest)?.0)
}

/// An `ECPrivateKey` with the curve's name in it, as Go writes it (RFC 5915).
fn sec1(inner: &[u8], pkcs8: &[u8]) -> Zeroizing<Vec<u8>> {
    let with_curve = || {
        let (_version, rest) = element(element(pkcs8)?.0)?;
        let (algorithm, _) = element(rest)?;
        let (_ec, _) = element(algorithm)?;
        let curve = &algorithm[algorithm.len() - element(algorithm)?.1.len()..];
        let (body, _) = element(inner)?;
        let (_one, rest) = element(body)?;
        let (_secret, public) = element(rest)?;
        if public.first() == Some(&0xa0) {
            return Some(Zeroizing::new(inner.to_vec()));
        }
        let head = &body[..body.len() - public.len()];
        let mut content = Zeroizing::new(head.to_vec());
        content.extend(wrapped(0xa0, curve));
        content.extend_from_slice(public);
        Some(Zeroizing::new(wrapped(0x30, &content)))
    };
    with_curve().unwrap_or_else(|| Zeroizing::new(inner.to_vec()))
}

/// Ed25519 as PKCS#8 version 1, without the public key, as Go writes it.
fn plain_ed25519(inner: &[u8], pkcs8: &[u8]) -> Zeroizing<Vec<u8>> {
    const HEAD: &[u8] = &[
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
    ];
    if inner.len() != 34 {
        return Zeroizing::new(pkcs8.to_vec());
    }
    let mut der = Zeroizing::new(HEAD.to_vec());
    der.extend_from_slice(inner);
    der
}

/// One DER element with a tag.
fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        length @ 0..0x80 => der.extend(u8::try_from(length)),
        length @ 0x80..0x100 => der.extend([0x81].into_iter().chain(u8::try_from(length))),
        length => {
            der.push(0x82);
            der.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    der.extend_from_slice(content);
    der
}
