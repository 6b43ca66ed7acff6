//! Which anchors CA.pem holds: those of the own chain, of the mount as far as the policy goes, pinned
//! extras, and recently trusted ones.
//!
//! Never fetches. What stays true: an anchor stays for the overlap after it was last listed, unless
//! it was revoked or distrusted; what was revoked once does not come back from the memory.

mod mount;
mod note;
mod policy;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    note::TrustNote,
    policy::{AnchorName, MountIssuer, Standing, TrustPolicy, TrustScope},
};
use super::{leaf::CertFacts, pem, time::Timestamp};

/// An anchor that was trusted, as it is remembered over a restart. No secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The certificate as PEM.
    pub pem: String,
    /// When a chain, the mount or the configuration last named it.
    pub listed_at: Timestamp,
    /// The issuer's name in the mount, when it had one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The mount said that it is revoked, which is for ever: it is kept here to stay out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

/// Anchors by SHA-256 of their DER, in lower-case hex.
pub type Memory = BTreeMap<String, Remembered>;

/// Who vouches for an anchor now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouched<'a> {
    /// DER of the anchors of the verified chain.
    pub chain: &'a [Vec<u8>],
    /// The mount's issuers; those that are no CA are left out. `None` when the mount could not be
    /// asked: then nothing is dropped for want of a voucher.
    pub mount: Option<&'a [MountIssuer]>,
    /// DER of what the configuration pins.
    pub extras: &'a [Vec<u8>],
}

/// What CA.pem holds from now on, and what to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// DER of the anchors, ordered and without duplicates. Equal input gives equal bytes.
    pub anchors: Vec<Vec<u8>>,
    /// The new memory.
    pub memory: Memory,
    /// What a person should know of it.
    pub notes: Vec<TrustNote>,
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

/// Joins what is listed now with what was listed within `overlap`.
///
/// Of the mount come the anchors above the issuers that the policy takes. Expired anchors are
/// dropped, others never sooner than `overlap` after they were last listed; a clock that went
/// back drops nothing. Revoked and distrusted ones go at once, except from the chain: the anchor that
/// the own certificate hangs on stays until that certificate is replaced.
#[must_use]
pub fn union(
    vouched: Vouched<'_>,
    memory: &Memory,
    policy: &TrustPolicy,
    overlap: Duration,
    now: Timestamp,
) -> Trust {
    let mount = mount::Mount::read(vouched, now);
    let mut kept: Memory = memory
        .iter()
        .filter(|(_, old)| vouched.mount.is_none() || now <= old.listed_at.plus(overlap))
        .map(|(hash, old)| (hash.clone(), old.clone()))
        .collect();
    let mut enter = |der: &[u8], facts: CertFacts, name: &str, revoked: bool| {
        let entry = kept.entry(facts.sha256).or_insert_with(|| Remembered {
            pem: pem::encode(pem::CERTIFICATE, der),
            listed_at: now,
            name: String::new(),
            revoked: false,
        });
        // Not back: a clock that is set back must not shorten the overlap.
        entry.listed_at = entry.listed_at.max(now);
        entry.revoked |= revoked;
        if !name.is_empty() {
            name.clone_into(&mut entry.name);
        }
    };
    for (der, facts) in read([vouched.chain, vouched.extras].concat().iter()) {
        enter(der, facts, "", false);
    }
    for issuer in mount.taken(policy) {
        enter(issuer.der, issuer.facts.clone(), issuer.name, false);
    }
    for issuer in mount.revoked() {
        enter(issuer.der, issuer.facts.clone(), issuer.name, true);
    }
    let notes = note::notes(policy, &vouched, &mount.issuers, &kept, overlap, now);
    kept.retain(|hash, entry| entry.revoked || !policy.distrusts(hash, entry, &mount.issuers));
    let mut ders = Vec::new();
    kept.retain(|hash, entry| {
        let der = der_of(&entry.pem).filter(|der| alive(hash, der, now));
        ders.extend(der.clone().filter(|_| !entry.revoked));
        der.is_some()
    });
    Trust {
        anchors: ordered(&ders),
        memory: kept,
        notes,
    }
}

/// Those that can be read, with their facts.
fn read<'a>(
    ders: impl Iterator<Item = &'a Vec<u8>>,
) -> impl Iterator<Item = (&'a Vec<u8>, CertFacts)> {
    ders.filter_map(|der| Some((der, CertFacts::read(der).ok()?)))
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
