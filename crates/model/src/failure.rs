//! What can go wrong on the way to a certificate, by what to do about it.
//!
//! Never carries a foreign error type. What stays true: the class alone selects the retry plan
//! (`retry.rs`) and the exit code (`Exit::from`); the text is for people.

use std::{fmt, time::Duration};

use crate::time::Timestamp;

/// One plan of retries, one metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// No answer: refused, reset, timed out, bad TLS, name not found.
    Transport,
    /// The issuer asked for fewer requests (429, quota), perhaps with Retry-After.
    Throttled,
    /// The issuer is there but not serving: sealed, standby, electing, 5xx.
    Unavailable,
    /// Vault knows us and says no (403), or the login was refused.
    Denied,
    /// The request can't succeed until the role is changed, the mount or our configuration.
    Misconfigured,
    /// The issuer answered with something that verification refuses.
    BadAnswer,
    /// Our own machine: disk, permissions, key generation.
    Local,
    /// The issuance limit is reached; nothing was sent.
    IssuanceLimit,
}

impl FailureClass {
    /// All classes, for metrics and documentation.
    pub const ALL: [Self; 8] = [
        Self::Transport,
        Self::Throttled,
        Self::Unavailable,
        Self::Denied,
        Self::Misconfigured,
        Self::BadAnswer,
        Self::Local,
        Self::IssuanceLimit,
    ];

    /// Vault can't be reached, or takes no requests at the moment: it says nothing about the request.
    #[must_use]
    pub fn is_absence(self) -> bool {
        matches!(self, Self::Transport | Self::Throttled | Self::Unavailable)
    }

    /// The name used in logs, metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Misconfigured => "misconfigured",
            Self::BadAnswer => "bad_answer",
            Self::Local => "local",
            Self::IssuanceLimit => "issuance_limit",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One failed attempt: what was tried, where, why, what to do next; never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Selects the retry plan.
    pub class: FailureClass,
    /// A short stable code, as `ip-missing` or `permission-denied`; the metric and JSON name.
    pub code: String,
    /// What was tried, where, and why it failed: lower case, no full stop.
    pub message: String,
    /// What the reader can do about it, when we know.
    pub hint: Option<String>,
    /// When the issuer asked us to come back, counted from the moment of the answer.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// One of this machine or its configuration, without a hint.
    #[must_use]
    pub fn local(code: &str, message: String) -> Self {
        Self {
            class: FailureClass::Local,
            code: code.to_owned(),
            message,
            hint: None,
            retry_after: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Failures without a success between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRun {
    /// The newest of them.
    pub last: Failure,
    /// How many in a row, up to the newest, have had its class.
    pub count: u32,
    /// How many in a row have failed, whatever their class.
    pub total: u32,
    /// When the newest one happened.
    pub at: Timestamp,
}

impl FailureRun {
    /// The run that `previous` has become by another failure at `at`.
    #[must_use]
    pub fn after(previous: Option<&Self>, last: Failure, at: Timestamp) -> Self {
        let same = previous.filter(|run| run.last.class == last.class);
        Self {
            count: same.map_or(0, |run| run.count).saturating_add(1),
            total: previous.map_or(0, |run| run.total).saturating_add(1),
            last,
            at,
        }
    }
}
