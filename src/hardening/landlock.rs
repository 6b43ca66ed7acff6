//! Landlock: the process reaches its own files and the system's, and no others.

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus,
};

use super::{Part, places::Places};

/// Rights on files as of Linux 6.2 (landlock(7)); newer ones, on devices and sockets, are not touched.
const VERSION: ABI = ABI::V3;

/// From here on only below these places, for this thread and all that it starts.
pub(super) fn restrict(places: &Places) -> Part {
    let part = |active, detail: &str| Part::new("landlock", active, detail);
    match enforce(places) {
        Ok(RulesetStatus::FullyEnforced) => part(true, "its own files and the system's"),
        Ok(RulesetStatus::PartiallyEnforced) => part(
            true,
            "as far as this kernel can: it is older than Linux 6.2",
        ),
        Ok(RulesetStatus::NotEnforced) => part(false, missing().unwrap_or("not enforced")),
        Err(error) => part(false, &format!("the kernel says {error}")),
    }
}

/// Why there can be none.
pub(super) fn missing() -> Option<&'static str> {
    let all = AccessFs::from_all(ABI::V1);
    let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let there = required.handle_access(all).and_then(Ruleset::create);
    there
        .err()
        .map(|_| "this kernel has no Landlock, or it is turned off (lsm=)")
}

fn enforce(places: &Places) -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(VERSION);
    let mut rules = Ruleset::default().handle_access(all)?.create()?;
    // what is not there can't be opened either
    let open = |path| PathFd::new(path).ok();
    for directory in places.written.iter().filter_map(open) {
        rules = rules.add_rule(PathBeneath::new(directory, all & !AccessFs::Execute))?;
    }
    for place in places.read.iter().filter_map(open) {
        rules = rules.add_rule(PathBeneath::new(place, read))?;
    }
    let RestrictionStatus { ruleset, .. } = rules.restrict_self()?;
    Ok(ruleset)
}
