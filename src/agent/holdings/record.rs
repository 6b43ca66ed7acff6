//! The row about the live generation: what the application was told of it; and the way back to the
//! generation before.
//!
//! Never tells anybody. What stays true: a live generation has its row in the same write of the
//! record; a generation that broke the application is on record as such before it is taken back.

use super::{Holdings, LiveFiles, read, valid};
use crate::{
    agent::log,
    config::CertConfig,
    model::{
        failure::{Failure, FailureClass},
        leaf::CertFacts,
        pem,
        reload::{self, EventKind, Previous, Publication, Quarantined, ReloadRecord},
        state::{StagedRecord, State},
        time::Timestamp,
        verify::Verified,
    },
    publish::{GRACE, GenerationId, SetOnDisk},
};

impl Holdings {
    /// The row about the live generation; its times are pulled back when the clock was.
    pub(in crate::agent) fn outbox(&mut self, now: Timestamp) -> Option<ReloadRecord> {
        self.live.as_ref()?;
        let outbox = self.state.outbox.as_mut()?;
        outbox.settle(now);
        Some(outbox.clone())
    }

    /// Puts a changed row on record. Only when this worked may an action leave.
    pub(in crate::agent) fn record_outbox(&mut self, outbox: ReloadRecord) -> Result<(), Failure> {
        let state = State {
            outbox: Some(outbox),
            ..self.state.clone()
        };
        self.opened()?.save_state(&state)?;
        self.state = state;
        self.unsaved = false;
        Ok(())
    }

    /// Takes a changed row over; on record as soon as the disk lets us.
    pub(in crate::agent) fn keep_outbox(&mut self, outbox: ReloadRecord) {
        self.note_outbox(outbox);
        self.save();
    }

    /// Takes a changed row over; on record at the next look.
    pub(in crate::agent) fn note_outbox(&mut self, outbox: ReloadRecord) {
        self.state.outbox = Some(outbox);
        self.unsaved = true;
    }

    /// The sets that broke the application and are kept away, the newest last.
    pub(in crate::agent) fn quarantined(&self, now: Timestamp) -> Option<&Quarantined> {
        let newest = self.state.quarantined.last()?;
        (Timestamp::from_unix_millis(newest.hold_until) > now).then_some(newest)
    }

    /// The row for a generation that has just become live in place of `self.live`.
    pub(super) fn announce(
        &mut self,
        verified: &Verified,
        generation: GenerationId,
        config: &CertConfig,
        now: Timestamp,
    ) {
        let leaf = verified.leaf();
        let old = self.state.outbox.as_ref();
        let served = config.probe.is_some() && old.is_some_and(|old| old.attested_at.is_some());
        let previous = self.live.as_ref().map(|held| Previous {
            generation: held.generation.to_string(),
            serial: held.verified.leaf().serial.clone(),
            not_after: held.verified.validity().not_after.unix_millis(),
            served,
        });
        let same_trust = self
            .live
            .as_ref()
            .is_some_and(|held| held.verified.ca_pem() == verified.ca_pem());
        let first = self.live.is_none() && self.state.generation.is_none();
        let publication = Publication {
            generation: generation.to_string(),
            serial: leaf.serial.clone(),
            sha256: leaf.sha256.clone(),
            event: if first || same_trust {
                EventKind::Leaf
            } else {
                EventKind::Trust
            },
            first,
            previous,
        };
        self.state.outbox = Some(ReloadRecord::new(publication, old, now));
        self.state.previous = self.live.as_ref().map(|held| StagedRecord {
            generation: held.generation.to_string(),
            fingerprint: held.fingerprint.clone(),
            obtained_at: held.obtained_at.unwrap_or(now).unix_millis(),
        });
    }

    /// The generation before may still be needed: the application has not been seen with this one.
    pub(super) fn may_go_back(&self, config: &CertConfig) -> bool {
        let outbox = self.state.outbox.as_ref();
        let open = outbox.is_some_and(|row| row.attested_at.is_none() && row.previous.is_some());
        open && config.probe.is_some() && config.rollback.is_some()
    }

    /// The last new CA.pem for this very leaf broke the application, and it is too early to try again.
    pub(super) fn trust_is_held(&self, serial: &str, now: Timestamp) -> bool {
        let same = self
            .state
            .quarantined
            .iter()
            .filter(|one| one.serial == serial);
        same.filter(|one| one.at <= now.unix_millis())
            .any(|one| Timestamp::from_unix_millis(one.hold_until) > now)
    }

    /// Makes the generation before live again and keeps the present one away. On an error the
    /// present one stays, and there is no way back from it any more.
    pub(in crate::agent) fn roll_back(
        &mut self,
        config: &CertConfig,
        why: &str,
        now: Timestamp,
    ) -> Result<Quarantined, Failure> {
        let before = self.state.clone();
        let result = self.go_back(config, why, now);
        if result.is_err() {
            self.state = before;
            if let Some(outbox) = &mut self.state.outbox {
                outbox.forget_previous();
            }
            self.unsaved = true;
            self.save();
        }
        result
    }

    fn go_back(
        &mut self,
        config: &CertConfig,
        why: &str,
        now: Timestamp,
    ) -> Result<Quarantined, Failure> {
        let margin = config.rollback.unwrap_or_default();
        let outbox = self.state.outbox.as_ref();
        let fingerprint = self.state.fingerprint.clone();
        let (mut row, quarantined) = outbox
            .and_then(|outbox| outbox.roll_back(&fingerprint, why, margin, now))
            .ok_or_else(|| gone("nobody knows which it was"))?;
        let dir = self.opened()?.clone();
        let sets = dir.sets_on_disk();
        let set = sets
            .iter()
            .find(|set| set.generation.to_string() == row.generation)
            .ok_or_else(|| gone("it is not on disk any more"))?;
        let verified = read::reread(set, config, false, now)?;
        if !valid(&verified, now) {
            return Err(gone("it has ended"));
        }
        row.sha256.clone_from(&verified.leaf().sha256);
        let order = self.state.previous.take();
        let order = order.filter(|order| order.generation == row.generation);
        let order = order.unwrap_or_default();
        let held = LiveFiles {
            verified,
            generation: set.generation,
            fingerprint: order.fingerprint,
            obtained_at: (order.obtained_at > 0)
                .then(|| Timestamp::from_unix_millis(order.obtained_at)),
        };
        reload::quarantine(&mut self.state.quarantined, quarantined.clone());
        self.state.generation = Some(row.generation.clone());
        self.state.fingerprint.clone_from(&held.fingerprint);
        self.state.obtained_at = held.obtained_at.map(Timestamp::unix_millis);
        self.state.due_at = Some(log::due(&held, config).at.unix_millis());
        self.state.outbox = Some(row);
        // before the switch: a crash between the two must not bring the broken one back
        dir.save_state(&self.state)?;
        dir.activate(&held.generation)?;
        self.live = Some(held);
        self.told = None;
        self.grace_ends = Some(now.plus(GRACE));
        self.mark(config, now);
        Ok(quarantined)
    }
}

/// Takes the row over for the set that was found at start. A row about another generation means
/// that a crash came between the switch and the record.
pub(super) fn take_over(
    held: &LiveFiles,
    found: GenerationId,
    sets: &[SetOnDisk],
    state: &mut State,
    now: Timestamp,
) {
    if let Some(outbox) = &mut state.outbox
        && outbox.generation == found.to_string()
    {
        // repaired: the same content
        outbox.generation = held.generation.to_string();
        return;
    }
    let known = state.outbox.as_ref().map(|row| row.generation.clone());
    let known = known.or_else(|| state.generation.clone());
    let before = sets.iter().find(|set| {
        set.generation != found && known.as_deref() == Some(set.generation.to_string().as_str())
    });
    let same_trust = match before {
        Some(set) => set.ca == held.verified.ca_pem(),
        None => state.outbox.is_none(),
    };
    let leaf = held.verified.leaf();
    let publication = Publication {
        generation: held.generation.to_string(),
        serial: leaf.serial.clone(),
        sha256: leaf.sha256.clone(),
        event: if same_trust {
            EventKind::Leaf
        } else {
            EventKind::Trust
        },
        first: known.is_none(),
        previous: before.and_then(|set| previous(set, state.outbox.as_ref())),
    };
    state.previous = before.map(|set| StagedRecord {
        generation: set.generation.to_string(),
        fingerprint: state.fingerprint.clone(),
        obtained_at: state.obtained_at.unwrap_or_else(|| now.unix_millis()),
    });
    state.outbox = Some(ReloadRecord::new(publication, state.outbox.as_ref(), now));
}

fn previous(set: &SetOnDisk, row: Option<&ReloadRecord>) -> Option<Previous> {
    let blocks = pem::parse(&set.cert).ok()?;
    let leaf = CertFacts::read(&blocks.first()?.der).ok()?;
    Some(Previous {
        generation: set.generation.to_string(),
        serial: leaf.serial,
        not_after: leaf.not_after.unix_millis(),
        served: row.is_some_and(|row| row.attested_at.is_some()),
    })
}

fn gone(why: &str) -> Failure {
    Failure {
        class: FailureClass::Local,
        code: "no-way-back".to_owned(),
        message: format!("the set before can't be used again: {why}"),
        hint: None,
        retry_after: None,
    }
}
