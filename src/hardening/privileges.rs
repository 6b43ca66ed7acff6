//! Capabilities and no_new_privs.

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs},
};

use super::Part;

/// No program that is started could get more rights than this process has (prctl(2)).
pub(super) fn no_new() -> Part {
    match set_no_new_privs(true) {
        Ok(()) => Part::new("no_new_privs", true, "no setuid program counts"),
        Err(error) => Part::new("no_new_privs", false, format!("the kernel says {error}")),
    }
}

/// Keeps only `needed` of what is there. A program that root starts has root's own again
/// (capabilities(7)); one that another user starts would lose them, so then they stay.
pub(super) fn drop(needed: &CapabilitySet, programs: bool) -> Part {
    let part = |active, detail: String| Part::new("capabilities", active, detail);
    if programs && !geteuid().is_root() {
        return part(false, super::PROGRAMS.to_owned());
    }
    let dropped = capabilities(None).and_then(|had| {
        let kept = had.permitted & *needed;
        let inheritable = match programs {
            true => had.inheritable,
            false => CapabilitySet::empty(),
        };
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable,
        };
        set_capabilities(None, sets).map(|()| kept)
    });
    match dropped {
        Ok(kept) if kept.is_empty() => part(true, "none left".to_owned()),
        Ok(kept) => {
            let names: Vec<_> = kept.iter_names().map(|(name, _)| name).collect();
            part(true, format!("left: {}", names.join(", ")))
        }
        Err(error) => part(false, format!("the kernel says {error}")),
    }
}
