//! The facts that the agent would start from, read from the certificate directory.
//!
//! Never changes anything there. What stays true: a set counts only when it passes the checks of
//! an answer, as for the agent.

use std::time::Duration;

use crate::{
    config::CertConfig,
    model::{
        decide::{Facts, Live, Staged},
        leaf::CertFacts,
        request::{Names, Request},
        state::State,
        time::Timestamp,
        verify::{self, Expect, Verified},
    },
    publish::{self, SetOnDisk},
};

pub(super) fn facts(config: &CertConfig, now: Timestamp) -> Facts {
    let state = publish::state_in(&config.files.dir);
    let sets = publish::sets_in(&config.files.dir);
    let moment = |millis: i64| Timestamp::from_unix_millis(millis);
    let fingerprint = config.request.fingerprint();
    let live = sets.iter().find(|set| set.live).and_then(|set| {
        let known = state.generation.as_deref() == Some(set.generation.to_string().as_str());
        let record = if known {
            state.clone()
        } else {
            State::default()
        };
        let todays = record.fingerprint == fingerprint;
        let verified = verified(set, config, todays, now)?;
        Some(Live {
            validity: verified.validity(),
            obtained_at: record.obtained_at.map(moment),
            fingerprint: record.fingerprint,
            serial: verified.leaf().serial.clone(),
        })
    });
    let staged = state.staged.as_ref().and_then(|record| {
        let set = sets
            .iter()
            .find(|set| !set.live && set.generation.to_string() == record.generation)?;
        let todays = record.fingerprint == fingerprint;
        Some(Staged {
            validity: verified(set, config, todays, now)?.validity(),
            obtained_at: moment(record.obtained_at),
            fingerprint: record.fingerprint.clone(),
        })
    });
    Facts {
        live,
        staged,
        failure: None,
        issuances: state.issuances.iter().copied().map(moment).collect(),
        forced: false,
        fingerprint,
    }
}

/// The checks of an answer. A set that answers another request than today's is judged by its own
/// names: the agent keeps it in use until its successor is there.
fn verified(
    set: &SetOnDisk,
    config: &CertConfig,
    todays: bool,
    now: Timestamp,
) -> Option<Verified> {
    let bundle = verify::reread(&set.ca, &set.cert, &set.key).ok()?;
    let facts = CertFacts::read(&bundle.leaf).ok()?;
    let request = if todays {
        config.request.clone()
    } else {
        as_issued(&facts, &config.request)
    };
    let expect = Expect {
        request: &request,
        min_remaining: Duration::ZERO,
        known_serials: &[],
        extra_anchors: &[],
    };
    verify::verify(bundle, &expect, now).ok()
}

fn as_issued(facts: &CertFacts, todays: &Request) -> Request {
    Request {
        names: Names {
            common_name: facts.common_name.clone().unwrap_or_default(),
            dns: facts.names.dns.clone(),
            ips: facts.names.ips.clone(),
            uris: facts.names.uris.clone(),
        },
        key_type: facts.key.kind().unwrap_or(todays.key_type),
        issuer_pin: None,
        ..todays.clone()
    }
}
