//! Checks of what was configured, by itself.
//!
//! Never looks further than the values and the paths they name.

use std::{collections::BTreeMap, os::unix::ffi::OsStrExt, path::PathBuf};

use super::{CheckOutcome, DoctorFacts, DoctorFinding};
use crate::{
    config::MAX_SOCKET_PATH,
    hardening,
    model::{
        decide, duration,
        schedule::{self, Validity},
    },
};

pub(super) fn invalid(facts: &DoctorFacts) -> CheckOutcome {
    CheckOutcome::of(
        facts
            .problems
            .iter()
            .map(|problem| DoctorFinding::new("", problem.clone()))
            .collect(),
    )
}

/// The words of every note on something without effect (config/issuer_env.rs, config/resolve/auth.rs).
const WITHOUT: [&str; 2] = ["has no effect", "not used"];

pub(super) fn ignored(facts: &DoctorFacts) -> CheckOutcome {
    noted(facts, |note| {
        WITHOUT.iter().any(|words| note.contains(words))
    })
}

/// What has an effect, and hardly the meant one.
pub(super) fn doubtful(facts: &DoctorFacts) -> CheckOutcome {
    noted(facts, |note| {
        !WITHOUT.iter().any(|words| note.contains(words))
    })
}

fn noted(facts: &DoctorFacts, own: impl Fn(&str) -> bool) -> CheckOutcome {
    if facts.config.is_none() {
        return CheckOutcome::skipped("there is no usable configuration");
    }
    let notes = facts.notes.iter().filter(|note| own(note));
    CheckOutcome::of(
        notes
            .map(|note| DoctorFinding::new("", note.clone()))
            .collect(),
    )
}

/// The configuration compares texts; here it is the same directory under two names.
#[expect(
    clippy::disallowed_methods,
    reason = "two names are compared; nothing is opened"
)]
pub(super) fn shared_directory(facts: &DoctorFacts) -> CheckOutcome {
    let mut owners: BTreeMap<PathBuf, Vec<&str>> = BTreeMap::new();
    for one in &facts.certificates {
        let look = &one.dir.look;
        let rest = look.path.file_name().unwrap_or_default();
        let real = look.path.canonicalize().or_else(|_| {
            let parent = look.path.parent().map(PathBuf::from).unwrap_or_default();
            parent.canonicalize().map(|parent| parent.join(rest))
        });
        let real = real.unwrap_or_else(|_| look.path.clone());
        owners.entry(real).or_default().push(&one.config.name);
    }
    let shared = owners.iter().filter(|(_, names)| names.len() > 1);
    let found: Vec<_> = shared
        .map(|(path, names)| {
            let reason = format!("{} is the directory of all of them", path.display());
            DoctorFinding::new(names.join(", "), reason)
        })
        .collect();
    match facts.certificates.len() {
        0 => CheckOutcome::skipped("there is no usable configuration"),
        _ => CheckOutcome::of(found),
    }
}

pub(super) fn plain_address(facts: &DoctorFacts) -> CheckOutcome {
    let Some(config) = &facts.config else {
        return CheckOutcome::skipped("there is no usable configuration");
    };
    let found = config.vault.plain_addresses().map(|address| {
        DoctorFinding::new(
            address,
            "an attacker on the network can read the login, the token and private keys, or answer \
             instead of Vault and decide what is trusted; allow_plain_http allows it",
        )
    });
    CheckOutcome::of(found.collect())
}

pub(super) fn hardening_off(facts: &DoctorFacts) -> CheckOutcome {
    let Some(config) = &facts.config else {
        return CheckOutcome::skipped("there is no usable configuration");
    };
    match hardening::missing() {
        _ if !config.hardening => CheckOutcome::wrong("", "hardening = \"off\""),
        Some(missing) => CheckOutcome::skipped(missing),
        None => CheckOutcome::Fine,
    }
}

pub(super) fn long_socket(facts: &DoctorFacts) -> CheckOutcome {
    let found = facts.sockets.iter().filter_map(|(what, path)| {
        let length = path.as_os_str().as_bytes().len();
        (length > MAX_SOCKET_PATH).then(|| {
            let reason = format!(
                "{} has {length} bytes, a socket's path may have {MAX_SOCKET_PATH}",
                path.display()
            );
            DoctorFinding::new(what.clone(), reason)
        })
    });
    CheckOutcome::of(found.collect())
}

/// Renewals an hour that the ttl takes, or the life that was received, against the limit.
pub(super) fn small_budget(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let (renew, ttl) = (&one.config.renew, one.config.request.ttl);
        let asked = Validity {
            not_before: facts.now,
            not_after: facts.now.plus(ttl),
        };
        let live = one.next.live.as_ref();
        let received = live.map(|live| schedule::due(live.validity, live.obtained_at, renew));
        let due = received.unwrap_or_else(|| schedule::due(asked, Some(facts.now), renew));
        let limit = renew.max_issuances_per_hour;
        match due.over_limit(limit) {
            None => CheckOutcome::Fine,
            Some(needed) => {
                let reason = format!(
                    "a life of {} takes {needed} issuances an hour, the limit is {}",
                    duration::brief(due.counted_life),
                    limit.per_hour(Some(due.counted_life))
                );
                CheckOutcome::wrong(&one.config.name, reason)
            }
        }
    })
}

pub(super) fn spent_budget(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let (renew, requests) = (&one.config.renew, &one.next.requests);
        match decide::free_at(&one.next, renew, facts.now) {
            Ok(()) => CheckOutcome::Fine,
            Err(free) => CheckOutcome::Wrong(vec![DoctorFinding::new(
                &one.config.name,
                format!(
                    "of the requests of the last hour {} were not due or brought nothing (the \
                     limit is {}), and {} answers were refused; the next is free at {free}",
                    requests.used(facts.now),
                    decide::limit(&one.next, renew),
                    requests.refused(facts.now),
                ),
            )]),
        }
    })
}
