//! When a certificate is due: share of real life minus a stable splay, and how that came about.
//!
//! Never reads a clock and never draws a random number: the splay is a hash, the same after a
//! restart. What stays true: a certificate that was still valid when it came is due strictly after
//! it came and before it ends, so that no answer of an issuer can make a loop out of renewing.

use std::{fmt, time::Duration};

use aws_lc_rs::digest;

use crate::{
    issuance_limit::{IssuanceLimit, WINDOW},
    time::Timestamp,
};

/// The share of life after which a certificate is renewed when nothing else is configured.
pub const DEFAULT_SHARE: f64 = 2.0 / 3.0;

/// No renewal is due sooner than this after the certificate came, unless half its life is shorter.
const MIN_INTERVAL: Duration = Duration::from_secs(2);

/// A certificate that ends sooner leaves no time for a second attempt.
const SHORTEST_REST: Duration = Duration::from_secs(5);

/// At least this is left of a certificate when it is due, unless a third of its life is shorter.
const SAFETY_MARGIN: Duration = Duration::from_secs(10);

/// When to renew, and how much may be asked for.
#[derive(Clone, Debug)]
pub struct RenewPolicy {
    /// The renewal point before splay.
    pub at: RenewAt,
    /// Widest span before the renewal point over which allocations spread; capped to life / 10.
    pub splay: Duration,
    /// Seed of the splay: allocation id and certificate name, so that a restart moves nothing.
    pub splay_seed: String,
    /// A certificate with less than this left is refused at publication.
    pub min_remaining: MinRemaining,
    /// Most requests in an hour that are not due, or bring nothing.
    pub max_issuances_per_hour: IssuanceLimit,
    /// How long the first start may continue to fail before the process exits with the failure's code.
    pub startup_timeout: Duration,
}

/// How much must be left of a certificate that is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinRemaining {
    /// Written in the configuration.
    Configured(Duration),
    /// A twentieth of the life that is received, at least five seconds and at most this: a role or
    /// a CA that cuts the life short must not have every answer refused.
    Derived(Duration),
}

impl MinRemaining {
    /// What must be left of a certificate of this validity.
    #[must_use]
    pub fn of(self, validity: Validity) -> Duration {
        match self {
            Self::Configured(span) => span,
            Self::Derived(most) => (validity.life() / 20).max(SHORTEST_REST).min(most),
        }
    }
}

/// The renewal point before splay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RenewAt {
    /// This share of the real lifetime has passed; between 0.1 and 0.95.
    Share(f64),
    /// This long before notAfter; falls back to a share of 2/3 when life is shorter than twice it.
    Before(Duration),
}

/// From when until when a certificate says it is valid (RFC 5280, section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
}

impl Validity {
    /// From `notBefore` to `notAfter`; zero when they are the wrong way round.
    #[must_use]
    pub fn life(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// What is left at `now`; zero after the end.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Duration {
        self.not_after.since(now)
    }
}

/// From which moment the certificate's life is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// `notBefore`: it is not known when the certificate came, or it came before it was valid.
    NotBefore,
    /// When it came. Vault dates `notBefore` 30 s back (`not_before_duration`), and a proxy may
    /// hand out an older leaf: counted from `notBefore`, such a leaf could be due when it comes.
    Obtained,
}

impl Basis {
    /// The name used in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotBefore => "not_before",
            Self::Obtained => "obtained_at",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What moved the due time away from what was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clamp {
    /// Life is shorter than twice the configured time before the end: the default share applies.
    BeforeTooLong,
    /// Moved forward to leave time for retries before the end.
    SafetyMargin,
    /// Moved back, as renewing that soon would need more requests than the issuance limit.
    ShortestInterval,
}

impl Clamp {
    /// The name used in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeTooLong => "before_too_long",
            Self::SafetyMargin => "safety_margin",
            Self::ShortestInterval => "shortest_interval",
        }
    }
}

impl fmt::Display for Clamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When a certificate is to be renewed, with every input and every step in between.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The result: renew at this moment.
    pub at: Timestamp,
    /// What the certificate says.
    pub validity: Validity,
    /// When it came from Vault, where known.
    pub obtained_at: Option<Timestamp>,
    /// `notAfter` less `notBefore`.
    pub life: Duration,
    /// What `counted_from` is.
    pub basis: Basis,
    /// The moment the counted life begins.
    pub counted_from: Timestamp,
    /// `notAfter` less `counted_from`; shares are taken of this.
    pub counted_life: Duration,
    /// The rule that was used; differs from the configured one only with [`Clamp::BeforeTooLong`].
    pub rule: RenewAt,
    /// The renewal point before splay and clamps.
    pub point: Timestamp,
    /// The window over which allocations spread, ending at `point`: at most the configured splay,
    /// a tenth of the counted life, and half of the way from its beginning to `point`.
    pub window: Duration,
    /// This allocation's share of the window; `at` is this much before `point`.
    pub splay: Duration,
    /// What else moved `at`, in the order it was applied.
    pub clamps: Vec<Clamp>,
}

/// When a certificate with this validity, which came at `obtained_at`, is due under `policy`.
///
/// A certificate that had already expired when it came is due at once; it is refused, and refused
/// answers are paced.
#[must_use]
pub fn due(validity: Validity, obtained_at: Option<Timestamp>, policy: &RenewPolicy) -> Due {
    let (basis, counted_from) = match obtained_at {
        Some(at) if at > validity.not_before => (Basis::Obtained, at.min(validity.not_after)),
        _ => (Basis::NotBefore, validity.not_before),
    };
    let counted_life = validity.not_after.since(counted_from);
    let mut clamps = Vec::new();

    let rule = match policy.at {
        RenewAt::Before(before) if counted_life < before.saturating_mul(2) => {
            clamps.push(Clamp::BeforeTooLong);
            RenewAt::Share(DEFAULT_SHARE)
        }
        rule => rule,
    };
    let point = match rule {
        RenewAt::Share(share) => counted_from.plus(part(counted_life, share)),
        RenewAt::Before(before) => validity.not_after.minus(before),
    };
    let window = policy
        .splay
        .min(counted_life / 10)
        .min(point.since(counted_from) / 2);
    let splay = part(window, fraction("splay", &policy.splay_seed, 0));
    let mut at = point.minus(splay);

    let latest = validity.not_after.minus(margin(counted_life));
    if at > latest {
        at = latest;
        clamps.push(Clamp::SafetyMargin);
    }
    let per_hour = policy.max_issuances_per_hour.per_hour(Some(counted_life));
    let earliest = counted_from.plus(shortest_interval(counted_life, per_hour));
    if at < earliest {
        at = earliest;
        clamps.push(Clamp::ShortestInterval);
    }
    Due {
        at,
        validity,
        obtained_at,
        life: validity.life(),
        basis,
        counted_from,
        counted_life,
        rule,
        point,
        window,
        splay,
        clamps,
    }
}

/// A hundredth of life and at least ten seconds, but never more than a third of life.
fn margin(life: Duration) -> Duration {
    (life / 100).max(SAFETY_MARGIN).min(life / 3)
}

impl Due {
    /// How many renewals an hour this schedule makes.
    #[must_use]
    pub fn renewals_per_hour(&self) -> u32 {
        let interval = self.at.since(self.counted_from).as_millis().max(1);
        u32::try_from(WINDOW.as_millis().div_ceil(interval)).unwrap_or(u32::MAX)
    }

    /// As [`Due::renewals_per_hour`], when that is more than what is configured.
    #[must_use]
    pub fn over_limit(&self, limit: IssuanceLimit) -> Option<u32> {
        let needed = self.renewals_per_hour();
        (needed > limit.per_hour(Some(self.counted_life))).then_some(needed)
    }
}

/// Renewing this often stays within the limit; at most half of life, so that a tight limit can't
/// make a renewal late.
fn shortest_interval(life: Duration, per_hour: u32) -> Duration {
    let even = WINDOW / per_hour.max(1);
    even.max(MIN_INTERVAL).min(life / 2)
}

/// `share` of `whole`, in whole milliseconds.
fn part(whole: Duration, share: f64) -> Duration {
    let millis = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    // The cast saturates, and makes zero of NaN and of anything negative.
    Duration::from_millis(((millis as f64) * share) as u64)
}

/// A number in [0, 1) that depends on its inputs alone and is uniform over `key` and `count`.
#[must_use]
pub fn fraction(purpose: &str, key: &str, count: u64) -> f64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(purpose.as_bytes());
    hash.update(&[0]);
    hash.update(key.as_bytes());
    hash.update(&[0]);
    hash.update(&count.to_be_bytes());
    let hash = hash.finish();
    let top = hash
        .as_ref()
        .iter()
        .take(6)
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    // 48 bits fit a double exactly, so the result is always below one.
    top as f64 / (1_u64 << 48) as f64
}

#[cfg(test)]
mod tests;
