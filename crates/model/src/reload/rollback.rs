//! Back to the generation before, when the application broke on the new one; and keeping the new
//! one away for a while.
//!
//! Never goes back further than one, nor from where it went back to. What stays true: a set in
//! quarantine is never published again, and an issuer that keeps sending sets that break the
//! application is asked a few times before the good one ends, not in a loop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EventKind, Finding, Probed, Publication, ReloadPolicy, ReloadRecord};
use crate::time::Timestamp;

/// A hold is never shorter than this.
const MIN_HOLD: Duration = Duration::from_secs(60);
/// So many sets are remembered.
const MAX_KEPT: usize = 16;

/// A set that broke the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its generation id.
    pub generation: String,
    /// Serial of its leaf.
    pub serial: String,
    /// Fingerprint of the request that it answers: another request is another try.
    pub fingerprint: String,
    /// When it was taken back.
    pub at: Timestamp,
    /// What the application did.
    pub why: String,
    /// No set is asked for by the same request before this, unless a person forces it.
    pub hold_until: Timestamp,
}

/// Whether to go back: the application served the generation before, broke on this one, and the
/// one before lasts for the margin.
pub(super) fn wanted(
    record: &ReloadRecord,
    policy: &ReloadPolicy,
    probed: Option<&Probed>,
    now: Timestamp,
) -> bool {
    let (Some(margin), Some(previous)) = (policy.rollback, &record.about.previous) else {
        return false;
    };
    let broken = probed.is_some_and(|probed| {
        probed.at >= record.since() && !matches!(probed.finding, Finding::Serves { .. })
    });
    broken && previous.served && previous.not_after > now.plus(margin)
}

impl ReloadRecord {
    /// Takes the live generation back: the record for the one before, and the one that keeps this
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
        let previous = self.about.previous.as_ref()?;
        let about = Publication {
            generation: previous.generation.clone(),
            serial: previous.serial.clone(),
            // It has to load leaf and anchors of then.
            event: EventKind::Trust.max(self.about.event),
            ..Publication::default()
        };
        let back = Self {
            old_expires_at: Some(previous.not_after),
            ..Self::announced(about, now)
        };
        let quarantined = Quarantined {
            generation: self.about.generation.clone(),
            serial: self.about.serial.clone(),
            fingerprint: fingerprint.to_owned(),
            at: now,
            why: why.to_owned(),
            hold_until: hold(now, previous.not_after.minus(margin)),
        };
        Some((back, quarantined))
    }
}

/// Half of what is left: each further failure costs half of the rest, so there are few.
fn hold(now: Timestamp, good_until: Timestamp) -> Timestamp {
    now.plus((now.until(good_until) / 2).max(MIN_HOLD))
}

impl Quarantined {
    /// Whether it still stands against another try. A record from the future was made before the
    /// clock was set back.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.at <= now && self.hold_until > now
    }
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
        .filter(|one| one.fingerprint == fingerprint && one.holds(now))
        .map(|one| one.hold_until)
        .max()
}

/// Adds one and forgets the oldest beyond sixteen.
pub fn quarantine(list: &mut Vec<Quarantined>, one: Quarantined) {
    list.retain(|old| old.serial != one.serial);
    list.push(one);
    let over = list.len().saturating_sub(MAX_KEPT);
    list.drain(..over);
}
