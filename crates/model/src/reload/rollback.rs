//! Back to the generation before, when the application broke on the new one; and keeping the new
//! one away for a while.
//!
//! Never goes back further than one, nor from where it went back to. What stays true: a set in
//! quarantine is never published again, and an issuer that keeps sending sets that break the
//! application is asked a few times before the good one ends, not in a loop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EventKind, Finding, Probed, ReloadPolicy, ReloadRecord};
use crate::time::Timestamp;

/// A hold is never shorter than this.
const SHORTEST_HOLD: Duration = Duration::from_secs(60);
/// So many sets are remembered.
const MOST_KEPT: usize = 16;

/// A set that broke the application. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quarantined {
    /// Its generation id.
    pub generation: String,
    /// Serial of its leaf.
    pub serial: String,
    /// Fingerprint of the request that it answers: another request is another try.
    pub fingerprint: String,
    /// When it was taken back.
    pub at: i64,
    /// What the application did.
    pub why: String,
    /// No set is asked for by the same request before this, unless somebody forces it.
    pub hold_until: i64,
}

/// Whether to go back: the application served the generation before, broke on this one, and the
/// one before lasts for the margin.
pub(super) fn wanted(
    outbox: &ReloadRecord,
    policy: &ReloadPolicy,
    probed: Option<&Probed>,
    now: Timestamp,
) -> bool {
    let (Some(margin), Some(previous)) = (policy.rollback, &outbox.previous) else {
        return false;
    };
    let since = outbox.told_at.unwrap_or(outbox.published_at);
    let broken = probed.is_some_and(|probed| {
        probed.at.unix_millis() >= since && !matches!(probed.finding, Finding::Serves { .. })
    });
    let lasts = Timestamp::from_unix_millis(previous.not_after) > now.plus(margin);
    broken && previous.served && lasts
}

impl ReloadRecord {
    /// Takes the live generation back: the row for the one before, and the record that keeps this
    /// one away. `None` when there is none to go back to. The caller activates it on disk, and
    /// saves both together with that.
    #[must_use]
    pub fn roll_back(
        &self,
        fingerprint: &str,
        why: &str,
        margin: Duration,
        now: Timestamp,
    ) -> Option<(Self, Quarantined)> {
        let previous = self.previous.as_ref()?;
        let good_until = Timestamp::from_unix_millis(previous.not_after).minus(margin);
        let back = Self {
            generation: previous.generation.clone(),
            serial: previous.serial.clone(),
            // It has to load leaf and anchors of then.
            event: EventKind::Trust.max(self.event),
            published_at: now.unix_millis(),
            old_ends_at: Some(previous.not_after),
            ..Self::default()
        };
        let quarantined = Quarantined {
            generation: self.generation.clone(),
            serial: self.serial.clone(),
            fingerprint: fingerprint.to_owned(),
            at: now.unix_millis(),
            why: why.to_owned(),
            hold_until: hold(now, good_until).unix_millis(),
        };
        Some((back, quarantined))
    }
}

/// Half of what is left: each further failure costs half of the rest, so there are few.
fn hold(now: Timestamp, good_until: Timestamp) -> Timestamp {
    now.plus((now.until(good_until) / 2).max(SHORTEST_HOLD))
}

/// Until when no set may be asked for with this request; `None` when nothing stands against it.
#[must_use]
pub fn held_until(
    quarantined: &[Quarantined],
    fingerprint: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    quarantined
        .iter()
        // A record from the future was made before the clock was set back.
        .filter(|one| one.fingerprint == fingerprint && one.at <= now.unix_millis())
        .map(|one| Timestamp::from_unix_millis(one.hold_until))
        .filter(|until| *until > now)
        .max()
}

/// Is it a set that broke the application?
#[must_use]
pub fn is_quarantined(quarantined: &[Quarantined], serial: &str) -> bool {
    quarantined.iter().any(|one| one.serial == serial)
}

/// Adds one and forgets the oldest beyond sixteen.
pub fn quarantine(list: &mut Vec<Quarantined>, one: Quarantined) {
    list.retain(|old| old.serial != one.serial);
    list.push(one);
    let over = list.len().saturating_sub(MOST_KEPT);
    list.drain(..over);
}
