//! What an issuer answered, taken apart: leaf, intermediates, anchors, key; and how it is rendered.
//!
//! Never checks trust. What stays true: intermediates are in verify order, anchors apart from them.

mod key;
#[cfg(test)]
mod tests;
mod verify_order;

pub use key::{KeyError, PrivateKey};
pub use verify_order::{Arranged, arrange};

use super::{pem, secret::Secret};

/// One answer, unverified. All certificates are DER.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The certificate that was asked for.
    pub leaf: Vec<u8>,
    /// Intermediates, each one issued by the next; no anchor among them.
    pub chain: Vec<Vec<u8>>,
    /// Where the chain ends: self-signed roots, or the top of the chain when Vault knows no root.
    pub anchors: Vec<Vec<u8>>,
    /// The private key.
    pub key: PrivateKey,
    /// A lease the certificate hangs on; such a certificate is revoked when the token ends.
    pub lease_id: Option<String>,
    /// What Vault warned about, and what was odd but harmless.
    pub warnings: Vec<String>,
}

impl Bundle {
    /// Text of `cert.pem`: leaf, then intermediates in verify order.
    #[must_use]
    pub fn cert_pem(&self) -> String {
        let mut text = pem::encode(pem::CERTIFICATE, &self.leaf);
        text.push_str(&certificates(&self.chain));
        text
    }

    /// Text of `CA.pem`: anchors only.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        certificates(&self.anchors)
    }

    /// Text of `key.pem`: PKCS#8.
    #[must_use]
    pub fn key_pem(&self) -> Secret {
        self.key.to_pem()
    }
}

/// Certificates one after the other as PEM.
#[must_use]
pub fn certificates(ders: &[Vec<u8>]) -> String {
    ders.iter()
        .map(|der| pem::encode(pem::CERTIFICATE, der))
        .collect()
}
