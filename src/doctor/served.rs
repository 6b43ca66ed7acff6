//! What the application serves, where a probe is configured.
//!
//! Connects once with the published certificate files, as the agent's own probe does, and sends nothing after
//! the handshake but what the probe is configured for.

use super::{CheckOutcome, DoctorFacts, DoctorFinding, facts::ProbeOutcome};
use crate::{
    config::CertConfig,
    probe::{Identity, probe},
    publish,
};

pub(super) async fn look(config: &CertConfig) -> ProbeOutcome {
    let Some(wanted) = &config.probe else {
        return ProbeOutcome::NoProbe;
    };
    let sets = publish::sets_in(&config.files.dir);
    let Some(set) = sets.iter().find(|set| set.live) else {
        return ProbeOutcome::NoSet("nothing is published yet".to_owned());
    };
    let identity = match Identity::new(&set.ca, &set.cert, Some(&set.key)) {
        Ok(identity) => identity,
        Err(error) => return ProbeOutcome::NoSet(error.to_string()),
    };
    match probe(&wanted.target, &identity).await {
        Err(failure) => ProbeOutcome::Nothing(failure),
        Ok(served) => match identity.serves_current(&served) {
            Ok(()) => ProbeOutcome::Ours,
            Err(mismatch) => ProbeOutcome::Other(mismatch),
        },
    }
}

pub(super) fn closed(facts: &DoctorFacts) -> CheckOutcome {
    failed(facts, |code| {
        matches!(
            code,
            "probe-refused" | "probe-unreachable" | "probe-timeout"
        )
    })
}

/// A process listens, and no certificate was seen.
pub(super) fn no_tls(facts: &DoctorFacts) -> CheckOutcome {
    failed(facts, |code| {
        !matches!(
            code,
            "probe-refused" | "probe-unreachable" | "probe-timeout"
        )
    })
}

fn failed(facts: &DoctorFacts, own: impl Fn(&str) -> bool) -> CheckOutcome {
    facts.each(|one| match &one.served {
        ProbeOutcome::Nothing(failure) if own(failure.code) => CheckOutcome::Wrong(vec![
            DoctorFinding::new(&one.config.name, failure.message.clone()).todo(failure.hint),
        ]),
        ProbeOutcome::Nothing(_) => CheckOutcome::skipped("no certificate was seen"),
        seen => unseen(seen).map_or(CheckOutcome::Fine, CheckOutcome::skipped),
    })
}

pub(super) fn other(facts: &DoctorFacts) -> CheckOutcome {
    mismatched(facts, |code| matches!(code, "serves-other"))
}

/// It serves what it should, and the connection is of no use all the same.
pub(super) fn unproven(facts: &DoctorFacts) -> CheckOutcome {
    mismatched(facts, |code| !matches!(code, "serves-other"))
}

fn mismatched(facts: &DoctorFacts, own: impl Fn(&str) -> bool) -> CheckOutcome {
    facts.each(|one| match &one.served {
        ProbeOutcome::Other(mismatch) if own(mismatch.code) => CheckOutcome::Wrong(vec![
            DoctorFinding::new(&one.config.name, mismatch.message.clone()).todo(mismatch.hint),
        ]),
        ProbeOutcome::Nothing(_) => CheckOutcome::skipped("no certificate was seen"),
        seen => unseen(seen).map_or(CheckOutcome::Fine, CheckOutcome::skipped),
    })
}

fn unseen(seen: &ProbeOutcome) -> Option<String> {
    match seen {
        ProbeOutcome::NoProbe => Some("no probe is configured".to_owned()),
        ProbeOutcome::NoSet(why) => Some(why.clone()),
        ProbeOutcome::Nothing(_) | ProbeOutcome::Other(_) | ProbeOutcome::Ours => None,
    }
}
