//! A change of the CA, read from the certificates: how far it is, and what keeps the next step back.
//!
//! Never remembers. What stays true: an instance that was not seen keeps every step back; a step that
//! would make a handshake fail is never the next one.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{AnchorRow, LeafRow, Row, anchors};
use crate::{leaf::CertFacts, time::Timestamp};

/// A CA certificate that takes part: an issuer of the mount, an anchor, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authority {
    /// SHA-256 of its DER form, in hex.
    pub sha256: String,
    /// Distinguished name.
    pub subject: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// What an instance has to trust for it: itself, or anchors that signed it.
    pub anchors: BTreeSet<String>,
    /// Its id in the mount, while it is an issuer there.
    pub id: Option<String>,
    /// It is the mount's default issuer.
    pub is_default: bool,
}

impl Authority {
    /// An issuer of the mount. An intermediate is trusted by what of `known` stands above it.
    #[must_use]
    pub fn issuer(facts: &CertFacts, id: String, is_default: bool, known: &[CertFacts]) -> Self {
        let mut above = vec![facts];
        let mut at = 0;
        while let Some(below) = above.get(at).copied() {
            let signers = known
                .iter()
                .filter(|ca| !below.self_signed && below.names_as_issuer(ca));
            let new: Vec<&CertFacts> = signers.filter(|ca| !above.contains(ca)).collect();
            above.extend(new);
            at = at.saturating_add(1);
        }
        Self {
            anchors: above.iter().map(|ca| ca.sha256.clone()).collect(),
            sha256: facts.sha256.clone(),
            subject: facts.subject.clone(),
            not_before: facts.not_before,
            id: Some(id),
            is_default,
        }
    }

    fn signed(&self, leaf: &LeafRow) -> bool {
        leaf.issuer_sha256 == self.sha256 || leaf.anchor_sha256 == self.sha256
    }

    fn is_named(&self, name: &str) -> bool {
        let short = name.replace(':', "").to_ascii_lowercase();
        self.id.as_deref() == Some(name) || (short.len() >= 8 && self.sha256.starts_with(&short))
    }
}

/// A change from one authority to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// It comes; none while there is one root only.
    pub new: Option<Authority>,
    /// They go.
    pub old: Vec<Authority>,
    /// Count an instance without reload and probe as having loaded what is on its disk.
    #[serde(skip)]
    pub assume_loaded: bool,
}

/// What is to become true next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Every instance trusts the new one, on disk and in the running application.
    Trusted,
    /// Every leaf is signed by the new one.
    Renewed,
    /// No instance trusts an old one any more.
    Removed,
}

/// How far the change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaPhase {
    /// There is one root.
    OneRoot,
    /// The new one exists and is not trusted everywhere.
    NotTrusted,
    /// It is: the default issuer may be changed.
    Trusted,
    /// Some leaves are new, or are about to be.
    Mixed,
    /// All are: the old one may go.
    Renewed,
    /// No instance trusts it any more.
    Done,
}

impl CaPhase {
    /// What `certagent fleet` says of it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::OneRoot => "one root",
            Self::NotTrusted => "new root exists, not trusted everywhere",
            Self::Trusted => "trusted everywhere: the default issuer may be changed",
            Self::Mixed => "leaves mixed",
            Self::Renewed => "all leaves new: the old root may go",
            Self::Done => "done",
        }
    }

    /// What has to come true before the next step.
    #[must_use]
    pub fn goal(self) -> Option<Goal> {
        match self {
            Self::NotTrusted => Some(Goal::Trusted),
            Self::Mixed | Self::Trusted => Some(Goal::Renewed),
            Self::Renewed => Some(Goal::Removed),
            Self::OneRoot | Self::Done => None,
        }
    }
}

/// Why an instance keeps a step back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", content = "what", rename_all = "kebab-case")]
pub enum Hindrance {
    /// It was not seen, or has no certificate.
    Unseen(String),
    /// There is no new one to be trusted.
    NoNew,
    /// The new one is not in its CA.pem.
    NotOnDisk,
    /// It is, and the application has not loaded it.
    NotLoaded,
    /// It is, and the application is neither reloaded nor probed.
    LoadUnknown,
    /// Its leaf is signed by an old one.
    OldLeaf,
    /// An old one is in its CA.pem.
    OldOnDisk,
    /// It is not, and the application has not loaded that.
    OldLoaded,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unseen(why) => return write!(f, "not seen: {why}"),
            Self::NoNew => "no new root is seen anywhere",
            Self::NotOnDisk => "the new root is not in its CA.pem",
            Self::NotLoaded => "the application has not loaded the new root",
            Self::LoadUnknown => "neither reload nor probe shows what the application has loaded",
            Self::OldLeaf => "its certificate is signed by the old root",
            Self::OldOnDisk => "the old root is in its CA.pem",
            Self::OldLoaded => "the application has not been reloaded without the old root",
        })
    }
}

/// One instance that keeps a step back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocker {
    /// Which.
    pub instance: String,
    /// Why.
    #[serde(flatten)]
    pub hindrance: Hindrance,
    /// What else is wrong there.
    pub trouble: Option<String>,
    /// When it should be over, by the renewal times.
    pub until: Option<Timestamp>,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.instance, self.hindrance)?;
        if let Some(trouble) = &self.trouble {
            write!(f, " ({trouble})")?;
        }
        Ok(())
    }
}

/// Which change is under way: `issuers` are the mount's, where they are known. Without names the newest
/// of them comes, or the newest anchor where there are none, and every other one that is an issuer or has signed a leaf goes; when there is none of
/// those any more, every other anchor.
///
/// # Errors
/// A name that no authority has, or has several.
pub fn change(
    rows: &[Row],
    issuers: &[Authority],
    to: Option<&str>,
    from: Option<&str>,
) -> Result<Change, String> {
    let mut all = issuers.to_vec();
    for anchor in anchors(rows) {
        if all.iter().all(|one| one.sha256 != anchor.sha256) {
            all.push(Authority {
                sha256: anchor.sha256.clone(),
                subject: anchor.subject.clone(),
                not_before: anchor.not_before,
                anchors: [anchor.sha256.clone()].into(),
                id: None,
                is_default: false,
            });
        }
    }
    let named = |name: &str| {
        let mut found = all.iter().filter(|one| one.is_named(name));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(_), Some(_)) => Err(format!(
                "`{name}` names more than one CA; write more of its fingerprint"
            )),
            (None, _) => Err(format!("no CA has the id or fingerprint `{name}`")),
        }
    };
    let from = from
        .map(|name| named(name).or_else(|_| absent(name)))
        .transpose()?;
    let goes = |one: &&Authority| from.as_ref().is_some_and(|from| from.sha256 == one.sha256);
    // A root above an intermediate of the mount does not come: the intermediate does.
    let is_above = |one: &Authority| {
        all.iter()
            .any(|other| other.sha256 != one.sha256 && other.anchors.contains(&one.sha256))
    };
    let new = match to {
        Some(name) => Some(named(name)?),
        None => all
            .iter()
            .filter(|one| !goes(one) && !is_above(one))
            .max_by_key(|one| (one.id.is_some(), one.not_before))
            .cloned(),
    };
    let others = all.iter().filter(|one| {
        new.as_ref()
            .is_some_and(|new| new.sha256 != one.sha256 && !new.anchors.contains(&one.sha256))
    });
    let in_use = |one: &Authority| {
        one.id.is_some()
            || rows
                .iter()
                .filter_map(|row| row.leaf.as_ref())
                .any(|leaf| one.signed(leaf))
    };
    let old: Vec<Authority> = match &from {
        Some(from) => vec![from.clone()],
        None if others.clone().any(in_use) => others.filter(|one| in_use(one)).cloned().collect(),
        None => others.cloned().collect(),
    };
    let begun = !old.is_empty() || to.is_some();
    Ok(Change {
        new: new.filter(|_| begun),
        old,
        assume_loaded: false,
    })
}

/// A root that is nowhere any more: it may be named still, by its fingerprint.
fn absent(name: &str) -> Result<Authority, String> {
    let sha256 = name.replace(':', "").to_ascii_lowercase();
    let wrong = || format!("no CA has the id or fingerprint `{name}`");
    if sha256.len() < 8 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    Ok(Authority {
        anchors: BTreeSet::new(),
        subject: String::new(),
        not_before: Timestamp::MIN,
        id: None,
        is_default: false,
        sha256,
    })
}

impl Change {
    /// What keeps `goal` from being true; empty when it is.
    #[must_use]
    pub fn blockers(&self, goal: Goal, rows: &[Row]) -> Vec<Blocker> {
        let Some(new) = &self.new else {
            let missing = Blocker {
                instance: "the fleet".to_owned(),
                hindrance: Hindrance::NoNew,
                trouble: None,
                until: None,
            };
            return if goal == Goal::Trusted {
                vec![missing]
            } else {
                Vec::new()
            };
        };
        let each = rows.iter().filter_map(|row| {
            let hindrance = self.hindrance(goal, new, row)?;
            let until = row.leaf.as_ref().and_then(|leaf| leaf.due);
            Some(Blocker {
                instance: row.who.label(),
                trouble: match hindrance {
                    Hindrance::Unseen(_) => None,
                    _ => row.troubles.first().cloned(),
                },
                until: until.filter(|_| hindrance == Hindrance::OldLeaf),
                hindrance,
            })
        });
        each.collect()
    }

    fn hindrance(&self, goal: Goal, new: &Authority, row: &Row) -> Option<Hindrance> {
        let Some(leaf) = &row.leaf else {
            let why = row.troubles.first().cloned().unwrap_or_default();
            return Some(Hindrance::Unseen(why));
        };
        let goes = |sha256: &String| {
            !new.anchors.contains(sha256) && self.old.iter().any(|old| old.anchors.contains(sha256))
        };
        let old_on_disk = || row.anchors.iter().any(|one| goes(&one.sha256));
        match goal {
            Goal::Trusted => match row
                .anchors
                .iter()
                .filter(|one| new.anchors.contains(&one.sha256))
                .map(|one| one.loaded)
                .max()
            {
                None => Some(Hindrance::NotOnDisk),
                Some(Some(true)) => None,
                Some(Some(false)) => Some(Hindrance::NotLoaded),
                Some(None) => (!self.assume_loaded).then_some(Hindrance::LoadUnknown),
            },
            Goal::Renewed | Goal::Removed if !new.signed(leaf) => Some(Hindrance::OldLeaf),
            Goal::Renewed => None,
            Goal::Removed if old_on_disk() => Some(Hindrance::OldOnDisk),
            Goal::Removed => match row.trust_loaded {
                Some(true) => None,
                Some(false) => Some(Hindrance::OldLoaded),
                None => (!self.assume_loaded).then_some(Hindrance::LoadUnknown),
            },
        }
    }

    /// How far it is. An instance that does not trust the new one is the first thing to see to, also where
    /// leaves are new already.
    #[must_use]
    pub fn phase(&self, rows: &[Row]) -> CaPhase {
        let Some(new) = &self.new else {
            return CaPhase::OneRoot;
        };
        let is_held = |goal| self.blockers(goal, rows).is_empty();
        let some_new = rows
            .iter()
            .filter_map(|row| row.leaf.as_ref())
            .any(|leaf| new.signed(leaf));
        let old_issues = self.old.iter().any(|old| old.id.is_some());
        if !is_held(Goal::Trusted) {
            CaPhase::NotTrusted
        } else if !is_held(Goal::Renewed) {
            if new.is_default || some_new {
                CaPhase::Mixed
            } else {
                CaPhase::Trusted
            }
        } else if old_issues || !is_held(Goal::Removed) {
            CaPhase::Renewed
        } else {
            CaPhase::Done
        }
    }

    /// What an anchor is in it: `new`, `old`, or neither.
    #[must_use]
    pub fn mark(&self, anchor: &AnchorRow) -> &'static str {
        let is = |one: &Authority| one.sha256 == anchor.sha256;
        match (self.new.as_ref().is_some_and(is), self.old.iter().any(is)) {
            (true, _) => "new",
            (_, true) => "old",
            _ => "",
        }
    }

    /// Instances whose peers may refuse them now: their leaf is new and another instance does not trust it.
    #[must_use]
    pub fn refused(&self, rows: &[Row]) -> Vec<String> {
        let Some(new) = self
            .new
            .as_ref()
            .filter(|_| !self.blockers(Goal::Trusted, rows).is_empty())
        else {
            return Vec::new();
        };
        let signed = |row: &&Row| row.leaf.as_ref().is_some_and(|leaf| new.signed(leaf));
        rows.iter()
            .filter(signed)
            .map(|row| row.who.label())
            .collect()
    }
}
