//! Three files from disk back to a bundle, so that they go through the same checks as an answer.
//!
//! Never touches the disk itself.

use super::Refusal;
use crate::model::{
    bundle::{self, Bundle, PrivateKey},
    leaf::CertFacts,
    pem,
    secret::Secret,
};

/// Reads a published set. CA.pem is taken as the anchors, whatever it holds.
///
/// # Errors
/// When one of the texts is not what its file should hold.
pub fn reread(ca: &str, cert: &str, key: &Secret) -> Result<Bundle, Refusal> {
    let anchors = certificates("ca-file", "CA.pem", ca)?;
    let mut chain = certificates("cert-file", "cert.pem", cert)?;
    let key = PrivateKey::from_pem(key.expose())
        .map_err(|error| Refusal::one("key-file", format!("key.pem: {error}")))?;
    let leaf = chain.remove(0);
    let unordered = CertFacts::read(&leaf)
        .map(|facts| bundle::arrange(&facts, with_facts(&chain)))
        .map_err(|error| Refusal::one("cert-file", format!("cert.pem: {error}")))?;
    // Nothing is moved between the files: only links that are above the leaf may stay as they are.
    let mut warnings = Vec::new();
    for subject in unordered.unrelated {
        warnings.push(format!(
            "cert.pem holds a certificate not above the leaf: {subject}"
        ));
    }
    Ok(Bundle {
        leaf,
        chain,
        anchors,
        key,
        lease_id: None,
        warnings,
    })
}

fn with_facts(ders: &[Vec<u8>]) -> Vec<(Vec<u8>, CertFacts)> {
    ders.iter()
        .filter_map(|der| Some((der.clone(), CertFacts::read(der).ok()?)))
        .collect()
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
