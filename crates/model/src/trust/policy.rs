//! Which issuers of a mount count, by standing and by name.
//!
//! Never decides about the own chain: the anchor that the own certificate hangs on is always there.

use std::{fmt, str::FromStr};

use super::Remembered;
use crate::leaf::CertFacts;

/// How much of the mount is trusted beside the own chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustScope {
    /// Nothing.
    Chain,
    /// Every issuer that has its key there and is not revoked.
    #[default]
    Issuers,
    /// Every issuer that is not revoked.
    Mount,
}

impl TrustScope {
    /// Its word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Issuers => "issuers",
            Self::Mount => "mount",
        }
    }
}

impl FromStr for TrustScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Chain, Self::Issuers, Self::Mount]
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| "one of chain, issuers, mount is needed".to_owned())
    }
}

/// What is known of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has its key in the mount and is not revoked.
    Able,
    /// It is not known to be keyless or revoked: the login may not look.
    Unseen,
    /// Its key is not in the mount: it can't issue anything there.
    Keyless,
    /// It is revoked.
    Revoked,
}

/// One issuer of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountIssuer {
    /// Its certificate, DER.
    pub der: Vec<u8>,
    /// Its id in the mount.
    pub id: String,
    /// Its name there; empty when it has none.
    pub name: String,
    /// What is known of it.
    pub standing: Standing,
}

/// One CA certificate of the mount, read.
pub(super) struct Issuer<'a> {
    pub(super) der: &'a [u8],
    pub(super) name: &'a str,
    pub(super) id: &'a str,
    pub(super) standing: Standing,
    pub(super) facts: CertFacts,
}

/// How a person names an anchor: the SHA-256 of its certificate, or the issuer's name or id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorName(String);

impl AnchorName {
    /// A fingerprint is 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn names_issuer(&self, issuer: &Issuer<'_>) -> bool {
        [issuer.facts.sha256.as_str(), issuer.name, issuer.id].contains(&self.0.as_str())
    }

    /// An issuer that left the mount is still known by its fingerprint and its last name.
    pub(super) fn names_anchor(
        &self,
        sha256: &str,
        entry: &Remembered,
        mount: &[Issuer<'_>],
    ) -> bool {
        [sha256, entry.name.as_str()].contains(&self.0.as_str())
            || mount
                .iter()
                .any(|issuer| issuer.facts.sha256 == sha256 && self.names_issuer(issuer))
    }
}

impl fmt::Display for AnchorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose anchors CA.pem holds beside that of the own chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// How much of the mount.
    pub scope: TrustScope,
    /// Further issuers of the mount.
    pub named: Vec<AnchorName>,
    /// Anchors that are taken out at once and stay out.
    pub distrusted: Vec<AnchorName>,
}

impl TrustPolicy {
    pub(super) fn takes(&self, issuer: &Issuer<'_>) -> bool {
        let in_scope = match self.scope {
            TrustScope::Chain => false,
            TrustScope::Issuers => matches!(issuer.standing, Standing::Able | Standing::Unseen),
            TrustScope::Mount => true,
        };
        let is_named = || self.named.iter().any(|name| name.names_issuer(issuer));
        issuer.standing != Standing::Revoked && (in_scope || is_named())
    }

    pub(super) fn distrusts(&self, sha256: &str, entry: &Remembered, mount: &[Issuer<'_>]) -> bool {
        let mut names = self.distrusted.iter();
        names.any(|name| name.names_anchor(sha256, entry, mount))
    }
}
