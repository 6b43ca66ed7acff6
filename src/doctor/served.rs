//! What the application serves, where a probe is configured.
//!
//! Connects once with the published set, as the agent's own probe does, and sends nothing after
//! the handshake but what the probe is configured for.

use super::{Facts, Found, Outcome, facts::Seen};
use crate::{
    config::CertConfig,
    probe::{Identity, probe},
    publish,
};

pub(super) async fn look(config: &CertConfig) -> Seen {
    let Some(wanted) = &config.probe else {
        return Seen::NoProbe;
    };
    let sets = publish::sets_in(&config.files.dir);
    let Some(set) = sets.iter().find(|set| set.live) else {
        return Seen::NoSet("nothing is published yet".to_owned());
    };
    let identity = match Identity::new(&set.ca, &set.cert, Some(&set.key)) {
        Ok(identity) => identity,
        Err(error) => return Seen::NoSet(error.to_string()),
    };
    match probe(&wanted.target, &identity).await {
        Err(failure) => Seen::Nothing(failure),
        Ok(served) => match identity.attest(&served) {
            Ok(()) => Seen::Ours,
            Err(mismatch) => Seen::Other(mismatch),
        },
    }
}

pub(super) fn closed(facts: &Facts) -> Outcome {
    failed(facts, |code| {
        matches!(
            code,
            "probe-refused" | "probe-unreachable" | "probe-timeout"
        )
    })
}

/// Somebody listens, and no certificate was seen.
pub(super) fn no_tls(facts: &Facts) -> Outcome {
    failed(facts, |code| {
        !matches!(
            code,
            "probe-refused" | "probe-unreachable" | "probe-timeout"
        )
    })
}

fn failed(facts: &Facts, own: impl Fn(&str) -> bool) -> Outcome {
    facts.each(|one| match &one.served {
        Seen::Nothing(failure) if own(failure.code) => Outcome::Wrong(vec![
            Found::new(&one.config.name, failure.message.clone()).todo(failure.hint),
        ]),
        Seen::Nothing(_) => Outcome::skipped("no certificate was seen"),
        seen => unseen(seen).map_or(Outcome::Fine, Outcome::skipped),
    })
}

pub(super) fn other(facts: &Facts) -> Outcome {
    mismatched(facts, |code| {
        matches!(code, "serves-older" | "serves-other")
    })
}

/// It serves what it should, and the connection is of no use all the same.
pub(super) fn unproven(facts: &Facts) -> Outcome {
    mismatched(facts, |code| {
        !matches!(code, "serves-older" | "serves-other")
    })
}

fn mismatched(facts: &Facts, own: impl Fn(&str) -> bool) -> Outcome {
    facts.each(|one| match &one.served {
        Seen::Other(mismatch) if own(mismatch.code) => Outcome::Wrong(vec![
            Found::new(&one.config.name, mismatch.message.clone()).todo(mismatch.hint),
        ]),
        Seen::Nothing(_) => Outcome::skipped("no certificate was seen"),
        seen => unseen(seen).map_or(Outcome::Fine, Outcome::skipped),
    })
}

fn unseen(seen: &Seen) -> Option<String> {
    match seen {
        Seen::NoProbe => Some("no probe is configured".to_owned()),
        Seen::NoSet(why) => Some(why.clone()),
        Seen::Nothing(_) | Seen::Other(_) | Seen::Ours => None,
    }
}
