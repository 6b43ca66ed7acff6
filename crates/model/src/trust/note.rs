//! What a person should know of the anchors in CA.pem.
//!
//! Never changes what is trusted. What stays true: each note names the anchor or the setting that it is
//! about.

use std::{fmt, time::Duration};

use super::{
    Memory, Remembered, Vouched, der_of,
    policy::{AnchorName, Issuer, Standing, TrustPolicy},
    read,
};
use crate::{leaf::CertFacts, time::Timestamp};

/// What a person should know of the anchors; each names what it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrustNote {
    /// No certificate of ours chains to it, and the configuration does not name it.
    Stranger {
        /// Subject, and the issuer's name where it has one.
        anchor: String,
        /// SHA-256 of its DER.
        sha256: String,
        /// The mount vouches for it no more: it leaves at this time.
        until: Option<Timestamp>,
    },
    /// It is revoked or distrusted, and our certificate hangs on it.
    StillNeeded {
        /// Subject, and the issuer's name where it has one.
        anchor: String,
    },
    /// It is named by `trust_issuers`, and revoked.
    NamedRevoked {
        /// Subject, and the issuer's name where it has one.
        anchor: String,
    },
    /// A setting names what is nowhere.
    Unknown {
        /// The setting.
        setting: &'static str,
        /// What it says.
        name: String,
    },
    /// Whether they are revoked can't be seen.
    Unseen {
        /// Subject, and the issuer's name where it has one; of each.
        anchors: String,
    },
}

impl TrustNote {
    /// The code in `degraded`, in the log and in doctor.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stranger { .. } => "trust-unused",
            Self::StillNeeded { .. } => "trust-still-needed",
            Self::NamedRevoked { .. } => "trust-revoked",
            Self::Unknown { .. } => "trust-unknown",
            Self::Unseen { .. } => "trust-unseen",
        }
    }

    /// It says that the configuration does not come true.
    #[must_use]
    pub const fn is_degrading(&self) -> bool {
        matches!(
            self,
            Self::StillNeeded { .. } | Self::NamedRevoked { .. } | Self::Unknown { .. }
        )
    }
}

impl fmt::Display for TrustNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger {
                anchor,
                sha256,
                until,
            } => {
                write!(
                    f,
                    "CA.pem trusts {anchor}, SHA-256 {sha256}, in which the chain of this certificate \
                     does not end"
                )?;
                match until {
                    Some(until) => write!(f, "; the mount does not list it, it leaves at {until}"),
                    None => f.write_str(
                        ": whoever has its key can make certificates that are trusted here",
                    ),
                }
            }
            Self::StillNeeded { anchor } => write!(
                f,
                "{anchor} is revoked or distrusted, and the chain of the published certificate ends in \
                 it: it leaves CA.pem with the next certificate from another issuer (`certagent renew`)"
            ),
            Self::NamedRevoked { anchor } => {
                write!(
                    f,
                    "trust_issuers names {anchor}, which is revoked: it is left out"
                )
            }
            Self::Unknown { setting, name } => write!(
                f,
                "{setting} names {name}, and neither the mount nor CA.pem has such an issuer: correct or \
                 remove it"
            ),
            Self::Unseen { anchors } => write!(
                f,
                "whether an issuer is revoked can't be seen for {anchors}: let the policy `read` the \
                 mount's issuer/+"
            ),
        }
    }
}

/// What is to be said of the anchors; `kept` is the memory before anything is taken out.
pub(super) fn notes(
    policy: &TrustPolicy,
    vouched: &Vouched<'_>,
    mount: &[Issuer<'_>],
    kept: &Memory,
    overlap: Duration,
    now: Timestamp,
) -> Vec<TrustNote> {
    let hashes = |ders: &[Vec<u8>]| -> Vec<String> {
        read(ders.iter()).map(|(_, facts)| facts.sha256).collect()
    };
    let (chain, extras) = (hashes(vouched.chain), hashes(vouched.extras));
    let mut notes = Vec::new();
    for (sha256, entry) in kept {
        let Some(subject) = subject_of(entry, now) else {
            continue;
        };
        let anchor = called(&subject, &entry.name);
        let mut named = policy.named.iter();
        let chosen =
            extras.contains(sha256) || named.any(|name| name.names_anchor(sha256, entry, mount));
        let out = entry.revoked || policy.distrusts(sha256, entry, mount);
        notes.extend(match (out, chain.contains(sha256)) {
            (true, true) => Some(TrustNote::StillNeeded { anchor }),
            (true, false) if chosen && entry.revoked => Some(TrustNote::NamedRevoked { anchor }),
            (false, false) if !chosen => Some(TrustNote::Stranger {
                anchor,
                sha256: sha256.clone(),
                until: (vouched.mount.is_some() && entry.listed_at < now)
                    .then(|| entry.listed_at.plus(overlap)),
            }),
            _ => None,
        });
    }
    // A mount that could not be asked may have them.
    if vouched.mount.is_some() {
        notes.extend(unknown("trust_issuers", &policy.named, mount, kept));
        notes.extend(unknown("distrust", &policy.distrusted, mount, kept));
    }
    let unseen = mount
        .iter()
        .filter(|issuer| issuer.standing == Standing::Unseen && policy.takes(issuer))
        .map(|issuer| called(&issuer.facts.subject, issuer.name));
    let unseen: Vec<String> = unseen.collect();
    if !unseen.is_empty() {
        notes.push(TrustNote::Unseen {
            anchors: unseen.join(", "),
        });
    }
    notes
}

fn unknown(
    setting: &'static str,
    names: &[AnchorName],
    mount: &[Issuer<'_>],
    kept: &Memory,
) -> Vec<TrustNote> {
    let found = |name: &AnchorName| {
        mount.iter().any(|issuer| name.names_issuer(issuer))
            || kept
                .iter()
                .any(|(sha256, entry)| name.names_anchor(sha256, entry, mount))
    };
    let missing = names.iter().filter(|name| !found(name));
    missing
        .map(|name| TrustNote::Unknown {
            setting,
            name: name.to_string(),
        })
        .collect()
}

/// None for what is no certificate any more.
fn subject_of(entry: &Remembered, now: Timestamp) -> Option<String> {
    let facts = CertFacts::read(&der_of(&entry.pem)?).ok()?;
    (now < facts.not_after).then_some(facts.subject)
}

fn called(subject: &str, name: &str) -> String {
    if name.is_empty() {
        format!("`{subject}`")
    } else {
        format!("`{subject}` (issuer {name})")
    }
}
