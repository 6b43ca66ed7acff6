//! What the issuers of a mount stand for: the anchors above those that the policy takes.
//!
//! Never trusts a name alone where an anchor is taken because of another certificate: the signature
//! decides, else whoever may import a certificate into the mount could make an anchor.

use std::collections::BTreeSet;

use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    Vouched,
    policy::{Issuer, Standing, TrustPolicy},
    read,
};
use crate::{leaf::CertFacts, time::Timestamp};

/// The mount's CA certificates, and those outside of it that may stand above them.
pub(super) struct Mount<'a> {
    pub(super) issuers: Vec<Issuer<'a>>,
    outside: Vec<(&'a Vec<u8>, CertFacts)>,
    now: Timestamp,
}

impl<'a> Mount<'a> {
    /// Leaves out what can't be read and what is no CA.
    pub(super) fn read(vouched: Vouched<'a>, now: Timestamp) -> Self {
        let issuers = vouched.mount.unwrap_or_default().iter();
        let issuers = issuers.filter_map(|issuer| {
            let facts = CertFacts::read(&issuer.der).ok()?;
            facts.is_ca.then_some(Issuer {
                der: &issuer.der,
                name: &issuer.name,
                id: &issuer.id,
                standing: issuer.standing,
                facts,
            })
        });
        Self {
            issuers: issuers.collect(),
            outside: read(vouched.chain.iter().chain(vouched.extras)).collect(),
            now,
        }
    }

    /// Those that the mount calls revoked.
    pub(super) fn revoked(&self) -> impl Iterator<Item = &Issuer<'a>> {
        self.issuers
            .iter()
            .filter(|issuer| issuer.standing == Standing::Revoked)
    }

    /// The anchors above the issuers that the policy takes; revoked ones among them too.
    pub(super) fn taken(&self, policy: &TrustPolicy) -> Vec<&Issuer<'a>> {
        let mut found = BTreeSet::new();
        for (at, issuer) in self.issuers.iter().enumerate() {
            if policy.takes(issuer) {
                self.climb(at, &mut found, &mut BTreeSet::new());
            }
        }
        found
            .into_iter()
            .filter_map(|at| self.issuers.get(at))
            .collect()
    }

    /// From an issuer to the tops of its chains. Where one of them is outside of the mount, it is listed
    /// already.
    fn climb(&self, at: usize, found: &mut BTreeSet<usize>, seen: &mut BTreeSet<usize>) {
        let Some(issuer) = self.issuers.get(at) else {
            return;
        };
        if !seen.insert(at) {
            return;
        }
        // An expired CA vouches for nothing: what it signed must stand for itself.
        let above = |der: &[u8], facts: &CertFacts| {
            self.now < facts.not_after
                && facts.sha256 != issuer.facts.sha256
                && issuer.facts.names_as_issuer(facts)
                && signed(issuer.der, der)
        };
        if issuer.facts.self_signed {
            found.insert(at);
            return;
        }
        let mut top = !self.outside.iter().any(|(der, facts)| above(der, facts));
        for (next, other) in self.issuers.iter().enumerate() {
            if above(other.der, &other.facts) {
                top = false;
                self.climb(next, found, seen);
            }
        }
        if top {
            found.insert(at);
        }
    }
}

/// True when the key of `issuer` made the signature of `cert`.
fn signed(cert: &[u8], issuer: &[u8]) -> bool {
    let Ok((_, cert)) = X509Certificate::from_der(cert) else {
        return false;
    };
    let issuer = issuer.into();
    let Ok(issuer) = EndEntityCert::try_from(&issuer) else {
        return false;
    };
    let (message, signature) = (cert.tbs_certificate.as_ref(), &cert.signature_value.data);
    ALL_VERIFICATION_ALGS
        .iter()
        .any(|kind| issuer.verify_signature(*kind, message, signature).is_ok())
}
