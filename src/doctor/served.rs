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

/// The finding has the code that `certagent probe` gives.
pub(super) fn not_served(facts: &DoctorFacts) -> CheckOutcome {
    facts.each(|one| {
        let (code, message, hint) = match &one.served {
            ProbeOutcome::Nothing(failure) => (failure.code, &failure.message, failure.hint),
            ProbeOutcome::Other(mismatch) => (mismatch.code, &mismatch.message, mismatch.hint),
            ProbeOutcome::NoProbe => return CheckOutcome::skipped("no probe is configured"),
            ProbeOutcome::NoSet(why) => return CheckOutcome::skipped(why.clone()),
            ProbeOutcome::Ours => return CheckOutcome::Fine,
        };
        let finding = DoctorFinding::new(&one.config.name, message.clone());
        CheckOutcome::Wrong(vec![finding.code(code).todo(hint)])
    })
}
