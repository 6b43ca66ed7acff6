//! A token and its lease.
//!
//! Counts with tokio's monotonic clock, because a lease is a span and not a time of day. Never
//! trusts a lease to hold: Vault may revoke a token at any time.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use serde::{Deserialize, de::IgnoredAny};
use tokio::time::Instant;

use crate::model::{answer::whole, secret::Secret};

/// A token is not used any more when less than one in this many parts of its lease is left.
const MIN_LEASE_DIVISOR: u32 = 20;

/// A lease that is longer, or has no end that can be written down, counts as this: ten years.
const MAX_LEASE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Vault's token with what is known of its lease.
/// Vault, "Tokens": lease, period, number of uses.
pub struct Token {
    secret: Secret,
    /// Names the token in Vault's audit log; no secret.
    accessor: String,
    /// How long it lives from `since`; none when it has no end, or none is known.
    lease: Option<Duration>,
    renewable: bool,
    batch: bool,
    /// Requests it is still good for; `u32::MAX` when unlimited.
    uses: AtomicU32,
    /// A certificate hangs on it (role with `generate_lease`).
    leased: AtomicBool,
    /// Vault has answered a request with it.
    accepted: AtomicBool,
    since: Instant,
    first: Instant,
}

#[derive(Deserialize)]
struct AuthBlock {
    client_token: String,
    /// Vault, "Login MFA": there instead of a token.
    #[serde(default)]
    mfa_requirement: Option<IgnoredAny>,
    #[serde(default)]
    accessor: String,
    #[serde(default, deserialize_with = "whole")]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    token_type: String,
    #[serde(default, deserialize_with = "whole")]
    num_uses: u32,
}

#[derive(Deserialize)]
struct Envelope<T> {
    auth: Option<T>,
}

#[derive(Deserialize)]
struct LeaseRenewal {
    #[serde(default, deserialize_with = "whole")]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct LookupEnvelope {
    data: Lookup,
}

#[derive(Deserialize)]
struct Lookup {
    #[serde(default, deserialize_with = "whole")]
    ttl: u64,
    #[serde(default)]
    accessor: String,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    r#type: String,
    #[serde(default, deserialize_with = "whole")]
    num_uses: u32,
}

/// The lease that an answer to `auth/token/renew-self` grants, and whether there can be another.
/// Vault API, "Renew a token (self)".
pub(crate) fn parse_renewal(body: &[u8]) -> Option<(Duration, bool)> {
    let renewal = serde_json::from_slice::<Envelope<LeaseRenewal>>(body)
        .ok()?
        .auth?;
    Some((
        Duration::from_secs(renewal.lease_duration).min(MAX_LEASE),
        renewal.renewable,
    ))
}

impl Token {
    /// From the answer to a login. None when there is no usable token in it; the reason holds no
    /// text of the body.
    pub(crate) fn from_login(body: &[u8], now: Instant) -> Result<Self, &'static str> {
        let envelope: Envelope<AuthBlock> =
            serde_json::from_slice(body).map_err(|_| "the answer is no login answer")?;
        let auth = envelope.auth.ok_or("the answer contains no token")?;
        let secret = Secret::new(auth.client_token);
        if secret.is_empty() && auth.mfa_requirement.is_some() {
            return Err(
                "this login demands MFA, which a program cannot answer: take the auth mount out of \
                 the MFA enforcement, or use another login",
            );
        }
        if secret.is_empty() || !secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the answer's token is empty or contains invalid characters");
        }
        Ok(Self {
            secret,
            accessor: auth.accessor,
            lease: lease(auth.lease_duration),
            renewable: auth.renewable,
            batch: auth.token_type == "batch",
            uses: AtomicU32::new(unlimited(auth.num_uses)),
            leased: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
            since: now,
            first: now,
        })
    }

    /// A token that was given to us; its lease is not known yet.
    pub(crate) fn given(secret: Secret, now: Instant) -> Self {
        Self {
            secret,
            accessor: String::new(),
            lease: None,
            renewable: false,
            batch: false,
            uses: AtomicU32::new(u32::MAX),
            leased: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
            since: now,
            first: now,
        }
    }

    /// The same token with what `auth/token/lookup-self` says of it; itself when that is junk.
    pub(crate) fn looked_up(&self, body: &[u8], now: Instant) -> Self {
        let mut token = self.copy();
        if let Ok(LookupEnvelope { data }) = serde_json::from_slice(body) {
            token.lease = lease(data.ttl);
            token.renewable = data.renewable;
            token.batch = data.r#type == "batch";
            token.accessor = data.accessor;
            token.uses = AtomicU32::new(unlimited(data.num_uses));
            token.since = now;
        }
        token
    }

    /// The same token with a new lease.
    pub(crate) fn renewed(&self, lease: Duration, renewable: bool, now: Instant) -> Self {
        let mut token = self.copy();
        token.lease = Some(lease);
        token.renewable = renewable;
        token.since = now;
        token
    }

    /// The same token, not to be renewed any more.
    pub(crate) fn kept_as_is(&self) -> Self {
        let mut token = self.copy();
        token.renewable = false;
        token
    }

    /// Counts its age from when the other was had.
    pub(crate) fn keep_age(&mut self, other: &Self) {
        self.first = other.first;
    }

    fn copy(&self) -> Self {
        Self {
            secret: self.secret.clone(),
            accessor: self.accessor.clone(),
            uses: AtomicU32::new(self.uses.load(Ordering::Relaxed)),
            leased: AtomicBool::new(self.holds_lease()),
            accepted: AtomicBool::new(self.was_accepted()),
            ..*self
        }
    }

    /// The token itself.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Names it in Vault's audit log; empty when not known.
    #[must_use]
    pub fn accessor(&self) -> &str {
        &self.accessor
    }

    /// How long it lives from when it was had; none when it has no end.
    #[must_use]
    pub fn lease(&self) -> Option<Duration> {
        self.lease
    }

    /// What is left of the lease; none when it has no end.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let lived = now.saturating_duration_since(self.since);
        self.lease.map(|lease| lease.saturating_sub(lived))
    }

    /// True while it is worth sending: it has uses and more than a twentieth of its lease left.
    pub(crate) fn usable(&self, now: Instant) -> bool {
        let fresh = match (self.lease, self.left(now)) {
            (Some(lease), Some(left)) => left.saturating_mul(MIN_LEASE_DIVISOR) > lease,
            _ => true,
        };
        fresh && self.uses.load(Ordering::Relaxed) > 0
    }

    /// True for a few seconds after the login: a lagging standby may not know it yet.
    pub(crate) fn just_had(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.first) < Duration::from_secs(10)
    }

    /// When to renew it: two thirds into the lease. None when that can't be done or is not needed.
    pub(crate) fn renew_at(&self) -> Option<Instant> {
        if !self.renewable || self.batch || !self.is_unlimited() {
            return None;
        }
        let third = self.lease?.checked_div(3)?;
        let wait = third.saturating_mul(2).max(Duration::from_secs(1));
        self.since.checked_add(wait)
    }

    /// True when its uses are not counted.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.uses.load(Ordering::Relaxed) == u32::MAX
    }

    /// Counts one request against a limited number of uses.
    pub(crate) fn used(&self) {
        let fewer = |uses| (uses != u32::MAX).then_some(u32::saturating_sub(uses, 1));
        let _ = self
            .uses
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
    }

    /// Vault knows it.
    pub(crate) fn note_accepted(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// A certificate was issued whose lease ends with this token.
    pub(crate) fn note_lease(&self) {
        self.leased.store(true, Ordering::Relaxed);
    }

    /// True when revoking it, or letting it end, revokes a certificate.
    pub(crate) fn holds_lease(&self) -> bool {
        self.leased.load(Ordering::Relaxed)
    }

    /// True when Vault lets it be revoked, and nothing hangs on it.
    pub(crate) fn revocable(&self, now: Instant) -> bool {
        !self.batch && !self.holds_lease() && self.usable(now)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Token(accessor {}, lease {:?})",
            self.accessor, self.lease
        )
    }
}

/// Zero means that it never ends.
fn lease(secs: u64) -> Option<Duration> {
    (secs > 0).then(|| Duration::from_secs(secs).min(MAX_LEASE))
}

/// Zero means as many as you like.
fn unlimited(uses: u32) -> u32 {
    if uses == 0 { u32::MAX } else { uses }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_in_any_notation_of_its_number() {
        for number in ["3600", "3600.0", "3.6e3", "360000e-2"] {
            let body = format!(
                "{{\"auth\":{{\"client_token\":\"s.t\",\"lease_duration\":{number},\"num_uses\":2.0}}}}"
            );
            let token = Token::from_login(body.as_bytes(), Instant::now()).unwrap();
            assert_eq!(token.lease(), Some(Duration::from_secs(3600)), "{number}");
            let body = format!("{{\"data\":{{\"ttl\":{number}}}}}");
            let token = token.looked_up(body.as_bytes(), Instant::now());
            assert_eq!(token.lease(), Some(Duration::from_secs(3600)), "{number}");
            let body = format!("{{\"auth\":{{\"lease_duration\":{number}}}}}");
            let renewed = parse_renewal(body.as_bytes()).map(|(lease, _)| lease);
            assert_eq!(renewed, Some(Duration::from_secs(3600)), "{number}");
        }
        for number in ["-1", "0.5", "1e300", "\"60\"", "null"] {
            let body =
                format!("{{\"auth\":{{\"client_token\":\"s.t\",\"lease_duration\":{number}}}}}");
            assert!(
                Token::from_login(body.as_bytes(), Instant::now()).is_err(),
                "{number}"
            );
        }
    }

    #[test]
    fn a_login_that_demands_mfa_says_so() {
        let body = br#"{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"x"}}}"#;
        let why = Token::from_login(body, Instant::now()).err().unwrap();
        assert!(why.contains("demands MFA"), "{why}");
        let body = br#"{"auth":{"client_token":"","mfa_requirement":null}}"#;
        let why = Token::from_login(body, Instant::now()).err().unwrap();
        assert!(why.contains("empty"), "{why}");
    }
}
