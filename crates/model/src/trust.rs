//! Which anchors CA.pem holds: the union of chain, mount, pinned extras and recently trusted ones.
//!
//! Never fetches. What stays true: an anchor stays for the overlap after it was last vouched for.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{leaf::CertFacts, pem, time::Timestamp};

/// An anchor that was trusted, as it is remembered over a restart. No secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The certificate as PEM.
    pub pem: String,
    /// When a chain, the mount or the configuration last named it.
    pub listed_at: Timestamp,
}

/// Anchors by SHA-256 of their DER, in lower-case hex.
pub type Memory = BTreeMap<String, Remembered>;

/// Who vouches for an anchor now. All DER.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouched<'a> {
    /// Anchors of the verified chain.
    pub chain: &'a [Vec<u8>],
    /// Certificates of the mount's issuers; those that are no CA are left out. `None` when the
    /// mount could not be asked: then nothing is dropped for want of a voucher.
    pub mount: Option<&'a [Vec<u8>]>,
    /// Pinned by the configuration.
    pub extras: &'a [Vec<u8>],
}

/// What CA.pem holds from now on, and what to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// DER of the anchors, ordered and without duplicates. Equal input gives equal bytes.
    pub anchors: Vec<Vec<u8>>,
    /// The new memory.
    pub memory: Memory,
}

/// DER of the anchors in a file that a person wrote. It is not handed on as it is, so that a byte order
/// mark does no harm here.
///
/// # Errors
/// When it can't be read in whole, or holds a certificate that is no CA, named.
pub fn extras(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let text = text.strip_prefix(pem::BYTE_ORDER_MARK).unwrap_or(text);
    let ders = pem::certificates(text).map_err(|error| error.to_string())?;
    for (at, der) in (1..).zip(&ders) {
        let facts = CertFacts::read(der).map_err(|error| format!("certificate {at}: {error}"))?;
        if !facts.is_ca {
            return Err(format!(
                "certificate {at}, `{}`, is no CA: it lacks basicConstraints CA:TRUE",
                facts.subject
            ));
        }
    }
    Ok(ders)
}

/// Joins what is vouched for now with what was vouched for within `overlap`.
///
/// Mount issuers count when they are CAs; an intermediate among them is taken only when no
/// self-signed anchor of this union stands above it. Expired anchors are dropped, others never
/// sooner than `overlap` after they were last vouched for. A clock that went back drops nothing.
#[must_use]
pub fn union(vouched: Vouched<'_>, memory: &Memory, overlap: Duration, now: Timestamp) -> Trust {
    let recent = |old: &Remembered| now <= old.listed_at.plus(overlap);
    let mut kept: Memory = memory
        .iter()
        .filter(|(_, old)| vouched.mount.is_none() || recent(old))
        .map(|(hash, old)| (hash.clone(), old.clone()))
        .collect();
    for der in named(vouched, now) {
        let Ok(facts) = CertFacts::read(&der) else {
            continue;
        };
        let entry = kept.entry(facts.sha256).or_insert_with(|| Remembered {
            pem: pem::encode(pem::CERTIFICATE, &der),
            listed_at: now,
        });
        // Not back: a clock that is set back must not shorten the overlap.
        entry.listed_at = entry.listed_at.max(now);
    }
    let mut ders = Vec::new();
    kept.retain(|hash, entry| {
        let der = der_of(&entry.pem).filter(|der| alive(hash, der, now));
        ders.extend(der.clone());
        der.is_some()
    });
    Trust {
        anchors: ordered(&ders),
        memory: kept,
    }
}

/// Everything that is named now: chain and extras as they are, of the mount only its tops.
fn named(vouched: Vouched<'_>, now: Timestamp) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [vouched.chain, vouched.extras].concat();
    let mount: Vec<(&Vec<u8>, CertFacts)> = vouched
        .mount
        .unwrap_or_default()
        .iter()
        .filter_map(|der| Some((der, CertFacts::read(der).ok()?)))
        .filter(|(_, facts)| facts.is_ca)
        .collect();
    let known: Vec<CertFacts> = all
        .iter()
        .filter_map(|der| CertFacts::read(der).ok())
        .chain(mount.iter().map(|(_, facts)| facts.clone()))
        // An expired CA vouches for nothing: what it signed must stand for itself.
        .filter(|facts| now < facts.not_after)
        .collect();
    let below_another = |facts: &CertFacts| {
        known
            .iter()
            .any(|other| other.sha256 != facts.sha256 && facts.names_as_issuer(other))
    };
    for (der, facts) in &mount {
        if facts.self_signed || !below_another(facts) {
            all.push((*der).clone());
        }
    }
    all
}

/// True while the certificate is what its entry says it is and has not expired.
fn alive(hash: &str, der: &[u8], now: Timestamp) -> bool {
    CertFacts::read(der).is_ok_and(|facts| facts.sha256 == *hash && now < facts.not_after)
}

fn der_of(text: &str) -> Option<Vec<u8>> {
    match pem::parse(text).ok()?.as_slice() {
        [block] if block.label == pem::CERTIFICATE => Some(block.der.to_vec()),
        _ => None,
    }
}

/// Certificates in the order of CA.pem: the newest first, without duplicates and without what is
/// no certificate. The order depends on the set alone, so that equal sets give equal files.
#[must_use]
pub fn ordered(ders: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let by_age: BTreeMap<(std::cmp::Reverse<Timestamp>, String), &Vec<u8>> = ders
        .iter()
        .filter_map(|der| {
            let facts = CertFacts::read(der).ok()?;
            Some(((std::cmp::Reverse(facts.not_before), facts.sha256), der))
        })
        .collect();
    by_age.into_values().cloned().collect()
}
