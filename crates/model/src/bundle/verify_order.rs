//! Puts what an issuer sent into verify order: leaf, intermediates, and the anchors apart.
//!
//! Never checks a signature (`verify` does): names and key identifiers say who issued whom. What
//! stays true: whatever order the issuer chose, the result is the same.

use std::collections::BTreeMap;

use crate::leaf::CertFacts;

/// One certificate with its facts.
type Cert = (Vec<u8>, CertFacts);

/// A chain in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arranged {
    /// Intermediates, nearest to the leaf first. Cross-signed copies of one CA stand together.
    pub chain: Vec<Vec<u8>>,
    /// Self-signed certificates above the leaf; without one, the top of the chain.
    pub anchors: Vec<Vec<u8>>,
    /// Subjects of certificates that have nothing to do with the leaf and were left out.
    pub unrelated: Vec<String>,
}

/// Arranges `pool` above `leaf`. Copies of the leaf and duplicates are dropped.
/// RFC 8446 section 4.4.2: each certificate certifies the one before it.
#[must_use]
pub fn arrange(leaf: &CertFacts, pool: Vec<Cert>) -> Arranged {
    // By hash: neither the issuer's order nor a duplicate can change the result.
    let mut rest: BTreeMap<String, Cert> = pool
        .into_iter()
        .map(|cert| (cert.1.sha256.clone(), cert))
        .filter(|(hash, _)| *hash != leaf.sha256)
        .collect();
    let mut chain = Vec::new();
    let mut anchors = Vec::new();
    let mut level = vec![leaf.clone()];
    while !level.is_empty() {
        let above = take_issuers(&level, &mut rest);
        level = above.iter().map(|cert| cert.1.clone()).collect();
        let (roots, links): (Vec<Cert>, Vec<Cert>) =
            above.into_iter().partition(|cert| cert.1.self_signed);
        anchors.extend(roots);
        chain.extend(links);
    }
    if anchors.is_empty() {
        anchors = split_top(&mut chain);
    }
    Arranged {
        chain: chain.into_iter().map(|cert| cert.0).collect(),
        anchors: anchors.into_iter().map(|cert| cert.0).collect(),
        unrelated: rest.into_values().map(|cert| cert.1.subject).collect(),
    }
}

/// Takes out of `rest` everything that issued one of `level`.
fn take_issuers(level: &[CertFacts], rest: &mut BTreeMap<String, Cert>) -> Vec<Cert> {
    let found: Vec<String> = rest
        .iter()
        .filter(|(_, cert)| level.iter().any(|below| below.names_as_issuer(&cert.1)))
        .map(|(hash, _)| hash.clone())
        .collect();
    found.iter().filter_map(|hash| rest.remove(hash)).collect()
}

/// With no root in the pool, the certificates whose own issuer is missing are the anchors.
fn split_top(chain: &mut Vec<Cert>) -> Vec<Cert> {
    let known: Vec<CertFacts> = chain.iter().map(|cert| cert.1.clone()).collect();
    let is_top = |cert: &Cert| {
        !known
            .iter()
            .any(|other| other.sha256 != cert.1.sha256 && cert.1.names_as_issuer(other))
    };
    let (tops, links): (Vec<Cert>, Vec<Cert>) = chain.drain(..).partition(is_top);
    *chain = links;
    tops
}
