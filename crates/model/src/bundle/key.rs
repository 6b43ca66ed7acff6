//! A private key of any format an issuer sends, kept as PKCS#8.
//!
//! Never prints itself. What stays true: the public half was computed from the private one.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    },
};
use zeroize::Zeroizing;

use crate::{
    leaf::{KeyAlgorithm, KeyFacts},
    pem::{self, Block, PemError},
    request::KeyType,
    secret::Secret,
};

/// Why something is not a usable private key. Never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM.
    #[error("private key: {0}")]
    Pem(#[from] PemError),
    /// Another number of blocks than one.
    #[error("private key: {0} PEM blocks where one was expected")]
    Several(usize),
    /// The block is no private key by its label.
    #[error("private key: the PEM label is not one of a private key")]
    Label,
    /// A passphrase is needed.
    #[error("private key: it is encrypted")]
    Encrypted,
    /// Not a key, or one whose parts do not fit each other.
    #[error("private key: its content cannot be read as {0}")]
    Malformed(&'static str),
    /// An RSA key below 2048 bits.
    #[error("private key: an RSA key below 2048 bits")]
    Weak,
    /// A kind of key that TLS servers here do not use.
    #[error("private key: not P-256, P-384, P-521, Ed25519 or RSA")]
    Unsupported,
}

/// A private key: PKCS#8 DER, wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    facts: KeyFacts,
    public_key: Vec<u8>,
}

impl PrivateKey {
    /// Reads PEM with exactly one PKCS#8, SEC1 or PKCS#1 block.
    ///
    /// # Errors
    /// A [`KeyError`], which never holds any of the text.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::only(pem::parse(text))
    }

    /// Reads the one key of a file of people: see [`pem::private_key`].
    ///
    /// # Errors
    /// As [`PrivateKey::from_pem`].
    pub fn from_file(text: &str) -> Result<Self, KeyError> {
        Self::only(pem::private_key(text))
    }

    fn only(blocks: Result<Vec<Block>, PemError>) -> Result<Self, KeyError> {
        let blocks = blocks.map_err(|error| match error {
            PemError::Headers(_) => KeyError::Encrypted,
            other => KeyError::Pem(other),
        })?;
        match blocks.as_slice() {
            [block] => Self::from_block(block),
            several => Err(KeyError::Several(several.len())),
        }
    }

    /// Reads one PEM block by its label.
    /// PKCS#8 (RFC 5958), PKCS#1 (RFC 8017 appendix A.1.2) and SEC 1 (RFC 5915).
    ///
    /// # Errors
    /// As [`PrivateKey::from_pem`].
    pub fn from_block(block: &Block) -> Result<Self, KeyError> {
        match block.label.as_str() {
            pem::PRIVATE_KEY => Self::from_pkcs8(&block.der),
            "EC PRIVATE KEY" => Self::from_sec1(&block.der),
            "RSA PRIVATE KEY" => Self::from_rsa(
                rsa::KeyPair::from_der(&block.der),
                "PKCS#1 (RSA PRIVATE KEY)",
            ),
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            _ => Err(KeyError::Label),
        }
    }

    /// Reads PKCS#8 DER (RFC 5208, RFC 5958).
    ///
    /// # Errors
    /// As [`PrivateKey::from_pem`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        for (kind, algorithm) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, der) {
                return Self::from_ec(kind, &pair);
            }
        }
        if on_other_curve(der) {
            return Err(KeyError::Unsupported);
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            let pkcs8 = pair
                .to_pkcs8v1()
                .map_err(|_| KeyError::Malformed("Ed25519"))?;
            return Ok(Self {
                pkcs8: Zeroizing::new(pkcs8.as_ref().to_vec()),
                facts: KeyFacts::from(KeyType::Ed25519),
                public_key: pair.public_key().as_ref().to_vec(),
            });
        }
        Self::from_rsa(rsa::KeyPair::from_pkcs8(der), "PKCS#8 (PRIVATE KEY)")
    }

    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        for (kind, algorithm) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(algorithm, der) {
                return Self::from_ec(kind, &pair);
            }
        }
        if on_other_curve(der) {
            return Err(KeyError::Unsupported);
        }
        Err(KeyError::Malformed("SEC1 (EC PRIVATE KEY)"))
    }

    fn from_ec(kind: Option<KeyType>, pair: &EcdsaKeyPair) -> Result<Self, KeyError> {
        let kind = kind.ok_or(KeyError::Unsupported)?;
        let pkcs8 = pair
            .to_pkcs8v1()
            .map_err(|_| KeyError::Malformed("an EC key"))?;
        Ok(Self {
            pkcs8: Zeroizing::new(pkcs8.as_ref().to_vec()),
            facts: KeyFacts::from(kind),
            public_key: pair.public_key().as_ref().to_vec(),
        })
    }

    fn from_rsa(
        read: Result<rsa::KeyPair, aws_lc_rs::error::KeyRejected>,
        format: &'static str,
    ) -> Result<Self, KeyError> {
        let pair = read.map_err(|error| match error.description_() {
            "TooSmall" => KeyError::Weak,
            "TooLarge" => KeyError::Unsupported,
            _ => KeyError::Malformed(format),
        })?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Malformed(format))?;
        let modulus = pair
            .public_key()
            .modulus()
            .big_endian_without_leading_zero();
        let bits = modulus.first().map_or(0, |first| {
            modulus.len() * 8 - first.leading_zeros() as usize
        });
        if bits < 2048 {
            return Err(KeyError::Weak);
        }
        Ok(Self {
            pkcs8: Zeroizing::new(pkcs8.as_ref().to_vec()),
            facts: KeyFacts {
                algorithm: KeyAlgorithm::Rsa,
                bits: u32::try_from(bits).unwrap_or(u32::MAX),
            },
            public_key: pair.public_key().as_ref().to_vec(),
        })
    }

    /// What kind it is.
    #[must_use]
    pub fn facts(&self) -> KeyFacts {
        self.facts
    }

    /// The bare public key, in the form of [`crate::leaf::CertFacts::public_key`].
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// PKCS#8 DER. Every caller is a place where it may leak.
    #[must_use]
    pub fn expose_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// PKCS#8 as PEM, with a final newline.
    #[must_use]
    pub fn to_pem(&self) -> Secret {
        Secret::new(pem::encode(pem::PRIVATE_KEY, &self.pkcs8))
    }
}

/// Curves in the order they are tried. Without a kind: recognised only to say so.
static CURVES: [(Option<KeyType>, &EcdsaSigningAlgorithm); 4] = [
    (Some(KeyType::EcP256), &ECDSA_P256_SHA256_ASN1_SIGNING),
    (Some(KeyType::EcP384), &ECDSA_P384_SHA384_ASN1_SIGNING),
    (Some(KeyType::EcP521), &ECDSA_P521_SHA512_ASN1_SIGNING),
    (None, &ECDSA_P256K1_SHA256_ASN1_SIGNING),
];

/// Curves that nothing here can compute with, as their OBJECT IDENTIFIER in DER: P-224 (SEC 2) and
/// the Brainpool curves (RFC 5639).
static OTHER_CURVES: [&[u8]; 2] = [
    &[0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x21],
    &[0x06, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1],
];

/// Does the head of a key that could not be read name such a curve?
fn on_other_curve(der: &[u8]) -> bool {
    OTHER_CURVES
        .iter()
        .any(|oid| der.windows(oid.len()).any(|window| window == *oid))
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.facts)
    }
}
