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

/// Reads published certificate files, which another user may have put there: text in the files is permitted as
/// in any file of people. CA.pem is taken as the anchors, the rest of cert.pem as the chain, both
/// in the order they stand there.
///
/// # Errors
/// When one of the texts is not what its file should hold.
pub fn reread(ca: &str, cert: &str, key: &Secret) -> Result<Bundle, Refusal> {
    let anchors = certificates("ca-file", "CA.pem", ca)?;
    let mut chain = certificates("cert-file", "cert.pem", cert)?;
    let key = PrivateKey::from_file(key.expose())
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
    let ders =
        pem::certificates(text).map_err(|error| Refusal::one(code, format!("{file}: {error}")))?;
    for der in &ders {
        CertFacts::read(der).map_err(|error| Refusal::one(code, format!("{file}: {error}")))?;
    }
    Ok(ders)
}
