//! What an agent says of itself, as far as it is shown: the reading side of `observe/report.rs`.
//!
//! Never fails for a field that is missing or new: agents of other versions are read too. What stays
//! true: a text from outside is harmless and short in a row.

use serde::Deserialize;

use crate::{
    model::{
        fleet::{self, AnchorRow, LeafRow, Row, RowState, Who},
        foreign::shortened,
        time::Timestamp,
    },
    status::{FailureReport, KeyOriginReport, Moment, ProbePlace},
};

/// Certificates of one agent that are taken for a fact.
const MAX_CERTIFICATES: usize = 256;

/// Anchors of one certificate that are taken for a fact.
const MAX_ANCHORS: usize = 64;

/// Characters of one text.
const MAX_TEXT_CHARS: usize = 200;

/// An agent's answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedAgent {
    pub(crate) version: String,
    pub(crate) instance: String,
    pub(crate) node: String,
    pub(crate) task: String,
    pub(crate) started: Moment,
    pub(crate) now: Moment,
    pub(crate) ready: bool,
    pub(crate) certificates: Vec<ReportedCert>,
}

/// One certificate of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedCert {
    pub(crate) name: String,
    pub(crate) ready: bool,
    pub(crate) reasons: Vec<ReportedReason>,
    pub(crate) degraded: Vec<ReportedReason>,
    pub(crate) trust_warnings: Vec<ReportedReason>,
    pub(crate) events: Vec<ReportedEvent>,
    pub(crate) live: Option<ReportedLive>,
    pub(crate) due: Option<Moment>,
    pub(crate) next: Option<Moment>,
    pub(crate) key_origin: Option<KeyOriginReport>,
    pub(crate) failure: Option<FailureReport>,
    pub(crate) anchors: Vec<ReportedAnchor>,
    pub(crate) app: ReportedApp,
}

/// Something that happened to it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedEvent {
    pub(crate) at: Moment,
    pub(crate) event: String,
    pub(crate) detail: String,
    pub(crate) times: u32,
}

/// A reason that something is wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedReason {
    pub(crate) message: String,
}

/// The published certificate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedLive {
    pub(crate) serial: String,
    pub(crate) issuer: String,
    pub(crate) issuer_sha256: String,
    pub(crate) anchor_sha256: String,
    pub(crate) not_before: Moment,
    pub(crate) not_after: Moment,
    pub(crate) obtained_at: Option<Moment>,
}

/// An anchor in its CA.pem.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedAnchor {
    pub(crate) subject: String,
    pub(crate) sha256: String,
    pub(crate) not_before: Moment,
    pub(crate) loaded: Option<bool>,
}

/// The application.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedApp {
    pub(crate) reload: String,
    pub(crate) serving: String,
    pub(crate) trust_loaded: Option<bool>,
    pub(crate) probe: Option<ProbePlace>,
}

/// A row, and where its application can be looked at.
pub(super) type Seen = (Row, Option<ProbePlace>);

/// The rows of an answer.
///
/// # Errors
/// Why it is none of an agent.
pub(super) fn rows(body: &[u8], who: &Who, now: Timestamp) -> Result<Vec<Seen>, String> {
    let agent: ReportedAgent = serde_json::from_slice(body).map_err(|error| {
        format!(
            "the answer is not certagent's: {}",
            short(&error.to_string())
        )
    })?;
    let count = agent.certificates.len();
    if agent.version.is_empty() || count == 0 {
        return Err("the answer is not certagent's: no version or no certificate in it".to_owned());
    }
    let many = agent
        .certificates
        .iter()
        .any(|one| one.anchors.len() > MAX_ANCHORS);
    if count > MAX_CERTIFICATES || many {
        return Err(format!(
            "the answer lists {count} certificates, or too many anchors: it is not believed"
        ));
    }
    Ok(agent
        .certificates
        .iter()
        .map(|one| seen(&agent, one, who, now))
        .collect())
}

fn seen(agent: &ReportedAgent, one: &ReportedCert, who: &Who, now: Timestamp) -> Seen {
    let leaf = one.live.as_ref().map(|live| LeafRow {
        serial: short(&live.serial),
        issuer: short(&live.issuer),
        issuer_sha256: short(&live.issuer_sha256),
        anchor_sha256: short(&live.anchor_sha256),
        not_before: live.not_before.at(),
        not_after: live.not_after.at(),
        due: one.due.as_ref().map(Moment::at),
        serving: short(&one.app.serving),
    });
    let anchors = one.anchors.iter().map(|anchor| AnchorRow {
        subject: short(&anchor.subject),
        sha256: short(&anchor.sha256),
        not_before: anchor.not_before.at(),
        loaded: anchor.loaded,
    });
    let first = |known: &str, said: &str| short(if known.is_empty() { said } else { known });
    let mut troubles: Vec<String> = one
        .reasons
        .iter()
        .chain(&one.degraded)
        .take(8)
        .map(|one| short(&one.message))
        .collect();
    if troubles.is_empty()
        && let Some(failure) = &one.failure
    {
        troubles.push(short(&failure.message));
    }
    let row = Row {
        state: fleet::state(one.ready, !one.degraded.is_empty(), leaf.as_ref(), now),
        who: Who {
            component: short(&one.name),
            instance: first(&who.instance, &agent.instance),
            node: first(&who.node, &agent.node),
            address: who.address.clone(),
        },
        version: short(&agent.version),
        task: short(&agent.task),
        troubles,
        leaf,
        anchors: anchors.collect(),
        trust_loaded: one.app.trust_loaded,
    };
    (row, one.app.probe.clone())
}

/// A row for a place that gave no rows.
pub(super) fn unseen(who: &Who, why: &str) -> Row {
    Row::unseen(RowState::NoAnswer, who.clone(), short(why))
}

fn short(text: &str) -> String {
    shortened(text, MAX_TEXT_CHARS)
}
