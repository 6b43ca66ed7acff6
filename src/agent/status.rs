//! What the loop knows about one certificate, as a value that others may watch.
//!
//! Never read by the loop itself. What stays true: it holds no secret, and every field is set at
//! the same moment as the fact it tells.

use crate::model::{
    failure::{FailureClass, FailureRun},
    time::Timestamp,
};

/// One certificate as its loop sees it; the newest value is in a `tokio::sync::watch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Name of the certificate block.
    pub name: String,
    /// What is published; absent until the first success.
    pub live: Option<Live>,
    /// When the published set is due for renewal.
    pub due: Option<Timestamp>,
    /// When the loop will act next, as decided at its last look.
    pub next: Option<Timestamp>,
    /// The failures since the last success.
    pub failure: Option<FailureRun>,
    /// Attempts left before the published set expires, by the plan of the present failure.
    pub runway: Option<u32>,
    /// A complete set was issued and is not live yet.
    pub staged: bool,
    /// Counts since the process started.
    pub counts: Counts,
    /// The issuance budget.
    pub budget: Budget,
    /// How far the issuer's clock was ahead of ours at its last answer (negative: behind),
    /// in milliseconds; absent until an answer carried a date.
    pub issuer_ahead_millis: Option<i64>,
    /// Number of trust anchors in the published CA.pem.
    pub anchors: usize,
}

/// The published set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Generation id that `..data` points at.
    pub generation: String,
    /// Serial number, lower-case hex with colons.
    pub serial: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// When the leaf came back from the issuer; unknown when the record was lost.
    pub obtained_at: Option<Timestamp>,
}

/// Counts since the process started; none ever goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders sent to the issuer.
    pub orders: u64,
    /// Sets made live, for whatever reason.
    pub published: u64,
    /// Times that files were put right after somebody changed them.
    pub repairs: u64,
    /// Failed attempts.
    pub failures: u64,
}

/// The issuance budget as of the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Issuances allowed per hour.
    pub per_hour: u32,
    /// Issuances in the last hour.
    pub used: u32,
    /// When the next one is allowed, while the budget is used up.
    pub free_at: Option<Timestamp>,
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
            runway: None,
            staged: false,
            counts: Counts::default(),
            budget: Budget {
                per_hour,
                ..Budget::default()
            },
            issuer_ahead_millis: None,
            anchors: 0,
        }
    }
}

impl Status {
    /// Whether there is a set, live or waiting for its start.
    pub(super) fn usable(&self) -> bool {
        self.live.is_some() || self.staged
    }

    /// How the first start has failed so far; `None` when it has not, or nothing has happened yet.
    pub(super) fn failed_with(&self) -> Option<FailureClass> {
        if self.usable() {
            return None;
        }
        let failure = self.failure.as_ref().map(|run| run.last.class);
        failure.or_else(|| self.budget.free_at.map(|_| FailureClass::Budget))
    }

    /// Whether it is known how the first start went.
    pub(super) fn settled(&self) -> bool {
        self.usable() || self.failed_with().is_some()
    }
}
