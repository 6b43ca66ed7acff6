//! Compares what is on disk with what shall be, and puts it right without the issuer.
//!
//! Never asks for a certificate. What stays true: a wrong mode or owner is set back in place;
//! everything else becomes a new generation with the same content, so that a reader of the damaged
//! one is never surprised in the middle.

use std::fmt;

use rustix::fs::Stat;

use super::{
    PublishError, Rendered,
    generation::{self, DATA, GenerationId, NAMES},
    place::{Place, Rules},
};

/// What is wrong with one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// It is not there, or can't be read, or is something else than a file or directory of ours.
    Missing,
    /// Its content is not ours.
    Content,
    /// Its permission bits were changed.
    Mode,
    /// Its owner or group was changed.
    Owner,
    /// It is not the link that it shall be.
    Link,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Link => "link",
        })
    }
}

/// One difference between the disk and the set that shall be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The name inside the certificate directory; `.` is a generation's or the directory itself.
    pub name: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.wrong)
    }
}

/// All differences between the disk and the set that shall be live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// None when everything is as it shall be.
    pub findings: Vec<Difference>,
}

impl Drift {
    /// True when everything is as it shall be.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.findings.is_empty()
    }

    fn needs_generation(&self) -> bool {
        self.findings.iter().any(|finding| match finding.wrong {
            Wrong::Missing | Wrong::Content => true,
            Wrong::Link => finding.name == DATA,
            Wrong::Mode | Wrong::Owner => false,
        })
    }

    fn add(&mut self, name: &str, wrong: Wrong) {
        self.findings.push(Difference {
            name: name.to_owned(),
            wrong,
        });
    }
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What was wrong.
    pub drift: Drift,
    /// The new generation, when setting modes and links back was not enough.
    pub generation: Option<GenerationId>,
}

/// Every difference, in the order of the names.
pub(super) fn compare(place: &Place<'_>, set: &Rendered, rules: &Rules) -> Drift {
    let mut drift = Drift::default();
    if place
        .own_stat()
        .is_ok_and(|stat| lacks_owner_bits(&stat) || rules.trust().foreign_write_bits(&stat) != 0)
    {
        drift.add(".", Wrong::Mode);
    }
    let live = generation::live(place).and_then(|id| place.enter(&id.dir()).ok());
    match live {
        None => drift.add(DATA, Wrong::Link),
        Some(inside) => compare_inside(&inside, set, rules, &mut drift),
    }
    for name in NAMES {
        if place.target(name) != Some(generation::outer_target(name)) {
            drift.add(name, Wrong::Link);
        }
    }
    drift
}

/// The other bits of the certificate directory are the operator's choice.
pub(super) fn lacks_owner_bits(stat: &Stat) -> bool {
    stat.st_mode & 0o700 != 0o700
}

/// Before anything is read at start: what was only made unreadable is as good as ever.
pub(super) fn regain(place: &Place<'_>, rules: &Rules) {
    for id in generation::generations(place).unwrap_or_default() {
        // A generation that stays unreadable is one that is not there.
        if let Ok(inside) = place.enter_own(&id.dir()) {
            for name in NAMES {
                let _unreadable = inside.regain_file(name, rules.file(name));
            }
        }
    }
}

fn compare_inside(inside: &Place<'_>, set: &Rendered, rules: &Rules, drift: &mut Drift) {
    if let Ok(stat) = inside.own_stat() {
        if !rules.dir().mode_fits(&stat) {
            drift.add(".", Wrong::Mode);
        }
        if !rules.dir().owner_fits(&stat) {
            drift.add(".", Wrong::Owner);
        }
    }
    for name in NAMES {
        let Some(found) = inside.read(name) else {
            drift.add(name, Wrong::Missing);
            continue;
        };
        if found.bytes.as_slice() != set.content(name).as_bytes() {
            drift.add(name, Wrong::Content);
        }
        if !rules.file(name).mode_fits(&found.stat) {
            drift.add(name, Wrong::Mode);
        }
        if !rules.file(name).owner_fits(&found.stat) {
            drift.add(name, Wrong::Owner);
        }
    }
}

/// Puts right what `compare` finds.
pub(super) fn repair(
    place: &Place<'_>,
    set: &Rendered,
    rules: &Rules,
) -> Result<Repaired, PublishError> {
    let drift = compare(place, set, rules);
    if drift.is_none() {
        return Ok(Repaired {
            drift,
            generation: None,
        });
    }
    // A file that now belongs to another user can't be set back by its former owner.
    let set_back = !drift.needs_generation() && set_access(place, set, rules).is_ok();
    let generation = match set_back {
        true => None,
        false => Some(super::switch(place, set, rules)?),
    };
    generation::outer_links(place)?;
    Ok(Repaired { drift, generation })
}

fn set_access(place: &Place<'_>, set: &Rendered, rules: &Rules) -> Result<(), PublishError> {
    let Some(id) = generation::live(place) else {
        return Ok(());
    };
    let inside = place
        .enter(&id.dir())
        .map_err(|source| super::file::failed("open", place.path(), source))?;
    for name in NAMES {
        inside.set_file_access(name, set.content(name).as_bytes(), rules.file(name))?;
    }
    inside.set_access(rules.dir())?;
    inside.sync()
}
