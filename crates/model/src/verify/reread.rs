//! Three files from disk back to a bundle, so that they go through the same checks as an answer.
//!
//! Never touches the disk itself.

use super::Refusal;
use crate::{
    bundle::{Bundle, PrivateKey},
    leaf::CertFacts,
    pem,
    secret::Secret,
};

/// Reads a published set. CA.pem is taken as the anchors, the rest of cert.pem as the chain, both
/// in the order they stand there.
///
/// # Errors
/// When one of the texts is not what its file should hold.
pub fn reread(ca: &str, cert: &str, key: &Secret) -> Result<Bundle, Refusal> {
    let anchors = certificates("ca-file", "CA.pem", ca)?;
    let mut chain = certificates("cert-file", "cert.pem", cert)?;
    let key = PrivateKey::from_pem(key.expose())
        .map_err(|error| Refusal::one("key-file", format!("key.pem: {error}")))?;
    let leaf = chain.remove(0);
    Ok(Bundle {
        leaf,
        chain,
        anchors,
        key,
        lease_id: None,
        warnings: Vec::new(),
    })
}

/// At least one certificate, each readable.
fn certificates(code: &'static str, file: &str, text: &str) -> Result<Vec<Vec<u8>>, Refusal> {
    let blocks =
        pem::parse(text).map_err(|error| Refusal::one(code, format!("{file}: {error}")))?;
    let mut ders = Vec::new();
    for block in blocks {
        if block.label != pem::CERTIFICATE {
            let message = format!("{file}: it holds a `{}` block", block.label);
            return Err(Refusal::one(code, message));
        }
        CertFacts::read(&block.der)
            .map_err(|error| Refusal::one(code, format!("{file}: {error}")))?;
        ders.push(block.der.to_vec());
    }
    Ok(ders)
}
