//! What the loop knows about one certificate, as a value that others may watch.
//!
//! As JSON it is what `certagent status -o json` prints. Never read by the loop itself. What stays
//! true: it holds no secret, and every field is set at the same moment as the fact it tells.

mod events;
mod json;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use events::{EventKind, Events, StatusEvent};
pub use json::{FailureReport, ForcedReport, KeyOriginReport, Moment, RevocationReport};
use json::{by_class, failure_run, found, key_origin, moment, moment_or_none, notes, reloads};

use crate::model::{
    failure::{Failure, FailureClass, FailureRun},
    health::IssuerHealth,
    origin::ChosenOrigin,
    reload::ReloadState,
    time::Timestamp,
    trust::TrustNote,
};

/// One certificate as its loop sees it; the newest value is in a `tokio::sync::watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Name of the certificate block.
    pub name: String,
    /// The published certificate; absent until the first success.
    pub live: Option<Live>,
    /// When its renewal is due.
    #[serde(serialize_with = "moment_or_none")]
    pub due: Option<Timestamp>,
    /// When the loop will act next, as decided at its last check.
    #[serde(serialize_with = "moment_or_none")]
    pub next: Option<Timestamp>,
    /// The failures since the last success.
    #[serde(serialize_with = "failure_run")]
    pub failure: Option<FailureRun>,
    /// The newest health check of a Vault that was unavailable, while its return is awaited.
    pub last_health_check: Option<HealthCheck>,
    /// Attempts left before the published certificate expires: by the plan of the present failure, without
    /// one by the plan for a Vault that is unavailable from the due time on.
    pub renewal_attempts_remaining: Option<u32>,
    /// A certificate was issued and is not published yet.
    pub publish_pending: bool,
    /// Its generation, once it is on disk.
    #[serde(skip)]
    pub pending_generation: Option<String>,
    /// Counts since the process started.
    pub counts: Counts,
    /// How often the files were put right in the last ten minutes.
    #[serde(skip)]
    pub repairs_lately: usize,
    /// Why changed files are noticed at intervals only.
    #[serde(skip)]
    pub unwatched: Option<String>,
    /// What is not as it should be on disk and could not be restored at the last check.
    #[serde(skip)]
    pub files: Option<Failure>,
    /// The file of extra anchors can't be used.
    #[serde(skip)]
    pub extra_ca: Option<Failure>,
    /// What a person should know of the anchors.
    #[serde(rename = "trust_warnings", serialize_with = "notes")]
    pub trust: Vec<TrustNote>,
    /// Another agent holds the directory; this one waits to take over.
    #[serde(skip)]
    pub standby: Option<String>,
    /// The limit of issuance requests, and what is used of it.
    pub issuance_limit: Budget,
    /// Where the private keys are made, as far as accepted orders have shown.
    #[serde(serialize_with = "key_origin")]
    pub key_origin: Option<ChosenOrigin>,
    /// How far Vault's clock was ahead of ours at its last answer (negative: behind),
    /// in milliseconds; absent until an answer carried a date.
    pub vault_clock_offset_millis: Option<i64>,
    /// The trust anchors in the published CA.pem, in their order there.
    #[serde(skip)]
    pub anchors: Vec<Anchor>,
    /// The generation with which the set of anchors changed last, as far as this process saw it.
    #[serde(skip)]
    pub anchors_since: String,
    /// What the last manual renewal came to.
    pub manual_renewal: Option<Forced>,
    /// The last things that happened, oldest first.
    pub events: Events,
    /// How the application was reloaded, and what it serves.
    #[serde(skip)]
    pub app: AppStatus,
}

/// What a health check of an unavailable Vault found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// When it began.
    #[serde(serialize_with = "moment")]
    pub at: Timestamp,
    /// Who says that it can serve, or why no address does.
    #[serde(flatten, serialize_with = "found")]
    pub found: Result<IssuerHealth, String>,
}

/// One trust anchor in CA.pem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// Distinguished name.
    pub subject: String,
    /// SHA-256 of its DER form, in hex.
    pub sha256: String,
    /// Start of validity.
    #[serde(serialize_with = "moment")]
    pub not_before: Timestamp,
    /// End of validity.
    #[serde(serialize_with = "moment")]
    pub not_after: Timestamp,
    /// The generation that brought it, as far as this process saw it.
    #[serde(skip)]
    pub since: String,
}

/// The answer to the wish for a renewal that is not due; wishes made together have one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "ForcedReport")]
pub struct Forced {
    /// Counts the answers of this process, from 1.
    pub number: u64,
    /// When it was known.
    pub at: Timestamp,
    /// The new serial, or why there is none: the published certificate and its schedule stay then.
    pub outcome: Result<String, Failure>,
    /// The old certificates that were to be revoked.
    pub revoked: Vec<Revocation>,
}

/// What came of revoking an old certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its serial number.
    pub serial: String,
    /// The certificate, PEM: what is needed to revoke it by hand.
    pub certificate: String,
    /// Whether it is revoked.
    pub outcome: Result<(), Failure>,
}

/// The application that uses the certificate files: its reloads, and what it was seen to serve. Empty
/// where neither a reload nor a probe is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AppStatus {
    /// A probe is configured: a generation counts as served only when a probe saw it.
    pub probed: bool,
    /// Where and how the probe looks.
    pub probe: Option<ProbePlace>,
    /// Whether the application was reloaded for the published generation.
    pub reload: ReloadState,
    /// The newest reload.
    #[serde(skip)]
    pub last_reload: Option<LastReload>,
    /// The newest generation for which a reload succeeded.
    #[serde(skip)]
    pub reloaded: Option<String>,
    /// Up to which generation the application has loaded the anchors.
    #[serde(skip)]
    pub trust: LoadedTrust,
    /// The newest probe that saw a published generation for the first time.
    #[serde(skip)]
    pub last_verified: Option<LastVerified>,
    /// The newest probe, whatever came of it.
    pub last_probe: Option<LastProbe>,
    /// Why the published certificate is not served although every action was tried.
    pub reload_exhausted: Option<String>,
    /// The generation that was rolled back; it is not published again.
    pub rollback_active: Option<String>,
    /// Rollbacks since the process started.
    pub rollbacks: u64,
    /// Reloads since the process started, by action and outcome (`ok` or a failure's code).
    #[serde(serialize_with = "reloads")]
    pub reloads: BTreeMap<(&'static str, &'static str), u64>,
    /// Probes since the process started, by outcome (`ok`, `other` or a failure's code).
    pub probes: BTreeMap<&'static str, u64>,
}

/// Where and how a probe looks, so that it can be looked at from elsewhere too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented in config::ProbeTarget")]
pub struct ProbePlace {
    pub address: String,
    pub server_name: String,
    pub alpn: Vec<String>,
    /// `postgres` or `smtp`.
    pub starttls: Option<String>,
}

/// Up to which generation the application has loaded the anchors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LoadedTrust {
    /// Not known: it is neither reloaded nor probed, or nothing has been looked at yet.
    #[default]
    Unknown,
    /// None that this process has seen.
    None,
    /// All of this generation, and of those before.
    UpTo(String),
}

impl LoadedTrust {
    /// Whether an anchor is loaded that came with (or a set that has been as it is since) `generation`.
    #[must_use]
    pub fn includes(&self, generation: &str) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::None => Some(false),
            Self::UpTo(last) => Some(last.as_str() >= generation),
        }
    }
}

/// One reload of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// The generation.
    pub generation: String,
    /// When the last attempt began.
    pub at: Timestamp,
    /// Attempts of this action that reached the application, or may have.
    pub times: u32,
    /// What the last attempt came to, with the reason of a failure; none while it is under way, or when
    /// certagent was restarted meanwhile.
    pub outcome: Option<Result<(), String>>,
}

/// The application was seen to serve a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastVerified {
    /// The generation.
    pub generation: String,
    /// When it was seen first.
    pub at: Timestamp,
}

/// One probe of what the application serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastProbe {
    /// When.
    #[serde(serialize_with = "moment")]
    pub at: Timestamp,
    /// `ok`, `other` (another certificate) or a failure's code.
    pub outcome: &'static str,
    /// The serial that was served, lower-case hex with colons.
    pub serial: Option<String>,
    /// What was wrong, for people.
    pub message: Option<String>,
}

/// The published certificate files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Generation id that `..data` points at.
    pub generation: String,
    /// Serial number, lower-case hex with colons.
    pub serial: String,
    /// Distinguished name of the CA that signed it.
    pub issuer: String,
    /// SHA-256 of that CA's certificate, in hex.
    pub issuer_sha256: String,
    /// SHA-256 of the anchor that its chain ends in, in hex.
    pub anchor_sha256: String,
    /// Start of validity.
    #[serde(serialize_with = "moment")]
    pub not_before: Timestamp,
    /// End of validity.
    #[serde(serialize_with = "moment")]
    pub not_after: Timestamp,
    /// When the certificate came from Vault; unknown when the record was lost.
    #[serde(serialize_with = "moment_or_none")]
    pub obtained_at: Option<Timestamp>,
}

/// Counts since the process started; none ever goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Logins at Vault, of all certificates together.
    #[serde(skip)]
    pub logins: u64,
    /// Issuance requests sent to Vault.
    pub issuance_requests: u64,
    /// Health checks of Vault while it was unavailable.
    pub health_checks: u64,
    /// Generations published, for whatever reason.
    pub published: u64,
    /// Times that changed files were restored.
    pub repairs: u64,
    /// Failed attempts.
    pub failures: u64,
    /// The same by class, in the order of [`FailureClass::ALL`].
    #[serde(serialize_with = "by_class")]
    pub failures_by_class: [u64; FailureClass::ALL.len()],
}

/// Which certificate the application serves, as far as probes showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Serving {
    /// The published one.
    Current,
    /// Another one: the last probe saw it.
    Old,
    /// No probe is configured, or none has seen a certificate.
    Unknown,
}

impl Counts {
    /// Counts one more failed attempt.
    pub(crate) fn fail(&mut self, class: FailureClass) {
        self.failures += 1;
        let mut all = FailureClass::ALL.iter().zip(&mut self.failures_by_class);
        if let Some((_, count)) = all.find(|(one, _)| **one == class) {
            *count += 1;
        }
    }
}

/// The issuance limit as of the last check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Requests allowed per hour that are not due, or bring nothing.
    pub per_hour: u32,
    /// Those of the last hour.
    pub used: u32,
    /// Answers of the last hour that were refused.
    #[serde(skip)]
    pub refused: u32,
    /// When the next one is allowed, while the limit is reached.
    #[serde(serialize_with = "moment_or_none")]
    pub free_at: Option<Timestamp>,
    /// How many an hour the published certificate's life takes, when that is more than the
    /// configured limit.
    #[serde(skip)]
    pub needed: Option<u32>,
}

impl Status {
    /// The status of a certificate that nothing is known about yet.
    #[must_use]
    pub fn new(name: &str, per_hour: u32) -> Self {
        Self {
            name: name.to_owned(),
            live: None,
            due: None,
            next: None,
            failure: None,
            last_health_check: None,
            renewal_attempts_remaining: None,
            publish_pending: false,
            pending_generation: None,
            counts: Counts::default(),
            repairs_lately: 0,
            unwatched: None,
            files: None,
            standby: None,
            extra_ca: None,
            trust: Vec::new(),
            issuance_limit: Budget {
                per_hour,
                ..Budget::default()
            },
            key_origin: None,
            vault_clock_offset_millis: None,
            anchors: Vec::new(),
            anchors_since: String::new(),
            manual_renewal: None,
            events: Events::default(),
            app: AppStatus::default(),
        }
    }
}

impl Status {
    /// Whether there is a set, live or waiting for its start.
    pub(crate) fn usable(&self) -> bool {
        self.live.is_some() || self.publish_pending
    }

    /// How the first start has failed so far; `None` when it has not, or nothing has happened yet.
    #[must_use]
    pub fn failed_with(&self) -> Option<FailureClass> {
        if self.usable() {
            return None;
        }
        let failure = self.failure.as_ref().map(|run| run.last.class);
        failure.or_else(|| {
            self.issuance_limit
                .free_at
                .map(|_| FailureClass::IssuanceLimit)
        })
    }

    /// Whether it is known how the first start went.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.usable() || self.failed_with().is_some()
    }
}
