//! What lies in the directory at start: which set to take as the live one, which as staged.
//!
//! Never writes. What stays true: a set on disk goes through the same checks as an answer; the
//! newest valid one wins, whatever `..data` points at.

use tracing::{debug, warn};

use super::{LiveFiles, StagedFiles};
use crate::{
    config::CertConfig,
    model::{
        bundle::Bundle,
        leaf::CertFacts,
        record::Record,
        request::{Names, Request},
        time::Timestamp,
        verify::{self, Expect, Refusal, Verified},
    },
    publish::{GenerationId, SetOnDisk, ready_file::ReadyFile},
};

/// One valid set.
struct ValidSet {
    verified: Verified,
    generation: GenerationId,
    live: bool,
    origin: IssuedFor,
}

/// Which order it answers.
#[derive(Clone, Debug, Default)]
struct IssuedFor {
    fingerprint: String,
    obtained_at: Option<Timestamp>,
}

/// The live and the staged set.
pub(super) fn adopt(
    sets: &[SetOnDisk],
    state: &Record,
    config: &CertConfig,
    fingerprint: &str,
    now: Timestamp,
) -> (Option<LiveFiles>, Option<StagedFiles>) {
    let mut found: Vec<ValidSet> = sets
        .iter()
        .filter(|set| !is_quarantined(set, state))
        .filter_map(|set| read(set, state, config, fingerprint, now))
        .collect();
    let waiting = take_waiting(&mut found, state, now);
    let live = found
        .into_iter()
        .filter(|set| set.live || set.verified.starts_at() <= now)
        .max_by_key(|set| (set.live, set.generation));
    let live = live.map(|set| LiveFiles {
        verified: set.verified,
        generation: set.generation,
        fingerprint: set.origin.fingerprint,
        obtained_at: set.origin.obtained_at,
    });
    (live, waiting)
}

/// A set that broke the application is not taken up again, whatever a crash left on disk.
fn is_quarantined(set: &SetOnDisk, state: &Record) -> bool {
    let id = set.generation.to_string();
    state.quarantined.iter().any(|one| one.generation == id)
}

/// The set that was to be published next: the recorded one, or one that is newer than the live one
/// (a crash came before it was recorded, or before the switch).
fn take_waiting(found: &mut Vec<ValidSet>, state: &Record, now: Timestamp) -> Option<StagedFiles> {
    let live = found.iter().find(|set| set.live).map(|set| set.generation);
    let recorded = state
        .staged
        .as_ref()
        .map(|staged| staged.generation.as_str());
    let at = found.iter().position(|set| {
        let next = live.is_some_and(|live| set.generation > live);
        !set.live && (next || recorded == Some(set.generation.to_string().as_str()))
    })?;
    let set = found.remove(at);
    Some(StagedFiles {
        verified: set.verified,
        generation: Some(set.generation),
        fingerprint: set.origin.fingerprint,
        obtained_at: set.origin.obtained_at.unwrap_or(now),
        request: None,
    })
}

fn read(
    set: &SetOnDisk,
    state: &Record,
    config: &CertConfig,
    fingerprint: &str,
    now: Timestamp,
) -> Option<ValidSet> {
    match judged(set, state, config, fingerprint, now) {
        Ok(valid) => Some(valid),
        Err(refusal) if set.live => {
            warn!("the certificate files on disk can't be used: {refusal}");
            None
        }
        Err(refusal) => {
            debug!(generation = %set.generation, "not used: {refusal}");
            None
        }
    }
}

/// Why a set on disk can't be used.
pub(in crate::agent) fn refusal(
    set: &SetOnDisk,
    state: &Record,
    config: &CertConfig,
    now: Timestamp,
) -> Option<Refusal> {
    judged(set, state, config, &config.request.fingerprint(), now).err()
}

fn judged(
    set: &SetOnDisk,
    state: &Record,
    config: &CertConfig,
    fingerprint: &str,
    now: Timestamp,
) -> Result<ValidSet, Refusal> {
    let origin = origin(set.generation, state);
    let verified = reread(set, config, origin.fingerprint == fingerprint, now)?;
    Ok(ValidSet {
        verified,
        generation: set.generation,
        live: set.live,
        origin,
    })
}

/// Which order a generation answers: what the record says of it; for a later one that the record
/// does not know, the newest order.
fn origin(generation: GenerationId, state: &Record) -> IssuedFor {
    let id = generation.to_string();
    if let Some(staged) = state
        .staged
        .as_ref()
        .filter(|staged| staged.generation == id)
    {
        return IssuedFor {
            fingerprint: staged.fingerprint.clone(),
            obtained_at: Some(staged.obtained_at),
        };
    }
    match state.generation.as_deref() {
        Some(recorded) if recorded == id => IssuedFor {
            fingerprint: state.fingerprint.clone(),
            obtained_at: state.obtained_at,
        },
        // ids have one length: their order as text is their order in time
        Some(recorded) if recorded < id.as_str() => IssuedFor {
            fingerprint: state.requested.clone(),
            obtained_at: state.requests.newest(),
        },
        None => IssuedFor {
            fingerprint: state.requested.clone(),
            obtained_at: state.requests.newest(),
        },
        Some(_) => IssuedFor::default(),
    }
}

/// The checks of an answer. A set that answers another request than today's is judged by its own
/// names: it stays in use until its successor is there.
pub(super) fn reread(
    set: &SetOnDisk,
    config: &CertConfig,
    todays: bool,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let bundle = verify::reread(&set.ca, &set.cert, &set.key)?;
    let own;
    let request = if todays {
        &config.request
    } else {
        own = request_of(&bundle, &config.request)?;
        &own
    };
    let expect = Expect::of(request);
    verify::verify(bundle, &expect, now)
}

/// The request that asks for exactly what the leaf says.
fn request_of(bundle: &Bundle, todays: &Request) -> Result<Request, Refusal> {
    let facts = CertFacts::read(&bundle.leaf)
        .map_err(|error| Refusal::one("cert-file", format!("cert.pem: {error}")))?;
    Ok(Request {
        names: Names {
            common_name: facts.common_name.unwrap_or_default(),
            dns: facts.names.dns,
            ips: facts.names.ips,
            uris: facts.names.uris,
        },
        key_type: facts.key.kind().unwrap_or(todays.key_type),
        key_type_open: false,
        issuer_sha256: None,
        ..todays.clone()
    })
}

/// What the ready file says of these files.
pub(super) fn ready_file(held: &LiveFiles, config: &CertConfig) -> ReadyFile {
    let leaf = held.verified.leaf();
    let dns = leaf.names.dns.iter().cloned();
    let ips = leaf.names.ips.iter().map(ToString::to_string);
    ReadyFile {
        serial: leaf.serial.clone(),
        not_before: leaf.not_before.to_string(),
        not_after: leaf.not_after.to_string(),
        sha256: leaf.sha256.clone(),
        generation: held.generation.to_string(),
        names: dns.chain(ips).collect(),
        dir: config.files.dir.clone(),
    }
}
